//! Files that are locks by being there: where they are, and whom they name.
//!
//! The path is followed as the thread follows it, in its own root and mounts, so that two ways to
//! one directory are one. What lies there is another's: it is opened without following a link, only
//! if it is a regular file of a local file system, without waiting, and a few bytes are read. A
//! process that a file names is gone only if there is nothing on this machine that could be meant.

mod people;
mod words;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::time::{Duration, SystemTime};

use people::{Named, Process, Written};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use words::Words;

use super::cache::Cache;
use crate::model::thread::printable;
use crate::model::{FoundFile, LockFileFact, NamedProcess, NamedState, ThreadId};

/// Bytes read of a file: what names a process is short.
const LONGEST: u64 = 256;
/// Files remembered whose process is gone: it never comes back.
const FORGOTTEN: usize = 1024;
/// Processes of other namespaces remembered.
const TRANSLATED: usize = 1024;
/// File systems that are of this machine alone (linux/magic.h): ext4, XFS, Btrfs, tmpfs, overlayfs,
/// F2FS, ZFS, ramfs, bcachefs. On any other a process of another machine may be meant.
const LOCAL: [u64; 9] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x794c_7630,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0x8584_58f6,
    0xca45_1a4e,
];

/// A file and what it says: device, inode, change of its content, the process.
type Stamp = (u64, u64, i64, i64, u32);

/// Which name of whose.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who came by it.
    pub thread: ThreadId,
    /// Root directory of the thread: device and inode.
    pub root: (u32, u64),
    /// The directory, from that root, as the thread spells it.
    pub directory: &'a str,
    /// The name in it.
    pub name: &'a str,
}

/// Looks at lock files.
pub struct LockFiles {
    gone: Cache<Stamp, ()>,
    people: people::Namespaces,
}

impl LockFiles {
    /// Knows nothing.
    pub fn new() -> Self {
        Self { gone: Cache::new(FORGOTTEN), people: people::Namespaces::new(TRANSLATED) }
    }

    /// Where a name is, and what lies there now.
    pub fn look(&mut self, asked: Asked<'_>) -> LockFileFact {
        let place = Place::find(&asked);
        let (directory, name) = (asked.directory.to_owned(), asked.name.to_owned());
        let at = place.as_ref().map(|place| place.at);
        let path = place.as_ref().and_then(|place| place.path.clone());
        let found = place.and_then(|place| self.found(asked, &place));
        LockFileFact { root: asked.root, directory, name, at, path, found }
    }

    fn found(&mut self, asked: Asked<'_>, place: &Place) -> Option<FoundFile> {
        let file = place.file(asked.name)?;
        let about = file.metadata().ok()?;
        let made = about.created().ok().map(monotonic_of);
        let said = if place.is_local() { read(&file, place, asked.name) } else { None };
        let says = said.map(|(words, changed, from)| {
            let stamp = (from.dev(), from.ino(), from.mtime(), from.mtime_nsec(), words.pid);
            let written = Written { at: changed, device: place.at.0 };
            let said = self.judge(asked.thread, &words, &written, stamp);
            // It may have been taken away before its maker ended.
            let still = place.file(asked.name).and_then(|file| file.metadata().ok());
            let same =
                still.is_some_and(|now| (now.dev(), now.ino()) == (about.dev(), about.ino()));
            match said.state {
                NamedState::Gone if !same => NamedProcess { state: NamedState::Unknown, ..said },
                _ => said,
            }
        });
        Some(FoundFile { made, says })
    }

    /// Who a process is that a file names, as a thread that found the file would number it.
    fn judge(
        &mut self,
        thread: ThreadId,
        words: &Words,
        written: &Written,
        stamp: Stamp,
    ) -> NamedProcess {
        let unknown = NamedProcess { pid: words.pid, ..NamedProcess::default() };
        let here = words.host.as_deref().is_none_or(|host| people::is_host_of(thread, host));
        if !here {
            return unknown;
        }
        let gone = NamedProcess { state: NamedState::Gone, ..unknown.clone() };
        if self.gone.get(&stamp).is_some() {
            return gone;
        }
        match self.people.named(thread, words.pid, written) {
            Named::There(Process { pid, name, threads }) => {
                let name = printable(&name);
                NamedProcess { host_pid: pid, name, threads, state: NamedState::There, ..unknown }
            }
            Named::Gone => {
                self.gone.insert(stamp, ());
                gone
            }
            Named::Unknown => unknown,
        }
    }
}

