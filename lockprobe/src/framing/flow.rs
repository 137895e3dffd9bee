//! One direction of a conversation, cut into messages.

/// Most bytes held back for a message that is not complete; one that is longer and matters breaks
/// the flow.
const HELD_AT_MOST: usize = 64 << 10;

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A message of this length.
    Whole(usize),
    /// A message of which this many bytes matter; the rest, however long, is not looked at.
    Head {
        /// Bytes that are handed on.
        head: usize,
        /// Bytes after them that are passed over.
        rest: u64,
    },
    /// Too little to tell.
    More,
    /// Nothing of the protocol.
    Broken,
}

/// Bytes on their way into messages. Says the same wherever the stream was cut into pieces.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    held: Vec<u8>,
    skip: u64,
    broken: bool,
}

impl Flow {
    /// Takes the next bytes, and hands over every message they complete. False: the flow is broken
    /// and stays so until [`Flow::restart`].
    pub fn feed(
        &mut self,
        bytes: &[u8],
        cut: impl Fn(&[u8]) -> Cut,
        mut message: impl FnMut(&[u8]),
    ) -> bool {
        if self.broken {
            return false;
        }
        let passed = self.skip.min(bytes.len() as u64);
        self.skip -= passed;
        let bytes = &bytes[passed as usize..];
        if bytes.is_empty() {
            return true;
        }
        let mut held = std::mem::take(&mut self.held);
        let all = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        let rest = self.cut_up(all, cut, &mut message);
        if self.broken || rest.len() > HELD_AT_MOST {
            self.broken = true;
            return false;
        }
        let kept = rest.len();
        if held.is_empty() {
            self.held = rest.to_vec();
        } else {
            held.drain(..held.len() - kept);
            self.held = held;
        }
        true
    }

    fn cut_up<'a>(
        &mut self,
        mut all: &'a [u8],
        cut: impl Fn(&[u8]) -> Cut,
        message: &mut impl FnMut(&[u8]),
    ) -> &'a [u8] {
        while !all.is_empty() {
            let (head, rest) = match cut(all) {
                Cut::Whole(length) => (length, 0),
                Cut::Head { head, rest } => (head, rest),
                Cut::More => break,
                Cut::Broken => {
                    self.broken = true;
                    break;
                }
            };
            if head > all.len() {
                break;
            }
            if head == 0 && rest == 0 {
                // A message of no bytes would be found for ever.
                self.broken = true;
                break;
            }
            message(&all[..head]);
            let passed = rest.min((all.len() - head) as u64);
            self.skip = rest - passed;
            all = &all[head + passed as usize..];
        }
        all
    }

    /// This many bytes were not captured. False: some of them mattered, and the flow is broken.
    pub fn miss(&mut self, bytes: u64) -> bool {
        if bytes > 0 && (bytes > self.skip || !self.held.is_empty()) {
            self.broken = true;
        }
        self.skip = self.skip.saturating_sub(bytes);
        !self.broken
    }

    /// Begins anew, at the beginning of a message.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing can be made of what comes.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it stands between two messages.
    pub fn is_between(&self) -> bool {
        !self.broken && self.skip == 0 && self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length of one byte, then so many bytes; from 100 on only two of them matter.
    fn cut(bytes: &[u8]) -> Cut {
        match bytes[0] {
            0xff => Cut::Broken,
            length if length >= 100 => Cut::Head { head: 3, rest: u64::from(length) - 2 },
            length => Cut::Whole(1 + usize::from(length)),
        }
    }

    fn stream() -> Vec<u8> {
        let mut stream = vec![3, b'a', b'b', b'c', 100];
        stream.extend([b'x'; 100]);
        stream.extend([0, 1, b'z']);
        stream
    }

    fn messages(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut flow = Flow::default();
        let mut messages = Vec::new();
        for piece in pieces {
            assert!(flow.feed(piece, cut, |m| messages.push(m.to_vec())));
        }
        assert!(flow.is_between());
        messages
    }

    #[test]
    fn messages_are_the_same_wherever_the_stream_is_cut() {
        let stream = stream();
        let whole = messages(&[&stream]);
        assert_eq!(whole, [&b"\x03abc"[..], b"dxx", b"\0", b"\x01z"]);
        for at in 0..stream.len() {
            assert_eq!(messages(&[&stream[..at], &stream[at..]]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(messages(&single), whole);
    }

    #[test]
    fn what_is_missing_breaks_the_flow_only_where_it_mattered() {
        let mut flow = Flow::default();
        let mut count = 0;
        assert!(flow.feed(&stream()[..20], cut, |_| count += 1));
        assert!(flow.miss(50), "bytes that would have been passed over");
        assert!(flow.feed(&stream()[70..], cut, |_| count += 1));
        assert_eq!(count, 4);
        assert!(!flow.miss(1));
        assert!(!flow.feed(b"\x01z", cut, |_| count += 1));
        flow.restart();
        assert!(flow.feed(b"\x01z", cut, |_| count += 1));
        assert_eq!(count, 5);
        assert!(!flow.feed(b"\xff", cut, |_| ()));
    }

    #[test]
    fn a_message_that_never_ends_is_not_held_for_ever() {
        let mut flow = Flow::default();
        let piece = [0u8; 4096];
        let fed = (0..100).take_while(|_| flow.feed(&piece, |_| Cut::More, |_| ())).count();
        assert_eq!(fed, HELD_AT_MOST / piece.len());
        assert!(flow.held.is_empty());
    }
}
