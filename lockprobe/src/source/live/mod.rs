//! The running kernel as a source: load, attach, read, detach.
//!
//! One thread reads the ring and the tables; batches go to the pipeline through a bounded
//! channel. When the pipeline falls behind, the ring fills and the kernel half counts the loss.

mod attach;
pub mod btf;
pub mod command;
pub mod file_table;
pub mod full;
mod kernel_locks;
mod kernel_waits;
mod load;
mod lock_files;
mod look;
mod machine;
mod reader;
pub mod servers;
mod standing;
mod synthetic;
mod tables;
mod targets;
mod tls;
mod verdicts;
mod waits;

pub use load::{has_programs, is_new_enough, kernel_release, may_look_at_others};
pub use look::Look;
pub use servers::Servers;
pub use standing::Standings;
pub use synthetic::Synthetic;
pub use targets::Targets;
pub use verdicts::Verdicts;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, sync_channel};
use std::thread::JoinHandle;

use super::{Batch, Error, Source};
use crate::model::Session;

/// Batches on their way; with 20 ms a batch, more than a second of work.
const BATCHES: usize = 64;

/// How to observe.
#[derive(Clone, Debug)]
pub struct Options {
    /// Waits shorter than this do not cross the ring, nanoseconds.
    pub min_wait: u64,
    /// Waits from this length on are to be looked at while they go on, nanoseconds.
    pub stack_threshold: Option<u64>,
    /// Size of the ring in bytes, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Whom to watch.
    pub targets: Targets,
    /// Also files that are locks by being there, which slows every system call of the machine.
    pub lock_files: bool,
    /// Where lock servers listen whose clients are followed too.
    pub servers: Servers,
    /// Every acquisition too, in the processes chosen.
    pub full: Option<Acquisitions>,
}

/// How to observe every acquisition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acquisitions {
    /// Probes at the entries of functions, to see what that costs.
    pub naive: bool,
}

/// A running observation. Dropping it detaches everything.
pub struct Live {
    session: Session,
    batches: Receiver<Batch>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    only_targets: bool,
    verdicts: Option<Verdicts>,
    standings: Option<Standings>,
    synthetic: Option<Synthetic>,
    add_target: Sender<(u32, Sender<()>)>,
    cost: Option<full::Cost>,
    verified: Vec<(String, u32, u32)>,
}

impl Live {
    /// Loads the programs, attaches them, and begins to read.
    pub fn start(options: &Options) -> Result<Self, Error> {
        Self::start_with(options, true)
    }

    /// Loads the programs but attaches none: records come from [`Live::take_synthetic`] alone.
    pub fn start_synthetic(options: &Options) -> Result<Self, Error> {
        Self::start_with(options, false)
    }

    fn start_with(options: &Options, attach: bool) -> Result<Self, Error> {
        let pids = options.targets.find()?;
        let only_targets = !options.targets.is_everything();
        let mut ebpf = load::load(options, only_targets, load::Programs::All)?;
        let verified = attach::verified(&ebpf);
        let mut tables = tables::take(&mut ebpf, options.full.is_some())?;
        let standings = Standings::of(&mut ebpf);
        let (verdicts, inbox) = verdicts::pair();
        tables.prepare()?;
        let mut following = follow(options, &mut ebpf, &mut tables, &pids)?;
        let cost = following.as_mut().and_then(|f| f.cost.take());
        for &pid in &pids {
            let _ = tables.targets.insert(pid, 1, 0);
        }
        let (attached, synthetic) = if attach {
            if options.lock_files {
                lock_files::prepare(&mut ebpf)?;
                attach::attach_lock_files(&mut ebpf)?;
            }
            if follows_servers(options) {
                servers::attach(&mut ebpf)?;
            }
            attach::attach(&mut ebpf)?;
            (Some(ebpf), None)
        } else {
            (None, Some(Synthetic::prepare(ebpf)?))
        };
        let session = load::session(options)?;
        load::release_memory();
        let (sender, batches) = sync_channel(BATCHES);
        let (add_target, new_targets) = std::sync::mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let inputs = reader::Inputs { stop: stop.clone(), new_targets, verdicts: inbox };
        let following = following.map(|f| f.full);
        let reader = reader::Reader::new(attached, tables, options, sender, inputs, following);
        let reader = std::thread::Builder::new()
            .name("lockprobe-ring".into())
            .spawn(move || reader.run(&pids))
            .map_err(|e| Error::Failed(format!("the reader thread cannot be started: {e}")))?;
        Ok(Self {
            session,
            batches,
            stop,
            reader: Some(reader),
            only_targets,
            verdicts: Some(verdicts),
            standings,
            synthetic,
            add_target,
            cost,
            verified,
        })
    }

    /// The way to tell the kernel half what call sites are; there is one.
    pub fn take_verdicts(&mut self) -> Option<Verdicts> {
        self.verdicts.take()
    }

    /// The way to ask where threads stand; there is one.
    pub fn take_standings(&mut self) -> Option<Standings> {
        self.standings.take()
    }

    /// The generator of synthetic records, if started with it.
    pub fn take_synthetic(&mut self) -> Option<Synthetic> {
        self.synthetic.take()
    }

    /// Ends the observation when set: what is in the ring is still delivered.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// What full mode costs those it watches, where it was asked for.
    pub fn full_cost(&self) -> Option<&full::Cost> {
        self.cost.as_ref()
    }

    /// The programs in use, those that took longest to verify first: name, instructions, and how
    /// many the verifier went through; empty where the kernel does not tell.
    pub fn verified(&self) -> &[(String, u32, u32)] {
        &self.verified
    }

    /// Whether chosen processes are watched rather than the host.
    pub fn only_targets(&self) -> bool {
        self.only_targets
    }

    /// Watches one more process. When this returns, it is watched.
    pub fn add_target(&self, pid: u32) {
        let (done, wait) = std::sync::mpsc::channel();
        // A reader that has ended has nothing to add to.
        if self.add_target.send((pid, done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

/// Whether clients of lock servers are followed: asked for, and by a kernel that can.
fn follows_servers(options: &Options) -> bool {
    !options.servers.is_empty() && load::is_at_least(servers::OLDEST_KERNEL)
}

struct Following {
    full: full::Full,
    cost: Option<full::Cost>,
}

/// Full mode's part of the start: nothing is probed before it is known what that costs.
fn follow(
    options: &Options,
    ebpf: &mut aya::Ebpf,
    tables: &mut tables::ReaderTables,
    pids: &[u32],
) -> Result<Option<Following>, Error> {
    let (Some(wanted), Some(own)) = (options.full, &mut tables.full) else { return Ok(None) };
    let mut full = full::Full::new(wanted.naive);
    let pair = full::Cost::measure(&mut full, ebpf, own);
    for &pid in pids {
        full.must_follow(ebpf, pid)?;
    }
    own.run(true)?;
    let cost = Some(full::Cost::of(&full, pair, pids)?);
    Ok(Some(Following { full, cost }))
}

impl Source for Live {
    fn session(&self) -> &Session {
        &self.session
    }

    fn next(&mut self) -> Result<Option<Batch>, Error> {
        Ok(self.batches.recv().ok())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The reader may wait for room in the channel: make room until it is gone.
        while self.batches.recv().is_ok() {}
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
