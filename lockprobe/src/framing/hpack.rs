//! Header blocks of HTTP/2, for a listener who may have come late (RFC 7541).
//!
//! Indices into the dynamic table count from its newest entry: those of entries that were added
//! since we listen are right. What lies beyond is unknown, which is no error.

use std::collections::VecDeque;

use super::huffman;

/// Longest value that is kept.
const VALUE_AT_MOST: usize = 64;

/// Largest dynamic table that is followed; RFC 7541 begins with 4096.
const TABLE_AT_MOST: usize = 64 << 10;

/// Fields that tell what a call is and how it went. Values of all others are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `:path`.
    Path,
    /// `:status`.
    Status,
    /// `grpc-status`.
    GrpcStatus,
    /// Anything else.
    Other,
}

/// One entry of a table.
#[derive(Clone, Debug)]
struct Field {
    name: Name,
    /// Empty where it is not kept.
    value: Box<[u8]>,
    name_length: usize,
    /// What the table counts for it.
    size: usize,
}

/// One direction's table.
#[derive(Clone, Debug)]
pub struct Table {
    newest_first: VecDeque<Field>,
    size: usize,
    most: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { newest_first: VecDeque::new(), size: 0, most: 4096 }
    }
}

/// Names of the static table by length, RFC 7541 appendix A: the first is number 1.
const STATIC_NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 6, 10, 25,
    17, 10, 4, 3, 10, 16,
];

/// Values of `:status` in the static table, from number 8 on.
const STATUSES: [&[u8]; 7] = [b"200", b"204", b"206", b"304", b"400", b"404", b"500"];

