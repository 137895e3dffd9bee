//! Every key of the configuration, once.

mod forms;

use super::kind::{Key, Kind};
use forms::*;

const NANOSECOND: u64 = 1;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
const HOUR: u64 = 3_600 * SECOND;

/// A key with what it is unless somebody sets it.
const fn key(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default: Some(default), meaning }
}

/// A key that need not be anything.
const fn optional(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key { name, kind, default: None, meaning }
}

const fn section(name: &'static str, keys: &'static [Key], meaning: &'static str) -> Key {
    Key { name, kind: Kind::Section(keys), default: None, meaning }
}

/// The sections.
pub static KEYS: &[Key] = &[
    section(
        "capture",
        CAPTURE,
        "What is looked for, and how closely. A change of these detaches lockprobe for a moment, which is told.",
    ),
    section(
        "targets",
        TARGETS,
        "Which processes are watched: those that match an entry of `include`, or all where there is none; never those that match one of `exclude`. A process is judged when it begins a program (exec), and its children are judged as it is until they begin one of their own.",
    ),
    section("agents", AGENTS, "Who processes are, where they do not say it themselves."),
    section("locks", LOCKS, "What locks are called, and what is a lock."),
    section("kubernetes", KUBERNETES, "Where pods are known from."),
    section(
        "otlp",
        OTLP,
        "Spans, metrics and events to an OpenTelemetry collector. The standard variables OTEL_EXPORTER_OTLP_* count too, and come before the file.",
    ),
    section("http", HTTP, "The endpoints /metrics, /healthz, /readyz and /snapshot."),
    section("metrics", METRICS, "Numbers over time, for both the collector and /metrics."),
    section("own", OWN, "What lockprobe tells of itself."),
    section("log", LOG, "lockprobe's own log, on standard error."),
    section(
        "jsonl",
        JSONL,
        "Records as JSON lines in a file, as `lockprobe trace --format jsonl` writes them.",
    ),
    section("state", STATE, "What is kept over restarts: the last moment observed."),
];

static CAPTURE: &[Key] = &[
    key(
        "min_wait",
        Kind::Duration(0, HOUR),
        "1ms",
        "Waits from this length on become spans; shorter ones are counted all the same.",
    ),
    section("stacks", STACKS, "Stacks of threads that wait, and of those they wait for."),
    key(
        "lock_files",
        Kind::Bool,
        "false",
        "Follow lock files too (O_EXCL, mkdir, link, rename). Slows every system call of the host.",
    ),
    key("ring_size", Kind::Size(64 << 10, 256 << 20), "4M", "Buffer between kernel and lockprobe."),
    section("servers", SERVERS, "Locks that servers keep, seen from their clients."),
];

static STACKS: &[Key] = &[
    key("enabled", Kind::Bool, "true", "Take stacks."),
    key(
        "threshold",
        Kind::Duration(100 * 1_000 * NANOSECOND, HOUR),
        "10ms",
        "Of waits from this length on.",
    ),
];

static SERVERS: &[Key] = &[
    key("enabled", Kind::Bool, "true", "Follow the clients of lock servers."),
    key(
        "ports",
        Kind::Map(&PORT, &Kind::Choice(DIALECTS), 128),
        "{}",
        "Servers at other ports than usual, like `\"7001\": redis`; a port given here has its new meaning.",
    ),
];

/// In the order of `Dialect::ALL`.
pub const DIALECTS: &[&str] =
    &["redis", "etcd", "zookeeper", "postgresql", "mysql", "memcached", "consul"];

static TARGETS: &[Key] = &[
    key(
        "include",
        Kind::List(&Kind::Object(SELECTOR), 256),
        "[]",
        "Watch processes that match one of these entries; all keys of an entry must hold.",
    ),
    key(
        "exclude",
        Kind::List(&Kind::Object(SELECTOR), 256),
        "[]",
        "Never watch processes that match one of these entries.",
    ),
];

/// What is said of processes. The same keys as `model::Selector`.
static SELECTOR: &[Key] =
    &[EXE, COMMAND, ENV, LISTENS, CGROUP, CONTAINER, NAMESPACE, POD, POD_LABELS];
static A_GLOB: Kind = Kind::Text(&GLOB);
const EXE: Key = optional(
    "exe",
    Kind::Text(&PATH_GLOB),
    "Path of the executable; a pattern without a slash is matched against the file name.",
);
const COMMAND: Key =
    optional("command", Kind::Text(&REGEX), "Command line, its words joined by blanks.");
const ENV: Key = optional(
    "env",
    Kind::Map(&VARIABLE, &A_GLOB, 32),
    "Variables of the environment the process was started with, and patterns for their values; `\"*\"` for any value.",
);
const LISTENS: Key = optional("port", Kind::Integer(1, 65_535), "TCP port the process listens at.");
const CGROUP: Key = optional(
    "cgroup",
    Kind::Text(&GLOB),
    "Path of one of its control groups; `*` stands for slashes too.",
);
const CONTAINER: Key = optional("container", Kind::Text(&GLOB), "Id or name of its container.");
const NAMESPACE: Key = optional("namespace", Kind::Text(&GLOB), "Kubernetes namespace of its pod.");
const POD: Key = optional("pod", Kind::Text(&GLOB), "Name of its pod.");
const POD_LABELS: Key = optional(
    "pod_labels",
    Kind::Map(&LABEL, &A_GLOB, 32),
    "Labels of its pod, and patterns for their values.",
);
const THREAD: Key = optional("thread", Kind::Text(&GLOB), "Name of one of its threads.");

