//! Which processes are meant, and which agent they are: rules as the user writes them.

use std::collections::BTreeMap;

/// Says which processes are meant: all that is given must match. With nothing given, all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Glob on the path of the executable, and on its file name.
    pub exe: Option<String>,
    /// Regular expression found in the command line, its words joined by spaces.
    pub command: Option<String>,
    /// Globs on variables of the environment, by name.
    pub env: BTreeMap<String, String>,
    /// TCP port the process listens at.
    pub port: Option<u16>,
    /// Glob on the path of the control group.
    pub cgroup: Option<String>,
    /// Glob on the id or the name of the container.
    pub container: Option<String>,
    /// Glob on the Kubernetes namespace.
    pub namespace: Option<String>,
    /// Glob on the name of the pod.
    pub pod: Option<String>,
    /// Globs on labels of the pod, by name.
    pub pod_labels: BTreeMap<String, String>,
}

/// Names the agent that processes are: `gen_ai.agent.*`.
///
/// The texts may hold `${env:NAME}`, a variable of the process; a text whose variable is not set
/// says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentRule {
    /// Whose.
    pub selector: Selector,
    /// Glob on the names of their threads: one of them must match.
    pub thread: Option<String>,
    /// `gen_ai.agent.name`.
    pub name: Option<String>,
    /// `gen_ai.agent.id`.
    pub id: Option<String>,
    /// `gen_ai.agent.version`.
    pub version: Option<String>,
}
