//! Numbers as text: Prometheus 0.0.4, and OpenMetrics 1.0 for those who ask for it.
//!
//! Written here rather than by a library: `prometheus-client` writes OpenMetrics alone, and what
//! Debian's `promtool` and older readers take is the other. Both are lines; the work is in
//! [`super::naming`] and [`super::series`]. Written a piece at a time, as the reader takes it: all
//! of it at once may be more than lockprobe uses otherwise.

use std::fmt::Write as _;
use std::sync::Arc;

use super::series::{Page, Shown};
use super::{ladder, naming};
use crate::model::{Durations, Exemplar, Instrument, Value};

/// A piece is full at this size, bytes; a series more may follow.
const PIECE: usize = 64 << 10;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
}

impl Format {
    /// Value of the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a reader takes that sends this `Accept`: OpenMetrics if it is named, and not less
    /// welcome than text.
    pub fn accepted(accept: &str) -> Self {
        let (mut open, mut text) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0_f64, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match (kind.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => open = quality.max(open),
                ("text/plain" | "text/*" | "*/*", None | Some("0.0.4")) => text = quality.max(text),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }
}

/// What is being written.
pub struct Exposition {
    format: Format,
    page: Arc<Page>,
    /// Families about lockprobe itself, before those of the page.
    own: Vec<Shown>,
    wall_offset: i128,
    family: usize,
    series: usize,
    ended: bool,
}

impl Exposition {
    /// Begins.
    pub fn new(format: Format, page: Arc<Page>, own: Vec<Shown>, wall_offset: i128) -> Self {
        Self { format, page, own, wall_offset, family: 0, series: 0, ended: false }
    }

    /// The next piece; `None` at the end.
    pub fn next_piece(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        let mut out = String::new();
        while out.len() < PIECE {
            let at = self.family;
            let family = self.own.get(at).or_else(|| self.page.families.get(at - self.own.len()));
            let Some(family) = family else {
                self.ended = true;
                if self.format == Format::OpenMetrics {
                    out.push_str("# EOF\n");
                }
                break;
            };
            if self.series == 0 && !family.series.is_empty() {
                self.head(family, &mut out);
            }
            match family.series.get(self.series) {
                Some((labels, value)) => {
                    self.series(family, labels, value, &mut out);
                    self.series += 1;
                }
                None => (self.family, self.series) = (at + 1, 0),
            }
        }
        Some(out)
    }

    fn head(&self, family: &Shown, out: &mut String) {
        let open = self.format == Format::OpenMetrics;
        let counter = family.instrument == Instrument::Counter;
        // In the older format the samples of a counter have its name.
        let total = if counter && !open { "_total" } else { "" };
        let kind = match family.instrument {
            Instrument::Counter => "counter",
            Instrument::UpDownCounter | Instrument::Gauge => "gauge",
            Instrument::Histogram => "histogram",
        };
        let (name, help) = (&family.name, family.help.replace('\\', "\\\\").replace('\n', "\\n"));
        let help = if open { help.replace('"', "\\\"") } else { help };
        let _ = writeln!(out, "# HELP {name}{total} {help}.\n# TYPE {name}{total} {kind}");
        if let Some(unit) = family.unit.filter(|_| open) {
            let _ = writeln!(out, "# UNIT {name} {unit}");
        }
    }

    fn series(&self, family: &Shown, labels: &str, value: &Value, out: &mut String) {
        let name = &family.name;
        let total = if family.instrument == Instrument::Counter { "_total" } else { "" };
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = match value {
            Value::Integer(n) => writeln!(out, "{name}{total}{braces} {n}"),
            Value::Real(x) => writeln!(out, "{name}{total}{braces} {}", real(*x)),
            Value::Durations(durations) => {
                self.durations(name, labels, durations, out);
                Ok(())
            }
        };
    }

    fn durations(&self, name: &str, labels: &str, durations: &Durations, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let counts = ladder::cumulative(&durations.histogram);
        // Should the two differ, a reader must not see a count below that of a bucket.
        let count = durations.count.max(durations.histogram.count());
        let bounds = ladder::EXPONENTS.map(|e| ladder::seconds(e).to_string());
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        for (at, (bound, n)) in bounds.zip(counts.into_iter().chain([count])).enumerate() {
            let _ = write!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {n}");
            let shown = durations.exemplars.iter().filter(|e| ladder::index(e.value) == at);
            let slowest = shown.max_by_key(|e| (e.value, e.time));
            if let Some(exemplar) = slowest.filter(|_| self.format == Format::OpenMetrics) {
                self.exemplar(exemplar, out);
            }
            out.push('\n');
        }
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let sum = real(durations.total as f64 / 1e9);
        let _ = writeln!(out, "{name}_sum{braces} {sum}\n{name}_count{braces} {count}");
    }

    fn exemplar(&self, exemplar: &Exemplar, out: &mut String) {
        let Exemplar { value, time, span } = exemplar;
        let value = *value as f64 / 1e9;
        let _ = write!(
            out,
            " # {{trace_id=\"{:032x}\",span_id=\"{:016x}\"}} {}",
            span.trace,
            span.span,
            real(value)
        );
        let unix = i128::from(*time) + self.wall_offset;
        if self.wall_offset != 0 && unix > 0 {
            let _ = write!(out, " {}.{:03}", unix / 1_000_000_000, unix / 1_000_000 % 1000);
        }
    }
}

/// A number as both formats write it.
fn real(x: f64) -> String {
    match x {
        x if x.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        x => x.to_string(),
    }
}

/// A family of one number.
pub fn single(name: &str, help: &'static str, value: f64) -> Shown {
    labelled(name, help, &[], value)
}

/// A family of one number with labels.
pub fn labelled(name: &str, help: &'static str, labels: &[(&str, &str)], value: f64) -> Shown {
    let (counter, seconds) = (name.strip_suffix("_total"), name.ends_with("_seconds"));
    let instrument = if counter.is_some() { Instrument::Counter } else { Instrument::Gauge };
    Shown {
        name: counter.unwrap_or(name).to_owned(),
        unit: seconds.then_some("seconds"),
        help,
        instrument,
        series: vec![(naming::write(labels.iter().copied()).into(), Value::Real(value))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        // What Debian's Prometheus, the newest, curl and a browser send.
        for (accept, expected) in [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
                Format::OpenMetrics,
            ),
            ("*/*", Format::Text),
            ("", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("application/openmetrics-text; version=\"1.0.0\"", Format::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text;q=0,text/plain", Format::Text),
            ("application/openmetrics-text;q=0.1,text/plain", Format::Text),
            ("application/openmetrics-text;q=x;;=,,;", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn numbers_are_written_without_exponents() {
        for (x, text) in
            [(0.0, "0"), (1e-9, "0.000000001"), (1.5e10, "15000000000"), (f64::NAN, "NaN")]
        {
            assert_eq!(real(x), text);
        }
        assert_eq!((real(f64::INFINITY), real(-f64::INFINITY)), ("+Inf".into(), "-Inf".into()));
    }
}
