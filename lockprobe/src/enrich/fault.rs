//! Files of others that are mapped and shrink meanwhile: what is gone of them reads as zeros.
//!
//! Reading a page of a mapping that its file has no longer raises SIGBUS, which would end lockprobe
//! whenever somebody overwrites a library in place. While debug information is read, such a page is
//! replaced by an empty one, and what was read is thrown away. Any other fault goes where it went
//! before.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `si_code` of an address that does not exist in the mapped object (BUS_ADRERR,
/// asm-generic/siginfo.h).
const NO_SUCH_ADDRESS: i32 = 2;

thread_local! {
    /// This thread reads files of others, and how many pages of them were missing.
    static READING: Cell<Option<u32>> = const { Cell::new(None) };
}

/// What SIGBUS did before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Runs this, which reads mapped files; `None` if a file had less than its mapping.
pub fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    install();
    let outer = READING.replace(Some(0));
    let back = Back(outer);
    let value = read();
    let missing = READING.get().unwrap_or(0);
    drop(back);
    (missing == 0).then_some(value)
}

/// Puts the state of the thread back, also when reading panics.
struct Back(Option<u32>);

impl Drop for Back {
    fn drop(&mut self) {
        READING.set(self.0);
    }
}

fn install() {
    BEFORE.get_or_init(|| {
        // SAFETY: no pointers.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        PAGE.store(usize::try_from(page).unwrap_or(4096), Ordering::Relaxed);
        let mut before = MaybeUninit::zeroed();
        // SAFETY: both structures are plain data, zero is valid for them, and the handler does
        // nothing that a signal handler must not.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(libc::SIGBUS, &raw const action, before.as_mut_ptr());
            before.assume_init()
        }
    });
}

extern "C" fn on_fault(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands over a valid structure.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let page = PAGE.load(Ordering::Relaxed);
    if let Some(missing) = READING.get()
        && code == NO_SUCH_ADDRESS
        && page != 0
    {
        let at = (address & !(page - 1)) as *mut libc::c_void;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page belongs to a mapping of a file that has nothing there, and this thread
        // reads it this moment; an empty page that can only be read takes its place until the
        // mapping is taken away as a whole.
        let mapped = unsafe { libc::mmap(at, page, libc::PROT_READ, flags, -1, 0) };
        if mapped != libc::MAP_FAILED {
            READING.set(Some(missing.saturating_add(1)));
            return;
        }
    }
    let Some(before) = BEFORE.get() else { return };
    // SAFETY: what was there before; the faulting instruction runs again and meets it.
    unsafe { libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_file_that_shrinks_reads_as_zeros_and_is_known_for_it() {
        install();
        let page = PAGE.load(Ordering::Relaxed);
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * page as u64).unwrap();
        // SAFETY: a new mapping of a file of our own.
        let at = unsafe {
            let (length, read) = (3 * page, libc::PROT_READ);
            libc::mmap(std::ptr::null_mut(), length, read, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
        };
        assert_ne!(at, libc::MAP_FAILED);
        // SAFETY: inside the mapping, which is never taken away.
        let read = |offset: usize| unsafe { at.cast::<u8>().add(offset).read_volatile() };
        assert_eq!(guarded(|| read(2 * page)), Some(0));
        file.set_len(1).unwrap();
        assert_eq!(guarded(|| read(0)), Some(0));
        assert_eq!(guarded(|| read(2 * page) + read(page)), None);
        assert_eq!(guarded(|| read(2 * page)), Some(0), "an empty page is there now");
        assert_eq!(READING.get(), None);
    }
}
