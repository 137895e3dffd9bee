//! Frames of HTTP/2, from the beginning of a connection or joined at any point (RFC 9113).

use std::cell::Cell;

use super::flow::{Cut, Flow};
use super::hpack::{Name, Table};

/// Length of a frame's header.
const HEADER: usize = 9;

/// Longest frame of a stream that matters which is looked at; longer ones are passed over.
const FRAME_AT_MOST: usize = 32 << 10;

/// Longest frame that a search for the next frame believes in; peers begin with this limit.
const SEARCHED_AT_MOST: usize = 16 << 10;

/// Longest header block over several frames.
const BLOCK_AT_MOST: usize = 32 << 10;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A field of a header block.
    Field(Name, &'a [u8]),
    /// The header block is over; if it made no sense, what it said is not to be relied on.
    Headers {
        /// Whether all of it was understood.
        sound: bool,
    },
    /// Bytes of the body.
    Body(&'a [u8]),
    /// Bytes of the body that were not looked at.
    Passed,
    /// This side has nothing more to say on this stream.
    End,
    /// The stream was given up.
    Reset,
}

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    flow: Flow,
    table: Table,
    /// Looking for the beginning of a frame.
    lost: Cell<bool>,
    /// A header block whose end has not come.
    block: Option<Block>,
    /// Times it had to look for a frame after having been in step.
    pub resumed: u64,
    /// Blocks that made no sense.
    pub malformed: u64,
}

#[derive(Clone, Debug)]
struct Block {
    stream: u32,
    ends: bool,
    bytes: Vec<u8>,
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
struct Header {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Header {
    fn new(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let [a, b, c, kind, flags, stream @ ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { length, kind, flags, stream: u32::from_be_bytes(stream) })
    }

    /// Whether it could be nothing but a frame's header.
    fn is_plausible(self) -> bool {
        let Self { length, kind, flags, stream } = self;
        // Larger numbers come after millions of calls; then a ping or a window is waited for.
        let on_stream = (1..1 << 24).contains(&stream) && stream % 2 == 1;
        length <= SEARCHED_AT_MOST
            && match kind {
                0 => on_stream && flags & !0x09 == 0,
                1 => on_stream && flags & !0x2d == 0 && length > 0,
                2 => on_stream && flags == 0 && length == 5,
                3 => on_stream && flags == 0 && length == 4,
                4 => stream == 0 && flags & !1 == 0 && length % 6 == 0 && length < 128,
                6 => stream == 0 && flags & !1 == 0 && length == 8,
                7 => stream == 0 && flags == 0 && length >= 8,
                8 => (stream == 0 || on_stream) && flags == 0 && length == 4,
                9 => on_stream && flags & !4 == 0,
                _ => false,
            }
    }

    /// Whether it tells enough alone: its bytes are nearly all fixed.
    fn is_certain(self) -> bool {
        matches!(self.kind, 6 | 8) && self.stream == 0
    }
}

/// How far to the next frame, searched from here: `Ok` at the first place that may be one.
fn search(bytes: &[u8]) -> Result<usize, usize> {
    for at in 0..bytes.len() {
        let Some(header) = Header::new(&bytes[at..]) else { return Err(at) };
        if !header.is_plausible() {
            continue;
        }
        if header.is_certain() {
            return Ok(at);
        }
        match bytes.get(at + HEADER + header.length..).map(Header::new) {
            Some(Some(next)) if next.is_plausible() => return Ok(at),
            Some(Some(_)) => {}
            // Whether another frame follows is yet to be seen.
            Some(None) | None => return Err(at),
        }
    }
    Err(bytes.len())
}

impl Frames {
    /// A direction that was joined at some point.
    pub fn joined() -> Self {
        Self { lost: Cell::new(true), ..Self::default() }
    }

    /// Whether it is in step with the frames.
    pub fn in_step(&self) -> bool {
        !self.lost.get()
    }

    /// So many bytes are missing. True: what is known of headers and of unfinished messages is void.
    pub fn miss(&mut self, bytes: u64) -> bool {
        if bytes == 0 || self.flow.miss(bytes) {
            return false;
        }
        self.lose();
        true
    }

