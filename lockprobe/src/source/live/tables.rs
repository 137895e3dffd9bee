//! The programs' maps, typed.

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, PerCpuArray, RingBuf};
use lockprobe_ebpf::wire::{Counter, LockKey, LockStats, SiteKey, Wait};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::full::FullTables;
use crate::source::Error;

/// A wire type as a map key or value.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Wire<T>(pub T);

// SAFETY: `repr(transparent)` over a type that zerocopy proves free of padding and valid for any
// bit pattern, which is what `Pod` asks for.
unsafe impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> aya::Pod for Wire<T> {}

/// What the reader thread needs.
pub struct ReaderTables {
    /// Records.
    pub ring: RingBuf<MapData>,
    /// Threads' attempts.
    pub waits: HashMap<MapData, u32, Wire<Wait>>,
    /// Locks' counts.
    pub locks: HashMap<MapData, Wire<LockKey>, Wire<LockStats>>,
    /// Watched processes.
    pub targets: HashMap<MapData, u32, u32>,
    /// Counts by cause.
    pub counters: PerCpuArray<MapData, u64>,
    /// Verdicts on call sites.
    pub sites: HashMap<MapData, Wire<SiteKey>, u32>,
    /// Those of full mode, if it was asked for.
    pub full: Option<FullTables>,
}

/// One that was counted on one processor may have been taken back on another.
fn total(slots: &[u64]) -> u64 {
    slots.iter().fold(0, |sum, slot| sum.wrapping_add(*slot))
}

fn taken(ebpf: &mut Ebpf, name: &str) -> Result<Map, Error> {
    ebpf.take_map(name).ok_or_else(|| {
        Error::Failed(format!("the eBPF object has no map {name}; rebuild lockprobe"))
    })
}

fn wrong(name: &'static str) -> impl Fn(aya::maps::MapError) -> Error {
    move |error| Error::Failed(format!("the eBPF map {name} cannot be used: {error}"))
}

/// Takes the maps out of a loaded object.
pub fn take(ebpf: &mut Ebpf, full: bool) -> Result<ReaderTables, Error> {
    Ok(ReaderTables {
        ring: RingBuf::try_from(taken(ebpf, "RING")?).map_err(wrong("RING"))?,
        waits: HashMap::try_from(taken(ebpf, "WAITS")?).map_err(wrong("WAITS"))?,
        locks: HashMap::try_from(taken(ebpf, "LOCKS")?).map_err(wrong("LOCKS"))?,
        targets: HashMap::try_from(taken(ebpf, "TARGETS")?).map_err(wrong("TARGETS"))?,
        counters: PerCpuArray::try_from(taken(ebpf, "COUNTERS")?).map_err(wrong("COUNTERS"))?,
        sites: HashMap::try_from(taken(ebpf, "SITES")?).map_err(wrong("SITES"))?,
        full: if full { Some(FullTables::take(ebpf)?) } else { None },
    })
}

impl ReaderTables {
    /// Makes the entry that takes the waits of locks beyond the table's size.
    pub fn prepare(&mut self) -> Result<(), Error> {
        let overflow = Wire(LockKey::default());
        let zero = LockStats::new_zeroed();
        self.locks.insert(overflow, Wire(zero), 0).map_err(wrong("LOCKS"))
    }

    /// All counters, summed over the processors.
    pub fn counters(&self) -> Vec<u64> {
        (0..Counter::COUNT)
            .map(|i| self.counters.get(&i, 0).map(|slots| total(&slots)).unwrap_or(0))
            .collect()
    }
}
