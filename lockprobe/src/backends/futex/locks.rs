//! Which addresses are locks, of which kind, and what they are called.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::idle::ambiguous;
use super::naming::{Taking, describe};
use super::parked::Parked;
use crate::model::{
    LockDescription, LockFact, LockKind, LockSeen, Mode, SiteClass, SiteFact, WaitSeen, WakeReason,
    Wakes,
};

/// Most addresses and call sites remembered; beyond it all are forgotten and learnt anew.
const AT_MOST: usize = 65_536;
/// Waits with the same expected value before behaviour alone makes an address a candidate.
const ENOUGH_WAITS: u32 = 3;
/// What a mutex word holds while someone waits, in glibc, musl and Rust alike.
const CONTENDED: u32 = 2;

/// Most call sites in a row that each leave it to their caller.
const MOST_HOPS: usize = 4;

/// What is known of one address.
#[derive(Default)]
struct Known {
    fact: Option<LockFact>,
    /// Caller of the first contention, where the kernel half did not know it.
    caller: Option<u64>,
    /// What the first contention says, should this be a lock of CPython's.
    parked: Parked,
    described: Option<Described>,
    /// A stack has shown that it serves as a lock, where that is not certain.
    proven: bool,
    /// How often it was waited on with the value 2 and let go by a thread, and otherwise.
    like_lock: u32,
    unlike_lock: u32,
}

/// A description, and what it was made from.
struct Described {
    taking: Taking,
    lock: Arc<LockDescription>,
}

/// All addresses and call sites.
#[derive(Default)]
pub struct Locks {
    images: HashMap<u32, u32>,
    sites: HashMap<(u32, u32, u64), SiteClass>,
    addresses: HashMap<(u32, u64), Known>,
}

impl Locks {
    /// Notes what a call site is.
    pub fn learn_site(&mut self, site: &SiteFact) {
        if self.sites.len() >= AT_MOST {
            self.sites.clear();
        }
        self.sites.insert((site.pid, site.level, site.ip), site.class);
    }

    /// Notes what a lock is called.
    pub fn learn_lock(&mut self, fact: &LockFact) {
        let known = self.address(fact.pid, fact.address);
        let mut fact = fact.clone();
        if let Some(first) = known.fact.take().filter(|first| first.kind == fact.kind) {
            // It keeps its name, wherever else it is waited for.
            fact.call_site = first.call_site.or(fact.call_site);
        }
        known.fact = Some(fact);
        known.described = None;
    }

    fn address(&mut self, pid: u32, address: u64) -> &mut Known {
        if self.addresses.len() >= AT_MOST && !self.addresses.contains_key(&(pid, address)) {
            self.addresses.clear();
        }
        self.addresses.entry((pid, address)).or_default()
    }

    /// Notes a wait: its behaviour is all there is to go by where no call site is known, and its
    /// description is made here so that later look-ups need no change.
    pub fn see(&mut self, wait: &WaitSeen) {
        let class = self.class(wait);
        let image = self.image(wait.thread.id.pid);
        let taken = self.taken(wait);
        let known = self.address(wait.thread.id.pid, wait.address);
        let released = matches!(wait.reason, WakeReason::Release);
        if wait.value == CONTENDED && (released || wait.ran == 0) {
            known.like_lock = known.like_lock.saturating_add(u32::from(released));
        } else {
            known.unlike_lock = known.unlike_lock.saturating_add(1);
        }
        let guessed = known.like_lock >= ENOUGH_WAITS && known.unlike_lock == 0;
        let (kind, mode) = (LockKind::Unknown, Mode::Exclusive);
        let taking = match taken {
            Some(taking) => taking,
            None if class != SiteClass::Idle && guessed => {
                Taking { kind, mode, inner: 0, confirmed: false, hidden: false }
            }
            None => return,
        };
        if known.described.as_ref().is_some_and(|d| d.taking == taking) {
            return;
        }
        let fact = known.fact.as_ref();
        let shared = if wait.private { None } else { fact.and_then(|f| f.shared) };
        let lock = describe((wait.thread.id.pid, image), wait.address, &taking, fact, shared);
        known.described = Some(Described { taking, lock });
    }

