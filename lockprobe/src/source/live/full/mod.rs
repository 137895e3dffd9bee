//! Full mode: every acquisition of a POSIX lock in chosen processes, by uprobes.
//!
//! No return probes: they crash Go programs and kill processes under some seccomp filters. All
//! links belong to this process, so that they go with it whatever happens to it.

mod cost;
mod functions;
mod site;
mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use aya::Ebpf;
use aya::programs::uprobe::{
    UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeLinkId, UProbeScope,
};
use aya::programs::{BtfTracePoint, UProbe};

pub use cost::Cost;
use functions::{Binary, Probe};
pub use tables::FullTables;

use super::load::explain;
use crate::source::Error;

/// The maps of full mode, which are kept small unless it is asked for.
pub const MAPS: [&str; 3] = ["FULL_THREADS", "FULL_LOCKS", "FULL_ORDERS"];

/// Most processes followed at a time; more are counted.
const PROCESSES: usize = 64;
const TRACEPOINTS: [(&str, &str); 2] =
    [("full_exit", "sched_process_exit"), ("full_exec", "sched_process_exec")];
const ACQUIRE: &str = "full_acquire";
const RELEASE: &str = "full_release";

/// A file by device and inode.
type Key = (u64, u64);

/// A binary with lock functions.
struct Library {
    name: String,
    probes: Vec<Probe>,
}

/// A link: which of the two programs, and its id there.
type Link = (bool, UProbeLinkId);

/// The probes on the processes followed.
pub struct Full {
    naive: bool,
    libraries: HashMap<Key, Option<Arc<Library>>>,
    links: BTreeMap<(u32, Key), Vec<Link>>,
    /// Processes whose C library is not there yet.
    expected: BTreeSet<u32>,
    /// Processes that could not be followed.
    unfollowed: u64,
}

/// What became of an attempt to follow a process.
enum Found {
    Library(Key, String),
    Go,
    Musl,
    Nothing,
}

/// Has the kernel verify the programs of full mode; attaches what tells of ends.
pub fn prepare(ebpf: &mut Ebpf, btf: &aya::Btf) -> Result<(), Error> {
    for name in [ACQUIRE, RELEASE] {
        uprobe(ebpf, name)?.load().map_err(|e| explain("load the programs of full mode", &e))?;
    }
    for (name, point) in TRACEPOINTS {
        let what = format!("load the program of full mode for {point}");
        let program: &mut BtfTracePoint =
            ebpf.program_mut(name).and_then(|p| p.try_into().ok()).ok_or_else(missing)?;
        program.load(point, btf).map_err(|e| explain(&what, &e))?;
        program.attach().map_err(|e| explain(&what, &e))?;
    }
    Ok(())
}

fn missing() -> Error {
    Error::Failed("the eBPF object has no programs for full mode; rebuild lockprobe".into())
}

fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe, Error> {
    ebpf.program_mut(name).and_then(|p| p.try_into().ok()).ok_or_else(missing)
}

impl Full {
    /// Follows nobody yet. `naive`: probes at the entries of functions, to see what that costs.
    pub fn new(naive: bool) -> Self {
        Self {
            naive,
            libraries: HashMap::new(),
            links: BTreeMap::new(),
            expected: BTreeSet::new(),
            unfollowed: 0,
        }
    }

    /// Follows a process that was named; says why if it cannot be.
    pub fn must_follow(&mut self, ebpf: &mut Ebpf, pid: u32) -> Result<(), Error> {
        match self.find(pid) {
            Found::Library(key, path) => self.attach(ebpf, pid, key, &path, &|_| true),
            Found::Go => Err(Error::Unsupported(format!(
                "process {pid} is a Go program, whose locks are Go's own and out of reach of full \
                 mode; trace it without --full"
            ))),
            Found::Musl => Err(Error::Unsupported(format!(
                "process {pid} has the locks of musl, which full mode does not follow; trace it \
                 without --full"
            ))),
            Found::Nothing => Err(Error::Unsupported(format!(
                "full mode finds no glibc with POSIX lock functions in process {pid}; trace it \
                 without --full"
            ))),
        }
    }

    /// Follows a process as soon as that is possible.
    pub fn follow(&mut self, ebpf: &mut Ebpf, pid: u32) {
        self.expected.insert(pid);
        self.look(ebpf);
    }

    /// Looks for the libraries of processes that have only begun.
    pub fn look(&mut self, ebpf: &mut Ebpf) {
        for pid in std::mem::take(&mut self.expected) {
            match self.find(pid) {
                Found::Library(key, path) => {
                    if self.attach(ebpf, pid, key, &path, &|_| true).is_err() {
                        self.unfollowed += 1;
                    }
                }
                Found::Go | Found::Musl => self.unfollowed += 1,
                Found::Nothing if self.expected.len() < PROCESSES => {
                    self.expected.insert(pid);
                }
                Found::Nothing => self.unfollowed += 1,
            }
        }
    }

    /// A process has ended.
    pub fn forget(&mut self, ebpf: &mut Ebpf, pid: u32) {
        self.expected.remove(&pid);
        let (gone, others) =
            std::mem::take(&mut self.links).into_iter().partition(|((of, _), _)| *of == pid);
        self.links = others;
        drop(Probes::of(ebpf, gone));
    }

