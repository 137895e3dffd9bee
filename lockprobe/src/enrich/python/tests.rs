//! A made-up interpreter in made-up memory, and memory that makes no sense.

use super::frames::of_thread;
use super::layout::Layout;
use super::lines::line;
use std::cell::Cell;
use std::collections::BTreeMap;

const RUNTIME: u64 = 0x1000;
const VERSION: u64 = 0x900;

/// Bytes by address.
#[derive(Default)]
struct Memory(BTreeMap<u64, u8>);

impl Memory {
    fn put(&mut self, address: u64, bytes: &[u8]) -> &mut Self {
        self.0.extend((address..).zip(bytes.iter().copied()));
        self
    }

    fn long(&mut self, address: u64, value: u64) -> &mut Self {
        self.put(address, &value.to_le_bytes())
    }

    fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let bytes = (0..length as u64).map(|i| self.0.get(&address.checked_add(i)?).copied());
        bytes.map_while(|byte| byte).collect()
    }

    /// A text object of 3.12.
    fn text(&mut self, address: u64, text: &str) {
        let (kind, ascii) = if text.is_ascii() { (1, 1) } else { (2, 0) };
        let state: u32 = kind << 2 | 1 << 5 | ascii << 6;
        let points: Vec<u16> = text.encode_utf16().collect();
        self.long(address + 16, points.len() as u64).put(address + 32, &state.to_le_bytes());
        match ascii {
            1 => self.put(address + 40, text.as_bytes()),
            _ => {
                let bytes: Vec<u8> = points.iter().flat_map(|p| p.to_le_bytes()).collect();
                self.put(address + 56, &bytes)
            }
        };
    }

    /// A frame of 3.12 with its function, at the third instruction of three.
    fn frame(&mut self, address: u64, previous: u64, name: &str, first_line: u32) {
        let code = address + 0x1000;
        let (file, text, table) = (code + 0x300, code + 0x400, code + 0x500);
        self.text(file, "worker.py");
        self.text(text, name);
        // Lines: the first, the next, and five on.
        let entries = [0x80 | 10 << 3, 0, 0, 0x80 | 11 << 3, 0, 0, 0x80 | 13 << 3, 10];
        self.long(table + 16, entries.len() as u64).put(table + 32, &entries);
        self.long(code + 112, file).long(code + 128, text).long(code + 136, table);
        self.put(code + 68, &first_line.to_le_bytes());
        self.long(address, code).long(address + 8, previous).put(address + 70, &[0]);
        self.long(address + 56, code + 192 + 2 * 2);
    }
}

/// One thread: `inner` called by `größer`, in one call of the interpreter, and `outer` in another.
fn program() -> Memory {
    let mut memory = Memory::default();
    let (interpreter, thread, through) = (0x2000, 0x3000, 0x4000);
    memory.put(VERSION, &0x030c_01f0_u32.to_le_bytes());
    memory.long(RUNTIME + 40, interpreter).long(interpreter, 0);
    memory.long(interpreter + 72, thread).long(thread + 8, 0).long(thread + 144, 77);
    memory.long(thread + 56, through).long(through, 0x10_000);
    memory.frame(0x10_000, 0x20_000, "inner", 10);
    memory.frame(0x20_000, 0x30_000, "größer", 20);
    memory.frame(0x30_000, 0x40_000, "entry", 1);
    memory.put(0x30_000 + 70, &[3]);
    memory.frame(0x40_000, 0, "outer", 30);
    memory
}

fn shown(memory: &Memory, tid: u32) -> Option<Vec<String>> {
    let read = |address, length| memory.read(address, length);
    let layout = Layout::of(&read, RUNTIME, VERSION)?;
    let groups = of_thread(&read, &layout, RUNTIME, tid)?;
    let group =
        |group: &super::Group| group.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(groups.iter().map(group).collect())
}

#[test]
fn frames_are_told_call_by_call() {
    let expected = ["inner (worker.py:16), größer (worker.py:26)", "outer (worker.py:36)"];
    assert_eq!(shown(&program(), 77).unwrap(), expected);
    assert_eq!(shown(&program(), 78), None, "no such thread");
}

