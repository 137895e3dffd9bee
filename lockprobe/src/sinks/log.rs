//! Findings in lockprobe's own log, no more of them than anybody reads.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Sink, tell};
use crate::model::{Finding, Record};

/// Most findings told within [`WITHIN`].
const AT_MOST: u32 = 20;
/// The time for which [`AT_MOST`] holds.
const WITHIN: Duration = Duration::from_secs(60);
/// Processes known by name.
const PROCESSES_AT_MOST: usize = 8_192;

/// The sink.
pub struct Log {
    services: HashMap<u32, String>,
    since: Instant,
    told: u32,
    untold: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Log {
    /// Has told nothing yet.
    pub fn new() -> Self {
        Self { services: HashMap::new(), since: Instant::now(), told: 0, untold: 0 }
    }

    /// Whether one more may be told at this time.
    fn may_tell(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= WITHIN {
            self.say_untold();
            (self.since, self.told) = (now, 0);
        }
        self.told += 1;
        let may = self.told <= AT_MOST;
        self.untold += u64::from(!may);
        may
    }

    fn say_untold(&mut self) {
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            tracing::warn!(untold, "more findings than the log takes; the other outputs have them");
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let process = |pid: u32| match self.services.get(&pid) {
            Some(service) => format!("{service}[{pid}]"),
            None => pid.to_string(),
        };
        let told = tell(finding, &process, &|_| String::new());
        let kind = finding.kind.name();
        let id = finding.id;
        match finding.ended {
            Some(_) => {
                tracing::info!(event.name = format!("lock.{kind}.ended"), id, "{}", told.title);
            }
            None => {
                let evidence = told.lines.join("; ");
                tracing::warn!(
                    event.name = format!("lock.{kind}.detected"),
                    id,
                    evidence,
                    "{}",
                    told.title
                );
            }
        }
    }
}

impl Sink for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        match record {
            Record::Process(process) => {
                if self.services.len() >= PROCESSES_AT_MOST {
                    self.services.clear();
                }
                self.services.insert(process.pid, process.service.clone());
            }
            Record::Finding(finding) if self.may_tell(Instant::now()) => self.finding(finding),
            _ => {}
        }
        Ok(())
    }

    fn idle(&mut self) -> anyhow::Result<()> {
        if self.since.elapsed() >= WITHIN {
            self.say_untold();
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.say_untold();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_part_and_counted() {
        let mut log = Log::new();
        let begun = log.since;
        let told = (0..100).filter(|_| log.may_tell(begun)).count();
        assert_eq!((told, log.untold), (20, 80));
        assert!(log.may_tell(begun + WITHIN));
        assert_eq!(log.untold, 0);
    }
}
