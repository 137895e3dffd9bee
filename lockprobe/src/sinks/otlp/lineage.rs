//! Which trace a span is part of: another program's where that is known for certain, else its own.

use super::process::{Process, Table};
use crate::model::{AcquireSpan, HoldSpan, Remote, SpanId, TraceContext};
use std::collections::{HashMap, VecDeque};

/// Spans in traces that calls told themselves, of which links must find the trace.
const MOVED_AT_MOST: usize = 16_384;

/// The span that another program made, and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// It.
    pub context: TraceContext,
    /// Value of `lock.trace_context.source`.
    pub source: &'static str,
}

/// Where a span belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// What it is a child of, in that one's trace.
    pub parent: Option<Parent>,
    /// The trace that the hold is in which it waited for, where that is not the hold's own.
    pub blocker: Option<u128>,
}

impl Lineage {
    /// Its trace.
    pub fn trace(&self, id: SpanId) -> u128 {
        self.parent.map_or(id.trace, |parent| parent.context.trace)
    }
}

/// Traces of spans that are not in their own. Those that the environment of a process tells need
/// not be remembered: the process tells them again.
#[derive(Debug, Default)]
pub struct Moved {
    traces: HashMap<u128, u128>,
    order: VecDeque<u128>,
}

impl Moved {
    /// Of a wait.
    pub fn acquire(&mut self, span: &AcquireSpan, process: &Process, table: &Table) -> Lineage {
        let parent = self.parent(span.id, span.remote.as_deref(), process);
        let holder = span.handed_over_by.as_ref().or(span.holder.as_ref());
        let blocker = span.blocked_by.and_then(|hold| {
            let of_holder = || table.latest(holder?.id.pid)?.parent.map(|context| context.trace);
            self.traces.get(&hold.trace).copied().or_else(of_holder)
        });
        Lineage { parent, blocker }
    }

    /// Of a hold.
    pub fn hold(&mut self, span: &HoldSpan, process: &Process) -> Lineage {
        let parent = self.parent(span.id, span.remote.as_deref(), process);
        Lineage { parent, blocker: None }
    }

    /// The trace of a span, where it is known to be another than the span's own.
    pub fn of(&self, id: SpanId) -> Option<u128> {
        self.traces.get(&id.trace).copied()
    }

    fn parent(&mut self, id: SpanId, remote: Option<&Remote>, process: &Process) -> Option<Parent> {
        let told = remote.and_then(|remote| remote.context).filter(|context| context.sampled);
        if let Some(context) = told {
            self.remember(id.trace, context.trace);
            return Some(Parent { context, source: "sql_comment" });
        }
        process.parent.map(|context| Parent { context, source: "environment" })
    }

    fn remember(&mut self, own: u128, told: u128) {
        if self.traces.insert(own, told).is_none() {
            self.order.push_back(own);
        }
        if self.order.len() > MOVED_AT_MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.traces.remove(&oldest);
        }
    }
}
