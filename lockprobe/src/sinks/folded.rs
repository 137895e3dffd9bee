//! Folded stacks for flame graph tools: a line a stack, `outermost;...;innermost microseconds`.
//!
//! A wait is drawn on top of what it waited for: the holder's stack is the root, then the lock,
//! then the waiter's stack. The weight is the time waited, so that the widest tower is the code
//! that made others wait the longest.

use std::collections::BTreeMap;
use std::io::Write;

use super::{Sink, thread_label};
use crate::model::{AcquireSpan, Look, Record, Stack, StackFrame, WaitStacks};

/// Most different lines; what comes later is summed up in one.
const LINES_AT_MOST: usize = 65_536;
const REST: &str = "[more stacks than are kept apart]";

/// Sums up waits by stack, and writes the sums when observation ends.
pub struct Folded {
    out: Box<dyn Write + Send>,
    /// Nanoseconds by line.
    lines: BTreeMap<String, u64>,
}

impl Folded {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, lines: BTreeMap::new() }
    }

    fn add(&mut self, line: String, nanos: u64) {
        let full = self.lines.len() >= LINES_AT_MOST && !self.lines.contains_key(&line);
        let line = if full { REST.to_owned() } else { line };
        let sum = self.lines.entry(line).or_default();
        *sum = sum.saturating_add(nanos);
    }
}

/// The frames of one wait, the outermost first.
fn fold(span: &AcquireSpan) -> String {
    let none = WaitStacks::default();
    let stacks = span.stacks.as_deref().unwrap_or(&none);
    let mut frames = Vec::new();
    match &span.holder {
        Some(holder) => frames.push(format!("holder: {}", name(&holder.name, holder.id))),
        None => frames.push("holder: unknown".to_owned()),
    }
    match &stacks.holder {
        Some((_, Look::Asleep(stack))) => push(&mut frames, stack),
        Some((_, Look::Running)) => frames.push("[running]".to_owned()),
        Some((_, Look::Missing(_))) | None => {}
    }
    frames.push(format!("[waits on {}]", span.lock.name));
    frames.push(format!("waiter: {}", name(&span.thread.name(), span.thread.id)));
    match &stacks.waiter {
        Some(Look::Asleep(stack)) => push(&mut frames, stack),
        Some(Look::Running | Look::Missing(_)) | None => frames.push("[no stack]".to_owned()),
    }
    // A semicolon parts frames, and what is behind the last space is the weight.
    let clean = |frame: String| frame.replace(';', ",").replace(['\n', '\r'], " ");
    frames.into_iter().map(clean).collect::<Vec<_>>().join(";")
}

/// Threads of one name are one: their ids would keep apart what belongs together.
fn name(name: &str, id: crate::model::ThreadId) -> String {
    if name.is_empty() { thread_label(name, id) } else { name.to_owned() }
}

fn push(frames: &mut Vec<String>, stack: &Stack) {
    if !stack.complete {
        frames.push("[...]".to_owned());
    }
    frames.extend(stack.frames.iter().rev().map(frame));
}

/// Function and line, or the binary where there is no name: offsets would part what is one.
fn frame(frame: &StackFrame) -> String {
    match &frame.source {
        Some((file, line)) => {
            let file = file.rsplit('/').next().unwrap_or(file);
            format!("{} ({file}:{line})", frame.function)
        }
        None if frame.function.is_empty() => format!("[{}]", frame.module),
        None => frame.function.to_string(),
    }
}

impl Sink for Folded {
    fn name(&self) -> &'static str {
        "folded"
    }

    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        if let Record::Acquire(span) = record {
            self.add(fold(span), span.end - span.start);
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        for (line, nanos) in &self.lines {
            writeln!(self.out, "{line} {}", (nanos + 500) / 1000)?;
        }
        Ok(self.out.flush()?)
    }
}
