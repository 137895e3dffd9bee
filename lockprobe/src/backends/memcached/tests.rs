//! Stories of real clients, recorded between them and a server, and of what can happen besides.

use super::Memcached;
use crate::framing::Backend as _;
use crate::framing::play::{Script, contract};
use crate::model::Dialect;

/// What is told of a conversation, and what could not be used of it.
fn told(text: &str) -> (String, crate::framing::Ears) {
    let mut backend = Memcached::default();
    (Script::new(Dialect::Memcached, text).play(&mut backend), backend.ears())
}

macro_rules! stories {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => {
        $($(#[doc = $doc])* #[test]
        fn $name() {
            let name = stringify!($name);
            let text = include_str!(concat!("conversations/", stringify!($name), ".txt"));
            let expected = include_str!(concat!("conversations/", stringify!($name), ".steps"));
            let (steps, ears) = told(text);
            if let Ok(place) = std::env::var("STEPS") {
                std::fs::write(format!("{place}/{name}.steps"), &steps).unwrap();
            }
            assert_eq!(steps, expected);
            assert_eq!((ears.malformed, ears.unpaired, ears.resumed), (0, 0, 0));
            contract::<Memcached>(Dialect::Memcached, text);
        })*
    };
}

// pymemcache 4.0.0, and requests by hand, with memcached 1.6.18.
stories! {
    /// Two want a lock, twice each, and prolong it by `touch` and by `cas`.
    lock;
    /// A lock of a second is prolonged and let go after two.
    expire;
    /// Whether it has the lock it does not ask; later it does, but not for letting go.
    noreply;
    /// Keys that do not look like locks: some are deleted by who added them, one is a page.
    quiet;
    /// Meta commands.
    meta;
    /// The binary protocol.
    binary;
}

/// A page that is kept, a number that counts and a session are no locks, deleted or not.
#[test]
fn what_is_kept_is_no_lock() {
    let (steps, ears) = told(
        r#"
        1 A >! "add page:1 0 300 9\r\n{\"a\": 12}\r\n"
        2 A < "STORED\r\n"
        3 A > "delete page:1\r\n"
        4 A < "DELETED\r\n"
        5 A > "add seen:17 0 0 1\r\n1\r\n"
        6 A < "STORED\r\n"
        7 A > "incr seen:17 1\r\n"
        8 A < "2\r\n"
        9 A > "add session:9 0 3000 12\r\nabcdefabcdef\r\n"
        10 A < "STORED\r\n"
        11 A > "add session:9 0 3000 12\r\nabcdefabcdef\r\n"
        12 A < "NOT_STORED\r\n"
        "#,
    );
    assert_eq!((steps.as_str(), ears.malformed), ("", 0));
}

/// Its lease is over, another has the lock, and it deletes what is not its own.
#[test]
fn a_late_delete_takes_the_lock_from_another() {
    let (steps, _) = told(
        r#"
        1 A@11 >! "add lock:a 0 1 12\r\naaaaaaaaaaaa\r\n"
        2 A@11 < "STORED\r\n"
        1500 B@12 >! "add lock:a 0 9 12\r\nbbbbbbbbbbbb\r\n"
        1501 B@12 < "STORED\r\n"
        1600 A@11 > "delete lock:a\r\n"
        1601 A@11 < "DELETED\r\n"
        "#,
    );
    let last = steps.lines().last().unwrap();
    assert!(last.starts_with("1601 11 removed memcached://127.0.0.1:11211/lock:a"), "{last}");
}

/// Bytes are missing: nothing is told until nothing is owed, and then all is well.
#[test]
fn after_a_gap_it_goes_on_where_nothing_is_owed() {
    let (steps, ears) = told(
        r#"
        1 A >! "add lock:a 0 5 12\r\naaaaaaaaaaaa\r\n"
        2 A miss < 8
        3 A < "STORED\r\n"
        4 A > "delete lock:a\r\n"
        5 A < "DELETED\r\n"
        6 A >! "add lock:b 0 5 12\r\naaaaaaaaaaaa\r\n"
        7 A < "STORED\r\n"
        "#,
    );
    assert!(steps.contains("7 10 acquired") && !steps.contains("lock:a"), "{steps}");
    assert_eq!(ears.resumed, 1);
}

/// Joined in the middle of something, it waits for a beginning; an answer may be a little early.
#[test]
fn it_begins_where_nothing_is_owed_and_waits_for_the_request() {
    let (steps, ears) = told(
        r#"
        1 A? < "STORED\r\n"
        2 A? > "add lock:a 0 5 12\r\naaaaaaaaaaaa\r\n"
        3 A? < "STORED\r\n"
        4 A? >! "add lock:b 0 5 12\r\naaaaaaaaaaaa\r\n"
        5 A? < "STORED\r\n"
        6 A? < "DELETED\r\n"
        6 A? > "delete lock:b\r\n"
        "#,
    );
    assert!(!steps.contains("lock:a") && steps.contains("6 10 released"), "{steps}");
    assert_eq!(ears.unpaired, 0);
}
