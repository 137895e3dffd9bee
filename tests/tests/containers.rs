//! Processes in containers: who they are, and what they contend for.

use std::path::PathBuf;
use std::process::Command;

use lockprobe_tests::cluster::Cluster;
use lockprobe_tests::containers::{Contained, Container, Root, host_address};
use lockprobe_tests::probe::Watch;
use lockprobe_tests::program::{Program, compiled, compiled_statically_with_musl};
use lockprobe_tests::records::{Records, number, text};
use lockprobe_tests::servers::Server;
use serde_json::Value;

/// Redis on the host, for whoever comes by the network.
fn redis() -> Server {
    Server::start(|home, port| {
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--appendonly", "no", "--bind", "0.0.0.0"]);
        command.args(["--protected-mode", "no", "--port", &port.to_string(), "--dir"]).arg(home);
        command
    })
}

/// The last that was said of a process.
#[track_caller]
fn process(records: &Records, pid: u64) -> &Value {
    let of_it = records.of_kind("process").filter(|r| r["process.pid"] == pid);
    of_it.last().unwrap_or_else(|| panic!("nothing of process {pid}: {records:#?}"))
}

#[track_caller]
fn check_identity(records: &Records, container: &Container) {
    let attributes = &process(records, container.pid)["attributes"];
    assert_eq!(attributes["container.id"], container.id, "{attributes}");
    assert_eq!(attributes["container.name"], container.name, "{attributes}");
    assert_eq!(attributes["container.runtime.name"], "podman", "{attributes}");
}

#[test]
fn two_containers_contend_for_a_mutex_each_and_a_lock_of_redis_together() {
    let server = redis();
    let (port, host) = (server.port.to_string(), host_address());
    // One with glibc and its loader, one with musl in it: two file systems that share nothing.
    let roots = [compiled("contained"), compiled_statically_with_musl("contained")];
    let roots = roots.map(|program: PathBuf| Root::with(&program));
    let key = "lock:container:order";
    let arguments = [host.as_str(), port.as_str(), key];
    let environment = "--env=OTEL_RESOURCE_ATTRIBUTES=gen_ai.agent.name=planner,team=a%20b";
    let trace = "--env=TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut one = Container::start(&roots[0], &[environment, trace], &arguments);
    let mut two = Container::start(&roots[1], &["--cgroupns", "private"], &arguments);

    let redis = format!("{port}=redis");
    let watch = Watch::start(&["trace", "--exe", "/contained", "--server", &redis]);
    watch.probe.attached();
    let mut truth = Vec::new();
    for container in [&mut one, &mut two] {
        let said = container.does("mutex");
        let threads = ["holder", "waiter"].map(|who| said[who].as_u64().expect("an id"));
        assert!(threads.iter().all(|&tid| tid < 100), "ids of its own namespace: {said}");
        // The holder has ended by now; both are numbered one after the other, inside and outside.
        let waiter = container.thread(&said["waiter"]);
        truth.push((container.pid, waiter));
    }
    one.does("take");
    two.program.tell("take");
    std::thread::sleep(std::time::Duration::from_millis(300));
    one.does("release");
    let said = two.program.says();
    assert!(said["did"] == "take" && number(&said, "tries") > 1, "{said}");
    two.does("release");
    let (pids, id) = ([one.pid, two.pid], [one.id.clone(), two.id.clone()]);
    let ended = |records: &Records| [&one, &two].iter().for_each(|c| check_identity(records, c));
    watch.until_some(|r| {
        r["record"] == "hold" && r["process.pid"] == pids[1] && r["lock.system.name"] == "redis"
    });
    watch.probe.signal(libc::SIGINT);
    let records = watch.records();
    ended(&records);
    assert_ne!(id[0], id[1]);
    let first = process(&records, pids[0]);
    assert_eq!(first["attributes"]["gen_ai.agent.name"], "planner");
    assert_eq!(first["attributes"]["team"], "a b");
    assert!(text(first, "trace_parent").ends_with("-00f067aa0ba902b7-01"));
    assert_eq!(first["process.executable.path"], "/contained");
    // A mutex of musl does not say who has it.
    let systems = [("pthread", "owner_word"), ("musl", "waker")];
    for ((system, source), (pid, waiter)) in systems.iter().zip(truth) {
        let wait = records.acquire_of(waiter);
        assert_eq!(wait["process.pid"], pid, "{wait}");
        assert_eq!(wait["lock.system.name"], *system, "{wait}");
        assert_eq!(wait["lock.name"], "contained_lock", "{wait}");
        assert_eq!(wait["lock.holder.pid"], pid, "{wait}");
        let holder = number(wait, "lock.holder.tid");
        assert!(holder != pid && holder < waiter && waiter - holder < 1000, "{wait}");
        assert_eq!(wait["lock.handed_over_by.tid"], holder, "{wait}");
        assert_eq!(wait["lock.holder.source"], *source, "{wait}");
    }
    check_redis(&records, pids, &server);
    one.end();
    two.end();
}

