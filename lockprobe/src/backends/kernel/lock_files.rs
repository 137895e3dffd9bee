//! Files that are locks by being there: which lock a name is, and whether it is one.
//!
//! Making a name that only one can make (O_CREAT with O_EXCL, mkdir, link, symlink, rename that
//! replaces nothing) takes the lock, finding it there is a refusal, and taking the name away lets
//! go, be it by renaming (git renames `index.lock` to `index`). Names are made for other reasons
//! too: one that is called like a lock, or that a thread asks for again and again, is taken for one.
//!
//! A lock is a name in a directory, however the way there is spelled. Where the directory could not
//! be looked up it is the path.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::left_behind::Ended;
use crate::model::{
    CountsKey, FileEvent, FileSeen, FoundFile, HolderSource, KernelLock, LockFileFact,
    LockFileSeen, LockId, LockKind, Mode, NamedState, ThreadId,
};

/// Most names and directories remembered; beyond it all are forgotten and learnt anew.
const AT_MOST: usize = 16_384;
/// Every name has one holder at most: who makes it.
pub const OWNER: u64 = 1;
/// How often a directory is looked up whose thread is gone by the time of the look.
const LOOKS_AT_MOST: u32 = 8;
/// How long what lies under a name is taken to be what it was, nanoseconds.
const FRESH: u64 = 100_000_000;
/// A file is this much older at most than the end of the call that made it, nanoseconds.
const SLACK: u64 = 50_000_000;

/// A directory as a thread spells it, from its root.
type Spelled = ((u32, u64), String);

/// What is known of it.
#[derive(Clone, Debug, Default)]
struct Directory {
    at: Option<(u64, u64)>,
    path: Option<Arc<str>>,
    looks: u32,
}

/// Who has a lock file, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who.
    pub id: ThreadId,
    /// Its name, where the file was looked at.
    pub name: Option<String>,
    /// How that is known.
    pub source: HolderSource,
    /// When the file was made.
    pub since: Option<u64>,
    /// The holder has ended.
    pub gone: bool,
}

/// Names and what they are.
#[derive(Default)]
pub struct LockFiles {
    names: HashMap<LockId, Arc<str>>,
    directories: HashMap<Spelled, Directory>,
    found: HashMap<LockId, (u64, Option<FoundFile>)>,
    /// Locks that were met by their path before their directory was known: that is what they are
    /// called from then on.
    met: HashMap<LockId, LockId>,
    /// Processes that ended.
    pub ended: Ended,
}

impl LockFiles {
    /// Whether an event is about a lock, as far as its path tells.
    pub fn concerns(seen: &LockFileSeen) -> bool {
        let asked = seen.refused.map_or(0, |(_, count)| count);
        // Who finds a name there once may only have wanted it to be.
        seen.event != FileEvent::Refused || asked >= 2 || sounds_like_a_lock(&seen.path)
    }

    /// The directory and the name in it that ought to be looked up before an event is read.
    pub fn wants(&self, seen: &LockFileSeen, base: Option<&str>) -> Option<(String, String)> {
        let (directory, name) = spelled(&seen.path, base)?;
        let known = self.directories.get(&(seen.root, directory.clone()));
        let Some(at) = known.and_then(|known| known.at) else {
            let again = known.is_none_or(|known| known.looks < LOOKS_AT_MOST);
            return again.then_some((directory, name));
        };
        let found = self.found.get(&self.known(identity(at, &name)));
        let fresh = found.is_some_and(|(time, _)| seen.time.saturating_sub(*time) < FRESH);
        // Who makes a name or takes it away is known by that.
        (seen.event == FileEvent::Refused && !fresh).then_some((directory, name))
    }

