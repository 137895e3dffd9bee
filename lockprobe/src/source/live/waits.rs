//! Looking at threads that still sleep: the kernel's table of waits, checked against the thread.

use std::fs;
use std::io::Read;
use std::ops::Range;

use lockprobe_ebpf::wire::{
    Header, SiteKey, Thread, Wait, WaitRecord, call, kind, state, verdict, wait_flag,
};
use zerocopy::{FromBytes, IntoBytes};

use super::file_table::FileTable;
use super::kernel_waits;
use super::tables::{ReaderTables, Wire};

/// Most threads announced in one look; more than any person reads, and a bound on the batch.
const AT_MOST: usize = 4096;

/// Most call sites in a row that each leave it to their caller.
const MOST_HOPS: usize = 4;

/// Every thread asleep on a lock for a time in this range, as `WAITING` records; not those for
/// which `known` holds, of thread and start of the wait.
pub fn asleep(
    tables: &mut ReaderTables,
    now: u64,
    ages: Range<u64>,
    mut known: impl FnMut(u32, u64) -> bool,
) -> Vec<WaitRecord> {
    let mut found = Vec::new();
    let mut over = Vec::new();
    let mut files = FileTable::default();
    for (tid, wait) in tables.waits.iter().flatten() {
        let wait = wait.0;
        let age = now.saturating_sub(wait.start_ns);
        if wait.state != state::SLEEPING || !ages.contains(&age) || known(tid, wait.start_ns) {
            continue;
        }
        match look(tables, &mut files, tid, wait, now) {
            Look::Waits(record) => found.push(*record),
            Look::Idle => over.push((tid, wait)),
            Look::Gone if wait.flags & wait_flag::PREEXISTING != 0 => over.push((tid, wait)),
            Look::Gone => {}
        }
        if found.len() == AT_MOST {
            break;
        }
    }
    for (tid, wait) in over {
        remove_if_unchanged(tables, tid, wait);
    }
    found
}

/// The wait of one thread that sleeps on what may be a lock, as a `WAITING` record.
pub fn standing(
    tables: &ReaderTables,
    files: &mut FileTable,
    tid: u32,
    wait: Wait,
    now: u64,
) -> Option<WaitRecord> {
    match look(tables, files, tid, wait, now) {
        Look::Waits(record) => Some(*record),
        Look::Idle | Look::Gone => None,
    }
}

/// How often a thread has gone to sleep of its own accord.
pub fn sleeps(tid: u32) -> Option<u64> {
    let status = proc_file(&format!("/proc/{tid}/status"))?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
}

/// What a look at one thread shows.
enum Look {
    /// It sleeps on a lock, or on what may be one.
    Waits(Box<WaitRecord>),
    /// It sleeps on something that is no lock.
    Idle,
    /// It does not sleep there any more.
    Gone,
}

/// Takes an entry out that is none: the site has been found idle since, or the iterator noted the
/// thread just as it woke, and nothing would ever end such a wait.
fn remove_if_unchanged(tables: &mut ReaderTables, tid: u32, seen: Wait) {
    let now = tables.waits.get(&tid, 0).ok().map(|w| (w.0.state, w.0.sleep_ns));
    if now == Some((seen.state, seen.sleep_ns)) {
        let _ = tables.waits.remove(&tid);
    }
}

