//! A POSIX mutex, so that the demo has locks whose owner glibc writes down.

use std::cell::UnsafeCell;

/// A plain `pthread_mutex_t`, as C programs have it.
pub struct PosixMutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a POSIX mutex is made to be shared between threads.
unsafe impl Sync for PosixMutex {}

impl PosixMutex {
    /// An unlocked mutex.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))
    }

    /// Locks it.
    pub fn lock(&self) {
        // SAFETY: an initialised mutex that is never moved: all of them are statics.
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
    }

    /// Unlocks it; only the thread that locked it may.
    pub fn unlock(&self) {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

/// Kernel id of this thread.
pub fn thread_id() -> u32 {
    // SAFETY: no arguments, cannot fail.
    u32::try_from(unsafe { libc::gettid() }).unwrap_or(0)
}