    /// Notes whether the stack of a wait shows that its lock serves as one.
    pub fn prove(&mut self, wait: &WaitSeen, proven: bool) {
        let Some(taking) = self.taken(wait).filter(|taking| ambiguous(taking.kind)) else { return };
        let pid = wait.thread.id.pid;
        self.address(pid, wait.address.wrapping_sub(taking.inner)).proven = proven;
        let image = self.image(pid);
        let taking = Taking { confirmed: proven, ..taking };
        let known = self.address(pid, wait.address);
        let fact = known.fact.as_ref();
        let shared = if wait.private { None } else { fact.and_then(|f| f.shared) };
        let lock = describe((pid, image), wait.address, &taking, fact, shared);
        known.described = Some(Described { taking, lock });
    }

    /// What is taken, as certain as it is.
    fn weighed(&self, pid: u32, address: u64, taking: Taking) -> Taking {
        let lock = (pid, address.wrapping_sub(taking.inner));
        let proven = || self.addresses.get(&lock).is_some_and(|known| known.proven);
        Taking { confirmed: taking.confirmed && (!ambiguous(taking.kind) || proven()), ..taking }
    }

    /// Whether the call site of a wait has been looked at.
    pub fn knows(&self, wait: &WaitSeen) -> bool {
        let resolved = !matches!(self.site(wait), None | Some(SiteClass::ByCaller(_)));
        let address = (wait.thread.id.pid, wait.address);
        let named = || self.addresses.get(&address).is_some_and(|known| known.fact.is_some());
        wait.priority_inheritance || resolved || named()
    }

    fn site(&self, wait: &WaitSeen) -> Option<SiteClass> {
        self.site_at(wait.thread.id.pid, wait.ip, wait.caller)
    }

    fn site_at(&self, pid: u32, ip: u64, caller: u64) -> Option<SiteClass> {
        match self.sites.get(&(pid, 0, ip)) {
            Some(SiteClass::ByCaller(offset)) => match self.sites.get(&(pid, 1, caller)) {
                Some(class) => Some(*class),
                None => Some(SiteClass::ByCaller(*offset)),
            },
            class => class.copied(),
        }
    }

    fn class(&self, wait: &WaitSeen) -> SiteClass {
        match self.site(wait) {
            // The caller is not known: go by what the address was first seen as.
            Some(SiteClass::ByCaller(_)) | None => {
                let known = self.addresses.get(&(wait.thread.id.pid, wait.address));
                let kind = known.and_then(|k| k.fact.as_ref()).and_then(|f| f.kind);
                kind.map_or(SiteClass::Unknown, SiteClass::Lock)
            }
            Some(class) => class,
        }
    }

    /// Whether the wait is known to be none for a lock.
    pub fn is_idle(&self, wait: &WaitSeen) -> bool {
        self.class(wait) == SiteClass::Idle || self.is_parked_for_nothing(wait)
    }

    /// The caller that decides what a first contention is for, if it is the caller that decides.
    pub fn caller(&self, seen: &LockSeen) -> Option<u64> {
        let pid = seen.thread.id.pid;
        let mut class = self.sites.get(&(pid, 0, seen.ip));
        let mut caller = None;
        for _ in 0..MOST_HOPS {
            let Some(SiteClass::ByCaller(offset)) = class else { break };
            let start = *offset as usize;
            let word = seen.stack.get(start..start.checked_add(8)?)?;
            let address = u64::from_le_bytes(word.try_into().ok()?);
            caller = Some(address);
            class = self.sites.get(&(pid, 1, address));
        }
        caller
    }

    /// Notes what a first contention was like.
    pub fn first(&mut self, seen: &LockSeen, caller: Option<u64>) {
        let known = self.address(seen.thread.id.pid, seen.address);
        known.caller = caller.or(known.caller);
        known.parked.note(seen);
    }

    /// What a wait is for; `None` when it is for no lock, or nothing tells.
    pub fn taking(&self, wait: &WaitSeen) -> Option<Taking> {
        self.taken(wait).or_else(|| self.described(wait).map(|d| d.taking))
    }

