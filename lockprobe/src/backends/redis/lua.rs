//! What a script does with a lock, told from its text where the table does not know it.
//!
//! Scripts of locks are short and alike: compare a value with an argument, then delete the key or
//! prolong it; or look whether the key is there, then set it. What is not plainly one of these is
//! not taken for any.

use super::frame::integer;
use super::scripts::{Rule, Sign, What};

/// Longer ones are not of locks alone.
const LONGEST: usize = 2048;

/// What it does; `None`: nothing with a lock, or it cannot be told.
pub fn rule(text: &[u8]) -> Option<Rule> {
    if text.len() > LONGEST {
        return None;
    }
    let text = plain(std::str::from_utf8(text).ok()?);
    if text.contains("ipairs(keys") || text.contains("#keys") {
        // Which of several keys are locks is not told by their like.
        return None;
    }
    let has = |command: &str| text.contains(&format!("'{command}'"));
    let any = |commands: &[&str]| commands.iter().any(|command| has(command));
    let compared = compared(&text);
    let (what, place, token) = if has("zremrangebyscore") && has("zcard") && has("zadd") {
        (What::Take, true, last_argument(&text, "'zadd'")?)
    } else if let Some(token) = compared.filter(|_| any(&["del", "hdel", "unlink"])) {
        if any(&["set", "setnx", "hset", "hincrby", "incr"]) {
            return None;
        }
        (What::Release, false, token)
    } else if let Some(token) =
        compared.filter(|_| any(&["pexpire", "expire", "pexpireat"]) || has("px") || has("ex"))
    {
        if any(&["setnx", "msetnx", "nx", "incr", "incrby", "hincrby"]) {
            return None;
        }
        (What::Renew, false, token)
    } else if any(&["exists", "setnx", "nx"]) && any(&["set", "setnx"]) && !has("get") {
        let set = if has("setnx") { "'setnx'" } else { "'set'" };
        (What::Take, false, argument_after(&text, set)?)
    } else {
        return None;
    };
    let (done, refused) = polarity(&text)?;
    let mut rule = Rule::new(what, &done, &refused);
    rule.place = place;
    rule.token = Some((token, false));
    rule.lease = lease(&text);
    Some(rule)
}

/// Small letters, single quotes, no comments, single spaces, and arguments in the place of the
/// variables that stand for them.
fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default());
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let mut plain =
        words.join(" ").to_lowercase().replace('"', "'").replace("tonumber(argv", "(argv");
    let mut names: Vec<(String, String)> = Vec::new();
    for part in plain.split("local ").skip(1).take(16) {
        let Some((name, value)) = part.split_once('=') else { continue };
        let value = value.trim().trim_start_matches('(');
        let Some(end) = value.find(']').filter(|end| *end < 9) else { continue };
        let value = &value[..=end];
        if value.starts_with("argv[") || value.starts_with("keys[") {
            names.push((name.trim().to_owned(), value.to_owned()));
        }
    }
    for (name, value) in names {
        plain = replaced(&plain, &name, &value);
    }
    plain
}

fn replaced(text: &str, name: &str, value: &str) -> String {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_letter) {
        return text.to_owned();
    }
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let inner = before.ends_with(|c| is_letter(c) || c == '\'')
            || after.starts_with(|c| is_letter(c) || c == '\'');
        replaced.push_str(before);
        replaced.push_str(if inner { name } else { value });
        rest = after;
    }
    replaced.push_str(rest);
    replaced
}

/// The number of the argument these words begin with.
fn argument(text: &str) -> Option<usize> {
    let text = text.trim_start_matches([' ', '(', ',']).strip_prefix("argv[")?;
    let end = text.find(']')?;
    integer(&text.as_bytes()[..end]).and_then(|at| usize::try_from(at).ok()).filter(|at| *at < 16)
}

/// Which argument a value is compared with.
fn compared(text: &str) -> Option<usize> {
    let equal = ["==", "~="].iter().flat_map(|sign| text.split(sign).skip(1)).find_map(argument);
    let before = text.split(" ==").find_map(|part| argument(&part[part.rfind("argv[")?..]));
    equal.or(before.filter(|_| text.contains("] == redis.call"))).or_else(|| {
        let fields = text.split("'hexists', keys[1],").skip(1).find_map(argument);
        fields.filter(|_| text.contains("'hdel'"))
    })
}

fn argument_after(text: &str, command: &str) -> Option<usize> {
    text.split(command).skip(1).find_map(|call| argument(call.split_once(']')?.1))
}

/// The last argument of the call of this command.
fn last_argument(text: &str, command: &str) -> Option<usize> {
    let call = text.split(command).nth(1)?;
    let call = &call[..call.find(')')?];
    argument(&call[call.rfind("argv[")?..])
}

fn lease(text: &str) -> Option<(usize, u64)> {
    let ms = ["'pexpire'", "'px'"].iter().find_map(|word| {
        let call = text.split(word).nth(1)?;
        argument(&call[call.find("argv[").filter(|at| *at < 24)?..])
    });
    let seconds = || {
        ["'expire'", "'ex'"].iter().find_map(|word| {
            let call = text.split(word).nth(1)?;
            argument(&call[call.find("argv[").filter(|at| *at < 24)?..])
        })
    };
    ms.map(|at| (at, 1_000_000)).or_else(|| seconds().map(|at| (at, 1_000_000_000)))
}

/// What is returned where it was done, and where not.
fn polarity(text: &str) -> Option<(Vec<Sign>, Vec<Sign>)> {
    let returned: Vec<&str> = text.split("return ").skip(1).map(str::trim).collect();
    let (first, last) = (returned.first()?, returned.last()?);
    if first.starts_with("nil") && last.starts_with("redis.call('pttl'") {
        return Some((vec![Sign::Nil], vec![Sign::Any]));
    }
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
        integer(&text.as_bytes()[..end])
    };
    if let (Some(first), Some(last)) = (number(first), number(last)) {
        // Where the opposite is asked for, the first is the refusal, whatever its number.
        if text.contains("~=") && !text.contains("==") && first != last {
            return Some((vec![Sign::Number(last)], vec![Sign::Number(first)]));
        }
    }
    Some((vec![Sign::Ok, Sign::Some], vec![Sign::Nil, Sign::Number(0), Sign::Number(-1)]))
}
