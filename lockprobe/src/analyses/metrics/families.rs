//! The numbers as families of points.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::table::{Attributes, Series, Table};
use super::{Metering, Of};
use crate::model::names;
use crate::model::signals::{self as metric, Metric};
use crate::model::{
    Family, LockDescription, LockId, Losses, Metrics, OwnState, Point, ProcessFact, ThreadId, Value,
};
use crate::track::LockTable;

/// The moment of a report, and what others count.
pub struct Now {
    /// When, CLOCK_MONOTONIC nanoseconds.
    pub time: u64,
    /// What is missing, so far.
    pub losses: Losses,
    /// Records read so far.
    pub received: u64,
    /// lockprobe itself.
    pub own: Option<OwnState>,
}

/// Everything there is to report.
pub fn report(meter: &Metering, now: &Now) -> Metrics {
    let mut families = vec![
        of_locks(meter, &meter.waits, |spread| Value::Durations(spread.shared())),
        of_locks(meter, &meter.holds, |spread| Value::Durations(spread.shared())),
        of_locks(meter, &meter.attempts, |count| whole(*count)),
        of_locks(meter, &meter.waiters, |count| Value::Integer(*count)),
        of_locks(meter, &meter.holders, |count| Value::Integer(*count)),
        of_locks(meter, &meter.queues, |depth| match depth.interval == meter.interval {
            true => Value::Integer(depth.deepest.into()),
            false => Value::Integer(0),
        }),
        of_locks(meter, &meter.renewals, |count| whole(*count)),
        family(
            metric::FINDINGS,
            meter
                .findings
                .iter()
                .map(|(kind, count)| point(&[(names::LOCK_FINDING_TYPE, kind)], whole(*count))),
        ),
    ];
    families.extend(of_agents(meter));
    families.extend(of_events(meter, now));
    families.extend(now.own.iter().flat_map(of_own));
    families.retain(|family| !family.points.is_empty());
    Metrics { start: meter.start, time: now.time, families }
}

/// A process of which nothing is known but its id.
fn nobody(pid: u32) -> Arc<ProcessFact> {
    Arc::new(ProcessFact { pid, ..ProcessFact::default() })
}

/// Notes who waits now.
pub fn count_waiters(meter: &mut Metering, table: &LockTable, now: u64) {
    meter.waiters.all_mut().for_each(|series| series.value = 0);
    for wait in table.waiting() {
        let agent = meter.agents.of(wait.thread.id.pid, now);
        let entry = meter.locks.entry(agent, &wait.lock);
        let at = entry.at(Of::Waiters, ["", ""], &mut meter.waiters);
        if let Some(count) = meter.waiters.value(at) {
            *count += 1;
        }
        let at = entry.at(Of::Queue, ["", ""], &mut meter.queues);
        if let Some(depth) = meter.queues.value(at) {
            let ended = if depth.interval == meter.interval { depth.deepest } else { 0 };
            depth.interval = meter.interval;
            depth.deepest = ended.max(table.waiters(&wait.lock.id));
        }
    }
}

/// Notes who has locks now; of servers' locks these.
pub fn count_holders(
    meter: &mut Metering,
    table: &LockTable,
    holds: &[(Arc<LockDescription>, ThreadId)],
    now: u64,
) {
    meter.holders.all_mut().for_each(|series| series.value = 0);
    let mut counted: BTreeSet<(LockId, ThreadId)> = BTreeSet::new();
    let waited_for = table.waiting().filter_map(|wait| {
        let holder = wait.current_holder.as_ref().filter(|holder| !holder.gone)?;
        Some((&wait.lock, holder.id))
    });
    // Of servers' locks every hold is known, and a place in a semaphore is one of many.
    let local = waited_for.filter(|(lock, _)| !matches!(lock.id, LockId::Remote { .. }));
    let local: Vec<_> = local.map(|(lock, id)| (lock.clone(), id)).collect();
    let local = local.iter().filter(|(lock, id)| counted.insert((lock.id, *id)));
    for (lock, id) in local.chain(holds) {
        let agent = meter.agents.of(id.pid, now);
        let entry = meter.locks.entry(agent, lock);
        let at = entry.at(Of::Holders, ["", ""], &mut meter.holders);
        if let Some(count) = meter.holders.value(at) {
            *count += 1;
        }
    }
}

fn of_locks<V: Default>(meter: &Metering, table: &Table<V>, value: impl Fn(&V) -> Value) -> Family {
    let agent = |series: &Series<V>| {
        let agent = meter.agents.get(series.key.agent?)?;
        Some(agent.fact.clone().unwrap_or_else(|| nobody(agent.pid)))
    };
    family(
        table.metric(),
        table.all().map(|series| Point {
            agent: agent(series),
            attributes: series.attributes.clone(),
            value: value(&series.value),
        }),
    )
}

