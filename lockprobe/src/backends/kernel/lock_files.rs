//! Files that are locks by being there: which lock a name is, and whether it is one.
//!
//! Making a name that only one can make (O_CREAT with O_EXCL, mkdir, link, symlink, rename that
//! replaces nothing) takes the lock, finding it there is a refusal, and taking the name away lets
//! go, be it by renaming (git renames `index.lock` to `index`). Names are made for other reasons
//! too: one that is called like a lock, or that a thread asks for again and again, is taken for one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::model::{
    CountsKey, FileEvent, FileSeen, Holder, HolderSource, KernelLock, LockFileSeen, LockId,
    LockKind, Mode,
};

/// Most names remembered; beyond it all are forgotten and learnt anew.
const AT_MOST: usize = 16_384;
/// Every name has one holder at most: who makes it.
pub const OWNER: u64 = 1;

/// Names and what they are.
#[derive(Default)]
pub struct LockFiles(HashMap<LockId, Arc<str>>);

impl LockFiles {
    /// What an event says, in the words of locks of files; `None` where it is about none.
    pub fn read(&mut self, seen: &LockFileSeen, base: Option<&str>) -> Option<FileSeen> {
        let path = whole(&seen.path, base, seen.base);
        let id = LockId::Name { root: mixed(&seen.root), path: mixed(&path) };
        let asked = seen.refused.map_or(0, |(_, count)| count);
        let known = self.0.contains_key(&id);
        if !known {
            // Who finds a name there once may only have wanted it to be.
            if !sounds_like_a_lock(&path) && (seen.event != FileEvent::Refused || asked < 2) {
                return None;
            }
            if self.0.len() >= AT_MOST {
                self.0.clear();
            }
            self.0.insert(id, path.into());
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
            holder_owner: seen.maker.map(|_| OWNER),
            holder: seen.maker.map(|(_, maker)| maker.pid),
            refused: seen.refused,
            descriptor: 0,
        })
    }

    /// Path of a name.
    pub fn path(&self, id: &LockId) -> Option<Arc<str>> {
        self.0.get(id).cloned()
    }
}

/// Who made a name has it, as far as was seen: it may have been taken away under another name.
pub fn maker(seen: &LockFileSeen, name: String) -> Option<(u64, Holder)> {
    let (time, id) = seen.maker?;
    Some((time, Holder { id, name, source: HolderSource::LastAcquirer }))
}

fn mixed(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn sounds_like_a_lock(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    name.contains("lock") || [".lck", ".lk", ".pid"].iter().any(|end| name.ends_with(end))
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
