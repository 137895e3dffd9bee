//! ELF headers and symbol tables, read piecemeal and bounded.

use super::by_address::ByAddress;
use std::cell::OnceCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
const LOAD: u32 = 1;
const INTERP: u32 = 3;
const EH_FRAME_HDR: u32 = 0x6474_e550;
const MOST_SEGMENTS: u64 = 256;
const MOST_SECTIONS: u64 = 4096;
const LARGEST_TABLE: u64 = 128 << 20;
/// What is touched of it is resident as long as it is mapped.
const LARGEST_DEBUG: u64 = 64 << 20;
const CHUNK: usize = 24 * 8192;
const LONGEST_NAME: usize = 4096;

/// Reads exactly this much, at most 64 MiB.
pub fn read_at(file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    if length > 64 << 20 {
        return None;
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// A number of `N` bytes at `at`.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(N)?)?;
    Some(part.iter().rev().fold(0, |sum, &b| sum << 8 | u64::from(b)))
}

/// Four bytes at `at`.
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    number::<4>(bytes, at).map(|n| n as u32)
}

/// Eight bytes at `at`.
pub fn long(bytes: &[u8], at: usize) -> Option<u64> {
    number::<8>(bytes, at)
}

/// A part of the file and where it lies in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Address as linked.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Bytes in memory; the rest is zeros.
    pub memory: u64,
    /// Can be executed.
    pub code: bool,
    /// Can be written.
    pub writable: bool,
}

/// A symbol table and its strings.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    symbols: (u64, u64),
    strings: (u64, u64),
    /// For the dynamic linker, hence never stripped.
    pub dynamic: bool,
}

/// Kind of symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Code.
    Function,
    /// A variable.
    Object,
}

/// A symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// As it stands in the file.
    pub name: String,
    /// Address as linked.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// A symbol as it stands in a table.
#[derive(Clone, Copy, Debug)]
pub struct Defined {
    /// Which of the table.
    pub at: u32,
    /// Where its name begins in the strings.
    pub name: u32,
    /// Address as linked.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// The headers of an ELF file of this machine.
#[derive(Debug, Default)]
pub struct Elf {
    /// What is loaded.
    pub loads: Vec<Part>,
    /// A program that starts without a dynamic linker.
    pub alone: bool,
    /// `.eh_frame_hdr`, if any.
    pub frame_index: Option<Part>,
    /// `.eh_frame`, if section headers are there.
    pub frames: Option<Part>,
    /// Symbol tables, the full one first.
    pub tables: Vec<Table>,
    /// There is line information, and not too much to be looked at.
    pub lines: bool,
    /// Bytes of debug information proper (`.debug_info`), much of which a look at it touches.
    debug: u64,
    /// Functions by address, for each large table, once asked for.
    indexes: OnceCell<Vec<Option<ByAddress>>>,
}

impl Elf {
    /// Reads the headers.
    pub fn read(file: &File) -> Option<Self> {
        let header = read_at(file, 0, 64)?;
        let native = header.get(..6)? == [0x7f, b'E', b'L', b'F', 2, 1];
        if !native || number::<2>(&header, 18)? != u64::from(MACHINE) {
            return None;
        }
        // Shared libraries have no entry; the interpreter of a program follows.
        let mut elf = Self { alone: long(&header, 24)? != 0, ..Self::default() };
        elf.read_segments(file, &header)?;
        // Without section headers there are no symbols, but frames can still be walked.
        let _ = elf.read_sections(file, &header);
        elf.tables.sort_by_key(|t| t.dynamic);
        Some(elf)
    }

    fn read_segments(&mut self, file: &File, header: &[u8]) -> Option<()> {
        let (at, count) = (long(header, 32)?, number::<2>(header, 56)?.min(MOST_SEGMENTS));
        let entries = read_at(file, at, count as usize * 56)?;
        for e in entries.chunks_exact(56) {
            let flags = word(e, 4)?;
            let part = Part {
                offset: long(e, 8)?,
                address: long(e, 16)?,
                size: long(e, 32)?,
                memory: long(e, 40)?,
                code: flags & 1 != 0,
                writable: flags & 2 != 0,
            };
            match word(e, 0)? {
                LOAD => self.loads.push(part),
                INTERP => self.alone = false,
                EH_FRAME_HDR => self.frame_index = Some(part),
                _ => {}
            }
        }
        Some(())
    }

