//! Looking at a process to see whether it is one that is meant.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use procfs::net::TcpState;
use procfs::process::{FDTarget, Process, all_processes};

use super::Locator;
use crate::select::{Candidate, Needs};

/// Ports by process.
pub type Ports = HashMap<u32, BTreeSet<u16>>;

/// Longest command line looked at, bytes.
const COMMAND_BYTES: u64 = 64 << 10;
/// Longest environment looked at, bytes.
const ENVIRONMENT_BYTES: u64 = 1 << 20;
/// Longest list of control groups, bytes.
const CGROUP_BYTES: u64 = 64 << 10;
/// Most processes whose ports are remembered, and ports of one.
const LISTENERS: usize = 16_384;
const PORTS_EACH: usize = 64;

/// What has to be known of a process, as far as it can be.
pub fn look(pid: u32, needs: &Needs, ports: &Ports, locate: Option<&Locator>) -> Candidate {
    let listens = || ports.get(&pid).into_iter().flatten().copied().collect();
    Candidate {
        executable: needs.executable.then(|| super::targets::executable(pid)).flatten(),
        command: needs.command.then(|| command(pid)).flatten(),
        environment: variables(pid, &needs.variables),
        cgroups: if needs.cgroups { cgroups(pid) } else { Vec::new() },
        whereabouts: match locate {
            Some(locate) if needs.whereabouts => locate(pid),
            _ => Default::default(),
        },
        ports: if needs.ports { listens() } else { Vec::new() },
    }
}

fn bounded(pid: u32, file: &str, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/{file}")).ok()?;
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn command(pid: u32) -> Option<String> {
    let bytes = bounded(pid, "cmdline", COMMAND_BYTES)?;
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if words.is_empty() {
        return None;
    }
    let words: Vec<u8> = words.iter().map(|&b| if b == 0 { b' ' } else { b }).collect();
    Some(String::from_utf8_lossy(&words).into_owned())
}

/// Those of these variables that are set; no other is kept for longer than it takes to see that
/// it is another.
fn variables(pid: u32, names: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if names.is_empty() {
        return found;
    }
    let Ok(file) = File::open(format!("/proc/{pid}/environ")) else { return found };
    let mut reader = BufReader::with_capacity(4096, file.take(ENVIRONMENT_BYTES));
    let mut variable = Vec::new();
    while reader.read_until(0, &mut variable).is_ok_and(|n| n > 0) {
        let text = variable.strip_suffix(b"\0").unwrap_or(&variable);
        let name = text.split(|&b| b == b'=').next().unwrap_or_default();
        if let Some(name) = names.iter().find(|known| known.as_bytes() == name) {
            let value = text.get(name.len() + 1..).unwrap_or_default();
            found.push((name.clone(), String::from_utf8_lossy(value).into_owned()));
        }
        variable.clear();
    }
    found
}

/// Paths of its control groups, of all hierarchies: `id:controllers:path` each (cgroups(7)).
fn cgroups(pid: u32) -> Vec<String> {
    let bytes = bounded(pid, "cgroup", CGROUP_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let paths: BTreeSet<String> = text.lines().filter_map(path).collect();
    paths.into_iter().collect()
}

/// Notes that a process listens.
pub fn listens(ports: &mut Ports, pid: u32, port: u16) {
    if ports.len() >= LISTENERS && !ports.contains_key(&pid) {
        return;
    }
    let of_process = ports.entry(pid).or_default();
    if of_process.len() < PORTS_EACH {
        of_process.insert(port);
    }
}

/// Who listens where now: the sockets of each network namespace, found again among the descriptors
/// of processes.
pub fn listeners() -> Ports {
    let mut found = Ports::new();
    let mut spaces = HashSet::new();
    let mut sockets: HashMap<u64, u16> = HashMap::new();
    let Ok(processes) = all_processes() else { return found };
    let processes: Vec<Process> = processes.flatten().collect();
    for process in &processes {
        let space = std::fs::read_link(format!("/proc/{}/ns/net", process.pid));
        // Those of a process whose namespace cannot be told are looked at all the same.
        if space.is_ok_and(|space| !spaces.insert(space)) {
            continue;
        }
        let tables = [process.tcp(), process.tcp6()];
        let entries = tables.into_iter().flatten().flatten();
        let listening = entries.filter(|entry| entry.state == TcpState::Listen);
        sockets.extend(listening.map(|entry| (entry.inode, entry.local_address.port())));
    }
    for process in &processes {
        let Ok(descriptors) = process.fd() else { continue };
        for descriptor in descriptors.flatten() {
            if let FDTarget::Socket(inode) = descriptor.target
                && let Some(&port) = sockets.get(&inode)
                && let Ok(pid) = u32::try_from(process.pid)
            {
                listens(&mut found, pid, port);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let needs = Needs {
            executable: true,
            command: true,
            variables: vec!["PATH".into(), "NO_SUCH_VARIABLE".into()],
            cgroups: true,
            whereabouts: true,
            ports: true,
        };
        let locate: Locator = std::sync::Arc::new(|pid| crate::model::Whereabouts {
            pod: Some(format!("pod-{pid}")),
            ..Default::default()
        });
        let own = std::process::id();
        let found = look(own, &needs, &listeners(), Some(&locate));
        assert_eq!(found.executable, std::env::current_exe().ok());
        assert!(found.command.unwrap().contains("lockprobe"));
        assert_eq!(found.environment, [("PATH".to_owned(), std::env::var("PATH").unwrap())]);
        assert!(found.ports.contains(&port), "{:?}", found.ports);
        assert!(found.cgroups.iter().all(|path| path.starts_with('/')));
        assert_eq!(found.whereabouts.pod, Some(format!("pod-{own}")));
        let nothing = look(own, &Needs::default(), &Ports::new(), Some(&locate));
        assert!(nothing.executable.is_none() && nothing.environment.is_empty());
        assert_eq!(nothing.whereabouts, Default::default());
    }
}
