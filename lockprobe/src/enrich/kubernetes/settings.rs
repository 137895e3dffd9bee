//! Whom to ask about pods, and as whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

use super::client::{Client, Failure};

/// Where Kubernetes puts what a pod may show of itself to the API server.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Port of the kubelet.
const KUBELET: u16 = 10250;
/// Variables that manifests set to the name of the node (`spec.nodeName` by the downward API).
const NODE: &[&str] = &["NODE_NAME", "K8S_NODE_NAME", "KUBE_NODE_NAME"];
/// The same for its address (`status.hostIP`).
const ADDRESS: &[&str] = &["NODE_IP", "K8S_NODE_IP"];

/// Where pods are learnt from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodSource {
    /// The API server, else the kubelet, else nobody.
    #[default]
    Auto,
    /// The API server.
    Api,
    /// The kubelet.
    Kubelet,
    /// Nobody.
    Off,
}

/// Settings for what is asked of Kubernetes.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    /// Where pods are learnt from.
    pub source: PodSource,
    /// Name of this node; else what the environment says, else the name of the host.
    pub node: Option<String>,
    /// The API server; else what Kubernetes sets in the environment of each container.
    pub api_url: Option<String>,
    /// The kubelet; else port 10250 of the node.
    pub kubelet_url: Option<String>,
    /// Whether the kubelet's certificate must be signed by the cluster's authority. Many are not.
    pub kubelet_verify: bool,
    /// Folder of the service account: `token` and `ca.crt`. Both are read for each connection.
    pub account: PathBuf,
    /// How often the kubelet is asked.
    pub interval: Duration,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            source: PodSource::Auto,
            node: None,
            api_url: None,
            kubelet_url: None,
            kubelet_verify: true,
            account: ACCOUNT.into(),
            interval: Duration::from_secs(10),
        }
    }
}

impl Kubernetes {
    /// Fills in what the environment says: `variable` looks one up.
    pub fn with_environment(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &&str| variable(name).filter(|value| !value.trim().is_empty());
        let first = |names: &[&str]| names.iter().find_map(get);
        self.node = self.node.or_else(|| first(NODE));
        self.api_url = self.api_url.or_else(|| {
            let (host, port) = (get(&"KUBERNETES_SERVICE_HOST")?, get(&"KUBERNETES_SERVICE_PORT"));
            Some(url(&host, port.as_deref().unwrap_or("443")))
        });
        self.kubelet_url = self.kubelet_url.or_else(|| {
            let address = first(ADDRESS).or_else(|| self.node.clone())?;
            Some(url(&address, &KUBELET.to_string()))
        });
        self
    }

    /// Whether this looks like the inside of a cluster, so that asking is worth a try.
    pub fn is_inside(&self) -> bool {
        self.api_url.is_some()
    }

    /// Name of this node. A pod in the network of its host has the node's name, as a rule.
    pub fn node_name(&self) -> String {
        let host = || rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        self.node.clone().unwrap_or_else(host)
    }

    pub(super) fn api(&self) -> Result<Client, Failure> {
        let url = self.api_url.as_deref().ok_or(Failure::Unknown("the API server"))?;
        Client::new(url, &self.account, true)
    }

    pub(super) fn kubelet(&self) -> Result<Client, Failure> {
        let url = self.kubelet_url.as_deref().ok_or(Failure::Unknown("the kubelet"))?;
        Client::new(url, &self.account, self.kubelet_verify)
    }
}

fn url(host: &str, port: &str) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("https://[{host}]:{port}"),
        false => format!("https://{host}:{port}"),
    }
}

/// Host and port of an address: `https`, and nothing behind the port.
pub(super) fn endpoint(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let bare = uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/");
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    bare.then(|| (host, uri.port_u16().unwrap_or(443)))
}

/// Files of the account.
pub(super) fn token_file(account: &Path) -> PathBuf {
    account.join("token")
}

pub(super) fn authority_file(account: &Path) -> PathBuf {
    account.join("ca.crt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pairs: &[(&str, &str)]) -> Kubernetes {
        let get = |name: &str| {
            let found = pairs.iter().find(|(of, _)| *of == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Kubernetes::default().with_environment(get)
    }

    #[test]
    fn the_environment_of_a_container_says_whom_to_ask() {
        let inside = filled(&[
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("KUBERNETES_SERVICE_PORT", "6443"),
            ("NODE_NAME", "worker-1"),
        ]);
        assert_eq!(inside.api_url.as_deref(), Some("https://10.96.0.1:6443"));
        assert_eq!(inside.kubelet_url.as_deref(), Some("https://worker-1:10250"));
        assert!(inside.is_inside() && inside.node_name() == "worker-1");
        let six = filled(&[("KUBERNETES_SERVICE_HOST", "fd00::1"), ("NODE_IP", "192.0.2.7")]);
        assert_eq!(six.api_url.as_deref(), Some("https://[fd00::1]:443"));
        assert_eq!(six.kubelet_url.as_deref(), Some("https://192.0.2.7:10250"));
        let outside = filled(&[("KUBERNETES_SERVICE_HOST", " ")]);
        assert!(!outside.is_inside() && outside.kubelet_url.is_none());
        assert!(!outside.node_name().is_empty());
    }

    #[test]
    fn only_bare_addresses_with_tls_are_taken() {
        assert_eq!(endpoint("https://a.b:6443/"), Some(("a.b".into(), 6443)));
        assert_eq!(endpoint("https://[fd00::1]"), Some(("fd00::1".into(), 443)));
        for bad in ["http://a", "a:1", "https://a/path", "https://", "", "https://a b"] {
            assert_eq!(endpoint(bad), None, "{bad}");
        }
    }
}
