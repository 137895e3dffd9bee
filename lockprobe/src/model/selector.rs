//! Which processes are meant: what a user says of them.

use std::collections::BTreeMap;

/// Processes for which all that is given here holds. Globs are those of shells; one for executables
/// without a slash is matched against the file name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Glob for the path of the executable.
    pub exe: Option<String>,
    /// Regular expression for the command line, its words joined by blanks.
    pub command: Option<String>,
    /// Environment the process was started with: name, and glob for the value.
    pub env: BTreeMap<String, String>,
    /// TCP port it listens at.
    pub port: Option<u16>,
    /// Glob for the path of one of its control groups; `*` stands for slashes too.
    pub cgroup: Option<String>,
    /// Glob for id or name of its container.
    pub container: Option<String>,
    /// Glob for its Kubernetes namespace.
    pub namespace: Option<String>,
    /// Glob for the name of its pod.
    pub pod: Option<String>,
    /// Labels of its pod: name, and glob for the value.
    pub pod_labels: BTreeMap<String, String>,
}

impl Selector {
    /// Whether it says nothing, and so would mean everybody.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a process runs, as far as anybody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Id of its container.
    pub container_id: Option<String>,
    /// Name of its container.
    pub container_name: Option<String>,
    /// Name of its pod.
    pub pod: Option<String>,
    /// Namespace of its pod.
    pub namespace: Option<String>,
    /// Labels of its pod.
    pub labels: Vec<(String, String)>,
}
