//! A pod: the little that is kept of it (pure).
//!
//! The specification of a pod holds environments, commands and mounts, its annotations anything at
//! all. None of that is parsed into anything: only the fields below are ever kept.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::enrich::container::Container;
use crate::enrich::process::resource;
use crate::model::names;

/// Labels of a pod.
const MOST_LABELS: usize = 64;
/// Bytes of the name of a label: prefix, slash and name (Kubernetes allows no more).
const LONGEST_LABEL: usize = 317;
/// Attributes of a pod's annotations.
const MOST_ATTRIBUTES: usize = 32;
/// Containers of a pod, with those that ended and were started anew.
const MOST_CONTAINERS: usize = 128;
/// Annotations that are attributes of the resource, by the OpenTelemetry operator's convention.
const RESOURCE: &str = "resource.opentelemetry.io/";
/// Hash of the file of a static pod, which the kubelet names control groups after.
const HASH: &str = "kubernetes.io/config.hash";
/// The label by which a replica set tells its pods from those of other templates.
const TEMPLATE: &str = "pod-template-hash";
/// A job of a cron job is named after the minute it is due; it is made not much later.
const LATEST: i64 = 24 * 60;

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// UID.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Node it runs on.
    pub node: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Attributes of the resource by its annotations `resource.opentelemetry.io/..`.
    pub attributes: Vec<(String, String)>,
    /// What it belongs to, the outermost first: attribute and name.
    pub owners: Vec<(&'static str, String)>,
    /// Ids and names of its containers.
    pub containers: Vec<(String, String)>,
    /// Hash of its file, of a static pod.
    pub hash: Option<String>,
}

/// A pod as the API server and the kubelet write it: the fields that are of use.
#[derive(Deserialize)]
pub struct Written {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    creation_timestamp: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<Annotations>,
    owner_references: Option<Vec<Owner>>,
}

#[derive(Deserialize)]
struct Owner {
    kind: String,
    name: String,
    controller: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    id: Option<String>,
}

/// The annotations that are of use; of others not even the name is kept.
#[derive(Default)]
struct Annotations {
    attributes: Vec<(String, String)>,
    hash: Option<String>,
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Annotations;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(
                self,
                mut map: M,
            ) -> Result<Annotations, M::Error> {
                let mut found = Annotations::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == HASH {
                        found.hash = map.next_value()?;
                    } else if let Some(name) = name.strip_prefix(RESOURCE) {
                        let value = map.next_value::<String>()?;
                        found.attributes.extend(resource::name(name).zip(resource::value(&value)));
                    } else {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
                found.attributes.truncate(MOST_ATTRIBUTES);
                Ok(found)
            }
        }
        source.deserialize_map(Visitor)
    }
}

impl Written {
    /// Its version, from which changes can be asked for.
    pub fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }

    /// What is kept of it; `None` without UID, name and namespace.
    pub fn keep(self) -> Option<Pod> {
        let Metadata { uid, name, namespace, .. } = &self.metadata;
        let text = |text: &Option<String>| resource::value(text.as_deref()?);
        let (uid, name, namespace) = (text(uid)?, text(name)?, text(namespace)?);
        let labels = labels(self.metadata.labels.unwrap_or_default());
        let made = self.metadata.creation_timestamp.as_deref().and_then(minutes);
        let owners = self.metadata.owner_references.unwrap_or_default();
        let owner = owners.into_iter().find(|owner| owner.controller == Some(true));
        let owners = owner.map(|owner| owned_by(&owner, &labels, made)).unwrap_or_default();
        let annotations = self.metadata.annotations.unwrap_or_default();
        Some(Pod {
            uid,
            name,
            namespace,
            node: text(&self.spec.and_then(|spec| spec.node_name)),
            labels,
            attributes: annotations.attributes,
            owners,
            containers: self.status.map(containers).unwrap_or_default(),
            hash: annotations.hash.and_then(|hash| resource::value(&hash)),
        })
    }
}

