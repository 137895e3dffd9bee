//! Functions a stripped C library has no names for, known by what leads to them.
//!
//! Two facts survive stripping. The exported functions say where they are, and their code says
//! which local function they continue in: `pthread_join` is a jump to the function that waits, so
//! no frame of `pthread_join` itself is on the stack. And `__lll_lock_wait` is compiled between
//! two exported functions of the same source file (glibc, `nptl/lowlevellock.c`). Of musl, which
//! has no unwind tables either, it is told how far such a function reaches by following its code.

use super::code::Code;
use super::elf::{Elf, Kind, contains};
use super::meaning::Role;
use super::names::{self, Library};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;

/// Code of one function looked at for jumps.
const LONGEST: u64 = 16 << 10;
/// Exported functions looked at: a C library has some two thousand.
const MOST_EXPORTED: usize = 16_384;

/// What is known of functions without a name.
#[derive(Debug, Default)]
pub struct Aliases {
    /// The C library that the binary is, or is part of, or contains.
    pub library: Library,
    between: Option<(u64, u64)>,
    tails: HashMap<u64, Role>,
    /// Functions by where they begin: where they end, and what they are.
    extents: BTreeMap<u64, (u64, Role)>,
}

impl Aliases {
    /// Learns them from a binary; cheap for all that are no C library.
    pub fn read(elf: &Elf, file: &File) -> Self {
        let mut aliases = Self::default();
        let dynamic = elf.dynamic_strings(file);
        let library = dynamic.as_ref().map_or(Library::None, |(_, strings)| exports(strings));
        if let (true, Some((table, strings))) = (library != Library::None, &dynamic) {
            let mut exported = Vec::new();
            table.each(file, Kind::Function, |symbol| {
                let text = strings.get(symbol.name as usize..).unwrap_or_default();
                let end = text.iter().position(|&b| b == 0).unwrap_or(0);
                if let (true, Ok(text)) =
                    (exported.len() < MOST_EXPORTED, std::str::from_utf8(&text[..end]))
                {
                    exported.push((text, symbol.start, symbol.size));
                }
            });
            // A program may want one of these names from elsewhere.
            if exported.iter().any(|e| e.0 == "pthread_mutex_lock") {
                aliases.library = library;
                aliases.learn(elf, file, &exported);
            }
        } else if elf.alone && elf.tables.iter().any(|t| !t.dynamic) {
            // Linked statically: only one of the C libraries has this function.
            aliases.library = if elf.full_strings_contain(file, b"\0__lll_lock_wait_private\0") {
                Library::Glibc
            } else if elf.full_strings_contain(file, b"\0__timedwait_cp\0") {
                Library::Musl
            } else {
                Library::None
            };
        }
        aliases
    }

    fn learn(&mut self, elf: &Elf, file: &File, exported: &[(&str, u64, u64)]) {
        let place = |name: &str| exported.iter().find(|e| e.0 == name).map(|e| e.1);
        if let (Some(low), Some(high)) =
            (place("__lll_lock_wait_private"), place("__lll_lock_wake_private"))
        {
            // Further apart, something else may lie between them.
            self.between = (low < high && high - low < 512).then_some((low, high));
        }
        let mut conflicts = Vec::new();
        let mut telling = Vec::new();
        for &(name, start, size) in exported {
            let role = names::role(name, self.library);
            if !matches!(role, Role::Lock(_) | Role::Read(_) | Role::CondWait | Role::Idle) {
                continue;
            }
            let Some(code) = elf.bytes(file, start, size.min(LONGEST) as usize) else {
                continue;
            };
            for target in jumps(&code, start) {
                if *self.tails.entry(target).or_insert(role) != role {
                    conflicts.push(target);
                }
            }
            telling.push((start, code));
        }
        for target in conflicts {
            self.tails.remove(&target);
        }
        if self.library == Library::Musl && cfg!(target_arch = "x86_64") {
            let exported = exported.iter().map(|e| e.1).collect();
            self.measure(elf, file, &exported, telling);
        }
    }

