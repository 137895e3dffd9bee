//! Frames of ZooKeeper, as jute writes them, and what is in those that matter.

use crate::framing::Cut;

/// Frames longer than this are passed over: no list of candidates for a lock is.
const FRAME_AT_MOST: usize = 60 << 10;
/// Longest path that is looked at.
const PATH_AT_MOST: usize = 1024;
/// Most requests looked at in one transaction.
const TOGETHER_AT_MOST: usize = 64;

/// What an answer is not to a request of its own.
pub const EVENT: i32 = -1;
/// The number of every ping.
pub const PING: i32 = -2;

/// A flag of `create`: the node goes with its session.
pub const EPHEMERAL: i32 = 1;
/// A flag of `create`: the server adds a number to the name.
pub const SEQUENTIAL: i32 = 2;

/// There is no such node.
pub const NO_NODE: i32 = -101;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A node.
    Create {
        /// Its path, without the number the server adds.
        path: Vec<u8>,
        /// Ephemeral, sequential.
        flags: i32,
        /// The answer has more than the path in it.
        with_stat: bool,
    },
    /// A node to be gone.
    Delete(Vec<u8>),
    /// The names of children.
    Children {
        /// Of this node.
        path: Vec<u8>,
        /// And to be told when they change.
        watch: bool,
    },
    /// Whether a node is there, or what is in it.
    Look {
        /// The node.
        path: Vec<u8>,
        /// And to be told when it changes.
        watch: bool,
        /// The answer begins with the data.
        data: bool,
    },
    /// Several at once.
    Multi(Vec<Request>),
    /// The end of the session.
    Close,
    /// Something that has nothing to do with locks.
    Other,
}

/// Reads one value after the other; `None` where there is no such thing.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    /// The next byte as a truth.
    pub fn truth(&mut self) -> Option<bool> {
        Some(self.take(1)?[0] != 0)
    }

    /// A number of 32 bits.
    pub fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A number of 64 bits.
    pub fn long(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A text, or bytes; those that are not there (-1) are none.
    pub fn buffer(&mut self) -> Option<&'a [u8]> {
        match self.int()? {
            -1 => Some(&[]),
            length => self.take(usize::try_from(length).ok()?),
        }
    }

    fn path(&mut self) -> Option<Vec<u8>> {
        let path = self.buffer()?;
        (path.first() == Some(&b'/') && path.len() <= PATH_AT_MOST).then(|| path.to_vec())
    }

    /// The session an ephemeral node belongs to, from what is known of a node (`Stat`).
    pub fn owner(&mut self) -> Option<i64> {
        // czxid, mzxid, ctime, mtime; version, cversion, aversion; then ephemeralOwner.
        self.take(8 * 4 + 4 * 3)?;
        let owner = self.long()?;
        self.take(4 + 4 + 8)?;
        Some(owner)
    }
}

fn length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)).ok()
}

/// Cuts the first message of a connection: only `head` bytes of it may be had, the rest is a
/// password. Its length is `least`, or one more.
pub fn cut_handshake(bytes: &[u8], head: usize, least: usize) -> Cut {
    if bytes.len() < 4 {
        return Cut::More;
    }
    match length(bytes) {
        Some(length) if length == least || length == least + 1 => {
            Cut::Head { head, rest: (4 + length - head) as u64 }
        }
        _ => Cut::Broken,
    }
}

/// Cuts what a client sends.
pub fn cut_request(bytes: &[u8]) -> Cut {
    let Some(code) = bytes.get(8..12) else { return Cut::More };
    let Some(length) = length(bytes).filter(|length| (8..=64 << 20).contains(length)) else {
        return Cut::Broken;
    };
    let code = i32::from_be_bytes([code[0], code[1], code[2], code[3]]);
    if matters(code) && length <= FRAME_AT_MOST {
        return Cut::Whole(4 + length);
    }
    // Passwords among them: whoever says who it is says so in a request that does not matter.
    Cut::Head { head: 12, rest: length as u64 - 8 }
}

fn matters(code: i32) -> bool {
    matches!(code, 1..=4 | 8 | 12 | 14 | 15 | 19 | 21)
}

/// Cuts what a server sends.
pub fn cut_answer(bytes: &[u8]) -> Cut {
    if bytes.len() < 4 {
        return Cut::More;
    }
    match length(bytes) {
        Some(length) if length > 64 << 20 => Cut::Broken,
        Some(length) if length > FRAME_AT_MOST => Cut::Head { head: 20, rest: length as u64 - 16 },
        Some(length) if length >= 16 => Cut::Whole(4 + length),
        _ => Cut::Broken,
    }
}

/// A request in its frame: its number, and what it asks for. `None`: none of the protocol.
pub fn request(frame: &[u8]) -> Option<(i32, Request)> {
    let mut reader = Reader(frame.get(4..)?);
    let (number, code) = (reader.int()?, reader.int()?);
    // Passed over for its length.
    if frame.len() == 12 && code != -11 {
        return Some((number, Request::Other));
    }
    Some((number, operation(code, &mut reader)?))
}

