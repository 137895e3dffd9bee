//! What locks of the kernel are called.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::lock::END_OF_FILE;
use crate::model::{CountsKey, FileFact, KernelLock, LockDescription, LockId};

/// Most files and locks remembered; beyond it all are forgotten and learnt anew.
const AT_MOST: usize = 65_536;

/// How often a file is looked up that a thread has closed again by the time of the look.
const LOOKS_AT_MOST: u32 = 8;

/// What is known of a file.
#[derive(Default)]
struct Path {
    path: Option<Arc<str>>,
    looks: u32,
}

/// Paths and descriptions.
#[derive(Default)]
pub struct Names {
    paths: HashMap<(u32, u64), Path>,
    described: HashMap<LockId, Arc<LockDescription>>,
    keys: HashMap<CountsKey, LockId>,
    called: HashMap<LockId, Arc<str>>,
}

impl Names {
    /// Whether a file has been looked up.
    pub fn knows(&self, device: u32, inode: u64) -> bool {
        let known = self.paths.get(&(device, inode));
        known.is_some_and(|known| known.path.is_some() || known.looks >= LOOKS_AT_MOST)
    }

    /// How often it was looked up in vain.
    pub fn looks(&self, device: u32, inode: u64) -> u32 {
        self.paths.get(&(device, inode)).map_or(0, |known| known.looks)
    }

    /// Path of a file, if it is known.
    pub fn path_of(&self, device: u32, inode: u64) -> Option<Arc<str>> {
        self.paths.get(&(device, inode))?.path.clone()
    }

    /// Notes what a name is called: by itself.
    pub fn call(&mut self, id: LockId, path: Arc<str>) {
        if self.called.len() >= AT_MOST {
            self.called.clear();
        }
        self.called.insert(id, path);
    }

    /// Notes what a file is called.
    pub fn learn(&mut self, fact: &FileFact) {
        if self.paths.len() >= AT_MOST {
            self.paths.clear();
        }
        let known = self.paths.entry((fact.device, fact.inode)).or_default();
        known.looks += 1;
        let Some(path) = &fact.path else { return };
        known.path = Some(path.as_str().into());
        let named = |id: &LockId| matches!(id, LockId::File { device, inode, .. } if (*device, *inode) == (fact.device, fact.inode));
        self.described.retain(|id, _| !named(id));
    }

    /// The lock as people read it.
    pub fn describe(&mut self, lock: &KernelLock) -> Arc<LockDescription> {
        if let Some(described) = self.described.get(&lock.id) {
            return described.clone();
        }
        if self.described.len() >= AT_MOST || self.keys.len() >= AT_MOST {
            self.described.clear();
            self.keys.clear();
        }
        let described = Arc::new(LockDescription {
            id: lock.id,
            kind: lock.kind,
            name: self.name(lock.id),
            confirmed: true,
            call_site: None,
            address: None,
        });
        self.described.insert(lock.id, described.clone());
        self.keys.insert(lock.key, lock.id);
        described
    }

    /// The lock that was counted under a key.
    pub fn of_key(&self, key: CountsKey) -> Option<Arc<LockDescription>> {
        self.described.get(self.keys.get(&key)?).cloned()
    }

    /// The path, with the range of a lock that does not cover the whole file; else the identity.
    fn name(&self, id: LockId) -> Arc<str> {
        let LockId::File { device, inode, start, end, .. } = id else {
            let called = self.called.get(&id).cloned();
            return called.unwrap_or_else(|| id.to_string().into());
        };
        match self.path_of(device, inode) {
            None => id.to_string().into(),
            Some(path) if start == 0 && end == END_OF_FILE => path,
            Some(path) if end == END_OF_FILE => format!("{path}[{start}..]").into(),
            Some(path) => format!("{path}[{start}..={end}]").into(),
        }
    }
}
