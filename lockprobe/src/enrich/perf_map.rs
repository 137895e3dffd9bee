//! Names of generated code, as run times write them for profilers: `/tmp/perf-PID.map`, a line a
//! function, `start size name` (linux, `tools/perf/Documentation/jit-interface.txt`).

use super::thread;
use crate::model::thread::printable;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// Most read of a map, and of a line of it.
const LONGEST: u64 = 64 << 20;
const LONGEST_LINE: u64 = 4096;
/// Characters of a name.
const LONGEST_NAME: usize = 300;

/// Names for these addresses, each in its place; empty where there is none.
pub fn names(pid: u32, addresses: &[u64]) -> Vec<String> {
    match if addresses.is_empty() { None } else { open(pid) } {
        Some(file) => search(file, addresses),
        None => vec![String::new(); addresses.len()],
    }
}

/// The map of a process, in its own mount namespace and under its id there.
fn open(pid: u32) -> Option<File> {
    let path = format!("/proc/{pid}/root/tmp/perf-{}.map", thread::own_id(pid, pid)?);
    // Anyone may write to that folder: only a regular file of the process's own user counts.
    let user = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let meta = file.metadata().ok()?;
    (meta.is_file() && meta.uid() == user).then_some(file)
}

fn search(map: impl Read, addresses: &[u64]) -> Vec<String> {
    let mut found = vec![String::new(); addresses.len()];
    let mut reader = BufReader::with_capacity(64 << 10, map.take(LONGEST));
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(length) if length > 0 => {}
            _ => return found,
        }
        let Some((start, size, name)) = parse(&line) else { continue };
        for (address, found) in addresses.iter().zip(&mut found) {
            // Code is moved and its room used again: what was written last is true.
            if address.wrapping_sub(start) < size {
                *found = name.chars().take(LONGEST_NAME).collect();
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<(u64, u64, String)> {
    let line = String::from_utf8_lossy(line);
    let mut fields = line.trim_end().splitn(3, ' ');
    let mut hex = || {
        let text = fields.next()?;
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let (start, size) = (hex()?, hex()?);
    Some((start, size, printable(fields.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_of_an_address_counts() {
        let map = "3ef0 40 LazyCompile:~f /app/x.js:3:1\n0x3f30 10 stub\nrubbish\n\
                   3ef0 20 LazyCompile:*f /app/x.js:3:1\nffffffffffffffff 8 end\n5 zz z\n";
        let found = search(map.as_bytes(), &[0x3ef0, 0x3f1f, 0x3f3f, 0x3f40, 1]);
        let expected =
            ["LazyCompile:*f /app/x.js:3:1", "LazyCompile:~f /app/x.js:3:1", "stub", "", "end"];
        assert_eq!(found, expected);
    }

    #[test]
    fn long_lines_and_control_characters_do_no_harm() {
        let map = format!("10 10 {}\n20 10 a\u{1b}[2J\n", "x".repeat(100_000));
        let found = search(map.as_bytes(), &[0x10, 0x20]);
        assert_eq!((found[0].len(), &*found[1]), (LONGEST_NAME, "a\u{fffd}[2J"));
        assert!(names(u32::MAX, &[1]).iter().all(String::is_empty));
    }
}
