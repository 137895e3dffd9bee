//! A process as rules see it.

use super::container::{Containers, Identity};
use super::process::{Process, Wanted};
use super::thread::read_bounded;
use crate::select::Candidate;

/// Sockets and descriptors of a process looked at for ports.
const MOST: usize = 16_384;

/// A process, by itself and where it runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// What it is by itself.
    pub process: Process,
    /// Where it runs.
    pub identity: Identity,
}

impl Subject {
    /// Looks at a process, and at those variables of its environment.
    pub fn of(pid: u32, wanted: &Wanted, containers: &Containers) -> Self {
        let process = Process::of(pid, wanted);
        Self { process, identity: containers.of(pid).unwrap_or_default() }
    }

    /// What selectors are asked about; who listens where only if that matters.
    pub fn candidate(&self, by_port: bool) -> Candidate {
        let Self { process, identity } = self;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let environment = process.environment.all();
        Candidate {
            executable: some(&process.executable).map(Into::into),
            command: some(&process.command.join(" ")),
            environment: environment.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            cgroups: some(&identity.cgroup).into_iter().collect(),
            whereabouts: identity.whereabouts(),
            ports: if by_port { ports(process.pid) } else { Vec::new() },
        }
    }
}

/// TCP ports that a process listens at.
fn ports(pid: u32) -> Vec<u16> {
    let sockets: Vec<(u64, u16)> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|file| read_bounded(format!("/proc/{pid}/net/{file}"), 4 << 20))
        .flat_map(|bytes| listening(&String::from_utf8_lossy(&bytes)))
        .collect();
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let port = |entry: std::fs::DirEntry| {
        let link = std::fs::read_link(entry.path()).ok()?;
        let inode =
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()?;
        sockets.iter().find(|(of, _)| *of == inode).map(|(_, port)| *port)
    };
    match sockets.is_empty() {
        true => Vec::new(),
        false => open.flatten().take(MOST).filter_map(port).collect(),
    }
}

/// Sockets that listen, by inode, and their ports (proc(5), `/proc/net/tcp`): the second field is
/// the address, the fourth the state, the tenth the inode.
fn listening(text: &str) -> Vec<(u64, u16)> {
    const LISTEN: &str = "0A";
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, state) = (fields.next()?, fields.nth(1)?);
        let inode = fields.nth(5)?.parse().ok()?;
        let port = u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()?;
        (state == LISTEN).then_some((inode, port))
    };
    text.lines().skip(1).take(MOST).filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::container::Container;
    use crate::enrich::kubernetes::Pod;
    use crate::enrich::process::Environment;
    use crate::model::Selector;
    use crate::select::Matcher;
    use std::sync::Arc;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn worker() -> Subject {
        let process = Process {
            pid: u32::MAX,
            executable: "/usr/bin/python3.11".into(),
            command: ["python3", "-m", "agents.planner", "--fast"].map(String::from).to_vec(),
            environment: Environment::from([("ROLE", "planner-7")]),
            ..Process::default()
        };
        let labels = [("app".to_owned(), "shop".to_owned())];
        let pod = Pod {
            name: "planner-abc".into(),
            namespace: "prod".into(),
            labels: labels.into_iter().collect(),
            ..Pod::default()
        };
        let container = Container { id: some("4563bdde"), ..Container::default() };
        let identity = Identity {
            cgroup: "/kubepods/burstable/pod1/4563bdde".into(),
            container: Some(container),
            container_name: some("app"),
            pod: Some(Arc::new(pod)),
        };
        Subject { process, identity }
    }

    #[test]
    fn selectors_see_all_that_is_known() {
        let given =
            |name: &str, glob: &str| [(name.to_owned(), glob.to_owned())].into_iter().collect();
        let all = Selector::default;
        #[rustfmt::skip]
        let table: Vec<(Selector, bool, &str)> = vec![
            (Selector { exe: some("python3*"), ..all() }, true, "executable"),
            (Selector { command: some(r"-m agents\.\w+"), ..all() }, true, "command"),
            (Selector { env: given("ROLE", "planner-*"), ..all() }, true, "variable"),
            (Selector { env: given("OTHER", "*"), ..all() }, false, "not set"),
            (Selector { cgroup: some("/kubepods/*"), ..all() }, true, "group"),
            (Selector { container: some("app"), ..all() }, true, "container's name"),
            (Selector { container: some("4563*"), ..all() }, true, "container's id"),
            (Selector { namespace: some("prod"), pod: some("planner-*"), ..all() }, true, "pod"),
            (Selector { namespace: some("test"), ..all() }, false, "another namespace"),
            (Selector { pod_labels: given("app", "s*p"), ..all() }, true, "label"),
            (Selector { port: Some(1), ..all() }, false, "port of nobody"),
        ];
        for (selector, expected, what) in table {
            let matcher = Matcher::new(&selector).unwrap();
            assert_eq!(matcher.matches(&worker().candidate(true)), expected, "{what}");
            assert!(!matcher.matches(&Subject::default().candidate(true)), "{what}: of nobody");
        }
    }

    #[test]
    fn who_listens_is_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (own, port) = (std::process::id(), listener.local_addr().unwrap().port());
        assert!(ports(own).contains(&port));
        let parent = std::os::unix::process::parent_id();
        assert!(!ports(parent).contains(&port), "its parent has it not");
        let connected = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(listener);
        assert!(!ports(own).contains(&port), "connected is not listening");
        drop(connected);
    }
}
