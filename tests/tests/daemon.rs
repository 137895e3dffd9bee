//! The daemon: its whole life, what it does on signals, whom it watches.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use lockprobe_tests::collector::Dead;
use lockprobe_tests::daemon::{Daemon, Services};
use lockprobe_tests::kernel::{programs, until_only};
use lockprobe_tests::probe::{Probe, binary, lockprobe, run};
use lockprobe_tests::records::{Records, text};

/// Programs that are not in the directory of temporary files: those of the services are.
const OTHERS: &str = "{exe: \"/[!t]*/**\"}";
const ONE: &str = "targets: {include: [{exe: one}]}\n";
const IN_FORCE: &str = "the new configuration is in force";

/// How many waits of a process there are: other tests may run programs of the same name.
fn waits(records: &Records, pid: u64) -> usize {
    records.acquires().iter().filter(|r| r["process.pid"] == pid).count()
}

#[test]
fn it_observes_until_it_is_told_to_end_and_delivers_all() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let before = programs();
        let services = Services::new();
        let mut one = services.start("one");
        let daemon = Daemon::start(ONE);
        let pid = Services::contend(&mut one, "contend");
        daemon.signal(signal);
        let over = daemon.over();
        assert_eq!(over.status, 0, "{}", over.log);
        // The wait may have ended a moment before the signal: what is left is delivered.
        let records = over.records();
        records.expect_complete();
        assert!(records.acquires().iter().any(|r| r["process.pid"] == pid), "{records:#?}");
        assert!(over.log.contains("everything was delivered"), "{}", over.log);
        until_only(&before);
    }
}

#[test]
fn a_wrong_configuration_leaves_the_one_before_in_force() {
    let services = Services::new();
    let mut one = services.start("one");
    let daemon = Daemon::start(ONE);
    let wrong: [(&[u8], &str); 4] = [
        (b"capture: {minwait: 1ms}\n", "did you mean `min_wait`?"),
        (b"capture: {min_wait: 5}\n", "no unit; write it like"),
        (b"jsonl: {path: /no/such/directory/file}\n", "/no/such/directory/file cannot be written"),
        (b"a: \xff\n", "not UTF-8 text from here on"),
    ];
    for (n, (bytes, why)) in wrong.into_iter().enumerate() {
        daemon.reconfigure_to(bytes);
        daemon.until_logged("the configuration before stays in force", n + 1);
        assert!(daemon.log().contains(why), "{why}:\n{}", daemon.log());
    }
    std::fs::remove_file(daemon.directory().join("lockprobe.yaml")).unwrap();
    daemon.signal(libc::SIGHUP);
    daemon.until_logged("there is no such file", 1);
    let pid = Services::contend(&mut one, "contend");
    daemon.until_waits(pid, 1);
    daemon.reconfigure(ONE);
    daemon.until_logged("the configuration has not changed", 1);
    assert!(!daemon.log().contains(IN_FORCE));
    assert_eq!(daemon.end().status, 0);
}

#[test]
fn a_new_choice_holds_for_programs_that_run_already() {
    let services = Services::new();
    let (mut one, mut two) = (services.start("one"), services.start("two"));
    let daemon = Daemon::start("targets: {include: [{exe: one}]}");
    let first = Services::contend(&mut one, "contend");
    let second = Services::contend(&mut two, "contend");
    daemon.until_waits(first, 1);
    daemon.reconfigure(&format!(
        "targets: {{include: [{{exe: \"{}\"}}]}}",
        services.path("two").display()
    ));
    daemon.until_logged(IN_FORCE, 1);
    assert!(
        daemon.log().contains("the choice of processes has changed begun=1 ended=1 watched=1"),
        "{}",
        daemon.log()
    );
    Services::contend(&mut one, "contend");
    Services::contend(&mut two, "contend");
    daemon.until_waits(second, 1);
    // Once from everybody but one, which takes a new start.
    daemon.reconfigure(&format!("targets: {{exclude: [{{exe: two}}, {OTHERS}]}}"));
    daemon.until_logged(IN_FORCE, 2);
    daemon.until_logged("detached and attached again", 1);
    Services::contend(&mut two, "contend");
    Services::contend(&mut one, "contend");
    daemon.until_waits(first, 2);
    let over = daemon.end();
    let records = over.records();
    let of = |pid: u64| waits(&records, pid);
    assert_eq!((of(first), of(second)), (2, 1), "{records:#?}\n{}", over.log);
}

