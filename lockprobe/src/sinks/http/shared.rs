//! What the pipeline tells the server: that it is alive, and the newest numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Session;
use super::series::Page;

/// A pipeline that has not moved for so long is taken for stuck. It moves ten times a second.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How far lockprobe has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing is attached yet.
    #[default]
    Starting,
    /// Attached and reading.
    Observing,
    /// Nothing is attached any more.
    Ending,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    /// Add to CLOCK_MONOTONIC nanoseconds to get UNIX time.
    wall_offset: i128,
    host: String,
    kernel: String,
    page: Arc<Page>,
}

/// What both sides see. Locked for a moment at a time, by the pipeline never but at its start and
/// end.
#[derive(Debug)]
pub struct Shared {
    /// Version of lockprobe.
    pub version: &'static str,
    /// UNIX time of the start, seconds.
    pub start: f64,
    begun: Instant,
    /// When the pipeline moved last, milliseconds after `begun`.
    beat: AtomicU64,
    state: Mutex<State>,
}

/// What is known at the moment of a request.
#[derive(Clone, Debug)]
pub struct Now {
    /// The newest numbers.
    pub page: Arc<Page>,
    /// Add to CLOCK_MONOTONIC nanoseconds to get UNIX time.
    pub wall_offset: i128,
    /// Name of the host, empty before the start.
    pub host: String,
    /// Kernel release, likewise.
    pub kernel: String,
}

impl Shared {
    /// Before the start.
    pub fn new(version: &'static str) -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            version,
            start: start.as_secs_f64(),
            begun: Instant::now(),
            beat: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps new numbers.
    pub fn publish(&self, page: Arc<Page>) {
        // The old ones are freed after the lock is let go.
        drop(self.with(|state| std::mem::replace(&mut state.page, page)));
    }

    /// What is known now.
    pub fn now(&self) -> Now {
        self.with(|state| Now {
            page: state.page.clone(),
            wall_offset: state.wall_offset,
            host: state.host.clone(),
            kernel: state.kernel.clone(),
        })
    }

    fn silence(&self) -> Duration {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(beat)
    }

    /// Why lockprobe should be started anew, in a sentence; nothing while it is well.
    pub fn ailment(&self) -> Result<(), String> {
        let silence = self.silence();
        if silence < PATIENCE {
            return Ok(());
        }
        let seconds = silence.as_secs();
        Err(match self.with(|state| state.stage) {
            Stage::Starting => format!(
                "lockprobe has been attaching for {seconds} s; its log says what it waits for"
            ),
            Stage::Observing => format!(
                "the pipeline has not moved for {seconds} s; see \"high CPU\" and \"nothing \
                 shown\" in docs/troubleshooting.md"
            ),
            Stage::Ending => format!("lockprobe has been ending for {seconds} s"),
        })
    }

    /// Why there is nothing to be seen yet, in a sentence; nothing once there is.
    pub fn unreadiness(&self) -> Result<(), String> {
        match self.with(|state| state.stage) {
            Stage::Starting => Err("lockprobe is attaching its programs".to_owned()),
            Stage::Ending => Err("lockprobe is ending".to_owned()),
            Stage::Observing => self.ailment(),
        }
    }
}

/// Tells the server that the pipeline is alive. Costs a store a beat.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Shared>);

impl Pulse {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Everything is attached, and records are read.
    pub fn observing(&self, session: &Session) {
        self.beat();
        self.0.with(|state| {
            state.stage = Stage::Observing;
            state.wall_offset = session.wall_offset;
            session.host.clone_into(&mut state.host);
            session.kernel.clone_into(&mut state.kernel);
        });
    }

    /// The pipeline has moved: to be told after every batch, ten times a second at least.
    pub fn beat(&self) {
        let now = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.beat.store(now, Ordering::Relaxed);
    }

    /// Nothing more will be seen.
    pub fn ending(&self) {
        self.beat();
        self.0.with(|state| state.stage = Stage::Ending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aged(seconds: u64) -> Shared {
        let mut shared = Shared::new("1");
        shared.begun -= Duration::from_secs(seconds);
        shared
    }

    #[test]
    fn it_is_ready_once_it_observes_and_until_it_ends() {
        let shared = Arc::new(Shared::new("1"));
        assert!(shared.ailment().is_ok() && shared.unreadiness().is_err());
        let pulse = Pulse::new(shared.clone());
        pulse.observing(&Session { host: "h".into(), wall_offset: 7, ..Session::default() });
        assert_eq!((shared.ailment(), shared.unreadiness()), (Ok(()), Ok(())));
        assert_eq!((shared.now().host.as_str(), shared.now().wall_offset), ("h", 7));
        pulse.ending();
        assert!(shared.ailment().is_ok() && shared.unreadiness().is_err());
    }

    #[test]
    fn silence_is_an_ailment_that_a_beat_heals() {
        let shared = Arc::new(aged(60));
        let pulse = Pulse(shared.clone());
        pulse.observing(&Session::default());
        assert!(shared.ailment().is_ok());
        shared.beat.store(48_000, Ordering::Relaxed);
        let said = shared.ailment().unwrap_err();
        assert!(said.contains("12 s"), "{said}");
        assert_eq!(shared.unreadiness(), Err(said));
        pulse.beat();
        assert_eq!(shared.ailment(), Ok(()));
    }

    #[test]
    fn a_start_that_hangs_is_an_ailment() {
        assert!(aged(11).ailment().unwrap_err().contains("attaching"));
        assert!(aged(9).ailment().is_ok());
    }
}
