//! What the backends of lock servers share: conversations cut into messages, and their contract.
//!
//! In: pieces of conversations. Out: messages. Never: what they mean; a clock, files, network.

mod backend;
mod bounded;
mod flow;
pub mod hpack;
pub mod http1;
pub mod http2;
mod huffman;
mod lock;
#[cfg(test)]
pub mod play;
mod rules;
pub mod sql;

pub use backend::{Backend, Ears};
pub use bounded::Bounded;
pub use flow::{Cut, Flow};
pub use lock::{lock, owner, shown, template};
pub use rules::{OfStatements, Rules};
