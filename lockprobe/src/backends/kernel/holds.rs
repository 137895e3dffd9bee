//! Who has which part of which file, since when.

use std::collections::HashMap;

use crate::model::{FileSeen, Holder, HolderSource, KernelLock, LockId, Precision, ThreadId, What};

/// Most files followed; beyond it all are forgotten.
const FILES_AT_MOST: usize = 16_384;
/// Most holds of one file followed; those of more are not told of.
const HOLDS_AT_MOST: usize = 256;

/// One hold.
struct Hold {
    owner: u64,
    lock: KernelLock,
    holder: Holder,
    since: u64,
    /// It was seen to begin.
    exact: bool,
    /// Somebody was in want of it.
    wanted: bool,
}

/// One file.
#[derive(Default)]
struct File {
    holds: Vec<Hold>,
    /// What was let go last: when, by whom, which part.
    let_go: Option<(u64, Holder, LockId)>,
}

/// The holds of all files that are contended.
#[derive(Default)]
pub struct Holds(HashMap<Table, File>);

/// Which table of which file: device, inode, whether it is that of fcntl(2).
type Table = (u32, u64, bool);

/// Which table of which file, and which bytes.
fn parts(id: LockId) -> Option<(Table, (u64, u64))> {
    match id {
        LockId::File { device, inode, fcntl, start, end } => {
            Some(((device, inode, fcntl), (start, end)))
        }
        LockId::Name { root, path } => Some(((root as u32, path, true), (0, u64::MAX))),
        _ => None,
    }
}

fn overlap(one: LockId, other: LockId) -> bool {
    match (parts(one), parts(other)) {
        (Some((_, (a, b))), Some((_, (c, d)))) => a <= d && c <= b,
        _ => false,
    }
}

impl Holds {
    fn file(&mut self, lock: &KernelLock) -> Option<&mut File> {
        let (key, _) = parts(lock.id)?;
        if self.0.len() >= FILES_AT_MOST && !self.0.contains_key(&key) {
            self.0.clear();
        }
        Some(self.0.entry(key).or_default())
    }

    fn look(&self, lock: &KernelLock) -> Option<&File> {
        self.0.get(&parts(lock.id)?.0)
    }

    /// Whether what happens to the locks of this file is seen.
    pub fn is_followed(&self, lock: &KernelLock) -> bool {
        self.look(lock).is_some()
    }

    /// A thread has a lock.
    pub fn acquired(&mut self, seen: &FileSeen) {
        let Some(file) = self.file(&seen.lock) else { return };
        let own =
            |hold: &&mut Hold| hold.owner == seen.owner && overlap(hold.lock.id, seen.lock.id);
        if let Some(hold) = file.holds.iter_mut().find(own) {
            // Had already, and now in another mode or another range.
            hold.lock.mode = seen.lock.mode;
            return;
        }
        if file.holds.len() < HOLDS_AT_MOST {
            let (id, name) = (seen.thread.id, seen.thread.name());
            file.holds.push(Hold {
                owner: seen.owner,
                lock: seen.lock,
                holder: Holder { id, name, source: HolderSource::LockTable, gone: false },
                since: seen.time,
                exact: true,
                wanted: false,
            });
        }
    }

    /// Who made a name has it since then.
    pub fn made(&mut self, seen: &FileSeen, since: u64, holder: Holder) {
        let Some(file) = self.file(&seen.lock) else { return };
        // A maker under another name of the same file may be long gone.
        if !file.holds.iter().any(|hold| hold.exact && hold.since >= since) {
            // Whoever had it before let go of it by another name.
            file.holds.clear();
            let (owner, lock) = (seen.owner, seen.lock);
            file.holds.push(Hold { owner, lock, holder, since, exact: true, wanted: false });
        }
    }

    /// Who was seen making a name, and when.
    pub fn maker(&self, lock: &KernelLock) -> Option<(u64, ThreadId)> {
        let hold = self.look(lock)?.holds.iter().find(|hold| hold.exact)?;
        Some((hold.since, hold.holder.id))
    }

