//! What a lock is called in metrics: few names, where locks may be many.

use std::sync::Arc;

use crate::model::{LockDescription, LockId, LockKind, Mode, Wakes};

/// Longest name, in characters.
const LONGEST: usize = 160;

/// The family a lock belongs to. What is named after the place in the code that waits for it keeps
/// its name: there are no more of these than code has places. `template` replaces numbers.
pub fn family(lock: &LockDescription, template: fn(&str) -> String) -> Arc<str> {
    let site = || lock.call_site.as_ref().map(ToString::to_string);
    let unnamed = lock.name.starts_with("0x") || *lock.name == *lock.id.to_string();
    match lock.id {
        LockId::Process { .. } => return lock.name.clone(),
        LockId::Private { .. } | LockId::Shared { .. } if unnamed => {
            return match site() {
                Some(site) => cut(&site),
                None => kind(lock.kind),
            };
        }
        LockId::Private { .. } | LockId::Shared { .. }
            if site().as_deref() == Some(&*lock.name) =>
        {
            return cut(&lock.name);
        }
        _ if unnamed => return kind(lock.kind),
        _ => {}
    }
    cut(&template(&without_addresses(&lock.name)))
}

/// Some lock of this kind.
fn kind(kind: LockKind) -> Arc<str> {
    format!("{} {}", kind.system(), kind.name()).into()
}

fn cut(name: &str) -> Arc<str> {
    match name.char_indices().nth(LONGEST) {
        Some((at, _)) => name[..at].into(),
        None => name.into(),
    }
}

/// Hexadecimal numbers with their prefix become `*`.
fn without_addresses(name: &str) -> String {
    let mut parts = name.split("0x");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        let after_word = out.chars().last().is_some_and(char::is_alphanumeric);
        if rest.len() == part.len() || after_word {
            out.push_str("0x");
            out.push_str(part);
        } else {
            out.push('*');
            out.push_str(rest);
        }
    }
    out
}

/// How every wait for a lock of this kind would have it; empty where that differs.
pub fn only_mode(kind: LockKind) -> &'static str {
    use LockKind::*;
    let shared = matches!(
        kind,
        Flock
            | PosixFile
            | OpenFile
            | SysvSemaphore
            | RedisSemaphore
            | ZooKeeperRwLock
            | ZooKeeperSemaphore
            | PostgresAdvisory
            | PostgresRow
            | PostgresTable
            | MysqlRow
            | Unknown
    );
    if shared || kind.wakes() != Wakes::Owner {
        Mode::Unknown.name()
    } else {
        Mode::Exclusive.name()
    }
}

/// Whether run times cut waits for such locks into slices, each of which the kernel half counts:
/// of these only what is too short to be told counts.
pub fn comes_in_slices(kind: LockKind) -> bool {
    matches!(kind, LockKind::PythonGil | LockKind::JavaMonitor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CallSite;

    fn lock(id: LockId, name: &str, site: Option<&str>) -> LockDescription {
        let site = site.map(|function| CallSite {
            function: function.into(),
            source: Some(("/src/worker.c".into(), 42)),
            module: "worker".into(),
            offset: 16,
        });
        let kind = LockKind::PthreadMutex;
        let (confirmed, address, name) = (true, None, name.into());
        LockDescription { id, kind, name, confirmed, call_site: site, address }
    }

    #[test]
    fn families_of_locks() {
        let private = LockId::Private { pid: 7, image: 0, address: 0x7f00_1000 };
        let shared = LockId::Shared { device: 1, inode: 2, offset: 3 };
        let file = LockId::File { device: 8, inode: 9, fcntl: false, start: 0, end: 7 };
        let numbers = |name: &str| name.replace("42", "*");
        for (id, name, site, expected) in [
            (private, "queue_lock", None, "queue_lock"),
            (private, "pool+0x1c0", Some("take"), "pool+*"),
            (private, "0x7f001000", Some("take"), "worker.c:42 in take"),
            (private, "worker.c:42 in take", Some("take"), "worker.c:42 in take"),
            (private, "0x7f001000", None, "pthread mutex"),
            (shared, "futex:dev1:ino2:0x3", None, "pthread mutex"),
            (file, "/run/job-42.lock[0..=9]", None, "/run/job-*.lock[0..=9]"),
            (file, "flock:dev8:ino9", None, "pthread mutex"),
            (private, "a0x1 0x 0xz", None, "a0x1 0x 0xz"),
        ] {
            assert_eq!(&*family(&lock(id, name, site), numbers), expected, "{name}");
        }
        let long = "é".repeat(500);
        assert_eq!(family(&lock(private, &long, None), str::to_owned).chars().count(), LONGEST);
    }
}
