//! System calls the standard library does not have.

/// Whether this process is root.
pub fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Sends a signal to one process by its id.
pub fn signal(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).expect("a process id");
    assert!(pid > 0, "never a group");
    // SAFETY: a plain system call on a process that the caller started and has not reaped.
    unsafe { libc::kill(pid, signal) };
}

/// Has this called when the process ends in the ordinary way.
pub fn at_exit(call: extern "C" fn()) {
    // SAFETY: a plain function that does not unwind into C: `extern "C"` aborts instead.
    unsafe { libc::atexit(call) };
}

/// CLOCK_MONOTONIC, nanoseconds.
pub fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a timespec; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
