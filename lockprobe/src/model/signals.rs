//! Every metric, span and event that leaves lockprobe, in tables: `docs/signals.md` is made of them.

use super::Instrument;
use super::names::*;

/// What is always the same about one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Unit in UCUM.
    pub unit: &'static str,
    /// How its numbers behave.
    pub instrument: Instrument,
    /// What it counts, one sentence without a full stop.
    pub help: &'static str,
    /// The names of its attributes; one that is not known is left out.
    pub attributes: &'static [&'static str],
    /// Whether its points are of processes, each its own Resource, or of lockprobe and the host.
    pub per_agent: bool,
    /// When there are points.
    pub when: &'static str,
}

impl Metric {
    /// The name it has in Prometheus, as OpenTelemetry maps them; histograms add `_bucket`,
    /// `_sum` and `_count`.
    pub fn prometheus(&self) -> String {
        let mut name = self.name.replace('.', "_");
        let suffix = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        name.push_str(suffix);
        if self.instrument == Instrument::Counter {
            name.push_str("_total");
        }
        name
    }
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $ident:ident = $name:literal, $unit:literal, $instrument:ident,
       $per_agent:literal, [$($attribute:expr),*], $when:literal;)*) => {
        $($(#[doc = $doc])+ pub const $ident: Metric = Metric {
            name: $name,
            unit: $unit,
            instrument: Instrument::$instrument,
            help: concat!($($doc),+).trim_ascii(),
            attributes: &[$($attribute),*],
            per_agent: $per_agent,
            when: $when,
        };)*

        /// Every metric.
        pub const METRICS: &[Metric] = &[$($ident),*];
    };
}

