//! What full mode costs here, found out by lockprobe on itself before it touches anyone else.

use std::cell::UnsafeCell;
use std::fmt;
use std::time::Instant;

use aya::Ebpf;

use super::{Full, FullTables};
use crate::source::Error;

/// Pairs of lock and unlock a measurement; the best of several, since others use the machine too.
const PAIRS: u32 = 400;
const TRIES: u32 = 5;
/// What is measured, and told of first.
const MAIN: [&str; 2] = ["pthread_mutex_lock", "pthread_mutex_unlock"];

/// The cost, and where it comes from.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Nanoseconds a lock and unlock, of lockprobe itself; `None` where it cannot be measured.
    pair: Option<u64>,
    /// The same at functions whose sites are not cheap ones.
    places: Vec<(u32, String)>,
}

struct Mutex(UnsafeCell<libc::pthread_mutex_t>);
// SAFETY: only passed to the functions of the C library that are made for many threads.
unsafe impl Sync for Mutex {}

static MUTEX: Mutex = Mutex(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

impl Cost {
    /// Measures with the same probes on our own C library.
    pub fn measure(full: &mut Full, ebpf: &mut Ebpf, tables: &mut FullTables) -> Option<u64> {
        let own = std::process::id();
        let bare = best();
        full.try_out(ebpf, own, &MAIN).ok()?;
        tables.run(true).ok()?;
        let probed = best();
        tables.run(false).ok()?;
        full.forget(ebpf, own);
        tables.forget(own);
        Some(probed.saturating_sub(bare))
    }

    /// What to tell of the processes followed.
    pub fn of(full: &Full, pair: Option<u64>, pids: &[u32]) -> Result<Self, Error> {
        let places = pids.iter().map(|&pid| (pid, places(full, pid))).collect();
        Ok(Self { pair, places })
    }
}

fn places(full: &Full, pid: u32) -> String {
    let places = full.places(pid);
    let shown = places.iter().filter(|(_, probe)| MAIN.contains(&probe.function));
    let shown = shown.map(|(_, p)| format!("{}+{:#x}", p.function, p.site.offset));
    let dear: Vec<&str> =
        places.iter().filter(|(_, p)| !p.site.emulated).map(|(_, p)| p.function).collect();
    let Some((library, _)) = places.first() else { return "not followed yet".to_owned() };
    let dear = match dear[..] {
        [] => "all emulated".to_owned(),
        _ => format!("single-stepped and dear: {}", dear.join(", ")),
    };
    format!(
        "{} probes in {}, {} ({dear})",
        places.len(),
        library.name,
        shown.collect::<Vec<_>>().join(", ")
    )
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pair {
            Some(ns) => {
                write!(f, "about {:.1} us more for each lock and unlock", ns as f64 / 1e3)?;
            }
            None => f.write_str("a microsecond or more for each lock and unlock")?,
        }
        for (pid, places) in &self.places {
            write!(f, "; process {pid}: {places}")?;
        }
        Ok(())
    }
}

/// Nanoseconds a pair.
fn best() -> u64 {
    let once = || {
        let begun = Instant::now();
        for _ in 0..PAIRS {
            // SAFETY: an initialised mutex that lives as long as the process.
            unsafe {
                libc::pthread_mutex_lock(MUTEX.0.get());
                libc::pthread_mutex_unlock(MUTEX.0.get());
            }
        }
        (begun.elapsed().as_nanos() / u128::from(PAIRS)) as u64
    };
    (0..TRIES).map(|_| once()).min().unwrap_or(0)
}
