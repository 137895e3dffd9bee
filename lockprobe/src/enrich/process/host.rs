//! What the host is called for good: its machine-id.

use std::fs;
use std::path::PathBuf;

use crate::enrich::container::cgroup;
use crate::enrich::thread::read_bounded;

/// Numbers of the first namespaces of processes and of control groups (include/linux/proc_ns.h).
const FIRST_PIDS: &str = "pid:[4026531836]";
const FIRST_GROUPS: &str = "cgroup:[4026531835]";

/// Root of the host's files: that of its first process, else our own where we run in no container.
/// In a container of ours, our own files say nothing of the host.
pub fn root() -> Option<PathBuf> {
    let is = |namespace: &str, first: &str| {
        let own = fs::read_link(format!("/proc/self/ns/{namespace}"));
        own.is_ok_and(|own| own.to_str() == Some(first))
    };
    if !is("pid", FIRST_PIDS) {
        return None;
    }
    let first = PathBuf::from("/proc/1/root");
    if fs::metadata(first.join("etc")).is_ok() {
        return Some(first);
    }
    let groups = read_bounded("/proc/self/cgroup", 64 << 10)?;
    let (_, container) = cgroup::parse(&String::from_utf8_lossy(&groups));
    (is("cgroup", FIRST_GROUPS) && container.is_none()).then(|| "/".into())
}

/// `host.id`.
pub fn id() -> Option<String> {
    let root = root()?;
    let files = ["etc/machine-id", "var/lib/dbus/machine-id"];
    files.iter().find_map(|file| machine_id(&read_bounded(root.join(file), 64)?))
}

/// 32 hexadecimal digits and the end of the line (machine-id(5)).
fn machine_id(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\n');
    let good = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    (good && text.bytes().any(|b| b != b'0')).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_is_one_or_none() {
        let good = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(machine_id(format!("{good}\n").as_bytes()), Some(good.to_ascii_lowercase()));
        for bad in ["", "uninitialized\n", &"0".repeat(32), &good[1..], "\u{1b}[2J"] {
            assert_eq!(machine_id(bad.as_bytes()), None, "{bad}");
        }
    }
}
