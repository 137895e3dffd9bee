//! Which stacks are taken, when, and which wait they belong to.
//!
//! A waiting thread stands still, so its stack is copied while it waits, before it has waited long
//! enough to be worth it, and turned into functions only once it has. Who has the lock is often
//! known only when it is let go: until then the other threads of a small process are copied too.

use std::collections::HashMap;

use crate::backends::futex::Futex;
use crate::enrich::{Enricher, Sample, Wanted};
use crate::model::{
    AcquireSpan, Fact, Finding, Holder, LockSeen, Look, Missing, StackFact, ThreadId, WaitSeen,
    WaitStacks,
};

/// Most waits with a stack at a time; beyond it all are forgotten.
const WAITS_AT_MOST: usize = 8192;
/// Most waits with copies at a time: 64 KiB each, and as much for the holder.
const COPIES_AT_MOST: usize = 128;
/// Most first contentions whose stack is kept, 1 KiB each.
const FIRST_AT_MOST: usize = 1024;
/// Waits looked at in a second, in all and for one lock.
const A_SECOND: u32 = 100;
const A_SECOND_AND_LOCK: u32 = 10;
/// Of these, the ones for which all other threads are copied; and most threads for that.
const CROWDS_A_SECOND: u32 = 25;
const CROWD_AT_MOST: usize = 16;
/// A wait not told of for so long is over; one that goes on is told of every second.
const OVER_AFTER: u64 = 3_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A wait: who, since when.
type Key = (ThreadId, u64);
/// A copied stack, or why there is none.
type Copied = Result<Sample, Look>;

/// Copies of one wait, while it goes on.
struct Open {
    waiter: Copied,
    holder: Option<(ThreadId, Copied)>,
    others: Vec<(ThreadId, Copied)>,
    told: bool,
    seen: u64,
}

/// Stacks on their way from copies to spans.
#[derive(Default)]
pub struct Stacks {
    threshold: Option<u64>,
    open: HashMap<Key, Open>,
    first: HashMap<ThreadId, (u64, Sample)>,
    known: HashMap<Key, WaitStacks>,
    budget: Budget,
    missing: HashMap<Missing, u64>,
}

impl Stacks {
    /// For waits from this length on; none without.
    pub fn new(threshold: Option<u64>) -> Self {
        Self { threshold, ..Self::default() }
    }

    /// Keeps the stack copied at a first contention: all there is if the wait ends unseen.
    pub fn first(&mut self, seen: &LockSeen) {
        if self.threshold.is_some() {
            if self.first.len() >= FIRST_AT_MOST {
                self.first.clear();
            }
            self.first.insert(seen.thread.id, (seen.time, Enricher::first_sample(seen)));
        }
    }

    /// Looks at a thread that waits, and at the one it waits for.
    pub fn look(&mut self, wait: &WaitSeen, futex: &Futex, enricher: &mut Enricher) {
        let Some(threshold) = self.threshold else { return };
        let key = (wait.thread.id, wait.start);
        if let Some(open) = self.open.get_mut(&key) {
            open.seen = wait.time;
            if !matches!(open.waiter, Err(Look::Missing(_))) || open.told {
                return;
            }
        }
        let age = wait.time.saturating_sub(wait.start);
        if age < threshold / 2 || self.known.contains_key(&key) || !futex.is_for_lock(wait) {
            return;
        }
        if self.open.len() >= COPIES_AT_MOST {
            self.open.retain(|_, open| !open.told);
        }
        let lock = (key.0.pid, wait.address);
        let full = self.open.len() >= COPIES_AT_MOST || !self.budget.one(wait.time, lock);
        let waiter = if full {
            Err(Look::Missing(Missing::RateLimited))
        } else {
            let (address, sp, ip) = (wait.futex, wait.sp, wait.ip);
            enricher.sample(key.0, Wanted::Sleeping { address, sp, ip }, || true)
        };
        let mut open =
            Open { waiter, holder: None, others: Vec::new(), told: false, seen: wait.time };
        if open.waiter.is_ok() {
            match futex.named_holder(wait) {
                Some(holder) => open.holder = holder_of(wait, &holder, futex, enricher),
                None if self.budget.crowd() => open.others = others(key.0, enricher),
                None => {}
            }
        }
        if self.open.len() < 2 * COPIES_AT_MOST {
            self.open.insert(key, open);
        }
    }

