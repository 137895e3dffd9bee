//! From a thread's state to its frames.

use super::layout::{C_STACK, Entry, Layout};
use super::{Read, lines, long, word};
use crate::model::{StackFrame, thread::printable};
use std::sync::Arc;

/// Bounds of every walk.
const INTERPRETERS: usize = 16;
const THREADS: usize = 4096;
const FRAMES: usize = 128;
/// Characters of a name, and bytes of a line table.
const LONGEST_NAME: u64 = 512;
const LONGEST_TABLE: u64 = 64 << 10;

/// Frames of one call of the interpreter, the innermost first.
pub type Group = Vec<StackFrame>;

/// The frames of a thread, by the id it gave the interpreter; `None` when that knows no such
/// thread.
pub fn of_thread(read: Read<'_>, layout: &Layout, runtime: u64, tid: u32) -> Option<Vec<Group>> {
    let state = state_of(read, layout, runtime, tid)?;
    let mut frame = long(read, state.checked_add(layout.current)?)?;
    if let Some(offset) = layout.through {
        frame = long(read, frame.checked_add(offset)?)?;
    }
    let mut groups = Vec::new();
    let mut group = Group::new();
    for _ in 0..FRAMES {
        if frame == 0 {
            break;
        }
        // A frame that cannot be read ends the walk; what was found until then is true.
        let Some(seen) = look(read, layout, frame) else { break };
        group.extend(seen.told);
        if seen.entry && !group.is_empty() {
            groups.push(std::mem::take(&mut group));
        }
        frame = seen.previous;
    }
    groups.extend((!group.is_empty()).then_some(group));
    Some(groups)
}

fn state_of(read: Read<'_>, layout: &Layout, runtime: u64, tid: u32) -> Option<u64> {
    let mut interpreter = long(read, runtime.checked_add(layout.interpreters)?)?;
    for _ in 0..INTERPRETERS {
        if interpreter == 0 {
            return None;
        }
        let mut state = long(read, interpreter.checked_add(layout.threads)?)?;
        for _ in 0..THREADS {
            if state == 0 {
                break;
            }
            if long(read, state.checked_add(layout.native_id)?)? == u64::from(tid) {
                return Some(state);
            }
            state = long(read, state.checked_add(layout.thread_next)?)?;
        }
        interpreter = long(read, interpreter.checked_add(layout.interpreter_next)?)?;
    }
    None
}

struct Seen {
    told: Option<StackFrame>,
    /// The call of the interpreter's own that this frame belongs to goes no further.
    entry: bool,
    previous: u64,
}

fn look(read: Read<'_>, layout: &Layout, frame: u64) -> Option<Seen> {
    let at = |offset: u64| frame.checked_add(offset);
    let byte = |offset| read(at(offset)?, 1).first().copied();
    let previous = long(read, at(layout.previous)?)?;
    let entry = match layout.entry {
        Entry::Flag(offset) => byte(offset)? != 0,
        Entry::Frame(offset) if byte(offset)? >= C_STACK => {
            return Some(Seen { told: None, entry: true, previous });
        }
        Entry::Frame(_) => false,
    };
    // Since 3.14 the lowest bits say who counts the reference (`pycore_stackref.h`).
    let code = long(read, at(layout.code)?)? & !3;
    let instruction = long(read, at(layout.instruction)?)?;
    Some(Seen { told: tell(read, layout, code, instruction), entry, previous })
}

/// Function, file and line of an instruction in a code object.
fn tell(read: Read<'_>, layout: &Layout, code: u64, instruction: u64) -> Option<StackFrame> {
    let member = |offset| long(read, code.checked_add(offset)?);
    let function = text(read, layout, member(layout.name)?)?;
    let file = text(read, layout, member(layout.file)?)?;
    let first = word(read, code.checked_add(layout.first_line)?)?;
    let offset = instruction.wrapping_sub(code.checked_add(layout.instructions)?);
    let line = table(read, layout, member(layout.lines)?)
        .and_then(|table| lines::line(&table, first, offset / 2))
        // Before the first instruction, which is nobody's line: the function's own.
        .unwrap_or(first);
    Some(StackFrame { function, source: Some((file, line)), module: "".into(), offset: 0 })
}

fn table(read: Read<'_>, layout: &Layout, object: u64) -> Option<Vec<u8>> {
    let length = long(read, object.checked_add(layout.bytes.0)?)?;
    (length <= LONGEST_TABLE).then_some(())?;
    let bytes = read(object.checked_add(layout.bytes.1)?, length as usize);
    (bytes.len() as u64 == length).then_some(bytes)
}

/// A text object, cut to a bounded length.
fn text(read: Read<'_>, layout: &Layout, object: u64) -> Option<Arc<str>> {
    let layout = &layout.text;
    let at = |offset: u64| object.checked_add(offset);
    let state = word(read, at(layout.state)?)? >> layout.shift;
    let (kind, compact, ascii) = (state & 7, state >> 3 & 1, state >> 4 & 1);
    if compact == 0 || !matches!(kind, 1 | 2 | 4) {
        return None;
    }
    let length = long(read, at(layout.length)?)?.min(LONGEST_NAME) as usize;
    let start = at(if ascii == 1 { layout.ascii } else { layout.other })?;
    let size = kind as usize;
    let bytes = read(start, length * size);
    if bytes.len() != length * size {
        return None;
    }
    let points = bytes.chunks_exact(size);
    let points = points.map(|c| c.iter().rev().fold(0u32, |sum, &b| sum << 8 | u32::from(b)));
    let text: String =
        points.map(|p| char::from_u32(p).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    (!text.is_empty()).then(|| printable(&text).into())
}
