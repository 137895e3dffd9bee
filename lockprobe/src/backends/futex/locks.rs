//! Which addresses are locks, of which kind, and what they are called.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{
    LockDescription, LockFact, LockId, LockKind, LockSeen, SiteClass, SiteFact, WaitSeen,
    WakeReason,
};

/// Most addresses and call sites remembered; beyond it all are forgotten and learnt anew.
const AT_MOST: usize = 65_536;
/// Waits with the same expected value before behaviour alone makes an address a candidate.
const ENOUGH_WAITS: u32 = 3;
/// What a mutex word holds while someone waits, in glibc, musl and Rust alike.
const CONTENDED: u32 = 2;

/// What is known of one address.
#[derive(Default)]
struct Known {
    fact: Option<LockFact>,
    /// Caller of the first contention, where the kernel half did not know it.
    caller: Option<u64>,
    described: Option<(LockKind, bool, Arc<LockDescription>)>,
    /// How often it was waited on with the value 2 and let go by a thread, and otherwise.
    like_lock: u32,
    unlike_lock: u32,
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
        known.fact = Some(fact.clone());
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
        let known = self.address(wait.thread.id.pid, wait.address);
        let released = matches!(wait.reason, WakeReason::Release);
        if wait.value == CONTENDED && (released || wait.ran == 0) {
            known.like_lock = known.like_lock.saturating_add(u32::from(released));
        } else {
            known.unlike_lock = known.unlike_lock.saturating_add(1);
        }
        let (kind, confirmed) = match class {
            SiteClass::Lock(kind) => (kind, true),
            SiteClass::Idle => return,
            _ if wait.priority_inheritance => (LockKind::PriorityInheritance, true),
            _ if known.like_lock >= ENOUGH_WAITS && known.unlike_lock == 0 => {
                (LockKind::Unknown, false)
            }
            _ => return,
        };
        if known.described.as_ref().is_some_and(|(k, c, _)| (*k, *c) == (kind, confirmed)) {
            return;
        }
        let id = identity(wait, image, known.fact.as_ref());
        let lock = Arc::new(LockDescription {
            id,
            kind,
            name: name(wait.address, id, known.fact.as_ref()),
            confirmed,
            call_site: known.fact.as_ref().and_then(|f| f.call_site.clone()),
        });
        known.described = Some((kind, confirmed, lock));
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
        self.class(wait) == SiteClass::Idle
    }

    /// Where in the frame of this call site its caller is found, if the caller decides.
    pub fn caller_offset(&self, pid: u32, ip: u64) -> Option<u32> {
        match self.sites.get(&(pid, 0, ip)) {
            Some(SiteClass::ByCaller(offset)) => Some(*offset),
            _ => None,
        }
    }

    /// Notes who the caller was at a first contention.
    pub fn first_caller(&mut self, seen: &LockSeen, caller: u64) {
        self.address(seen.thread.id.pid, seen.address).caller = Some(caller);
    }

    /// The kind of lock a wait is for; `None` when it is for none, or nothing tells.
    pub fn kind(&self, wait: &WaitSeen) -> Option<LockKind> {
        match self.class(wait) {
            SiteClass::Lock(kind) => Some(kind),
            _ if wait.priority_inheritance => Some(LockKind::PriorityInheritance),
            _ => self.describe(wait).map(|lock| lock.kind),
        }
    }

    /// The lock of a wait that [`Locks::see`] has seen; `None` when it is none.
    pub fn describe(&self, wait: &WaitSeen) -> Option<Arc<LockDescription>> {
        if self.is_idle(wait) {
            return None;
        }
        let known = self.addresses.get(&(wait.thread.id.pid, wait.address))?;
        known.described.as_ref().map(|(_, _, lock)| lock.clone())
    }

    /// The lock at an address, described even if no wait on it was ever sent.
    pub fn at(&self, pid: u32, address: u64, site: (u64, u64)) -> Option<Arc<LockDescription>> {
        let known = self.addresses.get(&(pid, address));
        if let Some((_, _, lock)) = known.and_then(|k| k.described.as_ref()) {
            return Some(lock.clone());
        }
        let caller = known.and_then(|k| k.caller).unwrap_or(site.1);
        let Some(SiteClass::Lock(kind)) = self.site_at(pid, site.0, caller) else { return None };
        let fact = known.and_then(|k| k.fact.as_ref());
        Some(self.describe_by_fact(pid, address, kind, fact))
    }

    /// Whether anything has been learnt of an address.
    pub fn names(&self, pid: u32, address: u64) -> bool {
        self.addresses.get(&(pid, address)).is_some_and(|known| known.fact.is_some())
    }

    /// The lock at an address that is one: a lock function was called with it.
    pub fn of_kind(&self, pid: u32, address: u64, kind: LockKind) -> Arc<LockDescription> {
        let known = self.addresses.get(&(pid, address));
        if let Some((_, _, lock)) = known.and_then(|k| k.described.as_ref()) {
            return lock.clone();
        }
        let fact = known.and_then(|k| k.fact.as_ref());
        self.describe_by_fact(pid, address, fact.and_then(|f| f.kind).unwrap_or(kind), fact)
    }

    fn describe_by_fact(
        &self,
        pid: u32,
        address: u64,
        kind: LockKind,
        fact: Option<&LockFact>,
    ) -> Arc<LockDescription> {
        let id = match fact.and_then(|f| f.shared) {
            Some((device, inode, offset)) => LockId::Shared { device, inode, offset },
            None => LockId::Private { pid, image: self.image(pid), address },
        };
        let name = name(address, id, fact);
        let call_site = fact.and_then(|f| f.call_site.clone());
        Arc::new(LockDescription { id, kind, name, confirmed: true, call_site })
    }

    /// How many programs a process had run before its present one.
    pub fn image(&self, pid: u32) -> u32 {
        self.images.get(&pid).copied().unwrap_or(0)
    }

    /// A process begins, or runs a new program: whatever was known under its id is void. What is
    /// known of a process that ended is kept until then, for the counts that are still to come.
    pub fn renew(&mut self, pid: u32) {
        let known = self.sites.len() + self.addresses.len();
        self.sites.retain(|key, _| key.0 != pid);
        self.addresses.retain(|key, _| key.0 != pid);
        if self.sites.len() + self.addresses.len() < known {
            if self.images.len() >= AT_MOST {
                self.images.clear();
            }
            *self.images.entry(pid).or_default() += 1;
        }
    }
}

fn identity(wait: &WaitSeen, image: u32, fact: Option<&LockFact>) -> LockId {
    match fact.and_then(|f| f.shared) {
        Some((device, inode, offset)) if !wait.private => LockId::Shared { device, inode, offset },
        _ => LockId::Private { pid: wait.thread.id.pid, image, address: wait.address },
    }
}

/// A symbol; else where it was first contended; else its address.
fn name(address: u64, id: LockId, fact: Option<&LockFact>) -> Arc<str> {
    if let Some(symbol) = fact.and_then(|f| f.symbol.as_deref()) {
        return symbol.into();
    }
    if let Some(site) = fact.and_then(|f| f.call_site.as_ref()) {
        return site.to_string().into();
    }
    match id {
        LockId::Private { .. } => format!("{address:#x}").into(),
        LockId::Shared { .. } => id.to_string().into(),
    }
}
