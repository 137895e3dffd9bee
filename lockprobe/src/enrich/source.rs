//! Source line of an address, from debug information.

use super::binary::Source;
use super::fault;
use super::meaning::Role;
use super::names::{self, Library};
use blazesym::symbolize::source::{Elf, Source as From};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolizer};
use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Larger files take too long and too much memory.
const LARGEST: u64 = 256 << 20;
/// The symbolizer keeps every file it has seen mapped: after so many look-ups it is replaced.
const USES: u32 = 32;
/// Functions put into one another that are told one by one.
const MOST_INLINED: usize = 16;
/// Unused for so long, it is dropped: what it has mapped of large programs counts as our memory.
const REST: Duration = Duration::from_millis(200);

/// A symbolizer, how often it was used, and when last.
struct Kept {
    symbolizer: Symbolizer,
    uses: u32,
    last: Instant,
}

thread_local! {
    // Not a field: the symbolizer is bound to its thread, the enricher need not be.
    static SYMBOLIZER: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Lets go of mapped files that have not been needed for a while.
pub fn rest() {
    SYMBOLIZER.with(|cell| {
        if let Ok(mut kept) = cell.try_borrow_mut() {
            kept.take_if(|k| k.last.elapsed() > REST);
        }
    });
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
    with(source, |path| symbolize(path, address, |found| innermost(found, function)))
}

/// The functions at an address as linked, the innermost first: those the compiler put into one
/// another, then the one that has the code. Empty when nothing is known but the symbol.
pub fn lines(source: &Source<'_>, address: u64) -> Vec<Line> {
    with(source, |path| symbolize(path, address, |found| Some(all(found)))).unwrap_or_default()
}

fn all(found: &Sym<'_>) -> Vec<Line> {
    let line = |name: &str, code: Option<&CodeInfo<'_>>| Line {
        function: names::readable(name),
        place: code.and_then(place),
    };
    let inlined = found.inlined.iter().rev().take(MOST_INLINED);
    let inlined = inlined.map(|i| line(&i.name, i.code_info.as_ref()));
    inlined.chain([line(&found.name, found.code_info.as_deref())]).collect()
}

/// Runs this with a path to the file, unless the file is too large.
fn with<T>(source: &Source<'_>, run: impl FnOnce(&Path) -> Option<T>) -> Option<T> {
    let file = source.file()?;
    if file.metadata().ok()?.len() > LARGEST {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // The file is another's: a bug in reading it must not end us.
    let run = AssertUnwindSafe(|| run(Path::new(&path)));
    // It may even become shorter while it is mapped.
    let found = catch_unwind(|| fault::guarded(run));
    found.ok().flatten().unwrap_or_else(|| {
        SYMBOLIZER.with(|s| s.try_borrow_mut().map(|mut s| *s = None).ok());
        None
    })
}

fn symbolize<T>(path: &Path, address: u64, run: impl FnOnce(&Sym<'_>) -> Option<T>) -> Option<T> {
    SYMBOLIZER.with(|cell| {
        let mut cell = cell.borrow_mut();
        cell.take_if(|kept| kept.uses >= USES);
        let kept = cell.get_or_insert_with(|| Kept {
            symbolizer: Symbolizer::builder().enable_demangling(false).build(),
            uses: 0,
            last: Instant::now(),
        });
        (kept.uses, kept.last) = (kept.uses + 1, Instant::now());
        let from = From::from(Elf::new(path));
        let found = kept.symbolizer.symbolize_single(&from, Input::VirtOffset(address)).ok()?;
        run(found.as_sym()?)
    })
}

fn innermost(found: &Sym<'_>, known: &str) -> Option<Line> {
    // Debug information often has the bare name (`operator()`), the symbol all of it.
    let known = if known.is_empty() { names::readable(&found.name) } else { known.to_owned() };
    let outer = (known, found.code_info.as_deref());
    let inlined = found.inlined.iter();
    let inlined = inlined.map(|i| (names::readable(&i.name), i.code_info.as_ref()));
    let all: Vec<_> = std::iter::once(outer).chain(inlined).collect();
    // From the outside in: the innermost function that is the program's own.
    let own = all.iter().rev().find(|(name, _)| !names::internal(name));
    let (function, code) = own.or(all.first())?;
    Some(Line { function: function.clone(), place: code.and_then(place) })
}

/// What the compiler put into a function at this address, if that says what it waits for.
pub fn inlined_role(source: &Source<'_>, address: u64) -> Option<Role> {
    with(source, |path| {
        symbolize(path, address, |found| {
            let roles = found.inlined.iter().rev().map(|i| names::role(&i.name, Library::None));
            roles.into_iter().find(|role| !matches!(role, Role::Plain | Role::Shared))
        })
    })
}

fn place(code: &CodeInfo<'_>) -> Option<(String, u32)> {
    let path = crate::model::thread::printable(&code.to_path().to_string_lossy());
    Some((path, code.line?))
}
