//! A lock as the kernel half knows it: an address, its counts, and where it was first contended.

use super::{Header, Thread};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Exponential-histogram scale of the kernel's buckets: 2^3 = 8 buckets an octave, as
/// OpenTelemetry defines it, so that they leave the host without loss.
pub const HISTOGRAM_SCALE: u32 = 3;
/// Everything up to 2^10 ns (about 1 us) shares bucket 0: below the cost of a sleep.
pub const HISTOGRAM_MIN_EXPONENT: u32 = 10;
/// Buckets from 2^10 ns to 2^37 ns (137 s); longer waits land in the last.
pub const BUCKETS: usize = (37 - 10) * 8;

/// Bytes of user stack copied when a lock is first contended.
pub const STACK_BYTES: usize = 1024;

/// 2^(k/8) for k = 1..8 in 1.31 fixed point, rounded down: the bounds inside one octave. The last
/// is never reached.
const OCTAVE: [u64; 8] = [
    2_341_847_523,
    2_553_802_833,
    2_784_941_737,
    3_037_000_499,
    3_311_872_529,
    3_611_622_602,
    3_938_502_375,
    u64::MAX,
];

/// A number whose products with 2^n - 1 all differ in their top six bits.
const DE_BRUIJN: u64 = 0x03f7_9d71_b4cb_0a89;

/// Position of the highest bit by those six bits.
static HIGHEST_BIT: [u8; 64] = {
    let mut table = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        let ones = u64::MAX >> (63 - bit);
        table[(ones.wrapping_mul(DE_BRUIJN) >> 58) as usize] = bit as u8;
        bit += 1;
    }
    table
};

/// Bounds below each 64th of an octave; no 64th has two in it.
static BOUNDS_BELOW: [u8; 128] = {
    let mut table = [0; 128];
    let mut part = 0;
    while part < 128 {
        let start = (1u64 << 31) + ((part as u64) << 25);
        let mut below = 0;
        while below < 7 && OCTAVE[below] < start {
            below += 1;
        }
        table[part] = below as u8;
        part += 1;
    }
    table
};

static BOUNDS: [u64; 8] = OCTAVE;

/// Bucket of a duration in nanoseconds: the largest `i` with `2^(10 + i/8) < ns`, clamped.
///
/// Upper bounds are inclusive and lower bounds exclusive, as the OpenTelemetry data model has it.
/// By tables rather than by comparisons: the verifier follows every branch both ways, and eBPF
/// cannot count leading zeros.
#[inline(always)]
pub fn bucket_of(ns: u64) -> u32 {
    // 2^k belongs to the bucket that ends there, so the octave is that of ns - 1.
    let v = ns.saturating_sub(1);
    if v >> HISTOGRAM_MIN_EXPONENT == 0 {
        return 0;
    }
    if v >> 62 != 0 {
        return BUCKETS as u32 - 1;
    }
    let mut ones = v | v >> 1;
    ones |= ones >> 2;
    ones |= ones >> 4;
    ones |= ones >> 8;
    ones |= ones >> 16;
    ones |= ones >> 32;
    let octave = HIGHEST_BIT[(ones.wrapping_mul(DE_BRUIJN) >> 58) as usize] as u32 & 63;
    // 1.31 fixed point, up to and including 2.0; the bounds in between are irrational, so that
    // comparing with them rounded down is exact.
    let mantissa = (ns << (62 - octave)) >> 31;
    let below = BOUNDS_BELOW[(mantissa.wrapping_sub(1 << 31) >> 25) as usize & 127] as usize & 7;
    let sub = below as u32 + (mantissa > BOUNDS[below]) as u32;
    let bucket = ((octave.wrapping_sub(HISTOGRAM_MIN_EXPONENT)) << HISTOGRAM_SCALE) + sub;
    if bucket < BUCKETS as u32 { bucket } else { BUCKETS as u32 - 1 }
}

/// Key of the `LOCKS` map: an address in one process, or a lock the kernel keeps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LockKey {
    /// Process id as the host sees it; 0 with `lock` 0 is the overflow entry. From
    /// [`LockKey::KERNEL`] on it is no process: see [`super::Place::key`].
    pub tgid: u32,
    /// Zero; the device of a file.
    pub reserved: u32,
    /// Address waited on; the inode of a file.
    pub lock: u64,
}

impl LockKey {
    /// Bit of `tgid` that no process id has.
    pub const KERNEL: u32 = 1 << 31;
}

