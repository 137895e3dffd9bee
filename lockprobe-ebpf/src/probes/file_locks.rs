//! What happens to the locks of files that are contended.
//!
//! `flock_lock_inode(struct inode *inode, struct file_lock *fl, int ret)` and `posix_lock_inode`,
//! the same: fs/locks.c, at the end of every attempt and every release, be it by closing the file
//! or by exiting. They run in the thread that asked. No other system call comes by here; a lock
//! of a file that nobody was refused costs one look into a table, and of a process with several
//! threads a note of which took it.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use lockprobe_ebpf::wire::{
    Counter, FileKey, FileRecord, Place, Poll, Request, Taken, class, file_event, kind, mode,
};

use crate::emit;
use crate::file::{FileLock, Inode, NOBODY, Owner};
use crate::filter;
use crate::maps::*;
use crate::task::Task;

/// The request sleeps (FILE_LOCK_DEFERRED, include/linux/fs.h).
const DEFERRED: i32 = 1;
const EAGAIN: i32 = -11;
const EDEADLK: i32 = -35;
/// A file nobody was refused for this long is not contended any more.
const CONTENDED_FOR: u64 = 10_000_000_000;
/// A thread that was not refused for this long has given up, and asks for the first time again.
const POLLS_FOR: u64 = 5_000_000_000;
/// A thread that asks without a pause is told of this often.
const TELL_EVERY: u64 = 20_000_000;

#[btf_tracepoint(function = "flock_lock_inode")]
fn flock_lock_inode(ctx: BtfTracePointContext) -> u32 {
    on_lock(&ctx, class::FLOCK)
}

#[btf_tracepoint(function = "posix_lock_inode")]
fn posix_lock_inode(ctx: BtfTracePointContext) -> u32 {
    on_lock(&ctx, class::POSIX)
}

/// One call, as far as it is known before anyone looks further.
#[derive(Clone, Copy)]
struct Asked {
    task: Task,
    tid: u32,
    key: FileKey,
    place: Place,
    owner: u64,
    now: u64,
}

#[inline(always)]
fn on_lock(ctx: &BtfTracePointContext, table: u32) -> u32 {
    let inode = Inode(ctx.arg::<*const u8>(0) as u64);
    let lock = FileLock(ctx.arg::<*const u8>(1) as u64);
    if inode.0 == 0 || lock.0 == 0 {
        // Never; but the kernel's annotations allow it, and the verifier goes by them.
        return 0;
    }
    let ret = ctx.arg::<i32>(2);
    let in_the_way = ret == DEFERRED || ret == EAGAIN || ret == EDEADLK;
    if !in_the_way && ret != 0 {
        return 0;
    }
    let key = FileKey { inode: inode.number(), device: inode.device(), table };
    if !in_the_way {
        note_taken(lock, key);
    }
    let contended = CONTENDED.get_ptr(key);
    if !in_the_way && contended.is_none() {
        return 0;
    }
    let now = emit::now();
    if let Some(last) = contended
        && !in_the_way
        // SAFETY: a value of the map, alive for this run of the program.
        && now.wrapping_sub(unsafe { *last }) > CONTENDED_FOR
    {
        let _ = CONTENDED.remove(key);
        return 0;
    }
    let task = Task::current();
    if lock.is_question() || (in_the_way && !filter::is_target(task.tgid())) {
        return 0;
    }
    let place = lock.place(key.device, table);
    let asked = Asked { task, tid: task.tid(), key, place, owner: lock.owner().token, now };
    if in_the_way {
        let _ = CONTENDED.insert(key, now, 0);
        refused(asked, lock, inode, ret);
    } else if place.mode() == mode::UNLOCK {
        send(asked, NOBODY, file_event::RELEASED, (0, 0));
    } else {
        acquired(asked);
    }
    0
}

/// Notes which thread takes a lock, where its process has several: the kernel keeps but the process.
#[inline(always)]
fn note_taken(lock: FileLock, key: FileKey) {
    let task = Task::current();
    if !task.has_siblings() || lock.is_question() {
        return;
    }
    if lock.mode() == mode::UNLOCK {
        if let Some(taken) = TAKEN.get_ptr_mut(key) {
            // SAFETY: a value of the map, alive for this run of the program; one word is written whole.
            let taken = unsafe { &mut *taken };
            if taken.owner == lock.owner().token {
                // Nobody's: cheaper than taking it out, since who comes back puts it in again.
                taken.owner = NOBODY.token;
            }
        }
        return;
    }
    let (place, owner) = (lock.place(key.device, key.table), lock.owner().token);
    let mut taken = Taken { place, owner, time_ns: emit::now(), ..Taken::default() };
    task.describe(&mut taken.thread);
    let _ = TAKEN.insert(key, taken, 0);
}

