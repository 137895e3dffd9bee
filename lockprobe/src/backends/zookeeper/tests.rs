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

/// A frame: its length before what follows.
fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    frame(bytes)
}

/// A request: number, operation, the rest.
fn ask(number: i32, code: i32, rest: &[Vec<u8>]) -> String {
    let head = [number.to_be_bytes(), code.to_be_bytes()].concat();
    hex(&frame(&[head, rest.concat()].concat()))
}

/// An answer: number, error, the rest.
fn say(number: i32, error: i32, rest: &[Vec<u8>]) -> String {
    let head = [&number.to_be_bytes()[..], &77i64.to_be_bytes(), &error.to_be_bytes()].concat();
    hex(&frame(&[head, rest.concat()].concat()))
}

fn hex(bytes: &[u8]) -> String {
    format!("hex:{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn create(number: i32, path: &str, flags: i32) -> String {
    let rest = [text(path.as_bytes()), text(b"me"), vec![0; 4], flags.to_be_bytes().to_vec()];
    ask(number, 1, &rest)
}

fn names(names: &[&str]) -> Vec<u8> {
    let list = names.iter().flat_map(|name| text(name.as_bytes()));
    (names.len() as u32).to_be_bytes().into_iter().chain(list).collect()
}

/// A session that is there from the beginning: `number`, of four seconds.
fn greeted(connection: &str, number: u8) -> String {
    let sent = [&45u32.to_be_bytes()[..], &[0; 12], &4000u32.to_be_bytes(), &[0; 8]].concat();
    let mut received = [&37u32.to_be_bytes()[..], &[0; 4], &4000u32.to_be_bytes()].concat();
    received.extend([0, 0, 0, 0, 0, 0, 0, number]);
    let (sent, received) = (hex(&sent), hex(&received));
    format!(
        "0 {connection} >! {sent}\n0 {connection} miss > 21\n\
         0 {connection} < {received}\n0 {connection} miss < 21\n"
    )
}

/// Names that say nothing, in a place that says nothing: told once somebody waits there.
#[test]
fn a_queue_is_learnt_from_one_who_waits_in_it() {
    let (one, two) = ("x-1-0000000000", "x-2-0000000001");
    let mut story = greeted("A@11", 1) + &greeted("B@12", 2);
    for (time, connection, own, list) in
        [(10, "A@11", one, &[one][..]), (20, "B@12", two, &[one, two])]
    {
        let asked = create(1, &format!("/q/{}", &own[..4]), 3);
        let made = say(1, 0, &[text(format!("/q/{own}").as_bytes())]);
        let looked = ask(2, 8, &[text(b"/q"), vec![0]]);
        let children = say(2, 0, &[names(list)]);
        story += &format!(
            "{time} {connection} > {asked}\n{} {connection} < {made}\n\
             {} {connection} > {looked}\n{} {connection} < {children}\n",
            time + 1,
            time + 2,
            time + 3
        );
    }
    assert_eq!(told(&story).0, "", "members of a group do as much");
    let watch = ask(3, 3, &[text(format!("/q/{one}").as_bytes()), vec![1]]);
    story += &format!("25 B@12 > {watch}\n");
    let (steps, _) = told(&story);
    let acts: Vec<String> =
        steps.lines().map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(acts, ["10 11 asked", "13 11 acquired", "20 12 asked", "25 12 refused"]);
    contract::<ZooKeeper>(Dialect::ZooKeeper, &story);
}

const STEM: &str = "/locks/a/0123456789abcdef0123456789abcdef__lock__";
const NODE: &str = "0123456789abcdef0123456789abcdef__lock__0000000003";

/// The answer to the creation is lost with its connection; the name finds the node again.
#[test]
fn a_node_is_found_again_over_another_connection() {
    let mut story =
        greeted("A@11", 1) + &format!("10 A@11 > {}\n11 A@11 close\n", create(1, STEM, 3));
    story += &greeted("B@11", 1);
    let looked = ask(2, 8, &[text(b"/locks/a"), vec![0]]);
    story += &format!("20 B@11 > {looked}\n21 B@11 < {}\n", say(2, 0, &[names(&[NODE])]));
    let deleted = ask(3, 2, &[text(format!("/locks/a/{NODE}").as_bytes()), vec![255; 4]]);
    story += &format!("30 B@11 > {deleted}\n31 B@11 < {}\n", say(3, 0, &[]));
    let (steps, _) = told(&story);
    assert!(steps.contains("21 11 acquired exclusive 4000ms zk://"), "{steps}");
    assert!(steps.contains("30 11 released"), "{steps}");
    contract::<ZooKeeper>(Dialect::ZooKeeper, &story);
}

/// Joined late, in the middle of a frame: a ping shows where the frames are, an answer likewise.
#[test]
fn it_joins_late_at_what_certainly_is_a_frame() {
    let ping = ask(-2, 11, &[]);
    let made = say(4, 0, &[text(format!("/locks/a/{NODE}").as_bytes())]);
    let looked = ask(5, 8, &[text(b"/locks/a"), vec![0]]);
    let children = say(5, 0, &[names(&[NODE])]);
    let story = format!(
        "1 A? > \"nonsense\"\n2 A? < \"\\0\\0more nonsense\"\n3 A? > {ping}\n4 A? > {}\n\
         5 A? < {made}\n6 A? > {looked}\n7 A? < {children}\n",
        create(4, STEM, 3)
    );
    let (steps, ears) = told(&story);
    assert!(steps.contains("4 10 asked exclusive ever queued"), "{steps}");
    assert!(steps.contains("7 10 acquired exclusive ever"), "{steps}");
    assert_eq!((ears.resumed, ears.malformed), (2, 0));
    contract::<ZooKeeper>(Dialect::ZooKeeper, &story);
}

/// An answer a little before its request; bytes that are missing; a deletion nobody answers.
#[test]
fn it_copes_with_haste_and_gaps_and_silence() {
    let made = say(1, 0, &[text(format!("/locks/a/{NODE}").as_bytes())]);
    let looked = ask(2, 8, &[text(b"/locks/a"), vec![0]]);
    let children = say(2, 0, &[names(&[NODE])]);
    let pong = say(-2, 0, &[]);
    let deleted = ask(3, 2, &[text(format!("/locks/a/{NODE}").as_bytes()), vec![255; 4]]);
    let story = greeted("A@11", 1)
        + &format!(
            "10 A@11 > {}\n11 A@11 < {made}\n12 A@11 < {children}\n13 A@11 > {looked}\n\
             14 A@11 miss < 30\n15 A@11 < \"rest of something\"\n16 A@11 < {pong}\n\
             20 A@11 > {deleted}\n60 tick\n100 tick\n",
            create(1, STEM, 3)
        );
    let (steps, ears) = told(&story);
    let acts: Vec<&str> = steps.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(acts, ["asked", "acquired", "renewed", "released"], "{steps}");
    assert_eq!((ears.resumed, ears.unpaired), (1, 0));
    // Asked for at 20 it was let go at 20, whenever that is told.
    assert!(steps.contains("20 11 released"), "{steps}");
}

/// What is no ZooKeeper at all.
#[test]
fn other_words_are_counted() {
    let (steps, ears) =
        told("1 A >! \"GET / HTTP/1.1\\r\\n\\r\\n\"\n2 A < \"HTTP/1.1 400 Bad\\r\\n\"");
    assert_eq!((steps.as_str(), ears.malformed), ("", 2));
}
