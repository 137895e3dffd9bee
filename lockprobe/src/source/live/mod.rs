//! The running kernel as a source: load, attach, read, detach.
//!
//! One thread reads the ring and the tables; batches go to the pipeline through a bounded
//! channel. When the pipeline falls behind, the ring fills and the kernel half counts the loss.

mod attach;
mod batches;
pub mod btf;
mod candidate;
mod choosing;
pub mod command;
pub mod file_table;
pub mod full;
mod harvest;
mod kernel_locks;
mod kernel_waits;
mod listening;
mod load;
mod lock_files;
mod look;
mod machine;
mod multi;
mod own;
mod reader;
pub mod rights;
pub mod servers;
mod standing;
mod synthetic;
mod tables;
mod targets;
mod tls;
mod unix;
mod verdicts;
mod waits;

use batches::BatchReceiver;
pub use choosing::{Chosen, Walked, sightings};
pub use load::{has_programs, is_new_enough, kernel_release};
pub use look::Look;
pub use own::Own;
pub use reader::Control;
pub use servers::Servers;
pub use standing::Standings;
pub use synthetic::Synthetic;
pub use targets::{Locator, Targets};
pub use verdicts::Verdicts;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use lockprobe_ebpf::wire::choice;

use super::{Batch, Error, Source};
use crate::health::Depth;
use crate::model::Session;

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
    /// Statements that lock rows by their words matter, too.
    pub row_locks: bool,
    /// Every acquisition too, in the processes chosen.
    pub full: Option<Acquisitions>,
    /// How often the kernel half's counts are taken out meanwhile, nanoseconds; `None`: at the end
    /// only, and its table may fill up.
    pub harvest_every: Option<u64>,
}

/// How often counts are taken out unless told otherwise.
pub const HARVEST_EVERY: Duration = Duration::from_secs(10);

/// How to observe every acquisition.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acquisitions {
    /// Probes at the entries of functions, to see what that costs.
    pub naive: bool,
}

/// A running observation. Dropping it detaches everything.
pub struct Live {
    session: Session,
    batches: BatchReceiver,
    /// Taken out of the channel early.
    kept: VecDeque<Batch>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    only_targets: bool,
    verdicts: Option<Verdicts>,
    standings: Option<Standings>,
    synthetic: Option<Synthetic>,
    control: Sender<Control>,
    cost: Option<full::Cost>,
    verified: Vec<(String, u32, u32)>,
    /// Goes on as long as we do.
    _unix: Option<unix::UnixServers>,
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

    /// Loads the programs and has the kernel verify them; attaches none.
    pub fn prepare(options: &Options) -> Result<Prepared, Error> {
        let pids = options.targets.find()?;
        let only_targets = !options.targets.is_everything();
        let mut ebpf = load::load(options, only_targets, load::Programs::All)?;
        let tls = tls::Tls::new(multi::Tables::of(&ebpf));
        let verified = attach::verified(&ebpf);
        let mut tables = tables::take(&mut ebpf, options.full.is_some())?;
        let standings = Standings::of(&mut ebpf);
        let (verdicts, inbox) = verdicts::pair();
        tables.prepare()?;
        let mut following = follow(options, &mut ebpf, &mut tables, &pids)?;
        let cost = following.as_mut().and_then(|f| f.cost.take());
        for &pid in &pids {
            let _ = tables.targets.insert(pid, choice::WATCHED, 0);
        }
        let inputs = (verdicts, inbox, tls);
        let options = options.clone();
        Ok(Prepared {
            options,
            pids,
            only_targets,
            ebpf,
            tables,
            standings,
            inputs,
            following,
            cost,
            verified,
        })
    }

