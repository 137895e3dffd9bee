//! Scripts: by table, by text, by their arguments.

use super::super::lua;
use super::super::meaning::Way;
use super::super::scripts::{Scripts, What, sha};
use super::{expect, filled, told};

/// Texts of libraries in the table, and what the table says of them.
const TEXTS: &[(&str, What, usize, Option<usize>)] = &[
    // pottery 3.0.1 and many others, word for word.
    (
        "if redis.call('get', KEYS[1]) == ARGV[1] then\n return redis.call('del', KEYS[1])\nelse\n return 0\nend",
        What::Release,
        1,
        None,
    ),
    // redis-semaphore 5.8.0: variables.
    (
        "local key = KEYS[1]\n local identifier = ARGV[1]\n if redis.call('get', key) == identifier then\n return redis.call('del', key)\n end\n return 0",
        What::Release,
        1,
        None,
    ),
    (
        "local key = KEYS[1]\n local identifier = ARGV[1]\n local lockTimeout = ARGV[2]\n local value = redis.call('get', key)\n if value == identifier then\n redis.call('pexpire', key, lockTimeout)\n return 1\n end\n return 0",
        What::Renew,
        1,
        Some(2),
    ),
    // redis-py 8.1.0.
    (
        "local token = redis.call('get', KEYS[1])\n if not token or token ~= ARGV[1] then\n return 0\n end\n redis.call('pexpire', KEYS[1], ARGV[2])\n return 1",
        What::Renew,
        1,
        Some(2),
    ),
    // python-redis-lock 4.0.1: 0 is success.
    (
        "if redis.call(\"get\", KEYS[1]) ~= ARGV[1] then\n return 1\n else\n redis.call(\"del\", KEYS[2])\n redis.call(\"lpush\", KEYS[2], 1)\n redis.call(\"pexpire\", KEYS[2], ARGV[2])\n redis.call(\"del\", KEYS[1])\n return 0\n end",
        What::Release,
        1,
        None,
    ),
    // redis-semaphore 5.8.0: places.
    (
        "local key = KEYS[1]\n local limit = tonumber(ARGV[1])\n local identifier = ARGV[2]\n local lockTimeout = tonumber(ARGV[3])\n local now = tonumber(ARGV[4])\n redis.call('zremrangebyscore', key, '-inf', now - lockTimeout)\n if redis.call('zcard', key) < limit then\n redis.call('zadd', key, now, identifier)\n redis.call('pexpire', key, lockTimeout)\n return 1\n else\n return 0\n end",
        What::Take,
        2,
        Some(3),
    ),
    (
        "if redis.call('setnx', KEYS[1], ARGV[1]) == 1 then redis.call('pexpire', KEYS[1], ARGV[2]) return 1 else return 0 end",
        What::Take,
        1,
        Some(2),
    ),
];

#[test]
fn texts_tell_what_scripts_do() {
    for (text, what, token, lease) in TEXTS {
        let rule = lua::rule(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((rule.what, rule.token), (*what, Some((*token, false))), "{text}");
        if *what != What::Release {
            assert_eq!(rule.lease.map(|(at, _)| at), *lease, "{text}");
        }
    }
}

#[test]
fn other_scripts_are_none_of_locks() {
    for text in [
        // Rate limiters, counters, caches, queues.
        "local c = redis.call('incr', KEYS[1]) if c == 1 then redis.call('expire', KEYS[1], ARGV[1]) end return c",
        "local v = redis.call('get', KEYS[1]) if v then return v end redis.call('set', KEYS[1], ARGV[1]) return ARGV[1]",
        "return redis.call('del', unpack(KEYS))",
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pttl', KEYS[1]) else return 0 end",
        "local n = tonumber(redis.call('get', KEYS[1]) or '0') if n + 1 > tonumber(ARGV[1]) then return 0 end redis.call('incr', KEYS[1]) return 1",
        "redis.call('lpush', KEYS[1], ARGV[1]) redis.call('ltrim', KEYS[1], 0, 99)",
        "",
        "\u{e9}",
    ] {
        assert!(lua::rule(text.as_bytes()).is_none(), "{text}");
    }
}

#[test]
fn every_line_of_the_table_makes_sense() {
    let mut scripts = Scripts::default();
    let table = include_str!("../scripts.tsv");
    assert_eq!(scripts.add(table), Vec::<String>::new());
    assert_eq!(scripts.add("c3f8\tx"), ["c3f8\tx"]);
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let digits = line.split('\t').next().unwrap_or_default();
        let rule = sha(digits.as_bytes()).and_then(|sha| scripts.of(&sha)).flatten();
        assert!(rule.is_some_and(|rule| rule.listed), "{line}");
    }
    // The table knows a script by its text as well: that of redlock-py.
    let text = b"\n    if redis.call(\"get\",KEYS[1]) == ARGV[1] then\n        return redis.call(\"del\",KEYS[1])\n    else\n        return 0\n    end";
    let rule = scripts.learn(text);
    assert!(rule.is_some_and(|rule| rule.listed && rule.what == What::Release));
    assert_ne!(Way::Sure, Way::Learnt);
}

