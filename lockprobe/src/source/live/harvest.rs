//! Taking the kernel's counts out while it goes on counting.
//!
//! A lock in use keeps its entry, of which only what was added since the last time is told: no
//! count can get lost between a look and a removal. An entry is removed when its process or its
//! program has ended, and when the table fills up with locks that nobody has waited for lately.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::{IterableMap as _, MapData};
use lockprobe_ebpf::wire::{BUCKETS, LockKey, LockStats, kind};
use zerocopy::{FromZeros as _, IntoBytes};

use super::tables::{ReaderTables, Wire};
use crate::source::Batch;

/// Entries looked at before the ring is looked at again.
const AT_A_TIME: usize = 1024;
/// Entries the table has room for.
const ROOM: usize = 8192;
/// From here on entries go that nobody has used for this many series; when it is nearly full, for
/// one.
const CROWDED: usize = ROOM / 4;
const IDLE_FOR: u32 = 6;
const NEARLY_FULL: usize = ROOM / 4 * 3;

/// The table of locks, as the reader has it.
type Table = aya::maps::HashMap<MapData, Wire<LockKey>, Wire<LockStats>>;

/// What has been told of one entry.
#[derive(Default)]
struct Told {
    /// When the entry was made: another time, another entry.
    opened: u64,
    total: u64,
    doubtful: u64,
    /// Those that are not zero, in order.
    buckets: Vec<(u8, u32)>,
    /// What the entry was like, and for how many series it has been like that.
    like: (u64, u64),
    idle: u32,
}

/// The state of all this.
pub struct Harvest {
    /// From one series to the next, nanoseconds; `None`: counts are taken at the end only.
    every: Option<u64>,
    next: u64,
    told: HashMap<LockKey, Told>,
    /// Entries still to be looked at in this series.
    left: Vec<LockKey>,
    /// For how many series an entry may be idle in this one.
    patience: u32,
    /// Locks met since the last series began.
    met: usize,
}

impl Harvest {
    /// The first series comes that long after this moment.
    pub fn new(every: Option<u64>, now: u64) -> Self {
        let next = every.map_or(u64::MAX, |every| now.saturating_add(every));
        Self { every, next, told: HashMap::new(), left: Vec::new(), patience: IDLE_FOR, met: 0 }
    }

    /// Locks were waited for that had not been before: a series may be due sooner, lest the table
    /// fill up.
    pub fn met(&mut self, locks: usize) {
        self.met = self.met.saturating_add(locks);
    }

    /// Goes on with a series, or begins one that is due; what was added to the counts goes into the
    /// batch. Whether that was the end of the series.
    pub fn go_on(&mut self, now: u64, tables: &mut ReaderTables, batch: &mut Batch) -> bool {
        if self.left.is_empty() {
            let many = self.met >= CROWDED && self.every.is_some();
            if now < self.next && !many {
                return false;
            }
            self.met = 0;
            self.next = now.saturating_add(self.every.unwrap_or(u64::MAX));
            self.left = tables.locks.keys().flatten().map(|key| key.0).collect();
            self.patience = match self.left.len() {
                ..CROWDED => u32::MAX,
                CROWDED..NEARLY_FULL => IDLE_FOR,
                _ => 1,
            };
        }
        let from = self.left.len().saturating_sub(AT_A_TIME);
        for key in self.left.split_off(from) {
            self.look(key, now, tables, batch);
        }
        self.left.is_empty()
    }

    fn look(&mut self, key: LockKey, now: u64, tables: &ReaderTables, batch: &mut Batch) {
        let Ok(mut stats) = tables.locks.get(&Wire(key), 0) else { return };
        let told = self.told.entry(key).or_default();
        let idle = told.idle_for(&stats.0);
        let remove = idle >= self.patience && key != LockKey::default();
        if remove {
            // Should it be used just now after all, that is among what is taken out.
            match take(&tables.locks, key) {
                Some(last) => stats.0 = last,
                None => return,
            }
        }
        if let Some(added) = told.added(&stats.0) {
            batch.push_parts(kind::STATS, now, &[key.as_bytes(), added.as_bytes()]);
        }
        if remove {
            self.told.remove(&key);
        }
    }