fn of_agents(meter: &Metering) -> [Family; 2] {
    let who =
        |agent: &super::agents::Agent| agent.fact.clone().unwrap_or_else(|| nobody(agent.pid));
    let waited = meter.agents.all().filter(|(_, agent)| agent.waited > 0);
    let waited = waited.map(|(_, agent)| Point {
        agent: Some(who(agent)),
        attributes: Attributes::new(),
        value: seconds(agent.waited),
    });
    let rest =
        (meter.agents.rest_waited > 0).then(|| point(&[], seconds(meter.agents.rest_waited)));
    let (user, system) = (Arc::<str>::from("user"), Arc::<str>::from("system"));
    let used = meter.agents.all().filter_map(|(_, agent)| Some((who(agent), agent.processor?)));
    let used = used.flat_map(|(who, used)| {
        let point = |mode: &Arc<str>, nanos| Point {
            agent: Some(who.clone()),
            attributes: vec![(names::CPU_MODE, mode.clone())],
            value: seconds(nanos),
        };
        [point(&user, used.user), point(&system, used.system)]
    });
    [family(metric::AGENT_WAIT_TIME, waited.chain(rest)), family(metric::PROCESS_CPU_TIME, used)]
}

fn of_events(meter: &Metering, now: &Now) -> [Family; 4] {
    let received = [("kernel", now.losses.emitted), ("pipeline", now.received)];
    let received = received.map(|(stage, count)| point(&[(names::STAGE, stage)], whole(count)));
    let lost = now.own.iter().flat_map(|own| &own.lost);
    let dropped = now.losses.dropped.iter().chain(lost);
    let dropped = dropped.map(|(stage, cause, count)| {
        point(&[(names::STAGE, stage), (names::CAUSE, cause)], whole(*count))
    });
    let skipped = now.losses.skipped.iter();
    let skipped = skipped.map(|(cause, count)| point(&[(names::CAUSE, cause)], whole(*count)));
    let folded = [
        (meter.waits.metric(), meter.waits.folded()),
        (meter.holds.metric(), meter.holds.folded()),
        (meter.attempts.metric(), meter.attempts.folded()),
        (meter.waiters.metric(), meter.waiters.folded()),
        (meter.holders.metric(), meter.holders.folded()),
        (meter.queues.metric(), meter.queues.folded()),
        (meter.renewals.metric(), meter.renewals.folded()),
    ];
    let folded = folded.map(|(of, count)| point(&[(names::METRIC, of.name)], whole(count)));
    [
        family(metric::EVENTS_RECEIVED, received),
        family(metric::EVENTS_DROPPED, dropped),
        family(metric::EVENTS_SKIPPED, skipped),
        family(metric::SERIES_FOLDED, folded),
    ]
}

fn of_own(own: &OwnState) -> Vec<Family> {
    let of_program = |metric: Metric, value: fn(&crate::model::OwnProgram) -> Value| {
        let programs = own.programs.iter().filter(|program| program.runs > 0);
        family(metric, programs.map(|p| point(&[(names::PROGRAM, &p.name)], value(p))))
    };
    let of_map = |metric, value: fn(u64, u64) -> u64| {
        let maps = own.maps.iter();
        family(
            metric,
            maps.map(|(name, entries, limit)| {
                point(&[(names::MAP, name)], whole(value(*entries, *limit)))
            }),
        )
    };
    let of_queue = |metric, value: fn(u64, u64) -> u64| {
        let queues = own.queues.iter();
        family(
            metric,
            queues.map(|(name, depth, limit)| {
                point(&[(names::QUEUE, name)], whole(value(*depth, *limit)))
            }),
        )
    };
    vec![
        of_program(metric::PROGRAM_TIME, |program| seconds(program.time)),
        of_program(metric::PROGRAM_RUNS, |program| whole(program.runs)),
        of_map(metric::MAP_ENTRIES, |entries, _| entries),
        of_map(metric::MAP_LIMIT, |_, limit| limit),
        family(metric::PROBES, [point(&[], whole(own.probes))]),
        of_queue(metric::OWN_QUEUE_DEPTH, |depth, _| depth),
        of_queue(metric::OWN_QUEUE_LIMIT, |_, limit| limit),
        family(metric::OWN_CPU_TIME, [point(&[], seconds(own.processor_time))]),
        family(metric::OWN_MEMORY, [point(&[], whole(own.memory))]),
    ]
}

fn family(metric: Metric, points: impl IntoIterator<Item = Point>) -> Family {
    let Metric { name, unit, help, instrument, .. } = metric;
    Family { name, unit, help, instrument, points: points.into_iter().collect() }
}

fn point(attributes: &[(&'static str, &str)], value: Value) -> Point {
    let attributes = attributes.iter().map(|(name, value)| (*name, Arc::from(*value))).collect();
    Point { agent: None, attributes, value }
}

fn whole(count: u64) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

fn seconds(nanos: u64) -> Value {
    Value::Real(nanos as f64 / 1e9)
}
