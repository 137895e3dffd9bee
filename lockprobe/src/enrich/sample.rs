//! A stack copied from a thread that stands still.

use super::python::Python;
use super::unwind::Registers;
use super::{memory, thread};
use crate::model::{Look, Missing, Standing, ThreadId};

/// Bytes of stack copied at most: sixteen pages, what one read brings.
const MOST: usize = 16 * 4096;
/// The same for a thread of which it is not known yet whether its stack will be wanted.
const MOST_OF_MANY: usize = 4 * 4096;

/// The copy, and the registers it begins with.
pub struct Sample {
    /// Whose.
    pub id: ThreadId,
    /// Where the thread stood.
    pub at: Registers,
    /// Address of the first byte.
    pub start: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What the thread did in Python meanwhile.
    pub python: Option<Python>,
}

/// Where a thread stands, as told by the kernel half.
pub type Standings = Box<dyn Fn(ThreadId) -> Option<Standing> + Send>;

/// Takes copies.
pub struct Sampler {
    standings: Option<Standings>,
}

/// Which copy is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Of a thread asleep in the call that a record has shown.
    Sleeping {
        /// On this address, where the call is a futex call.
        address: u64,
        /// With this stack pointer.
        sp: u64,
        /// With this instruction pointer.
        ip: u64,
    },
    /// Of any thread.
    Any,
    /// Of one thread of many, most of which will not be needed.
    OneOfMany,
}

impl Sampler {
    /// Asks `/proc`, and for frame pointers the kernel half, if it can be asked.
    pub fn new(standings: Option<Standings>) -> Self {
        Self { standings }
    }

    fn standing(&self, id: ThreadId) -> Option<Standing> {
        let told = self.standings.as_ref().and_then(|ask| ask(id));
        told.or_else(|| thread::standing(id))
    }

    /// Copies the stack of a thread. It is one stack only if the thread did not run meanwhile,
    /// which its processor time tells; `meanwhile` tells what else
    /// there is of it, and whether it is wanted still.
    pub fn take(
        &self,
        id: ThreadId,
        wanted: Wanted,
        meanwhile: impl FnOnce() -> (bool, Option<Python>),
    ) -> Result<Sample, Look> {
        let missing = |why| Err(Look::Missing(why));
        let Some(before) = self.standing(id) else { return missing(Missing::MovedOn) };
        if let Wanted::Sleeping { address, sp, ip } = wanted {
            let same = before.sp == sp && before.ip == ip;
            let same = same && (before.first == address || !thread::is_futex(before.call));
            if !before.blocked || !same {
                return missing(Missing::MovedOn);
            }
        } else if !before.blocked {
            return Err(Look::Running);
        }
        let most = if wanted == Wanted::OneOfMany { MOST_OF_MANY } else { MOST };
        let bytes = memory::read(id.pid, before.sp, most);
        if bytes.is_empty() {
            return missing(Missing::Unreadable);
        }
        let (same, python) = meanwhile();
        if !same || self.standing(id) != Some(before) {
            return missing(Missing::MovedOn);
        }
        let at = Registers { pc: before.ip, sp: before.sp, fp: before.fp };
        Ok(Sample { id, at, start: before.sp, bytes, python })
    }
}
