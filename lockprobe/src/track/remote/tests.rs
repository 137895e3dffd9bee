//! Stories: steps of clients, and the picture of what comes of them.

use std::fmt::Write as _;

use super::*;
use crate::framing::{lock, owner};
use crate::model::{LockKind, Owner};
use crate::track::wait_for;

const MS: u64 = 1_000_000;

fn said(words: &str) -> Option<Said> {
    Some(Said { owner: Some(owner(words.as_bytes())), words: None })
}

/// A step of a thread of process 10·n, all in milliseconds: "time tid owner act [lease]".
fn step(line: &str) -> RemoteStep {
    let words: Vec<&str> = line.split_whitespace().collect();
    let tid: u32 = words[1].parse().unwrap();
    let thread =
        Thread { id: ThreadId { pid: tid / 10 * 10, tid }, ns_tid: tid, ..Thread::default() };
    let nonce = (words[2] != "-").then(|| owner(words[2].as_bytes()));
    let lease = words.get(4).and_then(|n| n.parse::<u64>().ok()).map(|n| n * MS);
    let mode = if words.contains(&"shared") { Mode::Shared } else { Mode::Exclusive };
    let act = match words[3] {
        "asks" => RemoteAct::Asked { mode, lease, queued: false },
        "queues" => RemoteAct::Asked { mode, lease, queued: true },
        "refused" => RemoteAct::Refused { holder: words.get(4).and_then(|w| said(w)), ahead: None },
        "acquires" => RemoteAct::Acquired { mode, lease, fence: None },
        "gives_up" => RemoteAct::Ended { error: "gave_up", holder: None },
        "times_out" => RemoteAct::Ended { error: "timeout", holder: None },
        "renews" => RemoteAct::Renewed { lease },
        "releases" => RemoteAct::Released,
        "late" => RemoteAct::ReleaseRefused,
        "removes" => RemoteAct::Removed,
        "lost" => RemoteAct::Lost { why: "session_expired" },
        "disconnects" => RemoteAct::Disconnected,
        other => panic!("{other}"),
    };
    let address = "redis://127.0.0.1:6379/0/l".to_owned();
    RemoteStep {
        time: words[0].parse::<u64>().unwrap() * MS,
        thread,
        lock: lock(LockKind::RedisLock, address, "l", true),
        connection: u64::from(tid),
        server: ([127, 0, 0, 1], 6379).into(),
        owner: nonce,
        act,
    }
}

#[derive(Default)]
struct World {
    locks: RemoteLocks,
    table: LockTable,
    out: Outcomes,
}

impl World {
    fn after(text: &str) -> Self {
        let mut world = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let time = words[0].parse::<u64>().unwrap() * MS;
            let Self { locks, table, out } = &mut world;
            match words[1..] {
                ["tick"] => locks.tick(time, table, out),
                ["exit", pid] => locks.process_gone(pid.parse().unwrap(), time, table, out),
                ["end"] => locks.finish(time, table, out),
                _ => locks.apply(step(line), table, out),
            }
        }
        world
    }

    /// Spans as "who what from-to how", then notices.
    fn picture(&self) -> String {
        let mut text = String::new();
        let ms = |time: u64| time / MS;
        for span in &self.out.spans {
            match span {
                Span::Acquire(s) => {
                    let holder = s.holder.as_ref().map(|h| match h.source {
                        HolderSource::Server => "the server says".to_owned(),
                        _ => h.id.tid.to_string(),
                    });
                    let holder = holder.map(|h| format!(" for {h}")).unwrap_or_default();
                    let from = s.handed_over_by.as_ref().map(|h| format!(" from {}", h.id.tid));
                    let error = s.error.map(|e| format!(" {e}")).unwrap_or_default();
                    writeln!(
                        text,
                        "{} {}{error} {}-{} x{}{holder}{}",
                        s.thread.id.tid,
                        s.outcome.name(),
                        ms(s.start),
                        ms(s.end),
                        s.sleeps,
                        from.unwrap_or_default(),
                    )
                    .unwrap();
                }
                Span::Hold(s) => {
                    let (start, end) = (ms(s.start), ms(s.end));
                    writeln!(text, "{} held {start}-{end} {}", s.holder.id.tid, s.ended.name())
                        .unwrap();
                }
            }
        }
        for notice in self.out.notices.iter().filter(|n| n.what != NoticeKind::Over) {
            let tid = notice.hold.thread.id.tid;
            writeln!(text, "! {:?} of {tid} at {}", notice.what, ms(notice.time)).unwrap();
        }
        text
    }
}