    /// How far the local functions of musl reach that its exported ones continue in, and those that
    /// these and the exported ones call: of the latter, only who called them tells what for.
    fn measure(
        &mut self,
        elf: &Elf,
        file: &File,
        exported: &BTreeSet<u64>,
        mut telling: Vec<(u64, Vec<u8>)>,
    ) {
        self.tails.retain(|start, _| !exported.contains(start));
        let mut starts = exported.clone();
        starts.extend(self.tails.keys());
        for (&start, &role) in &self.tails {
            let Some(end) = reach(elf, file, start, &starts) else { continue };
            self.extents.insert(start, (end, role));
            if let Some(code) = elf.bytes(file, start, (end - start) as usize) {
                telling.push((start, code));
            }
        }
        let calls =
            telling.iter().flat_map(|(start, code)| Code { start: *start, bytes: code }.calls());
        let called: BTreeSet<u64> = calls.filter(|target| !starts.contains(target)).collect();
        starts.extend(&called);
        for start in called {
            if let Some(end) = reach(elf, file, start, &starts) {
                self.extents.insert(start, (end, Role::Through));
            }
        }
    }

    /// What a function without a name is, by its first address.
    pub fn role(&self, start: u64) -> Role {
        if self.between.is_some_and(|(low, high)| low < start && start < high) {
            return Role::LowLevelWait;
        }
        self.tails.get(&start).copied().unwrap_or(Role::Nameless)
    }

    /// The same by any of its addresses, where its bounds are not known.
    pub fn role_around(&self, address: u64) -> Role {
        let before = self.extents.range(..=address).next_back();
        let inside = before.filter(|(_, (end, _))| address < *end);
        inside.map_or(Role::Nameless, |(_, (_, role))| *role)
    }
}

/// The C library with these names in its dynamic table.
fn exports(strings: &[u8]) -> Library {
    match contains(strings, b"pthread_mutex_lock\0") {
        true if contains(strings, b"GLIBC_PRIVATE") => Library::Glibc,
        // Stages of musl's dynamic linker, which is one with the library (ldso/dynlink.c).
        true if contains(strings, b"\0__dls3\0") => Library::Musl,
        _ => Library::None,
    }
}

/// Address behind the last instruction of a function that begins here.
fn reach(elf: &Elf, file: &File, start: u64, starts: &BTreeSet<u64>) -> Option<u64> {
    let next = starts.range(start + 1..).next().copied().unwrap_or(u64::MAX);
    let bytes = elf.bytes_around(file, start, 0, LONGEST.min(next - start))?;
    let code = Code { start, bytes: &bytes.1 };
    Some(code.reach(start, |address| starts.contains(&address)).1)
}

/// Targets, outside the code itself, of what may be jumps in it. No decoder: operands that look
/// like a jump yield addresses at which no function begins, and nobody asks for those.
#[cfg(target_arch = "x86_64")]
fn jumps(code: &[u8], start: u64) -> Vec<u64> {
    let end = start + code.len() as u64;
    let mut targets = Vec::new();
    for i in 0..code.len() {
        // jmp rel32; jcc rel32
        let operand = match (code[i], code.get(i + 1)) {
            (0xe9, _) => i + 1,
            (0x0f, Some(0x80..=0x8f)) => i + 2,
            _ => continue,
        };
        let Some(relative) = code.get(operand..operand + 4) else {
            continue;
        };
        let relative = i32::from_le_bytes([relative[0], relative[1], relative[2], relative[3]]);
        let target = (start + operand as u64 + 4).wrapping_add_signed(i64::from(relative));
        if !(start..end).contains(&target) {
            targets.push(target);
        }
    }
    targets
}

/// The same for `b` of aarch64.
#[cfg(target_arch = "aarch64")]
fn jumps(code: &[u8], start: u64) -> Vec<u64> {
    let end = start + code.len() as u64;
    let words = code.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
    let jumps = words.zip((start..).step_by(4)).filter(|(word, _)| word >> 26 == 5);
    // 26 bits, signed, counted in words.
    let targets =
        jumps.map(|(word, at)| at.wrapping_add_signed(i64::from((word << 6) as i32 >> 4)));
    targets.filter(|target| !(start..end).contains(target)).collect()
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn jumps_out_of_a_function_are_found() {
        // mov $1,%r8d; xor %ecx,%ecx; xor %edx,%edx; jmp 0x8abb0 (pthread_join of glibc 2.36)
        let join = [0x41, 0xb8, 1, 0, 0, 0, 0x31, 0xc9, 0x31, 0xd2, 0xe9, 0x21, 0, 0, 0];
        assert_eq!(jumps(&join, 0x8ab80), [0x8abb0]);
        // jne +0x10 and one back into itself
        let inside = [0x0f, 0x85, 0x10, 0, 0, 0, 0xe9, 0xf5, 0xff, 0xff, 0xff];
        assert_eq!(jumps(&inside, 0x1000), [0x1016]);
        assert!(jumps(&[0xe9, 1, 2], 0x1000).is_empty());
    }
}