#[test]
fn a_version_that_is_not_known_is_left_alone() {
    for version in [0u32, 0x030a_0000, 0x0310_0000, u32::MAX] {
        let mut memory = program();
        memory.put(VERSION, &version.to_le_bytes());
        assert_eq!(shown(&memory, 77), None, "{version:#x}");
    }
    // 3.13 brings its own table: without it, nothing is known.
    let mut memory = program();
    for version in [0x030d_00f0_u32, 0x030e_00f0, 0x030f_00f0] {
        memory.put(VERSION, &version.to_le_bytes()).put(RUNTIME, &[0xff; 800]);
        assert_eq!(shown(&memory, 77), None);
        memory.put(RUNTIME, b"xdebugpy").long(RUNTIME + 8, version.into());
        assert_eq!(shown(&memory, 77), None, "offsets beyond all bounds");
    }
}

#[test]
fn circles_end() {
    let mut memory = program();
    memory.long(0x20_000 + 8, 0x10_000);
    let frames = shown(&memory, 77).unwrap();
    assert_eq!(frames.len(), 1, "no call of the interpreter's own begins in the circle");
    assert_eq!(frames[0].split(", ").count(), 128);
    let mut memory = program();
    memory.long(0x3000 + 8, 0x3000).long(0x2000, 0x2000);
    assert_eq!(shown(&memory, 78), None, "threads and interpreters");
}

#[test]
fn lengths_are_not_believed() {
    for (at, what) in [(0x11_000 + 0x300 + 16, "file"), (0x11_000 + 0x500 + 16, "line table")] {
        let mut memory = program();
        memory.long(at, u64::MAX);
        let frames = shown(&memory, 77).unwrap();
        assert!(frames[0].contains("größer"), "{what}: the frames around it are told: {frames:?}");
    }
}

#[test]
fn memory_that_makes_no_sense_is_walked_for_a_bounded_time() {
    let reads = Cell::new(0u64);
    let mut numbers = 1u64;
    for round in 0..200 {
        numbers = numbers.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
        let seed = numbers;
        // Every address holds something, the same each time; often a pointer to more of it.
        let read = |address: u64, length: usize| {
            reads.set(reads.get() + 1);
            assert!(length <= 64 << 10, "no read is larger");
            let byte = |i: u64| {
                let mixed = (address.wrapping_add(i) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                if i % 8 < 3 { (mixed >> 56) as u8 } else { 0 }
            };
            (0..length as u64).map(byte).collect::<Vec<u8>>()
        };
        for version in [0x030b_0000u32, 0x030c_0000] {
            let versioned = |address: u64, length: usize| match address {
                VERSION => version.to_le_bytes().to_vec(),
                _ => read(address, length),
            };
            let layout = Layout::of(&versioned, RUNTIME, VERSION).unwrap();
            let tid = u32::from_le_bytes(read(0x5000 + layout.native_id, 4).try_into().unwrap());
            let _ = of_thread(&read, &layout, RUNTIME, tid);
        }
    }
    assert!(reads.get() < 200 * 2 * (16 * 4096 * 2 + 128 * 20), "{}", reads.get());
}

#[test]
fn line_tables_of_every_form() {
    // no columns, line 7 for two instructions; short; none; long with varints of two bytes
    let long = [0x80 | 14 << 3 | 1, 3, 0x40 | 1, 1, 5, 0x7f, 1];
    let table =
        [&[0x80 | 13 << 3 | 1, 4][..], &[0x80 | 2 << 3, 0], &[0x80 | 15 << 3], &long].concat();
    let lines: Vec<_> = (0..7).map(|at| line(&table, 5, at)).collect();
    assert_eq!(lines, [Some(7), Some(7), Some(7), None, Some(6), Some(6), None]);
    for end in 0..table.len() {
        assert_eq!(line(&table[..end], 5, 6), None, "cut at {end}");
    }
    assert_eq!(line(&[0x00, 0x00], 5, 0), None, "no entry begins like this");
    assert_eq!(line(&[0x80 | 13 << 3, 0x41, 0x7f, 0x7f, 0x3f], 5, 0), None, "far below line 0");
}