    /// All probes, for the caller to take away: that takes a while.
    pub fn end(&mut self, ebpf: &mut Ebpf) -> Probes {
        Probes::of(ebpf, std::mem::take(&mut self.links))
    }

    /// Processes that could not be followed.
    pub fn unfollowed(&self) -> u64 {
        self.unfollowed
    }

    fn find(&mut self, pid: u32) -> Found {
        let (mut go, mut musl) = (false, false);
        for file in candidates(pid) {
            let Ok(at) = fs::metadata(&file) else { continue };
            let key = (at.dev(), at.ino());
            if !self.libraries.contains_key(&key) {
                let Ok(opened) = fs::File::open(&file) else { continue };
                let name = fs::read_link(&file).unwrap_or_default();
                let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let library = match functions::find(opened, self.naive) {
                    Binary::Locks(probes) => Some(Arc::new(Library { name, probes })),
                    Binary::Go => {
                        go = true;
                        continue;
                    }
                    Binary::Musl => {
                        musl = true;
                        continue;
                    }
                    Binary::Other => None,
                };
                self.libraries.insert(key, library);
            }
            if let Some(Some(_)) = self.libraries.get(&key) {
                return Found::Library(key, file);
            }
        }
        match (go, musl) {
            (true, _) => Found::Go,
            (_, true) => Found::Musl,
            _ => Found::Nothing,
        }
    }

    /// Puts probes on some functions of a process, as an experiment.
    fn try_out(&mut self, ebpf: &mut Ebpf, pid: u32, functions: &[&str]) -> Result<(), Error> {
        match self.find(pid) {
            Found::Library(key, path) => {
                self.attach(ebpf, pid, key, &path, &|probe| functions.contains(&probe.function))
            }
            _ => Err(missing()),
        }
    }

    fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        pid: u32,
        key: Key,
        file: &str,
        wanted: &dyn Fn(&Probe) -> bool,
    ) -> Result<(), Error> {
        let Some(Some(library)) = self.libraries.get(&key).cloned() else { return Ok(()) };
        let processes: BTreeSet<u32> = self.links.keys().map(|(pid, _)| *pid).collect();
        if self.links.contains_key(&(pid, key)) {
            return Ok(());
        }
        if processes.len() >= PROCESSES {
            return Err(Error::Failed(format!("full mode follows no more than {PROCESSES}")));
        }
        let Some(of) = NonZeroU32::new(pid) else { return Ok(()) };
        // What lets go first: a lock whose release is missed would be held for ever.
        let mut links: Vec<Link> = Vec::new();
        for releases in [true, false] {
            let program = uprobe(ebpf, if releases { RELEASE } else { ACQUIRE })?;
            let probes = library.probes.iter().filter(|probe| probe.releases == releases);
            for probe in probes.filter(|probe| wanted(probe)) {
                let location = UProbeAttachLocation::AbsoluteOffset(probe.offset);
                let point = UProbeAttachPoint { location, cookie: Some(probe.cookie) };
                let what = format!("probe {} in process {pid}", probe.function);
                let link = program.attach(point, file, UProbeScope::OneProcess(of));
                links.push((releases, link.map_err(|e| explain(&what, &e))?));
            }
        }
        self.links.insert((pid, key), links);
        Ok(())
    }

    /// The probes on a process, in words: library, function and offset.
    fn places(&self, pid: u32) -> Vec<(&Library, &Probe)> {
        let keys = self.links.keys().filter(|(of, _)| *of == pid);
        let libraries = keys.filter_map(|(_, key)| self.libraries.get(key)?.as_deref());
        libraries.flat_map(|library| library.probes.iter().map(move |p| (library, p))).collect()
    }
}

/// Probes without a program to belong to, taken away when this is dropped.
#[derive(Default)]
pub struct Probes(Vec<UProbeLink>);

impl Probes {
    fn of(ebpf: &mut Ebpf, links: BTreeMap<(u32, Key), Vec<Link>>) -> Self {
        let taken = links.into_values().flatten().filter_map(|(releases, link)| {
            let program = uprobe(ebpf, if releases { RELEASE } else { ACQUIRE }).ok()?;
            program.take_link(link).ok()
        });
        Self(taken.collect())
    }
}

impl Drop for Probes {
    /// All at once: for each the kernel waits until nobody is in it.
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            for link in self.0.drain(..) {
                scope.spawn(move || drop(link));
            }
        });
    }
}

/// Files of a process that may have lock functions, the C library first, as paths that lead to
/// them from outside. Where there is a libpthread of its own (glibc before 2.34), what libc has
/// under the same names only passes on to it.
fn candidates(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut found: Vec<(u8, String)> = Vec::new();
    for line in text.lines().take(100_000) {
        let mut fields = line.splitn(6, ' ').map(str::trim);
        let (Some(range), Some(flags)) = (fields.next(), fields.next()) else { continue };
        let path = fields.nth(3).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let rank = match name {
            n if n.starts_with("libpthread") => 0,
            n if n.starts_with("libc.so") || n.starts_with("libc-2") => 1,
            _ => continue,
        };
        if path.starts_with('/') && flags.contains('x') {
            found.push((rank, format!("/proc/{pid}/map_files/{range}")));
        }
    }
    found.sort();
    let libraries = found.into_iter().map(|(_, path)| path);
    libraries.chain([format!("/proc/{pid}/exe")]).collect()
}
