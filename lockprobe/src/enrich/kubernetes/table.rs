//! The pods of this node, for any thread to ask.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::pod::Pod;

/// Most pods kept: a node has some hundred.
const MOST: usize = 4096;

/// Pods by UID, by the hash of their file and by container. One thread writes; whoever asks gets a
/// pod to keep.
#[derive(Default)]
pub struct Pods {
    table: RwLock<Table>,
    generation: AtomicU64,
    left_out: AtomicU64,
}

#[derive(Default)]
struct Table {
    by_uid: HashMap<String, Arc<Pod>>,
    /// UIDs by the hash of a static pod.
    by_hash: HashMap<String, String>,
    /// UIDs by id of a container.
    by_container: HashMap<String, String>,
}

impl Pods {
    /// Grows with every change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How many pods are known.
    pub fn len(&self) -> usize {
        self.read(|table| table.by_uid.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a pod was left out since there were too many.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// The pod of a container, by its id, or by what its control group says of the pod.
    pub fn of(&self, container: Option<&str>, pod: Option<&str>) -> Option<Arc<Pod>> {
        self.read(|table| {
            let by_hash = |uid: &str| table.by_uid.get(table.by_hash.get(uid)?);
            let by_uid = pod.and_then(|uid| table.by_uid.get(uid).or_else(|| by_hash(uid)));
            let by_id = || table.by_uid.get(table.by_container.get(container?)?);
            by_uid.or_else(by_id).cloned()
        })
    }

    /// Takes in a pod as it is now.
    pub fn put(&self, pod: Pod) {
        self.write(|table| {
            if table.by_uid.get(&pod.uid).is_some_and(|known| **known == pod) {
                return false;
            }
            if table.by_uid.len() >= MOST && !table.by_uid.contains_key(&pod.uid) {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            table.put(pod);
            true
        });
    }

    /// Forgets a pod. Its processes may outlive it by a moment: what was said of them stays said.
    pub fn remove(&self, uid: &str) {
        self.write(|table| table.remove(uid));
    }

    /// Has these pods and no others.
    pub fn replace(&self, pods: Vec<Pod>) {
        self.write(|table| {
            let mut new = Table::default();
            for pod in pods {
                if new.by_uid.len() >= MOST {
                    self.left_out.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                // Who has a pod already can see that it is the same.
                match table.by_uid.get(&pod.uid).filter(|known| ***known == pod) {
                    Some(known) => new.keep(known.clone()),
                    None => new.put(pod),
                }
            }
            let same = new.by_uid == table.by_uid;
            *table = new;
            !same
        });
    }

    fn read<T>(&self, ask: impl FnOnce(&Table) -> T) -> T {
        ask(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Table) -> bool) {
        if change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner)) {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }
}

impl Table {
    fn put(&mut self, pod: Pod) {
        self.remove(&pod.uid);
        self.keep(Arc::new(pod));
    }

    fn keep(&mut self, pod: Arc<Pod>) {
        if let Some(hash) = &pod.hash {
            self.by_hash.insert(hash.clone(), pod.uid.clone());
        }
        for (id, _) in &pod.containers {
            self.by_container.insert(id.clone(), pod.uid.clone());
        }
        self.by_uid.insert(pod.uid.clone(), pod);
    }

    fn remove(&mut self, uid: &str) -> bool {
        let Some(pod) = self.by_uid.remove(uid) else { return false };
        if let Some(hash) = &pod.hash {
            self.by_hash.remove(hash);
        }
        for (id, _) in &pod.containers {
            self.by_container.remove(id);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, container: &str) -> Pod {
        let containers = vec![(container.to_owned(), "app".to_owned())];
        Pod { uid: uid.into(), name: format!("pod-{uid}"), containers, ..Pod::default() }
    }

    fn name(pods: &Pods, container: Option<&str>, uid: Option<&str>) -> Option<String> {
        pods.of(container, uid).map(|pod| pod.name.clone())
    }

    #[test]
    fn pods_are_found_by_whatever_is_known() {
        let pods = Pods::default();
        pods.put(pod("1", "a"));
        pods.put(Pod { hash: Some("h".into()), ..pod("2", "b") });
        assert_eq!(name(&pods, None, Some("1")).as_deref(), Some("pod-1"));
        assert_eq!(name(&pods, Some("b"), None).as_deref(), Some("pod-2"));
        assert_eq!(name(&pods, None, Some("h")).as_deref(), Some("pod-2"));
        assert_eq!(name(&pods, Some("x"), Some("y")), None);
        let before = pods.generation();
        pods.put(pod("1", "a"));
        assert_eq!(pods.generation(), before, "nothing has changed");
        pods.put(pod("1", "c"));
        assert!(pods.generation() > before && name(&pods, Some("a"), None).is_none());
        pods.remove("2");
        assert_eq!((name(&pods, None, Some("h")), pods.len()), (None, 1));
    }

    #[test]
    fn a_new_list_keeps_what_is_the_same() {
        let pods = Pods::default();
        pods.put(pod("1", "a"));
        pods.put(pod("2", "b"));
        let (first, before) = (pods.of(None, Some("1")).unwrap(), pods.generation());
        pods.replace(vec![pod("1", "a"), pod("3", "c")]);
        assert!(Arc::ptr_eq(&first, &pods.of(None, Some("1")).unwrap()));
        assert_eq!(name(&pods, Some("b"), None), None);
        assert_eq!(name(&pods, Some("c"), None).as_deref(), Some("pod-3"));
        assert_eq!(pods.generation(), before + 1);
        pods.replace(vec![pod("1", "a"), pod("3", "c")]);
        assert_eq!(pods.generation(), before + 1, "nothing has changed");
    }

    #[test]
    fn there_are_never_too_many() {
        let pods = Pods::default();
        for i in 0..MOST + 10 {
            pods.put(pod(&i.to_string(), &i.to_string()));
        }
        assert_eq!((pods.len(), pods.left_out()), (MOST, 10));
        pods.replace((0..MOST + 5).map(|i| pod(&format!("n{i}"), "c")).collect());
        assert_eq!((pods.len(), pods.left_out()), (MOST, 15));
    }
}
