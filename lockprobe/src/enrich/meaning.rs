//! The rules: from the functions a thread came through to what it waits for.
//!
//! Only functions that say what they are decide. Functions without a name are passed over only
//! inside the binary the thread sleeps in (a C library calls its own local functions); anything
//! else in between ends the search: better unknown than wrong.

use crate::model::{SiteClass, lock::LockKind};

/// What a function is to a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sleeps for many: `syscall`, `__futex_abstimed_wait_common`.
    Shared,
    /// glibc's `__lll_lock_wait`: sleeps for mutexes and for glibc's own locks.
    LowLevelWait,
    /// Takes a lock of this kind.
    Lock(LockKind),
    /// Takes a lock of this kind together with others.
    Read(LockKind),
    /// A run time's own way to sleep, for many purposes: only its caller tells.
    Through,
    /// Waits for a condition, then takes the mutex again.
    CondWait,
    /// Waits for something that is no lock.
    Idle,
    /// Has a name that says nothing about waiting.
    Plain,
    /// Has no name.
    Nameless,
}

/// A function of a stack, the one that sleeps first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub role: Role,
    /// It lies in the binary the thread sleeps in.
    pub home: bool,
    /// It lies in a C library, or in a binary with one in it.
    pub libc: bool,
}

impl Role {
    /// What a wait in such a function is.
    fn class(self) -> SiteClass {
        match self {
            Self::Lock(kind) => SiteClass::Lock(kind),
            Self::Read(kind) => SiteClass::Shared(kind),
            Self::CondWait | Self::Idle => SiteClass::Idle,
            _ => SiteClass::Unknown,
        }
    }
}

/// What a stack says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The frame whose return address decides; `None` when the sleeping instruction itself does.
    pub anchor: Option<usize>,
    /// Lock, idle or unknown.
    pub class: SiteClass,
}

/// Frames looked at for a verdict.
pub const DEPTH: usize = 9;

/// What these frames say.
///
/// The place of the deciding return address must be the same for every stack with the same
/// sleeping instruction, since the kernel half knows only one: `fixed` is the frame at the place
/// chosen before, if a choice was made.
pub fn verdict(frames: &[Frame], priority_inheritance: bool, fixed: Option<usize>) -> Verdict {
    let Some(first) = frames.first() else {
        return Verdict { anchor: None, class: SiteClass::Unknown };
    };
    let frames = &frames[..frames.len().min(DEPTH)];
    let direct = |class| Verdict { anchor: None, class };
    // musl's keeps its word behind its type, whoever hands it over.
    let own = first.role == Role::Lock(LockKind::MuslMutex);
    if priority_inheritance && !own {
        let class = SiteClass::Lock(LockKind::PriorityInheritance);
        let anchor =
            (first.role == Role::Shared).then(|| fixed.or_else(|| caller(frames))).flatten();
        // A function that sleeps for many, and no caller: say nothing about the many.
        return match (first.role, anchor) {
            (Role::Shared, None) => direct(SiteClass::Unknown),
            _ => Verdict { anchor, class },
        };
    }
    match first.role {
        Role::Lock(_) | Role::Read(_) | Role::Idle | Role::CondWait | Role::Plain => {
            direct(first.role.class())
        }
        Role::Through if !first.libc => direct(SiteClass::Unknown),
        Role::Nameless if !first.libc => direct(SiteClass::Unknown),
        Role::LowLevelWait => {
            let anchor = fixed.or_else(|| caller(frames));
            Verdict {
                anchor,
                class: anchor.map_or(SiteClass::Unknown, |i| low_level(&frames[i..])),
            }
        }
        Role::Shared | Role::Nameless | Role::Through => {
            let anchor = fixed.or_else(|| behind_through(frames));
            let anchor = anchor.or_else(|| telling(frames)).or_else(|| caller(frames));
            Verdict { anchor, class: anchor.map_or(SiteClass::Unknown, |i| frames[i].role.class()) }
        }
    }
}

/// The first frame above the sleeping one that is not itself in the service of many.
fn caller(frames: &[Frame]) -> Option<usize> {
    (1..frames.len()).find(|&i| !in_service(&frames[i]))
}