    /// Notes where a name is, and what lies there.
    pub fn learn(&mut self, fact: &LockFileFact, now: u64) {
        if self.directories.len() >= AT_MOST {
            self.directories.clear();
        }
        let spelled = (fact.root, fact.directory.clone());
        let known = self.directories.entry(spelled).or_default();
        known.looks += 1;
        let Some(at) = fact.at else { return };
        (known.at, known.path) = (Some(at), fact.path.as_deref().map(Arc::from));
        let known = known.clone();
        if let Some(path) = &fact.path {
            // The path without links is one more way to spell it.
            self.directories.insert((fact.root, path.clone()), known);
        }
        if self.found.len() >= AT_MOST {
            self.found.clear();
        }
        let path = whole(&format!("{}/{}", fact.directory, fact.name), None, (0, 0));
        let id = self.meet(identity(at, &fact.name), by_path(fact.root, &path));
        self.found.insert(id, (now, fact.found.clone()));
    }

    /// What a lock is called that is known by its directory.
    fn known(&self, id: LockId) -> LockId {
        self.met.get(&id).copied().unwrap_or(id)
    }

    /// The same, where its path is at hand too.
    fn meet(&mut self, id: LockId, by_path: LockId) -> LockId {
        if !self.met.contains_key(&id) && self.names.contains_key(&by_path) {
            if self.met.len() >= AT_MOST {
                self.met.clear();
            }
            self.met.insert(id, by_path);
        }
        self.known(id)
    }

    /// What an event says, in the words of locks of files; `None` where it is about none.
    pub fn read(&mut self, seen: &LockFileSeen, base: Option<&str>) -> Option<FileSeen> {
        let (id, path) = self.place(seen, base);
        if !self.names.contains_key(&id) {
            let asked = seen.refused.map_or(0, |(_, count)| count);
            if !sounds_like_a_lock(&path) && (seen.event != FileEvent::Refused || asked < 2) {
                return None;
            }
            if self.names.len() >= AT_MOST {
                self.names.clear();
            }
            self.names.insert(id, path.into());
        }
        if seen.event != FileEvent::Refused {
            // What lay there is there no more.
            self.found.remove(&id);
        }
        let kind = if seen.directory { LockKind::LockDirectory } else { LockKind::LockFile };
        let LockId::Name { path: inode, .. } = id else { return None };
        let key = CountsKey { mixed: 0, device: 0, inode };
        Some(FileSeen {
            time: seen.time,
            thread: seen.thread,
            lock: KernelLock { id, kind, mode: Mode::Exclusive, key },
            event: seen.event,
            owner: OWNER,
            holder_owner: None,
            holder: None,
            refused: seen.refused,
            descriptor: 0,
        })
    }

    /// Who has the lock that somebody is refused: who was seen making it, unless another made it
    /// since, else whom it names.
    /// The kernel half goes by how the path is spelled; `known` is who made it under any spelling, some
    /// time ago.
    pub fn held(
        &self,
        id: &LockId,
        maker: Option<(u64, ThreadId)>,
        known: Option<(u64, ThreadId)>,
    ) -> Option<Held> {
        let found = self.found.get(id).and_then(|(_, found)| found.as_ref());
        let made = found.and_then(|found| found.made);
        // It may have been taken away, and made again, by someone who is not watched.
        let maker = maker.max(known.filter(|_| made.is_some()));
        let maker = maker.filter(|(time, _)| made.is_none_or(|made| made <= time + SLACK));
        let says = found.and_then(|found| found.says.as_ref()).filter(|_| match maker {
            // What was read may have been the file before.
            Some((time, _)) => made.is_some_and(|made| made + SLACK >= time),
            None => true,
        });
        let named = |says: &crate::model::NamedProcess, id, gone| Held {
            id,
            name: Some(says.name.clone()),
            source: HolderSource::FileContent,
            since: made,
            gone,
        };
        match (maker, says) {
            (maker, Some(says))
                if says.state == NamedState::There
                    && maker.is_none_or(|(_, maker)| maker.pid != says.host_pid) =>
            {
                let pid = says.host_pid;
                let tid = if says.threads == 1 { pid } else { 0 };
                Some(named(says, ThreadId { pid, tid }, false))
            }
            (Some((time, id)), says) => {
                let its = says.filter(|s| s.state == NamedState::Gone && s.pid == id.pid);
                let gone = its.is_some() || self.ended.was_killed(id.pid, time);
                let (name, source) = (None, HolderSource::LastAcquirer);
                Some(Held { id, name, source, since: Some(time), gone })
            }
            (None, Some(says)) if says.state == NamedState::Gone => {
                Some(named(says, ThreadId { pid: says.pid, tid: 0 }, true))
            }
            (None, _) => None,
        }
    }

