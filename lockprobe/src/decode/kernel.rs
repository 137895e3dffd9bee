//! Locks the kernel itself keeps: waits, announcements, events, counts.

use lockprobe_ebpf::wire::{
    self, FileRecord, LockFileRecord, LockKey, LockRecord, Place, WaitRecord, class, file_event,
    lock_file_event, made, mode, wait_flag,
};
use zerocopy::FromBytes;

use super::frame::{reason, thread};
use crate::model::{
    CountsKey, FileEvent, FileSeen, KernelLock, KernelLockSeen, KernelWait, LockFileSeen, LockId,
    LockKind, Malformed, Mode, Phase, ThreadId, WakeReason, thread::printable,
};

fn lock(inode: u64, place: Place) -> Result<KernelLock, Malformed> {
    let kind = match place.class() {
        class::FLOCK => LockKind::Flock,
        class::POSIX => LockKind::PosixFile,
        class::OFD => LockKind::OpenFile,
        class::SYSV => LockKind::SysvSemaphore,
        _ => return Err(Malformed::Value),
    };
    let mode = match place.mode() {
        mode::READ => Mode::Shared,
        mode::WRITE => Mode::Exclusive,
        _ => Mode::Unknown,
    };
    let Place { device, start, end, .. } = place;
    let id = if kind == LockKind::SysvSemaphore {
        let (namespace, set) = ((inode >> 32) as u32, inode as u32);
        LockId::Semaphore { namespace, set, number: start as u32 }
    } else {
        LockId::File { device, inode, fcntl: kind != LockKind::Flock, start, end }
    };
    Ok(KernelLock { id, kind, mode, key: counts_key(place.key(inode)) })
}

/// What the counts of a kernel's lock go by.
pub fn counts_key(key: LockKey) -> CountsKey {
    CountsKey { mixed: key.tgid, device: key.reserved, inode: key.lock }
}

fn known(process: u32) -> Option<u32> {
    (process != 0).then_some(process)
}

/// A wait in this phase.
pub fn wait(record: &WaitRecord, phase: Phase) -> Result<KernelWait, Malformed> {
    let w = &record.wait;
    let reason = reason(w)?;
    let has = |flag| w.flags & flag != 0;
    if record.thread.tid == 0 || w.start_ns > w.sleep_ns || !has(wait_flag::WORDS) {
        return Err(Malformed::Value);
    }
    Ok(KernelWait {
        phase,
        time: record.header.time_ns,
        thread: thread(&record.thread),
        lock: lock(w.lock, Place::of_words(&w.words))?,
        start: w.start_ns,
        slept: w.sleep_ns,
        woken: w.woken_ns,
        ran: w.run_ns,
        sleeps: w.sleeps.max(1),
        timed: has(wait_flag::TIMED),
        preexisting: has(wait_flag::PREEXISTING),
        reason,
        waker: (reason == WakeReason::Release).then(|| thread(&w.waker)),
        first_holder: known(w.first_owner),
        holder: known(w.value),
    })
}

/// An announcement.
pub fn announced(record: &LockRecord) -> Result<KernelLockSeen, Malformed> {
    Ok(KernelLockSeen {
        time: record.header.time_ns,
        thread: thread(&record.thread),
        lock: lock(record.lock, Place::of_words(&record.words))?,
        descriptor: record.value,
    })
}

/// An event of a lock of a file.
pub fn file(frame: &[u8]) -> Result<FileSeen, Malformed> {
    let record = FileRecord::read_from_bytes(frame).map_err(|_| Malformed::Length)?;
    let event = match record.event {
        file_event::BLOCKED => FileEvent::Blocked,
        file_event::REFUSED => FileEvent::Refused,
        file_event::DEADLOCK => FileEvent::Deadlock,
        file_event::ACQUIRED => FileEvent::Acquired,
        file_event::RELEASED => FileEvent::Released,
        file_event::TAKEN => FileEvent::Taken(record.refused_ns),
        _ => return Err(Malformed::Value),
    };
    let wire::Thread { tid, .. } = record.thread;
    let lock = lock(record.inode, record.place)?;
    if tid == 0 || !matches!(lock.id, LockId::File { .. }) {
        return Err(Malformed::Value);
    }
    Ok(FileSeen {
        time: record.header.time_ns,
        thread: thread(&record.thread),
        lock,
        event,
        owner: record.owner,
        holder_owner: (record.holder_owner != 0).then_some(record.holder_owner),
        holder: known(record.holder),
        refused: (record.refusals != 0).then_some((record.refused_ns, record.refusals)),
        descriptor: record.descriptor,
    })
}