    /// What the call site says a wait is for; where its caller is not known, what the address was
    /// first seen as.
    fn taken(&self, wait: &WaitSeen) -> Option<Taking> {
        let (kind, mode, inner) = match self.site(wait) {
            Some(SiteClass::ByCaller(_)) | None => {
                let address = (wait.thread.id.pid, wait.address);
                let fact = self.addresses.get(&address).and_then(|k| k.fact.as_ref());
                let kind = fact.and_then(|f| f.kind);
                match (kind, fact) {
                    _ if wait.priority_inheritance => {
                        (LockKind::PriorityInheritance, Mode::Exclusive, 0)
                    }
                    (Some(kind), Some(fact)) if kind.wakes() == Wakes::Sharer => {
                        (kind, Mode::Unknown, fact.inner)
                    }
                    (Some(kind), Some(fact)) => (kind, kind.mode(), fact.inner),
                    _ => return None,
                }
            }
            Some(class) => match class.lock() {
                Some((kind, mode)) => (kind, mode, kind.inner(mode, wait.value, wait.address)),
                None if wait.priority_inheritance && class != SiteClass::Idle => {
                    (LockKind::PriorityInheritance, Mode::Exclusive, 0)
                }
                None => return None,
            },
        };
        // Where musl finds that a mutex can never be had, it sleeps for good on a word of its own
        // (src/thread/pthread_mutex_timedlock.c): that word was never marked as waited for.
        let marked = wait.value >> 31 != 0 || wait.priority_inheritance;
        if kind == LockKind::MuslMutex && !marked {
            return None;
        }
        let taking = Taking { kind, mode, inner, confirmed: true, hidden: kind.hides_identity() };
        let pid = wait.thread.id.pid;
        if kind != LockKind::PythonParked || wait.parked {
            let taking = Taking { hidden: taking.hidden && !wait.parked, ..taking };
            return Some(self.weighed(pid, wait.address, taking));
        }
        let known = self.addresses.get(&(wait.thread.id.pid, wait.address));
        match known.and_then(|known| known.parked.of(wait.start)) {
            Some(lock) => {
                beside(taking, wait.address, lock).map(|t| self.weighed(pid, wait.address, t))
            }
            None => Some(Taking { confirmed: false, ..taking }),
        }
    }

    fn described(&self, wait: &WaitSeen) -> Option<&Described> {
        if self.is_idle(wait) || self.is_parked_for_nothing(wait) {
            return None;
        }
        self.addresses.get(&(wait.thread.id.pid, wait.address))?.described.as_ref()
    }

    /// Whether a wait by way of CPython's parking lot is for no lock.
    fn is_parked_for_nothing(&self, wait: &WaitSeen) -> bool {
        let known = self.addresses.get(&(wait.thread.id.pid, wait.address));
        !wait.parked
            && self.class(wait) == SiteClass::Lock(LockKind::PythonParked)
            && known.and_then(|known| known.parked.of(wait.start)) == Some(None)
    }

    /// The lock of a wait that [`Locks::see`] has seen; `None` when it is none.
    pub fn describe(&self, wait: &WaitSeen) -> Option<Arc<LockDescription>> {
        let described = self.described(wait)?;
        if described.taking.kind != LockKind::PythonParked || wait.parked {
            return Some(described.lock.clone());
        }
        // Since it was seen, the thread may have slept there for another lock.
        let pid = wait.thread.id.pid;
        let fact = self.addresses.get(&(pid, wait.address)).and_then(|known| known.fact.as_ref());
        let taking = self.taken(wait)?;
        Some(describe((pid, self.image(pid)), wait.address, &taking, fact, None))
    }

