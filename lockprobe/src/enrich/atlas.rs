//! A stack as a list of functions, an address as a name: the maps and binaries of all processes.

use super::binary::{Binary, Place, Source, stamp};
use super::cache::Cache;
use super::maps::{Key, Mapping, Maps};
use super::meaning;
use super::names::{self, Library};
use super::source;
use super::unwind::{self, Registers, Stack};
use crate::model::{CallSite, thread::printable};
use std::sync::Arc;
use std::time::Duration;

/// Binaries and processes remembered.
const BINARIES: usize = 256;
const PROCESSES: usize = 1024;
/// Frames of a stack looked at.
const FRAMES: usize = 24;
/// Maps are not read again for an unknown address before they are this old: a program that starts
/// maps its libraries within milliseconds, and what it waits for must not be judged without them.
const STALE: Duration = Duration::from_millis(20);
/// The same for code that the program made itself, of which there is no end.
const STALE_FOR_GENERATED: Duration = Duration::from_millis(500);

/// A function of a stack.
pub struct Frame {
    /// Instruction, or return address.
    pub pc: u64,
    /// Where that return address lies, counted from the stack pointer; 0 for the first frame.
    pub slot: u64,
    /// Address as linked: of the instruction, or of the call.
    pub address: u64,
    /// What lies there.
    pub place: Place,
    /// The mapping it lies in.
    pub mapping: Mapping,
    libc: bool,
}

/// The maps and binaries of all processes.
pub struct Atlas {
    processes: Cache<u32, Maps>,
    binaries: Cache<Key, Option<Binary>>,
    /// Binaries whose file was compared with what is remembered, by process.
    checked: Cache<(u32, Key), ()>,
}

impl Atlas {
    /// Empty.
    pub fn new() -> Self {
        Self {
            processes: Cache::new(PROCESSES),
            binaries: Cache::new(BINARIES),
            checked: Cache::new(4 * PROCESSES),
        }
    }