/// A directory.
struct Place {
    directory: File,
    at: (u64, u64),
    path: Option<String>,
}

impl Place {
    fn find(asked: &Asked<'_>) -> Option<Self> {
        let ThreadId { pid, tid } = asked.thread;
        let root = open_path(&format!("/proc/{pid}/task/{tid}/root"));
        // One that was refused and has ended went from where we do, if its root was ours.
        let root = root.or_else(|| open_path("/").filter(|ours| is_root(ours, asked.root)))?;
        let of_root = root.metadata().ok()?;
        // The device is not compared: of an overlay, stat(2) may tell another than the kernel has.
        if of_root.ino() != asked.root.1 {
            return None;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = ResolveFlags::IN_ROOT;
        let directory =
            rustix::fs::openat2(&root, asked.directory, flags, Mode::empty(), how).ok()?;
        let directory = File::from(directory);
        let about = directory.metadata().ok()?;
        let ours = std::fs::metadata("/").ok()?;
        // Of another root the path would be told from ours.
        let path = if (ours.dev(), ours.ino()) == (of_root.dev(), of_root.ino()) {
            std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()
        } else {
            None
        };
        let path = path.map(|path| printable(&path.to_string_lossy()));
        let path = path.filter(|path| !path.ends_with(" (deleted)"));
        Some(Self { directory, at: (about.dev(), about.ino()), path })
    }

    /// What lies under a name, whatever it is; not opened.
    fn file(&self, name: &str) -> Option<File> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = rustix::fs::openat2(&self.directory, name, flags, Mode::empty(), how).ok()?;
        Some(File::from(file))
    }

    fn is_local(&self) -> bool {
        let about = rustix::fs::fstatfs(self.directory.as_fd());
        about.is_ok_and(|about| LOCAL.contains(&(about.f_type as u64 & 0xffff_ffff)))
    }
}

/// Whether a directory is beyond doubt the one that the kernel numbers so: its major number is in
/// the upper 12 bits, its minor in the lower 20 (MKDEV, include/linux/kdev_t.h).
fn is_root(directory: &File, (device, inode): (u32, u64)) -> bool {
    let numbered = |about: std::fs::Metadata| {
        let (major, minor) = (libc::major(about.dev()), libc::minor(about.dev()));
        (major << 20 | minor, about.ino())
    };
    directory.metadata().is_ok_and(|about| numbered(about) == (device, inode))
}

/// A directory that is only named, not opened.
fn open_path(path: &str) -> Option<File> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()
}

/// What a lock says, when that was written, and what it was read from: a file, a link, or the file
/// `pid` in a directory.
fn read(file: &File, place: &Place, name: &str) -> Option<(Words, SystemTime, std::fs::Metadata)> {
    let about = file.metadata().ok()?;
    if about.file_type().is_fifo() || about.file_type().is_socket() {
        return None;
    }
    if about.is_symlink() {
        let link = rustix::fs::readlinkat(&place.directory, name, Vec::new()).ok()?;
        return Some((Words::of_link(link.as_bytes())?, about.modified().ok()?, about));
    }
    if about.is_dir() {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let inner = rustix::fs::openat2(file, "pid", flags, Mode::empty(), how).ok()?;
        return regular(&File::from(inner));
    }
    regular(file)
}

fn regular(file: &File) -> Option<(Words, SystemTime, std::fs::Metadata)> {
    let about = file.metadata().ok()?;
    if !about.is_file() {
        return None;
    }
    // By its descriptor: it is what was looked at, whatever has the name by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOATIME;
    let open = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut bytes = Vec::new();
    open.take(LONGEST).read_to_end(&mut bytes).ok()?;
    let about = file.metadata().ok()?;
    Some((Words::of_file(&bytes)?, about.modified().ok()?, about))
}

/// A time of the wall clock as CLOCK_MONOTONIC, as far as nobody has set that clock since; 0 for
/// what was before the machine began.
fn monotonic_of(time: SystemTime) -> u64 {
    let age = SystemTime::now().duration_since(time).unwrap_or(Duration::ZERO);
    super::enricher::monotonic().saturating_sub(age.as_nanos() as u64)
}

#[cfg(test)]
mod tests;
