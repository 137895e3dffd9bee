//! Stories of real clients, recorded between them and a server, and of what they could do besides.

mod commands;
mod ordinary;
mod scripts;
mod streams;

use super::Redis;
use crate::framing::Backend as _;
use crate::framing::play::{Script, contract};
use crate::model::Dialect;

/// The conversation with a tick every 20 ms, as the pipeline has.
fn ticked(text: &str) -> String {
    let mut ticked = String::new();
    let mut next = None;
    for line in text.lines().map(str::trim) {
        if let Some(time) = line.split(' ').next().and_then(|word| word.parse::<f64>().ok()) {
            let mut at = next.unwrap_or(time);
            while at < time {
                ticked.push_str(&format!("{at} tick\n"));
                at += 20.0;
            }
            next = Some(at);
        }
        ticked.push_str(line);
        ticked.push('\n');
    }
    ticked
}

/// Commands as `time connection > SET k v` and answers as `time connection < +OK`, in RESP.
fn resp(story: &str) -> String {
    let mut text = String::new();
    for line in story.lines().map(str::trim) {
        let mut words = line.splitn(4, ' ');
        let (time, connection, way, what) =
            (words.next(), words.next(), words.next(), words.next());
        match (time, connection, way, what) {
            (Some(time), Some(connection), Some(way @ (">" | ">!")), Some(what))
                if !what.starts_with('"') =>
            {
                let words: Vec<&str> = what.split(' ').collect();
                let mut bytes = format!("*{}\\r\\n", words.len());
                for word in words {
                    let word = word.replace('_', " ");
                    bytes.push_str(&format!("${}\\r\\n{word}\\r\\n", word.len()));
                }
                text.push_str(&format!("{time} {connection} {way} \"{bytes}\"\n"));
            }
            (Some(time), Some(connection), Some("<"), Some(what)) if !what.starts_with('"') => {
                let bytes = what.split(' ').map(|part| format!("{part}\\r\\n")).collect::<String>();
                let bytes = bytes.replace('_', " ").replace("null", "_");
                text.push_str(&format!("{time} {connection} < \"{bytes}\"\n"));
            }
            _ => text.push_str(&format!("{line}\n")),
        }
    }
    ticked(&text)
}

/// What is told of a story, without addresses that are the same throughout, and owners by letters.
fn told(story: &str) -> String {
    told_by(&mut Redis::default(), story)
}

fn told_by(redis: &mut Redis, story: &str) -> String {
    let picture = Script::new(Dialect::Redis, &resp(story)).play(redis);
    let mut owners: Vec<String> = Vec::new();
    let mut short = String::new();
    for line in picture.replace("redis://127.0.0.1:6379/0/", "").lines() {
        let words = line.split(' ').map(|word| {
            let Some((name @ ("owner" | "by"), owner)) = word.split_once('=') else {
                return word.to_owned();
            };
            let at = owners.iter().position(|known| known == owner).unwrap_or_else(|| {
                owners.push(owner.to_owned());
                owners.len() - 1
            });
            format!("{name}={}", char::from(b'A' + at as u8))
        });
        short.push_str(&words.collect::<Vec<_>>().join(" "));
        short.push('\n');
    }
    short
}

/// Compares line by line; the indentation is the test's.
#[track_caller]
fn expect(told: &str, expected: &str) {
    let expected = expected.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told, expected.collect::<Vec<_>>(), "\n{}", told.join("\n"));
}

/// Two nonces and one that nobody has.
const A: &str = "e7bcfa7ee55911f1b06a02fc00000001";
const B: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

fn filled(story: &str) -> String {
    story.replace("$A", A).replace("$B", B)
}

macro_rules! recorded {
    ($($name:ident),*) => {
        /// Recorded conversations and the steps told of them.
        const RECORDED: &[(&str, &str, &str)] = &[$((
            stringify!($name),
            include_str!(concat!("conversations/", stringify!($name), ".txt")),
            include_str!(concat!("conversations/", stringify!($name), ".steps")),
        )),*];
    };
}

// redis-py 8.1.0 (RESP3, RESP2 with SELECT 5, asyncio), python-redis-lock 4.0.1, pottery 3.0.1,
// redlock-py 1.0.8, portalocker 4.4.0; ioredis 5.11.1 with redlock 5.0.0-beta.2 and redis-semaphore
// 5.8.0; rslock 0.10. Server: redis 7.0.15, for Redlock three of them.
recorded!(
    redispy3,
    redispy2,
    asyncio3,
    asyncio2,
    prl,
    pottery,
    redlockpy,
    portalocker,
    noderedlock,
    sem,
    rslock
);

#[test]
fn what_real_clients_did_is_told() {
    for (name, text, steps) in RECORDED {
        let mut redis = Redis::default();
        let said = Script::new(Dialect::Redis, &ticked(text)).play(&mut redis);
        let (said, steps): (Vec<_>, Vec<_>) = (said.lines().collect(), steps.lines().collect());
        assert_eq!(said, steps, "{name}");
        let ears = redis.ears();
        assert_eq!(
            (ears.malformed, ears.resumed, ears.unclear, ears.evicted),
            (0, 0, 0, 0),
            "{name}"
        );
    }
}

#[test]
fn the_contract_is_kept() {
    for (name, text, _) in RECORDED {
        if matches!(*name, "redispy3" | "prl" | "redlockpy" | "portalocker" | "sem" | "rslock") {
            contract::<Redis>(Dialect::Redis, &ticked(text));
        }
    }
}

#[test]
fn no_token_leaves_the_room() {
    for (_, text, _) in RECORDED {
        let script = Script::new(Dialect::Redis, &ticked(text));
        let said = script.play(&mut Redis::default());
        for token in text.split("$32\\r\\n").skip(1).chain(text.split("$24\\r\\n").skip(1)) {
            let token = token.split('\\').next().unwrap_or_default();
            assert!(token.len() < 20 || !said.contains(token), "{token}");
        }
    }
}