    fn read_sections(&mut self, file: &File, header: &[u8]) -> Option<()> {
        let (at, count) = (long(header, 40)?, number::<2>(header, 60)?.min(MOST_SECTIONS));
        let entries = read_at(file, at, count as usize * 64)?;
        let section = |i: usize| entries.get(i * 64..(i + 1) * 64);
        let extent = |e: &[u8]| Some((long(e, 24)?, long(e, 32)?));
        let (names, size) = extent(section(number::<2>(header, 62)? as usize)?)?;
        let names = read_at(file, names, size.min(1 << 20) as usize)?;
        for e in entries.chunks_exact(64) {
            let (offset, size) = extent(e)?;
            let kind = word(e, 4)?;
            if kind == 2 || kind == 11 {
                let Some(strings) = section(word(e, 40)? as usize).and_then(extent) else {
                    continue;
                };
                self.tables.push(Table { symbols: (offset, size), strings, dynamic: kind == 11 });
                continue;
            }
            let name = names.get(word(e, 0)? as usize..).unwrap_or_default();
            if name.starts_with(b".eh_frame\0") {
                let address = long(e, 16)?;
                self.frames = Some(Part {
                    address,
                    offset,
                    size,
                    memory: size,
                    code: false,
                    writable: false,
                });
            }
            if name.starts_with(b".debug_info\0") || name.starts_with(b".zdebug_info\0") {
                self.debug = self.debug.saturating_add(size);
            }
            self.lines |= name.starts_with(b".debug_line\0") || name.starts_with(b".zdebug_line\0");
        }
        self.lines &= self.debug <= LARGEST_DEBUG;
        Some(())
    }

    /// Offset in the file of an address as linked.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        let part = self
            .loads
            .iter()
            .find(|p| address.checked_sub(p.address).is_some_and(|d| d < p.size))?;
        part.offset.checked_add(address - part.address)
    }

    /// Address as linked of an offset in the file, in the executable part.
    pub fn code_address(&self, offset: u64) -> Option<u64> {
        let part = self.loads.iter().filter(|p| p.code);
        let part =
            part.into_iter().find(|p| offset.checked_sub(p.offset).is_some_and(|d| d < p.size))?;
        part.address.checked_add(offset - part.offset)
    }

    /// How far the executable part was moved, given where part of it is mapped.
    pub fn bias(&self, start: u64, offset: u64, length: u64) -> Option<u64> {
        // Mappings begin at page bounds, parts of the file anywhere.
        let end = offset.checked_add(length)?;
        let overlaps =
            |p: &&Part| p.code && p.offset < end && offset < p.offset.saturating_add(p.size);
        let part = self.loads.iter().find(overlaps)?;
        let linked = part.address.wrapping_add(offset).wrapping_sub(part.offset);
        Some(start.wrapping_sub(linked))
    }

    /// Bytes at an address as linked.
    pub fn bytes(&self, file: &File, address: u64, length: usize) -> Option<Vec<u8>> {
        read_at(file, self.offset_of(address)?, length)
    }

    /// Bytes around an address as linked, as far as its part of the file goes, and where they begin.
    pub fn bytes_around(
        &self,
        file: &File,
        address: u64,
        before: u64,
        behind: u64,
    ) -> Option<(u64, Vec<u8>)> {
        // What goes on at the end of a part belongs to it.
        let holds = |p: &&Part| address.checked_sub(p.address).is_some_and(|d| d <= p.size);
        let part = self.loads.iter().find(|p| p.code && holds(p))?;
        let start = part.address.max(address.saturating_sub(before));
        let end = part.address.saturating_add(part.size).min(address.saturating_add(behind));
        let offset = part.offset.checked_add(start - part.address)?;
        Some((start, read_at(file, offset, usize::try_from(end.checked_sub(start)?).ok()?)?))
    }

