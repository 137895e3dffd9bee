//! What a backend promises.

use crate::model::{Connection, Piece, RemoteStep, Thread};

/// What was heard and could not be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ears {
    /// Messages that are none of the protocol.
    pub malformed: u64,
    /// Times the stream was joined anew, after bytes were missing or made no sense.
    pub resumed: u64,
    /// Answers nobody had asked for, and requests that were never answered.
    pub unpaired: u64,
    /// Operations whose lock or outcome could not be told.
    pub unclear: u64,
    /// State given up since there was too much of it.
    pub evicted: u64,
}

impl Ears {
    /// Causes as users read them, and their counts.
    pub fn causes(&self) -> [(&'static str, u64); 5] {
        [
            ("malformed", self.malformed),
            ("resumed", self.resumed),
            ("unpaired", self.unpaired),
            ("unclear", self.unclear),
            ("evicted", self.evicted),
        ]
    }
}

/// Turns conversations with one kind of server into steps of locks.
///
/// Pieces of one connection and direction come in order; between the directions an answer may come
/// a little before the request it answers, where two threads of the client were at work. Whatever
/// the bytes are, a backend does not panic, its memory is bounded, and it says the same wherever the
/// stream is cut into pieces. What it cannot know it counts, and says nothing.
pub trait Backend {
    /// A client's connection was seen for the first time.
    fn opened(&mut self, connection: &Connection);

    /// A piece of the conversation.
    fn piece(&mut self, connection: &Connection, piece: &Piece<'_>, out: &mut Vec<RemoteStep>);

    /// The connection is closed; `thread` was the last to use it.
    fn closed(
        &mut self,
        connection: &Connection,
        time: u64,
        thread: Thread,
        out: &mut Vec<RemoteStep>,
    );

    /// Everything up to this time has been delivered.
    fn tick(&mut self, now: u64, out: &mut Vec<RemoteStep>);

    /// What could not be used so far.
    fn ears(&self) -> Ears;
}
