//! Locks that servers keep, on their way from steps to records.

use super::Pipeline;
use super::talk::Next;
use crate::analyses::metrics::Seen;
use crate::model::{Blind, LockCounts, Record};
use crate::track::{Outcomes, Span};

impl Pipeline {
    /// Applies what is known up to a moment. Silence and leases are measured by it, too: what came
    /// after it may be known already, and not be applied.
    pub(super) fn drain_remote(&mut self, before: u64, now: u64, out: &mut Vec<Record>) {
        let mut outcomes = Outcomes::default();
        while let Some(next) = self.talks.next(before) {
            match next {
                Next::Step(step) => {
                    self.meter_step(&step);
                    self.tracker.apply_remote(step, &mut outcomes);
                }
                Next::Exit(time, pid) => self.tracker.process_gone(pid, time, &mut outcomes),
            }
        }
        self.tracker.tick_remote(before.min(now), &mut outcomes);
        self.tell_remote(outcomes, out);
    }

    /// Applies all that is known: what backends held back for more evidence is told now or never.
    pub(super) fn settle_remote(&mut self, out: &mut Vec<Record>) {
        self.talks.tick(u64::MAX);
        self.drain_remote(u64::MAX, self.now, out);
    }

    /// Ends what goes on.
    pub(super) fn finish_remote(&mut self, out: &mut Vec<Record>) {
        let mut outcomes = Outcomes::default();
        self.tracker.finish_remote(self.now, &mut outcomes);
        // That a hold is over says nothing when it is observation that ends.
        outcomes.notices.clear();
        self.tell_remote(outcomes, out);
    }

    fn tell_remote(&mut self, outcomes: Outcomes, out: &mut Vec<Record>) {
        for mut span in outcomes.spans {
            let lock = match &mut span {
                Span::Acquire(span) => &mut span.lock,
                Span::Hold(span) => &mut span.lock,
            };
            *lock = self.names.apply(lock);
            if let Span::Acquire(span) = &span {
                let mut counts = LockCounts::default();
                counts.add(span.end.saturating_sub(span.start));
                self.count(Some(span.lock.clone()), span.thread.id.pid, &counts);
            }
            self.emit(span, Seen::Talking, out);
        }
        for notice in outcomes.notices {
            let found = self.remote.notice(notice, self.now);
            self.tell(found, out);
        }
    }

    /// Clients that cannot be understood.
    pub(super) fn blind(&self) -> Vec<Blind> {
        let all = self.talks.blind().iter();
        all.map(|(&(pid, server), &(dialect, why))| Blind {
            pid,
            service: self.processes.get(&pid).map(|p| p.service.clone()).unwrap_or_default(),
            dialect,
            server,
            why,
        })
        .collect()
    }
}
