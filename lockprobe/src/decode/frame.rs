//! One frame, one observation.

use lockprobe_ebpf::wire::{
    self, Counter, Header, LockKey, LockRecord, LockStats, ProcessRecord, Wait, WaitRecord, call,
    dropped, kind, process_event, reason, wait_flag,
};
use zerocopy::FromBytes;

use super::{full, kernel, talk};
use crate::model::{
    Histogram, LockCounts, LockSeen, Losses, Malformed, Observation, Phase, ProcessEvent,
    ProcessSeen, Thread, ThreadId, WaitSeen, WakeReason,
};

/// Reads a frame. Facts are not read here: they are JSON, which the source knows.
pub fn decode(frame: &[u8]) -> Result<Observation, Malformed> {
    let (header, body) = Header::read_from_prefix(frame).map_err(|_| Malformed::Length)?;
    if header.len as usize != frame.len() {
        return Err(Malformed::Length);
    }
    match header.kind {
        kind::WAIT => wait(frame, Observation::Wait, Phase::Ran),
        kind::RESUME => wait(frame, Observation::Resume, Phase::Resumed),
        kind::WAITING => wait(frame, Observation::Waiting, Phase::Asleep),
        kind::LOCK => lock(frame),
        kind::LOCK_FILE => kernel::lock_file(frame).map(|l| Observation::LockFile(Box::new(l))),
        kind::CONNECTION => talk::connection(frame).map(Observation::Talk),
        kind::BYTES => talk::bytes(frame).map(Observation::Talk),
        kind::CLOSED => talk::closed(frame).map(Observation::Talk),
        kind::FILE => kernel::file(frame).map(Observation::File),
        kind::PROCESS => process(frame),
        kind::STATS => stats(body),
        kind::COUNTERS => counters(body).map(Observation::Losses),
        kind::TICK if body.is_empty() => Ok(Observation::Tick(header.time_ns)),
        kind::TICK => Err(Malformed::Length),
        kind::FULL_LOCK | kind::FULL_HELD => full::lock(frame),
        kind::FULL_ORDER => full::order(frame),
        kind::FULL_STATS => full::stats(body),
        kind::FULL_ORDERS => full::orders(body),
        kind::FULL_COUNTERS => full::counters(body),
        _ => Err(Malformed::Kind),
    }
}

pub(super) fn thread(t: &wire::Thread) -> Thread {
    Thread {
        id: ThreadId { pid: t.tgid, tid: t.tid },
        ns_tid: t.ns_tid,
        ns_level: t.ns_level,
        comm: t.comm,
    }
}

pub(super) fn reason(w: &Wait) -> Result<WakeReason, Malformed> {
    Ok(match w.reason {
        reason::UNKNOWN => WakeReason::Unknown,
        reason::RELEASE => WakeReason::Release,
        reason::SIGNAL => WakeReason::Signal,
        reason::EXIT if w.waker_call == NR_EXIT => WakeReason::ThreadExit,
        reason::EXIT => WakeReason::Exit,
        reason::OTHER => WakeReason::Other,
        _ => return Err(Malformed::Value),
    })
}

fn wait(
    frame: &[u8],
    of_futex: fn(WaitSeen) -> Observation,
    phase: Phase,
) -> Result<Observation, Malformed> {
    let record = WaitRecord::read_from_bytes(frame).map_err(|_| Malformed::Length)?;
    if record.wait.call >= call::KERNEL {
        return kernel::wait(&record, phase).map(Observation::KernelWait);
    }
    futex_wait(&record).map(of_futex)
}

