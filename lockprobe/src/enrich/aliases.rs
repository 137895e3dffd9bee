//! Functions a stripped glibc has no names for, known by what leads to them.
//!
//! Two facts survive stripping. The exported functions say where they are, and their code says
//! which local function they continue in: `pthread_join` is a jump to the function that waits, so
//! no frame of `pthread_join` itself is on the stack. And `__lll_lock_wait` is compiled between
//! two exported functions of the same source file (glibc, `nptl/lowlevellock.c`).

use super::elf::{Elf, Kind, contains};
use super::meaning::Role;
use super::names;
use std::collections::HashMap;
use std::fs::File;

/// Code of one function looked at for jumps.
const LONGEST: u64 = 16 << 10;

/// What is known of functions without a name.
#[derive(Debug, Default)]
pub struct Aliases {
    /// The binary is (part of) glibc.
    pub glibc: bool,
    between: Option<(u64, u64)>,
    tails: HashMap<u64, Role>,
}

impl Aliases {
    /// Learns them from a binary; cheap for all that are not glibc.
    pub fn read(elf: &Elf, file: &File) -> Self {
        let mut aliases = Self::default();
        if let Some((table, strings)) = elf.dynamic_strings(file) {
            if contains(&strings, b"GLIBC_PRIVATE") && contains(&strings, b"pthread_mutex_lock") {
                let mut exported = Vec::new();
                table.each(file, Kind::Function, |symbol| {
                    let text = strings.get(symbol.name as usize..).unwrap_or_default();
                    let end = text.iter().position(|&b| b == 0).unwrap_or(0);
                    if let Ok(text) = std::str::from_utf8(&text[..end]) {
                        exported.push((text, symbol.start, symbol.size));
                    }
                });
                aliases.learn(elf, file, &exported);
            }
        } else if elf.tables.iter().all(|t| !t.dynamic) {
            // Linked statically: glibc is the C library with this function.
            aliases.glibc = elf.full_strings_contain(file, b"\0__lll_lock_wait_private\0");
        }
        aliases
    }

    fn learn(&mut self, elf: &Elf, file: &File, exported: &[(&str, u64, u64)]) {
        let place = |name: &str| exported.iter().find(|e| e.0 == name).map(|e| e.1);
        self.glibc = place("pthread_mutex_lock").is_some();
        if !self.glibc {
            return;
        }
        if let (Some(low), Some(high)) =
            (place("__lll_lock_wait_private"), place("__lll_lock_wake_private"))
        {
            // Further apart, something else may lie between them.
            self.between = (low < high && high - low < 512).then_some((low, high));
        }
        let mut conflicts = Vec::new();
        for &(name, start, size) in exported {
            let role = names::role(name, true);
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
        }
        for target in conflicts {
            self.tails.remove(&target);
        }
    }

    /// What a function without a name is, by its first address.
    pub fn role(&self, start: u64) -> Role {
        if self.between.is_some_and(|(low, high)| low < start && start < high) {
            return Role::LowLevelWait;
        }
        self.tails.get(&start).copied().unwrap_or(Role::Nameless)
    }
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
