//! Every option, with its help.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::args;
use super::look::{DEADLOCKS_EXAMPLES, DeadlocksArgs, SNAPSHOT_EXAMPLES, SnapshotArgs};
use super::status;
use crate::analyses::usage::GroupBy;
use crate::enrich::{GivenName, GivenNames};
use crate::model::Dialect;

/// See who holds which lock, who waits for it, and since when, in unmodified programs
#[derive(Debug, Parser)]
#[command(name = "lockprobe", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Live commands need root. Every subcommand has its own --help with examples."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show lock waits as they end, and sums at the end
    #[command(after_help = TRACE_EXAMPLES)]
    Trace(TraceArgs),
    /// Record what is seen to a file, to be replayed anywhere
    #[command(after_help = RECORD_EXAMPLES)]
    Record(RecordArgs),
    /// Show a recording as `trace` would have shown it
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Show who waits for which lock of whom, now
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(SnapshotArgs),
    /// Find threads that wait for each other and never go on, also those that began before
    #[command(after_help = DEADLOCKS_EXAMPLES)]
    Deadlocks(DeadlocksArgs),
    /// Say whether this machine can be observed, and what is missing
    #[command(after_help = DOCTOR_NOTES)]
    Doctor(DoctorArgs),
    /// Run built-in workloads and show what lockprobe reports beside the truth
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Print a generated document
    #[command(hide = true)]
    Generate(GenerateArgs),
    /// Measure lockprobe itself
    #[command(hide = true)]
    Bench(BenchArgs),
    /// Be a workload of the demo
    #[command(hide = true)]
    DemoWorkload {
        /// Which.
        scenario: Scenario,
    },
    /// Stop, and when continued become a command
    #[command(hide = true)]
    ExecWhenTold {
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

const TRACE_EXAMPLES: &str = "\
Examples:
  lockprobe trace                              the whole host, until Ctrl-C
  lockprobe trace -p 1234 --duration 10s       one process and its children, ten seconds
  lockprobe trace --exe 'python3*'             every Python, also those started later
  lockprobe trace --min-wait 100us -- ./server --port 8080
  lockprobe trace -p 1234 --format jsonl --output waits.jsonl
  lockprobe trace --full -p 1234 --for 10s     every acquisition, and the order of locks
  lockprobe trace -p 1234 --stacks             with the stacks of waiters and holders
  lockprobe trace -p 1234 --format folded --output waits.folded
  lockprobe trace -p 1234 --group-by call-site --lock-name 'worker.c:42 *=batch lock'
  lockprobe trace --otlp http://127.0.0.1:4317";
const RECORD_EXAMPLES: &str = "\
Examples:
  lockprobe record -p 1234 --duration 30s -o stall.lprec
  lockprobe record -o test.lprec -- ./run-tests";
const REPLAY_EXAMPLES: &str = "\
Examples:
  lockprobe replay stall.lprec
  lockprobe replay stall.lprec --format jsonl | jq 'select(.record == \"finding\")'";
const DOCTOR_NOTES: &str = "\
Each line is good; limited, where something is not found for want of a capability or setting, which
is named; off, of what has to be asked for by name; or bad, which stands in the way of live capture.
The exit status is 0 when live capture works, limited or not, else 4 (not permitted), 5 (this kernel)
or 7 (built without eBPF programs).";
const DEMO_EXAMPLES: &str = "\
Examples:
  lockprobe demo                 all scenarios
  lockprobe demo deadlock";

/// Whom to watch.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Target (default: the whole host)")]
pub struct TargetArgs {
    /// Watch this process and the children it starts; may be given several times
    #[arg(short, long = "pid", value_name = "PID")]
    pub pid: Vec<u32>,
    /// Watch processes whose executable matches; a pattern with a slash is matched against the
    /// whole path; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub exe: Vec<String>,
    /// Start this command, watch it and its children, end with it, return its exit status
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// How long, how fine.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Capture")]
pub struct CaptureArgs {
    /// Show waits from this length on; shorter ones are counted all the same
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = args::duration)]
    pub min_wait: Duration,
    /// Take the stacks of waits from this length on
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = args::duration)]
    pub stack_threshold: Duration,
    /// Take no stacks
    #[arg(long, conflicts_with = "stack_threshold")]
    pub no_stacks: bool,
    /// Follow lock files too (O_EXCL, mkdir, link, rename): slows every system call of the host
    #[arg(long)]
    pub lock_files: bool,
    /// Follow the clients of a lock server at this port too: redis, etcd, zookeeper, postgresql,
    /// mysql, memcached or consul; may be given several times
    #[arg(long, value_name = "PORT=KIND", value_parser = args::server)]
    pub server: Vec<(u16, Dialect)>,
    /// Do not follow the clients of lock servers
    #[arg(long, conflicts_with = "server")]
    pub no_servers: bool,
    /// End after this time
    #[arg(long, visible_alias = "for", value_name = "TIME", value_parser = args::duration)]
    pub duration: Option<Duration>,
    /// Follow every acquisition of a POSIX lock, contended or not, in the processes chosen:
    /// counts, exact hold times, order of locks. Costs them about a microsecond each time;
    /// children are followed from a moment after they begin. Ends after 10 s unless --duration
    /// says otherwise, 10 min at most
    #[arg(long)]
    pub full: bool,
    /// With --full, probe the entries of functions, whatever that costs
    #[arg(long, hide = true, requires = "full")]
    pub naive_probes: bool,
    /// How often the kernel's counts are taken out
    #[arg(long, hide = true, value_name = "TIME", default_value = "10s", value_parser = args::duration)]
    pub harvest_every: Duration,
    /// Size of the buffer between kernel and lockprobe
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = args::ring_size)]
    pub ring_size: u32,
}

