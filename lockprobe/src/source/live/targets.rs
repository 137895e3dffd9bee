//! Whom to watch: by process id, by the path of the executable, by selectors, or everyone.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use lockprobe_ebpf::wire::choice;

use super::choosing::Choosing;
use crate::model::Whereabouts;
use crate::select::Choice;
use crate::source::Error;

/// Says where a process runs: its container, its pod.
pub type Locator = Arc<dyn Fn(u32) -> Whereabouts + Send + Sync>;

/// A choice of processes. Children of chosen processes are followed by the kernel half.
#[derive(Clone, Default)]
pub struct Targets {
    pids: BTreeSet<u32>,
    executables: Option<GlobSet>,
    command: bool,
    chosen: Option<(Arc<Choice>, Option<Locator>)>,
}

impl std::fmt::Debug for Targets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let choice = self.chosen.as_ref().map(|(choice, _)| choice);
        let mut shown = f.debug_struct("Targets");
        shown.field("pids", &self.pids).field("executables", &self.executables);
        shown.field("command", &self.command).field("choice", &choice).finish()
    }
}

impl Targets {
    /// The whole host, but for lockprobe itself.
    pub fn everything() -> Self {
        Self::default()
    }

    /// These processes, and all whose executable matches one of the patterns. A pattern with a
    /// slash is matched against the whole path, one without against the file name.
    pub fn new(pids: &[u32], patterns: &[String]) -> Result<Self, Error> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let whole =
                if pattern.contains('/') { pattern.clone() } else { format!("**/{pattern}") };
            let glob = GlobBuilder::new(&whole).literal_separator(true).build().map_err(|e| {
                Error::NoTarget(format!("`{pattern}` is no pattern for executables: {}", e.kind()))
            })?;
            set.add(glob);
        }
        let executables = if patterns.is_empty() {
            None
        } else {
            Some(set.build().map_err(|e| Error::Failed(format!("too many patterns: {e}")))?)
        };
        let pids = pids.iter().copied().collect();
        Ok(Self { pids, executables, command: false, chosen: None })
    }

    /// Those whom this choice means. A process is judged when it begins a program; its children
    /// are judged as it is until they begin one of their own.
    pub fn chosen(choice: Choice, locate: Option<Locator>) -> Self {
        let chosen = (!choice.is_everybody()).then(|| (Arc::new(choice), locate));
        Self { chosen, ..Self::default() }
    }

    /// The choice with what is known for it, if one was made.
    pub(super) fn choosing(&self) -> Option<Choosing> {
        let (choice, locate) = self.chosen.as_ref()?;
        Some(Choosing::new(choice.clone(), locate.clone()))
    }

    /// Whether it matters who listens where.
    pub(super) fn by_port(&self) -> bool {
        self.chosen.as_ref().is_some_and(|(choice, _)| choice.needs().ports)
    }

    /// Which processes the kernel half watches, one of `wire::choice`.
    pub(super) fn of_whom(&self) -> u64 {
        match &self.chosen {
            Some((choice, _)) if choice.watches_the_rest() => choice::ALL_BUT,
            _ if self.is_everything() => choice::ALL,
            _ => choice::LISTED,
        }
    }

    /// Whether the kernel half can go from one to the other as it runs.
    pub fn can_become(&self, other: &Self) -> bool {
        self.chosen.is_some()
            && other.chosen.is_some()
            && self.of_whom() == other.of_whom()
            && (self.by_port() || !other.by_port())
    }

    /// Also a command that is yet to be started, see [`super::Live::add_target`].
    pub fn with_command(mut self) -> Self {
        self.command = true;
        self
    }

    /// Whether no choice was made.
    pub fn is_everything(&self) -> bool {
        self.pids.is_empty() && self.executables.is_none() && !self.command && self.chosen.is_none()
    }

    /// Whether observation ends with the processes named: nobody else can become a target.
    pub fn ends_with_processes(&self) -> bool {
        self.executables.is_none() && self.chosen.is_none() && !self.is_everything()
    }

    /// Whether a process's executable matches a pattern.
    pub fn matches(&self, pid: u32) -> bool {
        let Some(set) = &self.executables else { return false };
        executable(pid).is_some_and(|path| set.is_match(path))
    }

    /// The processes there are now. A process id that does not exist is an error; a pattern that
    /// matches nothing yet is not.
    pub fn find(&self) -> Result<Vec<u32>, Error> {
        for &pid in &self.pids {
            if !is_process(pid) {
                return Err(Error::NoTarget(format!(
                    "there is no process {pid}; `ps -e` lists those there are"
                )));
            }
        }
        let mut found = self.pids.clone();
        if self.executables.is_some() {
            let own = std::process::id();
            found.extend(processes().filter(|&pid| pid != own && self.matches(pid)));
        }
        Ok(found.into_iter().collect())
    }
}

/// All processes there are; none where /proc cannot be read.
pub(super) fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Path of the executable of a process.
pub(super) fn executable(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Whether the id is that of a process, not of a thread of one.
fn is_process(pid: u32) -> bool {
    let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    tgid.and_then(|n| n.trim().parse().ok()) == Some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_found_by_id_and_by_pattern() {
        let own = std::process::id();
        assert_eq!(Targets::new(&[own], &[]).unwrap().find().unwrap(), [own]);
        let name = std::env::current_exe().unwrap();
        let name = name.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(Targets::new(&[], &[name]).unwrap().matches(own));
        assert!(!Targets::new(&[], &["no-such-*".into()]).unwrap().matches(own));
    }

    #[test]
    fn a_missing_process_is_named() {
        let error = Targets::new(&[4_194_305], &[]).unwrap().find().unwrap_err();
        assert_eq!(error.status(), 6);
        assert!(error.to_string().contains("4194305"), "{error}");
    }

    #[test]
    fn a_bad_pattern_is_named() {
        assert!(Targets::new(&[], &["[".into()]).unwrap_err().to_string().contains("`[`"));
    }
}