    /// Path of a name.
    pub fn path(&self, id: &LockId) -> Option<Arc<str>> {
        self.names.get(id).cloned()
    }

    /// Which lock a path means, and its path as people would spell it.
    fn place(&mut self, seen: &LockFileSeen, base: Option<&str>) -> (LockId, String) {
        let path = whole(&seen.path, base, seen.base);
        let known = spelled(&seen.path, base).and_then(|(directory, name)| {
            let known = self.directories.get(&(seen.root, directory))?;
            Some((known.at?, known.path.clone(), name))
        });
        let by_path = by_path(seen.root, &path);
        match known {
            Some((at, Some(directory), name)) => {
                let directory = directory.trim_end_matches('/');
                (self.meet(identity(at, &name), by_path), format!("{directory}/{name}"))
            }
            Some((at, None, name)) => (self.meet(identity(at, &name), by_path), path),
            None => (by_path, path),
        }
    }
}

fn identity(at: (u64, u64), name: &str) -> LockId {
    LockId::Name { root: mixed(&at), path: mixed(&name) }
}

fn by_path(root: (u32, u64), path: &str) -> LockId {
    LockId::Name { root: mixed(&root), path: mixed(&path) }
}

fn mixed(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn sounds_like_a_lock(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    name.contains("lock") || [".lck", ".lk", ".pid"].iter().any(|end| name.ends_with(end))
}

/// The directory from the root, as it is spelled, and the name in it; `None` where either is not
/// known.
fn spelled(path: &str, base: Option<&str>) -> Option<(String, String)> {
    let whole = match base {
        _ if path.starts_with('/') => path.to_owned(),
        Some(base) => format!("{}/{path}", base.trim_end_matches('/')),
        None => return None,
    };
    let (directory, name) = whole.trim_end_matches('/').rsplit_once('/')?;
    let directory = if directory.is_empty() { "/" } else { directory };
    (!matches!(name, "" | "." | "..")).then(|| (directory.to_owned(), name.to_owned()))
}

/// The path from the root, without detours; links on the way are not followed.
fn whole(path: &str, base: Option<&str>, at: (u32, u64)) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let unknown;
    let start = match base {
        _ if path.starts_with('/') => "",
        Some(base) => base,
        None => {
            unknown = format!("dev{:x}:ino{}", at.0, at.1);
            &unknown
        }
    };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') || base.is_some() { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_are_one_path() {
        let at = (8, 7);
        assert_eq!(whole("/a/./b//../c.lock", Some("/x"), at), "/a/c.lock");
        assert_eq!(whole("c.lock", Some("/a"), at), "/a/c.lock");
        assert_eq!(whole("../a/c.lock", Some("/b"), at), "/a/c.lock");
        assert_eq!(whole(".git/index.lock", None, at), "dev8:ino7/.git/index.lock");
        assert_eq!(whole("/../x", None, at), "/x");
    }

    #[test]
    fn names_of_locks_are_known_by_their_sound() {
        for name in ["/r/.git/index.lock", "/run/x.pid", "/m/LOCK", "/v/box.lck", "/t/lockdir"] {
            assert!(sounds_like_a_lock(name), "{name}");
        }
        for name in ["/locks/data", "/tmp/abc", "/x/clk"] {
            assert!(!sounds_like_a_lock(name), "{name}");
        }
    }
}
