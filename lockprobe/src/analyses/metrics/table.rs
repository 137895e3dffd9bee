//! Series of one metric by process, lock and more: at most so many, the rest in one named `other`.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::agents::AgentId;
use crate::model::names;
use crate::model::signals::Metric;

/// Name of the lock that series beyond the limit are added to.
pub const OTHER: &str = "other";
/// Most series that were folded and are told apart, to count each once.
const FOLDED_AT_MOST: usize = 16_384;

/// Values of two attributes; empty ones are left out.
pub type Labels = [&'static str; 2];
/// Name and value, as a point has them.
pub type Attributes = Vec<(&'static str, Arc<str>)>;

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The process; `None`: all of the host together.
    pub agent: Option<AgentId>,
    /// `lock.system.name`.
    pub system: &'static str,
    /// `lock.name`.
    pub name: Arc<str>,
    /// Two more attributes.
    pub labels: Labels,
}

/// One series.
pub struct Series<V> {
    /// Of what.
    pub key: Key,
    /// As its points have them.
    pub attributes: Attributes,
    /// The number.
    pub value: V,
}

/// The series of one metric.
pub struct Table<V> {
    metric: Metric,
    index: HashMap<Key, usize>,
    slots: Vec<Option<Series<V>>>,
    free: Vec<usize>,
    most: usize,
    other: Arc<str>,
    told: HashSet<u64>,
    folded: u64,
}

impl<V: Default> Table<V> {
    /// No series yet. The last attributes of the metric are the labels.
    pub fn new(metric: Metric, most: usize) -> Self {
        let (index, slots, free) = (HashMap::new(), Vec::new(), Vec::new());
        let (other, told) = (OTHER.into(), HashSet::new());
        Self { metric, index, slots, free, most, other, told, folded: 0 }
    }

    /// Where the series of a key is, which is made if there is none. Beyond the limit it is that of
    /// all other locks of the process, and when there are many of these, of the host.
    pub fn at(&mut self, key: &Key) -> usize {
        if let Some(&at) = self.index.get(key) {
            return at;
        }
        if self.index.len() < self.most {
            return self.make(key.clone());
        }
        self.count_folded(key);
        let other = Key { name: self.other.clone(), ..key.clone() };
        if let Some(&at) = self.index.get(&other) {
            return at;
        }
        if self.index.len() < self.most + self.most / 8 {
            return self.make(other);
        }
        // No more of these than there are systems and labels.
        let host = Key { agent: None, ..other };
        match self.index.get(&host) {
            Some(&at) => at,
            None => self.make(host),
        }
    }

    fn make(&mut self, key: Key) -> usize {
        let values = [key.labels[0], key.labels[1]].into_iter();
        let names = self.metric.attributes.iter().skip(2);
        let labels = names.zip(values).filter(|(_, value)| !value.is_empty());
        let labels = labels.map(|(&name, value)| (name, value.into()));
        let lock =
            [(names::LOCK_SYSTEM_NAME, key.system.into()), (names::LOCK_NAME, key.name.clone())];
        let attributes = lock.into_iter().chain(labels).collect();
        let series = Series { key: key.clone(), attributes, value: V::default() };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = Some(series);
                at
            }
            None => {
                self.slots.push(Some(series));
                self.slots.len() - 1
            }
        };
        self.index.insert(key, at);
        at
    }

    fn count_folded(&mut self, key: &Key) {
        // The same in every run, other than what `HashMap` uses.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        if self.told.len() >= FOLDED_AT_MOST {
            self.told.clear();
        }
        self.folded += u64::from(self.told.insert(hasher.finish()));
    }

    /// The number of a series.
    pub fn value(&mut self, at: usize) -> Option<&mut V> {
        self.slots.get_mut(at)?.as_mut().map(|series| &mut series.value)
    }

    /// All series, in an order that is the same in every run.
    pub fn all(&self) -> impl Iterator<Item = &Series<V>> {
        self.slots.iter().flatten()
    }

    /// The same, to be changed.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Series<V>> {
        self.slots.iter_mut().flatten()
    }

    /// Forgets the series of a process that has ended.
    pub fn forget(&mut self, is_gone: impl Fn(AgentId) -> bool) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let gone = |series: &mut Series<V>| series.key.agent.is_some_and(&is_gone);
            if let Some(series) = slot.take_if(gone) {
                self.index.remove(&series.key);
                self.free.push(at);
            }
        }
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Series that found no room.
    pub fn folded(&self) -> u64 {
        self.folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::signals::ATTEMPTS;

    fn key(agent: u64, name: &str) -> Key {
        Key {
            agent: Some(AgentId(agent)),
            system: "redis",
            name: name.into(),
            labels: ["acquired", ""],
        }
    }

    #[test]
    fn what_finds_no_room_is_added_to_other_and_counted_once() {
        let mut table = Table::<u64>::new(ATTEMPTS, 16);
        for round in 0..3 {
            for i in 0..40 {
                let at = table.at(&key(i, &format!("lock {i}")));
                *table.value(at).unwrap() += 1;
                assert!(table.all().count() <= 16 + 2 + 1, "round {round}");
            }
        }
        assert_eq!(table.folded(), 24);
        assert_eq!(table.all().map(|series| series.value).sum::<u64>(), 120);
        let others: Vec<_> = table.all().filter(|s| &*s.key.name == OTHER).collect();
        // Two processes had room for one of their own; the rest are the host's.
        assert_eq!(others.iter().map(|s| s.value).collect::<Vec<_>>(), [3, 3, 66]);
        assert_eq!(others[2].key.agent, None);
        let names: Vec<&str> = others[2].attributes.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["lock.system.name", "lock.name", "lock.outcome"]);
    }

    #[test]
    fn a_process_that_ended_makes_room() {
        let mut table = Table::<u64>::new(ATTEMPTS, 2);
        let first = table.at(&key(1, "a"));
        table.at(&key(2, "b"));
        table.forget(|agent| agent == AgentId(1));
        assert_eq!(table.at(&key(3, "c")), first);
        assert_eq!((table.folded(), table.all().count()), (0, 2));
    }
}