/// An event of a file that is a lock by being there.
pub fn lock_file(frame: &[u8]) -> Result<LockFileSeen, Malformed> {
    let record = LockFileRecord::read_from_bytes(frame).map_err(|_| Malformed::Length)?;
    let event = match record.event {
        lock_file_event::REFUSED => FileEvent::Refused,
        lock_file_event::ACQUIRED => FileEvent::Acquired,
        lock_file_event::RELEASED => FileEvent::Released,
        lock_file_event::OTHERWISE => FileEvent::Otherwise,
        _ => return Err(Malformed::Value),
    };
    let length = record.path.iter().position(|&byte| byte == 0).ok_or(Malformed::Value)?;
    if record.thread.tid == 0 || length == 0 {
        return Err(Malformed::Value);
    }
    let path = String::from_utf8_lossy(&record.path[..length]);
    let maker = ThreadId { pid: record.maker.tgid, tid: record.maker.tid };
    let made = if record.maker.tid != 0 { record.maker.made } else { record.made };
    Ok(LockFileSeen {
        time: record.header.time_ns,
        thread: thread(&record.thread),
        event,
        directory: made == made::DIRECTORY,
        maker: (maker.tid != 0).then_some((record.maker.time_ns, maker)),
        root: (record.root_device, record.root_inode),
        base: (record.base_device, record.base_inode),
        descriptor: u32::try_from(record.directory).ok(),
        refused: (record.refusals != 0).then_some((record.refused_ns, record.refusals)),
        path: printable(&path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::model::Observation;
    use lockprobe_ebpf::wire::{call, kind};
    use zerocopy::IntoBytes;

    const WHOLE: Place =
        Place { device: 8, how: class::FLOCK | mode::WRITE << 8, start: 0, end: 9 };

    fn file_record() -> FileRecord {
        let mut record = FileRecord { inode: 7, place: WHOLE, holder: 5, ..FileRecord::default() };
        record.header.kind = kind::FILE;
        record.header.len = size_of::<FileRecord>() as u32;
        record.thread.tid = 3;
        record.event = file_event::REFUSED;
        (record.refused_ns, record.refusals) = (40, 2);
        record
    }

    #[test]
    fn an_event_is_read() {
        let Ok(Observation::File(seen)) = decode(file_record().as_bytes()) else { panic!() };
        let id = LockId::File { device: 8, inode: 7, fcntl: false, start: 0, end: 9 };
        assert_eq!((seen.lock.id, seen.lock.mode), (id, Mode::Exclusive));
        assert_eq!((seen.holder, seen.holder_owner, seen.refused), (Some(5), None, Some((40, 2))));
    }

    #[test]
    fn events_no_kernel_half_writes_are_refused() {
        for change in [
            (|r: &mut FileRecord| r.event = 77) as fn(&mut FileRecord),
            |r| r.place.how = 0,
            |r| r.place.how = class::SYSV,
            |r| r.thread.tid = 0,
        ] {
            let mut record = file_record();
            change(&mut record);
            assert_eq!(decode(record.as_bytes()), Err(Malformed::Value));
        }
        assert_eq!(decode(&file_record().as_bytes()[..50]), Err(Malformed::Length));
    }

    #[test]
    fn a_wait_for_a_file_is_none_for_a_futex() {
        let mut record = WaitRecord::default();
        record.header.kind = kind::WAITING;
        record.header.len = size_of::<WaitRecord>() as u32;
        (record.thread.tgid, record.thread.tid) = (1, 2);
        record.wait.call = call::FLOCK;
        record.wait.flags = wait_flag::WORDS;
        record.wait.lock = 7;
        record.wait.words = WHOLE.to_words();
        record.wait.first_owner = 5;
        let Ok(Observation::KernelWait(wait)) = decode(record.as_bytes()) else { panic!() };
        assert_eq!((wait.phase, wait.thread.id), (Phase::Asleep, ThreadId { pid: 1, tid: 2 }));
        assert_eq!((wait.first_holder, wait.holder), (Some(5), None));
        assert_eq!(wait.lock.key, counts_key(WHOLE.key(7)));
        record.wait.words[1] = 99;
        assert_eq!(decode(record.as_bytes()), Err(Malformed::Value));
    }
}
