//! Loading the programs: limits, constants, and errors a person can act on.

use std::fs;

use aya::programs::ProgramError;
use aya::{Btf, Ebpf, EbpfLoader};
use lockprobe_ebpf::wire::choice;

use super::rights::{NEEDED, Rights};
use super::{Options, btf, full, kernel_locks, machine, servers};
use crate::model::Session;
use crate::source::Error;

/// The object `cargo xtask build` made; empty when lockprobe was built without one.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lockprobe.bpf.o"));

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Oldest kernel with `bpf_task_pt_regs`.
const OLDEST_KERNEL: (u32, u32) = (5, 15);

/// Whether the eBPF programs are built in.
pub fn has_programs() -> bool {
    !OBJECT.is_empty()
}

/// Kernel release as `uname -r` shows it.
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Whether lockprobe's programs can be loaded on a kernel of this release.
pub fn is_new_enough(release: &str) -> bool {
    version_of(release) >= OLDEST_KERNEL
}

/// Whether the running kernel is this new.
pub fn is_at_least(version: (u32, u32)) -> bool {
    version_of(&kernel_release()) >= version
}

fn version_of(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Raises the limit on locked memory, which kernels before 5.11 count maps against.
fn raise_limits() -> bool {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid pointer to a valid limit, for this process.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) == 0 }
}

/// What is asked of the kernel: every program is verified, which takes most of the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// All, to trace.
    All,
    /// The walk over all tasks, to look once.
    Iterator,
}

/// Loads the object with the constants of this kernel and these options.
pub fn load(options: &Options, only_targets: bool, programs: Programs) -> Result<Ebpf, Error> {
    if !has_programs() {
        return Err(Error::NoPrograms(
            "this lockprobe was built without its eBPF programs; run `cargo xtask build` and use \
             the binary it leaves in target/release"
                .into(),
        ));
    }
    if let Some(missing) = Rights::now().missing(&NEEDED) {
        return Err(Error::Permission(format!(
            "live capture needs root, or a user with capabilities of which {missing}; run it again \
             with sudo, or see `lockprobe doctor`"
        )));
    }
    let release = kernel_release();
    let version = version_of(&release);
    if version < OLDEST_KERNEL {
        return Err(Error::Unsupported(format!(
            "kernel {release} is too old for lockprobe, which needs {}.{} or newer",
            OLDEST_KERNEL.0, OLDEST_KERNEL.1
        )));
    }
    let blob = fs::read(BTF_PATH).map_err(|e| {
        Error::Unsupported(format!(
            "this kernel has no type information at {BTF_PATH} ({e}); lockprobe needs a kernel \
             built with CONFIG_DEBUG_INFO_BTF, as all current distributions have"
        ))
    })?;
    raise_limits();
    let constants = constants(&blob, options, only_targets, version)?;
    let btf = Btf::parse(&blob, Default::default()).map_err(|e| {
        Error::Unsupported(format!("the kernel's type information is damaged: {e}"))
    })?;
    drop(blob);
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&btf)).map_max_entries("RING", options.ring_bytes);
    if options.full.is_none() {
        full::MAPS.iter().for_each(|name| {
            loader.map_max_entries(name, 1);
        });
    }
    for (name, value) in &constants {
        loader.override_global(name, value, true);
    }
    let mut ebpf = loader.load(OBJECT).map_err(|e| explain("create the eBPF maps", &e))?;
    let follows = programs == Programs::All && super::follows_servers(options);
    let more = if follows { &servers::PROGRAMS[..] } else { &[] };
    super::attach::load(&mut ebpf, &btf, programs, more)?;
    if options.lock_files && programs == Programs::All {
        super::attach::load_lock_files(&mut ebpf, &btf)?;
    }
    if follows {
        servers::tell_ports(&mut ebpf, &options.servers)?;
    }
    if programs == Programs::All && options.targets.by_port() {
        super::listening::load(&mut ebpf, &btf)?;
    }
    if options.full.is_some() {
        full::prepare(&mut ebpf, &btf)?;
    }
    Ok(ebpf)
}

/// One sentence from an error of the loader, with the cause at its root.
pub fn explain(what: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    if let Some(log) = verifier_log(error) {
        // The error number is the same as for missing rights, and has nothing to do with them.
        return Error::Unsupported(format!(
            "lockprobe cannot {what} on kernel {}: its verifier refuses the program ({}); report \
             this with the whole log, which {VERIFIER_LOG}=FILE writes",
            kernel_release(),
            verdict(&log)
        ));
    }
    let denied = root
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    if denied {
        return Error::Permission(format!(
            "the kernel does not let lockprobe {what} ({root}); run it as root, and see \
             `lockprobe doctor` for what else may forbid it"
        ));
    }
    Error::Unsupported(format!(
        "lockprobe cannot {what} on kernel {}: {root}; `lockprobe doctor` shows what is missing",
        kernel_release()
    ))
}

