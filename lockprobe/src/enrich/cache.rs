//! A map that forgets: bounded, and what is used stays.

use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: entries used lately are in the young one. When that is full, the old one is
/// dropped and the young one becomes old: no bookkeeping per use, never more than two generations.
pub struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation: usize,
}

impl<K: Eq + Hash + Clone, V> Cache<K, V> {
    /// Never more than `most` entries.
    pub fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation: (most / 2).max(1) }
    }

    /// The value, now among those used lately.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            self.insert(key.clone(), value);
        }
        self.young.get_mut(key)
    }

    /// Sets the value.
    pub fn insert(&mut self, key: K, value: V) -> &mut V {
        if self.young.len() >= self.generation && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.entry(key).insert_entry(value).into_mut()
    }

    /// Forgets one.
    pub fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Takes one out.
    pub fn take(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Looks at each.
    pub fn each(&mut self, mut f: impl FnMut(&K, &mut V)) {
        self.young.iter_mut().chain(&mut self.old).for_each(|(key, value)| f(key, value));
    }

    /// Keeps only those for which this holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.young.retain(|k, _| keep(k));
        self.old.retain(|k, _| keep(k));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut cache = Cache::new(4);
        for i in 0..100 {
            cache.insert(i, i);
            assert_eq!(cache.get(&0), Some(&mut 0), "at {i}");
        }
        assert!(cache.young.len() + cache.old.len() <= 4);
        assert_eq!(cache.get(&50), None);
        cache.remove(&0);
        assert_eq!(cache.get(&0), None);
    }
}