fn static_name(index: usize) -> Name {
    match index {
        4 | 5 => Name::Path,
        8..=14 => Name::Status,
        _ => Name::Other,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A number with a prefix of so many bits.
    fn number(&mut self, bits: u32) -> Option<usize> {
        let (&first, mut rest) = self.0.split_first()?;
        let most = (1usize << bits) - 1;
        let mut number = usize::from(first) & most;
        if number == most {
            let mut shift = 0;
            loop {
                let (&byte, after) = rest.split_first()?;
                rest = after;
                number += usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift > 21 {
                    return None;
                }
            }
        }
        self.0 = rest;
        Some(number)
    }

    /// A text: handed on byte by byte; its length.
    fn text(&mut self, mut each: impl FnMut(u8)) -> Option<usize> {
        let coded = self.0.first()? & 0x80 != 0;
        let length = self.number(7)?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        if !coded {
            text.iter().copied().for_each(each);
            return Some(length);
        }
        let mut count = 0;
        let is_code = huffman::decode(text, |byte| {
            count += 1;
            each(byte);
        });
        is_code.then_some(count)
    }

    /// A text that is kept if it is short; its bytes, how many are kept, and its length.
    fn short(&mut self) -> Option<([u8; VALUE_AT_MOST], usize, usize)> {
        let mut kept = [0; VALUE_AT_MOST];
        let mut count = 0;
        let length = self.text(|byte| {
            if let Some(place) = kept.get_mut(count) {
                *place = byte;
                count += 1;
            }
        })?;
        Some((kept, if length > VALUE_AT_MOST { 0 } else { count }, length))
    }
}

impl Table {
    /// Reads a block; each field that is known is handed on. False: it makes no sense.
    pub fn read(&mut self, block: &[u8], mut each: impl FnMut(Name, &[u8])) -> bool {
        let mut reader = Reader(block);
        while let Some(&first) = reader.0.first() {
            let sound = match first {
                0x80.. => self.indexed(&mut reader, &mut each),
                0x40..0x80 => self.literal(&mut reader, 6, true, &mut each),
                0x20..0x40 => reader.number(5).map(|most| self.resize(most)),
                _ => self.literal(&mut reader, 4, false, &mut each),
            };
            if sound.is_none() {
                return false;
            }
        }
        true
    }

    /// Entries that came while nobody listened are unknown: all that were known count wrongly.
    pub fn forget(&mut self) {
        self.newest_first.clear();
        self.size = 0;
    }

    fn indexed(&self, reader: &mut Reader<'_>, each: &mut impl FnMut(Name, &[u8])) -> Option<()> {
        let index = reader.number(7)?;
        match index {
            0 => return None,
            8..=14 => each(Name::Status, STATUSES[index - 8]),
            4 => each(Name::Path, b"/"),
            62.. => {
                if let Some(field) = self.newest_first.get(index - 62) {
                    each(field.name, &field.value);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn literal(
        &mut self,
        reader: &mut Reader<'_>,
        bits: u32,
        keep: bool,
        each: &mut impl FnMut(Name, &[u8]),
    ) -> Option<()> {
        let (name, name_length) = match reader.number(bits)? {
            0 => {
                let (kept, count, length) = reader.short()?;
                let name = match &kept[..count] {
                    b":path" => Name::Path,
                    b":status" => Name::Status,
                    b"grpc-status" => Name::GrpcStatus,
                    _ => Name::Other,
                };
                (name, length)
            }
            index @ 1..=61 => (static_name(index), usize::from(STATIC_NAMES[index - 1])),
            index => match self.newest_first.get(index - 62) {
                Some(field) => (field.name, field.name_length),
                None => (Name::Other, 0),
            },
        };
        let (kept, count, value_length) = match name {
            Name::Other => ([0; VALUE_AT_MOST], 0, reader.text(|_| ())?),
            _ => reader.short()?,
        };
        let value = &kept[..count];
        each(name, value);
        if keep {
            let size = 32 + name_length + value_length;
            self.newest_first.push_front(Field { name, value: value.into(), name_length, size });
            self.size += size;
            self.shrink();
        }
        Some(())
    }

    fn resize(&mut self, most: usize) {
        self.most = most.min(TABLE_AT_MOST);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.size > self.most {
            let Some(oldest) = self.newest_first.pop_back() else { break };
            self.size -= oldest.size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(table: &mut Table, block: &[u8]) -> Option<String> {
        let mut path = None;
        let sound = table.read(block, |name, value| {
            if name == Name::Path {
                path = Some(String::from_utf8(value.to_vec()).unwrap());
            }
        });
        assert!(sound);
        path
    }

    const GO: &[u8] = b"\x83\x86\x45\x95\x60\xa9\x24\x88\x2d\x9d\xcb\x65\x71\xaf\x9c\xa3\x41\x58\xce\x51\xa0\xb8\xac\x1d\x49";

    #[test]
    fn a_path_is_known_by_its_index_once_it_was_heard() {
        let mut table = Table::default();
        assert_eq!(path(&mut table, GO).as_deref(), Some("/etcdserverpb.Lease/LeaseGrant"));
        assert_eq!(path(&mut table, b"\xbe").as_deref(), Some("/etcdserverpb.Lease/LeaseGrant"));
        // gRPC C-core: a new name in plain text.
        let core = b"\x40\x05:path\x14/etcdserverpb.KV/Txn";
        assert_eq!(path(&mut table, core).as_deref(), Some("/etcdserverpb.KV/Txn"));
        assert_eq!(path(&mut table, b"\xbf").as_deref(), Some("/etcdserverpb.Lease/LeaseGrant"));
    }

    #[test]
    fn what_was_said_before_us_is_unknown_and_no_error() {
        let mut table = Table::default();
        assert_eq!(path(&mut table, b"\xc5\x83\x86"), None);
        assert_eq!(path(&mut table, GO).as_deref(), Some("/etcdserverpb.Lease/LeaseGrant"));
        table.forget();
        assert_eq!(path(&mut table, b"\xbe"), None);
    }

    #[test]
    fn old_entries_go_when_the_table_is_full() {
        let mut table = Table::default();
        path(&mut table, GO);
        for _ in 0..200 {
            table.read(b"\x40\x04abcd\x20xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", |_, _| ());
        }
        assert!(table.newest_first.len() <= 4096 / 68);
        assert!(table.read(b"\x20", |_, _| ()));
        assert!(table.newest_first.is_empty());
    }

    #[test]
    fn nonsense_is_said_to_be_such() {
        for block in [&b"\x80"[..], b"\x40", b"\x40\x05:pa", b"\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(!Table::default().read(block, |_, _| ()), "{block:?}");
        }
        let long = [&b"\x40\x05:path\x7f\x81\x00"[..], &[b'a'; 128]].concat();
        let mut table = Table::default();
        assert_eq!(path(&mut table, &long).as_deref(), Some(""));
    }
}
