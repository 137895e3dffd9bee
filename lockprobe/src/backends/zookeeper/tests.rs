//! Stories of real clients, recorded between them and a server, and of what can happen besides.

use super::ZooKeeper;
use crate::framing::Backend as _;
use crate::framing::play::{Script, contract};
use crate::model::Dialect;

/// What is told of a conversation, and what could not be used of it.
fn told(text: &str) -> (String, crate::framing::Ears) {
    let mut backend = ZooKeeper::default();
    (Script::new(Dialect::ZooKeeper, text).play(&mut backend), backend.ears())
}

macro_rules! stories {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => {
        $($(#[doc = $doc])* #[test]
        fn $name() {
            let name = stringify!($name);
            let text = include_str!(concat!("conversations/", stringify!($name), ".txt"));
            let expected = include_str!(concat!("conversations/", stringify!($name), ".steps"));
            let (steps, _) = told(text);
            if let Ok(place) = std::env::var("STEPS") {
                std::fs::write(format!("{place}/{name}.steps"), &steps).unwrap();
            }
            assert_eq!(steps, expected);
            contract::<ZooKeeper>(Dialect::ZooKeeper, text);
        })*
    };
}

// kazoo 2.11.0 and Curator 5.4.0 with ZooKeeper 3.8.0, each process over a connection of its own.
stories! {
    /// `Lock` of kazoo: three of them, twice each.
    kazoo_lock;
    /// One holds; the other will not wait, then waits 300 ms.
    kazoo_try;
    /// `ReadLock` and `WriteLock` of two.
    kazoo_rw;
    /// `Semaphore` of two places: three want one, a fourth will not wait.
    kazoo_semaphore;
    /// `Election` of two.
    kazoo_election;
    /// Two threads of one session.
    kazoo_threads;
    /// One is stopped until its session is over, while another waits; then it goes on and lets go.
    kazoo_expired;
    /// One ends without a word; another waits.
    kazoo_died;
    /// It says who it is, and lets go in a transaction.
    kazoo_transaction;
    /// Another deletes its node.
    kazoo_removed;
    /// `InterProcessMutex` of two, and a third that waits 200 ms.
    curator_mutex;
    /// `InterProcessReadWriteLock` of two, each of which reads, writes, then reads while it writes.
    curator_rw;
    /// `LeaderLatch` of two.
    curator_latch;
    /// `LeaderSelector` of two.
    curator_selector;
    /// `InterProcessSemaphoreV2` of two places: three want one.
    curator_semaphore;
}

/// A group's members, a broker, a queue, a party and a counter.
#[test]
fn what_is_no_lock_is_none() {
    let text = include_str!("conversations/kazoo_other.txt");
    let (steps, ears) = told(text);
    assert_eq!((steps.as_str(), ears.malformed, ears.unpaired), ("", 0, 0));
}
