//! A run of records in one buffer.

use lockprobe_ebpf::wire::{Header, kind};
use zerocopy::IntoBytes;

/// Frames one behind the other; a frame is one record, its [`Header`] first.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// Adds a frame as it came.
    pub fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
    }

    /// Adds a frame of this kind with this body.
    pub fn push_parts(&mut self, kind: u32, time_ns: u64, body: &[&[u8]]) {
        let length = size_of::<Header>() + body.iter().map(|part| part.len()).sum::<usize>();
        let header = Header { kind, len: u32::try_from(length).unwrap_or(u32::MAX), time_ns };
        self.bytes.extend_from_slice(header.as_bytes());
        for part in body {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// Says that everything before this time has been delivered.
    pub fn push_tick(&mut self, time_ns: u64) {
        self.push_parts(kind::TICK, time_ns, &[]);
    }

    /// The frames.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    /// How many frames.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_went_in() {
        let mut batch = Batch::default();
        batch.push(b"first");
        batch.push_parts(kind::FACT, 7, &[b"ab", b"c"]);
        batch.push_tick(9);
        let frames: Vec<&[u8]> = batch.frames().collect();
        assert_eq!(frames.len(), 3);
        assert_eq!(frames[0], b"first");
        assert_eq!(&frames[1][16..], b"abc");
        assert_eq!(frames[1][4], 19);
        assert_eq!(frames[2].len(), 16);
        batch.clear();
        assert!(batch.is_empty());
    }
}
