//! Numbers and names as people read them.

use crate::model::{Holder, HolderSource, ThreadId};

/// A duration in nanoseconds with three figures and a unit: `1.23 ms`.
pub fn duration(nanos: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let (size, unit) = UNITS.into_iter().find(|(size, _)| nanos >= *size).unwrap_or((1, "ns"));
    if size == 1 {
        return format!("{nanos} ns");
    }
    let value = nanos as f64 / size as f64;
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

/// A thread by name and id; by id alone when the name is not known.
pub fn thread_label(name: &str, id: ThreadId) -> String {
    match (name, id.tid) {
        (_, 0) => "an ended thread".to_owned(),
        ("", tid) => tid.to_string(),
        (name, tid) => format!("{name}/{tid}"),
    }
}

/// The holder of a lock: a thread, or a process where the lock is one's and which of its threads took
/// it is not known. `process` names processes.
pub fn holder_label(holder: &Holder, process: impl Fn(u32) -> String) -> String {
    let Holder { id, name, source, gone } = holder;
    let ended = if *gone { " (ended)" } else { "" };
    match (id.tid, source) {
        (0, HolderSource::OwnerWord | HolderSource::Waker) => thread_label(name, *id),
        // Whoever the server says: no process of this host is known for it.
        (0, HolderSource::Server) if id.pid == 0 => name.clone(),
        (0, _) if name.is_empty() => format!("{}{ended}", process(id.pid)),
        (0, _) => format!("{name}[{}]{ended}", id.pid),
        _ => format!("{}{ended}", thread_label(name, *id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_threads_or_processes_and_may_have_ended() {
        let told = |tid, name: &str, source, gone| {
            let holder = Holder { id: ThreadId { pid: 7, tid }, name: name.into(), source, gone };
            holder_label(&holder, |pid| format!("svc[{pid}]"))
        };
        assert_eq!(told(8, "io", HolderSource::LockTable, false), "io/8");
        assert_eq!(told(0, "flock", HolderSource::LockTable, true), "flock[7] (ended)");
        assert_eq!(told(0, "", HolderSource::LockTable, true), "svc[7] (ended)");
        assert_eq!(told(0, "db", HolderSource::LockTable, false), "db[7]");
        assert_eq!(told(8, "mkdir", HolderSource::LastAcquirer, true), "mkdir/8 (ended)");
        assert_eq!(told(0, "", HolderSource::OwnerWord, true), "an ended thread");
    }

    #[test]
    fn durations_have_three_figures() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 us"),
            (12_345, "12.3 us"),
            (999_999, "1000 us"),
            (1_234_567, "1.23 ms"),
            (205_000_000, "205 ms"),
            (61_000_000_000, "61.0 s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(duration(nanos), text);
        }
    }
}
