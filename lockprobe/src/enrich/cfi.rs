//! Unwind tables (`.eh_frame`): the bounds of a function, and how to leave it.

use super::elf::{Elf, read_at, word};
use super::unwind::{Base, FramePointer, Step};
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EndianSlice, LittleEndian, Register, RegisterRule,
    UnwindSection,
};
use std::fs::File;

const FRAME: Register = Register(if cfg!(target_arch = "aarch64") { 29 } else { 6 });
const STACK: Register = Register(if cfg!(target_arch = "aarch64") { 31 } else { 7 });
const RETURN: Register = Register(if cfg!(target_arch = "aarch64") { 30 } else { 16 });
/// Bound of one table entry: those of real functions have a few hundred bytes.
const LONGEST_ENTRY: u32 = 1 << 18;

/// What the unwind tables say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First address of the function (or of this part of it).
    pub start: u64,
    /// Address behind it.
    pub end: u64,
    /// How to leave it from there; `None` when it cannot be said in a few words.
    pub step: Option<Step>,
    /// Nobody called it: the stack ends here.
    pub bottom: bool,
}

/// What the unwind tables say of an address as linked.
pub fn bounds(elf: &Elf, file: &File, address: u64) -> Option<Bounds> {
    match indexed(elf, file, address) {
        Ok(entry) => {
            let entry = entry?;
            evaluate(&entry.bytes, entry.base, Some(entry.fde), address)
        }
        Err(NoIndex) => {
            let frames = elf.frames?;
            let bytes = read_at(file, frames.offset, usize::try_from(frames.size).ok()?)?;
            evaluate(&bytes, frames.address, None, address)
        }
    }
}

struct NoIndex;

/// One entry with the common part it refers to, as a section of its own.
struct Entry {
    bytes: Vec<u8>,
    base: u64,
    fde: usize,
}

/// Looks the address up in `.eh_frame_hdr` (Linux Standard Base, "eh_frame_hdr"), whose table is
/// sorted, so that only a few words of a large file are read.
fn indexed(elf: &Elf, file: &File, address: u64) -> Result<Option<Entry>, NoIndex> {
    let index = elf.frame_index.ok_or(NoIndex)?;
    let head = read_at(file, index.offset, 12).ok_or(NoIndex)?;
    // Version 1; pointer relative to itself, count absolute, table relative to the index: what
    // every linker writes.
    if head[..4] != [1, 0x1b, 0x03, 0x3b] {
        return Err(NoIndex);
    }
    let count = u64::from(word(&head, 8).ok_or(NoIndex)?).min(index.size.saturating_sub(12) / 8);
    let pair = |i: u64| {
        let bytes = read_at(file, index.offset.checked_add(12 + i * 8)?, 8)?;
        let place =
            |at| Some(index.address.wrapping_add_signed(i64::from(word(&bytes, at)? as i32)));
        Some((place(0)?, place(4)?))
    };
    let (mut low, mut high) = (0, count);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let Some((start, entry)) = pair(middle) else {
            return Ok(None);
        };
        if start <= address {
            found = Some(entry);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found.and_then(|entry| extract(elf, file, entry)))
}

/// Copies an entry (FDE) and its common part (CIE) out of the file.
fn extract(elf: &Elf, file: &File, fde: u64) -> Option<Entry> {
    let read = |at: u64| {
        let length = word(&elf.bytes(file, at, 4)?, 0)?;
        // 0 ends the section; the 64-bit form (0xffffffff) is never used in practice.
        ((4..LONGEST_ENTRY).contains(&length)).then(|| elf.bytes(file, at, length as usize + 4))?
    };
    let mut own = read(fde)?;
    let back = u64::from(word(&own, 4)?);
    let mut bytes = read(fde.checked_add(4)?.checked_sub(back)?)?;
    let at = bytes.len();
    own[4..8].copy_from_slice(&(u32::try_from(at).ok()? + 4).to_le_bytes());
    bytes.extend_from_slice(&own);
    // Addresses in the entry are relative to where they stand: place it where it stood.
    Some(Entry { bytes, base: fde.wrapping_sub(at as u64), fde: at })
}

fn evaluate(bytes: &[u8], base: u64, fde: Option<usize>, address: u64) -> Option<Bounds> {
    let section = EhFrame::new(bytes, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(base);
    let common = EhFrame::<EndianSlice<'_, LittleEndian>>::cie_from_offset;
    let fde = match fde {
        Some(at) => section.fde_from_offset(&bases, at.into(), common).ok()?,
        None => section.fde_for_address(&bases, address, common).ok()?,
    };
    if !fde.contains(address) {
        return None;
    }
    let (start, end) = (fde.initial_address(), fde.end_address());
    let bounds = Bounds { start, end, step: None, bottom: false };
    if fde.is_signal_trampoline() {
        return Some(bounds);
    }
    let mut context = gimli::UnwindContext::new();
    let row = fde.unwind_info_for_address(&section, &bases, &mut context, address).ok();
    let undefined = |row: &&gimli::UnwindTableRow<usize>| {
        matches!(row.register(RETURN), Some(RegisterRule::Undefined))
    };
    let bottom = row.as_ref().is_some_and(undefined);
    Some(Bounds { step: row.and_then(step_of), bottom, ..bounds })
}

fn step_of(row: &gimli::UnwindTableRow<usize>) -> Option<Step> {
    let base = match *row.cfa() {
        CfaRule::RegisterAndOffset { register: STACK, offset } => (Base::Stack, offset),
        CfaRule::RegisterAndOffset { register: FRAME, offset } => (Base::Frame, offset),
        _ => return None,
    };
    let ret = match row.register(RETURN) {
        Some(RegisterRule::Offset(offset)) => Some(offset),
        None | Some(RegisterRule::SameValue) => None,
        _ => return None,
    };
    let frame_pointer = match row.register(FRAME) {
        None | Some(RegisterRule::SameValue) => FramePointer::Same,
        Some(RegisterRule::Offset(offset)) => FramePointer::At(offset),
        _ => FramePointer::Lost,
    };
    Some(Step { base, ret, frame_pointer })
}
