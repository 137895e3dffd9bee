//! Control groups as runtimes name them: texts of real machines.

use super::cgroup::{Container, Qos, Runtime, container, parse};

const A: &str = "4563bdde6dad0288c08a37ca5854f0d142076156c5d1f77f0349e2b9c468a406";
const B: &str = "dd909c5b0f5ba3faa0f20160227072e2e2cedfd2e773c4926ea9b364c21a8530";
const UID: &str = "74c13223-5a00-11e9-b385-42010a80018d";
const SLICE: &str = "74c13223_5a00_11e9_b385_42010a80018d";
const HASH: &str = "0123456789abcdef0123456789abcdef";

/// A container as `runtime id name pod class`, dashes for what is not said.
fn shown(container: Option<Container>) -> String {
    let Some(it) = container else { return "none".to_owned() };
    let id = match it.id.as_deref() {
        Some(A) => "A",
        Some(B) => "B",
        other => other.unwrap_or("-"),
    };
    let pod = match it.pod.as_deref() {
        Some(UID) => "UID",
        Some(HASH) => "HASH",
        other => other.unwrap_or("-"),
    };
    let qos = it.qos.map_or("-", |qos| match qos {
        Qos::Guaranteed => "guaranteed",
        Qos::Burstable => "burstable",
        Qos::BestEffort => "besteffort",
    });
    let runtime = it.runtime.map_or("-", Runtime::name);
    format!("{runtime} {id} {} {pod} {qos}", it.name.as_deref().unwrap_or("-"))
}

/// Paths, with A and B for ids, UID and HASH for pods, and what they say.
#[rustfmt::skip]
const PATHS: &[(&str, &str)] = &[
    // No container.
    ("/", "none"),
    ("/init.scope", "none"),
    ("/system.slice/docker.service", "none"),
    ("/system.slice/containerd.service", "none"),
    ("/user.slice/user-1000.slice/session-3.scope", "none"),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4711.scope", "none"),
    ("/kubepods.slice", "none"),
    ("/kubepods/burstable", "none"),
    ("/..", "none"),
    ("/../..", "none"),
    // Docker: with systemd, without, in a group of the user's, of an old version in a bare group.
    ("/system.slice/docker-A.scope", "docker A - - -"),
    ("/docker/A", "docker A - - -"),
    ("/docker/A/init.scope", "docker A - - -"),
    ("/batch.slice/docker-A.scope", "docker A - - -"),
    ("/actions_job/A", "- A - - -"),
    ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-A.scope", "docker A - - -"),
    // containerd: nerdctl, ctr.
    ("/system.slice/nerdctl-A.scope", "containerd A - - -"),
    ("/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-A.scope", "containerd A - - -"),
    ("/default/A", "- A - - -"),
    // podman: rootful with systemd and without, rootless, in a pod, and its conmon.
    ("/machine.slice/libpod-A.scope", "podman A - - -"),
    ("/machine.slice/libpod-A.scope/container", "podman A - - -"),
    ("/libpod_parent/libpod-A", "podman A - - -"),
    ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-A.scope/container", "podman A - - -"),
    ("/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_B.slice/libpod-A.scope", "podman A - - -"),
    ("/machine.slice/machine-libpod_pod_B.slice/libpod-A.scope", "podman A - - -"),
    ("/machine.slice/libpod-conmon-A.scope", "none"),
    // Kubernetes with containerd: systemd, cgroupfs, and without systemd's rights.
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSLICE.slice/cri-containerd-A.scope", "containerd A - UID burstable"),
    ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podSLICE.slice/cri-containerd-A.scope", "containerd A - UID besteffort"),
    ("/kubepods.slice/kubepods-podSLICE.slice/cri-containerd-A.scope", "containerd A - UID guaranteed"),
    ("/kubepods/besteffort/podUID/A", "- A - UID besteffort"),
    ("/kubepods/burstable/podUID/A", "- A - UID burstable"),
    ("/kubepods/podUID/A", "- A - UID guaranteed"),
    ("/system.slice/containerd.service/kubepods-burstable-podSLICE.slice:cri-containerd:A", "containerd A - UID burstable"),
    ("/kubepods-besteffort-podSLICE.slice:cri-containerd:A", "containerd A - UID besteffort"),
    // A group that the container made for itself, as with systemd in it.
    ("/kubepods/burstable/podUID/A/init.scope", "- A - UID burstable"),
    ("/kubepods.slice/kubepods-podSLICE.slice/cri-containerd-A.scope/system.slice/nginx.service", "containerd A - UID guaranteed"),
    ("/kubepods/burstable/podUID/A/docker/B", "- A - UID burstable"),
    // The pod itself.
    ("/kubepods/burstable/podUID", "- - - UID burstable"),
    // A static pod.
    ("/kubepods/burstable/podHASH/A", "- A - HASH burstable"),
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podHASH.slice/crio-A.scope", "cri-o A - HASH burstable"),
    // CRI-O, and its conmon.
    ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podSLICE.slice/crio-A.scope", "cri-o A - UID besteffort"),
    ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podSLICE.slice/crio-A.scope/container", "cri-o A - UID besteffort"),
    ("/kubepods/besteffort/podUID/crio-A", "cri-o A - UID besteffort"),
    ("/kubepods.slice/kubepods-podSLICE.slice/crio-conmon-A.scope", "- - - UID guaranteed"),
    // Docker under the kubelet.
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSLICE.slice/docker-A.scope", "docker A - UID burstable"),
    // A node that is a container: kind, minikube.
    ("/system.slice/docker-B.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podSLICE.slice/cri-containerd-A.scope", "containerd A - UID burstable"),
    ("/docker/B/kubelet/kubepods/besteffort/podUID/A", "- A - UID besteffort"),
    ("/docker/B/kubepods/podUID", "- - - UID guaranteed"),
    ("/docker/B/docker/A", "docker A - - -"),
    // Machines with names.
    ("/lxc.payload.web1", "lxc - web1 - -"),
    ("/lxc.payload/web1", "lxc - web1 - -"),
    ("/lxc/101/ns/init.scope", "lxc - 101 - -"),
    ("/lxc.monitor.web1", "none"),
    ("/machine.slice/systemd-nspawn@my-box.service/payload", "systemd-nspawn - my-box - -"),
    ("/machine.slice/systemd-nspawn@my\\x2dbox.service", "systemd-nspawn - my-box - -"),
    ("/machine.slice/machine-my\\x2dbox.scope", "systemd-nspawn - my-box - -"),
    ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt", "none"),
    // ECS on machines of one's own, and Fargate.
    ("/ecs/shop/HASH/A", "- A - - -"),
    ("/ecs/HASH/HASH-265927825", "- HASH-265927825 - - -"),
    // From inside another control group namespace (cgroup_namespaces(7)).
    ("/../libpod-A", "podman A - - -"),
    ("/../../kubepods-besteffort-podSLICE.slice/cri-containerd-A.scope", "containerd A - UID besteffort"),
    ("/../cri-containerd-A.scope", "containerd A - - -"),
    ("/../../podUID/A", "- A - UID -"),
    ("/../../burstable/podUID/A", "- A - UID burstable"),
    // What only looks like one.
    ("/docker/4563bdde6dad", "none"),
    ("/docker-4563bdde6dad0288c08a37ca5854f0d142076156c5d1f77f0349e2b9c468a40G.scope", "none"),
    ("/system.slice/podUID", "none"),
    ("/kubepods/podnot-a-uid/x", "none"),
    ("/evil-kubepods-extra-podSLICE.slice", "none"),
    ("/lxc/bad\u{1b}[2Jname", "none"),
    ("//////", "none"),
    ("", "none"),
];

