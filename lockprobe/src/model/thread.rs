//! Threads: identity, and what they are called.

/// A thread on this host, by kernel-wide ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId {
    /// Process id (thread group).
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
}

/// A thread as a record showed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Who.
    pub id: ThreadId,
    /// Thread id inside its own PID namespace: what user memory holds.
    pub ns_tid: u32,
    /// Depth of that namespace, 0 for the host's.
    pub ns_level: u32,
    /// Name, zero-filled; any bytes.
    pub comm: [u8; 16],
}

impl Thread {
    /// The name as text: cut at the first zero, control characters and invalid UTF-8 replaced.
    pub fn name(&self) -> String {
        let end = self.comm.iter().position(|&b| b == 0).unwrap_or(self.comm.len());
        printable(&String::from_utf8_lossy(&self.comm[..end]))
    }
}

/// Where a thread stands: how it entered the kernel, and what tells whether it has run since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Off the processor and not waiting for one.
    pub blocked: bool,
    /// Number of the system call it is in; all ones outside of one.
    pub call: u64,
    /// Its first argument.
    pub first: u64,
    /// User instruction pointer.
    pub ip: u64,
    /// User stack pointer.
    pub sp: u64,
    /// User frame pointer, where that can be known.
    pub fp: Option<u64>,
    /// Processor time used so far, nanoseconds.
    pub cpu: u64,
}

/// Text from another process, safe to print: control characters become U+FFFD, so that a thread
/// name cannot move the cursor of the terminal it is shown on.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
