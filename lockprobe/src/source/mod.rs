//! Where records come from: the running kernel, or a recording of one.
//!
//! In: the operating system, files. Out: batches of frames, each one record of the wire contract.
//! Never: what a record means.

pub mod batch;
pub mod doctor;
pub mod facts;
pub mod live;
pub mod recording;

pub use batch::Batch;

use crate::model::Session;

/// A stream of batches.
pub trait Source {
    /// The circumstances of the observation.
    fn session(&self) -> &Session;

    /// The next batch; `None` at the end.
    fn next(&mut self) -> Result<Option<Batch>, Error>;
}

/// Why a source cannot go on. Each reads as one sentence; [`Error::status`] is the exit status.
#[derive(Debug)]
pub enum Error {
    /// Not allowed to.
    Permission(String),
    /// The kernel lacks something.
    Unsupported(String),
    /// The target does not exist.
    NoTarget(String),
    /// The binary was built without its eBPF programs.
    NoPrograms(String),
    /// A recording is damaged or of another version.
    Recording(String),
    /// Anything else.
    Failed(String),
}

impl Error {
    /// Exit status of the command, as the manual page lists them.
    pub fn status(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Permission(_) => 4,
            Self::Unsupported(_) => 5,
            Self::NoTarget(_) => 6,
            Self::NoPrograms(_) => 7,
            Self::Recording(_) => 8,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Permission(text)
            | Self::Unsupported(text)
            | Self::NoTarget(text)
            | Self::NoPrograms(text)
            | Self::Recording(text)
            | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
