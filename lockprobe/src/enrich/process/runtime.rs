//! What runs a program: from its executable and from what it has mapped.

use std::fs::File;

use super::command::file_name;
use crate::enrich::elf::{Elf, read_at};
use crate::enrich::maps::Maps;

/// Names of executables, without the version behind, and `process.runtime.name`.
const EXECUTABLES: &[(&str, &str)] = &[
    ("python", "cpython"),
    ("pypy", "pypy"),
    ("node", "nodejs"),
    ("nodejs", "nodejs"),
    ("deno", "deno"),
    ("bun", "bun"),
    ("java", "jvm"),
    ("ruby", "ruby"),
    ("php", "php"),
    ("php-fpm", "php"),
    ("perl", "perl"),
    ("dotnet", "dotnet"),
    ("beam.smp", "beam"),
];

/// Beginnings of names of libraries that make any program one of the runtime. A program may embed
/// Python or Ruby for its extensions alone, so that theirs are not among them.
const LIBRARIES: &[(&str, &str)] =
    &[("libjvm.so", "jvm"), ("libnode.so", "nodejs"), ("libcoreclr.so", "dotnet")];

/// The magic words before the build settings that Go leaves in each program, aligned like this and
/// in so many bytes from the beginning of the data (`debug/buildinfo` of its library).
const GO: &[u8] = b"\xff Go buildinf:";
const ALIGNED: u64 = 16;
const SEARCHED: u64 = 64 << 10;

/// `process.runtime.name`, where it is certain.
pub fn name(pid: u32, executable: &str) -> Option<&'static str> {
    let by_executable = of_executable(file_name(executable));
    by_executable.or_else(|| of_maps(&Maps::of(pid))).or_else(|| {
        let file = File::open(format!("/proc/{pid}/exe")).ok()?;
        is_go(&file).then_some("go")
    })
}

fn of_executable(name: &str) -> Option<&'static str> {
    let unversioned = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let known = EXECUTABLES.iter().find(|(known, _)| *known == unversioned || *known == name);
    known.map(|(_, runtime)| *runtime)
}

fn of_maps(maps: &Maps) -> Option<&'static str> {
    maps.code().find_map(|mapping| of_library(mapping.file_name()))
}

fn of_library(name: &str) -> Option<&'static str> {
    LIBRARIES.iter().find(|(start, _)| name.starts_with(start)).map(|(_, runtime)| *runtime)
}

fn is_go(file: &File) -> bool {
    let Some(elf) = Elf::read(file) else { return false };
    // Where the loader makes the section read-only, it lies in a part that cannot be written.
    elf.loads.iter().filter(|part| !part.code).any(|part| {
        let skipped = part.address.wrapping_neg() % ALIGNED;
        let length = part.size.min(SEARCHED).saturating_sub(skipped);
        let bytes = read_at(file, part.offset.saturating_add(skipped), length as usize);
        let bytes = bytes.unwrap_or_default();
        bytes.chunks(ALIGNED as usize).any(|at| at.starts_with(GO))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_name() {
        for (name, runtime) in [
            ("python3.11", Some("cpython")),
            ("python", Some("cpython")),
            ("pypy3", Some("pypy")),
            ("node", Some("nodejs")),
            ("java", Some("jvm")),
            ("php-fpm8.2", Some("php")),
            ("beam.smp", Some("beam")),
            ("pythonic", None),
            ("worker", None),
            ("", None),
        ] {
            assert_eq!(of_executable(name), runtime, "{name}");
        }
        for (name, runtime) in [
            ("libjvm.so", Some("jvm")),
            ("libnode.so.108", Some("nodejs")),
            ("libpython3.11.so.1.0", None),
            ("libc.so.6", None),
        ] {
            assert_eq!(of_library(name), runtime, "{name}");
        }
    }

    #[test]
    fn our_own_program_has_no_runtime() {
        let exe = std::env::current_exe().unwrap();
        assert_eq!(name(std::process::id(), &exe.to_string_lossy()), None);
    }

    /// An ELF file of two parts, code and data; the latter begins with these bytes.
    fn program(data: &[u8]) -> File {
        use std::io::Write as _;
        let mut bytes = vec![0u8; 0x1000];
        let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
        bytes[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\0\0");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&2u16.to_le_bytes());
        for (at, flags, offset) in [(64, 5u32, 0u64), (120, 6, 0x1000)] {
            bytes[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&flags.to_le_bytes());
            for (field, value) in
                [(8, offset), (16, offset), (24, offset), (32, 0x1000), (40, 0x1000)]
            {
                bytes[at + field..at + field + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes.resize(0x2000, 0);
        bytes[0x1000..0x1000 + data.len()].copy_from_slice(data);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn go_is_known_by_what_it_leaves() {
        assert!(is_go(&program(b"\xff Go buildinf:\x08\x02")));
        assert!(!is_go(&program(b"nothing of the kind")));
        if let Ok(real) = File::open("/usr/bin/go") {
            assert!(is_go(&real), "the compiler of Go is a program of Go's");
        }
    }
}
