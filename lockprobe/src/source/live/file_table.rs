//! The kernel's own table of file locks, `/proc/locks`: who has what, and who waits for it.
//!
//! A line is a lock (`1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`); those that wait for it
//! follow with an arrow before the kind, deeper the further down the queue they are
//! (`lock_get_status` in fs/locks.c). Processes are those that took or asked for a lock, -1 where it
//! is an OFD lock, and 0 where they are not in our PID namespace.

use std::fs;

use lockprobe_ebpf::wire::{Place, class, mode};

/// Most lines read; a table longer than that is read in part.
const LINES_AT_MOST: usize = 65_536;

/// One lock, held or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Process that has it or waits; 0 where the table does not tell.
    pub process: u32,
    /// Inode.
    pub inode: u64,
    /// The rest.
    pub place: Place,
    /// How deep in the queue: 0 has the lock, 1 waits for it, more wait behind another.
    pub depth: usize,
}

/// One lock and those that wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who has it.
    pub holder: Entry,
    /// Who waits for it, or behind one that does.
    pub waiters: Vec<Entry>,
}

/// The table, read when it is first asked for.
#[derive(Default)]
pub struct FileTable(Option<Vec<Held>>);

impl FileTable {
    /// As it was then.
    pub fn now(&mut self) -> &[Held] {
        self.0.get_or_insert_with(now)
    }
}

/// The locks of files that are held now.
pub fn now() -> Vec<Held> {
    read(&fs::read_to_string("/proc/locks").unwrap_or_default())
}

fn read(text: &str) -> Vec<Held> {
    let mut all: Vec<Held> = Vec::new();
    for entry in text.lines().take(LINES_AT_MOST).filter_map(line) {
        match all.last_mut() {
            _ if entry.depth == 0 => all.push(Held { holder: entry, waiters: Vec::new() }),
            Some(held) => held.waiters.push(entry),
            None => {}
        }
    }
    all
}

fn line(line: &str) -> Option<Entry> {
    let (_, rest) = line.split_once(':')?;
    let blanks = rest.len() - rest.trim_start().len();
    let rest = rest.trim_start();
    let (depth, rest) = match rest.strip_prefix("->") {
        // One blank more for each place in the queue.
        Some(rest) => (blanks, rest),
        None => (0, rest),
    };
    let mut words = rest.split_whitespace();
    let class = match words.next()? {
        "FLOCK" => class::FLOCK,
        "POSIX" => class::POSIX,
        "OFDLCK" => class::OFD,
        _ => return None,
    };
    let mode = match words.nth(1)? {
        "READ" => mode::READ,
        "WRITE" => mode::WRITE,
        _ => return None,
    };
    let process =
        words.next()?.parse::<i64>().ok().and_then(|pid| pid.try_into().ok()).unwrap_or(0);
    let mut file = words.next()?.split(':');
    let mut number = |radix| u64::from_str_radix(file.next()?, radix).ok();
    let (major, minor, inode) = (number(16)?, number(16)?, number(10)?);
    let device = (major << 20 | minor) as u32;
    let start = words.next()?.parse().ok()?;
    let end = match words.next()? {
        "EOF" => i64::MAX as u64,
        end => end.parse().ok()?,
    };
    let place = Place { device, how: class | mode << 8, start, end };
    Some(Entry { process, inode, place, depth })
}

/// The holder a waiter waits for, and the waiter itself, as the table has it; `None` where it may
/// be one of several.
pub fn find(
    all: &[Held],
    process: u32,
    inode: u64,
    is_it: impl Fn(&Place) -> bool,
) -> Option<(Entry, Entry)> {
    let same = |e: &&Entry| e.process == process && e.inode == inode && is_it(&e.place);
    let mut found =
        all.iter().filter_map(|held| Some((held.holder, *held.waiters.iter().find(same)?)));
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 100 149
2: FLOCK  ADVISORY  WRITE 3517 00:2c:77 0 EOF
2: -> FLOCK  ADVISORY  READ  3600 00:2c:77 0 EOF
2:  -> FLOCK  ADVISORY  WRITE 3601 00:2c:77 0 EOF
3: OFDLCK ADVISORY  READ  -1 fd:00:12 0 EOF
4: LEASE  ACTIVE    READ  10 fd:00:13 0 EOF
5: nonsense
";

    #[test]
    fn holders_and_waiters_are_read() {
        let all = read(TABLE);
        let queue: Vec<usize> = all.iter().map(|held| held.waiters.len()).collect();
        assert_eq!(queue, [0, 2, 0]);
        let range = all[0].holder.place;
        assert_eq!((range.start, range.end, range.mode()), (100, 149, mode::WRITE));
        assert_eq!((range.device, all[0].holder.inode), (0xfd << 20, 2_531_452));
        assert_eq!((all[2].holder.process, all[2].holder.place.class()), (0, class::OFD));
        let depths: Vec<usize> = all[1].waiters.iter().map(|e| e.depth).collect();
        assert_eq!(depths, [1, 2]);
    }

    #[test]
    fn a_waiter_leads_to_its_holder() {
        let all = read(TABLE);
        let found = find(&all, 3601, 77, |place| place.device == 0x2c);
        assert_eq!(found.map(|(holder, own)| (holder.process, own.depth)), Some((3517, 2)));
        assert_eq!(find(&all, 3517, 77, |_| true), None);
    }

    #[test]
    fn the_kernels_table_can_be_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().lock().unwrap();
        let own = std::process::id();
        assert!(now().iter().any(|held| held.holder.process == own));
    }
}