#[track_caller]
fn check_redis(records: &Records, pids: [u64; 2], server: &Server) {
    let of_redis = |r: &&Value| r["lock.system.name"] == "redis";
    let waits: Vec<_> = records.acquires().into_iter().filter(of_redis).collect();
    let of = |pid: u64| waits.iter().filter(|r| r["process.pid"] == pid).collect::<Vec<_>>();
    let [wait] = of(pids[1])[..] else { panic!("{waits:#?}") };
    assert_eq!(wait["lock.outcome"], "acquired", "{wait}");
    assert_eq!(wait["lock.holder.pid"], pids[0], "{wait}");
    assert_eq!(wait["server.port"], server.port, "{wait}");
    assert!(wait["lock.wait.duration"].as_f64().expect("seconds") > 0.2, "{wait}");
    let holds: Vec<_> = records.holds().into_iter().filter(of_redis).collect();
    let holders: Vec<u64> = holds.iter().map(|r| number(r, "process.pid")).collect();
    assert_eq!(holders, pids, "{holds:#?}");
    assert!(holds.iter().all(|r| r["lock.hold.end"] == "released"), "{holds:#?}");
    let names: Vec<_> = holds.iter().chain(&waits).map(|r| text(r, "lock.id")).collect();
    assert!(names.iter().all(|id| *id == names[0]), "{names:?}");
}

#[test]
fn files_of_containers_are_named_as_their_processes_see_them() {
    let server = redis();
    let (port, host) = (server.port.to_string(), host_address());
    let arguments = [host.as_str(), port.as_str(), "-"];
    let root = Root::with(&compiled("contained"));
    let shared = tempfile::tempdir().unwrap();
    let volume = format!("--volume={}:/shared", shared.path().display());
    let mut one = Container::start(&root, &[&volume], &arguments);
    let mut two = Container::start(&root, &[&volume], &arguments);
    let watch = Watch::start(&["trace", "--exe", "/contained"]);
    watch.probe.attached();
    let said = one.does("flock /tmp/own.lock");
    let own = one.thread(&said["waiter"]);
    one.does("grab /shared/common.lock");
    two.program.tell("grab /shared/common.lock");
    std::thread::sleep(std::time::Duration::from_millis(200));
    one.does("drop");
    assert_eq!(two.program.says()["did"], "grab");
    two.does("drop");
    let pids = [one.pid, two.pid];
    watch.until_some(|r| r["record"] == "acquire" && r["process.pid"] == pids[1]);
    watch.until_some(|r| r["record"] == "acquire" && r["process.pid"] == pids[0]);
    watch.probe.signal(libc::SIGINT);
    let records = watch.records();
    let wait = records.acquire_of(own);
    assert_eq!(wait["lock.name"], "/tmp/own.lock", "on the overlay: {wait}");
    assert_eq!(
        (&wait["lock.system.name"], &wait["lock.holder.pid"]),
        (&"flock".into(), &pids[0].into())
    );
    let wait = records.acquire_of(pids[1]);
    assert_eq!(wait["lock.name"], "/shared/common.lock", "of both: {wait}");
    assert_eq!(wait["lock.holder.pid"], pids[0], "the other container: {wait}");
    assert!(wait["lock.wait.duration"].as_f64().expect("seconds") > 0.15, "{wait}");
    one.end();
    two.end();
}

#[test]
fn from_a_container_of_its_own_it_sees_in_which_the_others_run() {
    let server = redis();
    let (port, host) = (server.port.to_string(), host_address());
    let root = Root::with(&compiled("contained"));
    let marks = ["--env=AI_AGENT=planner@2"];
    let mut one = Container::start(&root, &marks, &[host.as_str(), port.as_str(), "-"]);
    let pid = one.pid;
    let watch = Contained::lockprobe(&["trace", "--format", "jsonl", "-p", &pid.to_string()]);
    let said = one.does("mutex");
    let waiter = one.thread(&said["waiter"]);
    let id = one.id.clone();
    one.end();
    let records = watch.wait().expect(0).records();
    let wait = records.acquire_of(waiter);
    assert_eq!((&wait["lock.name"], &wait["process.pid"]), (&"contained_lock".into(), &pid.into()));
    let attributes = &process(&records, pid)["attributes"];
    assert_eq!(attributes["container.id"], id, "{attributes}");
    assert_eq!(attributes["gen_ai.agent.name"], "planner", "{attributes}");
    assert_eq!(attributes["gen_ai.agent.version"], "2", "{attributes}");
}

