//! Semaphores: a lock before the door, and behind it a node for everybody who is in.
//!
//! Curator's has its door at `S/locks` and its places at `S/leases`; who is behind the door makes a
//! place for itself and waits there until there are few enough. kazoo's has its door at `S-__lock__`
//! and its places at `S`; who is behind the door waits until there are few enough, then makes one.
//! How many are enough is said nowhere: that one has a place shows when it leaves the door.

use super::names::{self, Family};
use super::session::{Here, Node, Session, State};
use crate::model::{RemoteAct, RemoteStep};

impl Session {
    /// The list of places is asked for.
    pub fn look_around(&mut self, here: &Here, path: &[u8], out: &mut Vec<RemoteStep>) {
        let waits = |n: &Node| {
            let undecided = n.state == State::Queued && n.family == Family::Lease && n.since[1] > 0;
            let asked = n.state == State::Asked && n.family == Family::Place;
            (undecided || asked) && n.parent() == path
        };
        let mut again = false;
        for node in self.nodes.iter_mut().filter(|n| waits(n)) {
            again = true;
            // Whoever looks again did not get in the first time.
            node.since[1] = 0;
            let refused = RemoteAct::Refused { holder: None, ahead: None };
            out.push(node.step(here, here.time, refused));
        }
        let door = [path, b"-__lock__"].concat();
        let is_behind = |n: &&Node| n.state == State::Held && n.parent() == door;
        let Some(owner) = self.nodes.iter().find(is_behind).map(|door| door.owner) else { return };
        if again || !self.has_room() {
            return;
        }
        let node = Node {
            lock: names::describe(here.server, path, Family::Place),
            owner,
            family: Family::Place,
            state: State::Asked,
            told: true,
            path: [path, b"/"].concat(),
            number: 0,
            before: None,
            waits: false,
            since: [here.time, 0],
            lasting: false,
            here: *here,
            fence: None,
        };
        let lease = self.lease;
        let asked = RemoteAct::Asked { mode: node.mode(), lease, queued: true };
        out.push(node.step(here, here.time, asked));
        self.nodes.push(node);
    }

    /// A node is asked for that has no number. True: it is a place.
    pub fn sit_down(&mut self, path: &[u8]) -> bool {
        let (parent, name) = names::split(path);
        let open = |n: &&mut Node| {
            n.family == Family::Place && n.state == State::Asked && n.parent() == parent
        };
        let hex = name.len() == 32 && name.iter().all(u8::is_ascii_hexdigit);
        match self.nodes.iter_mut().find(open).filter(|_| hex) {
            Some(node) => {
                node.path = path.to_vec();
                true
            }
            None => false,
        }
    }

    /// The server made that node. True: it is a place.
    pub fn seated(&mut self, here: &Here, path: &[u8], out: &mut Vec<RemoteStep>) -> bool {
        let is_it =
            |n: &Node| n.family == Family::Place && n.state == State::Asked && n.path == path;
        let Some(at) = self.nodes.iter().position(is_it) else { return false };
        self.grant(at, here, here.time, out);
        true
    }

    /// A node is asked to be gone: if it is a door, whoever is behind it has a place, or gave up.
    pub fn leave_door(&mut self, here: &Here, path: &[u8], out: &mut Vec<RemoteStep>) {
        let door = names::split(path).0;
        let held = |n: &Node| n.state == State::Held && n.path == path;
        if !self.nodes.iter().any(held) {
            return;
        }
        if let Some(base) = door.strip_suffix(b"/locks") {
            let leases = [base, b"/leases"].concat();
            for at in 0..self.nodes.len() {
                let node = &self.nodes[at];
                let undecided = node.state == State::Queued && node.since[1] > 0;
                if undecided && node.family == Family::Lease && node.parent() == leases {
                    let time = node.since[1];
                    self.grant(at, here, time, out);
                }
            }
        } else if let Some(base) = door.strip_suffix(b"-__lock__") {
            let open = [base, b"/"].concat();
            let gave_up = |n: &mut Node| n.family == Family::Place && n.path == open;
            for node in self.nodes.extract_if(.., gave_up) {
                let act = RemoteAct::Ended { error: "gave_up", holder: None };
                out.push(node.step(here, here.time, act));
            }
        }
    }
}
