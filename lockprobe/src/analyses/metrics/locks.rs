//! What is remembered of each lock of each process: which series it adds to, and its credits.

use std::collections::HashMap;
use std::sync::Arc;

use super::agents::AgentId;
use super::credit::Credits;
use super::naming::family;
use super::table::{Key, Labels, Table};
use crate::model::{LockDescription, LockId};

/// Most locks remembered; beyond, those without credits are looked up anew.
const AT_MOST: usize = 16_384;
/// Most series remembered of one lock: modes by outcomes, and some more.
const SERIES_AT_MOST: usize = 32;

/// Of which metric a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Waits.
    Waits,
    /// Holds.
    Holds,
    /// Attempts.
    Attempts,
    /// Renewals.
    Renewals,
    /// The queue.
    Queue,
    /// Waiters now.
    Waiters,
    /// Holders now.
    Holders,
}

/// A lock in a process.
pub type Place = (Option<AgentId>, LockId);

/// One lock.
pub struct Entry {
    lock: Arc<LockDescription>,
    key: Key,
    /// Spans whose counts are still to come.
    pub credits: Credits,
    series: Vec<(Of, Labels, usize)>,
}

impl Entry {
    /// Where the series with these labels is.
    pub fn at<V: Default>(&mut self, of: Of, labels: Labels, table: &mut Table<V>) -> usize {
        let same = |known: &&(Of, Labels, usize)| known.0 == of && known.1 == labels;
        if let Some((.., at)) = self.series.iter().find(same) {
            return *at;
        }
        self.key.labels = labels;
        let at = table.at(&self.key);
        if self.series.len() < SERIES_AT_MOST {
            self.series.push((of, labels, at));
        }
        at
    }
}

/// All of them.
pub struct Locks {
    entries: HashMap<Place, Entry>,
    template: fn(&str) -> String,
}

impl Locks {
    /// None yet.
    pub fn new(template: fn(&str) -> String) -> Self {
        Self { entries: HashMap::new(), template }
    }

    /// The entry of a lock, as it is called now.
    pub fn entry(&mut self, agent: Option<AgentId>, lock: &Arc<LockDescription>) -> &mut Entry {
        let place = (agent, lock.id);
        if self.entries.len() >= AT_MOST && !self.entries.contains_key(&place) {
            self.entries.retain(|_, entry| !entry.credits.is_empty());
            if self.entries.len() >= AT_MOST {
                self.entries.clear();
            }
        }
        let template = self.template;
        let entry = self.entries.entry(place).or_insert_with(|| {
            let (system, name) = (lock.kind.system(), family(lock, template));
            let key = Key { agent, system, name, labels: Labels::default() };
            Entry { lock: lock.clone(), key, credits: Credits::default(), series: Vec::new() }
        });
        if !Arc::ptr_eq(&entry.lock, lock) {
            // More may be known of it: what was counted stays where it is.
            let (system, name) = (lock.kind.system(), family(lock, template));
            if (system, &name) != (entry.key.system, &entry.key.name) {
                (entry.key.system, entry.key.name) = (system, name);
                entry.series.clear();
            }
            entry.lock = lock.clone();
        }
        entry
    }

    /// Forgets the locks of processes that have ended.
    pub fn forget(&mut self, is_gone: impl Fn(AgentId) -> bool) {
        self.entries.retain(|(agent, _), _| !agent.is_some_and(&is_gone));
    }
}
