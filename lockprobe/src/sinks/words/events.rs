//! Waits and orders of locks in sentences, for log records.

use crate::model::{AcquireSpan, Inversion, LockOrder, Outcome};
use crate::sinks::{duration, holder_label, thread_label};

/// A wait: who waited for what, how long, because of whom, and what came of it.
pub fn tell_wait(span: &AcquireSpan, process: &dyn Fn(u32) -> String) -> String {
    let about = if span.start_estimated { "about " } else { "" };
    let held = span.holder.as_ref().map(|holder| {
        let guess = if holder.source.is_certain() { "" } else { ", as it seems" };
        let thread = holder_label(holder, process);
        let of = match holder.id {
            id if id.tid == 0 || id.pid == 0 => String::new(),
            id => format!(" of {}", process(id.pid)),
        };
        format!(", which {thread}{of} had{guess}")
    });
    let end = match span.outcome {
        Outcome::Acquired => "and got it".to_owned(),
        Outcome::Refused => "and was refused it".to_owned(),
        Outcome::Waiting => "and still waits".to_owned(),
        Outcome::Abandoned => match span.error {
            Some(error) => format!("and did not get it ({error})"),
            None => "and did not get it".to_owned(),
        },
    };
    format!(
        "{} of {} waited {about}{} for {}{}, {end}.",
        thread_label(&span.thread.name(), span.thread.id),
        process(span.thread.id.pid),
        duration(span.end.saturating_sub(span.start)),
        span.lock.name,
        held.unwrap_or_default(),
    )
}

/// Locks that are taken in a circle.
pub fn tell_inversion(found: &Inversion, process: &dyn Fn(u32) -> String) -> String {
    let order = |order: &std::sync::Arc<LockOrder>| {
        format!(
            "\n{} of {} held {} and asked for {}, {} times",
            thread_label("", order.thread),
            process(order.pid),
            order.from.name,
            order.to.name,
            order.count
        )
    };
    let orders: String = found.orders.iter().map(order).collect();
    format!(
        "POSSIBLE DEADLOCK: {} locks are taken in a circle, though nobody was caught in it:{orders}",
        found.orders.len()
    )
}