    /// Moves the counts of some entries that nobody adds to any more into the batch.
    pub fn take(
        &mut self,
        now: u64,
        tables: &mut ReaderTables,
        batch: &mut Batch,
        process: Option<&dyn Fn(u32) -> bool>,
        wanted: impl Fn(&LockStats) -> bool,
    ) {
        let keys: Vec<_> = tables.locks.keys().flatten().collect();
        for key in keys.into_iter().filter(|key| process.is_none_or(|is_it| is_it(key.0.tgid))) {
            let Ok(stats) = tables.locks.get(&key, 0) else { continue };
            if !wanted(&stats.0) {
                continue;
            }
            if let Some(added) = self.told.entry(key.0).or_default().added(&stats.0) {
                batch.push_parts(kind::STATS, now, &[key.0.as_bytes(), added.as_bytes()]);
            }
            if key.0 != LockKey::default() {
                let _ = tables.locks.remove(&key);
                self.told.remove(&key.0);
            }
        }
    }
}

impl Told {
    /// For how many series the entry has been as it is.
    fn idle_for(&mut self, stats: &LockStats) -> u32 {
        let like = (stats.count, stats.released_ns);
        self.idle = if like == self.like { self.idle.saturating_add(1) } else { 0 };
        self.like = like;
        self.idle
    }

    /// What was added since the last time; `None` for nothing. A wait that turns out to go on is
    /// taken back by the kernel half: what was told already is made up for by the next like it, so
    /// that what is told never falls.
    fn added(&mut self, stats: &LockStats) -> Option<LockStats> {
        if self.opened != stats.opened_ns {
            *self = Self { opened: stats.opened_ns, like: self.like, ..Self::default() };
        }
        let mut added = LockStats { buckets: [0; BUCKETS], ..*stats };
        let mut before = self.buckets.iter().copied().peekable();
        let mut buckets = Vec::with_capacity(self.buckets.len() + 4);
        let mut waits = 0;
        for (bucket, &count) in (0u8..).zip(&stats.buckets) {
            let told = before.next_if(|(at, _)| *at == bucket).map_or(0, |(_, told)| told);
            let more = u32::try_from(count.wrapping_sub(told).cast_signed()).unwrap_or(0);
            added.buckets[usize::from(bucket)] = more;
            waits += u64::from(more);
            if told.wrapping_add(more) != 0 {
                buckets.push((bucket, told.wrapping_add(more)));
            }
        }
        if waits == 0 {
            return None;
        }
        self.buckets = buckets;
        let doubtful = grown(&mut self.doubtful, doubtful(stats.count)).min(waits);
        added.count = LockStats::TELLS + doubtful * LockStats::DOUBTFUL + waits;
        added.sum_ns = grown(&mut self.total, stats.sum_ns);
        Some(added)
    }
}

/// The upper part of a count, whose lower part may have fallen below zero.
fn doubtful(count: u64) -> u64 {
    let lower = (count << 24).cast_signed() >> 24;
    count.cast_signed().wrapping_sub(lower).cast_unsigned() / LockStats::DOUBTFUL
}

/// By how much a number has grown, which it is then known to have; one that fell has not.
fn grown(known: &mut u64, now: u64) -> u64 {
    let by = u64::try_from(now.wrapping_sub(*known).cast_signed()).unwrap_or(0);
    *known = known.wrapping_add(by);
    by
}

