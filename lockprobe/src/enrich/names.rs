//! What a function's name says, and how people read it.

use super::meaning::Role;
use crate::model::{lock::LockKind, thread::printable};

/// Longest name kept, in characters.
const LONGEST: usize = 300;

/// What the function with this symbol is. Names of POSIX functions count only in glibc: other C
/// libraries keep no owner beside the lock word.
pub fn role(symbol: &str, glibc: bool) -> Role {
    let bare = symbol.split('@').next().unwrap_or_default();
    if bare.starts_with("_ZNSt28__atomic_futex_unsigned_base") {
        return Role::Idle; // std::future and std::promise
    }
    if let Ok(name) = rustc_demangle::try_demangle(bare) {
        return rust(&format!("{name:#}"));
    }
    let bare = bare.split('.').next().unwrap_or_default();
    let bare = bare.strip_prefix("__GI_").unwrap_or(bare).trim_start_matches('_');
    if bare == "syscall" {
        return Role::Shared;
    }
    if bare == "cxa_guard_acquire" {
        return Role::Lock(LockKind::StaticInit);
    }
    if glibc { posix(bare) } else { runtime(bare) }
}

/// Functions of glibc, without leading underscores and `.part` suffixes. Versions 2.28 to 2.42.
fn posix(name: &str) -> Role {
    const TABLE: &[(&str, Role)] = &[
        ("lll_lock_wait_private", Role::Lock(LockKind::LowLevel)),
        ("lll_lock_wait", Role::LowLevelWait),
        ("lll_timedlock_wait", Role::LowLevelWait),
        ("lll_clocklock_wait", Role::LowLevelWait),
        ("futex_abstimed_wait", Role::Shared),
        ("futex_wait", Role::Shared),
        ("internal_syscall_cancel", Role::Shared),
        ("syscall_cancel", Role::Shared),
        ("pthread_mutex_lock", Role::Lock(LockKind::PthreadMutex)),
        ("pthread_mutex_timedlock", Role::Lock(LockKind::PthreadMutex)),
        ("pthread_mutex_clocklock", Role::Lock(LockKind::PthreadMutex)),
        ("pthread_mutex_cond_lock", Role::Lock(LockKind::PthreadMutex)),
        ("lll_lock_elision", Role::Lock(LockKind::PthreadMutex)),
        ("mtx_lock", Role::Lock(LockKind::PthreadMutex)),
        ("mtx_timedlock", Role::Lock(LockKind::PthreadMutex)),
        ("pthread_rwlock_rdlock", Role::Read(LockKind::PthreadRwLock)),
        ("pthread_rwlock_timedrdlock", Role::Read(LockKind::PthreadRwLock)),
        ("pthread_rwlock_clockrdlock", Role::Read(LockKind::PthreadRwLock)),
        ("pthread_rwlock_wrlock", Role::Lock(LockKind::PthreadRwLock)),
        ("pthread_rwlock_timedwrlock", Role::Lock(LockKind::PthreadRwLock)),
        ("pthread_rwlock_clockwrlock", Role::Lock(LockKind::PthreadRwLock)),
        ("sem_wait", Role::Lock(LockKind::Semaphore)),
        ("sem_timedwait", Role::Lock(LockKind::Semaphore)),
        ("sem_clockwait", Role::Lock(LockKind::Semaphore)),
        ("new_sem_wait", Role::Lock(LockKind::Semaphore)),
        ("old_sem_wait", Role::Lock(LockKind::Semaphore)),
        ("do_futex_wait", Role::Lock(LockKind::Semaphore)),
        ("pthread_cond_wait", Role::CondWait),
        ("pthread_cond_timedwait", Role::CondWait),
        ("pthread_cond_clockwait", Role::CondWait),
        ("cnd_wait", Role::CondWait),
        ("cnd_timedwait", Role::CondWait),
        ("pthread_join", Role::Idle),
        ("pthread_timedjoin", Role::Idle),
        ("pthread_clockjoin", Role::Idle),
        ("thrd_join", Role::Idle),
        ("pthread_barrier_wait", Role::Idle),
        ("pthread_once", Role::Lock(LockKind::PthreadOnce)),
        ("call_once", Role::Lock(LockKind::PthreadOnce)),
    ];
    of_table(TABLE, name)
}