    /// The symbols of one kind that cover the address, at most eight, the full table's first.
    pub fn covering(&self, file: &File, kind: Kind, address: u64) -> Vec<Symbol> {
        let indexes = (kind == Kind::Function).then(|| {
            let read = || self.tables.iter().map(|table| ByAddress::read(table, file)).collect();
            self.indexes.get_or_init(read)
        });
        let mut found = Vec::new();
        for (i, table) in self.tables.iter().enumerate() {
            let mut look = |symbol: Defined| {
                let covers = address.wrapping_sub(symbol.start) < symbol.size && found.len() < 8;
                if let Some(name) = covers.then(|| table.name(file, symbol.name)).flatten() {
                    found.push(Symbol { name, address: symbol.start, size: symbol.size });
                }
            };
            match indexes.and_then(|indexes| indexes.get(i)?.as_ref()) {
                Some(index) => {
                    let near = index.near(address).into_iter();
                    near.filter_map(|at| table.at(file, kind, at)).for_each(look);
                }
                None => {
                    let _ = table.each(file, kind, &mut look);
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        found
    }

    /// Address as linked of an exported symbol.
    pub fn exported(&self, file: &File, kind: Kind, name: &str) -> Option<u64> {
        let (table, strings) = self.dynamic_strings(file)?;
        let mut found = None;
        table.each(file, kind, |symbol| {
            let text = strings.get(symbol.name as usize..).unwrap_or_default();
            let same =
                text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
            found = found.or(same.then_some(symbol.start));
        });
        found
    }

    /// The dynamic table's strings, if they are no more than 4 MiB.
    pub fn dynamic_strings(&self, file: &File) -> Option<(Table, Vec<u8>)> {
        let table = *self.tables.iter().find(|t| t.dynamic)?;
        let strings = (table.strings.1 <= 4 << 20)
            .then(|| read_at(file, table.strings.0, table.strings.1 as usize));
        Some((table, strings??))
    }

    /// The strings of the full table contain this one (searched up to 64 MiB).
    pub fn full_strings_contain(&self, file: &File, text: &[u8]) -> bool {
        let Some(table) = self.tables.iter().find(|t| !t.dynamic) else {
            return false;
        };
        let (start, size) = (table.strings.0, table.strings.1.min(64 << 20));
        let step = 1 << 18;
        (0..size).step_by(step).any(|at| {
            let length = (step + text.len()).min((size - at) as usize);
            start
                .checked_add(at)
                .and_then(|o| read_at(file, o, length))
                .is_some_and(|b| contains(&b, text))
        })
    }
}

/// The bytes contain this text.
pub fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let Some((&first, rest)) = text.split_first() else {
        return true;
    };
    bytes.iter().enumerate().any(|(i, &b)| b == first && bytes[i + 1..].starts_with(rest))
}

impl Table {
    /// How many symbols there are, of every kind.
    pub fn symbols(&self) -> usize {
        (self.symbols.1.min(LARGEST_TABLE) / 24) as usize
    }

    /// Calls with every defined symbol of a kind.
    pub fn each(&self, file: &File, kind: Kind, mut f: impl FnMut(Defined)) -> Option<()> {
        let (start, size) = (self.symbols.0, 24 * self.symbols() as u64);
        let mut at = 0;
        while at < size {
            let length = (size - at).min(CHUNK as u64);
            let symbols = read_at(file, start.checked_add(at)?, length as usize)?;
            for (i, symbol) in symbols.chunks_exact(24).enumerate() {
                if is(symbol, kind) {
                    f(defined((at / 24) as u32 + i as u32, symbol)?);
                }
            }
            at += length;
        }
        Some(())
    }

    /// One symbol, if it is defined and of this kind.
    fn at(&self, file: &File, kind: Kind, at: u32) -> Option<Defined> {
        let symbol = read_at(file, self.symbols.0.checked_add(24 * u64::from(at))?, 24)?;
        is(&symbol, kind).then(|| defined(at, &symbol))?
    }

    /// The name at this place.
    fn name(&self, file: &File, at: u32) -> Option<String> {
        let length = self.strings.1.checked_sub(u64::from(at))?.min(LONGEST_NAME as u64);
        // Most names are short: a second read for the few that are not.
        for length in [length.min(256), length] {
            let bytes = read_at(file, self.strings.0.checked_add(u64::from(at))?, length as usize)?;
            if let Some(end) = bytes.iter().position(|&b| b == 0) {
                return Some(String::from_utf8_lossy(&bytes[..end]).into_owned());
            }
        }
        None
    }
}

/// These 24 bytes are a defined symbol of a kind.
fn is(symbol: &[u8], kind: Kind) -> bool {
    // Types: 1 object, 2 function, 5 common, 10 indirect function.
    let wanted = match symbol[4] & 15 {
        2 | 10 => kind == Kind::Function,
        1 | 5 => kind == Kind::Object,
        _ => false,
    };
    wanted && symbol[6..8] != [0, 0]
}

fn defined(at: u32, symbol: &[u8]) -> Option<Defined> {
    Some(Defined { at, name: word(symbol, 0)?, start: long(symbol, 8)?, size: long(symbol, 16)? })
}
