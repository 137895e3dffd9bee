//! From points to series: processes of one service are summed up, and what has ended still counts.
//!
//! A counter must never go back: a reader would take that for a new beginning and count all of it
//! once more. So what a process had counted when it was told of last stays in the sum.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::naming;
use crate::model::{Durations, Family, Instrument, Metrics, Point, ProcessFact, Value};

/// Most series of one family.
const SERIES_AT_MOST: usize = 10_000;
/// Series of which nothing is told any more are shown for so long, nanoseconds: a reader that
/// comes rarely should see where they ended.
const KEPT: u64 = 600_000_000_000;
/// Exemplars of one series; the slowest stay.
const EXEMPLARS_AT_MOST: usize = 32;

/// All that is to be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// When the numbers were taken, CLOCK_MONOTONIC nanoseconds; 0 for never.
    pub time: u64,
    /// By name.
    pub families: Vec<Shown>,
    /// Series left out because there were too many, since the start.
    pub omitted: u64,
}

/// A family as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Its name, without what is added in samples.
    pub name: String,
    /// Its unit, in words.
    pub unit: Option<&'static str>,
    /// What it counts.
    pub help: &'static str,
    /// How it behaves.
    pub instrument: Instrument,
    /// Labels and value.
    pub series: Vec<(Arc<str>, Value)>,
}

/// What tells points with the same labels apart: the process.
type Process = (u32, u64, u32);

#[derive(Default)]
struct Kept {
    /// Of processes that are told of: what they have counted.
    told: HashMap<(Arc<str>, Process), Value>,
    /// Of processes that are told of no more: the sum, and when there was one last.
    past: HashMap<Arc<str>, (Option<Value>, u64)>,
}

/// The state between two pages.
#[derive(Default)]
pub struct Series {
    start: u64,
    families: BTreeMap<&'static str, Kept>,
    omitted: u64,
}

impl Series {
    /// Takes the newest numbers; returns what is to be shown from now on.
    pub fn take(&mut self, metrics: &Metrics) -> Arc<Page> {
        let anew = self.start != metrics.start;
        self.start = metrics.start;
        let families = metrics.families.iter().map(|family| {
            let kept = self.families.entry(family.name).or_default();
            let (series, omitted) = kept.take(family, metrics.time, anew);
            self.omitted += omitted;
            Shown {
                name: naming::family(family.name, family.unit, family.instrument),
                unit: naming::unit(family.unit, family.instrument),
                help: family.help,
                instrument: family.instrument,
                series,
            }
        });
        let families = families.collect();
        Arc::new(Page { time: metrics.time, families, omitted: self.omitted })
    }

    /// Series left out because there were too many.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }
}

impl Kept {
    fn take(&mut self, family: &Family, now: u64, anew: bool) -> (Vec<(Arc<str>, Value)>, u64) {
        let grows = matches!(family.instrument, Instrument::Counter | Instrument::Histogram);
        let mut known: HashSet<Arc<str>> = self.past.keys().cloned().collect();
        let mut told: HashMap<(Arc<str>, Process), Value> = HashMap::new();
        let mut omitted = 0;
        for point in &family.points {
            let labels = naming::labels(point);
            let labels = known.get(&labels).cloned().unwrap_or(labels);
            if known.len() >= SERIES_AT_MOST && !known.contains(&labels) {
                omitted += 1;
                continue;
            }
            known.insert(labels.clone());
            let sum = told.entry((labels, process(point)));
            sum.and_modify(|sum| add(family.instrument, sum, &point.value))
                .or_insert_with(|| point.value.clone());
        }
        if grows {
            self.retire(&told, family.instrument, anew);
        }
        for (labels, _) in told.keys() {
            self.past.entry(labels.clone()).or_insert((None, now)).1 = now;
        }
        self.told = told;
        self.past.retain(|_, (_, last)| grows && now.saturating_sub(*last) < KEPT || *last == now);
        (self.sum_up(family.instrument), omitted)
    }