fn check(story: &str, picture: &str) {
    let expected: String = picture.lines().map(|l| format!("{}\n", l.trim())).collect();
    assert_eq!(World::after(story).picture(), expected.trim_start(), "{story}");
}

#[test]
fn a_poller_waits_from_its_first_request_to_the_answer_that_grants() {
    check(
        "0 10 a asks 5000
         1 10 a acquires 5000
         100 20 b asks 5000
         101 20 b refused
         200 20 b asks 5000
         201 20 b refused
         250 10 a releases
         300 20 b asks 5000
         301 20 b acquires 5000
         400 20 b releases",
        "10 acquired 0-1 x1
         10 held 1-250 released
         20 acquired 100-301 x3 for 10 from 10
         20 held 301-400 released",
    );
}

#[test]
fn two_threads_of_a_process_are_two_attempts_and_new_nonces_are_one() {
    check(
        "0 10 a acquires 9000
         10 21 b asks
         11 21 b refused
         12 22 c asks
         13 22 c refused
         110 21 b asks
         111 21 b refused
         112 22 c asks
         113 22 c refused
         200 10 a releases
         210 21 b asks
         211 21 b acquires
         300 21 b releases
         312 22 c asks
         313 22 c acquires",
        "10 acquired 0-0 x1
         10 held 0-200 released
         21 acquired 10-211 x3 for 10 from 10
         21 held 211-300 released
         22 acquired 12-313 x3 for 10 from 21
         ! Immortal of 21 at 211
         ! Immortal of 22 at 313",
    );
    // A new nonce from a new thread each time, the old one given up.
    check(
        "0 10 a acquires 9000
         10 21 b asks 100
         11 21 b refused
         12 21 b gives_up
         60 22 c asks 100
         61 22 c refused
         62 22 c gives_up
         120 10 a releases
         130 23 d asks 100
         131 23 d acquires 100",
        "10 acquired 0-0 x1
         10 held 0-120 released
         21 acquired 10-131 x3 for 10 from 10",
    );
}

#[test]
fn silence_ends_an_attempt_where_it_was_last_heard_of() {
    check(
        "0 10 a acquires 90000
         100 20 b asks
         101 20 b refused
         1500 tick
         2102 tick
         3000 30 c asks
         3001 30 c refused
         3100 30 c asks
         3101 30 c refused
         5000 tick
         5102 tick
         6000 40 d asks
         6001 40 d refused
         6002 40 d times_out",
        "10 acquired 0-0 x1
         20 refused 100-101 x1 for 10
         30 abandoned gave_up 3000-3101 x2 for 10
         40 abandoned timeout 6000-6002 x1 for 10",
    );
}

#[test]
fn a_lease_that_ends_while_its_holder_goes_on_is_noticed() {
    check(
        "0 10 a asks 500
         1 10 a acquires 500
         400 10 a renews 500
         899 tick
         901 tick
         950 20 b asks 500
         951 20 b acquires 500
         1000 10 a late
         1100 20 b releases",
        "10 acquired 0-1 x1
         10 held 1-900 expired
         20 acquired 950-951 x1
         20 held 951-1100 released
         ! Overrun of 10 at 900",
    );
    // The holder comes back too late, and nobody else had come.
    check(
        "0 10 a acquires 500
         700 10 a late",
        "10 acquired 0-0 x1
         10 held 0-500 expired
         ! LateRelease of 10 at 700",
    );
}

#[test]
fn two_holders_at_a_time_are_noticed_and_readers_are_not() {
    check(
        "0 10 a acquires 5000
         100 20 b acquires 5000",
        "10 acquired 0-0 x1
         10 held 0-100 revoked
         20 acquired 100-100 x1
         ! Overlap of 10 at 100",
    );
    check(
        "0 10 a acquires 5000 shared
         100 20 b acquires 5000 shared
         200 10 a releases",
        "10 acquired 0-0 x1
         20 acquired 100-100 x1
         10 held 0-200 released",
    );
}

