//! From requests and their answers to steps: who asked for a lock, got it, keeps it, lets it go.

use core::net::SocketAddr;
use std::sync::Arc;

use super::families::{Families, Sight};
use super::looks::Looks;
use super::meaning::Way;
use super::memory::Memory;
use super::places::{Named, Places};
use super::scripts::{Outcome, What};
use crate::model::{LockId, Mode, Owner, RemoteAct, RemoteStep, Said, Thread};

/// Most owners and holders that are remembered.
const OWNERS_AT_MOST: usize = 16_384;
/// So often a lock is refused before that says it is one.
const RETRIES: u32 = 3;
/// Longest pause between two tries of one attempt, nanoseconds.
const PAUSE: u64 = 1_000_000_000;

/// What was done with one key, and what became of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// What was done.
    pub what: What,
    /// With which lock.
    pub named: Arc<Named>,
    /// By whom.
    pub owner: Option<Owner>,
    /// What the value looks like.
    pub looks: Looks,
    /// How it was recognised.
    pub way: Way,
    /// For how long, nanoseconds.
    pub lease: Option<u64>,
    /// The lease is added to what is left.
    pub added: bool,
    /// At which server.
    pub server: SocketAddr,
    /// Over which connection.
    pub connection: u64,
    /// When it was asked for, and by which thread.
    pub asked: (u64, Thread),
    /// That it was asked for has been told.
    pub announced: bool,
    /// What the answer was.
    pub outcome: Outcome,
    /// When it came, and to which thread.
    pub answered: (u64, Thread),
    /// Who has it, as the answer says.
    pub holder: Option<Owner>,
    /// A place of several.
    pub place: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Tried,
    Held,
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    phase: Phase,
    until: Option<u64>,
    lease: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    owner: Option<Owner>,
    pid: u32,
    sight: Sight,
}

#[derive(Clone, Copy, Debug)]
struct Tries {
    owner: Option<Owner>,
    lease: Option<u64>,
    count: u32,
    last: u64,
}

/// Locks, and what was seen of their owners.
#[derive(Debug)]
pub struct Locks {
    /// Which are locks at all.
    pub families: Families,
    standings: Memory<(LockId, u64), Standing>,
    holders: Memory<LockId, Holding>,
    tries: Memory<(LockId, u32), Tries>,
    /// Operations whose outcome could not be told.
    pub unclear: u64,
}

impl Default for Locks {
    fn default() -> Self {
        Self {
            families: Families::default(),
            standings: Memory::new(OWNERS_AT_MOST),
            holders: Memory::new(OWNERS_AT_MOST),
            tries: Memory::new(OWNERS_AT_MOST),
            unclear: 0,
        }
    }
}

impl Told {
    fn pid(&self) -> u32 {
        self.asked.1.id.pid
    }

    /// Owners without a name of their own are told apart by their process.
    fn identity(&self) -> u64 {
        self.owner.map_or_else(|| u64::from(self.pid()) | 1 << 63, |owner| owner.0)
    }

    fn sight(&self) -> Sight {
        let learnt = self.way == Way::Learnt;
        Sight { looks: self.looks, lease: self.lease, learnt, several: false }
    }

    /// How it is or would be had.
    pub fn mode(&self) -> Mode {
        if self.place { Mode::Shared } else { Mode::Exclusive }
    }

    /// A step of it, at this time.
    pub fn step(&self, (time, thread): (u64, Thread), act: RemoteAct) -> RemoteStep {
        RemoteStep {
            time,
            thread,
            lock: self.named.lock.clone(),
            connection: self.connection,
            server: self.server,
            owner: self.owner,
            act,
        }
    }
}

impl Locks {
    fn say(&mut self, told: &Told, at: (u64, Thread), act: RemoteAct, out: &mut Vec<RemoteStep>) {
        self.families.say(&told.named, told.step(at, act), out);
    }

    /// Tells that it is asked for, if that has not been told.
    pub fn announce(&mut self, told: &mut Told, out: &mut Vec<RemoteStep>) {
        if std::mem::replace(&mut told.announced, true) {
            return;
        }
        let queued = told.what == What::Wait;
        if queued {
            if let Some(tries) = self.tries.get(&(told.named.lock.id, told.pid())) {
                (told.owner, told.lease) = (tries.owner, tries.lease);
            }
        } else {
            self.judge(told, None);
        }
        let act = RemoteAct::Asked { mode: told.mode(), lease: told.lease, queued };
        self.say(told, told.asked, act, out);
    }

