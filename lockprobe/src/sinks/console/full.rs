//! Full mode on the console: acquisitions by lock, and locks taken in a circle.

use anstyle::{AnsiColor, Style};

use super::{Console, duration, fit, fit_end, thread_label};
use crate::model::{AcquisitionSummary, CallSite, Inversion, LockOrder};

/// Most locks shown; the rest are counted in one line.
const ROWS: usize = 25;
/// Upper end of the first bucket of the kernel's histograms, 2^(10 + 1/8) ns.
const SHORTEST: u64 = 1117;
const HEADER: &str = "  ACQUIRED  WAITED FOR        REFUSED   HOLD MEAN   P50         P99         LONGEST     LOCK                                     PROCESS";

impl Console {
    pub(super) fn acquisitions(&mut self, rows: &[AcquisitionSummary]) -> std::io::Result<()> {
        let all: u64 = rows.iter().map(|row| row.counts.acquisitions).sum();
        let locks = rows.len();
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        writeln!(
            self.out,
            "{all} acquisition{} of {locks} lock{}, contended or not; a hold includes about half \
             a microsecond of its own probes.",
            plural(all),
            plural(locks as u64),
        )?;
        if rows.is_empty() {
            return Ok(());
        }
        let header = self.paint(Style::new().bold(), HEADER);
        writeln!(self.out, "{header}")?;
        for row in rows.iter().take(ROWS) {
            self.acquired(row)?;
        }
        if locks > ROWS {
            writeln!(self.out, "  and {} more", locks - ROWS)?;
        }
        writeln!(self.out)
    }

    fn acquired(&mut self, row: &AcquisitionSummary) -> std::io::Result<()> {
        let counts = &row.counts;
        let length = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), duration);
        let quantile = |share| match counts.histogram.quantile(share, counts.hold_longest) {
            // All shorter holds are counted together.
            Some(value) if value <= SHORTEST => format!("<{}", duration(SHORTEST)),
            value => length(value),
        };
        let rate = counts.contention_rate().map_or_else(String::new, |rate| {
            let digits = if rate > 0.0 && rate < 0.01 { 3 } else { 1 };
            format!("({:.digits$} %)", rate * 100.0)
        });
        let process = if row.service.is_empty() {
            format!("[{}]", row.pid)
        } else {
            format!("{}[{}]", row.service, row.pid)
        };
        let mut remarks = Vec::new();
        if counts.shared > 0 {
            remarks.push(format!("{} shared", counts.shared));
        }
        if counts.unseen > 0 {
            remarks.push(format!("{} more acquired before observation", counts.unseen));
        }
        let remarks =
            if remarks.is_empty() { String::new() } else { format!("  ({})", remarks.join(", ")) };
        writeln!(
            self.out,
            "{:>10}  {:<16}  {:<8}  {:<10}  {:<10}  {:<10}  {:<10}  {:<39}  {}{remarks}",
            counts.acquisitions,
            format!("{} {rate}", counts.contended),
            counts.refused,
            length(counts.mean_hold()),
            quantile(0.5),
            quantile(0.99),
            length((counts.holds > 0).then_some(counts.hold_longest)),
            fit_end(&row.lock.name, 39),
            fit(&process, 20),
        )
    }

    pub(super) fn inversion(&mut self, inversion: &Inversion) -> std::io::Result<()> {
        let count = inversion.orders.len();
        let title = format!(
            "POSSIBLE DEADLOCK: {count} locks are taken in a circle, though nobody was caught in it:"
        );
        let title = self.paint(AnsiColor::Yellow.on_default().bold(), &title);
        writeln!(self.out, "{title}")?;
        for order in &inversion.orders {
            self.order(order)?;
        }
        let many = if count == 2 { "both" } else { "all" };
        writeln!(
            self.out,
            "  Threads that do {many} at the same time wait for each other for ever. Take these \
             locks in one order everywhere."
        )
    }

    fn order(&mut self, order: &LockOrder) -> std::io::Result<()> {
        let thread = thread_label("", order.thread);
        let who = if order.several {
            format!("thread {thread} and others")
        } else {
            format!("thread {thread}")
        };
        let process = self.process(order.pid);
        let read = |shared| if shared { " to read" } else { "" };
        let times =
            if order.count == 1 { "once".to_owned() } else { format!("{} times", order.count) };
        writeln!(
            self.out,
            "  {who} of {process} held {}{}{} and asked for {}{}{}, {times}",
            order.from.name,
            read(order.from_shared),
            at(order.from_site.as_ref()),
            order.to.name,
            read(order.to_shared),
            at(order.to_site.as_ref()),
        )
    }
}

/// A place in code in brackets.
fn at(site: Option<&CallSite>) -> String {
    let Some(site) = site else { return String::new() };
    let function = if site.function.is_empty() { &site.module } else { &site.function };
    match &site.source {
        Some((file, line)) => {
            let file = file.rsplit('/').next().unwrap_or(file);
            format!(" ({file}:{line} in {function})")
        }
        None => format!(" ({function}+{:#x})", site.offset),
    }
}
