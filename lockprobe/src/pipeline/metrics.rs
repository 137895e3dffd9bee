//! Numbers over time: what feeds them, and when they are told.

use std::sync::Arc;
use std::time::Duration;

use super::Pipeline;
use crate::analyses::metrics::{Limits, Metering, Now, Seen};
use crate::framing;
use crate::model::{
    Fact, Observation, OwnState, ProcessEvent, ProcessSeen, Record, RemoteAct, RemoteStep,
};

/// What is asked about lockprobe itself whenever numbers are told.
pub type AskOwn = Box<dyn FnMut() -> OwnState + Send>;

/// The numbers, and when they are told next.
pub struct Metered {
    numbers: Metering,
    every: u64,
    next: u64,
    own: Option<AskOwn>,
}

impl Pipeline {
    /// Tells all numbers at this interval, and once more at the end; no more than so many series of
    /// one metric.
    pub fn with_metrics(mut self, every: Duration, series: usize, own: Option<AskOwn>) -> Self {
        let (start, min_wait) = (self.session.start, self.session.min_wait);
        let limits = Limits { series, min_wait, template: framing::template };
        let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
        let next = start.saturating_add(every);
        let numbers = Metering::new(start, limits);
        self.metered = Some(Metered { numbers, every, next, own });
        self
    }

    /// The numbers, where they are wanted.
    pub(super) fn numbers(metered: &mut Option<Metered>) -> Option<&mut Metering> {
        metered.as_mut().map(|metered| &mut metered.numbers)
    }

    /// Before numbers are told: what those have used of the processor who have waited.
    pub(super) fn ask_processor(&mut self, now: u64, out: &mut Vec<Record>) -> std::io::Result<()> {
        let super::Aside::Live(enricher, _) = &mut self.aside else { return Ok(()) };
        let Some(metered) = self.metered.as_mut().filter(|metered| now >= metered.next) else {
            return Ok(());
        };
        let asked = metered.numbers.next_to_ask().into_iter();
        let used: Vec<_> = asked.map(|pid| enricher.processor(pid)).collect();
        used.into_iter().try_for_each(|fact| self.learn(Fact::Processor(fact), out))
    }

    /// What an observation says of numbers by itself.
    pub(super) fn meter(&mut self, observation: &Observation) {
        let Some(Metered { numbers, .. }) = &mut self.metered else { return };
        match observation {
            Observation::Losses(_) => numbers.series_ended(),
            Observation::Fact(Fact::Processor(fact)) => numbers.used(fact, self.now),
            Observation::Process(ProcessSeen { thread, time, event, .. }) => match event {
                ProcessEvent::Fork(_) => numbers.began(thread.id.pid, *time),
                ProcessEvent::Exec => numbers.renewed_program(thread.id.pid, *time),
                ProcessEvent::Exit => numbers.ended(thread.id.pid, *time),
                ProcessEvent::ThreadExit => {}
            },
            Observation::Acquisitions { seen, counts } => {
                let pid = seen.thread.pid;
                let lock = self.futex.lock_of_kind(pid, seen.address, seen.kind);
                let count = counts.acquisitions.saturating_sub(counts.contended);
                numbers.uncontended(&self.names.apply(&lock), pid, self.now, count);
            }
            _ => {}
        }
    }

    /// A step with a server's lock, as far as it is not in a span.
    pub(super) fn meter_step(&mut self, step: &RemoteStep) {
        let lost = match step.act {
            RemoteAct::Renewed { .. } => false,
            RemoteAct::Lost { .. } => true,
            _ => return,
        };
        if let Some(metered) = &mut self.metered {
            let lock = self.names.apply(&step.lock);
            metered.numbers.renewed(&lock, step.thread.id.pid, step.time, lost);
        }
    }

    /// Records on their way out.
    pub(super) fn meter_record(&mut self, record: &Record, seen: Seen) {
        let Some(Metered { numbers, .. }) = &mut self.metered else { return };
        match record {
            Record::Acquire(span) => numbers.acquire(span, seen),
            Record::Hold(span) => numbers.hold(span),
            Record::Finding(found) if found.ended.is_none() => numbers.found(found.kind.name()),
            Record::Inversion(_) => numbers.found(crate::model::signals::INVERSION),
            Record::Process(fact) => numbers.learn(fact, self.now),
            _ => {}
        }
    }

    /// Tells the numbers if that is due.
    pub(super) fn tell_metrics(&mut self, now: u64, out: &mut Vec<Record>) {
        if self.metered.as_ref().is_some_and(|metered| now >= metered.next) {
            self.look_at_waiters();
            self.report(now, out);
        }
    }

    /// Tells them for the last time.
    pub(super) fn tell_last_metrics(&mut self, out: &mut Vec<Record>) {
        self.report(self.now, out);
    }

    /// Who waits now and who has locks.
    pub(super) fn look_at_waiters(&mut self) {
        if let Some(Metered { numbers, .. }) = &mut self.metered {
            let holds = self.tracker.remote_holds().map(|(lock, id)| (lock.clone(), id));
            numbers.look(self.tracker.table(), &holds.collect::<Vec<_>>(), self.now);
        }
    }

    fn report(&mut self, now: u64, out: &mut Vec<Record>) {
        let losses = self.losses();
        let Some(metered) = &mut self.metered else { return };
        // After a pause one report is enough.
        let missed = now.saturating_sub(metered.next) / metered.every;
        let on = metered.every.saturating_mul(missed.saturating_add(1));
        metered.next = metered.next.saturating_add(on);
        let own = metered.own.as_mut().map(|ask| ask());
        let (time, received) = (self.now, self.health.received);
        let metrics = metered.numbers.report(&Now { time, losses, received, own });
        out.push(Record::Metrics(Arc::new(metrics)));
    }
}