    fn lose(&mut self) {
        self.resumed += u64::from(!self.lost.replace(true));
        self.flow.restart();
        self.table.forget();
        self.block = None;
    }

    /// Takes the next bytes. `matters` tells streams that are to be looked at. False: it fell out of
    /// step, and what is known of unfinished messages is void.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        matters: &dyn Fn(u32) -> bool,
        on: &mut dyn FnMut(u32, Said<'_>),
    ) -> bool {
        let Self { flow, table, lost, block, malformed, .. } = self;
        let sound = flow.feed(
            bytes,
            |bytes| cut(bytes, lost, matters),
            |frame| {
                // What a search passed over is no frame.
                if !lost.get() {
                    take(frame, table, block, malformed, matters, on);
                }
            },
        );
        if !sound {
            let searched = self.lost.get();
            self.lose();
            return searched;
        }
        true
    }
}

fn cut(bytes: &[u8], lost: &Cell<bool>, matters: &dyn Fn(u32) -> bool) -> Cut {
    if lost.get() {
        match search(bytes) {
            Ok(0) => lost.set(false),
            Ok(at) => return Cut::Head { head: 0, rest: at as u64 },
            Err(0) => return Cut::More,
            Err(at) => return Cut::Head { head: 0, rest: at as u64 },
        }
    }
    if bytes.starts_with(&PREFACE[..bytes.len().min(3)]) && bytes[0] == b'P' {
        return if bytes.len() < PREFACE.len() { Cut::More } else { Cut::Whole(PREFACE.len()) };
    }
    let Some(header) = Header::new(bytes) else { return Cut::More };
    let whole = HEADER + header.length;
    match header.kind {
        0 if header.length > FRAME_AT_MOST || !matters(header.stream & 0x7fff_ffff) => {
            Cut::Head { head: HEADER, rest: header.length as u64 }
        }
        0 | 1 | 9 if header.length <= FRAME_AT_MOST => Cut::Whole(whole),
        1 | 9 => Cut::Broken,
        3 if header.length != 4 => Cut::Broken,
        // Settings, pings, windows, and what is not known: none of it matters.
        _ if header.kind > 9 && header.length > FRAME_AT_MOST => Cut::Broken,
        3 => Cut::Whole(whole),
        _ => Cut::Head { head: HEADER, rest: header.length as u64 },
    }
}

fn take(
    frame: &[u8],
    table: &mut Table,
    block: &mut Option<Block>,
    malformed: &mut u64,
    matters: &dyn Fn(u32) -> bool,
    on: &mut dyn FnMut(u32, Said<'_>),
) {
    let Some(header) = Header::new(frame) else { return };
    let stream = header.stream & 0x7fff_ffff;
    let Header { length, kind, flags, .. } = header;
    let body = &frame[HEADER.min(frame.len())..];
    match kind {
        0 => {
            let padded = flags & 8 != 0;
            match (body.len() == length).then(|| unpadded(body, padded, 0)).flatten() {
                Some(body) if matters(stream) => on(stream, Said::Body(body)),
                _ => on(stream, Said::Passed),
            }
            if flags & 1 != 0 {
                on(stream, Said::End);
            }
        }
        1 => {
            let priority = if flags & 0x20 != 0 { 5 } else { 0 };
            let Some(bytes) = unpadded(body, flags & 8 != 0, priority) else {
                *malformed += 1;
                return;
            };
            let begun = Block { stream, ends: flags & 1 != 0, bytes: Vec::new() };
            if flags & 4 != 0 {
                *block = None;
                headers(&begun, bytes, table, malformed, on);
            } else {
                *block = Some(Block { bytes: bytes.to_vec(), ..begun });
            }
        }
        3 => on(stream, Said::Reset),
        9 => {
            let Some(open) = block else { return };
            open.bytes.extend_from_slice(body);
            if flags & 4 != 0 || open.bytes.len() > BLOCK_AT_MOST {
                let Some(block) = block.take() else { return };
                headers(&block, &block.bytes, table, malformed, on);
            }
        }
        _ => {}
    }
}

fn headers(
    block: &Block,
    bytes: &[u8],
    table: &mut Table,
    malformed: &mut u64,
    on: &mut dyn FnMut(u32, Said<'_>),
) {
    let sound = table.read(bytes, |name, value| {
        if name != Name::Other {
            on(block.stream, Said::Field(name, value));
        }
    });
    if !sound {
        *malformed += 1;
        table.forget();
    }
    on(block.stream, Said::Headers { sound });
    if block.ends {
        on(block.stream, Said::End);
    }
}

/// A body without its padding and what stands before it.
fn unpadded(body: &[u8], padded: bool, before: usize) -> Option<&[u8]> {
    let (padding, body) = match padded {
        true => body.split_first().map(|(&padding, rest)| (usize::from(padding), rest))?,
        false => (0, body),
    };
    body.get(before..body.len().checked_sub(padding)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), body].concat()
    }

    fn conversation() -> Vec<u8> {
        let path = b"\x83\x86\x40\x05:path\x03/ab";
        [
            &frame(4, 0, 0, &[]),
            &frame(1, 0, 1, &path[..4]),
            &frame(9, 4, 1, &path[4..]),
            &frame(8, 0, 0, &[0, 0, 0, 7]),
            &frame(0, 8, 1, b"\x02bodyxx"),
            &frame(1, 4, 3, b"\xbe"),
            &frame(0, 1, 3, b"more"),
            &frame(0, 0, 5, &[b'z'; 50_000]),
            &frame(3, 0, 3, &[0, 0, 0, 8]),
        ]
        .map(Vec::as_slice)
        .concat()
    }

    fn heard(frames: &mut Frames, pieces: &[&[u8]]) -> Vec<String> {
        let mut heard = Vec::new();
        for piece in pieces {
            frames.feed(piece, &|stream| stream != 5, &mut |stream, said| {
                heard.push(match said {
                    Said::Field(Name::Path, value) => {
                        format!("{stream} path {}", String::from_utf8_lossy(value))
                    }
                    Said::Body(body) => format!("{stream} {}", String::from_utf8_lossy(body)),
                    other => format!("{stream} {other:?}"),
                });
            });
        }
        heard
    }

    #[test]
    fn frames_are_the_same_wherever_the_stream_is_cut() {
        let stream = [PREFACE, &conversation()].concat();
        let whole = heard(&mut Frames::default(), &[&stream]);
        assert_eq!(
            whole,
            [
                "1 path /ab",
                "1 Headers { sound: true }",
                "1 body",
                "3 path /ab",
                "3 Headers { sound: true }",
                "3 more",
                "3 End",
                "5 Passed",
                "3 Reset",
            ]
        );
        for size in [1, 2, 5, 9, 1000] {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(heard(&mut Frames::default(), &pieces), whole, "pieces of {size}");
        }
    }

    #[test]
    fn a_late_listener_finds_the_next_frame() {
        let stream = conversation();
        for start in 1..60 {
            let late = heard(&mut Frames::joined(), &[&stream[start..]]);
            assert!(late.contains(&"3 more".to_owned()), "from {start}: {late:?}");
            let single: Vec<&[u8]> = stream[start..].chunks(1).collect();
            assert_eq!(heard(&mut Frames::joined(), &single), late, "from {start}");
        }
    }

    #[test]
    fn what_is_missing_is_searched_after_unless_it_did_not_matter() {
        let stream = conversation();
        let long = stream.len() - 40_000;
        let mut frames = Frames::default();
        heard(&mut frames, &[&stream[..long]]);
        assert!(!frames.miss(20_000), "in the midst of what is passed over");
        assert_eq!(heard(&mut frames, &[&stream[long + 20_000..]]), ["3 Reset"]);
        assert!(frames.miss(1));
        assert!(!frames.in_step());
        let after = heard(&mut frames, &[&stream[..long]]);
        assert!(after.contains(&"3 more".to_owned()));
        assert_eq!(frames.resumed, 1);
    }
}
