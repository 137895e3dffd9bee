//! Which answer is to which request, whatever happens to the stream.

use super::super::Redis;
use super::{expect, filled, told, told_by};
use crate::framing::Backend as _;

#[test]
fn answers_of_a_pipeline_are_told_apart() {
    let story = "1 c >! GET a
        1 c > SET lock:a $A NX PX 2000
        1 c > INCR n
        1 c > SET lock:b $A NX PX 2000
        2 c < \"$5\\r\\n+OK\\r\\n\\r\\n+OK\\r\\n:1\\r\\n$-1\\r\\n\"";
    expect(
        &told(&filled(story)),
        "1 10 asked exclusive 2000ms lock:a owner=A
         1 10 asked exclusive 2000ms lock:b owner=A
         2 10 acquired exclusive 2000ms lock:a owner=A
         2 10 refused lock:b owner=A",
    );
}

#[test]
fn a_transaction_is_answered_at_its_end() {
    let story = "1 c >! MULTI
        1 c > SET lock:a $A NX PX 2000
        1 c > GET x
        1 c > SET lock:b $A NX PX 2000
        1 c > EXEC
        2 c < +OK +QUEUED +QUEUED +QUEUED *3 +OK *2 :1 :2 $-1
        3 c >! MULTI
        4 c < +OK
        5 c >! SET lock:c $A NX
        6 c < +QUEUED
        7 c >! EXEC
        8 c < *-1
        9 c >! SET lock:d $A NX
        10 c < +OK";
    expect(
        &told(&filled(story)),
        "1 10 asked exclusive 2000ms lock:a owner=A
         1 10 asked exclusive 2000ms lock:b owner=A
         2 10 acquired exclusive 2000ms lock:a owner=A
         2 10 refused lock:b owner=A
         9 10 asked exclusive ever lock:d owner=A
         10 10 acquired exclusive ever lock:d owner=A",
    );
}

#[test]
fn news_are_no_answers() {
    let story = "1 c >! SET lock:a $A NX
        2 c < >2 $10 invalidate *1 $1 k
        3 c < +OK
        4 c >! SUBSCRIBE a b
        5 c < *3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2
        6 c < *3 $7 message $1 a $3 +OK
        7 c >! UNSUBSCRIBE
        7 c > SET lock:b $A NX
        8 c < *3 $11 unsubscribe $1 a :1 *3 $11 unsubscribe $1 b :0 $-1
        9 c >! CLIENT REPLY SKIP
        9 c > GET a
        9 c > SET lock:c $A NX
        10 c < +OK
        11 c >! SET lock:d $A NX
        12 c < |1 $3 ttl :9 null";
    expect(
        &told(&filled(story)),
        "1 10 asked exclusive ever lock:a owner=A
         3 10 acquired exclusive ever lock:a owner=A
         7 10 asked exclusive ever lock:b owner=A
         8 10 refused lock:b owner=A
         9 10 asked exclusive ever lock:c owner=A
         10 10 acquired exclusive ever lock:c owner=A
         11 10 asked exclusive ever lock:d owner=A
         12 10 refused lock:d owner=A",
    );
}

#[test]
fn a_connection_that_is_joined_is_paired_from_its_first_quiet_moment() {
    let story = "1 c? < +OK
        2 c > SET lock:a $A NX
        3 c < $-1 +OK
        4 c >! SET lock:b $A NX
        5 c < +OK
        6 c >! SELECT 3
        7 c < +OK
        8 c >! SET lock:c $A NX
        9 c < +OK
        10 c >! SELECT 99
        11 c < -ERR_DB_index_is_out_of_range
        12 c >! SET lock:d $A NX
        13 c < +OK";
    let mut redis = Redis::default();
    let said = told_by(&mut redis, &filled(story)).replace("redis://127.0.0.1:6379/", "");
    expect(
        &said,
        "4 10 asked exclusive ever db=?/lock:b owner=A
         5 10 acquired exclusive ever db=?/lock:b owner=A
         8 10 asked exclusive ever 3/lock:c owner=A
         9 10 acquired exclusive ever 3/lock:c owner=A
         12 10 asked exclusive ever 3/lock:d owner=A
         13 10 acquired exclusive ever 3/lock:d owner=A",
    );
    assert_eq!(redis.ears().resumed, 1);
}

#[test]
fn an_answer_may_come_before_its_request() {
    let story = "2 c < +OK
        3 c >! SET lock:a $A NX
        4 c >! SET lock:b $A NX
        5 c < $-1
        6 c < +OK
        200 c >! SET lock:c $A NX
        201 c < +OK";
    let mut redis = Redis::default();
    expect(
        &told_by(&mut redis, &filled(story)),
        "2 10 acquired exclusive ever lock:a owner=A
         3 10 asked exclusive ever lock:a owner=A
         4 10 asked exclusive ever lock:b owner=A
         5 10 refused lock:b owner=A
         200 10 asked exclusive ever lock:c owner=A
         201 10 acquired exclusive ever lock:c owner=A",
    );
    assert_eq!(redis.ears().unpaired, 1);
}

#[test]
fn what_is_missing_is_not_guessed() {
    let story = "1 c >! GET big
        2 c < \"$1000000\\r\\nxxxx\"
        3 c miss < 999998
        4 c < \"+O\"
        5 c < \"K\\r\\n\"";
    // The value was passed over; what stands after it is an answer nobody asked for.
    let mut redis = Redis::default();
    expect(&told_by(&mut redis, story), "");
    assert_eq!((redis.ears().unpaired, redis.ears().resumed), (1, 0));
    let story = "1 c >! SET lock:a $A NX
        2 c miss < 5
        3 c < $-1
        4 c > SET lock:a $A NX
        5 c < +OK
        6 c >! SET lock:b $A NX
        7 c < +OK";
    let mut redis = Redis::default();
    expect(
        &told_by(&mut redis, &filled(story)),
        "1 10 asked exclusive ever lock:a owner=A
         6 10 asked exclusive ever lock:b owner=A
         7 10 acquired exclusive ever lock:b owner=A",
    );
    assert_eq!((redis.ears().unpaired, redis.ears().resumed), (1, 1));
}

#[test]
fn a_request_that_waits_is_told_before_its_answer() {
    let story = "1 c >! SET lock:a $A NX
        200 c close";
    let mut redis = Redis::default();
    expect(&told_by(&mut redis, &filled(story)), "1 10 asked exclusive ever lock:a owner=A");
    assert_eq!(redis.ears().unpaired, 1);
}

#[test]
fn any_bytes_may_be_a_token_and_an_inline_command_is_one() {
    let token = "\\x00\\r\\n\\xff$1\\r\\n*3\\r\\n0123456789ab";
    let story = format!(
        "1 c >! \"*6\\r\\n$3\\r\\nSET\\r\\n$6\\r\\nlock:a\\r\\n$24\\r\\n{token}\\r\\n$2\\r\\nNX\\r\\n$2\\r\\nPX\\r\\n$1\\r\\n9\\r\\n\"
        2 c < +OK
        3 c >! \"set lock:b 0123456789abcdef0 nx\\r\\n\"
        4 c < +OK"
    );
    expect(
        &told(&story),
        "1 10 asked exclusive 9ms lock:a owner=A
         2 10 acquired exclusive 9ms lock:a owner=A
         3 10 asked exclusive ever lock:b owner=B
         4 10 acquired exclusive ever lock:b owner=B",
    );
}
