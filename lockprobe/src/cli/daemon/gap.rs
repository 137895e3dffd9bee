//! What a restart missed: the last moment observed, kept in a file.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// How often the moment is written down.
const EVERY: Duration = Duration::from_secs(10);
/// Longest file that is read.
const FILE_BYTES: u64 = 4096;

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    /// Of this form.
    version: u32,
    /// Which start of the host.
    boot: String,
    /// The last moment observed, UNIX time in nanoseconds.
    last: u64,
    /// Whether lockprobe ended as it was told to.
    ended: bool,
}

/// The file, the lock beside it, and what the file said.
pub struct Memory {
    directory: Option<PathBuf>,
    /// Held as long as we run: there is one who writes.
    _lock: Option<File>,
    boot: String,
    next: Instant,
    gap: Option<Duration>,
}

impl Memory {
    /// Keeps nothing.
    pub fn nothing() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        Self { directory: None, _lock: None, boot, next: Instant::now(), gap: None }
    }

    /// Reads what the run before left, and says it. A directory that cannot be used is said too.
    pub fn open(directory: &str) -> Self {
        let nothing = Self::nothing();
        if directory == "off" {
            return nothing;
        }
        let directory = Path::new(directory);
        let lock = match lock(directory) {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                tracing::warn!(
                    state.directory = %directory.display(),
                    "another lockprobe runs with the same state directory; both observe, and this \
                     one keeps no state"
                );
                return nothing;
            }
            Err(error) => {
                tracing::warn!(
                    state.directory = %directory.display(),
                    "no state is kept, and the next start will not know what it missed: {error}"
                );
                return nothing;
            }
        };
        let mut memory =
            Self { directory: Some(directory.to_owned()), _lock: Some(lock), ..nothing };
        memory.gap = memory.tell_gap();
        memory
    }

    /// How long nobody observed before this start, where that is known.
    pub fn gap(&self) -> Option<Duration> {
        self.gap
    }

    fn tell_gap(&self) -> Option<Duration> {
        let path = self.directory.as_ref()?.join("state.json");
        let mut text = String::new();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(_) => {
                tracing::info!("this is the first observation here, as far as is known");
                return None;
            }
        };
        let read = file.take(FILE_BYTES).read_to_string(&mut text);
        let noted = read.ok().and_then(|_| serde_json::from_str::<Noted>(&text).ok());
        let Some(noted) = noted.filter(|noted| noted.version == 1) else {
            tracing::warn!(
                file = %path.display(),
                "what the run before noted cannot be read; how long nobody observed is not known"
            );
            return None;
        };
        let Some(gap) = now().checked_sub(noted.last) else {
            tracing::warn!("the clock was set back; how long nobody observed is not known");
            return None;
        };
        let gap = Duration::from_nanos(gap);
        let restarted = noted.boot != self.boot;
        tracing::info!(
            event.name = "lockprobe.gap",
            seconds = gap.as_secs_f64(),
            host_restarted = restarted,
            ended_as_told = noted.ended,
            "nobody observed for {gap:.1?}{}{}",
            if restarted { ", in which the host restarted" } else { "" },
            if noted.ended { "" } else { "; the run before was cut off" },
        );
        Some(gap)
    }

    /// All that happened until now has been observed; noted now and then.
    pub fn observed(&mut self) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + EVERY;
            self.note(false);
        }
    }

    /// Observation has ended.
    pub fn ended(&mut self) {
        self.note(true);
    }

    fn note(&mut self, ended: bool) {
        let Some(directory) = &self.directory else { return };
        let noted = Noted { version: 1, boot: self.boot.clone(), last: now(), ended };
        if let Err(error) = write(directory, &noted) {
            tracing::warn!(
                state.directory = %directory.display(),
                "the last moment observed cannot be noted, and is not from now on: {error}"
            );
            self.directory = None;
        }
    }
}

/// The lock of a directory, made if it is not there; none while another has it.
fn lock(directory: &Path) -> std::io::Result<Option<File>> {
    fs::create_dir_all(directory)?;
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW).open(directory.join("lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whole or not at all: whoever reads it finds the one before or this one.
fn write(directory: &Path, noted: &Noted) -> std::io::Result<()> {
    let (path, fresh) = (directory.join("state.json"), directory.join("state.json.new"));
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(serde_json::to_string(noted)?.as_bytes())?;
    fs::rename(&fresh, &path)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_known_after_a_run_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er");
        let name = path.to_str().unwrap();
        let mut first = Memory::open(name);
        assert_eq!(first.gap(), None);
        // The lock is held: a second one keeps nothing and knows nothing.
        assert_eq!(Memory::open(name).directory, None);
        first.observed();
        first.ended();
        drop(first);
        std::thread::sleep(Duration::from_millis(20));
        let gap = Memory::open(name).gap().unwrap();
        assert!(gap >= Duration::from_millis(20) && gap < Duration::from_secs(60), "{gap:?}");
        assert_eq!(Memory::open("off").directory, None);
    }

    #[test]
    fn what_makes_no_sense_is_not_known() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state.json");
        let later = format!(r#"{{"version":1,"boot":"x","last":{},"ended":true}}"#, u64::MAX);
        for text in ["", "{", &later, r#"{"version":9,"boot":"x","last":1,"ended":true}"#] {
            fs::write(&file, text).unwrap();
            assert_eq!(Memory::open(directory.path().to_str().unwrap()).gap(), None, "{text}");
        }
        fs::write(&file, vec![b'['; 1 << 20]).unwrap();
        assert_eq!(Memory::open(directory.path().to_str().unwrap()).gap(), None);
    }
}
