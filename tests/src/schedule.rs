//! The truth of a program with a known schedule, and how a report differs from it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::records::{Records, nanos, number, text};

/// Waits from this length on have a record of their own, nanoseconds.
const THRESHOLD: u64 = 1_000_000;
/// What a report may differ by, whichever is larger: a share, and nanoseconds. These are the bars
/// of the project; a test that needs others is wrong.
const SHARE: f64 = 0.05;
fn slack() -> u64 {
    crate::slack(200_000)
}
/// A wait that differs by more from what its schedule says was measured on a machine that stood
/// still, nanoseconds.
const DISTURBED: u64 = 20_000_000;

/// A wait as the waiter measured it. Times are UNIX nanoseconds.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Which part of the schedule.
    pub scene: String,
    /// Address of the lock.
    pub lock: u64,
    /// The waiter.
    pub tid: u64,
    /// Who had the lock when it began.
    pub holder: u64,
    /// Who let it go to the waiter, 0 for nobody.
    pub from: u64,
    /// How often it slept.
    pub sleeps: u64,
    /// Something came between measurement and lock call.
    pub disturbed: bool,
    /// `acquired` or `timeout`.
    pub outcome: String,
    /// Before the lock call.
    pub begin: u64,
    /// After it.
    pub end: u64,
    /// How long it should have been, 0 where the schedule does not say.
    pub expected: u64,
}

/// A hold as the holder measured it.
#[derive(Clone, Debug)]
struct Hold {
    lock: u64,
    tid: u64,
    begin: u64,
    end: u64,
}

/// All a program knows of itself.
#[derive(Debug)]
pub struct Truth {
    /// Its process id on the host.
    pub pid: u64,
    /// Its process id as it sees it.
    pub ns_pid: u64,
    /// All waits that slept, however short.
    pub waits: Vec<Wait>,
    holds: Vec<Hold>,
    /// Memory of what is no lock.
    decoys: Vec<(String, std::ops::Range<u64>)>,
}

/// How holders are known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The lock's memory names them.
    ByOwnerWord,
    /// They are inferred from who let go, where the waiter slept once.
    ByWaker,
}

fn near(a: u64, b: u64) -> bool {
    a.abs_diff(b) as f64 <= (b as f64 * SHARE).max(slack() as f64)
}

fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn address(record: &Value) -> u64 {
    let id = text(record, "lock.id");
    let (_, address) = id.rsplit_once(":0x").unwrap_or_else(|| panic!("no address in {id}"));
    u64::from_str_radix(address, 16).unwrap_or_else(|e| panic!("{id}: {e}"))
}

/// Who, on what, from when to when.
fn key(record: &Value) -> (u64, u64, u64, u64) {
    let time = |key| number(record, key);
    let (start, end) = (time("start_time_unix_nano"), time("end_time_unix_nano"));
    (number(record, "thread.id"), address(record), start, end)
}

impl Wait {
    fn length(&self) -> u64 {
        self.end - self.begin
    }

    /// On the threshold, a report on either side of it is right.
    fn must_be_reported(&self) -> bool {
        self.length() >= THRESHOLD + slack()
    }

    fn overlaps(&self, record: &Value) -> bool {
        let (tid, lock, start, end) = key(record);
        (tid, lock) == (self.tid, self.lock) && start <= self.end && end >= self.begin
    }
}

