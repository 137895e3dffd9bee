//! Where CPython keeps what, by version.
//!
//! 3.11 and 3.12: offsets as the compiler makes them of `Include/internal/pycore_*.h`, which do not
//! change within a minor version. From 3.13 to 3.15: `struct _Py_DebugOffsets` at the start of `_PyRuntime`.

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

/// `FRAME_OWNED_BY_CSTACK` of 3.12 and 3.13, `FRAME_OWNED_BY_INTERPRETER` since; 3.14 has one more.
pub const C_STACK: u8 = 3;

impl Layout {
    /// The layout of the interpreter with these two symbols; `None` for versions not known.
    pub fn of(read: Read<'_>, runtime: u64, version: u64) -> Option<Self> {
        // Major, minor, micro, level and serial in one number, since 3.11 (PEP 741, `Py_Version`).
        match word(read, version)? >> 16 {
            0x030b => Some(PYTHON_3_11),
            0x030c => Some(PYTHON_3_12),
            version => told(read, runtime, version),
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

/// Where in `_Py_DebugOffsets` what stands that [`Layout`] needs, in its order: which word of eight
/// bytes (`Include/internal/pycore_debug_offsets.h`, before 3.14 `pycore_runtime.h`).
struct Told {
    version: u32,
    places: [usize; 20],
}

#[rustfmt::skip]
const TOLD: [Told; 3] = [
    Told {
        version: 0x030d,
        places: [5, 8, 9, 21, 25, 23, 30, 29, 31, 33, 35, 37, 38, 39, 43, 68, 69, 70, 65, 66],
    },
    Told {
        version: 0x030e,
        places: [5, 8, 9, 24, 28, 26, 33, 32, 34, 36, 40, 42, 43, 44, 48, 78, 79, 80, 75, 76],
    },
    Told {
        version: 0x030f,
        places: [5, 8, 9, 24, 31, 26, 41, 40, 42, 44, 48, 50, 51, 52, 56, 90, 91, 92, 87, 88],
    },
];

/// `_Py_DebugOffsets` since 3.13: numbers of eight bytes behind a word to be known by.
fn told(read: Read<'_>, runtime: u64, version: u32) -> Option<Layout> {
    const WORDS: usize = 93;
    const COOKIE: &[u8] = b"xdebugpy";
    /// No offset is larger: the largest lies in the state of an interpreter, some 200 KB.
    const LARGEST: u64 = 1 << 20;
    let of = TOLD.iter().find(|told| told.version == version)?;
    let table = read(runtime, 8 * WORDS);
    if table.get(..8)? != COOKIE || long(read, runtime.checked_add(8)?)? >> 16 != u64::from(version)
    {
        return None;
    }
    let word = |i: usize| {
        let bytes = table.get(8 * i..8 * i + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let at = |i: usize| word(of.places[i]).filter(|&offset| offset < LARGEST);
    // An interpreter without the lock that all others share keeps one flag in a byte of its own.
    let shift = if word(2)? != 0 { 8 } else { 2 };
    let ascii = at(17)?;
    Some(Layout {
        interpreters: at(0)?,
        interpreter_next: at(1)?,
        threads: at(2)?,
        thread_next: at(3)?,
        native_id: at(4)?,
        current: at(5)?,
        through: None,
        code: at(6)?,
        previous: at(7)?,
        instruction: at(8)?,
        entry: Entry::Frame(at(9)?),
        file: at(10)?,
        name: at(11)?,
        lines: at(12)?,
        first_line: at(13)?,
        instructions: at(14)?,
        text: Text { state: at(15)?, shift, length: at(16)?, ascii, other: ascii + 16 },
        bytes: (at(18)?, at(19)?),
    })
}