fn operation(code: i32, reader: &mut Reader<'_>) -> Option<Request> {
    Some(match code {
        1 | 15 | 19 | 21 => {
            let path = reader.path()?;
            reader.buffer()?;
            for _ in 0..u32::try_from(reader.int()?).ok()?.min(64) {
                reader.int()?;
                reader.buffer()?;
                reader.buffer()?;
            }
            let flags = reader.int()?;
            if code == 21 {
                reader.long()?;
            }
            Request::Create { path, flags, with_stat: code != 1 }
        }
        2 => {
            let path = reader.path()?;
            reader.int()?;
            Request::Delete(path)
        }
        3 | 4 => Request::Look { path: reader.path()?, watch: reader.truth()?, data: code == 4 },
        8 | 12 => Request::Children { path: reader.path()?, watch: reader.truth()? },
        14 => multi(reader)?,
        -11 => Request::Close,
        _ => Request::Other,
    })
}

fn multi(reader: &mut Reader<'_>) -> Option<Request> {
    let mut requests = Vec::new();
    while requests.len() < TOGETHER_AT_MOST {
        let (code, done, _) = (reader.int()?, reader.truth()?, reader.int()?);
        if done {
            return Some(Request::Multi(requests));
        }
        requests.push(match code {
            // setData and check: data, and a version.
            5 => {
                reader.path()?;
                reader.buffer()?;
                reader.int()?;
                Request::Other
            }
            13 => {
                reader.path()?;
                reader.int()?;
                Request::Other
            }
            1 | 2 | 15 | 19 | 21 => operation(code, reader)?,
            _ => return Some(Request::Other),
        });
    }
    Some(Request::Other)
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// To which request.
    pub number: i32,
    /// The transaction it was at.
    pub transaction: i64,
    /// 0, or what went wrong.
    pub error: i32,
}

/// An answer in its frame: its head and what follows. `None`: none of the protocol.
pub fn answer(frame: &[u8]) -> Option<(Head, &[u8])> {
    let mut reader = Reader(frame.get(4..)?);
    let head = Head { number: reader.int()?, transaction: reader.long()?, error: reader.int()? };
    Some((head, reader.0))
}

/// The path of a node that was created, and the session it belongs to where the answer tells.
pub fn created(reader: &mut Reader<'_>, with_stat: bool) -> Option<(Vec<u8>, Option<i64>)> {
    let path = reader.path()?;
    Some((path, if with_stat { Some(reader.owner()?) } else { None }))
}

/// Names of children.
pub fn children(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader(body);
    let count = reader.int()?;
    // Each takes four bytes at least: the count cannot make the list longer than its bytes.
    (0..count).map(|_| reader.buffer()).collect()
}

/// What each request of several came to: the path of a node that was created. `None`: the whole
/// of it was refused.
pub fn together(body: &[u8], count: usize) -> Option<Vec<Option<Vec<u8>>>> {
    let mut reader = Reader(body);
    let mut results = Vec::new();
    while results.len() <= count {
        let (code, done, _) = (reader.int()?, reader.truth()?, reader.int()?);
        if done {
            return (results.len() == count).then_some(results);
        }
        results.push(match code {
            1 => Some(created(&mut reader, false)?.0),
            15 | 19 | 21 => Some(created(&mut reader, true)?.0),
            5 => {
                reader.owner()?;
                None
            }
            2 | 13 => None,
            _ => return None,
        });
    }
    None
}

/// A change that was watched for: its type, and of which node.
pub fn event(body: &[u8]) -> Option<(i32, &[u8])> {
    let mut reader = Reader(body);
    let kind = reader.int()?;
    reader.int()?;
    Some((kind, reader.buffer()?))
}

/// Whether a request certainly begins here: a ping, or a request whose path fits its frame.
pub fn begins_request(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    let (Some(length), Some(number), Some(code)) = (reader.int(), reader.int(), reader.int())
    else {
        return false;
    };
    if (length, number, code) == (8, PING, 11) {
        return true;
    }
    let (Some(path), Some(true)) = (reader.int(), reader.0.first().map(|&first| first == b'/'))
    else {
        return false;
    };
    let fits = match code {
        2 => path.checked_add(16) == Some(length),
        3 | 4 | 8 | 12 => path.checked_add(13) == Some(length),
        1 | 15 => path.checked_add(17).is_some_and(|least| least <= length) && length < 1 << 16,
        _ => false,
    };
    number > 0 && path > 0 && path as usize <= PATH_AT_MOST && fits
}

/// Whether an answer certainly begins here: to a ping, to a request that is `owed`, or an event.
pub fn begins_answer(bytes: &[u8], owed: impl Fn(i32) -> bool) -> bool {
    let (Some(length), Some((head, _))) = (length(bytes), answer(bytes)) else { return false };
    let empty = length == 16;
    match head.number {
        PING => empty && head.transaction >= 0 && head.error == 0,
        EVENT => head.transaction == -1 && head.error == 0 && (28..2048).contains(&length),
        number => {
            let refused = empty && (-130..0).contains(&head.error);
            let granted = head.error == 0 && (16..=FRAME_AT_MOST).contains(&length);
            owed(number) && head.transaction > 0 && (refused || granted)
        }
    }
}
