//! Waits on a lock that serves as something else, as only the stack tells.
//!
//! CPython's `threading` makes conditions, events and joins of plain locks (Lib/threading.py): a
//! thread locks a lock it has itself, and another lets it go.

use crate::model::{LockKind, Stack};

/// Functions of `threading.py` that wait for something else than a lock.
const IDLE: [&str; 5] = [
    "Condition.wait",
    "Thread.join",
    "Thread._wait_for_tstate_lock",
    // Without the class, before 3.11.
    "wait",
    "_wait_for_tstate_lock",
];

/// Whether waits for this kind may be for something else, which only a stack tells.
pub fn ambiguous(kind: LockKind) -> bool {
    matches!(kind, LockKind::PythonLock | LockKind::PythonParked)
}

/// Whether the innermost function of Python is one of those; `None` if there is none.
pub fn idles(stack: &Stack) -> Option<bool> {
    // Code of Python lies in no binary.
    let python = stack.frames.iter().find_map(|frame| {
        let (file, _) = frame.source.as_ref().filter(|_| frame.module.is_empty())?;
        Some((&*frame.function, &**file))
    });
    let (function, file) = python?;
    Some(file.rsplit('/').next() == Some("threading.py") && IDLE.contains(&function))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StackFrame;

    fn stack(frames: &[(&str, &str, &str)]) -> Stack {
        let frame = |&(function, file, module): &(&str, &str, &str)| StackFrame {
            function: function.into(),
            source: (!file.is_empty()).then(|| (file.into(), 1)),
            module: module.into(),
            offset: 0,
        };
        Stack { frames: frames.iter().map(frame).collect(), complete: true }
    }

    #[test]
    fn conditions_are_told_from_locks() {
        let acquire = ("PyThread_acquire_lock_timed", "thread.c", "python3.11");
        let condition = ("Condition.wait", "/usr/lib/python3.11/threading.py", "");
        let main = ("main", "/srv/app.py", "");
        assert_eq!(idles(&stack(&[acquire, condition, main])), Some(true));
        assert_eq!(idles(&stack(&[acquire, main, condition])), Some(false), "a lock in one");
        let others = ("Condition.wait", "/srv/waiting.py", "");
        assert_eq!(idles(&stack(&[acquire, others])), Some(false), "a class of the program's own");
        assert_eq!([idles(&stack(&[acquire])), idles(&stack(&[]))], [None, None]);
    }
}
