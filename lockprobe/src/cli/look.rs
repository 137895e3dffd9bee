//! What snapshot and deadlocks have in common: one look, and a second where the first leaves doubt.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::enrich::{Enricher, Standings};
use crate::model::{Record, Session};
use crate::pipeline::{Aside, Pipeline};
use crate::source::live::{Look, Targets};

/// Examples of `snapshot`.
pub const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  lockprobe snapshot                         the whole host
  lockprobe snapshot -p 1234 --format json | jq .roots
  lockprobe snapshot --format dot | dot -Tsvg > locks.svg
A lock shows when somebody waits for it; what is held and not waited for leaves no trace.";
/// Examples of `deadlocks`.
pub const DEADLOCKS_EXAMPLES: &str = "\
Examples:
  lockprobe deadlocks                        the whole host, at once
  lockprobe deadlocks -p 1234 && echo fine
  lockprobe deadlocks --watch                until Ctrl-C
The exit status is 3 when there are threads that can never go on: deadlocks, threads that wait for
themselves, and locks whose owner is gone. Every one is confirmed by a second look.";
/// Whom to look at.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Target (default: the whole host)")]
pub struct LookArgs {
    /// Look at this process; may be given several times
    #[arg(short, long = "pid", value_name = "PID")]
    pub pid: Vec<u32>,
    /// Look at processes whose executable matches; a pattern with a slash is matched against the
    /// whole path; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub exe: Vec<String>,
}

/// `lockprobe snapshot`.
#[derive(Clone, Debug, Args)]
pub struct SnapshotArgs {
    /// Whom.
    #[command(flatten)]
    pub target: LookArgs,
    /// How to show it
    #[arg(long, value_enum, default_value_t = SnapshotFormat::Table)]
    pub format: SnapshotFormat,
    /// Write to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Formats of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SnapshotFormat {
    /// Lines for people
    Table,
    /// One JSON object
    Json,
    /// A graph for graphviz
    Dot,
}

/// `lockprobe deadlocks`.
#[derive(Clone, Debug, Args)]
pub struct DeadlocksArgs {
    /// Whom.
    #[command(flatten)]
    pub target: LookArgs,
    /// Keep looking until Ctrl-C; tell each deadlock once, and its end
    #[arg(long)]
    pub watch: bool,
    /// How to show them
    #[arg(long, value_enum, default_value_t = DeadlocksFormat::Table)]
    pub format: DeadlocksFormat,
    /// Write to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Formats of deadlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeadlocksFormat {
    /// Lines for people
    Table,
    /// One JSON object a line: findings as `trace` has them, then what was looked at
    Json,
}

/// Between the first look and the second; the analyses ask for 50 ms.
const APART: Duration = Duration::from_millis(51);

/// What was seen.
pub struct Looked {
    /// The circumstances.
    pub session: Session,
    /// The state of all locks.
    pub pipeline: Pipeline,
    /// Processes and findings.
    pub records: Vec<Record>,
}

/// Looks once, or twice.
pub fn look(target: &LookArgs) -> anyhow::Result<Looked> {
    let targets = Targets::new(&target.pid, &target.exe)?;
    let mut look = Look::prepare(&targets)?;
    let session = look.session().clone();
    let standings = look.take_standings();
    let standings =
        standings.map(|standings| -> Standings { Box::new(move |id| standings.of_thread(id)) });
    let enricher = Enricher::new().with_standings(standings);
    let aside = Aside::Live(Box::new(enricher), look.take_verdicts());
    let mut pipeline = Pipeline::new(session.clone(), aside, None);
    let mut records = Vec::new();
    let (batch, now) = look.take()?;
    pipeline.look(&batch, now, &mut records)?;
    if pipeline.is_undecided() {
        sleep(APART);
        let (batch, now) = look.take()?;
        pipeline.look(&batch, now, &mut records)?;
    }
    Ok(Looked { session, pipeline, records })
}
