//! What clients look at while they wait in a queue for a lock.

use super::names::{self, Family};
use super::session::{Here, Node, Session, State};
use crate::framing::shown;
use crate::model::{RemoteAct, RemoteStep, Said};

impl Session {
    /// The client looks at this node, and waits for it to change: it stands behind it in a queue.
    /// Says which queue, if it was not known to be one.
    pub fn watches(
        &mut self,
        here: &Here,
        path: &[u8],
        out: &mut Vec<RemoteStep>,
    ) -> Option<Vec<u8>> {
        let (parent, name) = names::split(path);
        let (_, number) = names::number(name)?;
        let queued = |n: &&mut Node| n.state == State::Queued && n.number > number;
        let here_too = self.nodes.iter_mut().filter(queued).filter(|n| n.parent() == parent);
        here_too.for_each(|node| node.waits = true);
        let behind = |n: &Node| {
            let waits = matches!(n.state, State::Queued | State::Inner);
            waits && !n.told && n.parent() == parent && n.number > number
        };
        let at = self.nodes.iter().position(behind)?;
        let asked = self.asked(&self.nodes[at]);
        let node = &mut self.nodes[at];
        node.told = true;
        node.state = State::Queued;
        if node.before.is_none() {
            node.before = Some((name.to_vec(), 1));
        }
        out.push(node.step(&node.here, node.since[0], asked));
        let learnt = (node.family == Family::Numbered).then(|| parent.to_vec());
        self.refuse(at, here, out);
        learnt
    }

    /// What was quiet in this queue is told: it is one for a lock.
    pub fn tell(&mut self, parent: &[u8], out: &mut Vec<RemoteStep>) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.told || node.family != Family::Numbered || node.parent() != parent {
                continue;
            }
            out.push(node.step(&node.here, node.since[0], self.asked(node)));
            let (here, time) = (node.here, node.since[1]);
            self.nodes[at].told = true;
            if self.nodes[at].state == State::Held {
                self.grant(at, &here, time, out);
            }
        }
    }

    /// What is in a node that is waited for, and whose it is.
    pub fn looked(
        &mut self,
        here: &Here,
        path: &[u8],
        words: &[u8],
        session: i64,
        out: &mut Vec<RemoteStep>,
    ) {
        let (parent, name) = names::split(path);
        let Some((stem, _)) = names::number(name) else { return };
        for node in &self.nodes {
            let first = node.before.as_ref().is_some_and(|(first, n)| first == name && *n == 1);
            if !first || !node.told || node.state != State::Queued || node.parent() != parent {
                continue;
            }
            let words = match words {
                [] => format!("session {session:#x}"),
                words => shown(words),
            };
            let owner = names::owner_of(stem, Some(session));
            let said = Said { owner, words: Some(words.into()) };
            out.push(node.step(
                here,
                here.time,
                RemoteAct::Refused { holder: Some(said), ahead: Some(1) },
            ));
        }
    }
}
