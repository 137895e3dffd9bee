//! The sums at the end: locks, then what is missing.

use anstyle::Style;

use super::{Console, duration, fit, shown};
use crate::model::{LockSummary, Losses, Precision, Summary};

/// Most locks shown; the rest are counted in one line.
const ROWS: usize = 25;
const HEADER: &str = "     WAITS  TOTAL       P50         P95         P99         LONGEST     LOCK                                     PROCESS               MOST OFTEN HELD BY";

impl Console {
    pub(super) fn summary(&mut self, summary: &Summary) -> std::io::Result<()> {
        let length = duration(summary.end.saturating_sub(summary.start));
        let waits = summary.locks.iter().fold(0u64, |sum, l| sum.saturating_add(l.counts.waits));
        let going_on: u32 = summary.locks.iter().map(|l| l.still_waiting).sum();
        let locks: u64 = summary.locks.iter().map(|l| l.locks).sum();
        let going_on = match going_on {
            0 => String::new(),
            n => format!(" ({n} more going on)"),
        };
        if self.header_shown {
            writeln!(self.out)?;
        }
        if let Some(acquisitions) = &summary.acquisitions {
            self.acquisitions(acquisitions)?;
        }
        if summary.locks.is_empty() {
            writeln!(self.out, "No lock waits in {length}.")?;
        } else {
            let title = format!(
                "{waits} lock wait{}{going_on} on {} lock{} in {length}; those of {} and longer are listed \
                 above one by one, the sums below are over all.",
                if waits == 1 { "" } else { "s" },
                locks,
                if locks == 1 { "" } else { "s" },
                duration(summary.min_wait),
            );
            writeln!(self.out, "{title}")?;
            let header = self.paint(Style::new().bold(), HEADER);
            writeln!(self.out, "{header}")?;
            for lock in summary.locks.iter().take(ROWS) {
                self.lock(lock)?;
            }
            if summary.locks.len() > ROWS {
                writeln!(self.out, "  and {} more", summary.locks.len() - ROWS)?;
            }
        }
        for blind in &summary.blind {
            writeln!(
                self.out,
                "Not seen: what {}[{}] says to {} at {} ({}).",
                blind.service,
                blind.pid,
                blind.dialect.name(),
                blind.server,
                blind.why,
            )?;
        }
        self.losses(&summary.losses)
    }

    fn lock(&mut self, row: &LockSummary) -> std::io::Result<()> {
        let counts = &row.counts;
        let quantile = |share: f64| {
            let value = counts.histogram.quantile(share, counts.longest);
            value.map_or_else(|| "-".to_owned(), duration)
        };
        let mut remarks = Vec::new();
        if let Some((_, n)) = &row.top_holder {
            remarks.push(format!("{n}x"));
        }
        if let Some((hold, precision)) = row.longest_hold {
            let bound = if precision == Precision::Exact { "" } else { "at least " };
            remarks.push(format!("longest hold {bound}{}", duration(hold)));
        }
        if row.locks > 1 {
            remarks.push(format!("{} locks", row.locks));
        }
        if row.abandoned > 0 {
            remarks.push(format!("{} gave up", row.abandoned));
        }
        if row.still_waiting > 0 {
            remarks.push(format!("{} still waiting", row.still_waiting));
        }
        let process = if row.service.is_empty() {
            format!("[{}]", row.pid)
        } else {
            format!("{}[{}]", row.service, row.pid)
        };
        let holder = row.top_holder.as_ref().map(|(holder, _)| holder);
        writeln!(
            self.out,
            "{:>10}  {:<10}  {:<10}  {:<10}  {:<10}  {:<10}  {:<39}  {:<20}  {}{}",
            counts.waits,
            duration(counts.total),
            quantile(0.5),
            quantile(0.95),
            quantile(0.99),
            duration(counts.longest),
            shown(&row.lock, 39),
            fit(&process, 20),
            if holder.is_some() { self.held_by(holder) } else { "-".to_owned() },
            if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) },
        )
    }

    /// Zeros are shown too: that nothing was lost is a statement.
    fn losses(&mut self, losses: &Losses) -> std::io::Result<()> {
        let total = losses.total_dropped();
        let lost = if total == 0 { "nothing".to_owned() } else { format!("{total} RECORDS") };
        writeln!(self.out, "Lost: {lost}.")?;
        let mut stages: Vec<&str> = losses.dropped.iter().map(|(stage, _, _)| *stage).collect();
        stages.dedup();
        for stage in stages {
            let causes = losses.dropped.iter().filter(|(s, _, _)| *s == stage);
            let causes: Vec<String> = causes.map(|(_, c, n)| format!("{c} {n}")).collect();
            writeln!(self.out, "  {stage:<8} {}", causes.join(", "))?;
        }
        let skipped: Vec<String> = losses.skipped.iter().map(|(c, n)| format!("{c} {n}")).collect();
        writeln!(self.out, "Left out by choice: {}.", skipped.join(", "))
    }
}
