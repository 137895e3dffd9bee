//! What is known of one binary: its headers, and whatever was asked of it before.

use super::aliases::Aliases;
use super::cache::Cache;
use super::cfi;
use super::code::{self, Code, Way};
use super::elf::{Elf, Kind, Symbol};
use super::maps::Mapping;
use super::meaning::Role;
use super::names::{self, Library};
use super::unwind::Step;
use crate::model::{CallSite, StackFrame};
use std::cell::OnceCell;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// Places of one binary remembered.
const PLACES: usize = 512;
/// Code looked at around a place that no unwind table knows.
const AROUND: u64 = 4096;

/// A file as a process has it mapped, opened when something has to be read.
pub struct Source<'a> {
    /// The process.
    pub pid: u32,
    /// One of its mappings of the file.
    pub mapping: &'a Mapping,
    file: OnceCell<Option<File>>,
}

impl<'a> Source<'a> {
    /// Not opened yet.
    pub fn new(pid: u32, mapping: &'a Mapping) -> Self {
        Self { pid, mapping, file: OnceCell::new() }
    }

    /// The file.
    pub fn file(&self) -> Option<&File> {
        self.file.get_or_init(|| self.mapping.open(self.pid)).as_ref()
    }
}

/// A place in code.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Symbol of the function.
    pub symbol: Option<Arc<str>>,
    /// What it is to a wait.
    pub role: Role,
    /// How to leave it.
    pub step: Option<Step>,
    /// The unwind tables know the place, or all that can be said of it was found in its code.
    pub covered: bool,
    /// How to leave it was found in its code: what is returned to must follow a call.
    pub by_code: bool,
    /// Nobody called it: the stack ends here.
    pub bottom: bool,
}

/// A binary.
pub struct Binary {
    /// Size and change time of the file the rest was read from.
    pub stamp: (u64, i64, i64),
    /// The headers.
    pub elf: Elf,
    aliases: Aliases,
    places: Cache<u64, Place>,
    insides: Cache<u64, Role>,
    /// Functions at a place, those put into one another first, by address as linked.
    pub told: Cache<u64, Arc<[StackFrame]>>,
    /// Call sites in it, by address as linked.
    pub sites: Cache<u64, CallSite>,
    /// Place of the deciding return address, by address as linked of the sleeping instruction.
    pub anchors: Cache<u64, u32>,
}

/// Size and change time of a file.
pub fn stamp(file: &File) -> Option<(u64, i64, i64)> {
    let m = file.metadata().ok()?;
    Some((m.len(), m.ctime(), m.ctime_nsec()))
}

impl Binary {
    /// Reads the headers; `None` when it is no ELF file of this machine.
    pub fn read(file: &File) -> Option<Self> {
        let elf = Elf::read(file)?;
        Some(Self {
            stamp: stamp(file)?,
            aliases: Aliases::read(&elf, file),
            elf,
            places: Cache::new(PLACES),
            insides: Cache::new(PLACES),
            told: Cache::new(PLACES),
            sites: Cache::new(PLACES),
            anchors: Cache::new(64),
        })
    }

    /// The C library it is, or is part of, or contains.
    pub fn library(&self) -> Library {
        self.aliases.library
    }

    /// What lies at an address as linked, and how it goes on: from there, or from behind the call
    /// that the address lies in.
    pub fn place(&mut self, source: &Source<'_>, address: u64, goes_on: u64) -> Option<Place> {
        if let Some(place) = self.places.get(&address) {
            return Some(place.clone());
        }
        let file = source.file()?;
        let bounds = cfi::bounds(&self.elf, file, address);
        let symbols = self.elf.covering(file, Kind::Function, address);
        let (symbol, role) = match self.choose(&symbols) {
            Some((symbol, role)) => (Some(Arc::from(symbol.name.as_str())), role),
            None => {
                let around = || self.aliases.role_around(address);
                (None, bounds.map_or_else(around, |b| self.aliases.role(b.start)))
            }
        };
        let place = match bounds {
            Some(bounds) => Place {
                symbol,
                role,
                step: bounds.step,
                covered: true,
                by_code: false,
                bottom: bounds.bottom,
            },
            None => self.place_by_code(file, goes_on, symbol, role),
        };
        Some(self.places.insert(address, place).clone())
    }

    /// A place that no unwind table knows: musl has none. It is built without frame pointers, so
    /// its code is all there is to go by.
    fn place_by_code(
        &self,
        file: &File,
        goes_on: u64,
        symbol: Option<Arc<str>>,
        role: Role,
    ) -> Place {
        let readable = self.aliases.library == Library::Musl && cfg!(target_arch = "x86_64");
        let code = readable.then(|| self.elf.bytes_around(file, goes_on, AROUND, AROUND)).flatten();
        let way = code
            .map_or(Way::Unclear, |(start, bytes)| Code { start, bytes: &bytes }.way_back(goes_on));
        let step = if let Way::Back(step) = way { Some(step) } else { None };
        let bottom = way == Way::Never;
        Place { symbol, role, step, covered: readable, by_code: step.is_some(), bottom }
    }

    /// A call ends at an address as linked.
    pub fn follows_call(&self, source: &Source<'_>, address: u64) -> bool {
        let before = code::LONGEST_CALL as u64;
        let bytes = source.file().and_then(|f| self.elf.bytes_around(f, address, before, 0));
        bytes.is_some_and(|(_, bytes)| code::ends_with_call(&bytes))
    }

    /// What the compiler put into the function at an address as linked; `Plain` if that says
    /// nothing either.
    pub fn look_inside(&mut self, source: &Source<'_>, address: u64) -> Role {
        if let Some(role) = self.insides.get(&address) {
            return *role;
        }
        let role = super::source::inlined_role(source, address).unwrap_or(Role::Plain);
        *self.insides.insert(address, role)
    }

    /// Of several names for one function, one that says something.
    fn choose<'s>(&self, symbols: &'s [Symbol]) -> Option<(&'s Symbol, Role)> {
        let all = symbols.iter().map(|s| (s, names::role(&s.name, self.aliases.library)));
        all.clone().find(|(_, role)| *role != Role::Plain).or_else(|| all.clone().next())
    }

    /// Name of the static object at an address as linked.
    pub fn object(&self, source: &Source<'_>, address: u64) -> Option<String> {
        let symbols = self.elf.covering(source.file()?, Kind::Object, address);
        let symbol = symbols.first()?;
        let name = names::readable(&symbol.name);
        Some(match address - symbol.address {
            0 => name,
            inner => format!("{name}+{inner:#x}"),
        })
    }
}
