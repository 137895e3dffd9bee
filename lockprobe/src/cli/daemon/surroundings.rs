//! Where processes run: containers, and the pods that Kubernetes knows of.

use std::sync::Arc;

use crate::config::Settings;
use crate::enrich::{Containers, Kubernetes, PodSource, PodWatch, Pods};
use crate::source::live::Locator;

/// What is known of where processes run.
pub struct Surroundings {
    /// Containers, with their pods.
    pub containers: Arc<Containers>,
    /// Asks about pods as long as this is there.
    _watch: Option<PodWatch>,
}

impl Surroundings {
    /// Begins to ask. Without a cluster, or where that fails, there are no pods.
    pub fn new(settings: &Settings) -> Self {
        let pods = Arc::<Pods>::default();
        let watch = watch(settings, &pods);
        Self { containers: Arc::new(Containers::new(pods)), _watch: watch }
    }

    /// Containers alone, for a look.
    pub fn at_hand() -> Self {
        Self { containers: Arc::new(Containers::new(Arc::default())), _watch: None }
    }

    /// Says where a process runs.
    pub fn locator(&self) -> Locator {
        let containers = self.containers.clone();
        Arc::new(move |pid| containers.whereabouts(pid))
    }
}

fn watch(settings: &Settings, pods: &Arc<Pods>) -> Option<PodWatch> {
    let said = &settings.kubernetes;
    let source = match said.source.as_str() {
        "api" => PodSource::Api,
        "kubelet" => PodSource::Kubelet,
        "off" => PodSource::Off,
        _ => PodSource::Auto,
    };
    let own = Kubernetes::default();
    let (node, kubelet_url) = (said.node.clone(), said.kubelet_url.clone());
    let asked = Kubernetes { source, node, kubelet_url, ..own };
    let asked = asked.with_environment(|name| std::env::var(name).ok());
    // Outside a cluster nobody expects it.
    let wanted = match source {
        PodSource::Off => false,
        PodSource::Auto => asked.is_inside() || said.kubelet_url.is_some(),
        PodSource::Api | PodSource::Kubelet => true,
    };
    if !wanted {
        return None;
    }
    let say = |sentence: &str| tracing::info!("{sentence}");
    PodWatch::start(asked, pods.clone(), say)
        .inspect_err(|error| tracing::warn!("nothing will be known of pods: {error}"))
        .ok()
}
