//! The snapshot for people: deadlocks, then a tree for each root holder.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::process;
use super::tree::{Line, Trees};
use crate::model::{Agent, LockDescription, Session, Snapshot};
use crate::sinks::{Told, does, duration, tell, thread_label};

/// What the lines are written with.
struct Page<'a> {
    out: &'a mut dyn Write,
    snapshot: &'a Snapshot,
    colour: bool,
}

/// Writes it.
pub fn write(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    session: &Session,
    colour: bool,
) -> io::Result<()> {
    let mut page = Page { out, snapshot, colour };
    let trees = Trees::of(snapshot);
    page.title(session)?;
    for finding in &snapshot.findings {
        let Told { title, lines } =
            tell(finding, &|pid| process(snapshot, pid), &|_| String::new());
        let title = page.paint(AnsiColor::Red.on_default().bold(), &title);
        writeln!(page.out, "\n{title}")?;
        lines.iter().try_for_each(|line| writeln!(page.out, "  {line}"))?;
    }
    for agent in trees.circular() {
        let who = page.agent(agent);
        writeln!(page.out, "\n{who}, deadlocked")?;
        page.lines(&trees.below(agent.id))?;
    }
    for root in trees.roots() {
        let who = page.agent(root);
        let does = match &root.activity {
            Some(activity) => does(activity),
            None if root.is_process => "has it; which one is not known".to_owned(),
            None if root.id.tid == 0 => "is not there any more".to_owned(),
            None => "does something that could not be read".to_owned(),
        };
        writeln!(page.out, "\n{who} {does}")?;
        page.lines(&trees.below(root.id))?;
    }
    let nobodys = trees.of_nobody();
    if !nobodys.is_empty() {
        writeln!(page.out, "\nholder unknown")?;
        page.lines(&nobodys)?;
    }
    Ok(())
}

impl Page<'_> {
    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn title(&mut self, session: &Session) -> io::Result<()> {
        let waits = || self.snapshot.agents.iter().filter_map(|agent| agent.waits.as_ref());
        let waiting = waits().count();
        if waiting == 0 {
            return writeln!(self.out, "No thread on {} waits for a lock.", session.host);
        }
        let locks = waits().map(|wait| wait.lock.id).collect::<BTreeSet<_>>().len();
        let longest = waits().map(|w| self.snapshot.time.saturating_sub(w.since)).max();
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let title = format!(
            "{} on {} {} for {}, the longest for about {}.",
            count(waiting, "thread"),
            session.host,
            if waiting == 1 { "waits" } else { "wait" },
            count(locks, "lock"),
            duration(longest.unwrap_or(0)),
        );
        let title = self.paint(Style::new().bold(), &title);
        writeln!(self.out, "{title}")
    }

    fn agent(&self, agent: &Agent) -> String {
        let label = match agent.is_process {
            true => "a thread".to_owned(),
            false => thread_label(&agent.name, agent.id),
        };
        let label = self.paint(Style::new().bold(), &label);
        let process = process(self.snapshot, agent.id.pid);
        format!("{label} of {process}")
    }

    fn lines(&mut self, lines: &[(usize, Line<'_>)]) -> io::Result<()> {
        for (depth, line) in lines {
            let indent = "  ".repeat(*depth);
            match line {
                Line::Lock(lock, waiters) => {
                    let name = self.paint(AnsiColor::Cyan.on_default(), &lock.name);
                    let s = if *waiters == 1 { "" } else { "s" };
                    let kind = kind(lock);
                    writeln!(self.out, "{indent}{name} ({kind}, {waiters} waiter{s})")?;
                }
                Line::Waiter(agent) => self.waiter(&indent, agent)?,
                Line::More(more) => writeln!(self.out, "{indent}and {more} more")?,
            }
        }
        Ok(())
    }

    fn waiter(&mut self, indent: &str, agent: &Agent) -> io::Result<()> {
        let Some(wait) = &agent.waits else { return Ok(()) };
        let about = if wait.estimated { "~" } else { "" };
        let waited = duration(self.snapshot.time.saturating_sub(wait.since));
        let waited = self.paint(AnsiColor::Yellow.on_default(), &format!("{about}{waited:<9}"));
        let pad = if wait.estimated { "" } else { " " };
        let label = thread_label(&agent.name, agent.id);
        let process = process(self.snapshot, agent.id.pid);
        writeln!(self.out, "{indent}{waited}{pad} {label} of {process}")
    }
}

/// The kind of a lock in two words; a question mark where it is guessed.
fn kind(lock: &LockDescription) -> String {
    let guess = if lock.confirmed { "" } else { "?" };
    format!("{} {}{guess}", lock.kind.system(), lock.kind.name())
}
