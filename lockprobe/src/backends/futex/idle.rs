//! Waits on a lock that serves as something else, as only the stack tells.
//!
//! CPython's `threading` makes conditions, events and joins of plain locks (Lib/threading.py): a
//! thread locks a lock it has itself, and another lets it go.

use crate::model::Stack;

/// Functions of `threading.py` that wait for something else than a lock.
const IDLE: [&str; 5] = [
    "Condition.wait",
    "Thread.join",
    "Thread._wait_for_tstate_lock",
    // Without the class, before 3.11.
    "wait",
    "_wait_for_tstate_lock",
];

/// Whether the innermost function of Python is one of those.
pub fn idles(stack: &Stack) -> bool {
    // Code of Python lies in no binary.
    let python = stack.frames.iter().find_map(|frame| {
        let (file, _) = frame.source.as_ref().filter(|_| frame.module.is_empty())?;
        Some((&*frame.function, &**file))
    });
    python.is_some_and(|(function, file)| {
        file.rsplit('/').next() == Some("threading.py") && IDLE.contains(&function)
    })
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
        assert!(idles(&stack(&[acquire, condition, ("main", "/srv/app.py", "")])));
        assert!(
            !idles(&stack(&[acquire, ("main", "/srv/app.py", ""), condition])),
            "a lock in one"
        );
        let others = ("Condition.wait", "/srv/waiting.py", "");
        assert!(!idles(&stack(&[acquire, others])), "a class of the program's own");
        assert!(!idles(&stack(&[acquire])) && !idles(&stack(&[])));
    }
}
