//! Recordings (`.lprec`): the frames of an observation, with what was learnt on the side.
//!
//! A file is a magic line, a JSON line with the circumstances, the frames as they came (each
//! beginning with its kind and length), and an end mark that counts and checksums them. A file
//! without its end mark is known to be cut. All numbers are little-endian.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lockprobe_ebpf::wire::{Header, LockRecord, WIRE_VERSION};
use zerocopy::{FromBytes, IntoBytes};

use super::{Batch, Error, Source};
use crate::model::Session;

const MAGIC: &[u8] = b"lockprobe recording\n";
/// Kind of the frame that ends a file: frame count and CRC-32 of all frames before it.
const END: u32 = u32::MAX;
/// No frame is longer; facts are cut to it.
const LONGEST: usize = 64 << 10;
/// No header line is longer.
const LONGEST_HEADER: u64 = 64 << 10;
const FRAMES_A_BATCH: usize = 512;

const _: () = assert!(size_of::<LockRecord>() < LONGEST);

/// Writes a recording. The file gets its name only when it is complete: until then it lies
/// beside it under a temporary one.
pub struct Writer {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    frames: u64,
    checksum: crc32fast::Hasher,
    complete: bool,
}

impl Writer {
    /// Begins a file.
    pub fn create(path: &Path, session: &Session) -> io::Result<Self> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // It holds pieces of other processes' stacks: like a core dump, for its owner only.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = BufWriter::with_capacity(256 << 10, options.open(&partial)?);
        file.write_all(MAGIC)?;
        let header = serde_json::json!({
            "wire_version": WIRE_VERSION,
            "wall_offset_ns": session.wall_offset.to_string(),
            "start_ns": session.start,
            "min_wait_ns": session.min_wait,
            "stack_threshold_ns": session.stack_threshold,
            "host": session.host,
            "kernel": session.kernel,
            "lockprobe": session.version,
        });
        writeln!(file, "{header}")?;
        let checksum = crc32fast::Hasher::new();
        Ok(Self { path: path.into(), partial, file, frames: 0, checksum, complete: false })
    }

    /// Adds a frame.
    pub fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        if frame.len() > LONGEST {
            return Ok(());
        }
        self.frames += 1;
        self.checksum.update(frame);
        self.file.write_all(frame)
    }

    /// Writes the end mark and gives the file its name.
    pub fn finish(mut self) -> io::Result<()> {
        let checksum = u64::from(self.checksum.clone().finalize());
        let len = (size_of::<Header>() + 16) as u32;
        let header = Header { kind: END, len, time_ns: 0 };
        self.file.write_all(header.as_bytes())?;
        self.file.write_all(&self.frames.to_le_bytes())?;
        self.file.write_all(&checksum.to_le_bytes())?;
        self.file.flush()?;
        std::fs::rename(&self.partial, &self.path)?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.complete {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// Reads a recording.
pub struct Recording {
    path: String,
    session: Session,
    file: BufReader<Box<dyn Read + Send>>,
    frames: u64,
    checksum: crc32fast::Hasher,
    ended: bool,
}

impl Recording {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let file = File::open(path)
            .map_err(|e| Error::Recording(format!("the recording {name} cannot be opened: {e}")))?;
        Self::read(name, Box::new(file))
    }

    /// Reads from anything; the name is for messages.
    pub fn read(path: String, input: Box<dyn Read + Send>) -> Result<Self, Error> {
        let mut file = BufReader::with_capacity(256 << 10, input);
        let damaged = |what: String| {
            Error::Recording(format!("{path} {what}; make a new one with `lockprobe record`"))
        };
        let mut magic = [0; MAGIC.len()];
        let read = file.read_exact(&mut magic);
        if read.is_err() || magic != MAGIC {
            return Err(damaged("is no lockprobe recording".into()));
        }
        let mut line = Vec::new();
        let read = file.by_ref().take(LONGEST_HEADER).read_until(b'\n', &mut line);
        let header: Option<serde_json::Value> =
            read.ok().and_then(|_| serde_json::from_slice(&line).ok());
        let header = header.ok_or_else(|| damaged("has a damaged header".into()))?;
        if header["wire_version"] != WIRE_VERSION {
            return Err(damaged(format!(
                "was made by lockprobe {}, whose format this version does not read",
                header["lockprobe"].as_str().unwrap_or("of another version")
            )));
        }
        let session = session(&header).ok_or_else(|| damaged("has a damaged header".into()))?;
        let checksum = crc32fast::Hasher::new();
        Ok(Self { path, session, file, frames: 0, checksum, ended: false })
    }

    /// The next frame, into `frame`; `false` at the end mark.
    fn next_frame(&mut self, frame: &mut Vec<u8>) -> Result<bool, Error> {
        let mut head = [0; size_of::<Header>()];
        self.fill(&mut head)?;
        let Ok(header) = Header::read_from_bytes(&head) else { unreachable!("16 bytes") };
        let length = header.len as usize;
        if !(head.len()..=LONGEST).contains(&length) {
            return Err(self.damaged(&format!("claims a frame of {length} bytes")));
        }
        frame.clear();
        frame.extend_from_slice(&head);
        frame.resize(length, 0);
        let mut body = std::mem::take(frame);
        let filled = self.fill(&mut body[head.len()..]);
        *frame = body;
        filled?;
        if header.kind == END {
            self.check(frame)?;
            return Ok(false);
        }
        self.frames += 1;
        self.checksum.update(frame);
        Ok(true)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact(bytes).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                self.damaged("has no end mark: it was cut short")
            } else {
                self.damaged(&format!("cannot be read: {e}"))
            }
        })
    }

    fn damaged(&self, what: &str) -> Error {
        Error::Recording(format!(
            "the recording {} {what} (after {} records)",
            self.path, self.frames
        ))
    }

    fn check(&mut self, mark: &[u8]) -> Result<(), Error> {
        let word = |at: usize| {
            mark.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
        };
        let checksum = u64::from(self.checksum.clone().finalize());
        if word(16) != Some(self.frames) || word(24) != Some(checksum) {
            return Err(self.damaged("is damaged: its checksum does not agree"));
        }
        Ok(())
    }
}

