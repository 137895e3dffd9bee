//! Where CPython keeps what, by version.
//!
//! 3.11 and 3.12: offsets as the compiler makes them of `Include/internal/pycore_*.h`, which do not
//! change within a minor version. 3.13: `struct _Py_DebugOffsets` at the start of `_PyRuntime`.

use super::{Read, long, word};

/// Offsets in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// `_PyRuntimeState.interpreters.head`
    pub interpreters: u64,
    /// `PyInterpreterState.next`
    pub interpreter_next: u64,
    /// `PyInterpreterState.threads.head`
    pub threads: u64,
    /// `PyThreadState.next`
    pub thread_next: u64,
    /// `PyThreadState.native_thread_id`
    pub native_id: u64,
    /// `PyThreadState.cframe`, or `current_frame` since 3.13.
    pub current: u64,
    /// `_PyCFrame.current_frame`; `None` since 3.13, which has no such structure.
    pub through: Option<u64>,
    /// `_PyInterpreterFrame.f_code` or `f_executable`
    pub code: u64,
    /// `_PyInterpreterFrame.previous`
    pub previous: u64,
    /// `_PyInterpreterFrame.prev_instr` or `instr_ptr`
    pub instruction: u64,
    /// What tells where a call of the interpreter's own begins.
    pub entry: Entry,
    /// `PyCodeObject.co_filename`
    pub file: u64,
    /// `PyCodeObject.co_qualname`
    pub name: u64,
    /// `PyCodeObject.co_linetable`
    pub lines: u64,
    /// `PyCodeObject.co_firstlineno`
    pub first_line: u64,
    /// `PyCodeObject.co_code_adaptive`
    pub instructions: u64,
    /// `PyUnicodeObject.state`, its length, the size of an ASCII one's head, and of another's.
    pub text: Text,
    /// `PyBytesObject`: size and bytes.
    pub bytes: (u64, u64),
}

/// Offsets of text objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Bits that say how the text is stored.
    pub state: u64,
    /// How far up they begin: kind, compact, ASCII.
    pub shift: u32,
    /// Characters.
    pub length: u64,
    /// Text behind this, if all of it is ASCII.
    pub ascii: u64,
    /// Else behind this.
    pub other: u64,
}

/// What tells where a call of the interpreter's own begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `_PyInterpreterFrame.is_entry` of the outermost frame of a call (3.11).
    Flag(u64),
    /// A frame of its own beyond it, whose `_PyInterpreterFrame.owner` is the C stack.
    Frame(u64),
}

impl Default for Entry {
    fn default() -> Self {
        Self::Flag(0)
    }
}

/// `FRAME_OWNED_BY_CSTACK`, 3.12 and 3.13.
pub const C_STACK: u8 = 3;

impl Layout {
    /// The layout of the interpreter with these two symbols; `None` for versions not known.
    pub fn of(read: Read<'_>, runtime: u64, version: u64) -> Option<Self> {
        // Major, minor, micro, level and serial in one number, since 3.11 (PEP 741, `Py_Version`).
        match word(read, version)? >> 16 {
            0x030b => Some(PYTHON_3_11),
            0x030c => Some(PYTHON_3_12),
            0x030d => told(read, runtime),
            _ => None,
        }
    }
}

const PYTHON_3_11: Layout = Layout {
    interpreters: 40,
    interpreter_next: 0,
    threads: 16,
    thread_next: 8,
    native_id: 160,
    current: 56,
    through: Some(8),
    code: 32,
    previous: 48,
    instruction: 56,
    entry: Entry::Flag(68),
    file: 112,
    name: 128,
    lines: 136,
    first_line: 72,
    instructions: 184,
    text: Text { state: 32, shift: 2, length: 16, ascii: 48, other: 72 },
    bytes: (16, 32),
};

const PYTHON_3_12: Layout = Layout {
    interpreters: 40,
    interpreter_next: 0,
    threads: 72,
    thread_next: 8,
    native_id: 144,
    current: 56,
    through: Some(0),
    code: 0,
    previous: 8,
    instruction: 56,
    entry: Entry::Frame(70),
    file: 112,
    name: 128,
    lines: 136,
    first_line: 68,
    instructions: 192,
    text: Text { state: 32, shift: 2, length: 16, ascii: 40, other: 56 },
    bytes: (16, 32),
};

/// `_Py_DebugOffsets` of 3.13: numbers of eight bytes behind a word to be known by.
fn told(read: Read<'_>, runtime: u64) -> Option<Layout> {
    const WORDS: usize = 71;
    const COOKIE: &[u8] = b"xdebugpy";
    /// No offset is larger: the largest lies in the state of an interpreter, some 200 KB.
    const LARGEST: u64 = 1 << 20;
    let table = read(runtime, 8 * WORDS);
    if table.get(..8)? != COOKIE || long(read, runtime.checked_add(8)?)? >> 16 != 0x030d {
        return None;
    }
    let mut chunks = table.chunks_exact(8);
    let words = [(); WORDS].map(|()| {
        let word = chunks.next().and_then(|chunk| chunk.try_into().ok());
        word.map_or(u64::MAX, u64::from_le_bytes)
    });
    let at = |i: usize| Some(words[i]).filter(|&offset| offset < LARGEST);
    // A structure without the lock that all others share keeps one flag in a byte of its own.
    let shift = if words[2] != 0 { 8 } else { 2 };
    let ascii = at(70)?;
    Some(Layout {
        interpreters: at(5)?,
        interpreter_next: at(8)?,
        threads: at(9)?,
        thread_next: at(21)?,
        native_id: at(25)?,
        current: at(23)?,
        through: None,
        code: at(30)?,
        previous: at(29)?,
        instruction: at(31)?,
        entry: Entry::Frame(at(33)?),
        file: at(35)?,
        name: at(37)?,
        lines: at(38)?,
        first_line: at(39)?,
        instructions: at(43)?,
        text: Text { state: at(68)?, shift, length: at(69)?, ascii, other: ascii + 16 },
        bytes: (at(65)?, at(66)?),
    })
}
