//! Where a process has mapped which file.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::Instant;

/// Longest `/proc/PID/maps` read: some 80 000 lines.
const LONGEST: u64 = 8 << 20;

/// A file by device and inode.
pub type Key = (u64, u64);

/// One mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address behind it.
    pub end: u64,
    /// Offset in the file of the first address.
    pub offset: u64,
    /// The file.
    pub key: Key,
    /// Can be executed.
    pub code: bool,
    /// Shared between processes.
    pub shared: bool,
    /// Path in the process's mount namespace.
    pub path: Arc<str>,
}

impl Mapping {
    /// File name without directory.
    pub fn file_name(&self) -> &str {
        let path = self.path.strip_suffix(" (deleted)").unwrap_or(&self.path);
        path.rsplit('/').next().unwrap_or(path)
    }

    /// Where the file can be opened from outside: by mapping, which works for deleted files and in
    /// containers, else by path, if that still leads to the same file.
    pub fn open(&self, pid: u32) -> Option<File> {
        let by_mapping = format!("/proc/{pid}/map_files/{:x}-{:x}", self.start, self.end);
        open_regular(&by_mapping, self.key.1)
            .or_else(|| open_regular(&format!("/proc/{pid}/root{}", self.path), self.key.1))
            .or_else(|| self.open_here())
    }

    /// The process is gone: the file by its path here, if it is beyond doubt the same.
    fn open_here(&self) -> Option<File> {
        let file = open_regular(&self.path, self.key.1)?;
        (file.metadata().ok()?.dev() == self.key.0).then_some(file)
    }
}

fn open_regular(path: &str, inode: u64) -> Option<File> {
    // Only regular files: opening a device can have effects, opening a pipe can block.
    let fits = |m: &std::fs::Metadata| m.is_file() && m.ino() == inode;
    std::fs::metadata(path).ok().filter(fits)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().ok().filter(fits)?;
    Some(file)
}

/// The file mappings of a process, by address.
#[derive(Debug)]
pub struct Maps {
    entries: Vec<Mapping>,
    /// Executable memory without a file: code a program made itself. First and behind last.
    generated: Vec<(u64, u64)>,
    /// When they were read.
    pub read: Instant,
}

impl Maps {
    /// Reads them; empty when the process is gone.
    pub fn of(pid: u32) -> Self {
        let mut text = Vec::new();
        if let Ok(file) = File::open(format!("/proc/{pid}/maps")) {
            // What was read before an error is still true.
            let _ = file.take(LONGEST).read_to_end(&mut text);
        }
        let text = String::from_utf8_lossy(&text);
        Self { entries: parse(&text), generated: generated(&text), read: Instant::now() }
    }

    /// The mapping an address lies in.
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        self.below(address).filter(|m| address < m.end)
    }

    /// The last mapping that begins at or below an address.
    pub fn below(&self, address: u64) -> Option<&Mapping> {
        self.entries[..self.entries.partition_point(|m| m.start <= address)].last()
    }

    /// The address lies in code the program made itself.
    pub fn is_generated(&self, address: u64) -> bool {
        let at = self.generated.partition_point(|&(start, _)| start <= address);
        self.generated[..at].last().is_some_and(|&(_, end)| address < end)
    }

    /// Code mapped from files, for those who look for a certain one.
    pub fn code(&self) -> impl Iterator<Item = &Mapping> {
        self.entries.iter().filter(|m| m.code)
    }

    /// The executable mapping of a file that lies nearest to an address.
    pub fn code_near(&self, key: Key, address: u64) -> Option<&Mapping> {
        let code = self.entries.iter().filter(|m| m.key == key && m.code);
        code.min_by_key(|m| m.start.abs_diff(address))
    }
}

/// Lines of `/proc/PID/maps` that map a file.
fn parse(text: &str) -> Vec<Mapping> {
    let mut entries: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let Some(mut mapping) = parse_line(line) else {
            continue;
        };
        if let Some(last) = entries.last().filter(|last| last.path == mapping.path) {
            mapping.path = Arc::clone(&last.path);
        }
        entries.push(mapping);
    }
    entries
}

/// Executable memory without a file and without a name, by address.
fn generated(text: &str) -> Vec<(u64, u64)> {
    let range = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (range, flags) = (fields.next()?, fields.next()?);
        let inode = fields.nth(2)?;
        // What has a name in brackets is the kernel's or the heap.
        let anonymous = inode == "0" && fields.next().is_none_or(|name| !name.starts_with("[v"));
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = range.split_once('-')?;
        let code = flags.as_bytes().get(2) == Some(&b'x');
        (anonymous && code).then_some((hex(start)?, hex(end)?))
    };
    text.lines().filter_map(range).collect()
}

fn parse_line(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let trimmed = rest.trim_start_matches(' ');
        let (head, tail) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
        rest = tail;
        head
    };
    let (range, flags, offset, device, inode) = (field(), field(), field(), field(), field());
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    let inode = inode.parse().ok().filter(|&i| i != 0)?;
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        key: (libc::makedev(hex(major)? as u32, hex(minor)? as u32), inode),
        code: flags.as_bytes().get(2) == Some(&b'x'),
        shared: flags.as_bytes().get(3) == Some(&b's'),
        path: rest.trim_start_matches(' ').into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
55d0a000-55d0b000 r--p 00000000 08:01 42                         /opt/my program (deleted)
55d0b000-55d0d000 r-xp 00001000 08:01 42                         /opt/my program (deleted)
55d0f000-55d10000 rw-p 00004000 08:01 42                         /opt/my program (deleted)
55d10000-55d12000 rw-p 00000000 00:00 0
6f000000-6f002000 r-xp 00000000 00:00 0
7f000000-7f001000 rw-s 00002000 00:1a 7                          /dev/shm/ring
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0          [vsyscall]
nonsense
";

    #[test]
    fn lines_become_mappings() {
        let (entries, generated) = (parse(TEXT), generated(TEXT));
        let maps = Maps { entries, generated, read: Instant::now() };
        assert_eq!(maps.entries.len(), 4);
        let code = maps.find(0x55d0_b010).unwrap();
        assert_eq!(
            (code.file_name(), code.offset, code.code, code.shared),
            ("my program", 0x1000, true, false)
        );
        assert_eq!(code.key, (libc::makedev(8, 1), 42));
        assert!(maps.find(0x55d0_e000).is_none(), "a hole");
        assert!(maps.find(0x55d1_0000).is_none(), "anonymous");
        assert_eq!(maps.below(0x55d1_0000).unwrap().offset, 0x4000);
        assert_eq!(maps.code_near(code.key, 0x55d1_0000), Some(code));
        let ring = maps.find(0x7f00_0008).unwrap();
        assert_eq!((ring.shared, ring.key.1, ring.offset), (true, 7, 0x2000));
        assert!(maps.find(0).is_none());
        assert!(maps.is_generated(0x6f00_1fff) && !maps.is_generated(0x6f00_2000));
        assert!(!maps.is_generated(0x55d0_b010), "from a file");
        assert!(!maps.is_generated(0xffff_ffff_ff60_0000), "the kernel's");
        assert_eq!(maps.code().count(), 1);
    }
}
