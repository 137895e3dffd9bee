//! The daemon's own log: one line an event on standard error, for people or for programs.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{self as lines, FmtContext};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;

use crate::config;

/// The way to change it as it runs.
pub struct Handle {
    json: Arc<AtomicBool>,
    level: reload::Handle<Targets, Registry>,
}

impl Handle {
    /// Begins to log.
    pub fn start(settings: &config::Log) -> Self {
        let json = Arc::new(AtomicBool::new(settings.format == "json"));
        let (filter, level) = reload::Layer::new(filter(&settings.level));
        let lines = lines::layer()
            .event_format(Format { json: json.clone() })
            .with_ansi(false)
            .with_writer(std::io::stderr);
        // There is one daemon in a process; in a test there may be one already.
        let _ = tracing::subscriber::set_global_default(
            tracing_subscriber::registry().with(filter).with(lines),
        );
        Self { json, level }
    }

    /// Logs differently from now on.
    pub fn change(&self, settings: &config::Log) {
        self.json.store(settings.format == "json", Ordering::Relaxed);
        let _ = self.level.reload(filter(&settings.level));
    }
}

/// Our own events from this level on; of libraries none, who would tell what they send.
fn filter(level: &str) -> Targets {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    Targets::new().with_target("lockprobe", level)
}

/// Lines in one of two forms.
struct Format {
    json: Arc<AtomicBool>,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.json.load(Ordering::Relaxed) {
            let json = lines::format().json().flatten_event(true);
            return json
                .with_current_span(false)
                .with_span_list(false)
                .with_target(false)
                .format_event(context, out, event);
        }
        SystemTime.format_time(&mut out)?;
        write!(out, " {:5} ", event.metadata().level())?;
        let mut line = Line { message: String::new(), fields: String::new() };
        event.record(&mut line);
        writeln!(out, "{}{}", line.message, line.fields)
    }
}

/// The parts of a line. Whatever somebody calls a thread, it is one line and nothing else.
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn field(&mut self, field: &Field, value: &str) {
        let _ = write!(self.fields, " {}=", field.name());
        let bare = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
        match !value.is_empty() && value.chars().all(bare) {
            true => self.fields.push_str(value),
            false => drop(write!(self.fields, "{value:?}")),
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(&printable(value)),
            _ => self.field(field, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Text with everything escaped that is not printed as itself.
pub fn printable(text: &str) -> String {
    let shown = |c: char| c == '"' || c == '\'' || c == '\\';
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match shown(c) {
            true => out.push(c),
            false => out.extend(c.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(json: bool, what: impl FnOnce()) -> String {
        let paper = Paper::default();
        let for_layer = paper.clone();
        let lines = lines::layer()
            .event_format(Format { json: Arc::new(AtomicBool::new(json)) })
            .with_ansi(false)
            .with_writer(move || for_layer.clone());
        let subscriber = tracing_subscriber::registry().with(filter("info")).with(lines);
        tracing::subscriber::with_default(subscriber, what);
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn hostile() {
        let name = "evil\n\u{1b}[31mERROR\u{202e}\u{9b}";
        tracing::warn!(thread.name = name, lock = %name, n = 7, "held by {name}");
        tracing::debug!("not shown");
        tracing::warn!(target: "h2", "authorization: secret");
    }

    #[test]
    fn one_event_is_one_line_whatever_names_are() {
        let text = written(false, hostile);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.trim_end().chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text:?}");
        assert!(text.contains(" WARN  held by evil\\n\\u{1b}[31mERROR"), "{text}");
        assert!(text.contains(" n=7"), "{text}");
        let text = written(true, hostile);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["n"]), (&"WARN".into(), &7.into()));
        assert!(line["thread.name"].as_str().unwrap().starts_with("evil\n"));
    }
}
