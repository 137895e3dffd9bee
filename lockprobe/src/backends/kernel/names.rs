//! What locks of the kernel are called.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::lock::END_OF_FILE;
use crate::model::{CountsKey, FileFact, KernelLock, LockDescription, LockId};

/// Most files and locks remembered; beyond it all are forgotten and learnt anew.
const AT_MOST: usize = 65_536;

/// Paths and descriptions.
#[derive(Default)]
pub struct Names {
    paths: HashMap<(u32, u64), Option<Arc<str>>>,
    described: HashMap<LockId, Arc<LockDescription>>,
    keys: HashMap<CountsKey, LockId>,
}

impl Names {
    /// Whether a file has been looked up.
    pub fn knows(&self, device: u32, inode: u64) -> bool {
        self.paths.contains_key(&(device, inode))
    }

    /// Notes what a file is called.
    pub fn learn(&mut self, fact: &FileFact) {
        if self.paths.len() >= AT_MOST {
            self.paths.clear();
        }
        self.paths.insert((fact.device, fact.inode), fact.path.as_deref().map(Into::into));
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
            return id.to_string().into();
        };
        match self.paths.get(&(device, inode)).cloned().flatten() {
            None => id.to_string().into(),
            Some(path) if start == 0 && end == END_OF_FILE => path,
            Some(path) if end == END_OF_FILE => format!("{path}[{start}..]").into(),
            Some(path) => format!("{path}[{start}..={end}]").into(),
        }
    }
}
