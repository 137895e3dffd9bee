//! Paths that rooms must not name: clocks, files, sockets and threads in pure rooms.

use super::paths;
use super::source::Source;
use super::{Fault, fault};

/// Rooms, and paths they must not name.
struct Ban {
    rooms: &'static [&'static str],
    paths: &'static [&'static str],
    reason: &'static str,
}

const PURE: &[&str] = &["model", "decode", "framing", "backends", "track", "analyses", "select"];

const BANS: &[Ban] = &[
    Ban {
        rooms: PURE,
        paths: &["std::time::SystemTime", "SystemTime::now", "Instant::now"],
        reason: "time is an argument here, so that a recording gives the same result every time",
    },
    Ban {
        rooms: PURE,
        paths: &["std::fs", "std::net", "std::env", "std::process"],
        reason: "this room is tested without a system around it",
    },
    Ban {
        rooms: PURE,
        paths: &["std::thread", "std::sync::Mutex", "std::sync::RwLock", "tokio"],
        reason: "one thread owns all state; a lock observer takes no locks on its way",
    },
    Ban {
        rooms: &["model"],
        paths: &["serde", "serde_json", "clap", "aya"],
        reason: "the vocabulary must not follow the changes of a library",
    },
];

/// The table of BANS, outside tests.
pub fn check(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources {
        let Some(module) = source.module("lockprobe/src") else { continue };
        let named = paths::named(source, &module);
        for ban in BANS.iter().filter(|ban| ban.rooms.contains(&module[0].as_str())) {
            for named in &named {
                let text = named.path.join("::");
                // A path names what it starts with, or, for `Instant::now`, what it ends with.
                let hit = |banned: &&&str| {
                    let (start, end) = (format!("{banned}::"), format!("::{banned}"));
                    format!("{text}::").starts_with(&start) || format!("::{text}").ends_with(&end)
                };
                if let Some(banned) = ban.paths.iter().find(hit) {
                    let (room, reason) = (&module[0], ban.reason);
                    let sentence = format!("`{room}` must not use `{banned}`: {reason}");
                    faults.push(fault(source, named.line, sentence));
                }
            }
        }
    }
    faults
}