    /// Looks at a thread that waits, and tells at once.
    pub fn look_now(wait: &WaitSeen, enricher: &mut Enricher) -> Vec<Fact> {
        let key = (wait.thread.id, wait.start);
        let (address, sp, ip) = (wait.futex, wait.sp, wait.ip);
        let waiter = enricher.sample(key.0, Wanted::Sleeping { address, sp, ip }, || true);
        vec![fact(key, key.0, waiter, enricher)]
    }

    /// A wait ended, or seems to have: what was copied of it becomes facts if it was long enough.
    pub fn ended(&mut self, wait: &WaitSeen, enricher: &mut Enricher) -> Vec<Fact> {
        let key = (wait.thread.id, wait.start);
        let first = self.first.remove(&key.0).filter(|(time, _)| *time == wait.start);
        let long = self.threshold.is_some_and(|t| wait.ran.saturating_sub(wait.start) >= t);
        if !long {
            return Vec::new();
        }
        let mut facts = Vec::new();
        if let Some(mut open) = self.open.remove(&key) {
            if matches!(open.waiter, Err(Look::Missing(Missing::MovedOn)))
                && let Some((_, sample)) = first
            {
                open.waiter = Ok(sample);
            }
            if let Some(waker) = &wait.waker
                && open.holder.is_none()
            {
                let at = open.others.iter().position(|(id, _)| *id == waker.id);
                open.holder = at.map(|at| open.others.swap_remove(at));
            }
            if open.told {
                facts.extend(open.holder.map(|(id, copied)| fact(key, id, copied, enricher)));
                return facts;
            }
            tell(key, &mut open, enricher, &mut facts);
        } else if let Some((_, sample)) = first.filter(|_| !self.known.contains_key(&key)) {
            facts.push(fact(key, key.0, Ok(sample), enricher));
        }
        facts
    }

    /// Waits that go on and have become long enough; forgets those that are over.
    pub fn ripen(&mut self, now: u64, enricher: &mut Enricher) -> Vec<Fact> {
        let Some(threshold) = self.threshold else { return Vec::new() };
        self.open.retain(|_, open| open.seen + OVER_AFTER > now);
        let mut facts = Vec::new();
        let ripe = |(key, open): &(&Key, &mut Open)| {
            let gone_on = open.seen.saturating_sub(key.1) >= threshold;
            gone_on && !open.told && !matches!(open.waiter, Err(Look::Missing(_)))
        };
        for (key, open) in self.open.iter_mut().filter(ripe) {
            tell(*key, open, enricher, &mut facts);
        }
        facts
    }

    /// Takes in what was told, live or in a recording.
    pub fn learn(&mut self, fact: &StackFact) {
        let key = (fact.waiter, fact.start);
        if self.known.len() >= WAITS_AT_MOST && !self.known.contains_key(&key) {
            self.known.clear();
        }
        let stacks = self.known.entry(key).or_default();
        if fact.thread == fact.waiter {
            stacks.waiter = Some(fact.look.clone());
        } else {
            stacks.holder = Some((fact.thread, fact.look.clone()));
        }
    }

    /// Gives a span its stacks.
    pub fn attach(&mut self, span: &mut AcquireSpan) {
        let known = self.known.remove(&(span.thread.id, span.start));
        let Some(threshold) = self.threshold else {
            span.stacks = known.map(|stacks| checked(stacks, span.holder.as_ref()).into());
            return;
        };
        if span.end - span.start < threshold {
            return;
        }
        let mut stacks = checked(known.unwrap_or_default(), span.holder.as_ref());
        let waiter = stacks.waiter.get_or_insert(Look::Missing(Missing::TooLate));
        if let Look::Missing(why) = waiter {
            *self.missing.entry(*why).or_default() += 1;
        }
        span.stacks = Some(stacks.into());
    }