    fn start_with(options: &Options, attach: bool) -> Result<Self, Error> {
        Self::prepare(options)?.begin(attach)
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

    /// How many batches wait for the pipeline, and how many may.
    pub fn waiting(&self) -> (Depth, u64) {
        (self.batches.depth(), batches::AT_MOST as u64)
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
        if self.control.send(Control::Watch(pid, done)).is_ok() {
            let _ = wait.recv();
        }
    }

    /// Watches others from now on, those that run already too; see [`Targets::can_become`]. What
    /// that changed, unless observation has ended.
    pub fn retarget(&mut self, targets: Targets) -> Option<Walked> {
        let (done, wait) = std::sync::mpsc::channel();
        self.control.send(Control::Retarget(Box::new(targets), done)).ok()?;
        for _ in 0..500 {
            match wait.recv_timeout(Duration::from_millis(10)) {
                Ok(walked) => return Some(walked),
                Err(RecvTimeoutError::Disconnected) => return None,
                // The reader may wait for room in the channel: make some.
                Err(RecvTimeoutError::Timeout) => self.kept.extend(self.batches.try_iter()),
            }
        }
        None
    }

    /// The way to have all processes judged anew, for those who learn where they run.
    pub fn control(&self) -> Sender<Control> {
        self.control.clone()
    }
}

/// Programs that are loaded and verified, and attached to nothing.
pub struct Prepared {
    options: Options,
    pids: Vec<u32>,
    only_targets: bool,
    ebpf: aya::Ebpf,
    tables: tables::ReaderTables,
    standings: Option<Standings>,
    inputs: (Verdicts, verdicts::Inbox, tls::Tls),
    following: Option<Following>,
    cost: Option<full::Cost>,
    verified: Vec<(String, u32, u32)>,
}

impl Prepared {
    /// Attaches them, and begins to read.
    pub fn attach(self) -> Result<Live, Error> {
        self.begin(true)
    }

    fn begin(self, attach: bool) -> Result<Live, Error> {
        let Self { options, pids, only_targets, mut ebpf, mut tables, standings, .. } = self;
        let ((verdicts, inbox, tls), following, cost) = (self.inputs, self.following, self.cost);
        let verified = self.verified;
        let choosing = options.targets.choosing();
        if let Some(choosing) = &choosing {
            choosing.walk(&mut tables.targets);
        }
        let follows = attach && follows_servers(&options);
        let unix = follows.then(|| unix::UnixServers::follow(&mut ebpf, &options.servers));
        let (attached, synthetic) = if attach {
            if options.lock_files {
                lock_files::prepare(&mut ebpf)?;
                attach::attach_lock_files(&mut ebpf)?;
            }
            if follows_servers(&options) {
                servers::attach(&mut ebpf)?;
            }
            if options.targets.by_port() {
                listening::attach(&mut ebpf)?;
            }
            attach::attach(&mut ebpf)?;
            (Some(ebpf), None)
        } else {
            (None, Some(Synthetic::prepare(ebpf)?))
        };
        let session = load::session(&options)?;
        load::release_memory();
        let (sender, batches) = batches::channel();
        let (control, commands) = std::sync::mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let inputs = reader::Inputs { stop: stop.clone(), commands, verdicts: inbox, tls };
        let following = following.map(|f| f.full);
        let reader =
            reader::Reader::new(attached, tables, &options, sender, inputs, following, choosing);
        let reader = std::thread::Builder::new()
            .name("lockprobe-ring".into())
            .spawn(move || reader.run(&pids))
            .map_err(|e| Error::Failed(format!("the reader thread cannot be started: {e}")))?;
        Ok(Live {
            session,
            batches,
            kept: VecDeque::new(),
            stop,
            reader: Some(reader),
            only_targets,
            verdicts: Some(verdicts),
            standings,
            synthetic,
            control,
            cost,
            verified,
            _unix: unix.flatten(),
        })
    }
}

/// Whether clients of lock servers can be followed on this kernel.
pub fn can_follow_servers() -> bool {
    load::is_at_least(servers::OLDEST_KERNEL)
}

/// Whether this kernel has probes for all processes without CAP_SYS_ADMIN.
pub fn can_probe_for_all() -> bool {
    load::is_at_least(multi::OLDEST_KERNEL)
}

/// Whether clients of lock servers are followed: asked for, and by a kernel that can.
fn follows_servers(options: &Options) -> bool {
    !options.servers.is_empty() && can_follow_servers()
}

/// What would be attached to, by the kernel's names.
pub fn probes(options: &Options) -> Vec<&'static str> {
    let mut probes: Vec<&str> = attach::TRACEPOINTS.iter().map(|(_, point)| *point).collect();
    if options.lock_files {
        probes.push(attach::LOCK_FILES);
    }
    if follows_servers(options) {
        probes.extend(servers::PROGRAMS.iter().map(|(_, point)| *point));
    }
    if options.targets.by_port() && !probes.contains(&listening::POINT) {
        probes.push(listening::POINT);
    }
    probes
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
        Ok(self.kept.pop_front().or_else(|| self.batches.recv().ok()))
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