fn of_table(table: &[(&str, Role)], name: &str) -> Role {
    table.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(Role::Plain, |(_, role)| *role)
}

/// Functions of run times that wait by means of the C library: CPython 3.8 to 3.14, HotSpot 11 to
/// 24, V8. Without leading underscores, C++ as mangled.
fn runtime(name: &str) -> Role {
    const TABLE: &[(&str, Role)] = &[
        // Python/ceval_gil.c
        ("take_gil", Role::Lock(LockKind::PythonGil)),
        ("drop_gil", Role::Idle),
        // Python/thread_pthread.h
        ("PyThread_acquire_lock", Role::Lock(LockKind::PythonLock)),
        // Python/lock.c, Python/parking_lot.c
        ("PySemaphore_", Role::Through),
        ("PyParkingLot_Park", Role::Through),
        ("PyMutex_Lock", Role::Lock(LockKind::PythonParked)),
        ("PyRecursiveMutex_Lock", Role::Lock(LockKind::PythonParked)),
        ("PyMutex_LockTimed", Role::Lock(LockKind::PythonParked)),
        // The interpreter's own affairs, which no `PyMutex` is part of.
        ("PyRawMutex_Lock", Role::Idle),
        ("PyRWMutex_", Role::Idle),
        ("PyOnceFlag_CallOnce", Role::Idle),
        ("PyEvent_Wait", Role::Idle),
        // Modules/_multiprocessing/semaphore.c
        ("multiprocessing_SemLock_", Role::Lock(LockKind::Multiprocessing)),
        // src/hotspot/os/posix/os_posix.cpp, src/hotspot/share/runtime/objectMonitor.cpp
        ("ZN13PlatformEvent4park", Role::Through),
        ("ZN2os13PlatformEvent4park", Role::Through),
        ("ZN9ParkEvent", Role::Through),
        // Threads of the machine itself that have nothing to do.
        ("ZN14PosixSemaphore", Role::Idle),
        ("ZN6Parker4park", Role::Lock(LockKind::JavaPark)),
        ("ZN13ObjectMonitor4wait", Role::Idle),
        ("ZN13ObjectMonitor", Role::Lock(LockKind::JavaMonitor)),
        // src/base/platform/condition-variable.cc, src/execution/futex-emulation.cc
        ("ZN2v84base17ConditionVariable4Wait", Role::Through),
        ("ZN2v88internal14FutexEmulation", Role::Lock(LockKind::JavaScriptAtomics)),
    ];
    of_table(TABLE, name)
}

/// The file is, or contains, a run time in which a condition variable or a semaphore of the C
/// library may stand for a lock of its own.
pub fn has_runtime(file: &str) -> bool {
    file == "libjvm.so" || file.starts_with("node") || is_python(file)
}

/// The file is an interpreter of Python.
pub fn is_python(file: &str) -> bool {
    file.starts_with("python") || file.starts_with("libpython")
}

/// Functions of Rust's standard library since 1.62, when its locks became futexes.
fn rust(path: &str) -> Role {
    let path = path.trim_start_matches('<');
    if path.starts_with("parking_lot") {
        return parking_lot(path);
    }
    if path.starts_with("crossbeam_utils::sync::parker") {
        return Role::Idle;
    }
    if !path.starts_with("std::") {
        return Role::Plain;
    }
    let method = path.rsplit("::").next().unwrap_or_default();
    let has = |part: &str| path.contains(part);
    match method {
        "lock_contended" if has("mutex") => Role::Lock(LockKind::RustMutex),
        "read_contended" if has("rwlock") => Role::Read(LockKind::RustRwLock),
        "write_contended" if has("rwlock") => Role::Lock(LockKind::RustRwLock),
        "call" | "wait" if has("once::futex::Once") => Role::Lock(LockKind::RustOnce),
        "wait" | "wait_timeout" | "wait_optional_timeout" if has("condvar") => Role::Idle,
        "park" | "park_timeout" if has("thread") => Role::Idle,
        "futex_wait" => Role::Shared,
        // The condition variable is part of its code; its mutex is not.
        "wait" if has("sync::barrier::Barrier") => Role::Idle,
        _ => Role::Plain,
    }
}

