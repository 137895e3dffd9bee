//! The vocabulary every room speaks: who, which lock, what happened, what follows from it.
//!
//! In: nothing. Out: types. Never: another room, serde, clap, aya, a clock, a file.

pub mod activity;
pub mod agent;
pub mod conversation;
pub mod counts;
pub mod event;
pub mod fact;
pub mod finding;
pub mod full;
pub mod histogram;
pub mod kernel;
pub mod lock;
pub mod metrics;
pub mod names;
pub mod observation;
pub mod own;
pub mod record;
pub mod remote;
pub mod selector;
pub mod session;
pub mod snapshot;
pub mod span;
pub mod stack;
pub mod thread;

pub use activity::{Activity, Doing};
pub use agent::AgentRule;
pub use conversation::{BytesSeen, Connection, Dialect, Piece, TalkSeen};
pub use counts::{LockCounts, Losses};
pub use event::{LockEvent, What};
pub use fact::{
    CallSite, Fact, FileFact, FoundFile, HolderFact, LockFact, LockFileFact, NamedProcess,
    NamedState, PlaceFact, ProcessFact, SiteClass, SiteFact, ThreadFact,
};
pub use finding::{Edge, Finding, FindingKind};
pub use full::{
    AcquiredSeen, AcquisitionCounts, AcquisitionSummary, Inversion, LockOrder, OrderSeen,
};
pub use histogram::Histogram;
pub use kernel::{
    CountsKey, FileEvent, FileSeen, KernelLock, KernelLockSeen, KernelWait, LockFileSeen, Phase,
};
pub use lock::{LockDescription, LockId, LockKind, Mode, Wakes};
pub use metrics::{Durations, Exemplar, Family, Instrument, Metrics, Point, Value};
pub use observation::{
    LockSeen, Malformed, Observation, ProcessEvent, ProcessSeen, WaitSeen, WakeReason,
};
pub use own::{OwnProgram, OwnState};
pub use record::{Blind, LockSummary, Record, Summary};
pub use remote::{Notice, NoticeKind, Owner, Remote, RemoteAct, RemoteHold, RemoteStep, Said};
pub use selector::{Selector, Whereabouts};
pub use session::Session;
pub use snapshot::{Agent, Snapshot, StandingWait};
pub use span::{AcquireSpan, HoldEnd, HoldSpan, Holder, HolderSource, Outcome, Precision, SpanId};
pub use stack::{Look, Missing, Stack, StackFact, StackFrame, WaitStacks};
pub use thread::{Standing, Thread, ThreadId};