/// The caller of the C library's function that sleeps for many purposes (musl's `__timedwait_cp`),
/// whichever way that goes to the kernel.
fn behind_through(frames: &[Frame]) -> Option<usize> {
    let i = frames.iter().position(|f| !passable(f))?;
    let through = frames[i].role == Role::Through && frames[i].libc && frames[i].home;
    (through && i + 1 < frames.len()).then_some(i + 1)
}

/// The first frame that says what it is.
fn telling(frames: &[Frame]) -> Option<usize> {
    let i = (1..frames.len()).find(|&i| !passable(&frames[i]))?;
    says(frames[i].role).then_some(i)
}

/// One of the C library's own functions that sleep for many. Others may be wrapped around by
/// different code in different places, so each of their callers has to be looked up.
fn in_service(frame: &Frame) -> bool {
    frame.role == Role::Shared && frame.home
}

fn passable(frame: &Frame) -> bool {
    match frame.role {
        Role::Shared => frame.home,
        Role::Nameless => frame.home && frame.libc,
        _ => false,
    }
}

fn says(role: Role) -> bool {
    matches!(role, Role::Lock(_) | Role::Read(_) | Role::CondWait | Role::Idle)
}

/// Frames above the one at `from`, each of which decides for the one before it, and what the last
/// of them says.
///
/// In general a condition variable of the C library is idle and a semaphore a semaphore, and who
/// calls them does not count: the verdict is for every wait through this return address. In a
/// process with a run time that builds locks of its own on them (`runtime`), who calls them does.
pub fn further(frames: &[Frame], from: usize, runtime: bool) -> (Vec<usize>, SiteClass) {
    let mut hops = Vec::new();
    let (mut at, mut fallback) = (from, SiteClass::Unknown);
    while let Some(frame) = frames.get(at) {
        let next = match frame.role {
            Role::CondWait | Role::Lock(LockKind::Semaphore | LockKind::MuslSemaphore)
                if runtime && frame.libc =>
            {
                fallback = frame.role.class();
                (at + 1..frames.len()).find(|&i| !frames[i].libc)
            }
            Role::Shared if !frame.home => Some(at + 1),
            Role::Through => Some(at + 1),
            Role::Plain | Role::Nameless => return (hops, fallback),
            // Whether a run time calls it can be told only where the caller is seen.
            Role::CondWait | Role::Lock(LockKind::Semaphore | LockKind::MuslSemaphore)
                if at + 1 == frames.len() =>
            {
                break;
            }
            role => return (hops, role.class()),
        };
        match next.filter(|&next| next < frames.len() && hops.len() < HOPS) {
            Some(next) => {
                hops.push(next);
                at = next;
            }
            None => break,
        }
    }
    // The stack ends before anything is said.
    (hops, SiteClass::Unknown)
}

/// Most frames in a row that decide for the one before: what the kernel half follows.
const HOPS: usize = 3;