fn labels(written: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let good = |name: &String| name.len() <= LONGEST_LABEL && name.is_ascii();
    let kept = written.into_iter().filter(|(name, _)| good(name));
    // A label may be empty.
    kept.map(|(name, text)| (name, resource::value(&text).unwrap_or_default()))
        .take(MOST_LABELS)
        .collect()
}

/// `containerd://4563..`, by name.
fn containers(status: Status) -> Vec<(String, String)> {
    let all = [
        status.container_statuses,
        status.init_container_statuses,
        status.ephemeral_container_statuses,
    ];
    let named = all.into_iter().flatten().flatten().filter_map(|container| {
        let id = container.id?;
        let (_, id) = id.split_once("://")?;
        Some((resource::value(id)?, resource::value(&container.name)?))
    });
    named.take(MOST_CONTAINERS).collect()
}

/// What a pod belongs to by its controller, and what that belongs to where its name proves it.
/// Kinds that are not Kubernetes' own (and the node of a static pod) name no service.
fn owned_by(
    owner: &Owner,
    labels: &BTreeMap<String, String>,
    made: Option<i64>,
) -> Vec<(&'static str, String)> {
    let Some(name) = resource::value(&owner.name) else { return Vec::new() };
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let hash = labels.get(TEMPLATE).filter(|hash| !hash.is_empty());
            let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
            let deployment = deployment.map(|of| (names::K8S_DEPLOYMENT_NAME, of.to_owned()));
            deployment.into_iter().chain([(names::K8S_REPLICASET_NAME, name.clone())]).collect()
        }
        "Job" => {
            let due =
                name.rsplit_once('-').and_then(|(of, due)| Some((of, due.parse::<i64>().ok()?)));
            let in_time = |due: i64| made.is_some_and(|made| (-1..LATEST).contains(&(made - due)));
            let cron = due.filter(|(_, due)| in_time(*due));
            let cron = cron.map(|(of, _)| (names::K8S_CRONJOB_NAME, of.to_owned()));
            cron.into_iter().chain([(names::K8S_JOB_NAME, name.clone())]).collect()
        }
        "StatefulSet" => vec![(names::K8S_STATEFULSET_NAME, name)],
        "DaemonSet" => vec![(names::K8S_DAEMONSET_NAME, name)],
        "ReplicationController" => vec![(names::K8S_REPLICATIONCONTROLLER_NAME, name)],
        _ => Vec::new(),
    }
}

/// Minutes since 1970 of `2026-11-21T14:16:39Z`.
fn minutes(text: &str) -> Option<i64> {
    let field = |at: std::ops::Range<usize>| text.get(at)?.parse::<i64>().ok();
    let (year, month, day) = (field(0..4)?, field(5..7)?, field(8..10)?);
    let (hour, minute) = (field(11..13)?, field(14..16)?);
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !valid || !text.ends_with('Z') {
        return None;
    }
    // Days of the civil calendar, years beginning in March (Fliegel and Van Flandern).
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some((days * 24 + hour) * 60 + minute)
}

impl Pod {
    /// A pod as the files of a container runtime name it.
    pub fn told(
        [uid, namespace, name]: [String; 3],
        of: &Container,
        container: &Option<String>,
    ) -> Self {
        let containers = of.id.clone().zip(container.clone()).into_iter().collect();
        Self { uid, name, namespace, containers, ..Self::default() }
    }

    /// Name of one of its containers.
    pub fn container(&self, id: &str) -> Option<&str> {
        self.containers.iter().find(|(of, _)| of == id).map(|(_, name)| name.as_str())
    }

    /// The service its annotations, labels and owners name, in this order.
    pub fn service(&self) -> Option<&str> {
        let by_annotation = self.attribute(names::SERVICE_NAME);
        let by_label = || self.label("app.kubernetes.io/name");
        by_annotation.or_else(by_label).or_else(|| Some(self.owners.first()?.1.as_str()))
    }

    /// Its version, as annotations and labels say.
    pub fn version(&self) -> Option<&str> {
        self.attribute(names::SERVICE_VERSION).or_else(|| self.label("app.kubernetes.io/version"))
    }

    /// An attribute by its annotations.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