#[test]
fn who_is_left_out_is_not_seen_nor_are_its_children() {
    let services = Services::new();
    let (mut one, mut two) = (services.start("one"), services.start("two"));
    let daemon =
        Daemon::start(&format!("targets: {{exclude: [{{exe: one}}, {{exe: later}}, {OTHERS}]}}"));
    let mut later = services.start("later");
    let mut out = Vec::new();
    for service in [&mut one, &mut later] {
        out.push(Services::contend(service, "contend"));
        out.push(Services::contend(service, "fork"));
    }
    let children = [Services::contend(&mut two, "contend"), Services::contend(&mut two, "fork")];
    daemon.until_waits(children[0], 1);
    daemon.until_waits(children[1], 1);
    // A process that ended leaves nothing behind that would keep another of its id from being seen.
    later.end();
    let over = daemon.end();
    let records = over.records();
    for pid in out {
        assert!(records.0.iter().all(|r| r["process.pid"] != pid), "{pid}: {records:#?}");
    }
}

#[test]
fn processes_are_chosen_by_what_they_are() {
    let services = Services::new();
    let start = |role: &str, argument: &str| {
        let mut command = Command::new(services.path("worker"));
        lockprobe_tests::program::Program::spawn(command.env("ROLE", role).arg(argument))
    };
    let (mut planner, mut critic) = (start("planner-1", "a"), start("critic", "b"));
    let mut listener = services.start("listener");
    listener.tell("listen 0");
    let port = listener.says()["port"].as_u64().unwrap();
    let mut to_listen = services.start("to-listen");
    // A port that is free at the moment; another program may take it, and then this fails loudly.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = free.local_addr().unwrap().port();
    drop(free);
    let daemon = Daemon::start(&format!(
        "targets:\n  include:\n    - env: {{ROLE: \"planner-*\"}}\n      exe: worker\n    - port: {port}\n    - \
         port: {other}\n    - command: \"worker later$\"\n"
    ));
    let planner = Services::contend(&mut planner, "contend");
    let critic = Services::contend(&mut critic, "contend");
    let listener = Services::contend(&mut listener, "contend");
    let quiet = Services::contend(&mut to_listen, "contend");
    daemon.until_waits(planner, 1);
    daemon.until_waits(listener, 1);
    to_listen.tell(&format!("listen {other}"));
    to_listen.says();
    let (mut later, mut another) = (start("critic", "later"), start("critic", "never"));
    lockprobe_tests::until("a process that listens, and one that came later, are watched", || {
        Services::contend(&mut to_listen, "contend");
        Services::contend(&mut later, "contend");
        let of =
            |service: &lockprobe_tests::program::Program| daemon.waits_of(service.pid().into());
        (of(&to_listen) > 0 && of(&later) > 0).then_some(())
    });
    let another = Services::contend(&mut another, "contend");
    let over = daemon.end();
    let records = over.records();
    let of = |pid: u64| waits(&records, pid);
    assert_eq!((of(critic), of(another)), (0, 0), "{records:#?}");
    let of_quiet = of(quiet);
    assert!(of_quiet > 0 && quiet == u64::from(to_listen.pid()));
}

#[test]
fn what_needs_a_new_start_gets_one_and_the_gap_is_told() {
    let services = Services::new();
    let mut one = services.start("one");
    let daemon = Daemon::start(&format!("{ONE}capture: {{min_wait: 20s}}"));
    let pid = Services::contend(&mut one, "contend");
    daemon.reconfigure(&format!("{ONE}capture: {{min_wait: 10ms}}\nlog: {{format: json}}"));
    daemon.until_logged("detached and attached again", 1);
    daemon.until_logged(IN_FORCE, 1);
    Services::contend(&mut one, "contend");
    daemon.until_waits(pid, 1);
    let over = daemon.end();
    assert_eq!(waits(&over.records(), pid), 1, "{}", over.log);
    let gap = over.log.lines().find(|line| line.contains("lockprobe.gap")).unwrap();
    assert!(gap.contains(" milliseconds="), "{gap}");
    let last = over.log.lines().last().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(text(&last, "message"), "everything was delivered");
    assert_eq!(text(&last, "level"), "INFO");
}

