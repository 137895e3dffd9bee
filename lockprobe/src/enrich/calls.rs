//! Names of system calls that a thread may sleep in for long.

/// The name of a system call, else its number.
pub fn name(number: u64) -> String {
    let mut calls = CALLS.iter().chain(OLD_CALLS);
    let known = calls.find(|(call, _)| u64::try_from(*call) == Ok(number));
    known.map_or_else(|| format!("system call {number}"), |(_, name)| (*name).to_owned())
}

macro_rules! calls {
    ($($name:ident $call:ident;)*) => { &[$((libc::$call, stringify!($name))),*] };
}

/// Calls every machine has.
const CALLS: &[(libc::c_long, &str)] = calls! {
    read SYS_read;
    write SYS_write;
    pread64 SYS_pread64;
    pwrite64 SYS_pwrite64;
    readv SYS_readv;
    writev SYS_writev;
    openat SYS_openat;
    close SYS_close;
    fsync SYS_fsync;
    fdatasync SYS_fdatasync;
    sync SYS_sync;
    syncfs SYS_syncfs;
    ftruncate SYS_ftruncate;
    unlinkat SYS_unlinkat;
    renameat2 SYS_renameat2;
    sendfile SYS_sendfile;
    splice SYS_splice;
    ioctl SYS_ioctl;
    flock SYS_flock;
    fcntl SYS_fcntl;
    accept SYS_accept;
    accept4 SYS_accept4;
    connect SYS_connect;
    sendto SYS_sendto;
    recvfrom SYS_recvfrom;
    sendmsg SYS_sendmsg;
    recvmsg SYS_recvmsg;
    recvmmsg SYS_recvmmsg;
    ppoll SYS_ppoll;
    pselect6 SYS_pselect6;
    epoll_pwait SYS_epoll_pwait;
    epoll_pwait2 SYS_epoll_pwait2;
    io_getevents SYS_io_getevents;
    io_uring_enter SYS_io_uring_enter;
    futex SYS_futex;
    futex_waitv SYS_futex_waitv;
    nanosleep SYS_nanosleep;
    clock_nanosleep SYS_clock_nanosleep;
    restart_syscall SYS_restart_syscall;
    rt_sigsuspend SYS_rt_sigsuspend;
    rt_sigtimedwait SYS_rt_sigtimedwait;
    wait4 SYS_wait4;
    waitid SYS_waitid;
    clone SYS_clone;
    clone3 SYS_clone3;
    execve SYS_execve;
    exit_group SYS_exit_group;
    semop SYS_semop;
    semtimedop SYS_semtimedop;
    msgsnd SYS_msgsnd;
    msgrcv SYS_msgrcv;
    mq_timedsend SYS_mq_timedsend;
    mq_timedreceive SYS_mq_timedreceive;
    mmap SYS_mmap;
    munmap SYS_munmap;
    msync SYS_msync;
    madvise SYS_madvise;
    mount SYS_mount;
    sched_yield SYS_sched_yield;
};

/// Calls that newer machines do without.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(libc::c_long, &str)] = calls! {
    open SYS_open;
    poll SYS_poll;
    select SYS_select;
    pause SYS_pause;
    vfork SYS_vfork;
    fork SYS_fork;
    epoll_wait SYS_epoll_wait;
    unlink SYS_unlink;
    rename SYS_rename;
    mkdir SYS_mkdir;
    rmdir SYS_rmdir;
};
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(libc::c_long, &str)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_names_or_numbers() {
        assert_eq!(name(libc::SYS_clock_nanosleep as u64), "clock_nanosleep");
        assert_eq!(name(99_999), "system call 99999");
        assert_eq!(name(u64::MAX), format!("system call {}", u64::MAX));
    }
}
