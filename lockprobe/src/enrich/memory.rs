//! Memory of other processes, by `process_vm_readv`.

/// Reads up to `length` bytes at `address`; what could be read, perhaps nothing.
pub fn read(pid: u32, address: u64, length: usize) -> Vec<u8> {
    let Ok(pid) = i32::try_from(pid) else {
        return Vec::new();
    };
    let mut buffer = vec![0u8; length];
    // The kernel transfers whole iovecs only up to the first fault within one: one iovec a page,
    // so that the pages before an unmapped one arrive.
    let page = 4096;
    let mut remote = Vec::new();
    let mut at = address;
    let Some(end) = address.checked_add(length as u64) else {
        return Vec::new();
    };
    while at < end && remote.len() < 16 {
        let next = (at / page + 1).saturating_mul(page).min(end);
        remote
            .push(libc::iovec { iov_base: at as *mut libc::c_void, iov_len: (next - at) as usize });
        at = next;
    }
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `local` describes `buffer`, which is alive and writable for its whole length; the
    // remote side is never dereferenced here, the kernel checks it.
    let got = unsafe {
        libc::process_vm_readv(
            pid,
            &raw const local,
            1,
            remote.as_ptr(),
            remote.len() as libc::c_ulong,
            0,
        )
    };
    buffer.truncate(usize::try_from(got).unwrap_or(0));
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_can_be_read_and_nothing_cannot() {
        let words = [7u64, 8, 9];
        let got = read(std::process::id(), words.as_ptr() as u64, 24);
        assert_eq!(got.len(), 24);
        assert_eq!(got[8], 8);
        assert!(read(std::process::id(), 8, 24).is_empty());
        assert!(read(std::process::id(), u64::MAX - 3, 24).is_empty());
        assert!(read(u32::MAX, 8, 24).is_empty());
    }
}

/// Waits that never end, for the tests of this room: here because they need `unsafe`.
#[cfg(all(test, target_env = "gnu"))]
pub mod waits {
    use std::cell::UnsafeCell;
    use std::mem::MaybeUninit;

    struct Shared<T>(UnsafeCell<T>);
    // SAFETY: only the functions of the C library touch it, and they are made for many threads.
    unsafe impl<T> Sync for Shared<T> {}

    static MUTEX: Shared<libc::pthread_mutex_t> =
        Shared(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
    static FAR: libc::timespec = libc::timespec { tv_sec: 1 << 33, tv_nsec: 0 };

    fn leak<T>(value: T) -> *mut T {
        Box::into_raw(Box::new(value))
    }

    pub fn mutex() {
        let mutex = MUTEX.0.get();
        // SAFETY: an initialised mutex that lives as long as the process.
        unsafe {
            libc::pthread_mutex_trylock(mutex);
            libc::pthread_mutex_lock(mutex);
        }
    }

    pub fn timed_mutex() {
        let mutex = leak(libc::PTHREAD_MUTEX_INITIALIZER);
        // SAFETY: as above; the time is valid.
        unsafe {
            libc::pthread_mutex_lock(mutex);
            libc::pthread_mutex_timedlock(mutex, &raw const FAR);
        }
    }

    pub fn semaphore() {
        let semaphore = leak(MaybeUninit::<libc::sem_t>::zeroed()).cast();
        // SAFETY: initialised before use, never freed.
        unsafe {
            libc::sem_init(semaphore, 0, 0);
            libc::sem_wait(semaphore);
        }
    }

    pub fn read() {
        let lock = leak(libc::PTHREAD_RWLOCK_INITIALIZER);
        let held = lock as usize;
        // SAFETY: initialised, never freed. The writer ends without letting go.
        let writer = std::thread::spawn(move || unsafe {
            libc::pthread_rwlock_wrlock(held as *mut _);
        });
        drop(writer.join());
        // SAFETY: initialised, never freed.
        unsafe { libc::pthread_rwlock_rdlock(lock) };
    }

    pub fn write() {
        let lock = leak(libc::PTHREAD_RWLOCK_INITIALIZER);
        // SAFETY: initialised, never freed.
        unsafe {
            libc::pthread_rwlock_rdlock(lock);
            libc::pthread_rwlock_wrlock(lock);
        }
    }

    pub fn condition() {
        let (condition, mutex) = condition_and_mutex();
        // SAFETY: initialised, never freed; the mutex is locked.
        unsafe { libc::pthread_cond_wait(condition, mutex) };
    }

    pub fn timed_condition() {
        let (condition, mutex) = condition_and_mutex();
        // SAFETY: as above; the time is valid.
        unsafe { libc::pthread_cond_timedwait(condition, mutex, &raw const FAR) };
    }

    pub fn condition_then_mutex() {
        let (condition, mutex) = condition_and_mutex();
        let (also, held) = (condition as usize, mutex as usize);
        // SAFETY: as above; the other thread gets the mutex once this one waits, and keeps it.
        std::thread::spawn(move || unsafe {
            libc::pthread_mutex_lock(held as *mut _);
            libc::pthread_cond_signal(also as *mut _);
            std::thread::park();
        });
        // SAFETY: as above.
        unsafe { libc::pthread_cond_wait(condition, mutex) };
    }

    fn condition_and_mutex() -> (*mut libc::pthread_cond_t, *mut libc::pthread_mutex_t) {
        let mutex = leak(libc::PTHREAD_MUTEX_INITIALIZER);
        // SAFETY: initialised, never freed.
        unsafe { libc::pthread_mutex_lock(mutex) };
        (leak(libc::PTHREAD_COND_INITIALIZER), mutex)
    }

    pub fn barrier() {
        let barrier = leak(MaybeUninit::<libc::pthread_barrier_t>::zeroed()).cast();
        // SAFETY: initialised before use, never freed.
        unsafe {
            libc::pthread_barrier_init(barrier, std::ptr::null(), 2);
            libc::pthread_barrier_wait(barrier);
        }
    }

    pub fn join() {
        drop(std::thread::spawn(std::thread::park).join());
    }
}
