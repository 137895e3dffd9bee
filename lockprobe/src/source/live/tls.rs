//! Clients that encrypt what they say: probes on the TLS library they use.
//!
//! Nothing is probed before a client of a lock server is seen to encrypt. Then the library of that
//! process is, for all processes that have it: the next ones are seen from their first word.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;

use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeScope};
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSegment as _, ObjectSymbol as _, ReadCache};

use super::load;
use super::multi::{Multi, Tables};

type Elf<'a> = ElfFile64<'a, Endianness, &'a ReadCache<File>>;

/// Function, and the programs at its entry and at its return.
const FUNCTIONS: [(&str, &str, Option<&str>); 6] = [
    ("SSL_write", "tls_write", Some("tls_sent")),
    ("SSL_write_ex", "tls_write_ex", Some("tls_sent")),
    ("SSL_read", "tls_read", Some("tls_received")),
    ("SSL_read_ex", "tls_read_ex", Some("tls_received")),
    ("SSL_do_handshake", "tls_handshake", None),
    ("SSL_connect", "tls_handshake", None),
];
const PROGRAMS: [&str; 7] = [
    "tls_write",
    "tls_write_ex",
    "tls_read",
    "tls_read_ex",
    "tls_handshake",
    "tls_sent",
    "tls_received",
];
/// The least a library must have to be one.
const NEEDED: [&str; 2] = ["SSL_write", "SSL_read"];

/// Most files looked at for one process.
const FILES_AT_MOST: usize = 512;
/// Most files and processes remembered.
const AT_MOST: usize = 4096;
/// Kernels that return from a function by a system call of their own, which a seccomp filter that
/// does not know it answers with death (uretprobe, Linux 6.11; let through since 6.14).
const DEADLY: [(u32, u32); 2] = [(6, 11), (6, 14)];

/// A file by device and inode.
type Key = (u64, u64);

/// The probes on TLS libraries.
#[derive(Default)]
pub struct Tls {
    /// The tables, for programs that are loaded later.
    tables: Tables,
    loaded: bool,
    /// Programs for all processes, where the kernel has such links; `None` before it was tried.
    multi: Option<Option<Multi>>,
    /// What was found in files: offsets of functions.
    known: HashMap<Key, Option<Functions>>,
    attached: HashSet<(Key, u32)>,
    asked: HashSet<u32>,
}

type Functions = HashMap<&'static str, u64>;

impl Tls {
    /// None yet.
    pub fn new(tables: Tables) -> Self {
        Self { tables, ..Self::default() }
    }

    /// A process encrypts what it says to a lock server. Whether its library is probed.
    pub fn follow(&mut self, ebpf: &mut Ebpf, pid: u32) -> bool {
        if self.asked.len() >= AT_MOST {
            self.asked.clear();
        }
        if !self.asked.insert(pid) {
            return true;
        }
        let deadly = load::is_at_least(DEADLY[0]) && !load::is_at_least(DEADLY[1]);
        if deadly && is_confined(pid) {
            return false;
        }
        let mut found = false;
        for file in candidates(pid) {
            let Ok(at) = fs::metadata(&file) else { continue };
            let key = (at.dev(), at.ino());
            if self.known.len() >= AT_MOST {
                self.known.clear();
            }
            let functions = self.known.entry(key).or_insert_with(|| functions(&file)).clone();
            let Some(functions) = functions else { continue };
            let scope = if deadly { pid } else { 0 };
            if self.attached.contains(&(key, scope)) {
                return true;
            }
            // Probes by perf first: their programs are verified function by function, which takes a
            // moment; those for the other kind come without types, and take most of a second.
            let attached = self.attach(ebpf, &file, &functions, scope).is_some();
            if attached || scope == 0 && self.attach_for_all(&file, &functions).is_some() {
                self.attached.insert((key, scope));
                found = true;
            }
        }
        found
    }

    /// Takes out the probes that are not the object's own; they end when this is dropped.
    pub fn detach(&mut self) -> Option<Multi> {
        self.multi.take().flatten()
    }

    fn attach_for_all(&mut self, file: &str, found: &Functions) -> Option<()> {
        let tables = &self.tables;
        let multi = self.multi.get_or_insert_with(|| Multi::load(tables, &PROGRAMS)).as_mut()?;
        multi.attach_all(file, sites(found))
    }

    fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        file: &str,
        functions: &Functions,
        pid: u32,
    ) -> Option<()> {
        if !self.loaded {
            for name in PROGRAMS {
                program(ebpf, name)?.load().ok()?;
            }
            self.loaded = true;
        }
        let scope = NonZeroU32::new(pid).map_or(UProbeScope::AllProcesses, UProbeScope::OneProcess);
        for (name, offset, _) in sites(functions) {
            let location = UProbeAttachLocation::AbsoluteOffset(offset);
            program(ebpf, name)?.attach(location, file, scope).ok()?;
        }
        Some(())
    }
}

/// Program, offset, and whether at the return. Returns first: a call whose entry is seen and whose
/// return is not leaves nothing behind.
fn sites(functions: &Functions) -> impl Iterator<Item = (&'static str, u64, bool)> {
    [true, false].into_iter().flat_map(move |returns| {
        FUNCTIONS.into_iter().filter_map(move |(function, entry, back)| {
            let name = if returns { back } else { Some(entry) };
            Some((name?, *functions.get(function)?, returns))
        })
    })
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Option<&'a mut UProbe> {
    ebpf.program_mut(name)?.try_into().ok()
}

/// Whether a process has a filter on its system calls.
fn is_confined(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_none_or(|mode| mode.trim() != "0")
}

/// Files whose code a process runs, those that are called after TLS first.
fn candidates(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut found: Vec<(u8, String)> = Vec::new();
    let mut seen = HashSet::new();
    for line in text.lines().take(100_000) {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(flags)) = (fields.next(), fields.next()) else { continue };
        let path = fields.nth(3).unwrap_or_default();
        if !flags.contains('x') || !path.starts_with('/') || !seen.insert(path.to_owned()) {
            continue;
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        let rank = u8::from(!name.contains("ssl")) + u8::from(name.contains(".so"));
        found.push((rank, format!("/proc/{pid}/map_files/{range}")));
        if found.len() >= FILES_AT_MOST {
            break;
        }
    }
    found.sort();
    found.into_iter().map(|(_, file)| file).collect()
}

/// The functions of a file that are to be probed; `None` where it is no TLS library.
fn functions(path: &str) -> Option<Functions> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let elf = Elf::parse(&cache).ok()?;
    let mut found = Functions::new();
    for symbol in elf.dynamic_symbols().filter(|symbol| symbol.is_definition()) {
        let Ok(name) = symbol.name() else { continue };
        if let Some((known, ..)) = FUNCTIONS.iter().find(|(known, ..)| *known == name)
            && let Some(offset) = offset_of(&elf, symbol.address())
        {
            found.insert(known, offset);
        }
    }
    NEEDED.iter().all(|name| found.contains_key(name)).then_some(found)
}

fn offset_of(elf: &Elf<'_>, address: u64) -> Option<u64> {
    elf.segments().find_map(|segment| {
        let within = address.checked_sub(segment.address())?;
        let (start, length) = segment.file_range();
        (within < length).then_some(start + within)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_tls_has_no_such_functions() {
        assert!(functions("/proc/self/exe").is_none());
        assert!(!candidates(std::process::id()).is_empty());
        assert!(candidates(u32::MAX).is_empty());
    }
}