    /// Gives the waits of a finding their stacks.
    pub fn attach_to_finding(&self, finding: &mut Finding) {
        for edge in &mut finding.waits {
            let known = self.known.get(&(edge.waiter.id, edge.since)).cloned();
            edge.stacks = known.map(Into::into);
        }
    }

    /// Long waits without a stack, by reason; nothing when none were wanted.
    pub fn missing(&self) -> Vec<(&'static str, u64)> {
        let count = |why: Missing| self.missing.get(&why).copied().unwrap_or(0);
        let all = Missing::ALL.map(|why| (why.cause(), count(why)));
        if self.threshold.is_some() { all.to_vec() } else { Vec::new() }
    }
}

/// A stack of a holder is shown only beside the same holder.
fn checked(mut stacks: WaitStacks, holder: Option<&Holder>) -> WaitStacks {
    stacks.holder = stacks.holder.filter(|(id, _)| holder.is_some_and(|h| h.id == *id));
    stacks
}

/// The stack of the thread that the lock's memory names, as long as it names that thread.
fn holder_of(
    wait: &WaitSeen,
    holder: &Holder,
    futex: &Futex,
    enricher: &mut Enricher,
) -> Option<(ThreadId, Copied)> {
    let (pid, address) = (wait.thread.id.pid, wait.address);
    let copied = enricher.sample(holder.id, Wanted::Any, || {
        let words = Enricher::lock_words(pid, address);
        let now = futex.named_holder(&WaitSeen { words, ..wait.clone() });
        now.is_some_and(|now| now.id == holder.id)
    });
    // One that has let go meanwhile says nothing about this wait.
    (!matches!(copied, Err(Look::Missing(_)))).then_some((holder.id, copied))
}

fn others(waiter: ThreadId, enricher: &mut Enricher) -> Vec<(ThreadId, Copied)> {
    let siblings = enricher.siblings(waiter, CROWD_AT_MOST).into_iter();
    let copied = siblings.map(|id| (id, enricher.sample(id, Wanted::OneOfMany, || true)));
    copied.filter(|(_, copied)| !matches!(copied, Err(Look::Missing(_)))).collect()
}

fn tell(key: Key, open: &mut Open, enricher: &mut Enricher, facts: &mut Vec<Fact>) {
    open.told = true;
    let waiter = std::mem::replace(&mut open.waiter, Err(Look::Running));
    facts.push(fact(key, key.0, waiter, enricher));
    facts.extend(open.holder.take().map(|(id, copied)| fact(key, id, copied, enricher)));
}

fn fact(key: Key, thread: ThreadId, copied: Copied, enricher: &mut Enricher) -> Fact {
    let look = copied.map_or_else(|look| look, |sample| enricher.stack(&sample));
    Fact::Stack(StackFact { waiter: key.0, start: key.1, thread, look })
}

/// What may still be looked at in this second.
#[derive(Default)]
struct Budget {
    second: u64,
    taken: u32,
    crowds: u32,
    by_lock: HashMap<(u32, u64), u32>,
}

impl Budget {
    /// Whether one more wait may be looked at; then it counts.
    fn one(&mut self, now: u64, lock: (u32, u64)) -> bool {
        if now / SECOND != self.second {
            *self = Self { second: now / SECOND, ..Self::default() };
        }
        if self.taken >= A_SECOND {
            return false;
        }
        let of_lock = self.by_lock.entry(lock).or_default();
        let free = *of_lock < A_SECOND_AND_LOCK;
        *of_lock += u32::from(free);
        self.taken += u32::from(free);
        free
    }

    fn crowd(&mut self) -> bool {
        self.crowds += 1;
        self.crowds <= CROWDS_A_SECOND
    }
}