    /// What was told and is told no more belongs to the past; likewise what has begun anew.
    fn retire(&mut self, now: &HashMap<(Arc<str>, Process), Value>, how: Instrument, anew: bool) {
        for (key, before) in self.told.drain() {
            let goes_on = now.get(&key).is_some_and(|now| size(now) >= size(&before));
            if goes_on && !anew {
                continue;
            }
            let Some((past, _)) = self.past.get_mut(&key.0) else { continue };
            match past {
                Some(past) => add(how, past, &before),
                None => *past = Some(before),
            }
        }
    }

    fn sum_up(&self, how: Instrument) -> Vec<(Arc<str>, Value)> {
        let mut sums: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        let past =
            self.past.iter().filter_map(|(labels, (past, _))| Some((labels, past.as_ref()?)));
        for (labels, value) in
            past.chain(self.told.iter().map(|((labels, _), value)| (labels, value)))
        {
            match sums.get_mut(labels) {
                Some(sum) => add(how, sum, value),
                None => drop(sums.insert(labels.clone(), value.clone())),
            }
        }
        sums.into_iter().collect()
    }
}

fn process(point: &Point) -> Process {
    let of = |agent: &Arc<ProcessFact>| (agent.pid, agent.start_ticks, agent.image);
    point.agent.as_ref().map_or((0, 0, 0), of)
}

fn size(value: &Value) -> f64 {
    match value {
        Value::Integer(n) => *n as f64,
        Value::Real(x) => *x,
        Value::Durations(durations) => durations.count as f64,
    }
}

/// Adds up what adds up; of gauges the larger stands for all.
fn add(how: Instrument, sum: &mut Value, value: &Value) {
    if how == Instrument::Gauge {
        if size(value) > size(sum) {
            *sum = value.clone();
        }
        return;
    }
    *sum = match (&*sum, value) {
        (Value::Integer(a), Value::Integer(b)) => Value::Integer(a.saturating_add(*b)),
        (Value::Durations(a), Value::Durations(b)) => Value::Durations(Arc::new(merged(a, b))),
        (a, b) => Value::Real(size(a) + size(b)),
    };
}