#[test]
fn redisson_has_a_lock_when_the_answer_is_nothing() {
    let take = "EVALSHA 149c5a8bf18676fd99e9e6e24923bd64d9b62f94 1 order 30000";
    let free = "EVALSHA 6866459238a13a701d42f4971f12d9f3a50e2442 3 order ch latch 0 30000";
    let renew = "EVALSHA 6a3d31570dc6f4b0bd32bcdc8e75667747c6f635 2 order other 30000";
    let story = format!(
        "1 c >! {take} $A:1
        2 c < $-1
        3 d@11 >! {take} $B:7
        4 d < :29998
        5 e@11 >! SUBSCRIBE redisson_lock__channel:{{order}}
        6 e < *3 $9 subscribe $31 redisson-lock--channel:{{order}} :1
        7 c >! {take} $A:1
        8 c < $-1
        9 c >! {renew} $A:1 $A:2
        10 c < *2 :1 :0
        11 c >! {free} $A:1 PUBLISH 5000
        12 c < :0
        13 c >! {free} $A:1 PUBLISH 5000
        14 c < :1
        15 d >! {take} $B:7
        16 d < $-1
        17 d >! {free} $B:8 PUBLISH 5000
        18 d < $-1"
    );
    expect(
        &told(&filled(&story)),
        "1 10 asked exclusive 30000ms order owner=A
         2 10 acquired exclusive 30000ms order owner=A
         3 11 asked exclusive 30000ms order owner=B
         4 11 refused order owner=B
         7 10 asked exclusive 30000ms order owner=A
         8 10 acquired exclusive 30000ms order owner=A
         10 10 renewed 30000ms order owner=A
         12 10 released_once order owner=A
         14 10 released order owner=A
         15 11 asked exclusive 30000ms order owner=B
         16 11 acquired exclusive 30000ms order owner=B",
    );
}

#[test]
fn what_has_no_script_is_asked_for_again_with_its_text() {
    let sha = "0123456789012345678901234567890123456789";
    let text = "if_redis.call('get',KEYS[1])==ARGV[1]_then_return_redis.call('del',KEYS[1])_else_return_0_end";
    let story = format!(
        "1 c >! SET thing $A NX PX 2000
        2 c < +OK
        3 c >! EVALSHA {sha} 1 other $A
        4 c < -NOSCRIPT_No_matching_script._Please_use_EVAL.
        5 c >! EVAL {text} 1 thing $A
        6 c < :1"
    );
    expect(
        &told(&filled(&story)),
        "1 10 asked exclusive 2000ms thing owner=A
         2 10 acquired exclusive 2000ms thing owner=A
         6 10 released thing owner=A",
    );
}

#[test]
fn arguments_that_were_seen_before_tell_of_unknown_scripts() {
    let sha = "0123456789012345678901234567890123456789";
    let story = format!(
        "1 c >! SET lock:a $A NX PX 2000
        2 c < +OK
        3 c >! EVALSHA {sha} 1 lock:a $A 3000
        4 c < :1
        5 c >! EVALSHA {sha} 1 lock:a $B
        6 c < :1
        7 c >! FCALL unlock 1 lock:a $A
        8 c < :1"
    );
    expect(
        &told(&filled(&story)),
        "1 10 asked exclusive 2000ms lock:a owner=A
         2 10 acquired exclusive 2000ms lock:a owner=A
         4 10 renewed 2000ms lock:a owner=A
         8 10 released lock:a owner=A",
    );
}
