//! Many that ask for a lock at the moment it is let go: a thundering herd.
//!
//! Whoever is woken by the release of a lock asks for it at once, and all but one in vain. Clients
//! that poll ask all the time: they are told apart by how many asked just before the release.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::model::{Notice, NoticeKind, RemoteHold, ThreadId};

/// So many are a herd: what a handful of clients cost a server is nothing.
const MANY: usize = 8;
/// Who asks so soon after a release was woken by it, nanoseconds: a round trip in a data centre, a
/// lease that is granted first, and a busy client's way to a processor.
const AT_ONCE: u64 = 50_000_000;
/// A herd is at least so many times as many as asked in the same time before.
const TIMES: usize = 2;
/// Steps are told 120 ms after they happened.
const TOLD_AFTER: u64 = AT_ONCE + 120_000_000;
/// How often a lock's herd is told of, nanoseconds: it is the same each time.
const TOLD_EVERY: u64 = 10_000_000_000;
/// Most requests remembered of one lock.
const AT_MOST: usize = 1024;

/// An attempt: its thread, and since when.
type Who = (ThreadId, u64);

/// Who asked for a lock lately, and what came of its last release.
#[derive(Debug, Default)]
pub struct Herd {
    asked: VecDeque<(u64, Who)>,
    let_go: Option<(u64, Arc<RemoteHold>)>,
    told: Option<u64>,
}

impl Herd {
    /// An attempt asks.
    pub fn asks(&mut self, time: u64, who: Who) {
        if self.asked.len() >= AT_MOST {
            self.asked.pop_front();
        }
        self.asked.push_back((time, who));
    }

    /// A hold is over. Who asks next may let go at once as well: that belongs to the same herd.
    pub fn let_go(&mut self, time: u64, hold: &RemoteHold) {
        let recently = self.told.is_some_and(|told| time.saturating_sub(told) < TOLD_EVERY);
        if self.let_go.is_none() && !recently {
            self.let_go = Some((time, Arc::new(hold.clone())));
        }
    }

    /// Everything before this time was told, but for what was told late.
    pub fn tick(&mut self, now: u64) -> Option<Notice> {
        let over = self.let_go.take_if(|(time, _)| now.saturating_sub(*time) >= TOLD_AFTER);
        let notice = over.and_then(|(time, hold)| self.judge(time, hold));
        // Those who asked before a release that is not known yet.
        while self.let_go.is_none()
            && let Some((time, _)) = self.asked.front()
            && now.saturating_sub(*time) >= TOLD_AFTER + AT_ONCE
        {
            self.asked.pop_front();
        }
        notice
    }

    fn judge(&mut self, time: u64, hold: Arc<RemoteHold>) -> Option<Notice> {
        let between = |from: u64, to: u64| {
            let asked = self.asked.iter().filter(|(at, _)| (from..to).contains(at));
            asked.map(|(_, who)| *who).collect::<BTreeSet<Who>>().len()
        };
        let after = between(time, time.saturating_add(AT_ONCE));
        let before = between(time.saturating_sub(AT_ONCE), time);
        if after < MANY || after < TIMES * before {
            return None;
        }
        self.told = Some(time);
        Some(Notice { time, what: NoticeKind::Herd(after as u32), hold, other: None })
    }
}
