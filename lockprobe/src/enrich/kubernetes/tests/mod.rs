//! What is learnt of pods, from servers that behave and from those that do not.

mod documents;
mod stub;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::api::{LONGEST_LIST, List};
use super::pod::{Pod, Written};
use super::{Kubernetes, PodSource, Pods, Watch};
use documents::{ID, UID, another, bookmark, event, gone, list, pod};
use stub::{Answer, Stub, give_token};

fn kept(written: &serde_json::Value) -> Option<Pod> {
    serde_json::from_value::<Written>(written.clone()).unwrap().keep()
}

#[test]
fn of_a_pod_little_is_kept_and_no_secret() {
    let pod = kept(&pod()).unwrap();
    assert_eq!((pod.uid.as_str(), pod.namespace.as_str()), (UID, "prod"));
    assert_eq!((pod.node.as_deref(), pod.container(ID)), (Some("worker-1"), Some("app")));
    assert_eq!(pod.container("1234"), Some("setup"));
    let owners: Vec<_> = pod.owners.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(owners, ["k8s.deployment.name=shop", "k8s.replicaset.name=shop-7d4b9c6f5"]);
    assert_eq!((pod.service(), pod.version()), (Some("shop"), Some("1.2.3")));
    assert_eq!(pod.attribute("deployment.environment.name"), Some("production"));
    assert_eq!(pod.attribute("process.pid"), None, "that is not theirs to say");
    assert_eq!(pod.labels.len(), 3);
    assert!(!format!("{pod:?}").contains("SECRET"));
}

#[test]
fn owners_are_named_where_they_are_certain() {
    #[rustfmt::skip]
    let table = [
        ("ReplicaSet", "shop-7d4b9c6f5", "k8s.deployment.name=shop k8s.replicaset.name=shop-7d4b9c6f5"),
        // Argo Rollouts and bare replica sets have no such label, or another.
        ("ReplicaSet", "shop-55555", "k8s.replicaset.name=shop-55555"),
        ("StatefulSet", "db", "k8s.statefulset.name=db"),
        ("DaemonSet", "log", "k8s.daemonset.name=log"),
        ("ReplicationController", "old", "k8s.replicationcontroller.name=old"),
        ("Job", "migrate", "k8s.job.name=migrate"),
        ("Job", "migrate-20260101", "k8s.job.name=migrate-20260101"),
        // 29921176 minutes after 1970 it was 2026-11-21T14:16.
        ("Job", "backup-29921175", "k8s.cronjob.name=backup k8s.job.name=backup-29921175"),
        ("Job", "backup-29921178", "k8s.job.name=backup-29921178"),
        ("Node", "worker-1", ""),
        ("Workflow", "x", ""),
    ];
    for (kind, name, expected) in table {
        let mut written = pod();
        written["metadata"]["ownerReferences"] =
            json!([{"kind": kind, "name": name, "controller": true}]);
        let owners = kept(&written).unwrap().owners;
        let owners: Vec<_> = owners.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(owners.join(" "), expected, "{kind} {name}");
    }
    let mut written = pod();
    written["metadata"]["ownerReferences"] = json!([{"kind": "DaemonSet", "name": "x"}]);
    assert_eq!(kept(&written).unwrap().owners, [], "it owns and does not control");
}