/// Names a file for the whole log of the kernel's verifier, should it refuse a program.
const VERIFIER_LOG: &str = "LOCKPROBE_VERIFIER_LOG";

/// What the kernel's verifier wrote, if it is what refused.
fn verifier_log(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut error = error;
    loop {
        if let Some(ProgramError::LoadError { verifier_log, .. }) = error.downcast_ref() {
            let log = verifier_log.to_string();
            if let Some(path) = std::env::var_os(VERIFIER_LOG) {
                // Should that fail, the verdict is told all the same.
                let _ = fs::write(path, &log);
            }
            return (!log.trim().is_empty()).then_some(log);
        }
        error = error.source()?;
    }
}

/// The line of the log that says why: the last but for the statistics.
fn verdict(log: &str) -> &str {
    let statistics = |line: &&str| {
        ["processed ", "verification time", "stack depth"].iter().any(|s| line.starts_with(s))
    };
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.rfind(|line| !statistics(line)).unwrap_or("without a word")
}

/// Name and value of a load-time constant.
pub type Constant = (&'static str, u64);
/// Looks a member's offset up.
pub type Members<'a> = dyn Fn(&str, &str) -> Result<u64, Error> + 'a;

fn constants(
    blob: &[u8],
    options: &Options,
    only_targets: bool,
    version: (u32, u32),
) -> Result<Vec<Constant>, Error> {
    let registers = machine::HERE.structure;
    let structures = [
        &["task_struct", "sched_entity", "signal_struct", "pid", registers],
        &kernel_locks::STRUCTURES[..],
        &servers::STRUCTURES[..],
    ];
    let structures = structures.concat();
    let offsets = btf::offsets(blob, &structures).ok_or_else(|| {
        Error::Unsupported("the kernel's type information cannot be read".to_owned())
    })?;
    let get = |structure: &str, member: &str| {
        offsets.get(structure, member).ok_or_else(|| {
            Error::Unsupported(format!(
                "this kernel's struct {structure} has no member {member}; lockprobe does not know \
                 this kernel yet"
            ))
        })
    };
    let state = get("task_struct", "__state").or_else(|_| get("task_struct", "state"))?;
    let entity = get("task_struct", "se")?;
    // Since Linux 6.12; without it a sleeping task is never counted as runnable.
    let delayed = get("sched_entity", "sched_delayed").map_or(0, |offset| entity + offset);
    let mut constants = vec![
        ("MIN_WAIT_NS", options.min_wait),
        ("ONLY_TARGETS", if only_targets { options.targets.of_whom() } else { choice::ALL }),
        ("FULL", u64::from(options.full.is_some())),
        ("ROW_LOCKS", u64::from(options.row_locks)),
        ("SELF_TGID", u64::from(std::process::id())),
        ("SWITCH_HAS_STATE", u64::from(version >= (5, 18))),
        ("TASK_PID", get("task_struct", "pid")?),
        ("TASK_TGID", get("task_struct", "tgid")?),
        ("TASK_COMM", get("task_struct", "comm")?),
        ("TASK_STATE", state),
        ("TASK_THREAD_PID", get("task_struct", "thread_pid")?),
        ("TASK_CPU_NS", entity + get("sched_entity", "sum_exec_runtime")?),
        ("TASK_SWITCHES", get("task_struct", "nvcsw")?),
        ("TASK_EXEC_START", entity + get("sched_entity", "exec_start")?),
        ("TASK_ON_RQ", get("task_struct", "on_rq")?),
        ("TASK_SCHED_DELAYED", delayed),
        ("TASK_FLAGS", get("task_struct", "flags")?),
        ("TASK_EXIT_CODE", get("task_struct", "exit_code")?),
        ("TASK_SIGNAL", get("task_struct", "signal")?),
        ("SIGNAL_THREADS", get("signal_struct", "nr_threads")?),
        ("PID_LEVEL", get("pid", "level")?),
        ("PID_NUMBERS", get("pid", "numbers")?),
    ];
    constants.extend(machine::HERE.constants(&get)?);
    constants.extend(kernel_locks::constants(&get, &offsets)?);
    constants.extend(servers::constants(&get)?);
    Ok(constants)
}

/// What one run has in common.
pub fn session(options: &Options) -> Result<Session, Error> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let start = monotonic();
    let wall = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(|_| Error::Failed("the system clock is set before 1970; set it".into()))?;
    Ok(Session {
        wall_offset: wall.as_nanos() as i128 - i128::from(start),
        start,
        min_wait: options.min_wait,
        stack_threshold: options.stack_threshold,
        host: host.trim().to_owned(),
        kernel: kernel_release(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// CLOCK_MONOTONIC now, the clock of all records.
pub fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Processor time this thread has used, nanoseconds.
pub fn processor_time() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a timespec; both clocks always exist.
    unsafe { libc::clock_gettime(which, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Gives the memory back that parsing the kernel's types took: some 25 MB.
pub fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; asks the allocator to return free memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
