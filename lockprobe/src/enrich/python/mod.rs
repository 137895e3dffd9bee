//! Python frames: which functions of a Python program a thread is in, read from its memory.
//!
//! CPython keeps its frames in structures that are not those of the C stack. Where they are is
//! told by the exported symbol `_PyRuntime`, how they are laid out by the version, and from 3.13
//! on by a table the interpreter itself carries for this purpose. Another's memory is no more to be
//! trusted than any other input: every walk is bounded, and what makes no sense ends it.

mod frames;
mod layout;
mod lines;
#[cfg(test)]
mod tests;

pub use frames::Group;

use super::atlas::{Atlas, Frame};
use super::binary::Source;
use super::cache::Cache;
use super::elf::Kind;
use super::maps::Key;
use super::meaning::{self, Role};
use super::{memory, names, thread};
use crate::model::{LockKind, ThreadId};
use layout::Layout;

/// Processes remembered.
const PROCESSES: usize = 1024;
/// Files of a process looked at for an interpreter.
const FILES: usize = 64;

/// Reads memory: an address and a length, to what could be read.
type Read<'a> = &'a dyn Fn(u64, usize) -> Vec<u8>;

/// An interpreter in a process.
#[derive(Clone, Debug)]
struct Interpreter {
    runtime: u64,
    layout: Layout,
    key: Key,
}

/// Interpreters by process.
pub struct Pythons {
    known: Cache<u32, Option<Interpreter>>,
}

/// What a thread does in Python.
#[derive(Clone, Debug, Default)]
pub struct Python {
    /// Frames by call of the interpreter, the innermost first.
    pub groups: Vec<Group>,
    /// The file the interpreter's code lies in.
    pub key: Key,
}

/// Whoever sleeps by way of CPython's parking lot and has no name may be taking a lock; the entry
/// of the parking lot tells (`_PyParkingLot_Park` itself may lie in a part without a name).
pub fn park(frames: &[Frame], meanings: &mut [meaning::Frame]) {
    let through = |m: &meaning::Frame| m.role == Role::Through;
    let Some(first) = meanings.iter().position(through) else { return };
    let of_python = |frame: &Frame| {
        let symbol = frame.place.symbol.as_deref().unwrap_or_default();
        symbol.starts_with("_PySemaphore_") && names::is_python(frame.mapping.file_name())
    };
    let caller = (first..meanings.len()).find(|&i| !through(&meanings[i]));
    if let Some(caller) = caller.filter(|_| of_python(&frames[first]))
        && matches!(meanings[caller].role, Role::Nameless | Role::Plain)
        && names::is_python(frames[caller].mapping.file_name())
    {
        meanings[caller].role = Role::Lock(LockKind::PythonParked);
    }
}

impl Pythons {
    /// Knows none.
    pub fn new() -> Self {
        Self { known: Cache::new(PROCESSES) }
    }

    /// Forgets a process.
    pub fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
    }

    /// The Python frames of a thread that stands still; none if it has none.
    pub fn frames(&mut self, atlas: &mut Atlas, id: ThreadId) -> Option<Python> {
        if self.known.get(&id.pid).is_none() {
            self.known.insert(id.pid, find(atlas, id.pid));
        }
        let interpreter = self.known.get(&id.pid)?.as_ref()?;
        let read = |address, length| memory::read(id.pid, address, length);
        // Python notes the id that the thread has in its own PID namespace.
        let tid = thread::own_id(id.pid, id.tid)?;
        let Interpreter { runtime, layout, key } = interpreter;
        let groups = frames::of_thread(&read, layout, *runtime, tid)?;
        Some(Python { groups, key: *key })
    }
}

/// The interpreter of a process, if there is one of a known version.
fn find(atlas: &mut Atlas, pid: u32) -> Option<Interpreter> {
    let mut seen: Vec<Key> = Vec::new();
    let mappings = atlas.maps(pid).code().filter(|mapping| {
        let new = !seen.contains(&mapping.key);
        seen.push(mapping.key);
        new && mapping.file_name().contains("python")
    });
    let mappings: Vec<_> = mappings.take(FILES).cloned().collect();
    mappings.iter().find_map(|mapping| {
        let source = Source::new(pid, mapping);
        let elf = &atlas.binary(&source)?.elf;
        let file = source.file()?;
        let bias = elf.bias(mapping.start, mapping.offset, mapping.end - mapping.start)?;
        let place = |name| Some(elf.exported(file, Kind::Object, name)?.wrapping_add(bias));
        let runtime = place("_PyRuntime")?;
        let version = place("Py_Version")?;
        let read = |address, length| memory::read(pid, address, length);
        let layout = Layout::of(&read, runtime, version)?;
        Some(Interpreter { runtime, layout, key: mapping.key })
    })
}

/// Eight bytes, little-endian, at an address.
fn long(read: Read<'_>, address: u64) -> Option<u64> {
    Some(u64::from_le_bytes(read(address, 8).try_into().ok()?))
}

/// The same of four bytes.
fn word(read: Read<'_>, address: u64) -> Option<u32> {
    Some(u32::from_le_bytes(read(address, 4).try_into().ok()?))
}
