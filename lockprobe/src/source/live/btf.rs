//! Offsets of kernel structure members, read from the kernel's own BTF.
//!
//! Rust has no CO-RE, so the programs take member offsets as load-time constants. Only the
//! structures asked for are looked at; the format is Documentation/bpf/btf.rst of the kernel.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
/// Stands for a structure's size among its members.
const SIZE: &str = "";

/// Member offsets in bytes by structure and member name.
#[derive(Debug, Default)]
pub struct Offsets(HashMap<(String, String), u64>);

impl Offsets {
    /// Size of a structure.
    pub fn size(&self, structure: &str) -> Option<u64> {
        self.get(structure, SIZE)
    }

    /// Offset of a member, e.g. `get("task_struct", "tgid")`.
    pub fn get(&self, structure: &str, member: &str) -> Option<u64> {
        self.0.get(&(structure.to_owned(), member.to_owned())).copied()
    }
}

struct Blob<'a>(&'a [u8]);

impl<'a> Blob<'a> {
    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.0.get(at..at + 4)?.try_into().ok()?))
    }

    fn text(&self, at: usize) -> Option<&'a str> {
        let rest = self.0.get(at..)?;
        let end = rest.iter().position(|&b| b == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }
}

/// Reads the offsets of all members of the named structures; `None` when the bytes are not BTF.
pub fn offsets(btf: &[u8], structures: &[&str]) -> Option<Offsets> {
    let blob = Blob(btf);
    if u16::from_le_bytes(btf.get(..2)?.try_into().ok()?) != MAGIC {
        return None;
    }
    let header = blob.u32(4)? as usize;
    let types = header + blob.u32(8)? as usize;
    let types_end = types + blob.u32(12)? as usize;
    let strings = header + blob.u32(16)? as usize;
    let mut found = Offsets::default();
    let mut at = types;
    while at + 12 <= types_end {
        let name = strings + blob.u32(at)? as usize;
        let info = blob.u32(at + 4)?;
        let kind = (info >> 24) & 0x1f;
        let count = (info & 0xffff) as usize;
        let members = at + 12;
        if kind == KIND_STRUCT {
            let name = blob.text(name)?;
            if structures.contains(&name) {
                let size = u64::from(blob.u32(at + 8)?);
                found.0.insert((name.to_owned(), SIZE.to_owned()), size);
                let bitfields = info >> 31 != 0;
                read_members(&blob, name, members, count, bitfields, strings, &mut found)?;
            }
        }
        at = members + extra_size(kind, count)?;
    }
    Some(found)
}

fn read_members(
    blob: &Blob<'_>,
    structure: &str,
    start: usize,
    count: usize,
    bitfields: bool,
    strings: usize,
    found: &mut Offsets,
) -> Option<()> {
    for i in 0..count {
        let at = start + 12 * i;
        let member = blob.text(strings + blob.u32(at)? as usize)?;
        let mut bits = blob.u32(at + 8)?;
        if bitfields {
            bits &= 0x00ff_ffff;
        }
        found.0.insert((structure.to_owned(), member.to_owned()), u64::from(bits / 8));
    }
    Some(())
}

/// Bytes behind the 12 every type has, by kind.
fn extra_size(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,              // INT, VAR, DECL_TAG
        3 => 12,                       // ARRAY
        4 | 5 | 15 | 19 => 12 * count, // STRUCT, UNION, DATASEC, ENUM64
        6 | 13 => 8 * count,           // ENUM, FUNC_PROTO
        2 | 7..=12 | 16 | 18 => 0,     // PTR, FWD .. FUNC, FLOAT, TYPE_TAG
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One structure `s { a; b; }` with `b` at bit 64.
    fn sample() -> Vec<u8> {
        let strings = b"\0s\0a\0b\0";
        let mut types = Vec::new();
        for word in [1u32, (KIND_STRUCT << 24) | 2, 16, 3, 0, 0, 5, 0, 64] {
            types.extend_from_slice(&word.to_le_bytes());
        }
        let mut blob = Vec::new();
        blob.extend_from_slice(&MAGIC.to_le_bytes());
        blob.extend_from_slice(&[1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            blob.extend_from_slice(&word.to_le_bytes());
        }
        blob.extend_from_slice(&types);
        blob.extend_from_slice(strings);
        blob
    }

    #[test]
    fn members_are_found() {
        let offsets = offsets(&sample(), &["s"]).unwrap();
        assert_eq!(offsets.get("s", "a"), Some(0));
        assert_eq!(offsets.get("s", "b"), Some(8));
        assert_eq!(offsets.get("s", "c"), None);
    }

    #[test]
    fn a_cut_or_foreign_blob_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            assert!(offsets(&whole[..length], &["s"]).is_none() || length > 24);
        }
        assert!(offsets(b"\x7fELF and so on, for long enough", &["s"]).is_none());
    }
}
