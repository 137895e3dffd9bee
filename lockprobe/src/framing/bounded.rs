//! A map that never holds more than so many entries: the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The map.
#[derive(Clone, Debug)]
pub struct Bounded<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// Keys in the order they came, with the number of their coming; some are gone since.
    order: VecDeque<(u64, K)>,
    count: u64,
    most: usize,
    /// Entries that had to go.
    pub evicted: u64,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    /// A map of so many entries at most.
    pub fn new(most: usize) -> Self {
        let (entries, order) = (HashMap::new(), VecDeque::new());
        Self { entries, order, count: 0, most: most.max(1), evicted: 0 }
    }

    /// Puts an entry, which is then the youngest; what was there before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.count += 1;
        self.order.push_back((self.count, key.clone()));
        let before = self.entries.insert(key, (self.count, value));
        while self.entries.len() > self.most {
            let Some((count, key)) = self.order.pop_front() else { break };
            if self.is_current(count, &key) {
                self.entries.remove(&key);
                self.evicted += 1;
            }
        }
        if self.order.len() > 2 * self.most + 16 {
            let Self { order, entries, .. } = self;
            order.retain(|(count, key)| entries.get(key).is_some_and(|(c, _)| c == count));
        }
        before.map(|(_, value)| value)
    }

    fn is_current(&self, count: u64, key: &K) -> bool {
        self.entries.get(key).is_some_and(|(current, _)| *current == count)
    }

    /// The entry of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The entry of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Takes the entry of a key out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Takes out every entry of which this is true, in the order they came.
    pub fn take(&mut self, mut which: impl FnMut(&K, &V) -> bool) -> Vec<(K, V)> {
        let taken = self.entries.iter().filter(|(key, (_, value))| which(key, value));
        let mut keys: Vec<(u64, K)> = taken.map(|(key, (at, _))| (*at, key.clone())).collect();
        keys.sort_unstable_by_key(|(at, _)| *at);
        let value = |(_, key): (u64, K)| self.entries.remove(&key).map(|(_, value)| (key, value));
        keys.into_iter().filter_map(value).collect()
    }

    /// Every value.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }

    /// Does something with every value.
    pub fn each(&mut self, mut what: impl FnMut(&mut V)) {
        self.entries.values_mut().for_each(|(_, value)| what(value));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let mut map = Bounded::new(3);
        for key in [1, 2, 3, 1, 4] {
            map.insert(key, key * 10);
        }
        assert_eq!((map.len(), map.evicted), (3, 1));
        assert_eq!(
            [1, 2, 3, 4].map(|key| map.get(&key).copied()),
            [Some(10), None, Some(30), Some(40)]
        );
        assert_eq!(map.take(|_, value| *value > 10), [(3, 30), (4, 40)]);
        assert!(!map.is_empty());
    }

    #[test]
    fn entries_that_come_and_go_leave_nothing_behind() {
        let mut map = Bounded::new(4);
        for key in 0..10_000 {
            map.insert(key, ());
            map.remove(&key);
        }
        assert_eq!((map.len(), map.evicted), (0, 0));
        assert!(map.order.len() <= 24);
    }
}
