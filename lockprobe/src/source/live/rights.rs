//! What this process may do: capabilities rather than who it is. A root of a container may lack
//! what an ordinary user of a service has.

use std::fs;

/// A capability that lockprobe has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Files and directories that only others may read.
    DacReadSearch,
    /// Memory of other processes, and what /proc has about them.
    SysPtrace,
    /// Everything else.
    SysAdmin,
    /// Programs that trace.
    Perfmon,
    /// eBPF.
    Bpf,
    /// Files that processes have mapped, whatever became of their names.
    CheckpointRestore,
}

use Capability::*;

/// Without these there is no live capture.
pub const NEEDED: [Capability; 2] = [Bpf, Perfmon];

impl Capability {
    /// As `setpriv`, systemd and Kubernetes call it, with the prefix of capabilities(7).
    pub fn name(self) -> &'static str {
        match self {
            DacReadSearch => "CAP_DAC_READ_SEARCH",
            SysPtrace => "CAP_SYS_PTRACE",
            SysAdmin => "CAP_SYS_ADMIN",
            Perfmon => "CAP_PERFMON",
            Bpf => "CAP_BPF",
            CheckpointRestore => "CAP_CHECKPOINT_RESTORE",
        }
    }

    /// Bits of the set that grant it (`linux/capability.h`): some are parts of larger ones.
    fn bits(self) -> u64 {
        const DAC_OVERRIDE: u64 = 1 << 1;
        const SYS_ADMIN: u64 = 1 << 21;
        match self {
            DacReadSearch => 1 << 2 | DAC_OVERRIDE,
            SysPtrace => 1 << 19,
            SysAdmin => SYS_ADMIN,
            Perfmon => 1 << 38 | SYS_ADMIN,
            Bpf => 1 << 39 | SYS_ADMIN,
            CheckpointRestore => 1 << 40 | SYS_ADMIN,
        }
    }
}

/// The effective capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(u64);

impl Rights {
    /// Those of this process.
    pub fn now() -> Self {
        Self::read(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn read(status: &str) -> Self {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self(line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0))
    }

    /// Whether this one is among them.
    pub fn has(self, capability: Capability) -> bool {
        self.0 & capability.bits() != 0
    }

    /// Those that are not, for a sentence: `CAP_BPF and CAP_PERFMON are missing`.
    pub fn missing(self, wanted: &[Capability]) -> Option<String> {
        let missing = wanted.iter().filter(|capability| !self.has(**capability));
        let names: Vec<&str> = missing.map(|capability| capability.name()).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        (!names.is_empty()).then(|| format!("{} {verb} missing", names.join(" and ")))
    }
}

/// Whether the memory of other processes can be read, as that of the one that started us can.
/// Nothing is read: there is nothing at address 0, which is told only to who may look.
pub fn may_read_memory() -> bool {
    let parent = std::os::unix::process::parent_id().cast_signed();
    if !Rights::now().has(SysPtrace) {
        return false;
    }
    if parent == 0 {
        // The first of a PID namespace sees nobody whom it could try.
        return true;
    }
    let mut byte = 0u8;
    let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 1 };
    // SAFETY: both are one valid structure; a byte may be written to `byte`, which lives on.
    let read =
        unsafe { libc::process_vm_readv(parent, &raw const here, 1, &raw const there, 1, 0) };
    let error = std::io::Error::last_os_error();
    read >= 0 || error.raw_os_error() == Some(libc::EFAULT)
}

/// Whether perf_event_open(2) gives this process a probe on a program. None is made: the event
/// stays disabled, and is closed at once.
pub fn may_probe_by_perf() -> bool {
    let kind = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type").unwrap_or_default();
    let Ok(kind) = kind.trim().parse::<u32>() else { return false };
    let event = ProbeEvent {
        kind,
        size: size_of::<ProbeEvent>() as u32,
        config: 0,
        unused: [0; 3],
        flags: 1, // disabled
        wakeup: [0; 2],
        path: c"/proc/self/exe".as_ptr() as u64,
        offset: 64,
    };
    // SAFETY: the attributes are as long as they say, and live through the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const event, 0, -1, -1, CLOSE_ON_EXEC)
    };
    if fd < 0 {
        // Anything but a refusal is about the probe, which is a makeshift one.
        let error = std::io::Error::last_os_error();
        return error.kind() != std::io::ErrorKind::PermissionDenied;
    }
    // SAFETY: a descriptor of our own, closed once.
    unsafe { libc::close(fd as i32) };
    true
}

/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: u64 = 8;

/// `struct perf_event_attr`, its first version, which ends here.
#[repr(C)]
struct ProbeEvent {
    kind: u32,
    size: u32,
    config: u64,
    unused: [u64; 3],
    flags: u64,
    wakeup: [u32; 2],
    path: u64,
    offset: u64,
}

const _: () = assert!(size_of::<ProbeEvent>() == 72);

#[cfg(test)]
mod tests {
    use super::*;

    fn with(bits: &[u32]) -> Rights {
        let set: u64 = bits.iter().map(|bit| 1 << bit).sum();
        Rights::read(&format!("Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t{set:016x}\n"))
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(with(&[38, 39]).missing(&NEEDED), None);
        assert_eq!(with(&[39]).missing(&NEEDED).as_deref(), Some("CAP_PERFMON is missing"));
        let both = Some("CAP_BPF and CAP_PERFMON are missing");
        assert_eq!(with(&[19]).missing(&NEEDED).as_deref(), both);
        let none = Rights::read("").missing(&[SysPtrace]);
        assert_eq!(none.as_deref(), Some("CAP_SYS_PTRACE is missing"));
    }

    #[test]
    fn larger_capabilities_include_smaller_ones() {
        let admin = with(&[21]);
        assert!([Bpf, Perfmon, CheckpointRestore, SysAdmin].into_iter().all(|c| admin.has(c)));
        assert!(!admin.has(SysPtrace) && !admin.has(DacReadSearch));
        assert!(with(&[1]).has(DacReadSearch));
    }
}
