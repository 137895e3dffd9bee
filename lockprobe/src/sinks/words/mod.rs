//! Findings in words.

mod events;
mod remote;

pub use events::{tell_inversion, tell_wait};

use crate::model::{Activity, Doing, Edge, Finding, FindingKind, LockKind};
use crate::sinks::{duration, thread_label};

/// A finding as people read it: a title, and a line for each piece of evidence.
pub struct Told {
    /// In capitals what it is, then the rest of the sentence.
    pub title: String,
    /// The evidence.
    pub lines: Vec<String>,
}

impl Told {
    /// All of it as one text, a line for each piece.
    pub fn sentences(mut self) -> String {
        for line in self.lines {
            self.title.push('\n');
            self.title.push_str(&line);
        }
        self.title
    }
}

/// Tells a finding; `process` names processes, `at` says when something was seen (" at 0.3 s"),
/// or nothing.
pub fn tell(
    finding: &Finding,
    process: &dyn Fn(u32) -> String,
    at: &dyn Fn(u64) -> String,
) -> Told {
    if let Some(ended) = finding.ended {
        let lasted = duration(ended.saturating_sub(finding.formed));
        let title = format!("{} is over after {lasted}{}.", what(finding), at(ended));
        return Told { title, lines: Vec::new() };
    }
    if let Some(notice) = &finding.remote {
        let title = format!("{}{}:", what(finding), at(finding.formed));
        return Told { title, lines: remote::lines(notice, finding, process) };
    }
    let age = duration(finding.found.saturating_sub(finding.formed));
    let title = match at(finding.found) {
        at if at.is_empty() => format!("{}, {age} old:", what(finding)),
        at => format!("{}, {age} old when found{at}:", what(finding)),
    };
    let lines = match finding.kind {
        FindingKind::Deadlock => deadlock(finding, process),
        FindingKind::SelfDeadlock => self_deadlock(finding, process),
        FindingKind::OwnerDied => handed_on(finding, process),
        FindingKind::Orphan if is_file(finding) => left_behind(finding, process),
        _ => stall(finding, process),
    };
    Told { title, lines }
}

fn what(finding: &Finding) -> String {
    let holder = || finding.holder.as_ref().map(label).unwrap_or_default();
    let lock = || finding.waits.first().map(|e| e.lock.name.to_string()).unwrap_or_default();
    let first = || finding.waits.first().map(waiter).unwrap_or_default();
    if finding.remote.is_some() {
        return remote::what(finding);
    }
    match finding.kind {
        FindingKind::Deadlock => format!("DEADLOCK of {} threads", finding.waits.len()),
        FindingKind::SelfDeadlock => format!("SELF-DEADLOCK of {}", first()),
        FindingKind::Orphan => format!("ORPHANED LOCK {}", lock()),
        FindingKind::OwnerDied => format!("OWNER DIED of {}", lock()),
        FindingKind::HolderStopped => format!("STOPPED HOLDER {} of {}", holder(), lock()),
        FindingKind::HolderFrozen => format!("FROZEN HOLDER {} of {}", holder(), lock()),
        FindingKind::HolderInIo => format!("HOLDER IN I/O {} of {}", holder(), lock()),
        // The rest is about servers' locks, and has been told.
        other => format!("{} {}", other.name(), lock()),
    }
}

fn waiter(edge: &Edge) -> String {
    thread_label(&edge.waiter.name(), edge.waiter.id)
}

fn label(activity: &Activity) -> String {
    thread_label(&activity.name, activity.id)
}

/// Where a waiter stands, where that is known.
fn stack(edge: &Edge) -> Vec<String> {
    let stack = edge.stacks.as_ref().and_then(|stacks| stacks.of_waiter());
    let text = stack.map(ToString::to_string).unwrap_or_default();
    text.lines().map(|line| format!("    {line}")).collect()
}

/// How long a wait had lasted when it was found.
fn waited(edge: &Edge, finding: &Finding) -> String {
    let about = if edge.estimated { "~" } else { "" };
    format!("{about}{}", duration(finding.found.saturating_sub(edge.since)))
}

fn deadlock(finding: &Finding, process: &dyn Fn(u32) -> String) -> Vec<String> {
    if finding.waits.iter().any(|edge| edge.holder.tid == 0) {
        return deadlock_of_processes(finding, process);
    }
    // What a thread of a circle holds is what the one before it waits for. It held it when it
    // began to wait, and has done nothing since.
    let before = finding.waits.iter().cycle().skip(finding.waits.len().saturating_sub(1));
    let line = |(edge, before): (&Edge, &Edge)| {
        let waited = waited(edge, finding);
        format!(
            "{} of {} has held {} for at least {waited} and waited {waited} for {}, which {} holds",
            waiter(edge),
            process(edge.waiter.id.pid),
            before.lock.name,
            edge.lock.name,
            thread_label(&edge.holder_name, edge.holder),
        )
    };
    let edges = finding.waits.iter().zip(before);
    let mut lines: Vec<String> =
        edges.flat_map(|both| std::iter::once(line(both)).chain(stack(both.0))).collect();
    lines.push("None of them can go on. End one of them to free the others.".to_owned());
    lines
}

