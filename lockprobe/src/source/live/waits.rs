//! Looking at threads that still sleep: the kernel's table of waits, checked against the thread.

use std::fs;

use lockprobe_ebpf::wire::Header;
use lockprobe_ebpf::wire::{Thread, Wait, WaitRecord, kind, state, wait_flag};

use super::tables::ReaderTables;

/// Most threads announced in one look; more than any person reads, and a bound on the batch.
const AT_MOST: usize = 4096;

/// Every thread asleep on a lock for at least the threshold, as `WAITING` records.
pub fn asleep(tables: &mut ReaderTables, now: u64, min_wait: u64) -> Vec<WaitRecord> {
    let mut found = Vec::new();
    let mut stale = Vec::new();
    for (tid, wait) in tables.waits.iter().flatten() {
        let wait = wait.0;
        if wait.state != state::SLEEPING || now.saturating_sub(wait.start_ns) < min_wait {
            continue;
        }
        match look(tid, wait, now) {
            Some(record) => found.push(record),
            None => stale.push((tid, wait)),
        }
        if found.len() == AT_MOST {
            break;
        }
    }
    for (tid, wait) in stale {
        remove_if_unchanged(tables, tid, wait);
    }
    found
}

/// The iterator may note a thread just as it wakes: such an entry would sleep for ever.
fn remove_if_unchanged(tables: &mut ReaderTables, tid: u32, seen: Wait) {
    let now = tables.waits.get(&tid, 0).ok().map(|w| (w.0.state, w.0.sleep_ns));
    if seen.flags & wait_flag::PREEXISTING != 0 && now == Some((seen.state, seen.sleep_ns)) {
        let _ = tables.waits.remove(&tid);
    }
}

fn look(tid: u32, mut wait: Wait, now: u64) -> Option<WaitRecord> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let tgid: u32 = field("Tgid:")?.trim().parse().ok()?;
    if wait.flags & wait_flag::PREEXISTING != 0 && !sleeps_on(tgid, tid, wait.lock) {
        return None;
    }
    let ids: Vec<u32> = field("NSpid:")?.split_whitespace().flat_map(str::parse).collect();
    let mut thread = Thread {
        tgid,
        tid,
        ns_tid: ids.last().copied().unwrap_or(tid),
        ns_level: ids.len().saturating_sub(1) as u32,
        comm: [0; 16],
    };
    let name = field("Name:")?.trim_start_matches('\t').as_bytes();
    let length = name.len().min(15);
    thread.comm[..length].copy_from_slice(&name[..length]);
    match lock_words(tgid, wait.lock) {
        Some(words) => {
            if wait.flags & wait_flag::WORDS == 0 {
                wait.first_owner = words[2];
            }
            wait.words = words;
            wait.flags |= wait_flag::WORDS;
        }
        None => wait.flags &= !wait_flag::WORDS,
    }
    let len = size_of::<WaitRecord>() as u32;
    Some(WaitRecord { header: Header { kind: kind::WAITING, len, time_ns: now }, thread, wait })
}

/// Whether the thread is inside a futex call on this address: system call number, then arguments.
fn sleeps_on(tgid: u32, tid: u32, lock: u64) -> bool {
    let line = fs::read_to_string(format!("/proc/{tgid}/task/{tid}/syscall")).unwrap_or_default();
    let mut words = line.split(' ');
    let number = words.next().and_then(|n| n.parse().ok());
    let address =
        words.next().and_then(|a| u64::from_str_radix(a.trim_start_matches("0x"), 16).ok());
    matches!(number, Some(libc::SYS_futex | 455)) && address == Some(lock)
}

/// The lock's memory as it is now.
fn lock_words(pid: u32, address: u64) -> Option<[u32; 6]> {
    let mut words = [0u32; 6];
    let here = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: size_of_val(&words) };
    let there = libc::iovec { iov_base: address as *mut _, iov_len: size_of_val(&words) };
    // SAFETY: both vectors have one element; the kernel checks the foreign address and writes at
    // most 24 bytes to `words`, which lives until the call returns.
    let read = unsafe { libc::process_vm_readv(pid as libc::pid_t, &here, 1, &there, 1, 0) };
    (read == size_of_val(&words) as isize).then_some(words)
}
