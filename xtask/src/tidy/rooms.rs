//! Who may import whom: the rooms of `lockprobe` and the open sets, as a table.

use std::collections::BTreeSet;

use super::paths;
use super::source::Source;
use super::{Fault, fault};

/// A room below `lockprobe/src` and the rooms it may import.
struct Room {
    name: &'static str,
    imports: &'static [&'static str],
    reason: &'static str,
}

const SRC: &str = "lockprobe/src";
const PROBES: &str = "lockprobe-ebpf/src";

const ROOMS: &[Room] = &[
    Room { name: "model", imports: &[], reason: "the vocabulary stands on std alone" },
    Room {
        name: "select",
        imports: &["model"],
        reason: "who is meant is decided alike by all who ask, and without a look at anybody",
    },
    Room {
        name: "source",
        imports: &["model", "health", "select"],
        reason: "live capture and recordings hand on bytes and know nothing of their meaning",
    },
    Room {
        name: "decode",
        imports: &["model"],
        reason: "bytes become observations before anything interprets them",
    },
    Room {
        name: "framing",
        imports: &["model"],
        reason: "framing is shared by backends and knows none of them",
    },
    Room {
        name: "backends",
        imports: &["model", "framing"],
        reason: "a backend is one folder that can be added and removed by itself",
    },
    Room {
        name: "track",
        imports: &["model"],
        reason: "spans are made of events from any backend",
    },
    Room {
        name: "analyses",
        imports: &["model", "track"],
        reason: "an analysis reads the lock table and nothing that feeds it",
    },
    Room {
        name: "enrich",
        imports: &["model", "health", "select"],
        reason: "the operating system is asked about threads and files, not about locks",
    },
    Room {
        name: "sinks",
        imports: &["model", "health"],
        reason: "a sink sees records only, so that any output can be had from a recording",
    },
    Room {
        name: "health",
        imports: &["model"],
        reason: "every edge counts, so it leans on nothing",
    },
    Room {
        name: "config",
        imports: &["model", "select"],
        reason: "settings are plain values that others are built from",
    },
    Room {
        name: "pipeline",
        imports: &[
            "model", "select", "source", "decode", "framing", "backends", "track", "analyses",
            "enrich", "sinks", "health",
        ],
        reason: "the pipeline is told what to do and reads neither flags nor files of settings",
    },
    Room {
        name: "cli",
        imports: &[
            "model", "select", "source", "decode", "framing", "backends", "track", "analyses",
            "enrich", "sinks", "health", "config", "pipeline",
        ],
        reason: "the commands come last",
    },
];

/// Rooms that may name the crate `lockprobe_ebpf`, the wire.
const ON_THE_WIRE: &[&str] = &["source", "decode", "pipeline"];

/// Folders whose members must not know each other: crate source folder and room.
const OPEN_SETS: &[(&str, &str)] =
    &[(SRC, "backends"), (SRC, "analyses"), (SRC, "sinks"), (PROBES, "probes")];

/// The import table of ROOMS.
pub fn imports(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources {
        let Some(module) = source.module(SRC) else { continue };
        let Some(room) = ROOMS.iter().find(|room| room.name == module[0]) else {
            if !["lib", "main"].contains(&module[0].as_str()) {
                let name = &module[0];
                faults.push(fault(source, 1, format!("`{name}` is no room of the house")));
            }
            continue;
        };
        for named in paths::named(source, &module) {
            let text = named.path.join("::");
            let (name, reason) = (room.name, room.reason);
            match named.path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["crate", other, ..] if forbidden(room, other) => {
                    let sentence = format!("`{name}` must not import `{text}`: {reason}");
                    faults.push(fault(source, named.line, sentence));
                }
                ["lockprobe_ebpf", ..] if !ON_THE_WIRE.contains(&name) => {
                    let sentence = format!("`{name}` must not name the wire: {reason}");
                    faults.push(fault(source, named.line, sentence));
                }
                _ => {}
            }
        }
    }
    faults
}

fn forbidden(room: &Room, other: &str) -> bool {
    let is_room = ROOMS.iter().any(|room| room.name == other);
    is_room && other != room.name && !room.imports.contains(&other)
}

/// No member of an open set imports another.
pub fn strangers(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (src, room) in OPEN_SETS {
        let inside = |source: &&Source| {
            source.module(src).is_some_and(|module| module.len() > 1 && module[0] == *room)
        };
        let files: Vec<&Source> = sources.iter().filter(inside).collect();
        let module = |source: &Source| source.module(src).unwrap_or_default();
        let members: BTreeSet<String> = files.iter().map(|file| module(file)[1].clone()).collect();
        for file in files {
            let module = module(file);
            for named in paths::named(file, &module) {
                let ["crate", set, other, ..] =
                    named.path.iter().map(String::as_str).collect::<Vec<_>>()[..]
                else {
                    continue;
                };
                if set == *room && other != module[1] && members.contains(other) {
                    let me = &module[1];
                    let sentence = format!("`{room}::{me}` must not import `{room}::{other}`");
                    faults.push(fault(file, named.line, sentence));
                }
            }
        }
    }
    faults
}