impl Truth {
    /// Reads what the program wrote.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let all = std::fs::read_to_string(path).expect("the program wrote its truth");
        let lines: Vec<Value> = all.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
        let of = |kind: &'static str| lines.iter().filter(move |l| l["truth"] == kind);
        let clock = of("clock").next().expect("the clock");
        let offset = number(clock, "offset");
        let lock = |v: &Value| {
            let text = text(v, "lock").trim_start_matches("0x");
            u64::from_str_radix(text, 16).expect("an address")
        };
        let wait = |v: &Value| Wait {
            scene: text(v, "scene").into(),
            lock: lock(v),
            tid: number(v, "tid"),
            holder: number(v, "holder"),
            from: number(v, "from"),
            sleeps: number(v, "sleeps"),
            disturbed: v["disturbed"] == true,
            outcome: text(v, "outcome").into(),
            begin: number(v, "begin") + offset,
            end: number(v, "end") + offset,
            expected: number(v, "expected"),
        };
        let hold = |v: &Value| Hold {
            lock: lock(v),
            tid: number(v, "tid"),
            begin: number(v, "begin") + offset,
            end: number(v, "end") + offset,
        };
        let decoy = |v: &Value| {
            let start = number(v, "address");
            (text(v, "kind").to_owned(), start..start + number(v, "size"))
        };
        Self {
            pid: number(clock, "pid"),
            ns_pid: number(clock, "ns_pid"),
            waits: of("wait").map(wait).collect(),
            holds: of("hold").map(hold).collect(),
            decoys: of("decoy").map(decoy).collect(),
        }
    }

    /// Whether the program says that its own measurements are not to be trusted.
    pub fn disturbed(&self) -> bool {
        self.waits.iter().any(|w| {
            let late = w.expected != 0 && w.length().abs_diff(w.expected) > DISTURBED;
            w.disturbed || late
        })
    }

    /// Every way in which the report is not the truth, a sentence each.
    pub fn faults(&self, records: &Records, known: Known) -> Vec<String> {
        let mut faults = Vec::new();
        let mut acquires = records.acquires();
        // What glibc locks for itself, as when it starts a thread, the program does not know of.
        acquires.retain(|r| number(r, "process.pid") == self.pid && r["lock.type"] != "low_level");
        for wait in &self.waits {
            let found: Vec<_> = acquires.iter().filter(|r| wait.overlaps(r)).collect();
            match found[..] {
                [record] => self.wait(wait, record, known, &mut faults),
                [] if !wait.must_be_reported() => {}
                _ => faults.push(format!("{} records of {wait:?}: {found:?}", found.len())),
            }
        }
        for record in &acquires {
            if !self.waits.iter().any(|w| w.length() >= THRESHOLD && w.overlaps(record)) {
                faults.push(format!("no such wait: {record}"));
            }
        }
        self.hold_faults(records, known, &mut faults);
        self.summary_faults(records.summary(), &mut faults);
        faults.extend(records.dropped().iter().map(|d| format!("dropped: {d:?}")));
        faults
    }

    fn wait(&self, wait: &Wait, record: &Value, known: Known, faults: &mut Vec<String>) {
        let mut expect = |what: &str, right: bool| {
            if !right {
                faults.push(format!("{what} is wrong: {wait:?}: {record}"));
            }
        };
        let duration = nanos(record, "lock.wait.duration");
        expect("duration", near(duration, wait.length()));
        let (_, _, start, end) = key(record);
        expect("its own sum", end.abs_diff(start + duration) <= 1);
        let timeout = wait.outcome == "timeout";
        let outcome = if timeout { "abandoned" } else { "acquired" };
        expect("outcome", record["lock.outcome"] == outcome);
        let error = if timeout { Value::from("timeout") } else { Value::Null };
        expect("error", record["error.type"] == error);
        expect("attempt count", number(record, "lock.attempt.count") == wait.sleeps);
        expect("confidence", record["lock.confidence"] == "confirmed");
        // Without an owner word only whoever let go can be known to have had it.
        let certain = wait.sleeps == 1 && wait.from == wait.holder;
        if known == Known::ByOwnerWord || certain || !record["lock.holder.tid"].is_null() {
            let source = if known == Known::ByOwnerWord { "owner_word" } else { "waker" };
            expect("holder", record["lock.holder.tid"] == wait.holder);
            expect("holder's process", record["lock.holder.pid"] == self.pid);
            expect("holder's source", record["lock.holder.source"] == source);
        }
        if !timeout {
            expect("hand-over", record["lock.handed_over_by.tid"] == wait.from);
            expect("link", record["links"][0]["lock.link.type"] == "blocked_by");
        }
    }

    /// Whoever let a lock go to a waiter has a hold record that ends then.
    fn hold_faults(&self, records: &Records, known: Known, faults: &mut Vec<String>) {
        let holds = records.holds();
        let handed_over = self.waits.iter().filter(|w| w.must_be_reported() && w.from != 0);
        for wait in handed_over {
            let owned =
                |h: &&Hold| (h.tid, h.lock) == (wait.from, wait.lock) && h.begin <= wait.end;
            let Some(hold) = self.holds.iter().filter(owned).max_by_key(|h| h.begin) else {
                faults.push(format!("the truth has no hold before {wait:?}"));
                continue;
            };
            let found = holds.iter().filter(|r| {
                let (tid, lock, start, end) = key(r);
                (tid, lock) == (hold.tid, hold.lock)
                    && start <= hold.end
                    && end + slack() >= hold.begin
                    && end.abs_diff(hold.end) < slack().max((hold.end - hold.begin) / 2)
            });
            let found: Vec<_> = found.collect();
            let [record] = found[..] else {
                faults.push(format!("{} records of {hold:?}: {found:?}", found.len()));
                continue;
            };
            let (length, reported) = (hold.end - hold.begin, nanos(record, "lock.hold.duration"));
            let precision = text(record, "lock.hold.precision");
            // Whoever waited for the lock himself while the next one waited already is known to
            // have held it from end to end.
            let waited = |w: &Wait| {
                (w.tid, w.lock) == (hold.tid, hold.lock) && w.end.abs_diff(hold.begin) < slack()
            };
            let whole = self.waits.iter().any(waited) && wait.begin + slack() < hold.begin;
            let right = match precision {
                "exact" => near(reported, length),
                "lower_bound" => reported <= length || near(reported, length),
                _ => false,
            };
            if !right || whole && precision != "exact" {
                faults.push(format!("{} ms is the truth: {record}", ms(length)));
            }
            if known == Known::ByWaker && record["lock.holder.source"] != "waker" {
                faults.push(format!("nothing but the wake-up tells the holder: {record}"));
            }
        }
    }

    /// The sums know of every wait, also of those that are too short for a record.
    fn summary_faults(&self, summary: &Value, faults: &mut Vec<String>) {
        let mut truth: BTreeMap<u64, Vec<&Wait>> = BTreeMap::new();
        for wait in &self.waits {
            truth.entry(wait.lock).or_default().push(wait);
        }
        let reported = summary["locks"].as_array().expect("an array");
        let own = reported.iter().filter(|l| number(l, "process.pid") == self.pid);
        let own: Vec<&Value> = own.collect();
        for (address_of, waits) in &truth {
            let found: Vec<_> = own.iter().filter(|l| address(l) == *address_of).collect();
            let [lock] = found[..] else {
                faults.push(format!("{} sums of lock {address_of:#x}", found.len()));
                continue;
            };
            let count = waits.len() as u64;
            let total: u64 = waits.iter().map(|w| w.length()).sum();
            let longest = waits.iter().map(|w| w.length()).max().unwrap_or(0);
            let gave_up = waits.iter().filter(|w| w.outcome == "timeout").count() as u64;
            let total_near = nanos(lock, "wait_total").abs_diff(total) as f64
                <= (total as f64 * SHARE).max((count * slack()) as f64);
            for (what, right) in [
                ("count", number(lock, "waits") == count),
                ("total", total_near),
                ("longest", near(nanos(lock, "wait_max"), longest)),
                ("abandoned", number(lock, "abandoned") == gave_up),
                ("still waiting", number(lock, "still_waiting") == 0),
            ] {
                if !right {
                    let (total, longest) = (ms(total), ms(longest));
                    faults.push(format!(
                        "{what} is wrong, {count} waits, {total} ms in all, {longest} at most, \
                         {gave_up} given up: {lock}"
                    ));
                }
            }
        }
        for lock in own {
            let decoy = self.decoys.iter().find(|(_, range)| range.contains(&address(lock)));
            if let Some((kind, _)) = decoy {
                faults.push(format!("{kind} is no lock: {lock}"));
            }
        }
    }
}
