//! Conversations as text, for the tests of backends.
//!
//! A line is one piece: time in milliseconds, connection, direction, bytes. A connection is a word;
//! it is opened by its first line, and `A@11` is one of process 11 (10 unless said). `>` is sent,
//! `<` received; `>!` is sent when no answer is owed, `<!` answers what was left out. Bytes are a quoted string with `\r`, `\n`,
//! `\0`, `\\`, `\"` and `\xHH`, or `hex:` and hexadecimal digits with spaces as liked. A server other
//! than 127.0.0.1 with the dialect's port is `A=10.0.0.7:7001`, a connection joined late `A?`.
//!
//! ```text
//! # one line a comment
//! 1.5 A >! "*1\r\n$4\r\nPING\r\n"
//! 2 A < "+PONG\r\n"
//! 3 A close
//! 4 tick
//! 5 A miss < 100
//! ```

use core::net::SocketAddr;
use std::collections::HashMap;
use std::fmt::Write as _;

use super::Backend;
use crate::model::{Connection, Dialect, Piece, RemoteAct, RemoteStep, Said, Thread, ThreadId};

/// One line of a conversation.
#[derive(Clone, Debug)]
enum Line {
    Bytes { time: u64, connection: usize, sent: bool, settled: bool, bytes: Vec<u8> },
    Miss { connection: usize, sent: bool, bytes: u64 },
    Close { time: u64, connection: usize },
    Tick { time: u64 },
}

/// A conversation.
pub struct Script {
    connections: Vec<Connection>,
    lines: Vec<Line>,
}

fn milliseconds(text: &str) -> u64 {
    (text.parse::<f64>().unwrap_or_else(|_| panic!("no time: {text}")) * 1e6).round() as u64
}

/// Bytes as a line of a conversation has them.
pub fn bytes_of(text: &str) -> Vec<u8> {
    if let Some(hex) = text.strip_prefix("hex:") {
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        let pair = |p: &[char]| u8::from_str_radix(&p.iter().collect::<String>(), 16).unwrap();
        return digits.chunks(2).map(pair).collect();
    }
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    let mut characters = inner.unwrap_or_else(|| panic!("not quoted: {text}")).chars();
    let mut bytes = Vec::new();
    while let Some(c) = characters.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match characters.next().unwrap() {
            'r' => b'\r',
            'n' => b'\n',
            '0' => 0,
            'x' => {
                let digits: String = characters.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            other => other as u8,
        });
    }
    bytes
}

impl Script {
    /// Reads it.
    pub fn new(dialect: Dialect, text: &str) -> Self {
        let mut script = Self { connections: Vec::new(), lines: Vec::new() };
        let mut names: HashMap<String, usize> = HashMap::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (time, rest) = line.split_once(' ').unwrap();
            let time = milliseconds(time);
            if rest == "tick" {
                script.lines.push(Line::Tick { time });
                continue;
            }
            let (name, rest) = rest.split_once(' ').unwrap();
            let key = name.split(['@', '=', '?']).next().unwrap().to_owned();
            let connection = *names.entry(key).or_insert_with(|| {
                script.connections.push(connection(dialect, name, script.connections.len()));
                script.connections.len() - 1
            });
            let (what, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            script.lines.push(match what {
                "close" => Line::Close { time, connection },
                "miss" => {
                    let (way, count) = rest.split_once(' ').unwrap();
                    let bytes = count.parse().unwrap();
                    Line::Miss { connection, sent: way == ">", bytes }
                }
                way => {
                    let (sent, settled) = (way.starts_with('>'), way.ends_with('!'));
                    Line::Bytes { time, connection, sent, settled, bytes: bytes_of(rest) }
                }
            });
        }
        script
    }

    /// Plays it; what the backend says, a line a step.
    pub fn play(&self, backend: &mut impl Backend) -> String {
        self.play_cut(backend, usize::MAX, 0)
    }

    /// The same with every piece cut into pieces of so many bytes, the first one shorter by this.
    pub fn play_cut(&self, backend: &mut impl Backend, size: usize, shorter: usize) -> String {
        let mut steps = Vec::new();
        let mut missing = HashMap::new();
        self.connections.iter().for_each(|c| backend.opened(c));
        for line in &self.lines {
            match line {
                Line::Bytes { time, connection, sent, settled, bytes } => {
                    let connection = &self.connections[*connection];
                    let first = size.saturating_sub(shorter).clamp(1, bytes.len().max(1));
                    let (head, tail) = bytes.split_at(first.min(bytes.len()));
                    let pieces = std::iter::once(head).chain(tail.chunks(size.max(1)));
                    for (at, bytes) in pieces.enumerate() {
                        let missing = missing.remove(&(connection.id, *sent)).unwrap_or(0);
                        let settled = *settled && at == 0;
                        let thread = thread(connection.pid);
                        let piece =
                            Piece { time: *time, thread, sent: *sent, bytes, missing, settled };
                        backend.piece(connection, &piece, &mut steps);
                    }
                }
                Line::Miss { connection, sent, bytes } => {
                    *missing.entry((self.connections[*connection].id, *sent)).or_insert(0) += bytes;
                }
                Line::Close { time, connection } => {
                    let connection = &self.connections[*connection];
                    backend.closed(connection, *time, thread(connection.pid), &mut steps);
                }
                Line::Tick { time } => backend.tick(*time, &mut steps),
            }
        }
        backend.tick(3_600_000_000_000, &mut steps);
        picture(&steps)
    }
}

