//! Looking at threads that sleep in a lock the kernel keeps: what for, and who has it by now.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use lockprobe_ebpf::wire::{Place, Thread, Wait, call, class, mode, wait_flag};

use super::file_table::{self, FileTable};
use super::waits::read;

/// Most steps of a call on semaphores looked at.
const STEPS: usize = 4;

/// Looks again at a wait; whether the thread still waits. Of one that slept before tracing began
/// the kernel half could not read what it asked for.
pub fn refresh(files: &mut FileTable, thread: Thread, wait: &mut Wait) -> bool {
    let preexisting = wait.flags & wait_flag::PREEXISTING != 0;
    let arguments = match arguments(thread, wait.call) {
        Some(arguments) => arguments,
        None if preexisting => return false,
        // The kernel half will tell of its end.
        None => return true,
    };
    if wait.call == call::SEMOP {
        semaphore(thread, wait, arguments, preexisting);
    } else {
        file(files.now(), thread, wait, preexisting);
    }
    if preexisting && wait.first_owner == 0 {
        wait.first_owner = wait.value;
    }
    true
}

fn file(table: &[file_table::Held], thread: Thread, wait: &mut Wait, preexisting: bool) {
    let asked = Place::of_words(&wait.words);
    let same = |place: &Place| {
        let file = place.device == asked.device && place.table() == asked.table();
        file && (preexisting || (place.start, place.end) == (asked.start, asked.end))
    };
    // The table names no process that asks for an OFD lock.
    let process = if asked.class() == class::OFD { 0 } else { thread.tgid };
    match file_table::find(table, process, wait.lock, same) {
        Some((holder, own)) => {
            wait.words = own.place.to_words();
            // Nor one that has such a lock; for the first in the queue it was told when it went to
            // sleep, and any change would have woken it since.
            if holder.process != 0 || own.depth > 1 && !preexisting {
                wait.value = holder.process;
            }
        }
        // On its way out of the queue, or of a file system that has its own.
        None => wait.value = 0,
    }
}

/// Which semaphore of the set, and who used it last: the agent can ask in its own namespace.
fn semaphore(thread: Thread, wait: &mut Wait, arguments: [u64; 3], preexisting: bool) {
    let mut place = Place::of_words(&wait.words);
    if preexisting {
        let [_, steps, count] = arguments;
        let mut all = [0u16; 3 * STEPS];
        let count = STEPS.min(count as usize);
        if !read(thread.tgid, steps, &mut all[..3 * count]) {
            wait.value = 0;
            return;
        }
        // The step that takes something, as far as can be said without its value.
        let takes = |step: &&[u16]| step[1] as i16 <= 0;
        let number = all.chunks(3).take(count).find(takes).map_or(all[0], |step| step[0]);
        (place.start, place.end) = (u64::from(number), u64::from(number));
        place.how = class::SYSV | mode::WRITE << 8;
        wait.words = place.to_words();
    }
    wait.value = last_user(wait.lock, place.start).unwrap_or(0);
}

/// The process that used a semaphore last, as the agent sees it; `None` for one of another
/// namespace.
fn last_user(set: u64, number: u64) -> Option<u32> {
    let own = fs::metadata("/proc/self/ns/ipc").ok()?.ino();
    if own != set >> 32 {
        return None;
    }
    // SAFETY: the command takes no pointer and changes nothing.
    let process = unsafe { libc::semctl(set as i32, i32::try_from(number).ok()?, libc::GETPID) };
    u32::try_from(process).ok().filter(|&process| process != 0)
}

/// The first arguments of this call, if the thread is inside it.
fn arguments(thread: Thread, call: u32) -> Option<[u64; 3]> {
    let path = format!("/proc/{}/task/{}/syscall", thread.tgid, thread.tid);
    let line = fs::read_to_string(path).ok()?;
    let mut words = line.split(' ');
    let number: i64 = words.next()?.parse().ok()?;
    let inside = match call {
        call::FLOCK => number == libc::SYS_flock,
        call::FCNTL => number == libc::SYS_fcntl,
        _ => matches!(number, libc::SYS_semop | libc::SYS_semtimedop),
    };
    let mut argument = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
    inside.then_some([argument()?, argument()?, argument()?])
}
