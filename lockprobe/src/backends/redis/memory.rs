//! Maps that forget what was not used for long, so that they stay small.

use std::hash::Hash;

use hashbrown::Equivalent;

/// A map that is looked up several times for each request. Its hash is fast and differs from run to
/// run; whoever finds keys that fall together all the same slows down a map that is bounded.
pub type Map<K, V> = hashbrown::HashMap<K, V, foldhash::quality::RandomState>;
/// Likewise.
pub type Set<K> = hashbrown::HashSet<K, foldhash::quality::RandomState>;

/// A map of at most so many entries: when its young half is full, the old half is forgotten.
#[derive(Debug)]
pub struct Memory<K, V> {
    young: Map<K, V>,
    old: Map<K, V>,
    half: usize,
    forgotten: u64,
}

impl<K: Hash + Eq, V> Memory<K, V> {
    /// One of at most so many entries.
    pub fn new(most: usize) -> Self {
        Self { young: Map::default(), old: Map::default(), half: most / 2, forgotten: 0 }
    }

    /// What is known under this key, which counts as use.
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        if !self.old.is_empty() && !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Remembers.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half {
            let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.forgotten += old.len() as u64;
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    /// What is known under this key, or what is made of nothing.
    pub fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V
    where
        K: Clone,
    {
        if self.old.is_empty() && self.young.len() < self.half {
            return self.young.entry(key).or_insert_with(make);
        }
        if self.get(&key).is_none() {
            self.insert(key.clone(), make());
        }
        self.young.get_mut(&key).expect("it was used just now")
    }

    /// Forgets it.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Keeps only what is worth it.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.young.retain(&mut keep);
        self.old.retain(&mut keep);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// How many entries there was no room for.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