fn connection(dialect: Dialect, name: &str, at: usize) -> Connection {
    let pid = name
        .split_once('@')
        .map_or(10, |(_, rest)| rest.split(['=', '?']).next().unwrap().parse().unwrap());
    let port = dialect.ports()[0];
    let server: SocketAddr = name.split_once('=').map_or_else(
        || SocketAddr::from(([127, 0, 0, 1], port)),
        |(_, rest)| rest.split(['@', '?']).next().unwrap().parse().unwrap(),
    );
    Connection {
        id: at as u64 + 1,
        pid,
        dialect,
        client: SocketAddr::from(([127, 0, 0, 1], 40_000 + at as u16)),
        server,
        namespace: 1,
        joined: name.contains('?'),
    }
}

fn thread(pid: u32) -> Thread {
    Thread { id: ThreadId { pid, tid: pid }, ns_tid: pid, ..Thread::default() }
}

/// Steps as text: time in milliseconds, process, what, lock, details.
pub fn picture(steps: &[RemoteStep]) -> String {
    let mut steps: Vec<&RemoteStep> = steps.iter().collect();
    steps.sort_by_key(|step| step.time);
    let mut text = String::new();
    for step in steps {
        let lock = step.lock.identity();
        let owner = step.owner.map(|o| format!(" owner={:x}", o.0 & 0xffff)).unwrap_or_default();
        let time = step.time as f64 / 1e6;
        let pid = step.thread.id.pid;
        let candidate = if step.lock.confirmed { "" } else { " candidate" };
        writeln!(text, "{time} {pid} {} {lock}{owner}{candidate}", act(&step.act)).unwrap();
    }
    text
}

fn act(act: &RemoteAct) -> String {
    let time =
        |lease: &Option<u64>| lease.map_or("ever".into(), |l| format!("{}ms", l / 1_000_000));
    let said = |said: &Option<Said>| match said {
        None => String::new(),
        Some(Said { owner, words }) => {
            let owner = owner.map(|o| format!("{:x}", o.0 & 0xffff)).unwrap_or_default();
            format!(" by={owner}{}", words.as_deref().unwrap_or_default())
        }
    };
    match act {
        RemoteAct::Asked { mode, lease, queued } => {
            let queued = if *queued { " queued" } else { "" };
            format!("asked {} {}{queued}", mode.name(), time(lease))
        }
        RemoteAct::Traced(context) => {
            format!("traced {:032x} {:016x}", context.trace, context.span)
        }
        RemoteAct::Refused { holder, ahead } => {
            let ahead = ahead.map(|n| format!(" ahead={n}")).unwrap_or_default();
            format!("refused{}{ahead}", said(holder))
        }
        RemoteAct::Acquired { mode, lease, fence } => {
            let fence = fence.map(|n| format!(" fence={n}")).unwrap_or_default();
            format!("acquired {} {}{fence}", mode.name(), time(lease))
        }
        RemoteAct::Ended { error, holder } => format!("ended {error}{}", said(holder)),
        RemoteAct::Renewed { lease } => format!("renewed {}", time(lease)),
        RemoteAct::Released => "released".into(),
        RemoteAct::ReleasedOnce => "released_once".into(),
        RemoteAct::ReleaseRefused => "release_refused".into(),
        RemoteAct::Removed => "removed".into(),
        RemoteAct::Lost { why } => format!("lost {why}"),
        RemoteAct::Disconnected => "disconnected".into(),
    }
}

/// The contract every backend keeps, on a conversation of its own and on nonsense.
///
/// The same steps wherever the stream is cut; no panic on any prefix, on any changed byte, on bytes
/// that mean nothing; and after such, `resumes` (a conversation on a connection of its own, or one
/// that begins with a settled request) is understood as if nothing had been.
pub fn contract<B: Backend + Default>(dialect: Dialect, text: &str) {
    let script = Script::new(dialect, text);
    let whole = script.play(&mut B::default());
    assert!(!whole.is_empty(), "a conversation without steps shows nothing");
    for size in [1, 2, 3, 7, 64] {
        for shorter in 0..size.min(7) {
            let cut = script.play_cut(&mut B::default(), size, shorter);
            assert_eq!(cut, whole, "cut into pieces of {size}, the first shorter by {shorter}");
        }
    }
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..200 {
        let mut hostile = Script { connections: script.connections.clone(), lines: Vec::new() };
        for line in &script.lines {
            let mut line = line.clone();
            if let Line::Bytes { bytes, .. } = &mut line {
                match next() % 8 {
                    0 if !bytes.is_empty() => {
                        let at = next() as usize % bytes.len();
                        bytes[at] = next() as u8;
                    }
                    1 => bytes.truncate(next() as usize % (bytes.len() + 1)),
                    2 => bytes.extend((0..next() % 64).map(|_| 0xc3)),
                    3 => bytes.clear(),
                    _ => {}
                }
            }
            hostile.lines.push(line);
        }
        let mut backend = B::default();
        hostile.play(&mut backend);
        // On connections of their own everything is understood again, of what needs no memory.
        let mut fresh = Script { connections: script.connections.clone(), ..hostile };
        for connection in &mut fresh.connections {
            connection.id += 1000;
        }
        fresh.lines = script.lines.clone();
        let again = fresh.play(&mut backend);
        assert_eq!(again.lines().count() > 0, whole.lines().count() > 0);
    }
}