/// Callers of `__lll_lock_wait`.
fn low_level(callers: &[Frame]) -> SiteClass {
    match callers.iter().find(|f| !passable(f)) {
        // Waking from a condition variable ends with the mutex: `__pthread_mutex_cond_lock`.
        Some(Frame { role: Role::CondWait | Role::Lock(LockKind::PthreadMutex), .. }) => {
            SiteClass::Lock(LockKind::PthreadMutex)
        }
        // Any other function of the C library: one of its own locks (allocator, streams, ...).
        Some(Frame {
            role: Role::Plain | Role::Lock(_) | Role::Read(_) | Role::Idle,
            home: true,
            libc: true,
        }) => SiteClass::Lock(LockKind::LowLevel),
        _ => SiteClass::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockKind::{LowLevel, PriorityInheritance, PthreadMutex, RustMutex, Semaphore};
    use Role::{CondWait, Idle, Lock, LowLevelWait, Nameless, Plain, Shared, Through};

    fn libc(role: Role) -> Frame {
        Frame { role, home: true, libc: true }
    }

    fn user(role: Role) -> Frame {
        Frame { role, home: false, libc: false }
    }

    #[test]
    fn stacks_and_their_verdicts() {
        let lock = |kind| SiteClass::Lock(kind);
        let (idle, unknown) = (SiteClass::Idle, SiteClass::Unknown);
        #[rustfmt::skip]
        let table: &[(&str, &[Frame], Option<usize>, SiteClass)] = &[
            ("nothing", &[], None, unknown),
            ("mutex", &[libc(LowLevelWait), libc(Lock(PthreadMutex)), user(Plain)], Some(1), lock(PthreadMutex)),
            ("robust mutex, own system call", &[libc(Lock(PthreadMutex)), user(Plain)], None, lock(PthreadMutex)),
            ("condition, waiting, stripped", &[libc(Nameless), libc(CondWait), user(Plain)], Some(1), idle),
            ("condition, waiting, symbols", &[libc(Shared), libc(CondWait), user(Plain)], Some(1), idle),
            ("condition, mutex again, stripped", &[libc(LowLevelWait), libc(Nameless), libc(CondWait)], Some(1), lock(PthreadMutex)),
            ("condition, mutex again, symbols", &[libc(LowLevelWait), libc(Lock(PthreadMutex)), libc(CondWait)], Some(1), lock(PthreadMutex)),
            ("cancellation in a function of its own", &[libc(Nameless), libc(Nameless), libc(Nameless), libc(CondWait)], Some(3), idle),
            ("semaphore", &[libc(Nameless), libc(Lock(Semaphore)), user(Plain)], Some(1), lock(Semaphore)),
            ("join", &[libc(Nameless), libc(Idle), user(Plain)], Some(1), idle),
            ("allocator", &[libc(LowLevelWait), libc(Nameless), libc(Plain), user(Plain)], Some(1), lock(LowLevel)),
            ("thread stacks under join", &[libc(LowLevelWait), libc(Idle)], Some(1), lock(LowLevel)),
            ("low level, called from outside", &[libc(LowLevelWait), user(Plain)], Some(1), unknown),
            ("low level, nothing told", &[libc(LowLevelWait), libc(Nameless), user(Plain)], Some(1), unknown),
            ("low level, nothing at all", &[libc(LowLevelWait)], None, unknown),
            ("rust mutex", &[libc(Shared), user(Lock(RustMutex)), user(Plain)], Some(1), lock(RustMutex)),
            ("rust mutex, wrapped", &[libc(Shared), user(Shared), user(Lock(RustMutex))], Some(1), unknown),
            ("rust park", &[libc(Shared), user(Idle)], Some(1), idle),
            ("syscall from who knows", &[libc(Shared), user(Nameless), user(Lock(RustMutex))], Some(1), unknown),
            ("syscall from a named one", &[libc(Shared), user(Plain), libc(Lock(LowLevel))], Some(1), unknown),
            ("no library", &[user(Nameless), user(Idle)], None, unknown),
            ("own futex code", &[user(Plain), user(Plain)], None, unknown),
        ];
        for (story, frames, anchor, class) in table {
            let expected = Verdict { anchor: *anchor, class: *class };
            assert_eq!(verdict(frames, false, None), expected, "{story}");
        }
    }

    #[test]
    fn who_calls_what_sleeps_for_many_in_musl_decides() {
        use LockKind::{MuslMutex, MuslOnce, MuslSemaphore, PythonLock};
        let lock = |kind| SiteClass::Lock(kind);
        let way_in = [libc(Nameless), libc(Nameless), libc(Through)];
        let with = |below: &[Frame], above: &[Frame]| [below, above].concat();
        type Row = (&'static str, Vec<Frame>, bool, usize, &'static [usize], SiteClass);
        #[rustfmt::skip]
        let table: [Row; 8] = [
            // sem_timedwait may be cancelled, pthread_mutex_timedlock not: from their own places
            // of sleep, both come through the caller of __timedwait_cp.
            ("semaphore", with(&way_in, &[libc(Lock(MuslSemaphore)), user(Plain)]), false, 3, &[], lock(MuslSemaphore)),
            ("mutex", with(&way_in[1..], &[libc(Through), libc(Lock(MuslMutex)), user(Plain)]), false, 2, &[3], lock(MuslMutex)),
            ("semaphore, not cancelled", with(&way_in[1..], &[libc(Lock(MuslSemaphore)), user(Plain)]), false, 2, &[], lock(MuslSemaphore)),
            ("condition", with(&way_in, &[libc(CondWait), user(Plain)]), false, 3, &[], SiteClass::Idle),
            ("once", vec![libc(Through), libc(Lock(MuslOnce)), user(Plain)], false, 1, &[], lock(MuslOnce)),
            ("once that nobody names", vec![libc(Through), libc(Nameless), libc(Lock(MuslOnce))], false, 1, &[], SiteClass::Unknown),
            ("lock of a run time", with(&way_in, &[libc(Lock(MuslSemaphore)), user(Lock(PythonLock))]), true, 3, &[4], lock(PythonLock)),
            ("stack cut short", with(&way_in, &[libc(Through)]), false, 3, &[], SiteClass::Unknown),
        ];
        for (story, frames, runtime, anchor, hops, class) in table {
            assert_eq!(verdict(&frames, false, None).anchor, Some(anchor), "{story}");
            assert_eq!(further(&frames, anchor, runtime), (hops.to_vec(), class), "{story}");
        }
        // Its own mutex, whoever hands it over, is where it says.
        let own = [libc(Lock(MuslMutex)), user(Plain)];
        let class = lock(MuslMutex);
        assert_eq!(verdict(&own, true, None), Verdict { anchor: None, class });
        let lonely = [libc(Through)];
        assert_eq!(verdict(&lonely, false, None).class, SiteClass::Unknown);
        assert_eq!(verdict(&[user(Through), user(Plain)], false, None).anchor, None);
    }

    #[test]
    fn a_place_once_chosen_stays() {
        let frames = [libc(Shared), user(Shared), user(Lock(RustMutex))];
        let fixed = verdict(&frames, false, Some(1));
        assert_eq!(fixed, Verdict { anchor: Some(1), class: SiteClass::Unknown });
    }

    #[test]
    fn callers_of_a_run_time_are_looked_through() {
        use LockKind::{JavaMonitor, PythonGil, PythonLock};
        let lock = |kind| SiteClass::Lock(kind);
        let condition = [libc(Shared), libc(CondWait)];
        let with = |above: &[Frame]| [&condition[..], above].concat();
        type Row = (&'static str, Vec<Frame>, bool, &'static [usize], SiteClass);
        #[rustfmt::skip]
        let table: [Row; 9] = [
            ("no run time", with(&[user(Lock(PythonGil))]), false, &[], SiteClass::Idle),
            ("interpreter lock", with(&[user(Lock(PythonGil))]), true, &[2], lock(PythonGil)),
            ("another condition", with(&[user(Plain)]), true, &[2], SiteClass::Idle),
            ("monitor", with(&[user(Through), user(Lock(JavaMonitor))]), true, &[2, 3], lock(JavaMonitor)),
            ("semaphore as lock", vec![libc(Shared), libc(Lock(Semaphore)), libc(Lock(Semaphore)), user(Lock(PythonLock))], true, &[3], lock(PythonLock)),
            ("semaphore", vec![libc(Shared), libc(Lock(Semaphore)), user(Nameless)], true, &[2], lock(Semaphore)),
            ("stack cut short", with(&[]), true, &[], SiteClass::Unknown),
            ("no end", vec![libc(Shared), user(Shared), user(Shared), user(Shared), user(Shared), user(Shared)], false, &[2, 3, 4], SiteClass::Unknown),
            ("wrapped", vec![libc(Shared), user(Shared), user(Lock(RustMutex))], false, &[2], lock(RustMutex)),
        ];
        for (story, frames, runtime, hops, class) in table {
            assert_eq!(further(&frames, 1, runtime), (hops.to_vec(), class), "{story}");
        }
    }

    #[test]
    fn priority_inheritance_does_not_speak_for_other_callers() {
        let class = SiteClass::Lock(PriorityInheritance);
        let own = [libc(Lock(PthreadMutex)), user(Plain)];
        assert_eq!(verdict(&own, true, None), Verdict { anchor: None, class });
        let wrapped = [libc(Shared), user(Plain)];
        assert_eq!(verdict(&wrapped, true, None), Verdict { anchor: Some(1), class });
        let lonely = [libc(Shared)];
        assert_eq!(verdict(&lonely, true, None).class, SiteClass::Unknown);
    }
}
