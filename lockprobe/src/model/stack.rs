//! Stacks: the functions a thread came through, and why there may be none.

use super::{ThreadId, names};
use std::fmt;
use std::sync::Arc;

/// A function of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackFrame {
    /// Name, demangled; empty when unknown.
    pub function: Arc<str>,
    /// Source file and line, where known.
    pub source: Option<(Arc<str>, u32)>,
    /// Binary the code lies in; empty for interpreted and generated code.
    pub module: Arc<str>,
    /// Offset in that binary of the instruction to be run next.
    pub offset: u64,
}

impl fmt::Display for StackFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, source, module, offset } = self;
        let name = if function.is_empty() { "??" } else { function };
        match source {
            Some((file, line)) => write!(f, "{name} ({file}:{line})"),
            None if module.is_empty() => f.write_str(name),
            None => write!(f, "{name} ({module}+{offset:#x})"),
        }
    }
}

/// The functions a thread came through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The innermost first.
    pub frames: Vec<StackFrame>,
    /// It ends where the thread began; otherwise where nothing told how to go on.
    pub complete: bool,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, frame) in self.frames.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{frame}")?;
        }
        if self.complete { Ok(()) } else { f.write_str("\n...") }
    }
}

/// What a look at a thread's stack came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It stood still; this is its stack.
    Asleep(Arc<Stack>),
    /// It ran, or was about to.
    Running,
    /// None could be had.
    Missing(Missing),
}

/// Why there is no stack of a thread that waited long enough to have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Missing {
    /// The wait ended before anyone looked.
    TooLate,
    /// The thread moved while it was looked at.
    MovedOn,
    /// As many as wanted had been taken already.
    RateLimited,
    /// Its memory could not be read, or made no sense.
    Unreadable,
}

impl Missing {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TooLate, Self::MovedOn, Self::RateLimited, Self::Unreadable];

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLate => "too_late",
            Self::MovedOn => "moved_on",
            Self::RateLimited => "rate_limited",
            Self::Unreadable => "unreadable",
        }
    }

    /// As a cause among those for what was left out.
    pub fn cause(self) -> &'static str {
        match self {
            Self::TooLate => "stack_too_late",
            Self::MovedOn => "stack_moved_on",
            Self::RateLimited => "stack_rate_limited",
            Self::Unreadable => "stack_unreadable",
        }
    }
}

/// What one wait showed of a thread, as a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackFact {
    /// Who waited.
    pub waiter: ThreadId,
    /// Since when: with the thread, the identity of the wait.
    pub start: u64,
    /// Whose stack: the waiter's, or that of the thread it waited for.
    pub thread: ThreadId,
    /// What was seen.
    pub look: Look,
}

/// The stacks of one wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitStacks {
    /// The waiter's, once it had waited long enough.
    pub waiter: Option<Look>,
    /// That of a thread that had the lock at the same time.
    pub holder: Option<(ThreadId, Look)>,
}

impl WaitStacks {
    /// The waiter's stack, if there is one.
    pub fn of_waiter(&self) -> Option<&Arc<Stack>> {
        stack(self.waiter.as_ref()?)
    }

    /// Everything as attributes: name and text.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut list = Vec::new();
        match &self.waiter {
            Some(Look::Asleep(stack)) => list.push((names::CODE_STACKTRACE, stack.to_string())),
            Some(Look::Missing(why)) => {
                list.push((names::LOCK_STACK_MISSING, why.name().to_owned()));
            }
            Some(Look::Running) | None => {}
        }
        match &self.holder {
            Some((_, Look::Asleep(stack))) => {
                list.push((names::LOCK_HOLDER_STATE, "blocked".to_owned()));
                list.push((names::LOCK_HOLDER_STACKTRACE, stack.to_string()));
            }
            Some((_, Look::Running)) => {
                list.push((names::LOCK_HOLDER_STATE, "running".to_owned()));
            }
            Some((_, Look::Missing(_))) | None => {}
        }
        list
    }
}

fn stack(look: &Look) -> Option<&Arc<Stack>> {
    if let Look::Asleep(stack) = look { Some(stack) } else { None }
}
