//! What a function's name says, and how people read it.

use super::meaning::Role;
use crate::model::{lock::LockKind, thread::printable};

/// Longest name kept, in characters.
const LONGEST: usize = 300;

/// A C library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Library {
    /// None, or one not known.
    #[default]
    None,
    /// GNU's.
    Glibc,
    /// musl.
    Musl,
}

/// What the function with this symbol is. Names of POSIX functions count only in C libraries that
/// are known: where each keeps the owner is its own affair.
pub fn role(symbol: &str, library: Library) -> Role {
    let bare = symbol.split('@').next().unwrap_or_default();
    if bare.starts_with("_ZNSt28__atomic_futex_unsigned_base") {
        return Role::Idle; // std::future and std::promise
    }
    if let Ok(name) = rustc_demangle::try_demangle(bare) {
        return rust(&format!("{name:#}"));
    }
    let bare = bare.split('.').next().unwrap_or_default();
    if let (Library::Musl, Some(role)) = (library, musl(bare)) {
        return role;
    }
    let bare = bare.strip_prefix("__GI_").unwrap_or(bare).trim_start_matches('_');
    if bare == "syscall" {
        return Role::Shared;
    }
    if bare == "cxa_guard_acquire" {
        return Role::Lock(LockKind::StaticInit);
    }
    if library == Library::Glibc { posix(bare) } else { runtime(bare) }
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

/// Functions of musl, versions 1.1.24 to 1.2.5. In a program linked statically they stand among its
/// own, so that the whole name counts.
fn musl(name: &str) -> Option<Role> {
    // Most have a second name, which link-time optimisation may leave as the only one.
    let own = name.strip_prefix("__").filter(|name| name.starts_with("pthread_"));
    let name = own.unwrap_or(name);
    Some(match name {
        "pthread_mutex_lock"
        | "pthread_mutex_timedlock"
        | "pthread_mutex_timedlock_pi"
        | "mtx_lock"
        | "mtx_timedlock" => Role::Lock(LockKind::MuslMutex),
        "pthread_rwlock_rdlock" | "pthread_rwlock_timedrdlock" => Role::Read(LockKind::MuslRwLock),
        "pthread_rwlock_wrlock" | "pthread_rwlock_timedwrlock" => Role::Lock(LockKind::MuslRwLock),
        "sem_wait" | "sem_timedwait" => Role::Lock(LockKind::MuslSemaphore),
        "pthread_once" | "pthread_once_full" | "call_once" => Role::Lock(LockKind::MuslOnce),
        "pthread_cond_wait" | "pthread_cond_timedwait" | "cnd_wait" | "cnd_timedwait" => {
            Role::CondWait
        }
        "pthread_join"
        | "pthread_timedjoin_np"
        | "thrd_join"
        | "pthread_barrier_wait"
        | "aio_suspend" => Role::Idle,
        "malloc" | "__libc_malloc" | "__libc_malloc_impl" | "realloc" | "__libc_realloc"
        | "aligned_alloc" | "free" | "__libc_free" => Role::Lock(LockKind::LowLevel),
        // src/thread/{__timedwait,__wait,__lock,pthread_create}.c: who calls them tells what for.
        "__timedwait" | "__timedwait_cp" | "__wait" | "__lock" | "__lockfile" | "__tl_lock"
        | "__tl_sync" => Role::Through,
        // src/thread/{__syscall_cp,pthread_cancel}.c: on the way from these to the kernel.
        "__syscall_cp" | "__syscall_cp_c" | "__syscall_cp_asm" | "sccp" => Role::Shared,
        _ => return None,
    })
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
        "ld-musl-",
        "libc.musl-",
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
            assert_eq!(role(symbol, Library::Glibc), expected, "{symbol}");
        }
        use LockKind::{MuslMutex, MuslOnce, MuslRwLock, MuslSemaphore};
        #[rustfmt::skip]
        let table = [
            ("pthread_mutex_timedlock", Role::Lock(MuslMutex)),
            ("pthread_mutex_unlock", Role::Plain),
            ("pthread_rwlock_timedrdlock", Role::Read(MuslRwLock)),
            ("pthread_rwlock_timedwrlock", Role::Lock(MuslRwLock)),
            ("sem_timedwait", Role::Lock(MuslSemaphore)),
            ("__pthread_once_full", Role::Lock(MuslOnce)),
            ("__pthread_rwlock_rdlock", Role::Read(MuslRwLock)),
            ("__pthread_join", Role::Idle),
            ("__pthread_self", Role::Plain),
            ("pthread_cond_timedwait", Role::CondWait),
            ("pthread_barrier_wait", Role::Idle),
            ("__libc_malloc_impl", Role::Lock(LowLevel)),
            ("__timedwait_cp", Role::Through),
            ("__syscall_cp_c", Role::Shared),
            // Of the program, which it is linked with statically.
            ("wait", Role::Plain),
            ("lock", Role::Plain),
            ("malloc_mutex_lock", Role::Plain),
            ("take_gil", Role::Lock(PythonGil)),
            ("_ZN3std3sys4sync5mutex5futex5Mutex14lock_contended17h0123456789abcdefE", Role::Lock(RustMutex)),
        ];
        for (symbol, expected) in table {
            assert_eq!(role(symbol, Library::Musl), expected, "{symbol}");
        }
        assert_eq!(role("pthread_mutex_lock", Library::None), Role::Plain, "another C library");
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
            assert_eq!(role(symbol, Library::None), expected, "{symbol}");
        }
        assert_eq!(role("syscall", Library::None), Role::Shared);
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
        assert!(run_time_library("ld-musl-x86_64.so.1"));
        assert!(run_time_library("libc.so.6") && !run_time_library("libcrypto.so.3"));
    }
}