/// What to show, where.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How to show records
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Show stacks below the waits in the table; the other formats always have them
    #[arg(long)]
    pub stacks: bool,
    /// Write to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Also send spans to an OpenTelemetry collector over gRPC, like http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// Call the locks that match NAME; the pattern is matched against name, lock.id and call site;
    /// may be given several times, the first match counts
    #[arg(long, value_name = "PATTERN=NAME", value_parser = GivenName::parse)]
    pub lock_name: Vec<GivenName>,
    /// Also write all numbers, as a collector would get them, at this interval and at the end; not
    /// in the table
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    pub metrics_interval: Option<Duration>,
    /// What the sums at the end have a line for
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Grouping::Lock)]
    pub group_by: Grouping,
}

/// What the sums have a line for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Grouping {
    /// Each lock
    Lock,
    /// Code that waits: locks in objects of one kind are one line
    CallSite,
    /// Name: with --lock-name, all locks called the same are one line
    Name,
}

impl OutputArgs {
    /// The names the user gives.
    pub fn names(&self) -> GivenNames {
        GivenNames::new(self.lock_name.clone())
    }

    /// What sums have a line for.
    pub fn grouping(&self) -> GroupBy {
        match self.group_by {
            Grouping::Lock => GroupBy::Lock,
            Grouping::CallSite => GroupBy::CallSite,
            Grouping::Name => GroupBy::Name,
        }
    }
}

/// Formats of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people
    Table,
    /// One JSON object a line
    Jsonl,
    /// Stacks and how long was waited there, for flame graph tools
    Folded,
}

/// `lockprobe trace`.
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// Whom.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// Where to.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Also serve metrics for Prometheus, health and snapshots over HTTP at this address, like
    /// 127.0.0.1:9464; whoever can reach it can read them
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Output")]
    pub http: Option<SocketAddr>,
}

/// `lockprobe record`.
#[derive(Clone, Debug, Args)]
pub struct RecordArgs {
    /// Whom.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// The recording; it gets its name when it is complete
    #[arg(short, long, value_name = "FILE.lprec")]
    pub output: PathBuf,
}

/// `lockprobe replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The recording
    #[arg(value_name = "FILE.lprec")]
    pub recording: PathBuf,
    /// Where to.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `lockprobe doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// How to show the result
    #[arg(long, value_enum, default_value_t = DoctorFormat::Table)]
    pub format: DoctorFormat,
}

/// Formats of the doctor's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// Lines for people
    Table,
    /// One JSON object
    Json,
}

/// `lockprobe demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// One scenario (default: all)
    pub scenario: Option<Scenario>,
}

/// Built-in workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One slow holder, many waiters
    Convoy,
    /// Two threads take two mutexes in opposite order
    Deadlock,
    /// Several processes with light contention
    Fair,
}

impl Scenario {
    /// All, in the order they are shown.
    pub const ALL: [Self; 3] = [Self::Convoy, Self::Deadlock, Self::Fair];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Convoy => "convoy",
            Self::Deadlock => "deadlock",
            Self::Fair => "fair",
        }
    }
}

/// `lockprobe generate`.
#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    /// What
    #[command(subcommand)]
    pub what: Document,
}

/// Generated documents.
#[derive(Clone, Debug, Subcommand)]
pub enum Document {
    /// The manual page
    Man,
    /// Shell completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// The JSON Schema of the records
    Schema,
    /// The JSON Schema of a snapshot
    SnapshotSchema,
    /// Everything that leaves lockprobe by name, as Markdown
    Signals,
}

/// `lockprobe bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Measure the wait-for graph alone
    #[arg(long)]
    pub graph: bool,
    /// Measure numbers over time alone
    #[arg(long)]
    pub metrics: bool,
    /// Measure the decoding of what clients say to lock servers alone
    #[arg(long)]
    pub talk: bool,
    /// Synthetic records a second; 0 for as many as possible
    #[arg(long, default_value_t = 500_000)]
    pub rate: u64,
    /// How long
    #[arg(long, default_value = "10s", value_parser = args::duration)]
    pub duration: Duration,
    /// Where JSON lines of the records go; nowhere by default
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Size of the ring
    #[arg(long, default_value = "4M", value_parser = args::ring_size)]
    pub ring_size: u32,
}

/// The whole command line, for completions and the manual page.
pub fn definition() -> clap::Command {
    Cli::command().after_long_help(format!("Exit status:\n{}", status::TABLE))
}