fn merged(a: &Durations, b: &Durations) -> Durations {
    let mut sum = a.clone();
    sum.histogram.merge(&b.histogram);
    sum.count = a.count.saturating_add(b.count);
    sum.total = a.total.saturating_add(b.total);
    sum.longest = a.longest.max(b.longest);
    sum.exemplars.extend(&b.exemplars);
    sum.exemplars.sort_unstable_by_key(|e| std::cmp::Reverse((e.value, e.time)));
    sum.exemplars.truncate(EXEMPLARS_AT_MOST);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Histogram;

    fn agent(pid: u32) -> Option<Arc<ProcessFact>> {
        let service = "api".to_owned();
        Some(Arc::new(ProcessFact { pid, service, start_ticks: u64::from(pid), ..<_>::default() }))
    }

    fn numbers(instrument: Instrument, time: u64, points: &[(u32, &str, Value)]) -> Metrics {
        let point = |(pid, lock, value): &(u32, &str, Value)| Point {
            agent: agent(*pid),
            attributes: vec![("lock.name", Arc::from(*lock))],
            value: value.clone(),
        };
        let points = points.iter().map(point).collect();
        let family = Family { name: "n", unit: "", help: "h", instrument, points };
        Metrics { start: 1, time, families: vec![family] }
    }

    fn shown(page: &Page) -> Vec<(String, f64)> {
        let name = |labels: &str| labels.split('"').nth(1).unwrap().to_owned();
        page.families[0].series.iter().map(|(l, v)| (name(l), size(v))).collect()
    }

    fn integer(n: i64) -> Value {
        Value::Integer(n)
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn counters_never_go_back_when_processes_end() {
        let mut series = Series::default();
        let mut take = |time, points: &[(u32, &str, Value)]| {
            shown(&series.take(&numbers(Instrument::Counter, time, points)))
        };
        let a = |sum: f64| vec![("a".to_owned(), sum)];
        assert_eq!(take(S, &[(7, "a", integer(100)), (8, "a", integer(50))]), a(150.0));
        assert_eq!(take(2 * S, &[(8, "a", integer(51))]), a(151.0), "7 ended");
        assert_eq!(take(3 * S, &[(7, "a", integer(1)), (8, "a", integer(51))]), a(152.0));
        assert_eq!(take(4 * S, &[(7, "a", integer(2)), (8, "a", integer(3))]), a(156.0), "anew");
        assert_eq!(take(5 * S, &[]), a(156.0));
        assert_eq!(take(603 * S, &[]), a(156.0));
        assert_eq!(take(605 * S, &[]), [], "nobody told of it for ten minutes");
        assert_eq!(take(606 * S, &[(9, "a", integer(1))]), a(1.0));
    }

    #[test]
    fn a_new_start_adds_to_what_was_counted_before_it() {
        let mut series = Series::default();
        let mut metrics = numbers(Instrument::Counter, S, &[(7, "a", integer(10))]);
        series.take(&metrics);
        metrics.start = 2;
        metrics.time = 2 * S;
        assert_eq!(shown(&series.take(&metrics)), [("a".to_owned(), 20.0)]);
        assert_eq!(shown(&series.take(&metrics)), [("a".to_owned(), 20.0)]);
    }

    #[test]
    fn what_goes_up_and_down_is_that_of_those_who_are_there() {
        let mut series = Series::default();
        let mut take = |instrument, points: &[(u32, &str, Value)]| {
            shown(&series.take(&numbers(instrument, S, points)))
        };
        let both = [(7, "a", integer(3)), (8, "a", integer(5))];
        assert_eq!(take(Instrument::UpDownCounter, &both), [("a".to_owned(), 8.0)]);
        assert_eq!(take(Instrument::UpDownCounter, &both[..1]), [("a".to_owned(), 3.0)]);
        assert_eq!(take(Instrument::UpDownCounter, &[]), []);
        assert_eq!(take(Instrument::Gauge, &both), [("a".to_owned(), 5.0)]);
    }

    #[test]
    fn durations_of_processes_are_added_up_bucket_by_bucket() {
        let durations = |nanos: &[u64]| {
            let mut histogram = Histogram::default();
            nanos.iter().for_each(|n| histogram.add(*n));
            let (count, total) = (nanos.len() as u64, nanos.iter().sum());
            let longest = nanos.iter().copied().max().unwrap_or(0);
            Value::Durations(Arc::new(Durations {
                histogram,
                count,
                total,
                longest,
                exemplars: vec![],
            }))
        };
        let mut series = Series::default();
        let points = [(7, "a", durations(&[5_000, 7_000_000])), (8, "a", durations(&[9_000_000]))];
        series.take(&numbers(Instrument::Histogram, S, &points));
        let page = series.take(&numbers(Instrument::Histogram, 2 * S, &points[..1]));
        assert_eq!(page.families[0].series[0].1, durations(&[5_000, 7_000_000, 9_000_000]));
    }

    #[test]
    fn an_unchanged_series_is_not_copied() {
        let mut series = Series::default();
        let value = Arc::new(Durations { count: 1, ..<_>::default() });
        let points = [(7, "a", Value::Durations(value.clone()))];
        let page = series.take(&numbers(Instrument::Histogram, S, &points));
        let Value::Durations(shown) = &page.families[0].series[0].1 else { panic!() };
        assert!(Arc::ptr_eq(shown, &value));
    }

    #[test]
    fn there_is_an_end_to_series_and_it_is_counted() {
        let names: Vec<String> = (0..SERIES_AT_MOST + 5).map(|n| format!("lock{n:06}")).collect();
        let points: Vec<_> = names.iter().map(|n| (7, n.as_str(), integer(1))).collect();
        let mut series = Series::default();
        let metrics = numbers(Instrument::Counter, S, &points);
        let page = series.take(&metrics);
        assert_eq!((page.families[0].series.len(), page.omitted), (SERIES_AT_MOST, 5));
        let page = series.take(&numbers(Instrument::Counter, 2 * S, &points[5..]));
        assert_eq!(page.families[0].series.len(), SERIES_AT_MOST, "known ones keep their place");
    }
}