    /// The lock at an address, described even if no wait on it was ever sent.
    pub fn at(&self, pid: u32, address: u64, site: (u64, u64)) -> Option<Arc<LockDescription>> {
        let known = self.addresses.get(&(pid, address));
        let parked = |d: &&Described| d.taking.kind == LockKind::PythonParked;
        if let Some(d) = known.and_then(|k| k.described.as_ref()).filter(|d| !parked(d)) {
            return Some(d.lock.clone());
        }
        let caller = known.and_then(|k| k.caller).unwrap_or(site.1);
        let (kind, mode) = self.site_at(pid, site.0, caller)?.lock()?;
        let fact = known.and_then(|k| k.fact.as_ref());
        let inner = match fact {
            Some(fact) => fact.inner,
            // Where in the lock its waiters sleep depends on what they expect there.
            None if kind == LockKind::PthreadRwLock => return None,
            None => kind.inner(mode, 0, address),
        };
        let mut taking =
            Taking { kind, mode, inner, confirmed: true, hidden: kind.hides_identity() };
        if kind == LockKind::PythonParked {
            let known = known.map(|known| &known.parked);
            match known.and_then(|parked| parked.one()) {
                Some(lock) => taking = beside(taking, address, Some(lock))?,
                None if known.is_some_and(Parked::is_for_nothing) => return None,
                None => taking.hidden = known.is_none_or(|parked| !parked.is_lock),
            }
        }
        let taking = self.weighed(pid, address, taking);
        let shared = fact.and_then(|f| f.shared);
        Some(describe((pid, self.image(pid)), address, &taking, fact, shared))
    }

    /// Whether anything has been learnt of an address.
    pub fn names(&self, pid: u32, address: u64) -> bool {
        self.addresses.get(&(pid, address)).is_some_and(|known| known.fact.is_some())
    }

    /// The lock at an address that is one: a lock function was called with it.
    pub fn of_kind(&self, pid: u32, address: u64, kind: LockKind) -> Arc<LockDescription> {
        let known = self.addresses.get(&(pid, address));
        let described = known.and_then(|k| k.described.as_ref());
        if let Some(described) = described.filter(|d| d.taking.confirmed && d.taking.inner == 0) {
            return described.lock.clone();
        }
        let fact = known.and_then(|k| k.fact.as_ref()).filter(|fact| fact.inner == 0);
        let kind = fact.and_then(|f| f.kind).unwrap_or(kind);
        let (mode, hidden) = (kind.mode(), kind.hides_identity());
        let taking = Taking { kind, mode, inner: 0, confirmed: true, hidden };
        describe((pid, self.image(pid)), address, &taking, fact, fact.and_then(|f| f.shared))
    }

    /// How many programs a process had run before its present one.
    pub fn image(&self, pid: u32) -> u32 {
        self.images.get(&pid).copied().unwrap_or(0)
    }

    fn let_go(&mut self, gone: &HashSet<u32>) {
        let mut known = HashSet::new();
        let mut stays = |pid: u32| {
            if gone.contains(&pid) {
                known.insert(pid);
            }
            !gone.contains(&pid)
        };
        self.sites.retain(|key, _| stays(key.0));
        self.addresses.retain(|key, _| stays(key.0));
        known.into_iter().for_each(|pid| self.next_image(pid));
    }

    fn next_image(&mut self, pid: u32) {
        if self.images.len() >= AT_MOST {
            self.images.clear();
        }
        *self.images.entry(pid).or_default() += 1;
    }

    /// A process begins, or runs a new program: whatever was known under its id is void. What is
    /// known of a process that ended is kept until then, for the counts that are still to come.
    pub fn renew(&mut self, pid: u32) {
        let known = self.sites.len() + self.addresses.len();
        self.sites.retain(|key, _| key.0 != pid);
        self.addresses.retain(|key, _| key.0 != pid);
        if self.sites.len() + self.addresses.len() < known {
            self.next_image(pid);
        }
    }
}

impl super::Futex {
    /// Addresses of which something is known.
    pub fn addresses(&self) -> usize {
        self.locks.addresses.len()
    }

    /// Processes ended a while ago: whatever is known of them makes room. What comes under their ids
    /// is of another program.
    pub fn let_go(&mut self, gone: &HashSet<u32>) {
        self.locks.let_go(gone);
    }
}

/// What a thread takes that sleeps on a semaphore of its own, beside which it has noted a lock.
fn beside(taking: Taking, semaphore: u64, lock: Option<u64>) -> Option<Taking> {
    let inner = semaphore.wrapping_sub(lock?);
    Some(Taking { inner, hidden: false, ..taking })
}
