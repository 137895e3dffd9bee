//! Files that are locks by being there, when asked for.
//!
//! `sys_exit(struct pt_regs *regs, long ret)`: every system call of the machine comes by here, which
//! is why this is attached by request only. What a call does to names is one look into an array;
//! everything else is for the calls that make or remove one.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use lockprobe_ebpf::wire::{
    Counter, FileKey, Latest, LockFileRecord, Maker, PATH_BYTES, Poll, kind, lock_file_event, made,
    name_call,
};

use crate::emit;
use crate::file::Inode;
use crate::filter;
use crate::maps::*;
use crate::task::{Registers, Task};

const EEXIST: i64 = -17;
/// O_CREAT and O_EXCL.
const CREATE_NEW: u64 = 0o300;
const RENAME_NOREPLACE: u64 = 1;
const AT_FDCWD: i32 = -100;
/// A file that is locked in another way this soon is no lock by itself.
const SOON: u64 = 50_000_000;
/// A name nobody was refused for this long is not contended any more.
const CONTENDED_FOR: u64 = 10_000_000_000;
/// A thread that was not refused for this long has given up.
const POLLS_FOR: u64 = 5_000_000_000;
/// A thread that asks without a pause is told of this often.
const TELL_EVERY: u64 = 20_000_000;
/// Stands for a table of a file where there is none.
const NAMES: u32 = 9;

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> u32 {
    let registers = Registers::new(ctx.arg::<*const u8>(0));
    // SAFETY: a value of the map, alive for this run of the program.
    let call = CALLS.get_ptr(registers.get(&REG_NR) as u32).map_or(0, |call| unsafe { *call });
    if call != 0 {
        on_call(registers, call, ctx.arg::<i64>(1));
    }
    0
}

#[inline(always)]
fn on_call(registers: Registers, call: u32, ret: i64) {
    let task = Task::current();
    let failed = ret < 0;
    let what = call & 0xff;
    if what == name_call::LOCK {
        return locked(task, registers);
    }
    if (failed && ret != EEXIST) || !filter::is_target(task.tgid()) {
        return;
    }
    match what {
        name_call::REMOVE | name_call::RENAME if !failed => {
            with_name(task, registers, call, lock_file_event::RELEASED, ret);
        }
        name_call::OPEN => {
            let flags = argument(registers, ((call >> 8) & 0xff) + 1);
            if flags & CREATE_NEW != CREATE_NEW {
                return;
            }
        }
        _ => {}
    }
    let mut made = call;
    if what == name_call::RENAME {
        if argument(registers, 4) & RENAME_NOREPLACE == 0 {
            return;
        }
        made = name_call::pack(name_call::MAKE, 3, 2, made::LINK);
    } else if what == name_call::REMOVE {
        return;
    }
    let event = if failed { lock_file_event::REFUSED } else { lock_file_event::ACQUIRED };
    with_name(task, registers, made, event, ret);
}

#[inline(always)]
fn argument(registers: Registers, index: u32) -> u64 {
    match index {
        0 => registers.get(&REG_ARG0),
        1 => registers.get(&REG_ARG1),
        2 => registers.get(&REG_ARG2),
        3 => registers.get(&REG_ARG3),
        4 => registers.get(&REG_ARG4),
        _ => 0,
    }
}

/// Where a path starts.
#[derive(Clone, Copy)]
struct Base {
    directory: i32,
    device: u32,
    inode: u64,
    root_device: u32,
    root_inode: u64,
}

type Path = [u64; PATH_BYTES / 8];

/// What happens to a name.
#[derive(Clone, Copy)]
struct Step<'a> {
    task: Task,
    /// The name as it is spelled.
    key: FileKey,
    /// The name without its directory: whoever takes it may spell the way to it otherwise.
    last: FileKey,
    base: Base,
    call: u32,
    now: u64,
    path: &'a Path,
}

