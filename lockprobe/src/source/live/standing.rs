//! Asking the kernel half where one thread stands: the registers its stack is unwound from.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use aya::Ebpf;
use aya::programs::Iter;
use lockprobe_ebpf::wire;
use zerocopy::FromBytes;

use crate::model::{Standing, ThreadId};

/// The program that answers.
pub const PROGRAM: &str = "standing";

/// Commands of bpf(2) and the attach type of iterators (`linux/bpf.h`).
const LINK_CREATE: i64 = 28;
const ITER_CREATE: i64 = 33;
const TRACE_ITER: u32 = 28;

/// `link_create` of `union bpf_attr`, as far as iterators need it.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    iterator: u64,
    iterator_len: u32,
    padding: u32,
}

/// `iter_create` of `union bpf_attr`.
#[repr(C)]
struct IterCreate {
    link: u32,
    flags: u32,
}

/// `task` of `union bpf_iter_link_info` (Linux 6.1).
#[repr(C)]
struct OneTask {
    tid: u32,
    pid: u32,
    pid_fd: u32,
}

/// Answers where threads stand.
pub struct Standings(OwnedFd);

impl Standings {
    /// From the loaded programs; none if they are not loaded.
    pub fn of(ebpf: &mut Ebpf) -> Option<Self> {
        let program: &mut Iter = ebpf.program_mut(PROGRAM)?.try_into().ok()?;
        program.fd().ok()?.as_fd().try_clone_to_owned().ok().map(Self)
    }

    /// Where a thread stands; `None` when it is gone, or when the kernel cannot be asked about one
    /// thread alone.
    pub fn of_thread(&self, id: ThreadId) -> Option<Standing> {
        let task = OneTask { tid: id.tid, pid: 0, pid_fd: 0 };
        let link = bpf(
            LINK_CREATE,
            &LinkCreate {
                program: self.0.as_raw_fd() as u32,
                target: 0,
                attach_type: TRACE_ITER,
                flags: 0,
                iterator: &raw const task as u64,
                iterator_len: size_of::<OneTask>() as u32,
                padding: 0,
            },
        )?;
        let iterator = bpf(ITER_CREATE, &IterCreate { link: link.as_raw_fd() as u32, flags: 0 })?;
        let mut bytes = [0; size_of::<wire::Standing>()];
        File::from(iterator).read_exact(&mut bytes).ok()?;
        let seen = wire::Standing::read_from_bytes(&bytes).ok()?;
        (seen.tgid == id.pid && seen.tid == id.tid).then_some(Standing {
            blocked: seen.blocked != 0,
            call: seen.call,
            first: seen.first,
            ip: seen.ip,
            sp: seen.sp,
            fp: Some(seen.bp),
            cpu: seen.cpu_ns,
        })
    }
}

/// A bpf(2) command that makes a file descriptor.
fn bpf<T>(command: i64, attributes: &T) -> Option<OwnedFd> {
    let pointer: *const T = attributes;
    // SAFETY: the attributes are as long as said and live through the call; the kernel reads them
    // and what they point to, and writes nothing.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0)?;
    // SAFETY: a new descriptor that nobody else owns.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
