//! In which container and pod a process runs.
//!
//! The control group tells the container and the UID of the pod. What they are called is looked up
//! in the pods of this node, where Kubernetes lets us ask, else in files of the container runtime;
//! neither is needed, and both only add names.

pub mod cgroup;
mod files;
#[cfg(test)]
mod tests;

pub use cgroup::Container;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::Cache;
use super::kubernetes::{Pod, Pods};
use super::process::host;
use super::thread::read_bounded;
use crate::model::Whereabouts;
use files::Told;

/// Bytes of `/proc/PID/cgroup`: a line for each hierarchy.
const LONGEST: u64 = 64 << 10;
/// Containers whose files were looked at.
const REMEMBERED: usize = 1024;

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Path of its control group.
    pub cgroup: String,
    /// Its container; `None` when it runs in none, or that cannot be told.
    pub container: Option<Container>,
    /// What the container is called: by Kubernetes, by the runtime's files or by its group.
    pub container_name: Option<String>,
    /// The pod, once it is known.
    pub pod: Option<Arc<Pod>>,
}

impl Identity {
    /// As selectors ask for it.
    pub fn whereabouts(&self) -> Whereabouts {
        let pod = self.pod.as_deref();
        let labels = pod.map(|pod| pod.labels.iter()).into_iter().flatten();
        Whereabouts {
            container_id: self.container.as_ref().and_then(|container| container.id.clone()),
            container_name: self.container_name.clone(),
            pod: pod.map(|pod| pod.name.clone()),
            namespace: pod.map(|pod| pod.namespace.clone()),
            labels: labels.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

/// The containers and pods of this host. Any thread may ask.
pub struct Containers {
    pods: Arc<Pods>,
    root: Option<PathBuf>,
    /// What files said of containers, by id. Nobody holds it while reading files.
    told: Mutex<Cache<String, Told>>,
}

impl Containers {
    /// With these pods.
    pub fn new(pods: Arc<Pods>) -> Self {
        Self { pods, root: host::root(), told: Mutex::new(Cache::new(REMEMBERED)) }
    }

    /// Files below another root than the host's.
    #[cfg(test)]
    pub fn below(self, root: &std::path::Path) -> Self {
        Self { root: Some(root.to_owned()), ..self }
    }

    /// The pods.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// Grows whenever pods change: what [`Self::of`] says may be another then.
    pub fn generation(&self) -> u64 {
        self.pods.generation()
    }

    /// Where a process runs; `None` when there is no such process.
    pub fn of(&self, pid: u32) -> Option<Identity> {
        let text = read_bounded(format!("/proc/{pid}/cgroup"), LONGEST)?;
        Some(self.of_groups(&String::from_utf8_lossy(&text)))
    }

    /// The same, as selectors ask for it.
    pub fn whereabouts(&self, pid: u32) -> Whereabouts {
        self.of(pid).map(|identity| identity.whereabouts()).unwrap_or_default()
    }

    /// The same of the text of `/proc/PID/cgroup`.
    pub fn of_groups(&self, text: &str) -> Identity {
        let (cgroup, container) = cgroup::parse(text);
        let mut identity = Identity { cgroup, container, ..Identity::default() };
        self.look_up(&mut identity);
        identity
    }

    /// Looks again for the pod and for names of a container that is known. Says whether something
    /// was found that was not known.
    pub fn look_up(&self, identity: &mut Identity) -> bool {
        let Some(container) = &identity.container else { return false };
        let mut pod = self.pods.of(container.id.as_deref(), container.pod.as_deref());
        let by_pod = |pod: &Option<Arc<Pod>>| {
            let id = container.id.as_deref()?;
            Some(pod.as_ref()?.container(id)?.to_owned())
        };
        let mut name = container.name.clone().or_else(|| by_pod(&pod));
        if name.is_none() {
            let told = self.told(container, &identity.cgroup);
            // Files do not tell labels or owners: whoever knows the pod knows better.
            pod =
                pod.or_else(|| Some(Arc::new(Pod::told(told.pod.clone()?, container, &told.name))));
            name = told.name;
        }
        // Processes may outlive the pod for a moment: what was known of them stays known.
        let pod = pod.or_else(|| identity.pod.clone());
        let name = name.or_else(|| identity.container_name.clone());
        let same = match (&identity.pod, &pod) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
            (old, new) => old.is_none() && new.is_none(),
        };
        if same && identity.container_name == name {
            return false;
        }
        (identity.pod, identity.container_name) = (pod, name);
        true
    }

    fn told(&self, container: &Container, cgroup: &str) -> Told {
        let (Some(root), Some(id)) = (&self.root, &container.id) else { return Told::default() };
        let known = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = known().get(id) {
            return told.clone();
        }
        // The files are there before the container runs: what they do not say, they never will.
        let told = files::told(root, container, cgroup).unwrap_or_default();
        known().insert(id.clone(), told.clone());
        told
    }
}