/// Something happens to a name.
#[inline(never)]
fn with_name(task: Task, registers: Registers, call: u32, event: u32, ret: i64) {
    let Some(path) = PATH.get_ptr_mut(0) else { return };
    // SAFETY: this processor's slot; the tracepoint does not nest.
    let path = unsafe { &mut *path };
    *path = [0; PATH_BYTES / 8];
    let at = argument(registers, (call >> 8) & 0xff);
    // SAFETY: the helper checks the user address and writes no more than the size named.
    let length = unsafe {
        bpf_probe_read_user_str((&raw mut *path).cast(), PATH_BYTES as u32, at as *const _)
    };
    // A path that fills the room is cut: which file it means cannot be said.
    if length <= 1 || length as usize >= PATH_BYTES {
        return;
    }
    let base = base(task, registers, call, path[0] & 0xff == u64::from(b'/'));
    let key = key(path, &base);
    if event != lock_file_event::RELEASED && maker(key).made == made::OTHERWISE {
        return;
    }
    let step = Step { task, key, last: last(path), base, call, now: emit::now(), path };
    match event {
        lock_file_event::REFUSED => refused(step),
        lock_file_event::ACQUIRED => acquired(step, ret),
        _ => released(step),
    }
}

#[inline(always)]
fn base(task: Task, registers: Registers, call: u32, absolute: bool) -> Base {
    let root = Inode(task.root_directory());
    let which = (call >> 16) & 0xff;
    let directory = match which {
        name_call::NONE => AT_FDCWD,
        which => argument(registers, which) as i32,
    };
    let start = if absolute {
        root
    } else if directory == AT_FDCWD {
        Inode(task.working_directory())
    } else {
        Inode::of(task, directory as u32 as u64)
    };
    Base {
        directory,
        device: start.device(),
        inode: start.number(),
        root_device: root.device(),
        root_inode: root.number(),
    }
}

/// The name as its user spells it. Two spellings of one name are two keys here; the agent knows
/// better, and is told of either once one of them is in somebody's way.
#[inline(always)]
fn key(path: &Path, base: &Base) -> FileKey {
    let mut hash = base.inode ^ 0x9e37_79b9_7f4a_7c15;
    let mut i = 0;
    while i < PATH_BYTES / 8 {
        hash = (hash.rotate_left(5) ^ path[i]).wrapping_mul(0xff51_afd7_ed55_8ccd);
        i += 1;
    }
    FileKey { inode: hash, device: base.device, table: NAMES }
}