metrics! {
    /// Time from asking for a lock to having it or giving up, every wait however short
    WAIT_DURATION = "lock.wait.duration", "s", Histogram, true,
        [LOCK_SYSTEM_NAME, LOCK_NAME, LOCK_MODE, LOCK_OUTCOME],
        "A wait has ended. Waits shorter than `min_wait` are counted by the kernel half, which knows neither how they ended nor how the lock was wanted: both are `unknown` unless only one thing is possible. Short waits for locks of files and for System V semaphores are counted for the host, not for a process.";
    /// Time a lock was held
    HOLD_DURATION = "lock.hold.duration", "s", Histogram, true,
        [LOCK_SYSTEM_NAME, LOCK_NAME, LOCK_MODE, LOCK_HOLD_PRECISION],
        "A hold has ended that somebody waited for for `min_wait` or longer, and every hold of a server's lock. A `lower_bound` began before it was seen.";
    /// Attempts that are over
    ATTEMPTS = "lock.attempts", "{attempt}", Counter, true,
        [LOCK_SYSTEM_NAME, LOCK_NAME, LOCK_OUTCOME, LOCK_CONTENDED],
        "An attempt has ended. Attempts that did not wait can be counted only of servers' locks, of files asked for without waiting, and in full mode; what a server does not tell has no `lock.contended`.";
    /// Threads that wait now
    WAITERS = "lock.waiters", "{waiter}", UpDownCounter, true,
        [LOCK_SYSTEM_NAME, LOCK_NAME],
        "Since somebody waited for `min_wait` or longer.";
    /// Threads and clients that hold a lock now
    HOLDERS = "lock.holders", "{holder}", UpDownCounter, true,
        [LOCK_SYSTEM_NAME, LOCK_NAME],
        "Of servers' locks always; of others while somebody waits for `min_wait` or longer and the holder is known.";
    /// Longest queue for a lock since the last time
    QUEUE_DEPTH = "lock.queue.depth", "{waiter}", Gauge, true,
        [LOCK_SYSTEM_NAME, LOCK_NAME],
        "Since the first wait of `min_wait` or longer.";
    /// Renewals of leases
    RENEWALS = "lock.renewals", "{renewal}", Counter, true,
        [LOCK_SYSTEM_NAME, LOCK_NAME, LOCK_RENEWAL_OUTCOME],
        "A client of a lock server prolonged its hold (`renewed`), or was told that it had lost it (`lost`).";
    /// Findings
    FINDINGS = "lock.findings", "{finding}", Counter, false,
        [LOCK_FINDING_TYPE],
        "Always, from zero.";
    /// Time a process has spent waiting for locks, over all its threads
    AGENT_WAIT_TIME = "lock.agent.wait.time", "s", Counter, true, [],
        "The process has waited for a lock.";
    /// Processor time of a process
    PROCESS_CPU_TIME = "process.cpu.time", "s", Counter, true,
        [CPU_MODE],
        "The process has waited for a lock: to compare with `lock.agent.wait.time`.";
    /// Records of the kernel half
    EVENTS_RECEIVED = "lockprobe.events.received", "{event}", Counter, false,
        [STAGE],
        "Always: `kernel` has written so many, `pipeline` has read so many; the difference is under way.";
    /// What was lost on its way
    EVENTS_DROPPED = "lockprobe.events.dropped", "{event}", Counter, false,
        [STAGE, CAUSE],
        "Always, from zero.";
    /// What was left out by choice
    EVENTS_SKIPPED = "lockprobe.events.skipped", "{event}", Counter, false,
        [CAUSE],
        "Always, from zero.";
    /// Series that found no room and were added to `lock.name` = `other`
    SERIES_FOLDED = "lockprobe.series.folded", "{series}", Counter, false,
        [METRIC],
        "Always, from zero.";
    /// Time the kernel has spent in a program of lockprobe's
    PROGRAM_TIME = "lockprobe.bpf.program.time", "s", Counter, false,
        [PROGRAM],
        "The kernel keeps statistics (`kernel.bpf_stats_enabled`).";
    /// Runs of a program of lockprobe's in the kernel
    PROGRAM_RUNS = "lockprobe.bpf.program.runs", "{run}", Counter, false,
        [PROGRAM],
        "The kernel keeps statistics.";
    /// Entries of a table in the kernel
    MAP_ENTRIES = "lockprobe.bpf.map.entries", "{entry}", UpDownCounter, false,
        [MAP],
        "While running.";
    /// Entries a table in the kernel has room for
    MAP_LIMIT = "lockprobe.bpf.map.limit", "{entry}", UpDownCounter, false,
        [MAP],
        "While running.";
    /// Probes that are attached
    PROBES = "lockprobe.probes", "{probe}", UpDownCounter, false, [],
        "While running.";
    /// What waits in a queue between threads of lockprobe
    OWN_QUEUE_DEPTH = "lockprobe.queue.depth", "{record}", UpDownCounter, false,
        [QUEUE],
        "While running.";
    /// What a queue between threads of lockprobe has room for
    OWN_QUEUE_LIMIT = "lockprobe.queue.limit", "{record}", UpDownCounter, false,
        [QUEUE],
        "While running.";
    /// Processor time of lockprobe
    OWN_CPU_TIME = "lockprobe.cpu.time", "s", Counter, false, [],
        "While running.";
    /// Resident memory of lockprobe
    OWN_MEMORY = "lockprobe.memory.usage", "By", UpDownCounter, false, [],
        "While running.";
}

/// A span, or an event on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its name; `<lock>` stands for `lock.name`.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Names of its attributes.
    pub attributes: &'static [&'static str],
}

/// Spans.
pub const SPANS: &[Signal] = &[
    Signal {
        name: "acquire <lock>",
        meaning: "One attempt, from asking to having the lock or giving up.",
        attributes: &[
            LOCK_SYSTEM_NAME,
            LOCK_TYPE,
            LOCK_NAME,
            LOCK_ID,
            LOCK_SCOPE,
            LOCK_MODE,
            LOCK_OUTCOME,
            LOCK_CONFIDENCE,
            LOCK_WAIT_DURATION,
            LOCK_WAIT_START_ESTIMATED,
            LOCK_QUEUE_DEPTH,
            LOCK_ATTEMPT_COUNT,
            LOCK_WAKE_DELAY,
            LOCK_HOLDER_PID,
            LOCK_HOLDER_TID,
            LOCK_HOLDER_NAME,
            LOCK_HOLDER_SOURCE,
            LOCK_HANDED_OVER_BY_TID,
            ERROR_TYPE,
            THREAD_ID,
            THREAD_NAME,
            CODE_FUNCTION_NAME,
            CODE_FILE_PATH,
            CODE_LINE_NUMBER,
            CODE_STACKTRACE,
            LOCK_HOLDER_STACKTRACE,
            LOCK_HOLDER_STATE,
            LOCK_STACK_MISSING,
            SERVER_ADDRESS,
            SERVER_PORT,
            LOCK_LEASE_DURATION,
            LOCK_OWNER_HASH,
            LOCK_FENCING_TOKEN,
            LOCK_QUEUE_AHEAD,
            LOCK_HOLDER_SAID,
        ],
    },
    Signal {
        name: "hold <lock>",
        meaning: "From having the lock to its end.",
        attributes: &[
            LOCK_SYSTEM_NAME,
            LOCK_TYPE,
            LOCK_NAME,
            LOCK_ID,
            LOCK_SCOPE,
            LOCK_CONFIDENCE,
            LOCK_HOLD_DURATION,
            LOCK_HOLD_PRECISION,
            LOCK_HOLD_END,
            LOCK_HOLDER_SOURCE,
            LOCK_WAITERS,
            THREAD_ID,
            THREAD_NAME,
            CODE_FUNCTION_NAME,
            CODE_FILE_PATH,
            CODE_LINE_NUMBER,
            SERVER_ADDRESS,
            SERVER_PORT,
            LOCK_LEASE_DURATION,
            LOCK_OWNER_HASH,
            LOCK_RENEWAL_COUNT,
            LOCK_FENCING_TOKEN,
        ],
    },
];

