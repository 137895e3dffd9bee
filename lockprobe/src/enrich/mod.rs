//! What the kernel half cannot know: call sites, names of locks, processes and threads.
//!
//! A thread asleep in a futex call says nothing about what it waits for. Its stack does: the
//! functions it came through, found with the binary's unwind tables and symbols, tell a mutex from
//! a condition variable. Binaries are read piecemeal (a few hundred bytes a frame) and never
//! mapped or run; only what was learnt is kept.
//!
//! In: `LockSeen` and `WaitSeen`, `/proc`, binaries, memory of other processes. Out: facts.
//! Never: another room than `model` and `select`; a trust in what a target's files and memory say: every size
//! is bounded, what makes no sense is `Unknown`, never a guess.
//!
//! | file | does |
//! |---|---|
//! | `enricher` | the front: facts about locks, processes, threads |
//! | `meaning` | the rules: from the functions of a stack to a verdict (pure) |
//! | `names` | what a function's name says (pure) |
//! | `atlas` | a stack as a list of functions, an address as a name |
//! | `sample` | a stack copied from a thread that stands still |
//! | `walk` | such a copy as functions with lines |
//! | `perf_map` | names of generated code, as its makers write them |
//! | `python` | functions of a Python program, from its memory |
//! | `unwind` | one frame further up (pure) |
//! | `given` | names the user gives by pattern (pure) |
//! | `maps` | where a process has mapped which file |
//! | `binary` | what is known of one binary |
//! | `elf`, `cfi`, `aliases` | headers and symbols, unwind tables, functions without a name |
//! | `code` | what instructions tell, where there are no unwind tables (pure) |
//! | `source` | source line of an address |
//! | `identity` | who a process is, all in all |
//! | `process`, `thread` | who a process and a thread are by themselves |
//! | `processor` | what a process has used of the processor |
//! | `container` | in which container a process runs |
//! | `kubernetes` | the pods of this node |
//! | `agent`, `subject` | which agent a process is, and how rules see it |
//! | `file` | files with locks, and who has one |
//! | `lock_file` | files that are locks by being there, and whom they name |
//! | `activity`, `calls` | what a thread does, names of system calls |
//! | `memory` | memory of other processes (`unsafe`) |
//! | `fault` | files that shrink while they are mapped (`unsafe`) |
//! | `cache` | a map that forgets |

mod activity;
mod agent;
mod aliases;
mod atlas;
mod binary;
mod by_address;
mod cache;
mod calls;
mod cfi;
mod code;
mod container;
mod elf;
mod enricher;
mod fault;
mod file;
mod given;
mod identity;
mod kubernetes;
mod lock_file;
mod maps;
mod meaning;
mod memory;
mod names;
mod perf_map;
mod process;
mod processor;
mod python;
mod sample;
mod source;
mod subject;
mod thread;
mod unwind;
mod walk;

pub use agent::Agents;
pub use container::{Containers, Identity};
pub use enricher::Enricher;
pub use given::{GivenName, GivenNames};
pub use kubernetes::{Kubernetes, Pod, PodSource, Pods, Watch as PodWatch};
pub use lock_file::Asked as LockFileAsked;
pub use sample::{Sample, Standings, Wanted};

#[cfg(test)]
mod tests;