static AGENTS: &[Key] = &[key(
    "rules",
    Kind::List(&Kind::Object(RULE), 256),
    "[]",
    "What agents are called; the first rule that matches a process counts.",
)];

static RULE: &[Key] = &[
    optional("match", Kind::Object(MATCH), "Which processes; all keys must hold."),
    optional(
        "name",
        Kind::Text(&TEMPLATE),
        "gen_ai.agent.name of them; `${env:NAME}` stands for a variable of the process.",
    ),
    optional("id", Kind::Text(&TEMPLATE), "gen_ai.agent.id, likewise."),
    optional("version", Kind::Text(&TEMPLATE), "gen_ai.agent.version, likewise."),
];

static MATCH: &[Key] =
    &[EXE, COMMAND, ENV, LISTENS, CGROUP, CONTAINER, NAMESPACE, POD, POD_LABELS, THREAD];

static LOCKS: &[Key] = &[
    key(
        "names",
        Kind::List(&Kind::Object(NAME), 256),
        "[]",
        "What locks are called; the first entry that matches counts.",
    ),
    key(
        "lock_patterns",
        Kind::List(&Kind::Text(&TEXT), 256),
        "[]",
        "Keys in servers that are called after locks, besides those lockprobe knows: a word, or with `*` the whole key.",
    ),
    key(
        "ignore_patterns",
        Kind::List(&Kind::Text(&TEXT), 256),
        "[]",
        "Keys in servers that are never locks, likewise.",
    ),
    key("row_locks", Kind::Bool, "false", "Follow row locks of databases too."),
    key("table_locks", Kind::Bool, "false", "Follow table locks of databases too."),
];

static NAME: &[Key] = &[
    optional("pattern", Kind::Text(&GLOB), "Name, `lock.id` or call site of the locks."),
    optional("name", Kind::Text(&TEXT), "What they are called."),
];

static KUBERNETES: &[Key] = &[
    key(
        "source",
        Kind::Choice(&["auto", "api", "kubelet", "off"]),
        "auto",
        "`auto` asks the API server, else the kubelet, else nobody.",
    ),
    optional(
        "node",
        Kind::Text(&TEXT),
        "Name of this node; else the variable NODE_NAME, else the name of the host.",
    ),
    optional(
        "kubelet_url",
        Kind::Text(&URL),
        "Where the kubelet answers, like `https://127.0.0.1:10250`.",
    ),
];

static OTLP: &[Key] = &[
    optional(
        "endpoint",
        Kind::Text(&URL),
        "Where to send, like `http://127.0.0.1:4317`; without it nothing is sent.",
    ),
    key("protocol", Kind::Choice(&["grpc", "http/protobuf"]), "grpc", "How to send."),
    key(
        "headers",
        Kind::Map(&HEADER, &Kind::Text(&SECRET), 64),
        "{}",
        "Sent with each request. Values are never shown.",
    ),
    key("compression", Kind::Choice(&["none", "gzip"]), "none", "How requests are compressed."),
    key("timeout", Kind::Duration(10 * MILLISECOND, HOUR), "10s", "For one request."),
    key("traces", Kind::Bool, "true", "Send spans."),
    key("metrics", Kind::Bool, "true", "Send metrics."),
    key("logs", Kind::Bool, "true", "Send events: contention and findings."),
    key("metrics_interval", Kind::Duration(SECOND, HOUR), "1m", "How often metrics are sent."),
    section("tls", TLS, "For `https` endpoints."),
];

static TLS: &[Key] = &[
    optional(
        "ca_file",
        Kind::Text(&TEXT),
        "Certificates to trust instead of those of the system, PEM.",
    ),
    optional("cert_file", Kind::Text(&TEXT), "Certificate to show, PEM."),
    optional("key_file", Kind::Text(&TEXT), "Its private key, PEM."),
];

static HTTP: &[Key] =
    &[key("listen", Kind::Text(&LISTEN), "127.0.0.1:9464", "Address and port, or `off`.")];

static METRICS: &[Key] = &[
    key(
        "interval",
        Kind::Duration(SECOND, HOUR),
        "10s",
        "How often counts are taken out of the kernel, and numbers made of them.",
    ),
    key(
        "max_series",
        Kind::Integer(10, 100_000),
        "2000",
        "Most series of one metric; what is beyond goes under `lock.name` = `other`, counted.",
    ),
];

static OWN: &[Key] = &[key(
    "program_time",
    Kind::Bool,
    "false",
    "Have the kernel measure its eBPF programs, all of the host: costs a little at each run of each.",
)];

static LOG: &[Key] = &[
    key(
        "format",
        Kind::Choice(&["text", "json"]),
        "text",
        "One line an event, for people or for programs.",
    ),
    key(
        "level",
        Kind::Choice(&["error", "warn", "info", "debug"]),
        "info",
        "What is worth a line.",
    ),
];

static JSONL: &[Key] = &[optional(
    "path",
    Kind::Text(&TEXT),
    "The file; it begins anew when lockprobe starts, and is not rotated.",
)];

static STATE: &[Key] = &[key(
    "directory",
    Kind::Text(&DIRECTORY),
    "/var/lib/lockprobe",
    "The directory, or `off`. Where it cannot be made nothing is kept, which is told.",
)];