fn futex_wait(record: &WaitRecord) -> Result<WaitSeen, Malformed> {
    let w = record.wait;
    let has = |flag| w.flags & flag != 0;
    let reason = reason(&w)?;
    let operation = w.call < 64 && (call::OPERATIONS >> w.call) & 1 == 1;
    let known = operation || w.call == call::FUTEX2_WAIT;
    if !known || record.thread.tid == 0 || w.start_ns > w.sleep_ns {
        return Err(Malformed::Value);
    }
    let released = reason == WakeReason::Release;
    Ok(WaitSeen {
        time: record.header.time_ns,
        thread: thread(&record.thread),
        address: w.lock,
        futex: w.futex(),
        parked: has(wait_flag::PARKED),
        private: has(wait_flag::PRIVATE),
        timed: has(wait_flag::TIMED),
        preexisting: has(wait_flag::PREEXISTING),
        priority_inheritance: is_pi(w.call),
        bitset: w.call == call::FUTEX_WAIT_BITSET,
        ip: w.ip,
        caller: w.caller,
        caller_known: has(wait_flag::CALLER_KNOWN),
        sp: w.sp,
        start: w.start_ns,
        slept: w.sleep_ns,
        woken: w.woken_ns,
        ran: w.run_ns,
        sleeps: w.sleeps.max(1),
        value: w.value,
        words: has(wait_flag::WORDS).then_some(w.words),
        first_owner: has(wait_flag::WORDS).then_some(w.first_owner),
        reason,
        waker: released.then(|| thread(&w.waker)),
        leaver: (!released && has(wait_flag::WAKER_LEAVES)).then(|| thread(&w.waker)),
        holder_since: (released && w.holder_since_ns != 0).then_some(w.holder_since_ns),
        released_before: w.release_before_ns,
        hold_exact: released && has(wait_flag::HOLD_EXACT),
        cpu: w.run_cpu_ns,
    })
}

/// `exit`, by which one thread ends; a whole process ends by `exit_group`.
const NR_EXIT: u32 = if cfg!(target_arch = "aarch64") { 93 } else { 60 };

fn is_pi(call: u32) -> bool {
    matches!(call, call::FUTEX_LOCK_PI | call::FUTEX_LOCK_PI2 | call::FUTEX_WAIT_REQUEUE_PI)
}

fn lock(frame: &[u8]) -> Result<Observation, Malformed> {
    let record = LockRecord::read_from_bytes(frame).map_err(|_| Malformed::Length)?;
    if record.call >= call::KERNEL {
        return kernel::announced(&record).map(Observation::KernelLock);
    }
    let stack = record.stack.get(..record.stack_len as usize).ok_or(Malformed::Value)?;
    Ok(Observation::Lock(Box::new(LockSeen {
        time: record.header.time_ns,
        thread: thread(&record.thread),
        address: record.lock,
        parked: record.flags & wait_flag::PARKED != 0,
        private: record.flags & wait_flag::PRIVATE != 0,
        priority_inheritance: is_pi(record.call),
        value: record.value,
        ip: record.ip,
        sp: record.sp,
        bp: record.bp,
        stack: stack.to_vec(),
    })))
}

fn process(frame: &[u8]) -> Result<Observation, Malformed> {
    let record = ProcessRecord::read_from_bytes(frame).map_err(|_| Malformed::Length)?;
    let event = match record.event {
        process_event::FORK => ProcessEvent::Fork(record.detail),
        process_event::EXEC => ProcessEvent::Exec,
        process_event::EXIT => ProcessEvent::Exit,
        process_event::THREAD_EXIT => ProcessEvent::ThreadExit,
        process_event::LISTENS => {
            let port = u16::try_from(record.detail).map_err(|_| Malformed::Value)?;
            return Ok(Observation::Listens(thread(&record.thread).id.pid, port));
        }
        _ => return Err(Malformed::Value),
    };
    // The low bits are the signal (wait(2)).
    let killed = event == ProcessEvent::Exit && record.detail & 0x7f != 0;
    let (time, thread) = (record.header.time_ns, thread(&record.thread));
    Ok(Observation::Process(ProcessSeen { time, thread, event, killed }))
}

fn stats(body: &[u8]) -> Result<Observation, Malformed> {
    let (key, rest) = LockKey::read_from_prefix(body).map_err(|_| Malformed::Length)?;
    let stats = LockStats::read_from_bytes(rest).map_err(|_| Malformed::Length)?;
    let (waits, doubtful) = LockStats::waits(stats.count);
    let counts = LockCounts {
        waits,
        total: stats.sum_ns,
        longest: stats.max_ns,
        histogram: Histogram::from_counts(stats.buckets.iter().map(|&n| u64::from(n))),
        doubtful: (stats.count & LockStats::TELLS != 0).then_some(doubtful),
    };
    if key.tgid & LockKey::KERNEL != 0 {
        return Ok(Observation::KernelCounts { key: kernel::counts_key(key), counts });
    }
    Ok(Observation::Counts {
        pid: key.tgid,
        address: key.lock,
        site: (stats.ip, stats.caller),
        counts,
    })
}