    /// Whether it is a lock, by what this deed says.
    pub fn judge(&mut self, told: &Told, several: Option<bool>) {
        if told.way == Way::Sure {
            self.families.confirm(&told.named);
        }
        let sight = Sight { several: several.unwrap_or(false), ..told.sight() };
        self.families.seen(&told.named, sight);
    }

    /// What is known of an owner that is asked of a lock.
    fn standing(&mut self, told: &Told) -> Option<&mut Standing> {
        self.standings.get(&(told.named.lock.id, told.identity()))
    }

    /// Whether the owner has it as far as was seen.
    pub fn holds(&mut self, lock: LockId, owner: Owner) -> bool {
        self.standings.get(&(lock, owner.0)).is_some_and(|known| known.phase == Phase::Held)
    }

    /// Whether this process has it, and as whom.
    fn holding(&mut self, told: &Told) -> Option<Holding> {
        self.holders.get(&told.named.lock.id).copied().filter(|holding| holding.pid == told.pid())
    }

    /// Takes what was done on one server.
    pub fn told(&mut self, mut told: Told, places: &Places, out: &mut Vec<RemoteStep>) {
        if told.what == What::TakeOrRenew {
            let held = self.standing(&told).is_some_and(|known| known.phase == Phase::Held);
            told.what = if held { What::Renew } else { What::Take };
        }
        match told.what {
            What::Take | What::TakeOrRenew => self.take(told, out),
            What::Renew => self.renew(&mut told, out),
            What::Release => self.release(&told, out),
            What::Remove => self.remove(&mut told, places, out),
            What::Expire => self.expire(&mut told, out),
            What::Wait if told.outcome == Outcome::Refused => {
                let tries = self.tries.get(&(told.named.lock.id, told.pid()));
                told.owner = tries.and_then(|tries| tries.owner);
                self.say(
                    &told,
                    told.answered,
                    RemoteAct::Refused { holder: None, ahead: None },
                    out,
                );
            }
            What::Wait | What::Ask => {}
        }
    }

    fn take(&mut self, mut told: Told, out: &mut Vec<RemoteStep>) {
        match told.outcome {
            Outcome::Again => {}
            Outcome::Done => {
                self.announce(&mut told, out);
                self.tries.remove(&(told.named.lock.id, told.pid()));
                self.held(&told);
                let act = RemoteAct::Acquired { mode: told.mode(), lease: told.lease, fence: None };
                self.say(&told, told.answered, act, out);
            }
            Outcome::Refused => {
                self.refused(&told);
                self.announce(&mut told, out);
                let holder = told.holder.map(|owner| Said { owner: Some(owner), words: None });
                self.say(&told, told.answered, RemoteAct::Refused { holder, ahead: None }, out);
            }
            Outcome::Failed => {
                self.announce(&mut told, out);
                let act = RemoteAct::Ended { error: "refused", holder: None };
                self.say(&told, told.answered, act, out);
            }
            Outcome::Once | Outcome::Unclear => {
                self.announce(&mut told, out);
                self.unclear += 1;
            }
        }
    }

    /// It has the lock from now on.
    fn held(&mut self, told: &Told) {
        let until = told.lease.map(|lease| told.answered.0.saturating_add(lease));
        let standing = Standing { phase: Phase::Held, until, lease: told.lease };
        self.standings.insert((told.named.lock.id, told.identity()), standing);
        let holding = Holding { owner: told.owner, pid: told.pid(), sight: told.sight() };
        if !told.place {
            self.holders.insert(told.named.lock.id, holding);
        }
    }

    /// Somebody else has it: that it is asked for again and again says that it is a lock, unless it
    /// is the value that it has set itself.
    fn refused(&mut self, told: &Told) {
        let id = told.named.lock.id;
        let key = (id, told.identity());
        if self.standings.get(&key).is_none_or(|known| known.phase == Phase::Over) {
            let standing = Standing { phase: Phase::Tried, until: None, lease: told.lease };
            self.standings.insert(key, standing);
        }
        let held = self.standings.get(&key).is_some_and(|known| known.phase == Phase::Held);
        let now = told.asked.0;
        let new = Tries { owner: told.owner, lease: told.lease, count: 0, last: now };
        let tries = self.tries.entry((id, told.pid()), || new);
        if tries.owner != told.owner || now.saturating_sub(tries.last) > PAUSE || held {
            *tries = new;
        }
        tries.count += 1;
        tries.last = now;
        if tries.count > RETRIES && told.looks == Looks::Token {
            self.families.retried(&told.named, told.sight());
        }
    }

