//! What a file with a lock is called, and who a process is that has one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::model::thread::printable;
use crate::model::{FileFact, HolderFact, ThreadId};

/// Most descriptors of a process looked at for a file.
const DESCRIPTORS_AT_MOST: usize = 4096;

/// The path by which a thread has a file open: of this descriptor, else of any of its process.
///
/// The device is not compared: of an overlay, stat(2) tells another than the kernel locks by.
pub fn name(thread: ThreadId, descriptor: Option<u32>, device: u32, inode: u64) -> FileFact {
    let of = |name: &str| target(&format!("/proc/{}/fd/{name}", thread.pid), inode);
    let named = descriptor.and_then(|number| of(&number.to_string()));
    let path = named.or_else(|| {
        let all = fs::read_dir(format!("/proc/{}/fd", thread.pid)).ok()?.flatten();
        let names = all.take(DESCRIPTORS_AT_MOST).map(|entry| entry.file_name());
        names.into_iter().find_map(|name| of(name.to_str()?))
    });
    let text = path.map(|path| printable(&path.to_string_lossy()));
    FileFact { device, inode, path: text.map(|t| t.trim_end_matches(" (deleted)").to_owned()) }
}

/// The path of a thread's working directory, or of one it has open. One that is gone, or was changed
/// since, has none.
pub fn directory(thread: ThreadId, descriptor: Option<u32>, device: u32, inode: u64) -> FileFact {
    let link = match descriptor {
        Some(number) => format!("/proc/{}/fd/{number}", thread.pid),
        None => format!("/proc/{}/task/{}/cwd", thread.pid, thread.tid),
    };
    let path = target(&link, inode);
    FileFact { device, inode, path: path.map(|path| printable(&path.to_string_lossy())) }
}

/// Where a link of /proc leads, if that is this file.
fn target(link: &str, inode: u64) -> Option<PathBuf> {
    let same = fs::metadata(link).is_ok_and(|file| file.ino() == inode);
    same.then(|| fs::read_link(link).ok()).flatten()
}

/// Name of a process and how many threads it has.
pub fn holder(pid: u32) -> HolderFact {
    let text = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        // A name is any bytes.
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let status = text("status");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let threads = field("Threads:").and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    // The status escapes what a name may hold; this does not.
    let name = text("comm");
    HolderFact { pid, name: printable(name.trim_end_matches('\n')), threads }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn our_own_file_is_found_by_descriptor_and_without() {
        let own = ThreadId { pid: std::process::id(), tid: 0 };
        let exe = std::env::current_exe().unwrap();
        let file = fs::File::open(&exe).unwrap();
        let inode = file.metadata().unwrap().ino();
        for descriptor in [Some(file.as_raw_fd() as u32), Some(0), Some(9999), None] {
            let fact = name(own, descriptor, 1, inode);
            assert_eq!(fact.path.as_deref(), exe.to_str(), "{descriptor:?}");
        }
        assert_eq!(name(own, None, 1, u64::MAX).path, None);
    }

    #[test]
    fn a_process_that_is_not_there_has_no_threads() {
        assert_eq!(holder(u32::MAX), HolderFact { pid: u32::MAX, name: String::new(), threads: 0 });
        assert!(holder(std::process::id()).threads > 0);
    }
}
