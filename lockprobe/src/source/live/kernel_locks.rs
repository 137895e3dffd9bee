//! Where the kernel keeps the locks of files, and semaphores.

use std::hash::{BuildHasher as _, RandomState};

use super::btf::Offsets;
use super::load::{Constant, Members};
use crate::source::Error;

/// Structures whose members [`constants`] asks for.
pub const STRUCTURES: [&str; 21] = [
    "fs_struct",
    "path",
    "dentry",
    "files_struct",
    "fdtable",
    "file",
    "inode",
    "super_block",
    "file_lock_context",
    "file_lock",
    "file_lock_core",
    "nsproxy",
    "ns_common",
    "ipc_namespace",
    "ipc_ids",
    "idr",
    "xarray",
    "xa_node",
    "kern_ipc_perm",
    "sem_array",
    "sem",
];

/// Offsets on the way from a thread to a lock.
pub fn constants(get: &Members<'_>, offsets: &Offsets) -> Result<Vec<Constant>, Error> {
    let mut constants = of_files(get)?;
    constants.extend(of_semaphores(get, offsets)?);
    Ok(constants)
}

fn of_semaphores(get: &Members<'_>, offsets: &Offsets) -> Result<Vec<Constant>, Error> {
    // Semaphores are the first of the three kinds a namespace keeps.
    let tree = [("ipc_namespace", "ids"), ("ipc_ids", "ipcs_idr"), ("idr", "idr_rt")];
    let tree = tree.into_iter().map(|(structure, member)| get(structure, member));
    let tree: u64 = tree.sum::<Result<u64, Error>>()? + get("xarray", "xa_head")?;
    Ok(vec![
        ("TASK_NSPROXY", get("task_struct", "nsproxy")?),
        ("NSPROXY_IPC", get("nsproxy", "ipc_ns")?),
        ("IPC_INUM", get("ipc_namespace", "ns")? + get("ns_common", "inum")?),
        ("IPC_SEMAPHORES", tree),
        ("IPC_ID", get("kern_ipc_perm", "id")?),
        ("NODE_SHIFT", get("xa_node", "shift")?),
        ("NODE_SLOTS", get("xa_node", "slots")?),
        ("SET_SEMAPHORES", get("sem_array", "sems")?),
        ("SEMAPHORE_SIZE", offsets.size("sem").unwrap_or(64)),
        ("SEMAPHORE_VALUE", get("sem", "semval")?),
        ("SEMAPHORE_PID", get("sem", "sempid")?),
    ])
}

fn of_files(get: &Members<'_>) -> Result<Vec<Constant>, Error> {
    // Since Linux 6.9 what locks and leases share is a structure of its own, at the beginning.
    let core = |member: &str| {
        let own = get("file_lock_core", &format!("flc_{member}"));
        own.or_else(|_| get("file_lock", &format!("fl_{member}")))
    };
    Ok(vec![
        ("TASK_FS", get("task_struct", "fs")?),
        ("FS_ROOT", get("fs_struct", "root")? + get("path", "dentry")?),
        ("FS_PWD", get("fs_struct", "pwd")? + get("path", "dentry")?),
        ("DENTRY_INODE", get("dentry", "d_inode")?),
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