/// Value of the `LOCKS` map: every wait on the lock, however short.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LockStats {
    /// Waits ended; above, in units of [`LockStats::DOUBTFUL`], those of them that nobody who had
    /// the lock put an end to, but time, a signal or somebody's end.
    pub count: u64,
    /// Their total, nanoseconds.
    pub sum_ns: u64,
    /// The longest, nanoseconds (two processors may race here; the ring has the long ones exactly).
    pub max_ns: u64,
    /// When this entry was made, CLOCK_MONOTONIC: before an exec, it is of the program before.
    pub opened_ns: u64,
    /// When a thread was last seen letting the lock go, CLOCK_MONOTONIC.
    pub released_ns: u64,
    /// User instruction pointer of the first sleep.
    pub ip: u64,
    /// Caller of that frame, as in [`super::Wait::caller`].
    pub caller: u64,
    /// Attempts by bucket, see [`bucket_of`].
    pub buckets: [u32; BUCKETS],
}

impl LockStats {
    /// One doubtful wait in `count`.
    pub const DOUBTFUL: u64 = 1 << 40;
    /// Set in the `count` of `STATS` records that tell doubtful waits; older ones do not.
    pub const TELLS: u64 = 1 << 63;

    /// Waits, and how many of them were doubtful, as `count` has them.
    pub fn waits(count: u64) -> (u64, u64) {
        (count % Self::DOUBTFUL, (count & !Self::TELLS) / Self::DOUBTFUL)
    }
}

/// `LOCK` record: the first contention of a lock, with what is needed to name it and to tell
/// whether it is one.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LockRecord {
    /// Kind, length, time.
    pub header: Header,
    /// The waiter.
    pub thread: Thread,
    /// Address waited on.
    pub lock: u64,
    /// User instruction pointer.
    pub ip: u64,
    /// User stack pointer.
    pub sp: u64,
    /// User frame pointer.
    pub bp: u64,
    /// As [`super::Wait::caller`].
    pub caller: u64,
    /// One of [`super::call`].
    pub call: u32,
    /// Bits of [`super::wait_flag`].
    pub flags: u32,
    /// As [`super::Wait::value`].
    pub value: u32,
    /// How many bytes of `stack` were read.
    pub stack_len: u32,
    /// As [`super::Wait::words`].
    pub words: [u32; 6],
    /// The user stack from `sp` upwards.
    pub stack: [u8; STACK_BYTES],
}

const _: () = assert!(size_of::<LockRecord>() == 16 + 32 + 40 + 16 + 24 + STACK_BYTES);

/// Key of the `SITES` map: an instruction in one process, at the call itself or one frame up.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SiteKey {
    /// Process id as the host sees it.
    pub tgid: u32,
    /// 0 for the frame of the system call, 1 for its caller.
    pub level: u32,
    /// Address of the instruction.
    pub ip: u64,
}

/// Values of the `SITES` map: the low byte is one of these, the rest belongs to [`BY_CALLER`].
///
/// [`BY_CALLER`]: verdict::BY_CALLER
pub mod verdict {
    /// Nobody has said yet.
    pub const UNKNOWN: u32 = 0;
    /// A lock, or what may be one.
    pub const LOCK: u32 = 1;
    /// No lock: drop the sleep in the kernel.
    pub const IDLE: u32 = 2;
    /// The caller decides; its return address lies `value >> 8` bytes above the stack pointer.
    pub const BY_CALLER: u32 = 3;
    /// A lock, if the entry of CPython's parking lot that the thread sleeps in is that of one.
    pub const PARKED: u32 = 4;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lower_bound(bucket: u32) -> f64 {
        f64::exp2_of(10.0 + f64::from(bucket) / 8.0)
    }

    trait Exp2 {
        fn exp2_of(x: f64) -> f64;
    }
    impl Exp2 for f64 {
        fn exp2_of(x: f64) -> f64 {
            // `exp2` lives in std, and the tests run with it.
            extern crate std;
            x.exp2()
        }
    }

    #[test]
    fn every_duration_lies_within_its_bucket() {
        let mut ns = 1025u64;
        while ns < 1 << 36 {
            let bucket = bucket_of(ns);
            assert!((ns as f64) > lower_bound(bucket), "{ns} in {bucket}");
            assert!((ns as f64) <= lower_bound(bucket + 1), "{ns} in {bucket}");
            ns += 1 + ns / 97;
        }
    }

    #[test]
    fn powers_of_two_end_a_bucket() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(1), 0);
        assert_eq!(bucket_of(1024), 0);
        assert_eq!(bucket_of(2048), 7);
        assert_eq!(bucket_of(2049), 8);
        assert_eq!(bucket_of(u64::MAX), BUCKETS as u32 - 1);
    }
}