/// Of a lock that a process has it is not known which thread took it.
fn deadlock_of_processes(finding: &Finding, process: &dyn Fn(u32) -> String) -> Vec<String> {
    let line = |edge: &Edge| {
        let (who, of, waited) = (waiter(edge), process(edge.waiter.id.pid), waited(edge, finding));
        let holder = match edge.holder.tid {
            0 => format!("a thread of {}", process(edge.holder.pid)),
            _ => thread_label(&edge.holder_name, edge.holder),
        };
        format!("{who} of {of} has waited {waited} for {}, which {holder} holds", edge.lock.name)
    };
    let edges = finding.waits.iter();
    let mut lines: Vec<String> =
        edges.flat_map(|edge| std::iter::once(line(edge)).chain(stack(edge))).collect();
    lines.push(
        "Of a process that holds something all threads are here: whichever took it, none can go on. \
         End one of them to free the others."
            .to_owned(),
    );
    lines
}

fn self_deadlock(finding: &Finding, process: &dyn Fn(u32) -> String) -> Vec<String> {
    let line = |edge: &Edge| {
        format!(
            "{} of {} holds {} and has waited {} for it itself",
            waiter(edge),
            process(edge.waiter.id.pid),
            edge.lock.name,
            waited(edge, finding),
        )
    };
    let edges = finding.waits.iter();
    let mut lines: Vec<String> =
        edges.flat_map(|edge| std::iter::once(line(edge)).chain(stack(edge))).collect();
    lines.push("It cannot go on: only the thread that holds the lock could let it go.".to_owned());
    lines
}

/// The lock is a file that is one by being there.
fn is_file(finding: &Finding) -> bool {
    let kind = finding.waits.first().map(|edge| edge.lock.kind);
    matches!(kind, Some(LockKind::LockFile | LockKind::LockDirectory))
}

fn left_behind(finding: &Finding, process: &dyn Fn(u32) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(Activity { id, .. }) = &finding.holder {
        // What a file says is no more than a process.
        lines.push(match id.tid {
            0 => format!("it names process {}, which is not there any more", id.pid),
            _ => format!("it was made by {}, which has ended and left it", process(id.pid)),
        });
    }
    for edge in &finding.waits {
        let (who, of) = (waiter(edge), process(edge.waiter.id.pid));
        lines.push(format!("{who} of {of} was refused it first {} before", waited(edge, finding)));
    }
    let more = (finding.waiters as usize).saturating_sub(finding.waits.len());
    if more > 0 {
        lines.push(format!("and {more} more were"));
    }
    lines.push("Nobody is left to let it go: take it away by hand, or end the wait.".to_owned());
    lines
}

fn handed_on(finding: &Finding, process: &dyn Fn(u32) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(holder) = &finding.holder {
        let (who, of) = (label(holder), process(holder.id.pid));
        lines.push(format!("it was held by {who} of {of}, which {}", does(holder)));
    }
    for edge in &finding.waits {
        let waited = duration(finding.formed.saturating_sub(edge.since));
        let (who, of) = (waiter(edge), process(edge.waiter.id.pid));
        lines.push(format!("{who} of {of}, which had waited {waited}, has it now (EOWNERDEAD)"));
    }
    lines.push("What the lock guards may be half done.".to_owned());
    lines
}

fn stall(finding: &Finding, process: &dyn Fn(u32) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(holder) = &finding.holder {
        let who = if holder.id.tid == 0 {
            "a thread that is not there any more".to_owned()
        } else {
            format!("{} of {}", label(holder), process(holder.id.pid))
        };
        lines.push(format!("it is held by {who}, which {}", does(holder)));
    }
    for edge in &finding.waits {
        lines.push(format!(
            "{} of {} has waited {} for {}",
            waiter(edge),
            process(edge.waiter.id.pid),
            waited(edge, finding),
            edge.lock.name,
        ));
        lines.extend(stack(edge));
    }
    let more = (finding.waiters as usize).saturating_sub(finding.waits.len());
    if more > 0 {
        lines.push(format!("and {more} more wait for it"));
    }
    if finding.kind == FindingKind::Orphan {
        lines.push("Nobody is left to let it go: those who wait cannot go on.".to_owned());
    }
    lines
}

/// What a thread does, as the rest of a sentence.
pub fn does(activity: &Activity) -> String {
    let what = match activity.doing {
        Doing::Gone => "has ended without letting go",
        Doing::Running => "is running",
        Doing::Sleeping => "sleeps",
        Doing::DiskSleep => "sleeps where no signal reaches it (state D)",
        Doing::Stopped => "is stopped by a signal (SIGCONT lets it go on)",
        Doing::Traced => "is stopped by a debugger",
        Doing::Frozen => "is frozen with its cgroup",
        Doing::Unknown => "is in a state that could not be read",
    };
    let asleep = matches!(activity.doing, Doing::Sleeping | Doing::DiskSleep);
    if asleep && !activity.call.is_empty() {
        return format!("{what} in {}", activity.call);
    }
    what.to_owned()
}