#[test]
fn hostile_pods_are_bounded() {
    let mut written = pod();
    written["metadata"]["name"] = json!("\u{1b}[2J");
    written["metadata"]["labels"] =
        (0..1000).map(|i| (format!("l{i}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    written["metadata"]["annotations"] = (0..1000)
        .map(|i| (format!("resource.opentelemetry.io/a{i}"), json!("v".repeat(1000))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let pod = kept(&written).unwrap();
    assert_eq!(
        (pod.name.as_str(), pod.labels.len(), pod.attributes.len()),
        ("\u{fffd}[2J", 64, 32)
    );
    assert!(pod.attributes.iter().all(|(_, value)| value.len() == 256));
    for part in ["uid", "name", "namespace"] {
        let mut written = documents::pod();
        written["metadata"][part] = json!(null);
        assert_eq!(kept(&written), None, "{part}");
    }
    for text in
        ["", "[]", "{}", "{\"items\":7}", "{\"items\":[7]}", "\u{feff}", &"[".repeat(10_000)]
    {
        assert!(List::read(text.as_bytes()).is_err(), "{text:.20}");
    }
    assert!(List::read(b"{\"items\":[{}],\"metadata\":{}}").unwrap().pods.is_empty());
}

/// A watch of a stub, and what it says.
struct Watched {
    pods: Arc<Pods>,
    said: Receiver<String>,
    _watch: Watch,
}

impl Watched {
    fn start(settings: Kubernetes) -> Self {
        let pods = Arc::<Pods>::default();
        let (tell, said) = channel();
        let tell = Mutex::new(tell);
        let say = move |sentence: &str| drop(tell.lock().unwrap().send(sentence.to_owned()));
        let watch = Watch::start(settings, pods.clone(), say).unwrap();
        Self { pods, said, _watch: watch }
    }

    fn says(&self) -> String {
        self.said.recv_timeout(Duration::from_secs(20)).expect("it says something")
    }

    fn until(&self, what: &str, it: impl Fn(&Pods) -> bool) {
        let begun = Instant::now();
        while !it(&self.pods) {
            assert!(begun.elapsed() < Duration::from_secs(20), "gave up waiting until {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn api(stub: &Stub) -> Kubernetes {
    Kubernetes {
        source: PodSource::Api,
        node: Some("worker-1".into()),
        api_url: Some(stub.url.clone()),
        account: stub.account.path().into(),
        ..Kubernetes::default()
    }
}

const LIST: &str =
    "/api/v1/pods?fieldSelector=spec.nodeName%3Dworker%2D1&resourceVersion=0&limit=500";

fn watch_from(version: &str) -> String {
    format!(
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dworker%2D1&watch=true&allowWatchBookmarks=true\
         &timeoutSeconds=290&resourceVersion={version}"
    )
}

fn has(pods: &Pods, uid: &str) -> bool {
    pods.of(None, Some(uid)).is_some()
}

#[test]
fn pods_are_listed_and_every_change_is_followed() {
    let (changes, answer) = Stub::pieces();
    let stub = Stub::start(vec![Answer::Whole(200, list("1001", &[pod()])), answer]);
    let watched = Watched::start(api(&stub));
    assert_eq!(stub.request(), (LIST.into(), "first".into()));
    assert_eq!(watched.says(), "Kubernetes: the API server names 1 pods of node worker-1");
    assert_eq!(stub.request().0, watch_from("1001"));
    assert!(has(&watched.pods, UID));
    changes.send(event("ADDED", &another(7))).unwrap();
    watched.until("a pod is added", |pods| pods.len() == 2);
    let mut changed = another(7);
    changed["metadata"]["labels"]["app.kubernetes.io/name"] = json!("store");
    // A line in pieces, and two in one piece.
    let (line, half) = (event("MODIFIED", &changed), 100);
    changes.send(line[..half].to_owned()).unwrap();
    changes.send(format!("{}{}", &line[half..], event("DELETED", &pod()))).unwrap();
    watched.until("a pod is deleted", |pods| !has(pods, UID));
    let store = watched.pods.of(Some(&format!("{:064}", 7)), None).unwrap();
    assert_eq!(store.service(), Some("store"));
    // The server ends its answer: it goes on from the bookmark.
    changes.send(bookmark("2000")).unwrap();
    let (_more, answer) = Stub::pieces();
    stub.then(answer);
    drop(changes);
    assert_eq!(stub.request().0, watch_from("2000"));
    assert!(watched.said.try_recv().is_err(), "nothing of this is worth a word");
}

#[test]
fn what_is_too_old_is_listed_anew() {
    let (changes, answer) = Stub::pieces();
    let (changes_again, another_answer) = Stub::pieces();
    let stub = Stub::start(vec![
        Answer::Whole(200, list("1", &[pod()])),
        answer,
        Answer::Whole(200, list("1002", &[another(2)])),
        Answer::Whole(410, "{}".into()),
        Answer::Whole(200, list("1003", &[another(3)])),
        another_answer,
    ]);
    let watched = Watched::start(api(&stub));
    changes.send(gone()).unwrap();
    watched.until("the last list is there", |pods| has(pods, &uid(3)));
    assert!(!has(&watched.pods, UID) && !has(&watched.pods, &uid(2)));
    let paths: Vec<String> = (0..6).map(|_| stub.request().0).collect();
    let from = |version| watch_from(version);
    assert_eq!(
        paths,
        [LIST.into(), from("1"), LIST.into(), from("1002"), LIST.into(), from("1003")]
    );
    drop(changes_again);
}

fn uid(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[test]
fn a_token_that_is_replaced_is_read_again() {
    let (_changes, answer) = Stub::pieces();
    let stub = Stub::start(vec![Answer::Whole(401, String::new())]);
    let watched = Watched::start(api(&stub));
    assert_eq!(stub.request().1, "first");
    let said = watched.says();
    assert!(said.contains("the API server: the token was not accepted (401)"), "{said}");
    stub.then(Answer::Whole(200, list("1", &[pod()])));
    stub.then(answer);
    give_token(stub.account.path(), "second");
    let seen: Vec<String> = (0..2).map(|_| stub.request().1).collect();
    assert_eq!(seen, ["second", "second"]);
    assert!(watched.says().starts_with("Kubernetes: the API server names 1 pods"));
}

#[test]
fn connections_that_end_and_garbage_lose_nothing() {
    let (changes, answer) = Stub::pieces();
    let stub = Stub::start(vec![Answer::Whole(200, list("1", &[pod()])), answer]);
    let watched = Watched::start(api(&stub));
    watched.says();
    for line in ["\n", "garbage\n", "{\"type\":\"ADDED\"}\n", "{\"type\":7}\n", "\u{0}\u{1}\n"] {
        changes.send(line.to_owned()).unwrap();
    }
    // A line without end is not kept, and what comes after it counts.
    let huge = "x".repeat(1 << 20);
    (0..6).for_each(|_| changes.send(huge.clone()).unwrap());
    changes.send(format!("\n{}", event("ADDED", &another(2)))).unwrap();
    watched.until("what comes after it counts", |pods| has(pods, &uid(2)));
    let (_more, answer) = Stub::pieces();
    stub.then(Answer::Nothing);
    stub.then(Answer::Whole(200, "{\"items\":".into()));
    stub.then(Answer::Whole(200, list("5", &[another(5)])));
    stub.then(answer);
    drop(changes);
    watched.until("it is listed again", |pods| has(pods, &uid(5)));
    assert!(!has(&watched.pods, UID));
    let said: Vec<String> = std::iter::from_fn(|| watched.said.try_recv().ok()).collect();
    assert!(said[0].contains("the answer makes no sense") && said.len() == 2, "{said:?}");
}

#[test]
fn a_list_that_is_too_long_is_asked_for_in_pages() {
    let filler = json!("x".repeat(LONGEST_LIST)).to_string();
    let huge = format!("{{\"filler\":{filler},\"items\":[]}}");
    let mut first = list("9", &[another(1)]);
    first = first
        .replace("\"resourceVersion\":\"9\"", "\"resourceVersion\":\"9\",\"continue\":\"a/b\"");
    let (_changes, answer) = Stub::pieces();
    let script = vec![
        Answer::Whole(200, huge),
        Answer::Whole(200, first),
        Answer::Whole(200, list("9", &[another(2)])),
        answer,
    ];
    let stub = Stub::start(script);
    let watched = Watched::start(api(&stub));
    assert!(watched.says().contains("names 2 pods"));
    let paths: Vec<String> = (0..4).map(|_| stub.request().0).collect();
    let base = "/api/v1/pods?fieldSelector=spec.nodeName%3Dworker%2D1&limit=50";
    assert_eq!(
        paths,
        [LIST.into(), base.into(), format!("{base}&continue=a%2Fb"), watch_from("9")]
    );
}

#[test]
fn where_the_api_refuses_the_kubelet_is_asked() {
    let api_server = Stub::start((0..9).map(|_| Answer::Whole(403, String::new())).collect());
    let mut written = pod();
    written["metadata"]["uid"] = json!("0123456789abcdef0123456789abcdef");
    let again = another(2);
    let lists =
        vec![Answer::Whole(200, list("", &[written])), Answer::Whole(200, list("", &[again]))];
    let kubelet = Stub::start(lists);
    let settings = Kubernetes {
        source: PodSource::Auto,
        kubelet_url: Some(kubelet.url.clone()),
        interval: Duration::from_millis(300),
        ..api(&api_server)
    };
    // The kubelet's certificate is not of the cluster's authority.
    let refused = Watched::start(settings.clone());
    let said = refused.says();
    assert!(said.contains("may not list pods (403); the kubelet: no connection ("), "{said}");
    drop(refused);
    let watched = Watched::start(Kubernetes { kubelet_verify: false, ..settings });
    assert_eq!(watched.says(), "Kubernetes: the kubelet names 1 pods of node worker-1");
    watched.until("it is asked again", |pods| has(pods, &uid(2)));
    assert_eq!(kubelet.request(), ("/pods".into(), "first".into()));
    assert_eq!(watched.pods.len(), 1);
}

#[test]
fn where_there_is_nobody_to_ask_one_sentence_says_so() {
    let nowhere = Kubernetes::default().with_environment(|_| None);
    let watched = Watched::start(nowhere);
    assert!(watched.says().contains("pods are not named"));
    assert!(watched.said.recv_timeout(Duration::from_secs(5)).is_err(), "and it ended");
    // A port that nobody listens at, again and again: still one sentence.
    let stub = Stub::start(Vec::new());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = stub.url.replace(&stub.port().to_string(), &free.to_string());
    let watched = Watched::start(Kubernetes { api_url: Some(url), ..api(&stub) });
    let said = watched.says();
    assert!(
        said.starts_with("Kubernetes cannot be asked about pods (the API server: no connection"),
        "{said}"
    );
    assert!(watched.said.recv_timeout(Duration::from_secs(4)).is_err());
}

#[test]
fn without_its_files_the_account_is_of_no_use() {
    let stub = Stub::start(Vec::new());
    std::fs::remove_file(stub.account.path().join("token")).unwrap();
    assert!(Watched::start(api(&stub)).says().contains("token cannot be used"));
    std::fs::write(stub.account.path().join("ca.crt"), "no certificate").unwrap();
    assert!(Watched::start(api(&stub)).says().contains("ca.crt cannot be used"));
    let http = Kubernetes { api_url: Some("http://127.0.0.1:1".into()), ..api(&stub) };
    assert!(Watched::start(http).says().contains("no address of the form https://HOST:PORT"));
}