fn filled(text: &str) -> String {
    let text = text.replace("UID", UID).replace("SLICE", SLICE).replace("HASH", HASH);
    // Ids stand by themselves; no other word of the table has these capitals.
    text.replace('A', A).replace('B', B)
}

#[test]
fn every_runtime_is_known_by_its_groups() {
    for (path, expected) in PATHS {
        let path = filled(path);
        let expected = expected.replace(HASH, "HASH");
        let told = shown(container(&path)).replace(HASH, "HASH");
        assert_eq!(told, expected, "{path}");
    }
}

#[test]
fn the_hierarchy_that_tells_counts() {
    // Version 2.
    let (path, told) = parse(&filled("0::/machine.slice/libpod-A.scope/container\n"));
    assert_eq!(path, filled("/machine.slice/libpod-A.scope/container"));
    assert_eq!(shown(told), "podman A - - -");
    // Version 1, as podman has it on this kind of machine.
    let text = "9:name=systemd:/libpod_parent/libpod-A\n8:pids:/libpod_parent/libpod-A\n0::/\n";
    assert_eq!(shown(parse(&filled(text)).1), "podman A - - -");
    // Some hierarchies only; a path with colons.
    let text = "12:cpu,cpuacct:/\n1:name=systemd:/user.slice\n4:memory:/docker/A\n0::/user.slice\n";
    assert_eq!(shown(parse(&filled(text)).1), "docker A - - -");
    let text = "3:memory:/system.slice/containerd.service/kubepods-podSLICE.slice:cri-containerd:A";
    assert_eq!(shown(parse(&filled(text)).1), "containerd A - UID guaranteed");
    // Some container of a pod is less than a certain one.
    let text = "0::/kubepods/podUID\n5:memory:/kubepods/podUID/A\n";
    assert_eq!(shown(parse(&filled(text)).1), "- A - UID guaranteed");
    assert_eq!(parse("0::/user.slice/a.scope\n1:cpu:/\n"), ("/user.slice/a.scope".into(), None));
    assert_eq!(parse("5:memory:/x/y\n0::/\n"), ("/x/y".into(), None));
    assert_eq!(parse("0::/\n"), ("/".into(), None));
    assert_eq!(parse(""), (String::new(), None));
    assert_eq!(parse("nonsense\n::\n:\n0:"), (String::new(), None));
}

#[test]
fn no_path_does_harm() {
    let long = format!("/{}", "kubepods-pod".repeat(100_000));
    assert_eq!(container(&long), None);
    let umlauts = "\u{e4}".repeat(4096);
    assert_eq!(container(&umlauts), None);
}
