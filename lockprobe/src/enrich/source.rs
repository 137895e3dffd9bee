//! Source line of an address, from debug information.

use super::binary::Source;
use super::names;
use blazesym::symbolize::source::{Elf, Source as From};
use blazesym::symbolize::{CodeInfo, Input, Symbolizer};
use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Larger files take too long and too much memory.
const LARGEST: u64 = 256 << 20;
/// The symbolizer keeps every file it has seen mapped: after so many look-ups it is replaced.
const USES: u32 = 32;

thread_local! {
    // Not a field: the symbolizer is bound to its thread, the enricher need not be.
    static SYMBOLIZER: RefCell<(u32, Option<Symbolizer>)> = const { RefCell::new((0, None)) };
}

/// A place in source code.
pub struct Line {
    /// The innermost function of the program there, be it inlined.
    pub function: String,
    /// File and line.
    pub place: Option<(String, u32)>,
}

/// The line of an address as linked, in the function of this name. Where the compiler put lock
/// functions of a library into the program's own function, it is the line that called them.
pub fn line(source: &Source<'_>, address: u64, function: &str) -> Option<Line> {
    let file = source.file()?;
    if file.metadata().ok()?.len() > LARGEST {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // The file is another's: a bug in reading it must not end us.
    std::panic::catch_unwind(|| resolve(Path::new(&path), address, function)).unwrap_or_else(|_| {
        SYMBOLIZER.with(|s| s.try_borrow_mut().map(|mut s| s.1 = None).ok());
        None
    })
}

fn resolve(path: &Path, address: u64, known: &str) -> Option<Line> {
    SYMBOLIZER.with(|cell| {
        let mut cell = cell.borrow_mut();
        let (uses, symbolizer) = &mut *cell;
        *uses += 1;
        if uses.is_multiple_of(USES) {
            *symbolizer = None;
        }
        let symbolizer = symbolizer
            .get_or_insert_with(|| Symbolizer::builder().enable_demangling(false).build());
        let from = From::from(Elf::new(path));
        let found = symbolizer.symbolize_single(&from, Input::VirtOffset(address)).ok()?;
        let found = found.as_sym()?;
        let mut function = names::readable(&found.name);
        let mut code = found.code_info.as_deref();
        if names::internal(&function) {
            return Some(Line { function: Some(function), place: code.and_then(place) });
        }
        for inlined in &found.inlined {
            let name = names::readable(&inlined.name);
            if names::internal(&name) {
                break;
            }
            (function, code) = (name, inlined.code_info.as_ref());
        }
        Some(Line { function: Some(function), place: code.and_then(place) })
    })
}

fn place(code: &CodeInfo<'_>) -> Option<(String, u32)> {
    let path = crate::model::thread::printable(&code.to_path().to_string_lossy());
    Some((path, code.line?))
}
