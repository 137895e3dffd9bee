//! Locks the kernel itself keeps: of files and of System V semaphores.

use super::{Header, LockKey, Thread};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Whose rules a lock follows: the low byte of [`Place::how`].
pub mod class {
    /// flock(2): of an open file description.
    pub const FLOCK: u32 = 1;
    /// fcntl(2) F_SETLK: of a process.
    pub const POSIX: u32 = 2;
    /// fcntl(2) F_OFD_SETLK: of an open file description; in one table with [`POSIX`].
    pub const OFD: u32 = 3;
    /// semop(2): one semaphore of a set.
    pub const SYSV: u32 = 4;
}

/// What is asked for: the second byte of [`Place::how`], as fcntl(2) numbers it.
pub mod mode {
    /// Others may read too.
    pub const READ: u32 = 0;
    /// Alone.
    pub const WRITE: u32 = 1;
    /// To let go.
    pub const UNLOCK: u32 = 2;
}

/// Which part of which device a lock covers: what [`super::Wait::words`] holds for calls from
/// [`super::call::KERNEL`] on, where [`super::Wait::lock`] is the inode. For a semaphore `lock` is
/// the namespace and the set, `start` the number in the set.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Place {
    /// Device as the kernel numbers it: major in the upper 12 bits, minor in the lower 20.
    pub device: u32,
    /// One of [`class`], and one of [`mode`] in the byte above.
    pub how: u32,
    /// First byte.
    pub start: u64,
    /// Last byte; `i64::MAX` for the end of the file, wherever that is.
    pub end: u64,
}

const _: () = assert!(size_of::<Place>() == 24);

impl Place {
    /// Reads it out of a wait.
    #[inline(always)]
    pub fn of_words(words: &[u32; 6]) -> Self {
        Self {
            device: words[0],
            how: words[1],
            start: words[2] as u64 | (words[3] as u64) << 32,
            end: words[4] as u64 | (words[5] as u64) << 32,
        }
    }

    /// The form it has in a wait.
    #[inline(always)]
    pub fn to_words(self) -> [u32; 6] {
        let (start, end) = (self.start, self.end);
        let high = |word: u64| (word >> 32) as u32;
        [self.device, self.how, start as u32, high(start), end as u32, high(end)]
    }

    /// One of [`class`].
    #[inline(always)]
    pub fn class(&self) -> u32 {
        self.how & 0xff
    }

    /// One of [`mode`].
    #[inline(always)]
    pub fn mode(&self) -> u32 {
        (self.how >> 8) & 0xff
    }

    /// Which locks stand in each other's way: POSIX and OFD share a table.
    #[inline(always)]
    pub fn table(&self) -> u32 {
        if self.class() == class::OFD { class::POSIX } else { self.class() }
    }

    /// Key of its counts. The range goes in as a hash: two ranges of one file that share it share
    /// their counts.
    #[inline(always)]
    pub fn key(&self, inode: u64) -> LockKey {
        let mixed = (self.start ^ self.end.rotate_left(29) ^ (self.table() as u64) << 60)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let tgid = LockKey::KERNEL | (mixed >> 33) as u32;
        LockKey { tgid, reserved: self.device, lock: inode }
    }
}

/// What happened to a lock of a file ([`FileRecord::event`]).
pub mod file_event {
    /// Asked for, and the thread goes to sleep for it.
    pub const BLOCKED: u32 = 1;
    /// Asked for, and refused.
    pub const REFUSED: u32 = 2;
    /// Refused because waiting would have been a deadlock (EDEADLK).
    pub const DEADLOCK: u32 = 3;
    /// Had.
    pub const ACQUIRED: u32 = 4;
    /// Let go, be it by closing the file or by exiting; the record does not say that it was held.
    pub const RELEASED: u32 = 5;
    /// Had, at [`super::FileRecord::refused_ns`], before anybody was in want of it; the record
    /// names the thread and no more of it.
    pub const TAKEN: u32 = 6;
}

/// `FILE` record: what happened to a lock of a file that is or was contended lately.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileRecord {
    /// Kind, length, time.
    pub header: Header,
    /// Who did it.
    pub thread: Thread,
    /// The inode.
    pub inode: u64,
    /// Which part of it, and how.
    pub place: Place,
    /// Who owns what is asked for, as the kernel sees it: a process or an open file description,
    /// as a number that says no more than whether two owners are the same.
    pub owner: u64,
    /// Owner of the lock that is in the way, 0 where not known.
    pub holder_owner: u64,
    /// Process that took the lock that is in the way, 0 where not known.
    pub holder: u32,
    /// One of [`file_event`].
    pub event: u32,
    /// When this thread was first refused, in this run of attempts; 0 where it was not.
    pub refused_ns: u64,
    /// How often since, this time included.
    pub refusals: u32,
    /// File descriptor of the call; meaningless for [`file_event::RELEASED`].
    pub descriptor: u32,
}

const _: () = assert!(size_of::<FileRecord>() == 16 + 32 + 8 + 24 + 16 + 8 + 16);

/// Value of the `TAKEN` map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Taken {
    /// Which part.
    pub place: Place,
    /// [`FileRecord::owner`].
    pub owner: u64,
    /// When, CLOCK_MONOTONIC.
    pub time_ns: u64,
    /// Who.
    pub thread: Thread,
    /// 1: the agent has been told.
    pub told: u32,
    /// Zero.
    pub reserved: u32,
}

/// Key of the `CONTENDED` map.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FileKey {
    /// The inode.
    pub inode: u64,
    /// Its device.
    pub device: u32,
    /// [`Place::table`].
    pub table: u32,
}

/// Value of the `REQUESTS` map: what a thread last went to sleep for.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Request {
    /// The inode, or namespace and set.
    pub inode: u64,
    /// The rest.
    pub place: Place,
    /// Process that took the lock in the way, 0 where not known.
    pub holder: u32,
    /// File descriptor or set of the call.
    pub descriptor: u32,
}

/// Value of the `POLLS` map: a thread that asks again and again.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Poll {
    /// For what.
    pub key: FileKey,
    /// First refused, CLOCK_MONOTONIC.
    pub first_ns: u64,
    /// Last refused.
    pub last_ns: u64,
    /// Last told the agent of.
    pub sent_ns: u64,
    /// How often refused.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_journey_through_a_wait() {
        let place =
            Place { device: 0x80_0001, how: 0x0103, start: 1 << 40, end: i64::MAX as u64 - 1 };
        assert_eq!(Place::of_words(&place.to_words()), place);
        assert_eq!((place.class(), place.mode(), place.table()), (class::OFD, 1, class::POSIX));
    }

    #[test]
    fn keys_tell_ranges_and_tables_apart_but_not_modes() {
        let place = |how, start, end| Place { device: 1, how, start, end };
        let write = place(class::POSIX | mode::WRITE << 8, 0, 99).key(7);
        assert_eq!(write, place(class::POSIX, 0, 99).key(7));
        assert_eq!(write, place(class::OFD, 0, 99).key(7));
        assert_ne!(write, place(class::FLOCK, 0, 99).key(7));
        assert_ne!(write, place(class::POSIX, 1, 99).key(7));
        assert_ne!(write, place(class::POSIX, 0, 98).key(7));
        assert!(write.tgid >= LockKey::KERNEL);
    }
}
