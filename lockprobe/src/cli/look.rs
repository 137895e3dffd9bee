//! What snapshot and deadlocks have in common: one look, and a second where the first leaves doubt.

use std::thread::sleep;
use std::time::Duration;

use super::command::LookArgs;
use crate::enrich::{Enricher, Standings};
use crate::model::{Record, Session};
use crate::pipeline::{Aside, Pipeline};
use crate::source::live::{Look, Targets};

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
    /// When the last look was.
    pub now: u64,
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
    let (batch, mut now) = look.take()?;
    pipeline.look(&batch, now, &mut records)?;
    if pipeline.is_undecided() {
        sleep(APART);
        let (batch, later) = look.take()?;
        now = later;
        pipeline.look(&batch, now, &mut records)?;
    }
    Ok(Looked { session, pipeline, records, now })
}