/// Tells which thread took what is in the way, if it was seen and has not been told.
#[inline(always)]
fn tell_taken(asked: Asked, holder: Owner) {
    let Some(taken) = TAKEN.get_ptr_mut(asked.key) else { return };
    // SAFETY: a value of the map, alive for this run of the program.
    let taken = unsafe { &mut *taken };
    let place = taken.place;
    let overlaps = place.start <= asked.place.end && asked.place.start <= place.end;
    let its = taken.owner == holder.token && taken.thread.tgid == holder.process;
    if taken.told != 0 || !its || !overlaps {
        return;
    }
    taken.told = 1;
    let full = Counter::DroppedFileRingFull;
    let Some(mut entry) = emit::reserve::<FileRecord>(kind::FILE, asked.now, full) else { return };
    // SAFETY: the slot is a whole `FileRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    record.thread = taken.thread;
    record.inode = asked.key.inode;
    record.place = place;
    record.owner = taken.owner;
    record.holder_owner = 0;
    record.holder = 0;
    record.event = file_event::TAKEN;
    (record.refused_ns, record.refusals) = (taken.time_ns, 0);
    record.descriptor = 0;
    emit::submit(entry);
}

/// A lock that is in the way: the thread sleeps for it, or goes on without.
#[inline(always)]
fn refused(asked: Asked, lock: FileLock, inode: Inode, ret: i32) {
    if ret == DEFERRED {
        let holder = lock.blocker();
        tell_taken(asked, holder);
        let request = Request {
            inode: asked.key.inode,
            place: asked.place,
            holder: holder.process,
            descriptor: descriptor(asked.task),
        };
        let _ = REQUESTS.insert(asked.tid, request, 0);
        return send(asked, holder, file_event::BLOCKED, (0, 0));
    }
    let holder = lock.conflict(inode, asked.place, asked.owner);
    tell_taken(asked, holder);
    if ret == EDEADLK {
        return send(asked, holder, file_event::DEADLOCK, (0, 0));
    }
    let mut poll = Poll { key: asked.key, first_ns: asked.now, ..Poll::default() };
    if let Some(known) = POLLS.get_ptr(asked.tid) {
        // SAFETY: a value of the map; the thread writes it itself, here.
        let known = unsafe { *known };
        if known.key == asked.key && asked.now.wrapping_sub(known.last_ns) < POLLS_FOR {
            poll = known;
        }
    }
    poll.count += 1;
    poll.last_ns = asked.now;
    let tell = asked.now.wrapping_sub(poll.sent_ns) >= TELL_EVERY;
    if tell {
        poll.sent_ns = asked.now;
    }
    let _ = POLLS.insert(asked.tid, poll, 0);
    if tell {
        send(asked, holder, file_event::REFUSED, (poll.first_ns, poll.count));
    }
}

#[inline(always)]
fn acquired(asked: Asked) {
    let mut refusals = (0, 0);
    if let Some(poll) = POLLS.get_ptr(asked.tid) {
        // SAFETY: as above.
        let poll = unsafe { *poll };
        if poll.key == asked.key {
            if asked.now.wrapping_sub(poll.last_ns) < POLLS_FOR {
                refusals = (poll.first_ns, poll.count);
            }
            let _ = POLLS.remove(asked.tid);
        }
    }
    send(asked, NOBODY, file_event::ACQUIRED, refusals);
}

/// The first argument of the call the thread is in.
#[inline(always)]
fn descriptor(task: Task) -> u32 {
    task.registers().get(&REG_ARG0) as u32
}

#[inline(always)]
fn send(asked: Asked, holder: Owner, event: u32, refusals: (u64, u32)) {
    let full = Counter::DroppedFileRingFull;
    let Some(mut entry) = emit::reserve::<FileRecord>(kind::FILE, asked.now, full) else { return };
    // SAFETY: the slot is a whole `FileRecord`.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    asked.task.describe(&mut record.thread);
    record.inode = asked.key.inode;
    record.place = asked.place;
    record.owner = asked.owner;
    record.holder_owner = holder.token;
    record.holder = holder.process;
    record.event = event;
    (record.refused_ns, record.refusals) = refusals;
    record.descriptor = descriptor(asked.task);
    emit::submit(entry);
}
