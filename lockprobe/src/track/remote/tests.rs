//! Stories: steps of clients, and the picture of what comes of them.

use std::fmt::Write as _;

use super::*;
use crate::framing::{lock, owner};
use crate::model::{LockKind, Owner, ThreadId, TraceContext};
use crate::track::threads::ThreadCounts;
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
        "traced" => RemoteAct::Traced(TraceContext {
            trace: 5,
            span: words[4].parse().unwrap(),
            sampled: true,
        }),
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
fn who_watches_and_asks_again_with_another_nonce_waits_once() {
    check(
        "0 10 a acquires 90000
         10 20 b asks 5000
         11 20 b refused
         12 20 b queues 5000
         9000 tick
         9100 10 a releases
         9105 20 b gives_up
         9105 20 c asks 5000
         9106 20 c acquires 5000",
        "10 acquired 0-0 x1
         10 held 0-9100 released
         20 acquired 10-9106 x3 for 10 from 10",
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
         ! Overrun of 10 at 500
         ! LateRelease of 10 at 700",
    );
}

#[test]
fn two_holders_at_a_time_are_noticed_and_readers_are_not() {
    check(
        "0 10 a acquires 5000
         100 20 b acquires 5000
         700 tick
         720 tick",
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
fn the_next_one_may_hear_of_its_turn_before_the_last_one_hears_that_it_is_over() {
    let handed = |last: &str| {
        let story = format!(
            "0 10 a acquires 5000
             10 20 b queues 5000
             100 20 b acquires 5000
             101 {last}
             900 tick
             950 20 b releases"
        );
        let picture = World::after(&story).picture();
        picture.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = |end: &str| {
        [
            "10 acquired 0-0 x1",
            &format!("10 held 0-100 {end}"),
            "20 acquired 10-100 x1 for 10 from 10",
            "20 held 100-950 released",
        ]
        .map(str::to_owned)
    };
    assert_eq!(handed("10 a releases"), expected("released"));
    assert_eq!(handed("10 - removes"), expected("released"));
    assert_eq!(handed("10 - disconnects"), expected("connection_closed"));
    // A renewal says nothing: its answer may be late as well.
    check(
        "0 10 a acquires 5000
         100 20 b acquires 5000
         101 10 a renews 5000
         102 10 a releases
         103 end",
        "10 acquired 0-0 x1
         10 held 0-100 released
         20 acquired 100-100 x1
         20 held 100-103 unknown",
    );
    // What nobody knows by the end is not said.
    check(
        "0 10 a acquires 5000
         100 20 b acquires 5000
         200 end",
        "10 acquired 0-0 x1
         10 held 0-100 unknown
         20 acquired 100-100 x1
         20 held 100-200 unknown",
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
fn who_ends_waits_no_more() {
    check(
        "0 10 a acquires 90000
         1 20 b asks
         2 20 b refused
         3 30 c asks
         4 30 c refused
         5 30 c asks
         6 30 c refused
         7 40 d queues
         8 exit 20
         9 exit 30
         10 exit 40
         11 50 e queues
         12 50 e gives_up
         20 exit 50",
        "10 acquired 0-0 x1
         20 refused 1-2 x1 for 10
         30 abandoned thread_exit 3-9 x2 for 10
         40 abandoned thread_exit 7-10 x1 for 10
         50 abandoned gave_up 11-12 x1 for 10",
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
         ! Overrun of 10 at 5000
         ! Immortal of 20 at 5000",
    );
}

/// Nine that ask at these times beside a release at 1000 ms, and what is noticed.
fn nine_ask(each: impl Fn(u32) -> Vec<u64>) -> Vec<String> {
    let mut lines = vec![(0, "0 10 a acquires 90000".to_owned())];
    for n in 2..11 {
        for time in each(n) {
            lines.push((time, format!("{time} {n}0 n{n} asks 5000")));
            lines.push((time, format!("{time} {n}0 n{n} refused")));
        }
    }
    lines.push((1000, "1000 10 a releases".to_owned()));
    lines.push((1200, "1200 tick".to_owned()));
    lines.sort_by_key(|(time, _)| *time);
    let story: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    let picture = World::after(&story.join("\n")).picture();
    picture.lines().filter(|line| line.contains("Herd")).map(str::to_owned).collect()
}

#[test]
fn many_that_ask_when_a_lock_is_let_go_are_a_herd_and_pollers_are_not() {
    let woken = nine_ask(|n| vec![100, 1001 + u64::from(n)]);
    assert_eq!(woken, ["! Herd(9) of 10 at 1000"]);
    let pollers = nine_ask(|n| (0..28).map(|k| 40 * k + u64::from(n)).collect());
    assert!(pollers.is_empty(), "{pollers:?}");
    let few = nine_ask(|n| if n < 9 { vec![1001 + u64::from(n)] } else { Vec::new() });
    assert!(few.is_empty(), "{few:?}");
    let late = nine_ask(|n| vec![1040 + 5 * u64::from(n)]);
    assert!(late.is_empty(), "{late:?}");
}

#[test]
fn a_herd_is_told_of_once_in_a_while() {
    let herd = |time: u64| {
        let mut story =
            format!("{time} 10 a{time} acquires 900\n{} 10 a{time} releases\n", time + 50);
        for n in 2..11 {
            let at = time + 51 + n;
            story += &format!("{at} {n}0 n{n} asks\n{at} {n}0 n{n} refused\n");
        }
        story + &format!("{} tick\n", time + 300)
    };
    let story = herd(0) + &herd(1000) + &herd(9900) + &herd(10_500);
    let picture = World::after(&story).picture();
    let told: Vec<&str> = picture.lines().filter(|line| line.contains("Herd")).collect();
    assert_eq!(told, ["! Herd(9) of 10 at 50", "! Herd(9) of 10 at 10550"]);
}

#[test]
fn who_renews_regularly_is_overdue_after_two_renewals_that_were_missed() {
    let renewals = |upto: u64| {
        let mut story = "0 10 a acquires 900\n".to_owned();
        for time in (1..=upto).map(|n| n * 300) {
            story += &format!("{time} 10 a renews 900\n");
        }
        World::after(&story)
    };
    let overdue = |world: &World, ms: u64| world.locks.overdue(ms * MS).count();
    let world = renewals(3);
    assert_eq!([1200, 1500, 1501].map(|ms| overdue(&world, ms)), [0, 0, 1]);
    // Its lease is over: it is stale.
    assert_eq!(overdue(&world, 1800), 0);
    // Once is no habit.
    assert_eq!(overdue(&renewals(1), 1000), 0);
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
    assert!(wait_for::cycles(table, &ThreadCounts::default()).is_empty());
    locks.apply(other("4 10 d queues"), table, out);
    let id = |tid| ThreadId { pid: tid, tid };
    assert_eq!(wait_for::cycles(table, &ThreadCounts::default()), [[id(10), id(20)]]);
    locks.apply(other("5 20 b releases"), table, out);
    assert!(wait_for::cycles(table, &ThreadCounts::default()).is_empty());
}

#[test]
fn the_same_nonce_twice_is_one_hold() {
    let granted = |time| format!("{time} 10 a acquires 500\n");
    let world = World::after(&(granted(0) + &granted(100) + "550 tick"));
    assert_eq!(world.picture(), "10 acquired 0-0 x1\n");
    let holds: Vec<Option<Owner>> = world.locks.holds().map(|hold| hold.owner).collect();
    assert_eq!(holds, [Some(owner(b"a"))]);
}

#[test]
fn readers_wait_for_one_another_only_behind_a_writer() {
    check(
        "0 10 a asks 5000 shared
         1 10 a acquires 5000 shared
         100 20 b queues 5000 shared
         101 20 b acquires 5000 shared
         102 20 b releases
         200 30 c queues 5000 shared
         201 30 c refused
         300 10 a releases
         301 30 c acquires 5000 shared
         302 30 c releases",
        "10 acquired 0-1 x1
         20 acquired 100-101 x1
         20 held 101-102 released
         10 held 1-300 released
         30 acquired 200-301 x1 for 10 from 10
         30 held 301-302 released",
    );
}

#[test]
fn words_that_others_use_too_are_no_nonce() {
    check(
        "0 10 locked asks 5000
         1 10 locked acquires 5000
         100 20 locked asks 5000
         101 20 locked refused
         200 10 locked releases
         201 20 locked asks 5000
         202 20 locked acquires 5000
         300 20 locked releases",
        "10 acquired 0-1 x1
         10 held 1-200 released
         20 acquired 100-202 x2 for 10 from 10
         20 held 202-300 released",
    );
}

#[test]
fn a_process_that_ends_had_given_up_before_and_leaves_nothing_it_has_not() {
    check(
        "0 10 a asks 1000
         1 10 a acquires 1000
         100 20 b asks 1000
         101 20 b refused
         400 exit 20
         1100 tick
         2000 exit 10",
        "10 acquired 0-1 x1
         20 refused 100-101 x1 for 10
         10 held 1-1001 expired
         ! Overrun of 10 at 1001",
    );
}

#[test]
fn a_process_that_ends_had_given_up_if_it_had_asked_no_more() {
    check(
        "0 10 a acquires 90000
         100 20 b asks
         101 20 b refused
         500 exit 20
         600 30 c asks
         601 30 c refused
         650 30 c asks
         651 30 c refused
         900 exit 30
         1000 40 d asks
         1001 40 d refused
         1050 40 d asks
         1051 40 d refused
         1090 exit 40
         1100 50 e asks
         1200 exit 50",
        "10 acquired 0-0 x1
         20 refused 100-101 x1 for 10
         30 abandoned gave_up 600-651 x2 for 10
         40 abandoned thread_exit 1000-1090 x2 for 10
         50 abandoned thread_exit 1100-1200 x1 for 10",
    );
}

#[test]
fn spans_have_the_trace_that_their_request_told() {
    let world = World::after(
        "1 11 a asks 500
         1 11 a traced 77
         2 11 a acquires 500
         3 21 b asks 500
         3 21 b refused
         9 11 a releases
         10 21 b asks 500
         11 21 b acquires 500
         12 21 b releases",
    );
    let context = |span: &Span| {
        let remote = match span {
            Span::Acquire(span) => span.remote.clone(),
            Span::Hold(span) => span.remote.clone(),
        };
        remote.and_then(|remote| remote.context).map(|context| context.span)
    };
    let contexts: Vec<_> = world.out.spans.iter().map(context).collect();
    // Attempt and hold of the first, then those of the other, which told none.
    assert_eq!(contexts, [Some(77), Some(77), None, None]);
}