#[test]
fn a_restart_says_what_it_missed_and_two_at_once_say_so() {
    let daemon = Daemon::start("");
    assert!(daemon.log().contains("this is the first observation here"), "{}", daemon.log());
    // The state is shared, the rest is not.
    let state = format!("state.directory={}/state", daemon.directory().display());
    let second = Daemon::start_in(tempfile::tempdir().unwrap(), "", |command| {
        command.args(["--set", &state]);
    });
    assert!(second.log().contains("another lockprobe runs"), "{}", second.log());
    second.end();
    let over = daemon.end();
    let daemon = Daemon::start_in(over.directory, "", |_| {});
    let log = daemon.log();
    assert!(log.contains("nobody observed for") && log.contains("ended_as_told=true"), "{log}");
    daemon.signal(libc::SIGKILL);
    let over = daemon.over();
    let daemon = Daemon::start_in(over.directory, "", |_| {});
    assert!(daemon.log().contains("the run before was cut off"), "{}", daemon.log());
    assert_eq!(daemon.end().status, 0);
}

#[test]
fn systemd_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(lockprobe_tests::PATIENCE)).unwrap();
    let until = |word: &str| {
        let mut bytes = [0; 512];
        loop {
            let length = socket.recv(&mut bytes).unwrap_or_else(|e| panic!("no {word}: {e}"));
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if said.lines().any(|line| line.starts_with(word)) {
                return said;
            }
        }
    };
    let daemon = Daemon::start_in(tempfile::tempdir().unwrap(), "", |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    });
    until("READY=1");
    until("WATCHDOG=1");
    let begun = Instant::now();
    until("WATCHDOG=1");
    assert!(begun.elapsed() >= Duration::from_millis(50), "told more often than is wanted");
    daemon.reconfigure("");
    assert!(until("RELOADING=1").contains("MONOTONIC_USEC="));
    until("READY=1");
    daemon.signal(libc::SIGTERM);
    until("STOPPING=1");
    assert_eq!(daemon.over().status, 0);
}

#[test]
fn a_dry_run_attaches_nothing_and_says_who_is_meant() {
    let services = Services::new();
    let one = services.start("one\u{1b}[31m");
    let dry = |set: &[&str]| {
        let sets = set.iter().flat_map(|set| ["--set", set]);
        run(["run", "--dry-run"].into_iter().chain(sets)).expect(0).stdout
    };
    let targets = "targets.include=[{exe: \"one*\"}, {exe: nobody-is-called-so}]";
    let out = dry(&[targets, "state.directory=/no/such/place", "jsonl.path=/no/such/file"]);
    assert!(!std::path::Path::new("/no/such").exists());
    assert!(out.chars().all(|c| c == '\n' || !c.is_control()), "{out:?}");
    assert!(out.contains("targets.include[0] means 1 process:"), "{out}");
    assert!(out.contains(&format!("{:>10}  ", one.pid())), "{out}");
    assert!(out.contains("targets.include[1] means 0 processes:"), "{out}");
    assert!(out.contains("  sched_switch\n") && out.contains("Nothing was attached."), "{out}");
    assert!(dry(&[]).contains("Watched, there being nobody in particular"));
    // Who must not attach anything can say all this.
    let program = services.path("as-anybody");
    std::fs::remove_file(&program).unwrap();
    std::fs::copy(binary(), &program).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(program.parent().unwrap(), open).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    let ended = Probe::start(command.args(["run", "--dry-run"])).wait().expect(0);
    assert!(ended.stdout.contains("Nothing was attached."), "{}", ended.stdout);
}

#[test]
fn a_file_that_is_wrong_is_told_on_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    // Each line stands for nine times the one before.
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for n in 1.. {
        let before = vec![format!("*a{}", n - 1); 9].join(",");
        bomb.push_str(&format!("a{n}: &a{n} [{before}]\n"));
        if bomb.len() > (1 << 20) - 200 {
            break;
        }
    }
    for (name, bytes, why) in [
        (
            "key",
            &b"capture: {minwait: 1ms}\n"[..],
            ":1:11: unknown key `minwait` of `capture`; did you mean `min_wait`?",
        ),
        (
            "bytes",
            b"log:\n  level: \xc3\x28\n",
            ":2:10: not UTF-8 text from here on; save the file as UTF-8",
        ),
        ("bomb", bomb.as_bytes(), "not understood as YAML: "),
        ("huge", &vec![b'#'; 3 << 20], "larger than 1024 KiB"),
    ] {
        std::fs::write(path(name), bytes).unwrap();
        for arguments in [&["run", "--config"][..], &["config", "validate"]] {
            let begun = Instant::now();
            let ended = run(arguments.iter().copied().chain([path(name).as_str()])).expect(2);
            assert!(begun.elapsed() < Duration::from_secs(10), "{name}");
            let sentence = ended.sentence();
            assert!(sentence.contains(why) && sentence.contains(&path(name)), "{sentence}");
            assert!(sentence.len() < 500, "{sentence}");
        }
    }
    for (name, why) in [("missing", "there is no such file"), ("", "it is a directory")] {
        let ended = run(["run", "--config", &path(name)]).expect(2);
        assert!(ended.sentence().contains(why), "{}", ended.stderr);
    }
}