/// A group made by hand as the kubelet makes them; removed when dropped.
struct PodGroup(Vec<PathBuf>);

impl PodGroup {
    fn new(uid: &str, id: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let root = mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let fits = after.starts_with("cgroup2 ");
            fits.then(|| PathBuf::from(before.split(' ').nth(4).expect("a path")))
        });
        let mut path = root.expect("control groups of version 2");
        let parts =
            ["kubepods".to_owned(), "besteffort".into(), format!("pod{uid}"), id.to_owned()];
        let made = parts.iter().filter_map(|part| {
            path.push(part);
            std::fs::create_dir(&path).is_ok().then(|| path.clone())
        });
        Self(made.collect())
    }

    fn add(&self, pid: u32) {
        let last = self.0.last().expect("made");
        std::fs::write(last.join("cgroup.procs"), pid.to_string()).expect("a group to be in");
    }
}

impl Drop for PodGroup {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            lockprobe_tests::until("the group is empty", || std::fs::remove_dir(path).ok());
        }
    }
}

#[test]
fn a_process_of_a_pod_is_known_by_its_group() {
    // No runtime of Kubernetes runs here: the group is made by hand in its layout.
    let uid = format!("74c13223-5a00-11e9-b385-{:012x}", std::process::id());
    let id = format!("{:064x}", std::process::id());
    let group = PodGroup::new(&uid, &id);
    let mut program = Program::start("scene", ["begin", "60"]);
    group.add(program.pid());
    let watch = Watch::pid(program.pid());
    let pid = u64::from(program.pid());
    program.go_on();
    program.end();
    let records = watch.records();
    let attributes = &process(&records, pid)["attributes"];
    assert_eq!(attributes["container.id"], id, "{attributes}");
    assert_eq!(attributes["k8s.pod.uid"], uid, "{attributes}");
    assert_eq!(attributes.get("container.runtime.name"), None, "this layout does not tell");
}

#[test]
fn a_process_is_described_again_once_its_pod_is_known() {
    let uid = format!("74c13223-5a00-11e9-b385-1{:011x}", std::process::id());
    let id = format!("1{:063x}", std::process::id());
    let group = PodGroup::new(&uid, &id);
    let mut cluster = Cluster::start();
    let mut program = Program::start("scene", ["stay", "60"]);
    group.add(program.pid());
    let pid = program.pid();
    let output = tempfile::NamedTempFile::new().unwrap();
    let (path, of) = (output.path().to_str().unwrap(), pid.to_string());
    let probe =
        cluster.lockprobe("worker-1", &["trace", "--format", "jsonl", "-p", &of, "--output", path]);
    probe.attached();
    let asked = [cluster.asked(), cluster.asked()];
    assert!(
        text(&asked[0], "path").contains("fieldSelector=spec.nodeName%3Dworker%2D1"),
        "{asked:?}"
    );
    assert_eq!(asked[1]["did"], "watch");
    program.go_on();
    let written = || std::fs::read_to_string(path).unwrap();
    let seen = |mark: &str| {
        lockprobe_tests::until(mark, || written().contains(mark).then_some(()));
    };
    seen(r#""record":"process""#);
    assert!(written().contains(&uid) && !written().contains("shop-0"));
    let status = serde_json::json!([{"name": "app", "containerID": format!("containerd://{id}")}]);
    let owner = serde_json::json!([{"kind": "StatefulSet", "name": "shop", "controller": true}]);
    let pod = serde_json::json!({
        "metadata": {"name": "shop-0", "namespace": "prod", "uid": uid, "resourceVersion": "2",
            "ownerReferences": owner},
        "spec": {"nodeName": "worker-1"},
        "status": {"containerStatuses": status},
    });
    cluster.tell("ADDED", &pod);
    seen("shop-0");
    program.go_on();
    program.end();
    let ended = probe.wait().expect(0);
    assert_eq!(
        ended.stderr,
        "lockprobe: Kubernetes: the API server names 0 pods of node worker-1\n"
    );
    let records = Records::read(&written());
    let said: Vec<_> = records.of_kind("process").map(|r| text(r, "service.name")).collect();
    assert_eq!(said, ["scene", "shop"]);
    let attributes = &process(&records, pid.into())["attributes"];
    assert_eq!(attributes["k8s.statefulset.name"], "shop", "{attributes}");
    assert_eq!(attributes["k8s.container.name"], "app", "{attributes}");
}