    /// A file that is a lock by being there says whose it is.
    pub fn named(&mut self, seen: &FileSeen, holder: Holder) {
        let Some(file) = self.file(&seen.lock) else { return };
        if file.holds.iter().all(|hold| hold.holder != holder) {
            file.holds.clear();
            let (owner, lock, since) = (seen.owner, seen.lock, seen.time);
            file.holds.push(Hold { owner, lock, holder, since, exact: false, wanted: false });
        }
    }

    /// What is known of who has a lock is void.
    pub fn forget(&mut self, lock: &KernelLock) {
        if let Some((key, _)) = parts(lock.id) {
            self.0.remove(&key);
        }
    }

    /// A thread had taken a lock before anybody was in want of it.
    pub fn taken(&mut self, seen: &FileSeen, since: u64) {
        let Some(file) = self.file(&seen.lock) else { return };
        // What the same owner had before, it let go of unseen.
        file.holds.retain(|hold| hold.owner != seen.owner || !overlap(hold.lock.id, seen.lock.id));
        self.acquired(&FileSeen { time: since, ..seen.clone() });
    }

    /// An owner is in the way of a request.
    pub fn wanted(&mut self, seen: &FileSeen, owner: u64, holder: Holder) {
        let Some(file) = self.file(&seen.lock) else { return };
        let its = |hold: &&mut Hold| hold.owner == owner && overlap(hold.lock.id, seen.lock.id);
        if let Some(hold) = file.holds.iter_mut().find(its) {
            hold.wanted = true;
        } else if file.holds.len() < HOLDS_AT_MOST {
            let lock = seen.lock;
            let since = seen.time;
            file.holds.push(Hold { owner, lock, holder, since, exact: false, wanted: true });
        }
    }

    /// An owner lets go of a part: the holds this ends, of those somebody was in want of.
    pub fn released(&mut self, seen: &FileSeen) -> Vec<(KernelLock, What)> {
        let Some(file) = self.file(&seen.lock) else { return Vec::new() };
        let before = file.let_go.as_ref().map_or(0, |(time, ..)| *time);
        let its = |hold: &mut Hold| hold.owner == seen.owner && overlap(hold.lock.id, seen.lock.id);
        let ended: Vec<Hold> = file.holds.extract_if(.., its).collect();
        let mut told = Vec::new();
        for mut hold in ended {
            let last = seen.thread.id;
            if hold.holder.id.tid == 0 && hold.holder.id.pid == last.pid {
                // Which thread of the process took it is not known; this one lets go.
                (hold.holder.id, hold.holder.name) = (last, seen.thread.name());
            }
            file.let_go = Some((seen.time, hold.holder.clone(), hold.lock.id));
            if !hold.wanted {
                continue;
            }
            let (not_before, precision) = match hold.exact {
                true => (hold.since, Precision::Exact),
                false => (before, Precision::LowerBound),
            };
            let Hold { lock, holder, since, .. } = hold;
            told.push((lock, What::Released { holder, since, not_before, precision }));
        }
        told
    }

    /// Who let go last of what stands in a lock's way, if that was after this time.
    pub fn let_go_since(&self, lock: &KernelLock, since: u64) -> Option<Holder> {
        let (time, holder, id) = self.look(lock)?.let_go.as_ref()?;
        (*time >= since && overlap(*id, lock.id)).then(|| holder.clone())
    }

    /// The thread of a process that was seen taking what is in a lock's way.
    pub fn taken_by(&self, lock: &KernelLock, pid: u32) -> Option<Holder> {
        let mut holds = self.look(lock)?.holds.iter();
        let known = |h: &Hold| h.exact || h.holder.source == HolderSource::FileContent;
        let its = |h: &&Hold| known(h) && h.holder.id.pid == pid && overlap(h.lock.id, lock.id);
        let hold = holds.find(its);
        hold.map(|hold| hold.holder.clone())
    }
}