/// Takes an entry out in one step (BPF_MAP_LOOKUP_AND_DELETE_ELEM, of hash tables since Linux
/// 5.14), as linux/bpf.h lays out its arguments.
fn take(table: &Table, key: LockKey) -> Option<LockStats> {
    #[repr(C)]
    struct Element {
        map: u64,
        key: u64,
        value: u64,
        flags: u64,
    }
    const LOOKUP_AND_DELETE: libc::c_long = 21;
    let mut stats = LockStats::new_zeroed();
    let element = Element {
        map: table.map().fd().as_fd().as_raw_fd().cast_unsigned().into(),
        key: (&raw const key).addr() as u64,
        value: (&raw mut stats).addr() as u64,
        flags: 0,
    };
    let (at, size) = ((&raw const element), size_of::<Element>());
    let _ = (&raw const key, &raw mut stats);
    // SAFETY: the arguments are whole; the kernel reads a key of the table's size and writes a
    // value of the table's size, which is what the two are.
    let done = unsafe { libc::syscall(libc::SYS_bpf, LOOKUP_AND_DELETE, at, size) };
    (done == 0).then_some(stats)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(opened: u64, buckets: &[(usize, u32)], sum: u64, doubtful: u64) -> LockStats {
        let mut stats = LockStats::new_zeroed();
        stats.opened_ns = opened;
        buckets.iter().for_each(|&(at, count)| stats.buckets[at] = count);
        let waits = buckets.iter().fold(0u64, |sum, &(_, n)| {
            sum.wrapping_add(i64::from(n.cast_signed()).cast_unsigned())
        });
        stats.count = (doubtful * LockStats::DOUBTFUL).wrapping_add(waits);
        stats.sum_ns = sum;
        stats
    }

    /// Waits, doubtful ones, their total, and buckets that are not empty.
    type Shown = (u64, u64, u64, Vec<(usize, u32)>);

    fn told(added: Option<LockStats>) -> Option<Shown> {
        let added = added?;
        let (waits, doubtful) = LockStats::waits(added.count);
        let buckets = added.buckets.iter().copied().enumerate().filter(|(_, n)| *n > 0);
        Some((waits, doubtful, added.sum_ns, buckets.collect()))
    }

    #[test]
    fn only_what_was_added_is_told() {
        let mut known = Told::default();
        let first = known.added(&stats(5, &[(3, 2), (9, 1)], 700, 1));
        assert_eq!(told(first), Some((3, 1, 700, vec![(3, 2), (9, 1)])));
        assert_eq!(told(known.added(&stats(5, &[(3, 2), (9, 1)], 700, 1))), None);
        let more = known.added(&stats(5, &[(0, 1), (3, 2), (9, 4)], 900, 1));
        assert_eq!(told(more), Some((4, 0, 200, vec![(0, 1), (9, 3)])));
    }

    #[test]
    fn an_entry_made_anew_is_told_from_its_beginning() {
        let mut known = Told::default();
        known.added(&stats(5, &[(3, 7)], 700, 0));
        let anew = known.added(&stats(6, &[(3, 2)], 20, 0));
        assert_eq!(told(anew), Some((2, 0, 20, vec![(3, 2)])));
    }

    #[test]
    fn what_is_told_never_falls_and_comes_right_with_the_next() {
        let mut known = Told::default();
        known.added(&stats(5, &[(3, 2)], 20, 1));
        // One of the two goes on: the kernel half takes it back, and counts it when it has ended.
        assert_eq!(told(known.added(&stats(5, &[(3, 1)], 10, 0))), None);
        let ended = known.added(&stats(5, &[(3, 1), (90, 1)], 5010, 0));
        assert_eq!(told(ended), Some((1, 0, 4990, vec![(90, 1)])));
        // And the next short one has been told of.
        assert_eq!(told(known.added(&stats(5, &[(3, 2), (90, 1)], 5020, 0))), None);
        let next = known.added(&stats(5, &[(3, 3), (90, 1)], 5030, 1));
        assert_eq!(told(next), Some((1, 0, 20, vec![(3, 1)])));
    }

    #[test]
    fn counts_may_begin_below_zero_and_run_over() {
        let mut known = Told::default();
        assert_eq!(told(known.added(&stats(5, &[(3, u32::MAX)], u64::MAX, 0))), None);
        assert_eq!(
            told(known.added(&stats(5, &[(3, 0), (4, 1)], 9, 0))),
            Some((1, 0, 9, vec![(4, 1)]))
        );
        let mut known = Told::default();
        known.added(&stats(5, &[(3, i32::MAX as u32)], 1, 0));
        known.added(&stats(5, &[(3, u32::MAX)], 2, 0));
        assert_eq!(told(known.added(&stats(5, &[(3, 4)], 3, 0))), Some((5, 0, 1, vec![(3, 5)])));
    }

    #[test]
    fn an_entry_is_idle_while_nothing_of_it_changes() {
        let mut known = Told::default();
        let mut entry = stats(5, &[(3, 2)], 20, 0);
        assert_eq!(
            [known.idle_for(&entry), known.idle_for(&entry), known.idle_for(&entry)],
            [0, 1, 2]
        );
        entry.released_ns = 7;
        assert_eq!([known.idle_for(&entry), known.idle_for(&entry)], [0, 1]);
    }
}