/// Functions of parking_lot: a thread sleeps on a word of its own, whatever it waits for.
fn parking_lot(path: &str) -> Role {
    let has = |part: &str| path.contains(part);
    let method = path.rsplit("::").next().unwrap_or_default();
    match method {
        _ if has("condvar::") => Role::Idle,
        _ if path.starts_with("parking_lot_core::") => Role::Shared,
        "lock_shared_slow" => Role::Read(LockKind::ParkingLotRwLock),
        _ if has("raw_rwlock::") => Role::Lock(LockKind::ParkingLotRwLock),
        _ if has("raw_mutex::") => Role::Lock(LockKind::ParkingLotMutex),
        _ if has("once::") => Role::Lock(LockKind::ParkingLotOnce),
        _ => Role::Plain,
    }
}

/// A symbol as people read it: demangled, without parameters, printable and of bounded length.
pub fn readable(symbol: &str) -> String {
    let bare = symbol.split('@').next().unwrap_or_default();
    let text = if let Ok(name) = rustc_demangle::try_demangle(bare) {
        format!("{name:#}")
    } else if bare.starts_with("_Z") && bare.len() <= 2048 {
        // Templates can make a name of any length out of a short symbol; the parser has limits of
        // its own, and what is too long is shown as it is.
        let options = cpp_demangle::DemangleOptions::new().no_params().no_return_type();
        cpp_demangle::Symbol::new(bare)
            .ok()
            .and_then(|s| s.demangle_with_options(&options).ok())
            .unwrap_or_else(|| bare.to_owned())
    } else {
        bare.to_owned()
    };
    let text =
        if text.chars().count() > LONGEST { text.chars().take(LONGEST).collect() } else { text };
    printable(&text)
}

/// The function belongs to a lock library or a run time, not to the program that uses it.
pub fn internal(readable: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "std::",
        "core::",
        "alloc::",
        "parking_lot::",
        "parking_lot_core::",
        "lock_api::",
        "once_cell::",
        "__gthread_",
        "__glibcxx_",
        "__gnu_cxx::",
        "__cxa_guard_",
        "__libc_",
    ];
    let name = readable.trim_start_matches(['<', '&']);
    PREFIXES.iter().any(|p| name.starts_with(p)) || outset(name)
}

/// Threads and programs begin with this function.
pub fn outset(readable: &str) -> bool {
    const NAMES: &[&str] =
        &["start_thread", "clone3", "clone", "__clone", "_start", "execute_native_thread_routine"];
    NAMES.contains(&readable)
        || readable.ends_with("::thread_start")
        || readable.contains("lang_start")
}