    fn renew(&mut self, told: &mut Told, out: &mut Vec<RemoteStep>) {
        let known = self.standing(told).copied();
        let held = known.is_some_and(|known| known.phase == Phase::Held);
        if told.way == Way::Remembered && !held {
            return;
        }
        match told.outcome {
            Outcome::Done => {
                if told.way != Way::Command {
                    self.families.confirm(&told.named);
                }
                if told.way == Way::Remembered && told.lease.is_none() {
                    told.lease = known.and_then(|known| known.lease);
                }
                let now = told.answered.0;
                if told.added {
                    let left =
                        known.and_then(|known| known.until).unwrap_or(now).saturating_sub(now);
                    told.lease = told.lease.map(|lease| lease.saturating_add(left));
                }
                self.held(told);
                self.say(told, told.answered, RemoteAct::Renewed { lease: told.lease }, out);
            }
            Outcome::Refused if held => {
                self.over(told);
                self.say(told, told.answered, RemoteAct::Lost { why: "expired" }, out);
            }
            Outcome::Again => {}
            _ => self.unclear += 1,
        }
    }

    fn release(&mut self, told: &Told, out: &mut Vec<RemoteStep>) {
        let phase = self.standing(told).map(|known| known.phase);
        if matches!(told.way, Way::Command | Way::Remembered) && phase != Some(Phase::Held) {
            return;
        }
        match (told.outcome, phase) {
            (Outcome::Done, _) => {
                self.families.confirm(&told.named);
                self.over(told);
                self.say(told, told.answered, RemoteAct::Released, out);
            }
            (Outcome::Once, _) => self.say(told, told.answered, RemoteAct::ReleasedOnce, out),
            (Outcome::Refused, Some(Phase::Held | Phase::Over)) if told.way != Way::Remembered => {
                self.families.confirm(&told.named);
                self.over(told);
                self.say(told, told.answered, RemoteAct::ReleaseRefused, out);
            }
            (Outcome::Refused, Some(Phase::Tried)) => {
                self.families.confirm(&told.named);
                self.standings.remove(&(told.named.lock.id, told.identity()));
                let act = RemoteAct::Ended { error: "gave_up", holder: None };
                self.say(told, told.asked, act, out);
            }
            (Outcome::Again, _) => {}
            _ => self.unclear += 1,
        }
    }

    /// It has the lock no more.
    fn over(&mut self, told: &Told) {
        if let Some(standing) = self.standing(told) {
            standing.phase = Phase::Over;
        }
        let owner = self.holders.get(&told.named.lock.id).map(|holding| holding.owner);
        if owner == Some(told.owner) {
            self.holders.remove(&told.named.lock.id);
        }
    }

    fn remove(&mut self, told: &mut Told, places: &Places, out: &mut Vec<RemoteStep>) {
        match told.outcome {
            Outcome::Done => {}
            Outcome::Unclear => {
                self.unclear += u64::from(self.holders.get(&told.named.lock.id).is_some());
                return;
            }
            _ => return,
        }
        let own = self.holding(told).filter(|_| told.way == Way::Command);
        let act = match own {
            Some(holding) if places.rules().plain_del_is_release => {
                self.families.deleted(&told.named, holding.sight);
                told.owner = holding.owner;
                RemoteAct::Released
            }
            _ => RemoteAct::Removed,
        };
        let holding = self.holders.remove(&told.named.lock.id);
        if let Some(holding) = holding {
            told.owner = holding.owner.filter(|_| own.is_some());
            let identity = holding.owner.map_or(u64::from(holding.pid) | 1 << 63, |owner| owner.0);
            if let Some(standing) = self.standings.get(&(told.named.lock.id, identity)) {
                standing.phase = Phase::Over;
            }
        }
        self.say(told, told.answered, act, out);
    }

    fn expire(&mut self, told: &mut Told, out: &mut Vec<RemoteStep>) {
        let Some(holding) = self.holding(told).filter(|_| told.outcome == Outcome::Done) else {
            return;
        };
        told.owner = holding.owner;
        told.looks = holding.sight.looks;
        self.held(told);
        self.judge(told, None);
        self.say(told, told.answered, RemoteAct::Renewed { lease: told.lease }, out);
    }

    /// How much was forgotten.
    pub fn forgotten(&self) -> u64 {
        let own = self.standings.forgotten() + self.holders.forgotten() + self.tries.forgotten();
        own + self.families.forgotten()
    }
}
