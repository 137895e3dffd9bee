//! The configuration as types. Durations are nanoseconds, sizes bytes.
//!
//! Every field is a key of the table; a test holds the two together.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::Selector;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is looked for, and how closely.
    pub capture: Capture,
    /// Whom.
    pub targets: Targets,
    /// Who processes are.
    pub agents: Agents,
    /// What locks are called, and what is one.
    pub locks: Locks,
    /// Where pods are known from.
    pub kubernetes: Kubernetes,
    /// The collector.
    pub otlp: Otlp,
    /// The endpoints.
    pub http: Http,
    /// Numbers over time.
    pub metrics: Metrics,
    /// What is told of lockprobe itself.
    pub own: Own,
    /// The log.
    pub log: Log,
    /// Records in a file.
    pub jsonl: Jsonl,
    /// What is kept over restarts.
    pub state: State,
}

/// `capture`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// Shortest wait that becomes a span.
    pub min_wait: u64,
    /// Stacks.
    pub stacks: Stacks,
    /// Follow lock files.
    pub lock_files: bool,
    /// Size of the ring.
    pub ring_size: u32,
    /// Locks that servers keep.
    pub servers: Servers,
}

/// `capture.stacks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stacks {
    /// Take them.
    pub enabled: bool,
    /// Of waits from this length on.
    pub threshold: u64,
}

/// `capture.servers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Servers {
    /// Follow their clients.
    pub enabled: bool,
    /// Ports, and what is spoken there.
    pub ports: BTreeMap<u16, String>,
}

/// `targets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// Whom to watch; everybody where empty.
    #[serde(deserialize_with = "selectors")]
    pub include: Vec<Selector>,
    /// Whom not to watch.
    #[serde(deserialize_with = "selectors")]
    pub exclude: Vec<Selector>,
}

/// `agents`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agents {
    /// What they are called.
    pub rules: Vec<AgentRule>,
}

/// An entry of `agents.rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentRule {
    /// Which processes.
    #[serde(rename = "match")]
    pub which: AgentMatch,
    /// `gen_ai.agent.name`.
    pub name: Option<String>,
    /// `gen_ai.agent.id`.
    pub id: Option<String>,
    /// `gen_ai.agent.version`.
    pub version: Option<String>,
}

/// `agents.rules[].match`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Said")]
pub struct AgentMatch {
    /// What is said of the process.
    pub selector: Selector,
    /// Glob for the name of one of its threads.
    pub thread: Option<String>,
}

/// `locks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locks {
    /// What they are called.
    pub names: Vec<LockName>,
    /// Keys in servers that are called after locks, besides those that are known.
    pub lock_patterns: Vec<String>,
    /// Keys in servers that are never locks.
    pub ignore_patterns: Vec<String>,
    /// Follow row locks.
    pub row_locks: bool,
    /// Follow table locks.
    pub table_locks: bool,
}

/// An entry of `locks.names`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LockName {
    /// Name, id or call site.
    pub pattern: String,
    /// What the locks are called.
    pub name: String,
}

/// `kubernetes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kubernetes {
    /// `auto`, `api`, `kubelet` or `off`.
    pub source: String,
    /// Name of this node.
    pub node: Option<String>,
    /// Where the kubelet answers.
    pub kubelet_url: Option<String>,
}

/// `otlp`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// Where to send; nowhere without.
    pub endpoint: Option<String>,
    /// `grpc` or `http/protobuf`.
    pub protocol: String,
    /// Sent with each request. Secrets.
    pub headers: BTreeMap<String, String>,
    /// `none` or `gzip`.
    pub compression: String,
    /// For one request.
    pub timeout: u64,
    /// Send spans.
    pub traces: bool,
    /// Send metrics.
    pub metrics: bool,
    /// Send events.
    pub logs: bool,
    /// How often metrics are sent.
    pub metrics_interval: u64,
    /// For `https`.
    pub tls: Tls,
}

impl std::fmt::Debug for Otlp {
    /// All but the headers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Otlp")
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .field("headers", &self.headers.keys())
            .finish_non_exhaustive()
    }
}

/// `otlp.tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Whom to trust.
    pub ca_file: Option<String>,
    /// Who we are.
    pub cert_file: Option<String>,
    /// What proves it.
    pub key_file: Option<String>,
}

/// `http`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address and port, or `off`.
    pub listen: String,
}

/// `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// How often.
    pub interval: u64,
    /// Most series of one metric.
    pub max_series: usize,
}

/// `own`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// Have the kernel measure its programs.
    pub program_time: bool,
}

/// `log`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: String,
    /// `error`, `warn`, `info` or `debug`.
    pub level: String,
}

/// `jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jsonl {
    /// The file.
    pub path: Option<String>,
}

/// `state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The directory, or `off`.
    pub directory: String,
}

/// What the file says of processes: the vocabulary itself knows no files.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Said {
    exe: Option<String>,
    command: Option<String>,
    env: BTreeMap<String, String>,
    port: Option<u16>,
    cgroup: Option<String>,
    container: Option<String>,
    namespace: Option<String>,
    pod: Option<String>,
    pod_labels: BTreeMap<String, String>,
    thread: Option<String>,
}

impl From<Said> for AgentMatch {
    fn from(said: Said) -> Self {
        let selector = Selector {
            exe: said.exe,
            command: said.command,
            env: said.env,
            port: said.port,
            cgroup: said.cgroup,
            container: said.container,
            namespace: said.namespace,
            pod: said.pod,
            pod_labels: said.pod_labels,
        };
        Self { selector, thread: said.thread }
    }
}

fn selectors<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Selector>, D::Error> {
    let said = Vec::<Said>::deserialize(from)?;
    Ok(said.into_iter().map(|said| AgentMatch::from(said).selector).collect())
}