fn session(header: &serde_json::Value) -> Option<Session> {
    let text = |key: &str| header[key].as_str().map(crate::model::thread::printable);
    Some(Session {
        wall_offset: header["wall_offset_ns"].as_str()?.parse().ok()?,
        start: header["start_ns"].as_u64()?,
        min_wait: header["min_wait_ns"].as_u64()?,
        stack_threshold: header["stack_threshold_ns"].as_u64(),
        host: text("host")?,
        kernel: text("kernel")?,
        version: text("lockprobe")?,
    })
}

impl Source for Recording {
    fn session(&self) -> &Session {
        &self.session
    }

    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let mut batch = Batch::default();
        let mut frame = Vec::new();
        while !self.ended && batch.len() < FRAMES_A_BATCH {
            if self.next_frame(&mut frame)? {
                batch.push(&frame);
            } else {
                self.ended = true;
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(directory: &Path) -> PathBuf {
        let path = directory.join("a.lprec");
        let session = Session { wall_offset: 1 << 70, start: 5, ..Session::default() };
        let mut writer = Writer::create(&path, &session).unwrap();
        let mut batch = Batch::default();
        batch.push_tick(7);
        batch.push_tick(8);
        for frame in batch.frames() {
            writer.write(frame).unwrap();
        }
        assert!(!path.exists(), "no file under its name before it is complete");
        writer.finish().unwrap();
        path
    }

    fn drain(mut recording: Recording) -> Result<usize, Error> {
        let mut frames = 0;
        while let Some(batch) = recording.next()? {
            frames += batch.len();
        }
        Ok(frames)
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let recording = Recording::open(&sample(directory.path())).unwrap();
        assert_eq!(recording.session().wall_offset, 1 << 70);
        assert_eq!(drain(recording).unwrap(), 2);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = std::fs::read(sample(directory.path())).unwrap();
        let open = |bytes: Vec<u8>| {
            Recording::read("x".into(), Box::new(io::Cursor::new(bytes))).and_then(drain)
        };
        for length in 0..bytes.len() {
            let error = open(bytes[..length].to_vec()).unwrap_err();
            assert_eq!(error.status(), 8, "{error}");
        }
        let frames = bytes.len() - 2 * 16 - 32;
        for at in frames..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            // The time in the end mark's own header is the one thing nobody looks at.
            let time = bytes.len() - 24..bytes.len() - 16;
            assert!(time.contains(&at) || open(flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_unfinished_recording_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.lprec");
        drop(Writer::create(&path, &Session::default()).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
