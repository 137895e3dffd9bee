//! What the path of a control group says about a container (pure).
//!
//! Runtimes and the kubelet name groups after what they put into them. Only names that one of them
//! alone makes are believed:
//!
//! | made by | name |
//! |---|---|
//! | Docker | `docker-ID.scope`, `docker/ID` |
//! | containerd | `cri-containerd-ID.scope`, `kubepods-..slice:cri-containerd:ID`, `nerdctl-ID.scope` |
//! | CRI-O | `crio-ID.scope`, `crio-ID` |
//! | podman | `libpod-ID.scope`, `libpod-ID` |
//! | any, for a pod | `kubepods/burstable/podUID/ID`, `kubepods-..-podUID.slice` |
//! | LXC, LXD | `lxc.payload.NAME`, `lxc.payload/NAME`, `lxc/NAME` |
//! | systemd | `systemd-nspawn@NAME.service`, `machine-NAME.scope` |
//! | ECS | `ecs/TASK/ID`, `ecs/TASK/TASK-NUMBER` |
//!
//! Where groups are nested, the innermost container counts, for `kind` runs nodes as containers; in
//! a pod, the pod's. Who may make groups may name them like somebody else's container.

/// What keeps a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd, by way of Kubernetes or nerdctl.
    Containerd,
    /// CRI-O.
    Crio,
    /// podman.
    Podman,
    /// LXC and LXD.
    Lxc,
    /// systemd-nspawn and what else registers machines.
    Nspawn,
}

impl Runtime {
    /// `container.runtime.name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
            Self::Nspawn => "systemd-nspawn",
        }
    }
}

/// How Kubernetes treats a pod when memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// It has what it asked for.
    Guaranteed,
    /// It may have more than it asked for.
    Burstable,
    /// It asked for nothing.
    BestEffort,
}

/// A container, as its control group names it. One with neither id nor name is some container of
/// its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// `container.id`.
    pub id: Option<String>,
    /// Its name, where groups are named after that.
    pub name: Option<String>,
    /// What keeps it, where the name of the group tells.
    pub runtime: Option<Runtime>,
    /// UID of the pod; of a static pod the hash of its file.
    pub pod: Option<String>,
    /// Class of the pod.
    pub qos: Option<Qos>,
}

/// Bytes of a path that are looked at.
const LONGEST: usize = 4096;
/// Bytes of the name of a machine (machinectl(1): a host name).
const LONGEST_NAME: usize = 64;

/// The text of `/proc/PID/cgroup`: the path of the group, and the container it says.
///
/// Version 2 first, then systemd's own hierarchy, then the others: a runtime may put a process
/// into some of them only.
pub fn parse(text: &str) -> (String, Option<Container>) {
    let lines = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    let rank = |of: &str| match of {
        "" => 0,
        "name=systemd" => 1,
        _ => 2,
    };
    let mut lines: Vec<(&str, &str)> = lines.collect();
    lines.sort_by_key(|(of, _)| rank(of));
    let told = lines.iter().filter_map(|(_, path)| Some((*path, container(path)?)));
    // Some container of a pod is less than a certain one.
    let best = told.min_by_key(|(_, told)| told.id.is_none() && told.name.is_none());
    if let Some((path, container)) = best {
        return (path.to_owned(), Some(container));
    }
    let longest = lines.iter().find(|(_, path)| path.len() > 1).or(lines.first());
    (longest.map_or_else(String::new, |(_, path)| (*path).to_owned()), None)
}

/// What a path says. `..` leads out of our own control group namespace (cgroup_namespaces(7)): the
/// names behind it are still true, those that it leaves out are not to be had.
pub fn container(path: &str) -> Option<Container> {
    let path = path.get(..LONGEST).unwrap_or(path);
    let mut found: Option<Container> = None;
    let mut pod: Option<String> = None;
    let mut before = "";
    // containerd without systemd's rights has the three parts of its name in one.
    for part in path.split(['/', ':']).filter(|part| !part.is_empty() && *part != "..") {
        if let Some(uid) = pod_of(part, before) {
            pod = Some(uid);
            // What contains the pod is the node.
            found = None;
        } else if pod.is_none() || found.is_none() {
            // What a container of a pod keeps in itself is its own affair.
            found = of_part(part, before).or(found);
        }
        before = part;
    }
    if pod.is_none() {
        return found;
    }
    Some(Container { pod, qos: qos(path), ..found.unwrap_or_default() })
}

