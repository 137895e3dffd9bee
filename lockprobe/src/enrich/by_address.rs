//! The functions of a large symbol table by address, so that a look-up reads a few symbols only.
//!
//! Tables are in no order that a look-up could use, and going through that of a Java machine or of
//! Node takes longer than many a wait. Twelve bytes a function are kept.

use super::elf::{Kind, Table};
use std::fs::File;

/// Smaller tables are gone through as they are.
const FEWEST: usize = 2048;
/// Larger ones too: the index would take more than 24 MiB.
const MOST: usize = 2 << 20;
/// Functions that one address may lie behind the beginning of, looked at.
const STEPS: usize = 4096;

/// One function, the lowest address of all taken off.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    /// How far this one and all that begin before it reach.
    furthest: u32,
    /// Which symbol of the table.
    at: u32,
}

/// The functions of one table.
#[derive(Debug)]
pub struct ByAddress {
    lowest: u64,
    entries: Vec<Entry>,
}

impl ByAddress {
    /// Reads a table; `None` where it is better gone through.
    pub fn read(table: &Table, file: &File) -> Option<Self> {
        if !(FEWEST..=MOST).contains(&table.symbols()) {
            return None;
        }
        let mut found: Vec<(u64, u64, u32)> = Vec::new();
        table.each(file, Kind::Function, |symbol| {
            found.push((symbol.start, symbol.start.saturating_add(symbol.size), symbol.at));
        })?;
        Self::of(found)
    }

    /// From beginnings, ends and places in the table; `None` if they lie 4 GiB apart.
    fn of(mut found: Vec<(u64, u64, u32)>) -> Option<Self> {
        found.sort_unstable();
        let lowest = found.first()?.0;
        let mut furthest = 0;
        let entry = |(start, end, at): (u64, u64, u32)| {
            let start = u32::try_from(start - lowest).ok()?;
            furthest = furthest.max(u32::try_from(end - lowest).ok()?);
            Some(Entry { start, furthest, at })
        };
        let entries = found.into_iter().map(entry).collect::<Option<Vec<_>>>()?;
        Some(Self { lowest, entries })
    }

    /// Symbols of the table that may cover the address, in the table's order.
    pub fn near(&self, address: u64) -> Vec<u32> {
        let Some(offset) = address.checked_sub(self.lowest).and_then(|o| u32::try_from(o).ok())
        else {
            return Vec::new();
        };
        let behind = self.entries.partition_point(|entry| entry.start <= offset);
        let before = self.entries[..behind].iter().rev().take(STEPS);
        let mut near: Vec<u32> =
            before.take_while(|entry| entry.furthest > offset).map(|entry| entry.at).collect();
        near.sort_unstable();
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_an_address_is_found_however_they_lie() {
        // A long function, two inside it, one behind all, two names for one.
        let found = [(900, 910, 0), (100, 500, 1), (120, 130, 2), (130, 140, 3), (130, 140, 4)];
        let index = ByAddress::of(found.to_vec()).unwrap();
        let covering = |address| {
            let mut near = index.near(address);
            near.retain(|&at| found.iter().any(|f| f.2 == at && f.0 <= address && address < f.1));
            near
        };
        for address in 90..=920 {
            let mut expected: Vec<u32> =
                found.iter().filter(|f| f.0 <= address && address < f.1).map(|f| f.2).collect();
            expected.sort_unstable();
            assert_eq!(covering(address), expected, "{address}");
        }
        assert!(index.near(0).is_empty() && index.near(u64::MAX).is_empty());
    }

    #[test]
    fn tables_of_nonsense_have_no_index() {
        assert!(ByAddress::of(vec![]).is_none());
        assert!(ByAddress::of(vec![(0, u64::MAX, 0)]).is_none());
        assert!(ByAddress::of(vec![(0, 1, 0), (1 << 40, 1 << 41, 1)]).is_none());
    }
}