/// Events on spans.
pub const SPAN_EVENTS: &[Signal] = &[
    Signal { name: "lock.requested", meaning: "The lock was asked for.", attributes: &[] },
    Signal {
        name: "lock.contended",
        meaning: "Somebody else had it.",
        attributes: &[LOCK_HOLDER_PID, LOCK_HOLDER_TID, LOCK_HOLDER_NAME, LOCK_HOLDER_SOURCE],
    },
    Signal { name: "lock.acquired", meaning: "The lock was had.", attributes: &[] },
    Signal { name: "lock.renewed", meaning: "A hold was prolonged.", attributes: &[] },
    Signal { name: "lock.released", meaning: "The holder let go.", attributes: &[] },
    Signal { name: "lock.expired", meaning: "The lease ended.", attributes: &[] },
    Signal { name: "lock.revoked", meaning: "The server took the lock back.", attributes: &[] },
];

/// What links between spans say, in `lock.link.type`.
pub const LINKS: &[Signal] = &[
    Signal {
        name: "blocked_by",
        meaning: "From an acquire span to the hold span that was in its way.",
        attributes: &[LOCK_LINK_TYPE],
    },
    Signal {
        name: "handed_over_by",
        meaning: "From an acquire span to the hold whose end let it go on.",
        attributes: &[LOCK_LINK_TYPE],
    },
];

/// Log event of a wait: the resource contention log.
pub const CONTENTION_EVENT: &str = "lock.contention";

/// Name of the log event of a finding of this type.
pub fn finding_event(kind: &str) -> String {
    format!("lock.{kind}.detected")
}

/// Value of `lock.finding.type` of a deadlock that is possible.
pub const INVERSION: &str = "lock_order_inversion";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_has_the_names_opentelemetry_gives_them() {
        assert_eq!(WAIT_DURATION.prometheus(), "lock_wait_duration_seconds");
        assert_eq!(ATTEMPTS.prometheus(), "lock_attempts_total");
        assert_eq!(AGENT_WAIT_TIME.prometheus(), "lock_agent_wait_time_seconds_total");
        assert_eq!(OWN_MEMORY.prometheus(), "lockprobe_memory_usage_bytes");
        assert_eq!(WAITERS.prometheus(), "lock_waiters");
    }

    #[test]
    fn every_attribute_is_a_name_that_is_explained() {
        let metrics = METRICS.iter().flat_map(|metric| metric.attributes);
        let signals = [SPANS, SPAN_EVENTS, LINKS].concat();
        let signals = signals.iter().flat_map(|signal| signal.attributes);
        for name in metrics.chain(signals) {
            assert!(ALL.iter().any(|(known, _)| known == name), "{name}");
        }
    }

    #[test]
    fn no_two_metrics_have_one_name() {
        let names: std::collections::BTreeSet<_> = METRICS.iter().map(Metric::prometheus).collect();
        assert_eq!(names.len(), METRICS.len());
        assert!(
            METRICS.iter().all(|metric| !metric.help.ends_with('.') && !metric.help.is_empty())
        );
    }
}