#[test]
fn the_environment_is_stronger_than_the_file_and_flags_are_stronger_than_both() {
    let services = Services::new();
    let mut one = services.start("one");
    let threshold = |variable: Option<&str>, flag: Option<&str>| {
        let daemon =
            Daemon::start_in(tempfile::tempdir().unwrap(), "capture: {min_wait: 1h}", |command| {
                command.envs(variable.map(|value| ("LOCKPROBE_CAPTURE_MIN_WAIT", value)));
                command.args(flag.iter().flat_map(|flag| ["--set", flag]));
            });
        let pid = Services::contend(&mut one, "contend");
        waits(&daemon.end().records(), pid)
    };
    let mut threshold = threshold;
    assert_eq!(threshold(None, None), 0);
    assert_eq!(threshold(Some("5ms"), None), 1);
    assert_eq!(threshold(Some("5ms"), Some("capture.min_wait=30m")), 0);
    let mut command = lockprobe(["run", "--dry-run"]);
    command.env("LOCKPROBE_CAPTURE_MIN_WAIT", "soon");
    let ended = Probe::start(&mut command).wait().expect(2);
    let sentence = ended.sentence();
    assert!(sentence.contains("LOCKPROBE_CAPTURE_MIN_WAIT: `soon`: no number in it"), "{sentence}");
}

#[test]
fn an_output_that_fails_ends_alone() {
    let services = Services::new();
    let mut one = services.start("one");
    let daemon = Daemon::start_in(tempfile::tempdir().unwrap(), ONE, |command| {
        command.args(["--set", "jsonl.path=/dev/full"]);
    });
    for _ in 0..3 {
        Services::contend(&mut one, "contend");
    }
    daemon.until_logged("the output has ended, and begins again at the next reload", 1);
    Services::contend(&mut one, "contend");
    let over = daemon.end();
    assert_eq!(over.status, 0, "{}", over.log);
}

#[test]
fn the_end_waits_for_a_collector_no_longer_than_it_may_and_a_second_signal_not_at_all() {
    let services = Services::new();
    let mut one = services.start("one");
    for (again, status) in [(false, 9), (true, 128 + libc::SIGTERM)] {
        let dead = Dead::new();
        let daemon = Daemon::start(&format!("{ONE}otlp: {{endpoint: \"{}\"}}", dead.url()));
        let pid = Services::contend(&mut one, "contend");
        daemon.until_waits(pid, 1);
        daemon.signal(libc::SIGTERM);
        daemon.until_logged("lockprobe ends", 1);
        let begun = Instant::now();
        if again {
            daemon.signal(libc::SIGTERM);
        }
        let over = daemon.over();
        assert_eq!(over.status, status, "{}", over.log);
        assert!(begun.elapsed() < Duration::from_secs(if again { 3 } else { 12 }), "{}", over.log);
        if !again {
            assert!(over.log.contains("records were lost output=otlp"), "{}", over.log);
        }
    }
}

#[test]
fn a_finding_is_a_line_of_the_log() {
    let mut program = lockprobe_tests::program::Program::start("scene", ["deadlock"]);
    let daemon = Daemon::start("targets: {include: [{exe: scene}]}");
    program.go_on();
    program.says();
    daemon.until_logged("lock.deadlock.detected", 1);
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("lock.deadlock.detected")).unwrap();
    assert!(line.contains(" WARN ") && line.contains("DEADLOCK of 2 threads"), "{line}");
    assert!(line.contains("evidence="), "{line}");
    program.end();
    daemon.end();
}
