//! The snapshot as a graph for graphviz: threads, and an edge from each waiter to its holder.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::process;
use crate::model::{Agent, Snapshot, ThreadId};
use crate::sinks::{does, duration, thread_label};

/// Writes it.
pub fn write(out: &mut dyn Write, snapshot: &Snapshot) -> io::Result<()> {
    let circles = snapshot.findings.iter().filter(|finding| finding.kind.is_circle());
    let stuck: BTreeSet<ThreadId> =
        circles.flat_map(|finding| finding.waits.iter().map(|edge| edge.waiter.id)).collect();
    writeln!(out, "digraph locks {{")?;
    writeln!(out, "  rankdir=LR;")?;
    writeln!(out, "  node [shape=box, fontname=\"sans-serif\"];")?;
    writeln!(out, "  edge [fontname=\"sans-serif\"];")?;
    for agent in &snapshot.agents {
        node(out, snapshot, agent, stuck.contains(&agent.id))?;
    }
    for agent in &snapshot.agents {
        edge(out, snapshot, agent, &stuck)?;
    }
    writeln!(out, "}}")
}

fn node(out: &mut dyn Write, snapshot: &Snapshot, agent: &Agent, stuck: bool) -> io::Result<()> {
    let label = match agent.is_process {
        true => "a thread".to_owned(),
        false => thread_label(&agent.name, agent.id),
    };
    let process = process(snapshot, agent.id.pid);
    let does = agent.activity.as_ref().map(does);
    let lines: Vec<&str> = [&label, &process].map(String::as_str).into_iter().collect();
    let lines: Vec<String> = lines.into_iter().chain(does.as_deref()).map(escaped).collect();
    let look = if stuck {
        ", color=red"
    } else if agent.is_root() {
        ", peripheries=2"
    } else {
        ""
    };
    writeln!(out, "  \"{}\" [label=\"{}\"{look}];", name(agent.id), lines.join("\\n"))
}

fn edge(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    agent: &Agent,
    stuck: &BTreeSet<ThreadId>,
) -> io::Result<()> {
    let Some(wait) = &agent.waits else { return Ok(()) };
    let waited = duration(snapshot.time.saturating_sub(wait.since));
    let label = format!("{}\\n{waited}", escaped(&wait.lock.name));
    let from = name(agent.id);
    match &wait.holder {
        Some(holder) => {
            let both = stuck.contains(&agent.id) && stuck.contains(&holder.id);
            let colour = if both { ", color=red" } else { "" };
            writeln!(out, "  \"{from}\" -> \"{}\" [label=\"{label}\"{colour}];", name(holder.id))
        }
        // A lock whose holder is not known stands for it.
        None => {
            let lock = escaped(&wait.lock.identity());
            writeln!(out, "  \"{lock}\" [label=\"holder unknown\", style=dashed];")?;
            writeln!(out, "  \"{from}\" -> \"{lock}\" [label=\"{label}\"];")
        }
    }
}

fn name(id: ThreadId) -> String {
    format!("{}/{}", id.pid, id.tid)
}

/// Text between quotes: names of threads and symbols may have any characters.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
