//! What lockprobe costs and how full it is: asked of the kernel, about what this process holds.
//!
//! Nothing is kept between two looks: the descriptors of this process are the truth about its
//! programs, tables and probes, whoever opened them and when.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::sys::{Stats, enable_stats};

use crate::model::{OwnProgram, OwnState};
use crate::source::Error;

/// Most descriptors looked at.
const DESCRIPTORS_AT_MOST: usize = 4096;
/// Entries of a table that are looked at. Of fuller ones the rest is inferred: entries are spread
/// over the buckets by a hash, so that this many tell the number within 5 % or so.
const SAMPLE: usize = 512;
/// Larger keys and values are none of ours.
const ENTRY_AT_MOST: usize = 64 << 10;

/// Commands of bpf(2) and types of maps (`linux/bpf.h`).
const OBJ_GET_INFO_BY_FD: i64 = 15;
const MAP_LOOKUP_BATCH: i64 = 24;
const HASH: u32 = 1;
const LRU_HASH: u32 = 9;
const RINGBUF: u32 = 27;

/// Asks how lockprobe is.
#[derive(Debug, Default)]
pub struct Own {
    /// While it is open, the kernel counts how often and how long programs run.
    statistics: Option<OwnedFd>,
}

impl Own {
    /// Asks without statistics of programs: 0 runs, unless somebody else has them kept.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the kernel keep statistics of programs while this lives. That costs every run of every
    /// program of the machine some 70 ns (measured at system calls: 187 ns become 257 ns), and needs
    /// CAP_SYS_ADMIN.
    pub fn with_program_time(mut self) -> Result<Self, Error> {
        let statistics = enable_stats(Stats::RunTime).map_err(|e| {
            Error::Permission(format!(
                "the kernel does not keep statistics of programs for lockprobe ({}); give it \
                 CAP_SYS_ADMIN, or do not ask for program time",
                e.io_error
            ))
        })?;
        self.statistics = Some(statistics);
        Ok(self)
    }

    /// How it is now. Takes about a millisecond; queues are the caller's to add.
    pub fn state(&mut self) -> OwnState {
        let mut state = OwnState {
            processor_time: processor_time(),
            memory: memory(&fs::read_to_string("/proc/self/statm").unwrap_or_default()),
            ..OwnState::default()
        };
        let mut seen = BTreeSet::new();
        let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        for entry in entries.take(DESCRIPTORS_AT_MOST) {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(number) = number else { continue };
            match target.to_str() {
                Some("anon_inode:bpf-prog") => state.programs.extend(program(number, &mut seen)),
                Some("anon_inode:bpf-map") => state.maps.extend(map(number, &mut seen)),
                Some("anon_inode:bpf_link") => state.probes += 1,
                _ => {}
            }
        }
        state.programs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        state.maps.sort_unstable();
        state
    }
}

/// Processor time of this process, nanoseconds.
fn processor_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a timespec; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Resident bytes, from `/proc/PID/statm`.
fn memory(statm: &str) -> u64 {
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages.saturating_mul(page_size() as u64)
}

fn page_size() -> usize {
    // SAFETY: no pointers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// A descriptor of our own for what another one of this process is open on: that may be closed at
/// any moment by the thread it belongs to.
fn duplicate(descriptor: i32) -> Option<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) };
    // SAFETY: a new descriptor that nobody else owns.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `struct bpf_prog_info` up to its statistics, and `struct bpf_map_info` up to its name.
#[repr(C)]
#[derive(Clone, Copy)]
struct ProgramFacts {
    kind: u32,
    id: u32,
    before_name: [u64; 7],
    name: [u8; 16],
    before_run_time: [u64; 14],
    run_time: u64,
    runs: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MapFacts {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    limit: u32,
    flags: u32,
    name: [u8; 16],
}

const _: () = assert!(size_of::<ProgramFacts>() == 208 && size_of::<MapFacts>() == 40);

/// `info` of `union bpf_attr`.
#[repr(C)]
struct FactsCall {
    descriptor: u32,
    length: u32,
    pointer: u64,
}

/// # Safety
///
/// `T` is one of the structures above: integers, for which every pattern of bits is a value.
unsafe fn ask<T: Copy>(fd: &OwnedFd) -> Option<T> {
    // SAFETY: zeros are a value, by the contract.
    let mut facts: T = unsafe { std::mem::zeroed() };
    let call = FactsCall {
        descriptor: fd.as_raw_fd() as u32,
        length: size_of::<T>() as u32,
        pointer: &raw mut facts as u64,
    };
    // SAFETY: the kernel writes at most the length that is given, into `facts`, which lives on.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, &raw const call, size_of::<FactsCall>())
    };
    (done == 0).then_some(facts)
}

fn name(bytes: &[u8; 16]) -> String {
    let name = CStr::from_bytes_until_nul(bytes).map(CStr::to_bytes).unwrap_or(bytes);
    String::from_utf8_lossy(name).into_owned()
}

type Seen = BTreeSet<(bool, u32)>;

fn program(descriptor: i32, seen: &mut Seen) -> Option<OwnProgram> {
    let fd = duplicate(descriptor)?;
    // SAFETY: one of the structures.
    let facts: ProgramFacts = unsafe { ask(&fd) }?;
    let program = OwnProgram { name: name(&facts.name), runs: facts.runs, time: facts.run_time };
    seen.insert((true, facts.id)).then_some(program)
}