fn look(tables: &ReaderTables, files: &mut FileTable, tid: u32, mut wait: Wait, now: u64) -> Look {
    let Some(thread) = thread(tid) else { return Look::Gone };
    if wait.call >= call::KERNEL {
        return match kernel_waits::refresh(files, thread, &mut wait) {
            true => waits(thread, wait, now),
            false => Look::Gone,
        };
    }
    let preexisting = wait.flags & wait_flag::PREEXISTING != 0;
    if preexisting && !sleeps_on(thread.tgid, tid, wait.lock) {
        return Look::Gone;
    }
    let verdict_on = |level: u32, ip: u64| {
        let key = SiteKey { tgid: thread.tgid, level, ip };
        tables.sites.get(&Wire(key), 0).unwrap_or(verdict::UNKNOWN)
    };
    let own = verdict_on(0, wait.ip);
    let known = wait.flags & wait_flag::CALLER_KNOWN != 0;
    let mut last = if known { verdict_on(1, wait.caller) } else { own };
    for _ in 0..MOST_HOPS {
        // Found out only after the thread fell asleep.
        let mut caller = [0u64];
        let place = wait.sp.wrapping_add(u64::from(last >> 8));
        if last & 0xff != verdict::BY_CALLER || !read(thread.tgid, place, &mut caller) {
            break;
        }
        wait.caller = caller[0];
        wait.flags |= wait_flag::CALLER_KNOWN;
        last = verdict_on(1, wait.caller);
    }
    let above =
        if wait.flags & wait_flag::CALLER_KNOWN != 0 { verdict_on(1, wait.caller) } else { 0 };
    if own & 0xff == verdict::IDLE || above & 0xff == verdict::IDLE {
        return Look::Idle;
    }
    let mut words = [0u32; 6];
    if wait.flags & wait_flag::PARKED != 0 {
        return waits(thread, wait, now);
    }
    if read(thread.tgid, wait.lock, &mut words) {
        if wait.flags & wait_flag::WORDS == 0 {
            wait.first_owner = words[2];
        }
        wait.words = words;
        wait.flags |= wait_flag::WORDS;
    } else {
        wait.flags &= !wait_flag::WORDS;
    }
    waits(thread, wait, now)
}

fn waits(thread: Thread, wait: Wait, now: u64) -> Look {
    let len = size_of::<WaitRecord>() as u32;
    let header = Header { kind: kind::WAITING, len, time_ns: now };
    Look::Waits(Box::new(WaitRecord { header, thread, wait }))
}

fn thread(tid: u32) -> Option<Thread> {
    let status = proc_file(&format!("/proc/{tid}/status"))?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let ids: Vec<u32> = field("NSpid:")?.split_whitespace().flat_map(str::parse).collect();
    let mut thread = Thread {
        tgid: field("Tgid:")?.trim().parse().ok()?,
        tid,
        ns_tid: ids.last().copied().unwrap_or(tid),
        ns_level: ids.len().saturating_sub(1) as u32,
        comm: [0; 16],
    };
    let name = field("Name:")?.trim_start_matches('\t').as_bytes();
    let length = name.len().min(15);
    thread.comm[..length].copy_from_slice(&name[..length]);
    Some(thread)
}

/// Whether the thread is inside a futex call on this address: system call number, then arguments.
fn sleeps_on(tgid: u32, tid: u32, lock: u64) -> bool {
    let line = proc_file(&format!("/proc/{tgid}/task/{tid}/syscall")).unwrap_or_default();
    let mut words = line.split(' ');
    let number = words.next().and_then(|n| n.parse().ok());
    let address =
        words.next().and_then(|a| u64::from_str_radix(a.trim_start_matches("0x"), 16).ok());
    matches!(number, Some(libc::SYS_futex | 455)) && address == Some(lock)
}

/// Reads memory of another process as it is now; whether all of it could be read.
pub(super) fn read<T: IntoBytes + FromBytes>(pid: u32, address: u64, words: &mut [T]) -> bool {
    let bytes = words.as_mut_bytes();
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let there = libc::iovec { iov_base: address as *mut _, iov_len: bytes.len() };
    // SAFETY: both vectors have one element; the kernel checks the foreign address and writes at
    // most `bytes.len()` bytes to `bytes`, which lives until the call returns.
    let read = unsafe { libc::process_vm_readv(pid as libc::pid_t, &here, 1, &there, 1, 0) };
    read == bytes.len() as isize
}

/// A file of `/proc`, which tells no length: with room from the start, it takes two reads. Names of
/// threads are any bytes, as where a long one was cut within a letter.
fn proc_file(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(4096);
    fs::File::open(path).ok()?.take(1 << 16).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes);
    Some(text.unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_whose_name_is_no_text_is_a_thread() {
        // SAFETY: no arguments, cannot fail.
        let own = || unsafe { libc::gettid() };
        let found = std::thread::spawn(move || {
            let tid = own();
            fs::write(format!("/proc/self/task/{tid}/comm"), b"Thread-2 (gr\xc3").unwrap();
            thread(tid as u32)
        });
        let found = found.join().unwrap().unwrap();
        assert_eq!(found.tgid, std::process::id());
        assert!(found.comm.starts_with(b"Thread-2 (gr"));
    }
}