fn counters(body: &[u8]) -> Result<Losses, Malformed> {
    let values: Vec<u64> = body
        .chunks_exact(8)
        .map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
        .collect();
    // Counters are only ever added: an older recording has fewer.
    if values.len() > Counter::COUNT as usize || !body.len().is_multiple_of(8) {
        return Err(Malformed::Length);
    }
    let get = |counter: Counter| values.get(counter as usize).copied().unwrap_or(0);
    Ok(Losses {
        dropped: dropped::CAUSES.map(|(cause, counter)| ("kernel", cause, get(counter))).to_vec(),
        skipped: vec![
            ("below_min_wait", get(Counter::SkippedShort)),
            ("idle_call_site", get(Counter::SkippedIdle)),
            ("waker_unseen", get(Counter::WakerUnseen)),
            ("calls_unseen", get(Counter::CallsUnseen)),
            ("talk_bytes_unseen", get(Counter::BytesUnseen)),
            ("talk_of_no_interest", get(Counter::SkippedTalk)),
        ],
        emitted: get(Counter::Emitted),
        waits: get(Counter::Waits),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn sample() -> WaitRecord {
        let mut record = WaitRecord::default();
        record.header.kind = kind::WAIT;
        record.header.len = size_of::<WaitRecord>() as u32;
        record.header.time_ns = 50;
        record.thread.tgid = 10;
        record.thread.tid = 11;
        record.wait.call = call::FUTEX_WAIT;
        record.wait.flags = wait_flag::PRIVATE | wait_flag::WORDS;
        record.wait.start_ns = 40;
        record.wait.sleep_ns = 41;
        record.wait.reason = reason::RELEASE;
        record.wait.waker.tid = 12;
        record
    }

    #[test]
    fn a_wait_is_read() {
        let Ok(Observation::Wait(seen)) = decode(sample().as_bytes()) else { panic!() };
        assert_eq!(seen.thread.id, ThreadId { pid: 10, tid: 11 });
        assert_eq!(seen.waker.map(|w| w.id.tid), Some(12));
        assert_eq!((seen.start, seen.slept, seen.sleeps), (40, 41, 1));
        assert!(seen.private && !seen.timed && seen.words.is_some());
        assert_eq!(seen.holder_since, None);
    }

    #[test]
    fn every_cut_is_malformed() {
        let record = sample();
        let bytes = record.as_bytes();
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), Err(Malformed::Length));
        }
    }

    #[test]
    fn values_no_kernel_half_writes_are_refused() {
        for change in [
            (|r: &mut WaitRecord| r.wait.reason = 77) as fn(&mut WaitRecord),
            |r| r.wait.call = 0,
            |r| r.thread.tid = 0,
            |r| r.wait.sleep_ns = 1,
        ] {
            let mut record = sample();
            change(&mut record);
            assert_eq!(decode(record.as_bytes()), Err(Malformed::Value));
        }
        let mut record = sample();
        record.header.kind = 1234;
        assert_eq!(decode(record.as_bytes()), Err(Malformed::Kind));
    }

    #[test]
    fn a_frame_may_lie_at_any_address() {
        let mut record = LockRecord::read_from_bytes(&[0u8; size_of::<LockRecord>()]).unwrap();
        record.header.kind = kind::LOCK;
        record.header.len = size_of::<LockRecord>() as u32;
        for shift in 0..8 {
            let mut bytes = vec![0; shift];
            bytes.extend_from_slice(record.as_bytes());
            assert!(decode(&bytes[shift..]).is_ok(), "shifted by {shift}");
        }
    }

    #[test]
    fn a_stack_longer_than_its_record_is_refused() {
        let mut record = LockRecord::read_from_bytes(&[0u8; size_of::<LockRecord>()]).unwrap();
        record.header.kind = kind::LOCK;
        record.header.len = size_of::<LockRecord>() as u32;
        record.stack_len = 1025;
        assert_eq!(decode(record.as_bytes()), Err(Malformed::Value));
        record.stack_len = 1024;
        assert!(
            matches!(decode(record.as_bytes()), Ok(Observation::Lock(l)) if l.stack.len() == 1024)
        );
    }
}
