//! Stacks below the wait they belong to.

use super::{Console, thread_label};
use crate::model::{AcquireSpan, Look, Missing, Stack, WaitStacks};

impl Console {
    pub(super) fn stacks(
        &mut self,
        span: &AcquireSpan,
        stacks: &WaitStacks,
    ) -> std::io::Result<()> {
        match &stacks.waiter {
            Some(Look::Asleep(stack)) => self.stack(stack)?,
            Some(Look::Missing(why)) => {
                writeln!(self.out, "            (no stack: {})", because(*why))?;
            }
            Some(Look::Running) | None => {}
        }
        let Some((id, look)) = &stacks.holder else { return Ok(()) };
        let name = span.holder.as_ref().map_or("", |holder| holder.name.as_str());
        let label = thread_label(name, *id);
        match look {
            Look::Asleep(stack) => {
                writeln!(self.out, "          {label} held it here:")?;
                self.stack(stack)
            }
            Look::Running => writeln!(self.out, "          {label} held it and was running"),
            Look::Missing(_) => Ok(()),
        }
    }

    pub(super) fn stack(&mut self, stack: &Stack) -> std::io::Result<()> {
        for line in stack.to_string().lines() {
            writeln!(self.out, "            {line}")?;
        }
        Ok(())
    }
}

fn because(why: Missing) -> &'static str {
    match why {
        Missing::TooLate => "the wait was over before it was looked at",
        Missing::MovedOn => "the thread moved while it was looked at",
        Missing::RateLimited => "enough were taken in that second",
        Missing::Unreadable => "its memory could not be read or made no sense",
    }
}
