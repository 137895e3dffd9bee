//! Who is meant, and who is not.

use super::*;

fn process() -> Candidate {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Candidate {
        executable: Some("/opt/agents/bin/python3.11".into()),
        command: Some("python3 -u /srv/worker.py --queue orders".into()),
        environment: vec![pair("ROLE", "planner-7"), pair("EMPTY", "")],
        cgroups: vec!["/kubepods.slice/pod1/cri-abc".into(), "/".into()],
        whereabouts: Whereabouts {
            container_id: Some("abcdef0123456789".into()),
            container_name: Some("agent".into()),
            pod: Some("planner-5d9c-x7".into()),
            namespace: Some("shop".into()),
            labels: vec![pair("app", "planner"), pair("tier", "back")],
        },
        ports: vec![8080, 9000],
    }
}

type Change = fn(&mut Selector);

fn selector(change: Change) -> Selector {
    let mut selector = Selector::default();
    change(&mut selector);
    selector
}

#[test]
fn each_key_tells_processes_apart() {
    let table: &[(Change, bool)] = &[
        (|s| s.exe = Some("python3*".into()), true),
        (|s| s.exe = Some("/opt/*/bin/*".into()), true),
        (|s| s.exe = Some("/opt/*".into()), false),
        (|s| s.exe = Some("/opt/**".into()), true),
        (|s| s.exe = Some("python".into()), false),
        (|s| s.command = Some("worker\\.py .*orders$".into()), true),
        (|s| s.command = Some("^worker".into()), false),
        (|s| s.env = [("ROLE".into(), "planner-*".into())].into(), true),
        (|s| s.env = [("ROLE".into(), "critic".into())].into(), false),
        (|s| s.env = [("EMPTY".into(), "*".into())].into(), true),
        (|s| s.env = [("UNSET".into(), "*".into())].into(), false),
        (|s| s.port = Some(9000), true),
        (|s| s.port = Some(9001), false),
        (|s| s.cgroup = Some("/kubepods*".into()), true),
        (|s| s.cgroup = Some("*cri-?bc".into()), true),
        (|s| s.cgroup = Some("/system.slice/*".into()), false),
        (|s| s.container = Some("abcdef*".into()), true),
        (|s| s.container = Some("agent".into()), true),
        (|s| s.container = Some("other".into()), false),
        (|s| s.namespace = Some("sh?p".into()), true),
        (|s| s.namespace = Some("default".into()), false),
        (|s| s.pod = Some("planner-*".into()), true),
        (|s| s.pod_labels = [("app".into(), "planner".into())].into(), true),
        (
            |s| {
                s.pod_labels =
                    [("app".into(), "planner".into()), ("tier".into(), "front".into())].into()
            },
            false,
        ),
    ];
    for (at, (change, expected)) in table.iter().enumerate() {
        let selector = selector(*change);
        let matcher = Matcher::new(&selector).unwrap();
        assert_eq!(matcher.matches(&process()), *expected, "{at}: {selector:?}");
        // Of whom nothing is known, nothing is claimed.
        assert!(!matcher.matches(&Candidate::default()), "{at}: {selector:?}");
    }
}

#[test]
fn all_that_is_said_must_hold() {
    let both = selector(|s| {
        s.exe = Some("python3*".into());
        s.port = Some(8080);
    });
    assert!(Matcher::new(&both).unwrap().matches(&process()));
    let neither = Selector { port: Some(1), ..both };
    assert!(!Matcher::new(&neither).unwrap().matches(&process()));
}

#[test]
fn exclusion_is_stronger_than_inclusion() {
    let python = selector(|s| s.exe = Some("python3*".into()));
    let shop = selector(|s| s.namespace = Some("shop".into()));
    let node = selector(|s| s.exe = Some("node".into()));
    let decide = |include: &[&Selector], exclude: &[&Selector]| {
        let own = |list: &[&Selector]| list.iter().map(|&s| s.clone()).collect::<Vec<_>>();
        Choice::new(&own(include), &own(exclude)).unwrap().decide(&process())
    };
    assert_eq!(decide(&[], &[]), Decision::Everybody);
    assert_eq!(decide(&[&node, &python], &[]), Decision::Included(1));
    assert_eq!(decide(&[&node], &[]), Decision::NotIncluded);
    assert_eq!(decide(&[&python], &[&node, &shop]), Decision::Excluded(1));
    assert_eq!(decide(&[], &[&node]), Decision::Everybody);
    assert_eq!(decide(&[], &[&python]), Decision::Excluded(0));
}

#[test]
fn only_what_is_needed_is_asked_for() {
    let exe = selector(|s| s.exe = Some("a".into()));
    let env = selector(|s| s.env = [("B".into(), "x".into()), ("A".into(), "y".into())].into());
    let again = selector(|s| s.env = [("A".into(), "z".into())].into());
    let needs = Choice::new(&[exe, env], &[again]).unwrap().needs();
    assert_eq!(needs.variables, ["A", "B"]);
    assert!(needs.executable && !needs.command && !needs.ports && !needs.whereabouts);
    assert_eq!(Choice::default().needs(), Needs::default());
}

#[test]
fn what_is_no_pattern_is_named() {
    let bad: &[(Change, &str)] = &[
        (|s| s.exe = Some("[".into()), "include[0].exe: `["),
        (
            |s| s.command = Some("(".into()),
            "include[0].command: `(` is no regular expression: unclosed group",
        ),
        (|s| s.command = Some("(\\w{1000}){1000}".into()), "too much memory"),
        (|s| s.pod = Some(String::new()), "include[0].pod: an empty pattern"),
        (|s| s.env = [("A".into(), "{".into())].into(), "include[0].env: `{`"),
    ];
    for (change, expected) in bad {
        let error = Choice::new(&[selector(*change)], &[]).unwrap_err();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
    assert!(glob(&"x".repeat(2000)).is_err());
}