    /// Forgets a process, not its binaries.
    pub fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.checked.retain(|(of, _)| *of != pid);
    }

    pub(super) fn maps(&mut self, pid: u32) -> &Maps {
        if self.processes.get(&pid).is_none() {
            self.processes.insert(pid, Maps::of(pid));
        }
        // Present: looked up or inserted just now.
        self.processes.get(&pid).expect("inserted")
    }

    /// Reads the maps again if they are older than this.
    fn refresh(&mut self, pid: u32, age: Duration) {
        if self.maps(pid).read.elapsed() >= age {
            self.processes.insert(pid, Maps::of(pid));
        }
    }

    fn find(&mut self, pid: u32, address: u64) -> Option<Mapping> {
        if self.maps(pid).find(address).is_none() {
            let generated = self.maps(pid).is_generated(address);
            self.refresh(pid, if generated { STALE_FOR_GENERATED } else { STALE });
        }
        self.maps(pid).find(address).cloned()
    }

    pub(super) fn binary(&mut self, source: &Source<'_>) -> Option<&mut Binary> {
        let key = source.mapping.key;
        let seen = (source.pid, key);
        if self.checked.get(&seen).is_none() {
            // A new process: its file may be another under the same inode.
            let now = source.file().and_then(stamp);
            let known = self
                .binaries
                .get(&key)
                .is_some_and(|b| b.as_ref().is_none_or(|b| Some(b.stamp) == now));
            if !known {
                self.binaries.insert(key, source.file().and_then(Binary::read));
            }
            self.checked.insert(seen, ());
        }
        if self.binaries.get(&key).is_none() {
            self.binaries.insert(key, source.file().and_then(Binary::read));
        }
        self.binaries.get(&key)?.as_mut()
    }

    pub(super) fn frame(&mut self, pid: u32, pc: u64, slot: u64, first: bool) -> Option<Frame> {
        // A return address may be the first byte of the next function.
        let inside = if first { pc } else { pc.checked_sub(1)? };
        let mapping = self.find(pid, inside)?;
        let source = Source::new(pid, &mapping);
        let binary = self.binary(&source)?;
        let address = binary.elf.code_address(inside - mapping.start + mapping.offset)?;
        let goes_on = if first { address } else { address + 1 };
        let place = binary.place(&source, address, goes_on)?;
        let libc = binary.library() != Library::None;
        Some(Frame { pc, slot, address, place, mapping, libc })
    }

    /// The functions a thread came through, the one that sleeps first.
    pub fn frames(&mut self, pid: u32, start: Registers, stack: &Stack<'_>) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        let (mut at, mut slot) = (start, 0);
        while frames.len() < FRAMES {
            let Some(mut frame) = self.frame(pid, at.pc, slot, frames.is_empty()) else {
                break;
            };
            if frames.len() == 1 && frames[0].place.role == meaning::Role::Shared {
                self.look_inside(pid, &mut frame);
            }
            if frames.last().is_some_and(|below| !self.leads_to(pid, below, &frame)) {
                break;
            }
            let step = frame.place.step;
            frames.push(frame);
            let Some(up) = step.and_then(|step| unwind::caller(at, &step, stack)) else {
                break;
            };
            (at, slot) = up;
        }
        frames
    }

    /// Whether one function may have been called from another. What unwind tables say is so; what
    /// was found in code is held to it that a return address follows a call.
    pub(super) fn leads_to(&mut self, pid: u32, below: &Frame, frame: &Frame) -> bool {
        let source = Source::new(pid, &frame.mapping);
        let Some(binary) = self.binary(&source) else { return false };
        !below.place.by_code || binary.follows_call(&source, frame.address + 1)
    }

    /// A caller of `syscall` that says nothing may contain one that does, if the compiler put it
    /// there: link-time optimisation does that to Rust's library.
    fn look_inside(&mut self, pid: u32, frame: &mut Frame) {
        let source = Source::new(pid, &frame.mapping);
        let Some(binary) = self.binary(&source) else { return };
        if frame.place.role == meaning::Role::Plain && binary.elf.lines {
            frame.place.role = binary.look_inside(&source, frame.address);
        }
    }

    /// The same in the words of the rules.
    pub fn meanings(frames: &[Frame]) -> Vec<meaning::Frame> {
        let home = frames.first().map(|f| f.mapping.key);
        let meaning = |f: &Frame| meaning::Frame {
            role: f.place.role,
            home: Some(f.mapping.key) == home,
            libc: f.libc,
        };
        frames.iter().map(meaning).collect()
    }

    /// A run time with locks of its own is part of the process.
    pub fn has_runtime(&mut self, pid: u32) -> bool {
        self.maps(pid).code().any(|m| names::has_runtime(m.file_name()))
    }

    /// Where the deciding return address lies for this sleeping instruction: as chosen before, else
    /// as said now.
    pub fn anchor(&mut self, frame: &Frame, say: Option<u32>) -> Option<u32> {
        let anchors = &mut self.binaries.get(&frame.mapping.key)?.as_mut()?.anchors;
        match (anchors.get(&frame.address), say) {
            (Some(chosen), _) => Some(*chosen),
            (None, Some(slot)) => Some(*anchors.insert(frame.address, slot)),
            (None, None) => None,
        }
    }

    /// The first place outside lock libraries; else the last one in them that has a name.
    pub fn call_site(&mut self, pid: u32, frames: &[Frame]) -> Option<CallSite> {
        let mut last = None;
        // The sleeping instruction itself is no one's call, unless there is nothing else.
        for frame in frames.iter().skip(usize::from(frames.len() > 1)) {
            let program = match frame.place.role {
                meaning::Role::Plain => true,
                meaning::Role::Nameless => !frame.libc,
                _ => false,
            };
            if !program || names::run_time_library(frame.mapping.file_name()) {
                continue;
            }
            let site = self.site(pid, frame)?;
            if !names::internal(&site.function) {
                return Some(site);
            }
            // Where a thread begins says less than anything above it.
            if last.is_none() || !names::outset(&site.function) {
                last = Some(site);
            }
        }
        last
    }

    /// The call before a return address.
    pub fn call_before(&mut self, pid: u32, return_address: u64) -> Option<CallSite> {
        let frame = self.frame(pid, return_address, 0, false)?;
        self.site(pid, &frame)
    }

    fn site(&mut self, pid: u32, frame: &Frame) -> Option<CallSite> {
        let source = Source::new(pid, &frame.mapping);
        let binary = self.binary(&source)?;
        if let Some(site) = binary.sites.get(&frame.address) {
            return Some(site.clone());
        }
        let symbol = frame.place.symbol.as_deref().map(names::readable).unwrap_or_default();
        let line =
            if binary.elf.lines { source::line(&source, frame.address, &symbol) } else { None };
        let (function, place) = line.map_or((symbol, None), |l| (l.function, l.place));
        let site = CallSite {
            function,
            source: place,
            module: printable(frame.mapping.file_name()),
            offset: frame.pc.wrapping_sub(frame.mapping.start).wrapping_add(frame.mapping.offset),
        };
        binary.sites.insert(frame.address, site.clone());
        Some(site)
    }

    /// Name of the static object at an address.
    pub fn object(&mut self, pid: u32, address: u64) -> Option<String> {
        // Zero-initialised data lies behind the file's last mapping, without a file of its own.
        let mapping = self.maps(pid).below(address)?.clone();
        let code = self.maps(pid).code_near(mapping.key, address)?.clone();
        let source = Source::new(pid, &code);
        let binary = self.binary(&source)?;
        let bias = binary.elf.bias(code.start, code.offset, code.end - code.start)?;
        let linked = address.wrapping_sub(bias);
        let inside = |p: &super::elf::Part| p.writable && linked.wrapping_sub(p.address) < p.memory;
        binary.elf.loads.iter().any(inside).then(|| binary.object(&source, linked))?
    }

    /// Device, inode and offset of an address in shared memory, and the file it has, if it has one.
    pub fn shared(&mut self, pid: u32, address: u64) -> Option<((u64, u64, u64), Option<String>)> {
        // Shared memory comes and goes, and its identity must not be that of its predecessor.
        self.refresh(pid, Duration::from_millis(20));
        let mapping = self.maps(pid).find(address).filter(|m| m.shared)?;
        let offset = mapping.offset.checked_add(address - mapping.start)?;
        let path = mapping.path.strip_suffix(" (deleted)").unwrap_or(&mapping.path);
        // Memory that only fork shares has a name that all of it has.
        let path = (path != "/dev/zero").then(|| printable(path));
        Some(((mapping.key.0, mapping.key.1, offset), path))
    }
}

impl Frame {
    /// The function, as people read it.
    pub fn function(&self) -> Option<Arc<str>> {
        self.place.symbol.as_deref().map(|s| names::readable(s).into())
    }
}