/// Name, entries and limit of a table; of the ring, bytes. None of what is always full.
fn map(descriptor: i32, seen: &mut Seen) -> Option<(String, u64, u64)> {
    let fd = duplicate(descriptor)?;
    // SAFETY: one of the structures.
    let facts: MapFacts = unsafe { ask(&fd) }?;
    if !seen.insert((false, facts.id)) {
        return None;
    }
    let entries = match facts.kind {
        HASH | LRU_HASH => entries(&fd, &facts)?,
        RINGBUF => ring_bytes(&fd)?,
        _ => return None,
    };
    Some((name(&facts.name), entries.min(u64::from(facts.limit)), u64::from(facts.limit)))
}

/// `batch` of `union bpf_attr`.
#[repr(C)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    descriptor: u32,
    entry_flags: u64,
    flags: u64,
}

/// How many entries a hash table has. The kernel does not say, and asking for one key after
/// another is a call each; a batch copies the entries of whole buckets and says where it ended
/// (`__htab_map_lookup_and_delete_batch`).
fn entries(fd: &OwnedFd, facts: &MapFacts) -> Option<u64> {
    let (key, value) = (facts.key_size as usize, (facts.value_size as usize).next_multiple_of(8));
    if key + value > ENTRY_AT_MOST {
        return None;
    }
    let (mut keys, mut values) = (vec![0u8; SAMPLE * key], vec![0u8; SAMPLE * value]);
    // Of hash tables, the number of the next bucket.
    let mut next = [0u32; 2];
    let call = Batch {
        from: 0,
        to: next.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: SAMPLE as u32,
        descriptor: fd.as_raw_fd() as u32,
        entry_flags: 0,
        flags: 0,
    };
    let mut call = call;
    // SAFETY: the kernel writes `count` keys and values at most, and four bytes to `to`; the
    // buffers are as large and live on.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, MAP_LOOKUP_BATCH, &raw mut call, size_of::<Batch>())
    };
    let all = done < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT);
    if done < 0 && !all {
        return None;
    }
    let found = u64::from(call.count);
    let buckets = u64::from(facts.limit.checked_next_power_of_two()?);
    Some(if all { found } else { inferred(found, u64::from(next[0]), buckets) })
}

/// All entries, when so many were found in the first of the buckets.
fn inferred(found: u64, seen: u64, buckets: u64) -> u64 {
    (found * buckets + seen / 2).checked_div(seen).unwrap_or(found)
}

/// Bytes in the ring that have not been read: its first page says how far the reader has come, its
/// second how far the writers have (`kernel/bpf/ringbuf.c`).
fn ring_bytes(fd: &OwnedFd) -> Option<u64> {
    let page = page_size();
    let at = |offset: usize| {
        let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: a new mapping of a page at an address the kernel chooses.
        let pointer = unsafe {
            let offset = offset as libc::off_t;
            libc::mmap(ptr::null_mut(), page, read, shared, fd.as_raw_fd(), offset)
        };
        if pointer == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: a mapped page, aligned, which others write to with whole words.
        let position = unsafe { (*pointer.cast::<AtomicU64>()).load(Ordering::Acquire) };
        // SAFETY: the mapping made above, of which nothing is kept.
        unsafe { libc::munmap(pointer, page) };
        Some(position)
    };
    // The reader first: what is written in between counts as waiting, never the other way round.
    let consumed = at(0)?;
    Some(at(page)?.saturating_sub(consumed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_used_the_processor() {
        let state = Own::new().state();
        assert!(state.processor_time > 0);
        assert!((1 << 20..1 << 34).contains(&state.memory), "{}", state.memory);
        assert_eq!((state.probes, state.programs.len()), (0, 0));
    }

    /// Needs the right to make maps; without it there are none to be counted either.
    #[test]
    fn entries_are_counted_up_to_a_sample_and_inferred_above() {
        type Table = aya::maps::HashMap<aya::maps::MapData, u32, [u64; 20]>;
        let Ok(mut table) = Table::create(10_000, 0) else { return };
        let mut filled = 0;
        for (wanted, off) in [(0, 0), (1, 0), (400, 0), (3000, 450), (10_000, 1500)] {
            for key in filled..wanted {
                table.insert(key, [0; 20], 0).unwrap();
            }
            filled = wanted;
            let state = Own::new().state();
            let [(_, entries, limit)] = state.maps[..] else { panic!("{:?}", state.maps) };
            assert_eq!(limit, 10_000);
            assert!(entries.abs_diff(u64::from(wanted)) <= off, "{entries} of {wanted}");
        }
        let begun = std::time::Instant::now();
        Own::new().state();
        assert!(begun.elapsed() < std::time::Duration::from_millis(100), "{:?}", begun.elapsed());
    }

    #[test]
    fn memory_is_counted_in_pages() {
        assert_eq!(memory("1000 20 3 4 0 5 0\n"), 20 * page_size() as u64);
        assert_eq!(memory(""), 0);
        assert_eq!(memory("x y z"), 0);
    }

    #[test]
    fn what_was_not_seen_is_inferred_from_what_was() {
        assert_eq!(inferred(512, 1024, 16_384), 8192);
        assert_eq!(inferred(512, 512, 512), 512);
        assert_eq!(inferred(3, 0, 16), 3);
    }

    #[test]
    fn names_end_at_the_first_nul_or_not_at_all() {
        assert_eq!(name(b"RING\0garbage\0\0\0\0"), "RING");
        assert_eq!(name(b"0123456789abcdef"), "0123456789abcdef");
    }
}