/// The last part of a path, whatever directory it is in.
#[inline(never)]
fn last(path: &Path) -> FileKey {
    let bytes: *const u8 = path.as_ptr().cast();
    let (mut hash, mut begins) = (0u64, true);
    let mut i = 0;
    while i < PATH_BYTES {
        // SAFETY: inside the path.
        let byte = unsafe { bytes.add(i).read_volatile() };
        if byte == 0 {
            break;
        }
        // A slash at the end is none.
        if byte == b'/' {
            begins = true;
        } else {
            hash = if begins { 0x9e37_79b9_7f4a_7c15 } else { hash };
            begins = false;
            hash = (hash.rotate_left(5) ^ byte as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
        }
        i += 1;
    }
    FileKey { inode: hash, device: u32::MAX, table: NAMES }
}

#[inline(always)]
fn refused(step: Step<'_>) {
    let Step { task, key, last, now, .. } = step;
    let _ = CONTENDED.insert(last, now, 0);
    note_latest(step, -1);
    let mut poll = Poll { key, first_ns: now, ..Poll::default() };
    if let Some(known) = POLLS.get_ptr(task.tid()) {
        // SAFETY: a value of the map; the thread writes it itself.
        let known = unsafe { *known };
        if known.key == key && now.wrapping_sub(known.last_ns) < POLLS_FOR {
            poll = known;
        }
    }
    poll.count += 1;
    poll.last_ns = now;
    let tell = now.wrapping_sub(poll.sent_ns) >= TELL_EVERY;
    if tell {
        poll.sent_ns = now;
    }
    let _ = POLLS.insert(task.tid(), poll, 0);
    if tell {
        let maker = maker(key);
        send(step, lock_file_event::REFUSED, maker, (poll.first_ns, poll.count));
    }
}

#[inline(always)]
fn maker(key: FileKey) -> Maker {
    // SAFETY: a value of the map, copied at once.
    MADE.get_ptr(key).map_or(Maker::default(), |maker| unsafe { *maker })
}

#[inline(always)]
fn acquired(step: Step<'_>, ret: i64) {
    let Step { task, key, last, call, now, .. } = step;
    let opened = call & 0xff == name_call::OPEN;
    let maker = Maker {
        time_ns: now,
        tgid: task.tgid(),
        tid: task.tid(),
        descriptor: if opened { ret as i32 } else { -1 },
        made: call >> 24,
    };
    let _ = MADE.insert(key, maker, 0);
    if opened {
        note_latest(step, ret as i32);
    }
    if !is_contended(last, now) {
        return;
    }
    let mut refusals = (0, 0);
    if let Some(poll) = POLLS.get_ptr(task.tid()) {
        // SAFETY: as above.
        let poll = unsafe { *poll };
        if poll.key == key {
            refusals = (poll.first_ns, poll.count);
            let _ = POLLS.remove(task.tid());
        }
    }
    send(step, lock_file_event::ACQUIRED, maker, refusals);
}

#[inline(always)]
fn released(step: Step<'_>) {
    let Step { key, last, now, .. } = step;
    let maker = maker(key);
    let _ = MADE.remove(key);
    if is_contended(last, now) {
        send(step, lock_file_event::RELEASED, maker, (0, 0));
    }
}

#[inline(always)]
fn is_contended(key: FileKey, now: u64) -> bool {
    let Some(last) = CONTENDED.get_ptr(key) else { return false };
    // SAFETY: a value of the map, alive for this run of the program.
    if now.wrapping_sub(unsafe { *last }) < CONTENDED_FOR {
        return true;
    }
    let _ = CONTENDED.remove(key);
    false
}

#[inline(always)]
fn note_latest(step: Step<'_>, descriptor: i32) {
    let Step { task, key, last, now, .. } = step;
    let latest = Latest { key, last, time_ns: now, descriptor, reserved: 0 };
    let _ = LATEST.insert(task.tid(), latest, 0);
}

/// A file that is locked in another way at once, by who made it or by who found it there, is no lock
/// by being there: `filelock` for Python opens with O_EXCL and then calls flock(2).
#[inline(never)]
fn locked(task: Task, registers: Registers) {
    let tid = task.tid();
    let Some(latest) = LATEST.get_ptr(tid) else { return };
    // SAFETY: a value of the map, copied at once.
    let latest = unsafe { *latest };
    let command = registers.get(&REG_ARG1);
    let locks = registers.get(&REG_NR) == NR_FLOCK.load() || matches!(command, 6 | 7 | 37 | 38);
    if !locks {
        return;
    }
    let _ = LATEST.remove(tid);
    let own = latest.descriptor < 0 || latest.descriptor as u32 == registers.get(&REG_ARG0) as u32;
    let now = emit::now();
    if own && now.wrapping_sub(latest.time_ns) < SOON {
        let Some(path) = PATH.get_ptr_mut(0) else { return };
        let Latest { key, last, .. } = latest;
        let maker = Maker { time_ns: now, made: made::OTHERWISE, ..Maker::default() };
        let _ = MADE.insert(key, maker, 0);
        if let Some(poll) = POLLS.get_ptr(tid)
            // SAFETY: a value of the map. That it was refused the other lock has been noted by now.
            && unsafe { (*poll).key } == key
        {
            let _ = POLLS.remove(tid);
        }
        // The name may be a lock in another directory.
        if CONTENDED.get_ptr(last).is_none() {
            return;
        }
        // SAFETY: this processor's slot; the tracepoint does not nest.
        let path = unsafe { &mut *path };
        // The path is that of the call before: the thread's latest refusal says it.
        *path = [0; PATH_BYTES / 8];
        path[0] = u64::from(b'/');
        let base = Base { directory: AT_FDCWD, device: 0, inode: 0, root_device: 0, root_inode: 0 };
        let step = Step { task, key, last, base, call: 0, now, path };
        send(step, lock_file_event::OTHERWISE, Maker::default(), (0, 0));
    }
}

#[inline(always)]
fn send(step: Step<'_>, event: u32, maker: Maker, refusals: (u64, u32)) {
    let Step { task, call, base, path, now, .. } = step;
    let full = Counter::DroppedFileRingFull;
    let Some(mut entry) = emit::reserve::<LockFileRecord>(kind::LOCK_FILE, now, full) else {
        return;
    };
    // SAFETY: the slot is a whole `LockFileRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    task.describe(&mut record.thread);
    record.maker = maker;
    record.root_inode = base.root_inode;
    record.base_inode = base.inode;
    record.base_device = base.device;
    record.root_device = base.root_device;
    (record.refused_ns, record.refusals) = refusals;
    record.event = event;
    record.made = call >> 24;
    record.directory = base.directory;
    // SAFETY: as large as the path, and eight bytes aligned like it.
    unsafe { *(&raw mut record.path).cast() = *path };
    // Who made it, and from where, may be gone any moment.
    emit::submit_now(entry);
}