/// The file belongs to the C or C++ run time.
pub fn run_time_library(file: &str) -> bool {
    [
        "libc.so",
        "libc-2.",
        "libpthread",
        "ld-linux",
        "ld-2.",
        "libstdc++.so",
        "libc++.so",
        "libc++abi.so",
    ]
    .iter()
    .any(|p| file.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_and_their_roles() {
        use LockKind::{
            JavaMonitor, JavaPark, LowLevel, ParkingLotMutex, PthreadMutex, PthreadOnce,
            PthreadRwLock, PythonGil, PythonLock, RustMutex, RustOnce, RustRwLock, Semaphore,
        };
        #[rustfmt::skip]
        let table = [
            ("___pthread_mutex_lock", Role::Lock(PthreadMutex)),
            ("__GI___pthread_mutex_lock", Role::Lock(PthreadMutex)),
            ("__pthread_mutex_cond_lock_full", Role::Lock(PthreadMutex)),
            ("pthread_mutex_unlock", Role::Plain),
            ("pthread_mutex_trylock", Role::Plain),
            ("__lll_lock_wait", Role::LowLevelWait),
            ("__lll_lock_wait_private@@GLIBC_PRIVATE", Role::Lock(LowLevel)),
            ("__futex_abstimed_wait_common64", Role::Shared),
            ("__futex_abstimed_wait_common64.constprop.0", Role::Shared),
            ("__syscall_cancel_arch", Role::Shared),
            ("syscall", Role::Shared),
            ("__new_sem_wait_slow64.constprop.0", Role::Lock(Semaphore)),
            ("sem_wait@@GLIBC_2.34", Role::Lock(Semaphore)),
            ("__pthread_rwlock_rdlock_full64", Role::Read(PthreadRwLock)),
            ("pthread_rwlock_clockwrlock@@GLIBC_2.34", Role::Lock(PthreadRwLock)),
            ("pthread_rwlock_unlock", Role::Plain),
            ("pthread_cond_timedwait@@GLIBC_2.3.2", Role::CondWait),
            ("pthread_cond_signal", Role::Plain),
            ("__pthread_clockjoin_ex", Role::Idle),
            ("__pthread_once_slow.isra.0", Role::Lock(PthreadOnce)),
            ("main", Role::Plain),
            ("_ZN3std3sys4sync5mutex5futex5Mutex14lock_contended17h0123456789abcdefE", Role::Lock(RustMutex)),
            ("_ZN3std3sys4unix5locks11futex_mutex5Mutex14lock_contended17h0123456789abcdefE", Role::Lock(RustMutex)),
            ("_RNvMNtNtNtNtCs1_3std3sys4sync5mutex5futexNtB2_5Mutex14lock_contended", Role::Lock(RustMutex)),
            ("_ZN3std3sys4sync6rwlock5futex6RwLock14read_contended17h0123456789abcdefE", Role::Read(RustRwLock)),
            ("_ZN3std3sys4sync4once5futex4Once4call17h0123456789abcdefE", Role::Lock(RustOnce)),
            ("_ZN3std3sys4sync7condvar5futex7Condvar21wait_optional_timeout17h0123456789abcdefE", Role::Idle),
            ("_ZN3std3sys4sync14thread_parking5futex6Parker4park17h0123456789abcdefE", Role::Idle),
            ("_ZN3std3sys3pal4unix5futex10futex_wait17h0123456789abcdefE", Role::Shared),
            ("_ZN7program5mutex14lock_contended17h0123456789abcdefE", Role::Plain),
            ("_ZNSt28__atomic_futex_unsigned_base19_M_futex_wait_untilEPjjbNSt6chrono8durationE", Role::Idle),
        ];
        for (symbol, expected) in table {
            assert_eq!(role(symbol, true), expected, "{symbol}");
        }
        assert_eq!(role("pthread_mutex_lock", false), Role::Plain, "another C library");
        #[rustfmt::skip]
        let table = [
            ("take_gil.constprop.0", Role::Lock(PythonGil)),
            ("PyThread_acquire_lock_timed", Role::Lock(PythonLock)),
            ("PyThread_release_lock", Role::Plain),
            ("_PySemaphore_Wait", Role::Through),
            ("_ZN13PlatformEvent4parkEv", Role::Through),
            ("_ZN13ObjectMonitor6EnterIEP10JavaThread", Role::Lock(JavaMonitor)),
            ("_ZN13ObjectMonitor4waitElbP10JavaThread", Role::Idle),
            ("_ZN6Parker4parkEbl", Role::Lock(JavaPark)),
            ("_ZN11parking_lot9raw_mutex8RawMutex9lock_slow17h0123456789abcdefE", Role::Lock(ParkingLotMutex)),
            ("_ZN11parking_lot7condvar7Condvar19wait_until_internal17h0123456789abcdefE", Role::Idle),
            ("_ZN16parking_lot_core11parking_lot4park17h0123456789abcdefE", Role::Shared),
        ];
        for (symbol, expected) in table {
            assert_eq!(role(symbol, false), expected, "{symbol}");
        }
        assert_eq!(role("syscall", false), Role::Shared);
    }

    #[test]
    fn names_are_readable_and_harmless() {
        assert_eq!(readable("_ZN4bank8transferEii"), "bank::transfer");
        assert_eq!(readable("_ZN3std5mutex4lock17h0123456789abcdefE"), "std::mutex::lock");
        assert_eq!(readable("pthread_mutex_lock@@GLIBC_2.2.5"), "pthread_mutex_lock");
        assert_eq!(readable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert!(readable(&"_ZN".repeat(9000)).chars().count() <= LONGEST);
        assert!(internal("std::lock_guard<std::mutex>::lock_guard"));
        assert!(internal("<std::sys::sync::mutex::futex::Mutex>::lock"));
        assert!(!internal("bank::transfer"));
        assert!(run_time_library("libc.so.6") && !run_time_library("libcrypto.so.3"));
    }
}
