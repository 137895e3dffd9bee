//! Where the kernel keeps the locks of files.

use std::hash::{BuildHasher as _, RandomState};

use super::load::{Constant, Members};
use crate::source::Error;

/// Structures whose members [`constants`] asks for.
pub const STRUCTURES: [&str; 8] = [
    "files_struct",
    "fdtable",
    "file",
    "inode",
    "super_block",
    "file_lock_context",
    "file_lock",
    "file_lock_core",
];

/// Offsets on the way from a thread to a lock.
pub fn constants(get: &Members<'_>) -> Result<Vec<Constant>, Error> {
    // Since Linux 6.9 what locks and leases share is a structure of its own, at the beginning.
    let core = |member: &str| {
        let own = get("file_lock_core", &format!("flc_{member}"));
        own.or_else(|_| get("file_lock", &format!("fl_{member}")))
    };
    Ok(vec![
        ("TASK_FILES", get("task_struct", "files")?),
        ("FILES_FDT", get("files_struct", "fdt")?),
        ("FDT_MAX", get("fdtable", "max_fds")?),
        ("FDT_FD", get("fdtable", "fd")?),
        ("FILE_INODE", get("file", "f_inode")?),
        ("INODE_NUMBER", get("inode", "i_ino")?),
        ("INODE_SB", get("inode", "i_sb")?),
        ("INODE_LOCKS", get("inode", "i_flctx")?),
        ("SB_DEVICE", get("super_block", "s_dev")?),
        ("LOCKS_FLOCK", get("file_lock_context", "flc_flock")?),
        ("LOCKS_POSIX", get("file_lock_context", "flc_posix")?),
        ("FL_BLOCKER", core("blocker")?),
        ("FL_LIST", core("list")?),
        ("FL_OWNER", core("owner")?),
        ("FL_FLAGS", core("flags")?),
        ("FL_TYPE", core("type")?),
        ("FL_PID", core("pid")?),
        ("FL_START", get("file_lock", "fl_start")?),
        ("FL_END", get("file_lock", "fl_end")?),
        // Addresses of the kernel leave it mixed with a number that is new in every run.
        ("OWNER_SALT", RandomState::new().hash_one(0)),
    ])
}
