//! What people are told of a collector: when it is away, when it is back, what it refuses.

use super::Say;
use super::settings::Signal;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Outages by collector: what is away for one signal is so for all that go there.
pub struct Outages {
    say: Rc<Say>,
    kept: Duration,
    collectors: RefCell<HashMap<String, Rc<RefCell<Outage>>>>,
}

impl Outages {
    /// None yet.
    pub fn new(say: Say, kept: Duration) -> Self {
        Self { say: Rc::new(say), kept, collectors: RefCell::default() }
    }

    /// That of a collector.
    pub fn of(&self, collector: &str) -> Rc<RefCell<Outage>> {
        let new = || Rc::new(RefCell::new(Outage::new(self.say.clone(), collector, self.kept)));
        let mut collectors = self.collectors.borrow_mut();
        collectors.entry(collector.to_owned()).or_insert_with(new).clone()
    }
}

/// Tells people about an outage once, and about its end once.
pub struct Outage {
    say: Rc<Say>,
    collector: String,
    kept: Duration,
    /// The outage that lasts was announced.
    announced: bool,
    /// When one was announced last.
    last: Option<Instant>,
    /// Of which signals a refusal was announced.
    refused: [bool; Signal::ALL.len()],
}

impl Outage {
    /// At most one announcement in this time, however the connection flaps.
    const QUIET: Duration = Duration::from_secs(300);

    /// Nothing was told yet of this collector, for which things are kept so long.
    fn new(say: Rc<Say>, collector: &str, kept: Duration) -> Self {
        let collector = collector.to_owned();
        Self { say, collector, kept, announced: false, last: None, refused: Default::default() }
    }

    /// An attempt failed.
    pub fn begins(&mut self, why: &str) {
        if self.announced || self.last.is_some_and(|at| at.elapsed() < Self::QUIET) {
            return;
        }
        self.announced = true;
        self.last = Some(Instant::now());
        let advice = if why.contains("certificate") {
            "Name the file of the certificate that signs for it in OTEL_EXPORTER_OTLP_CERTIFICATE."
        } else if why.contains("frame with invalid size") {
            "It may speak OTLP over HTTP: give it with the path /v1/traces, or set \
             OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."
        } else {
            "Start the collector, or correct the address."
        };
        (self.say)(&format!(
            "warning: cannot deliver to the OTLP collector {} ({why}); what is to be sent is kept \
             for {} s, then dropped and counted. {advice}",
            self.collector,
            self.kept.as_secs()
        ));
    }

    /// An attempt was answered.
    pub fn ends(&mut self) {
        if std::mem::take(&mut self.announced) {
            (self.say)(&format!("the OTLP collector {} is back.", self.collector));
        }
    }

    /// The collector does not want so much of a signal.
    pub fn refused(&mut self, signal: Signal, count: u64, why: &str) {
        if std::mem::replace(&mut self.refused[signal as usize], true) {
            return;
        }
        let (name, unit) = (signal.variable(), signal.unit());
        // A collector of traces alone says so in one of these ways.
        let not_its = ["Unimplemented", "404 ", "405 "].iter().any(|no| why.starts_with(no));
        let advice = match not_its {
            true => format!("If it takes none, set OTEL_{name}_EXPORTER=none."),
            false => "Check its log, and OTEL_EXPORTER_OTLP_HEADERS if it wants a key.".to_owned(),
        };
        (self.say)(&format!(
            "warning: the OTLP collector {} refused {count} {unit} ({why}); they are dropped and \
             counted, and so is what it refuses from now on. {advice}",
            self.collector,
        ));
    }
}