#[test]
fn a_dead_holder_leaves_the_lock_until_its_lease_ends() {
    check(
        "0 10 a acquires 500
         100 exit 10
         200 20 b asks 500
         201 20 b refused
         499 tick
         501 tick
         550 20 b asks 500
         551 20 b acquires 500",
        "10 acquired 0-0 x1
         10 held 0-500 orphaned
         20 acquired 200-551 x2 for 10 from 10
         ! Orphaned of 10 at 100",
    );
}

#[test]
fn what_a_session_locks_ends_with_its_process() {
    let mut world = World::default();
    let World { locks, table, out } = &mut world;
    for (line, kind) in [
        ("0 10 a acquires", LockKind::PostgresAdvisory),
        ("0 10 a acquires", LockKind::MysqlUser),
        ("0 10 a acquires 900", LockKind::EtcdLock),
    ] {
        let mut step = step(line);
        step.lock = lock(kind, format!("{kind:?}"), "m", true);
        locks.apply(step.clone(), table, out);
    }
    locks.process_gone(10, 100 * MS, table, out);
    let orphans: Vec<LockKind> = out.notices.iter().map(|notice| notice.hold.lock.kind).collect();
    assert_eq!(orphans, [LockKind::EtcdLock]);
}

#[test]
fn who_was_refused_and_leaves_did_not_wait() {
    check(
        "0 10 a acquires 5000
         100 20 b asks 500
         101 20 b refused
         110 exit 20
         200 30 c asks 500
         250 exit 30
         900 10 a releases",
        "10 acquired 0-0 x1
         20 refused 100-101 x1 for 10
         30 abandoned thread_exit 200-250 x1 for 10
         10 held 0-900 released",
    );
}

#[test]
fn connections_sessions_and_others_end_holds() {
    check(
        "0 10 - acquires
         50 10 - disconnects
         100 20 s acquires 900
         200 20 s lost
         300 30 t acquires 900
         400 40 - removes
         500 50 u acquires 900
         600 50 - removes",
        "10 acquired 0-0 x1
         10 held 0-50 connection_closed
         20 acquired 100-100 x1
         20 held 100-200 expired
         30 acquired 300-300 x1
         30 held 300-400 revoked
         50 acquired 500-500 x1
         50 held 500-600 released
         ! Immortal of 10 at 0
         ! Lost of 20 at 200
         ! Removed of 30 at 400",
    );
}

#[test]
fn what_the_server_says_of_the_holder_is_said() {
    check(
        "0 20 b asks 500
         1 20 b refused zzz
         2 end",
        "20 waiting 0-2 x1 for the server says",
    );
    // And is known better where the holder is of this host.
    check(
        "0 10 a acquires 5000
         10 20 b queues
         11 20 b refused a
         5000 20 b acquires
         6000 20 b releases",
        "10 acquired 0-0 x1
         10 held 0-5000 expired
         20 acquired 10-5000 x1 for 10
         20 held 5000-6000 released
         ! Immortal of 20 at 5000",
    );
}

#[test]
fn a_circle_through_two_servers_locks_is_in_the_graph() {
    let mut world = World::after("0 10 a acquires 90000");
    let other = |line: &str| {
        let mut step = step(line);
        step.lock = lock(LockKind::EtcdLock, "etcd://1/m".into(), "m", true);
        step
    };
    let World { locks, table, out } = &mut world;
    locks.apply(other("1 20 b acquires 90000"), table, out);
    locks.apply(step("2 20 c asks"), table, out);
    locks.apply(step("3 20 c refused"), table, out);
    assert!(wait_for::cycles(table).is_empty());
    locks.apply(other("4 10 d queues"), table, out);
    let id = |tid| ThreadId { pid: tid, tid };
    assert_eq!(wait_for::cycles(table), [[id(10), id(20)]]);
    locks.apply(other("5 20 b releases"), table, out);
    assert!(wait_for::cycles(table).is_empty());
}

#[test]
fn the_same_nonce_twice_is_one_hold() {
    let granted = |time| format!("{time} 10 a acquires 500\n");
    let world = World::after(&(granted(0) + &granted(100) + "550 tick"));
    assert_eq!(world.picture(), "10 acquired 0-0 x1\n");
    let holds: Vec<Option<Owner>> = world.locks.holds().map(|hold| hold.owner).collect();
    assert_eq!(holds, [Some(owner(b"a"))]);
}
