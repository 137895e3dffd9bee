//! Commands, one by one.

use core::net::SocketAddr;

use super::super::Redis;
use super::{expect, filled, told, told_by};
use crate::framing::Backend as _;
use crate::framing::Rules;
use crate::framing::play::picture;
use crate::model::{Connection, Dialect, Piece, Thread};

#[test]
fn options_come_in_any_order_and_case() {
    for command in [
        "SET lock:a $A NX PX 2000",
        "set lock:a $A px 2000 nx",
        "SET lock:a $A EX 2 NX",
        "SeT lock:a $A nX eX 2",
    ] {
        let story = format!("1 c >! {command}\n2 c < +OK");
        expect(
            &told(&filled(&story)),
            "1 10 asked exclusive 2000ms lock:a owner=A
             2 10 acquired exclusive 2000ms lock:a owner=A",
        );
    }
}

#[test]
fn with_get_nothing_is_success_and_the_token_is_the_holder() {
    let story = "1 c >! SET lock:a $A NX GET PX 2000
        2 c < $-1
        3 d@11 >! SET lock:a $B NX GET PX 2000
        4 d < \"$32\\r\\n$A\\r\\n\"
        5 d >! SET lock:a $B NX GET
        6 d < null";
    expect(
        &told(&filled(story)),
        "1 10 asked exclusive 2000ms lock:a owner=A
         2 10 acquired exclusive 2000ms lock:a owner=A
         3 11 asked exclusive 2000ms lock:a owner=B
         4 11 refused by=A lock:a owner=B
         5 11 asked exclusive ever lock:a owner=B
         6 11 acquired exclusive ever lock:a owner=B",
    );
}

#[test]
fn setnx_with_a_deadline_is_a_lock_once_its_holder_deletes_it() {
    let story = "1 c >! SETNX lock:a 1
        2 c < :1
        3 c >! EXPIRE lock:a 10
        4 c < :1
        5 d@11 >! SETNX lock:a 1
        6 d < :0
        7 c >! DEL lock:a
        8 c < :1
        9 d >! SETNX lock:a 1
        10 d < :1
        11 c >! DEL lock:a
        12 c < :1";
    expect(
        &told(story),
        "1 10 asked exclusive ever lock:a
         2 10 acquired exclusive ever lock:a
         4 10 renewed 10000ms lock:a
         5 11 asked exclusive ever lock:a
         6 11 refused lock:a
         8 10 released lock:a
         9 11 asked exclusive ever lock:a
         10 11 acquired exclusive ever lock:a
         12 10 removed lock:a",
    );
}

#[test]
fn new_commands_compare_without_scripts() {
    let story = "1 c >! SET job $A NX PX 2000
        2 c < +OK
        3 c >! SET job $A IFEQ $A PX 5000
        4 c < +OK
        5 c >! DELEX job IFEQ $A
        6 c < :1
        7 c >! SET job $A NX PX 2000
        8 c < +OK
        9 c >! DELIFEQ job $A
        10 c < :0";
    expect(
        &told(&filled(story)),
        "1 10 asked exclusive 2000ms job owner=A
         2 10 acquired exclusive 2000ms job owner=A
         4 10 renewed 5000ms job owner=A
         6 10 released job owner=A
         7 10 asked exclusive 2000ms job owner=A
         8 10 acquired exclusive 2000ms job owner=A
         10 10 release_refused job owner=A",
    );
}

#[test]
fn errors_of_the_server_are_no_refusals() {
    let story = "1 c >! SET lock:a $A NX PX 2000
        2 c < -READONLY_You_can't_write_against_a_read_only_replica.
        3 c >! SET lock:a $A NX PX 2000
        4 c < -LOADING_Redis_is_loading_the_dataset_in_memory";
    expect(
        &told(&filled(story)),
        "1 10 asked exclusive 2000ms lock:a owner=A
         2 10 ended refused lock:a owner=A
         3 10 asked exclusive 2000ms lock:a owner=A
         4 10 ended refused lock:a owner=A",
    );
}

#[test]
fn a_key_of_a_cluster_is_one_lock_wherever_it_is() {
    let story = "1 c >! SET lock:a $A NX PX 2000
        2 c < -MOVED_11171_127.0.0.1:17022
        3 d=127.0.0.1:17022 >! SET lock:a $A NX PX 2000
        4 d < +OK
        5 e@11=127.0.0.1:17022 >! SET lock:a $B NX PX 2000
        6 e < $-1
        7 c >! DELIFEQ lock:a $A
        8 c < -ASK_11171_127.0.0.1:17022
        9 d >! DELIFEQ lock:a $A
        10 d < :1";
    expect(
        &told(&filled(story)),
        "3 10 asked exclusive 2000ms redis-cluster://127.0.0.1:6379/lock:a owner=A
         4 10 acquired exclusive 2000ms redis-cluster://127.0.0.1:6379/lock:a owner=A
         5 11 asked exclusive 2000ms redis-cluster://127.0.0.1:6379/lock:a owner=B
         6 11 refused redis-cluster://127.0.0.1:6379/lock:a owner=B
         10 10 released redis-cluster://127.0.0.1:6379/lock:a owner=A",
    );
}

