//! What the host is called for good: its machine-id.

use std::fs;
use std::path::PathBuf;

use crate::enrich::thread::read_bounded;

/// Number of the first PID namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const FIRST: &str = "pid:[4026531836]";

/// Root of the host's files: through its first process where that is the host's, else none. On the
/// host itself both are the same; in a container of ours, our own files say nothing of the host.
pub fn root() -> Option<PathBuf> {
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let root = PathBuf::from("/proc/1/root");
    (namespace.to_str() == Some(FIRST) && fs::metadata(&root).is_ok()).then_some(root)
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