fn of_part(part: &str, parent: &str) -> Option<Container> {
    const PREFIXES: &[(&str, Runtime)] = &[
        ("cri-containerd-", Runtime::Containerd),
        ("nerdctl-", Runtime::Containerd),
        ("crio-", Runtime::Crio),
        ("docker-", Runtime::Docker),
        ("libpod-", Runtime::Podman),
    ];
    let unit = part.strip_suffix(".scope").unwrap_or(part);
    let with = |id: &str, runtime| Container { id: Some(id.to_owned()), runtime, ..<_>::default() };
    for (prefix, runtime) in PREFIXES {
        // `crio-conmon-ID` and `libpod-conmon-ID` are those who watch over the container.
        if let Some(id) = unit.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some(with(id, Some(*runtime)));
        }
    }
    if is_id(part) {
        let runtime = match parent {
            "docker" => Some(Runtime::Docker),
            "cri-containerd" => Some(Runtime::Containerd),
            _ => None,
        };
        return Some(with(part, runtime));
    }
    if is_of_task(part, parent) {
        return Some(with(part, None));
    }
    let (name, runtime) = named(part, parent)?;
    let name = unescaped(name)?;
    Some(Container { name: Some(name), runtime: Some(runtime), ..Container::default() })
}

/// 64 hexadecimal digits, as all of Docker, containerd, CRI-O and podman make them.
fn is_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Fargate: the task's id, a dash and a number, in the group of the task.
fn is_of_task(part: &str, parent: &str) -> bool {
    let number = part.strip_prefix(parent).and_then(|rest| rest.strip_prefix('-'));
    let digits = |n: &str| (1..=20).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit());
    parent.len() == 32 && is_hex(parent) && number.is_some_and(digits)
}

/// Machines that have a name instead.
fn named<'a>(part: &'a str, parent: &str) -> Option<(&'a str, Runtime)> {
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some((name, Runtime::Lxc));
    }
    if matches!(parent, "lxc" | "lxc.payload") {
        return Some((part, Runtime::Lxc));
    }
    let unit = part.strip_suffix(".service").and_then(|u| u.strip_prefix("systemd-nspawn@"));
    // Virtual machines are registered likewise; what they run is not seen from here.
    let machine = part.strip_suffix(".scope").and_then(|u| u.strip_prefix("machine-"));
    let machine = machine.filter(|name| !name.starts_with("qemu") && !name.starts_with("lxc"));
    unit.or(machine).map(|name| (name, Runtime::Nspawn))
}

/// systemd writes `-` as `\x2d` (systemd.unit(5)).
fn unescaped(name: &str) -> Option<String> {
    let name = name.replace("\\x2d", "-");
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let formed = (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(good);
    formed.then_some(name)
}

/// `podUID` in `kubepods`, or `kubepods-burstable-podUID.slice`, in which `_` stands for `-`.
fn pod_of(part: &str, parent: &str) -> Option<String> {
    let uid = match part.strip_suffix(".slice") {
        Some(slice) => {
            let (before, uid) = slice.rsplit_once("-pod")?;
            let before = before.strip_suffix("-besteffort").unwrap_or(before);
            let before = before.strip_suffix("-burstable").unwrap_or(before);
            // `kind` has the kubelet's own slice in front.
            (before == "kubepods" || before.ends_with("-kubepods")).then_some(uid)?
        }
        None => {
            // Behind `..` the group it is in may be one of those left out.
            let inside = matches!(parent, "kubepods" | "besteffort" | "burstable" | "");
            part.strip_prefix("pod").filter(|_| inside)?
        }
    };
    let uid = uid.replace('_', "-");
    // A static pod has the hash of its file: 32 digits without dashes.
    let dashes =
        uid.bytes().enumerate().all(|(at, b)| (b == b'-') == [8, 13, 18, 23].contains(&at));
    let is_uid = uid.len() == 36 && dashes && is_hex(&uid.replace('-', ""));
    (is_uid || uid.len() == 32 && is_hex(&uid)).then_some(uid)
}

fn qos(path: &str) -> Option<Qos> {
    let has = |class: &str| path.split(['/', ':', '-', '.']).any(|word| word == class);
    match () {
        () if has("besteffort") => Some(Qos::BestEffort),
        () if has("burstable") => Some(Qos::Burstable),
        () => has("kubepods").then_some(Qos::Guaranteed),
    }
}