#[test]
fn a_majority_has_the_lock_and_a_minority_has_not() {
    let story = "1 a >! SET lock:x $A NX PX 2000
        1 b=10.0.0.2:6379 >! SET lock:x $A NX PX 2000
        1 c=10.0.0.3:6379 >! SET lock:x $A NX PX 2000
        2 a < +OK
        3 b < $-1
        4 c < $-1
        5 a >! DELIFEQ lock:x $A
        6 a < :1
        100 a >! SET lock:x $B NX PX 2000
        101 a < $-1
        102 b >! SET lock:x $B NX PX 2000
        103 b < +OK
        104 c >! SET lock:x $B NX PX 2000
        105 c < +OK
        110 a >! DELIFEQ lock:x $B
        111 a < :0
        112 b >! DELIFEQ lock:x $B
        113 b < :1
        114 c >! DELIFEQ lock:x $B
        115 c < :1";
    expect(
        &told(&filled(story)).replace("redlock://10.0.0.2:6379,10.0.0.3:6379,127.0.0.1:6379/", ""),
        "1 10 asked exclusive 2000ms lock:x owner=A
         4 10 refused lock:x owner=A
         5 10 ended gave_up lock:x owner=A
         100 10 asked exclusive 2000ms lock:x owner=B
         105 10 acquired exclusive 2000ms lock:x owner=B
         113 10 released lock:x owner=B",
    );
}

#[test]
fn settings_name_locks_and_others() {
    let story = filled(
        "1 c >! SET busy:1 1 NX EX 60
        2 c < +OK
        3 c >! SET lock:a $A NX PX 2000
        4 c < +OK
        5 c >! DEL busy:1
        6 c < :1",
    );
    let rules = Rules {
        lock_patterns: vec!["busy:*".into()],
        ignore_patterns: vec!["LOCK".into()],
        ..Rules::default()
    };
    let said = told_by(&mut Redis::new(rules.clone()), &story);
    expect(
        &said,
        "1 10 asked exclusive 60000ms busy:1
         2 10 acquired exclusive 60000ms busy:1
         6 10 released busy:1",
    );
    let said = told_by(&mut Redis::new(Rules { plain_del_is_release: false, ..rules }), &story);
    expect(&said, "");
    let rules = Rules { cooldown_patterns: vec!["throttle".into()], ..Rules::default() };
    assert!(rules.is_cooldown(b"app:Throttle:7") && !rules.is_cooldown(b"throttled"));
}

#[test]
fn what_is_undecided_is_told_when_it_is_confirmed() {
    let taken = "1 c >! SET invoice:42 $A NX PX 2000
        2 c < +OK
        3 d@11 >! SET invoice:42 $B NX PX 2000
        4 d < $-1";
    expect(&told(&filled(taken)), "");
    let story = format!(
        "{taken}
        5 c >! DELIFEQ invoice:42 $A
        6 c < :1
        7 d >! SET invoice:43 $B NX PX 2000
        8 d < +OK"
    );
    expect(
        &told(&filled(&story)),
        "1 10 asked exclusive 2000ms invoice:42 owner=A
         2 10 acquired exclusive 2000ms invoice:42 owner=A
         3 11 asked exclusive 2000ms invoice:42 owner=B
         4 11 refused invoice:42 owner=B
         6 10 released invoice:42 owner=A
         7 11 asked exclusive 2000ms invoice:43 owner=B
         8 11 acquired exclusive 2000ms invoice:43 owner=B",
    );
}

#[test]
fn servers_may_be_connected_to_one_after_the_other() {
    let mut redis = Redis::default();
    let (mut steps, mut time) = (Vec::new(), 0);
    for id in 1..=3u64 {
        let server: SocketAddr = ([10, 0, 0, id as u8], 6379).into();
        let (client, dialect) = (([10, 0, 0, 9], 40_000).into(), Dialect::Redis);
        let connection =
            Connection { id, pid: 0, dialect, client, server, namespace: 1, joined: false };
        redis.opened(&connection);
        let request =
            b"*4\r\n$3\r\nSET\r\n$6\r\nlock:a\r\n$17\r\n0123456789abcdefg\r\n$2\r\nNX\r\n";
        for (sent, bytes) in [(true, &request[..]), (false, b"+OK\r\n")] {
            time += 5_000_000;
            let piece =
                Piece { time, thread: Thread::default(), sent, bytes, missing: 0, settled: sent };
            redis.piece(&connection, &piece, &mut steps);
            redis.tick(time, &mut steps);
        }
    }
    redis.tick(100_000_000, &mut steps);
    let said = picture(&steps);
    let masters = "redlock://10.0.0.1:6379,10.0.0.2:6379,10.0.0.3:6379/lock:a";
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with(&format!("5 0 asked exclusive ever {masters}")), "{said}");
    assert!(lines[1].starts_with(&format!("20 0 acquired exclusive ever {masters}")), "{said}");
}
