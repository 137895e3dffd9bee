//! Which system calls make and remove names, for the programs that follow lock files.

use aya::Ebpf;
use aya::maps::Array;
use lockprobe_ebpf::wire::{made, name_call};

use crate::source::Error;

/// Number, what it does, the argument that is the path, the one that is the directory it starts
/// from, and what is made.
type Call = (i64, u32, u32, u32, u32);

/// Those of every architecture: the calls that name a directory.
const EVERYWHERE: [Call; 8] = [
    (libc::SYS_openat, name_call::OPEN, 1, 0, made::FILE),
    (libc::SYS_mkdirat, name_call::MAKE, 1, 0, made::DIRECTORY),
    (libc::SYS_linkat, name_call::MAKE, 3, 2, made::LINK),
    (libc::SYS_symlinkat, name_call::MAKE, 2, 1, made::LINK),
    (libc::SYS_unlinkat, name_call::REMOVE, 1, 0, made::FILE),
    (libc::SYS_renameat2, name_call::RENAME, 1, 0, made::FILE),
    (libc::SYS_flock, name_call::LOCK, name_call::NONE, name_call::NONE, made::FILE),
    (libc::SYS_fcntl, name_call::LOCK, name_call::NONE, name_call::NONE, made::FILE),
];

/// Those of old, which newer architectures have not.
#[cfg(target_arch = "x86_64")]
const OF_OLD: [Call; 8] = [
    (libc::SYS_open, name_call::OPEN, 0, name_call::NONE, made::FILE),
    (libc::SYS_mkdir, name_call::MAKE, 0, name_call::NONE, made::DIRECTORY),
    (libc::SYS_link, name_call::MAKE, 1, name_call::NONE, made::LINK),
    (libc::SYS_symlink, name_call::MAKE, 1, name_call::NONE, made::LINK),
    (libc::SYS_unlink, name_call::REMOVE, 0, name_call::NONE, made::FILE),
    (libc::SYS_rmdir, name_call::REMOVE, 0, name_call::NONE, made::DIRECTORY),
    (libc::SYS_rename, name_call::REMOVE, 0, name_call::NONE, made::FILE),
    (libc::SYS_renameat, name_call::REMOVE, 1, 0, made::FILE),
];
/// `rename` of glibc is this call where there is none of its own (sysdeps/unix/sysv/linux/rename.c).
#[cfg(not(target_arch = "x86_64"))]
const OF_OLD: [Call; 1] = [(libc::SYS_renameat, name_call::REMOVE, 1, 0, made::FILE)];

/// include/uapi/asm-generic/unistd.h: this is looked at by `cargo xtask check-aarch64`.
#[cfg(target_arch = "aarch64")]
const _: () = {
    let (mut at, numbers) = (0, [56, 34, 37, 36, 35, 276, 32, 25]);
    while at < numbers.len() {
        assert!(EVERYWHERE[at].0 == numbers[at]);
        at += 1;
    }
    assert!(OF_OLD[0].0 == 38);
};

/// Tells the programs which calls to look at.
pub fn prepare(ebpf: &mut Ebpf) -> Result<(), Error> {
    let wrong = |e: aya::maps::MapError| {
        Error::Failed(format!("the eBPF map CALLS cannot be used: {e}; rebuild lockprobe"))
    };
    let missing = || Error::Failed("the eBPF object has no map CALLS; rebuild lockprobe".into());
    let map = ebpf.map_mut("CALLS").ok_or_else(missing)?;
    let mut calls: Array<_, u32> = Array::try_from(map).map_err(wrong)?;
    for (number, what, path, directory, made) in EVERYWHERE.into_iter().chain(OF_OLD) {
        let packed = name_call::pack(what, path, directory, made);
        calls.set(number as u32, packed, 0).map_err(wrong)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockprobe_ebpf::wire::CALLS;
    use std::collections::HashSet;

    #[test]
    fn every_call_has_its_place_in_the_table() {
        let all: Vec<i64> = EVERYWHERE.iter().chain(&OF_OLD).map(|call| call.0).collect();
        assert!(all.iter().all(|&number| (0..i64::from(CALLS)).contains(&number)));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }
}
