//! Whether a process is one that a user means.
//!
//! In: selectors, what is known of a process. Out: yes or no, and by which selector. Never: a look
//! at the process, which others take; a guess: what is not known does not match.

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use pattern::{Glob, PATTERN_BYTES, Words, glob, path_glob, words};

use crate::model::{Selector, Whereabouts};

/// What is known of a process. What nobody asks for ([`Needs`]) can be left out.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// Path of the executable.
    pub executable: Option<PathBuf>,
    /// Command line, its words joined by blanks.
    pub command: Option<String>,
    /// The variables asked for, those that are set.
    pub environment: Vec<(String, String)>,
    /// Paths of its control groups.
    pub cgroups: Vec<String>,
    /// Container and pod.
    pub whereabouts: Whereabouts,
    /// Ports it listens at.
    pub ports: Vec<u16>,
}

/// What has to be known of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Path of the executable.
    pub executable: bool,
    /// Command line.
    pub command: bool,
    /// Variables of the environment.
    pub variables: Vec<String>,
    /// Control groups.
    pub cgroups: bool,
    /// Container and pod.
    pub whereabouts: bool,
    /// Ports.
    pub ports: bool,
}

/// A selector that is ready to be asked.
#[derive(Clone, Debug)]
pub struct Matcher {
    said: Selector,
    exe: Option<Glob>,
    command: Option<Words>,
    env: Vec<(String, Glob)>,
    cgroup: Option<Glob>,
    container: Option<Glob>,
    namespace: Option<Glob>,
    pod: Option<Glob>,
    pod_labels: Vec<(String, Glob)>,
}

impl Matcher {
    /// Reads the patterns. The error names the key and says what is wrong with it.
    pub fn new(selector: &Selector) -> Result<Self, String> {
        let key = |name: &str, error: String| format!("{name}: {error}");
        let plain = |name: &str, pattern: &Option<String>| {
            pattern.as_deref().map(glob).transpose().map_err(|e| key(name, e))
        };
        let named = |name: &str, pairs: &BTreeMap<String, String>| {
            let one = |(n, p): (&String, &String)| Ok((n.clone(), glob(p)?));
            pairs.iter().map(one).collect::<Result<Vec<_>, String>>().map_err(|e| key(name, e))
        };
        Ok(Self {
            exe: selector.exe.as_deref().map(path_glob).transpose().map_err(|e| key("exe", e))?,
            command: selector
                .command
                .as_deref()
                .map(words)
                .transpose()
                .map_err(|e| key("command", e))?,
            env: named("env", &selector.env)?,
            cgroup: plain("cgroup", &selector.cgroup)?,
            container: plain("container", &selector.container)?,
            namespace: plain("namespace", &selector.namespace)?,
            pod: plain("pod", &selector.pod)?,
            pod_labels: named("pod_labels", &selector.pod_labels)?,
            said: selector.clone(),
        })
    }

    /// What was said.
    pub fn said(&self) -> &Selector {
        &self.said
    }

    /// Whether everything that was said holds.
    pub fn matches(&self, process: &Candidate) -> bool {
        let place = &process.whereabouts;
        let by = |glob: &Option<Glob>, text: &Option<String>| match (glob, text) {
            (None, _) => true,
            (Some(glob), Some(text)) => glob.is_match(text),
            (Some(_), None) => false,
        };
        let container = |glob: &Glob| {
            [&place.container_id, &place.container_name]
                .into_iter()
                .flatten()
                .any(|t| glob.is_match(t))
        };
        let exe = |glob: &Glob| process.executable.as_ref().is_some_and(|path| glob.is_match(path));
        let command = |words: &Words| process.command.as_ref().is_some_and(|c| words.is_match(c));
        self.exe.as_ref().is_none_or(exe)
            && self.command.as_ref().is_none_or(command)
            && self.said.port.is_none_or(|port| process.ports.contains(&port))
            && all(&self.env, &process.environment)
            && self.cgroup.as_ref().is_none_or(|g| process.cgroups.iter().any(|c| g.is_match(c)))
            && self.container.as_ref().is_none_or(container)
            && by(&self.namespace, &place.namespace)
            && by(&self.pod, &place.pod)
            && all(&self.pod_labels, &place.labels)
    }

    fn needs(&self, needs: &mut Needs) {
        let said = &self.said;
        needs.executable |= said.exe.is_some();
        needs.command |= said.command.is_some();
        needs.cgroups |= said.cgroup.is_some();
        needs.ports |= said.port.is_some();
        needs.whereabouts |= said.container.is_some()
            || said.namespace.is_some()
            || said.pod.is_some()
            || !said.pod_labels.is_empty();
        needs.variables.extend(said.env.keys().cloned());
    }
}

/// Whether each pattern has its pair.
fn all(patterns: &[(String, Glob)], pairs: &[(String, String)]) -> bool {
    let holds = |(name, glob): &(String, Glob)| {
        pairs.iter().any(|(other, value)| other == name && glob.is_match(value))
    };
    patterns.iter().all(holds)
}

/// Whom to watch: those who are included, or everybody where nobody is; never who is excluded.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    include: Vec<Matcher>,
    exclude: Vec<Matcher>,
}

/// What was decided on a process, and by which selector of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Watched: there is nobody in particular to watch.
    Everybody,
    /// Watched, by this selector.
    Included(usize),
    /// Not watched: it is not among those to watch.
    NotIncluded,
    /// Not watched, by this selector.
    Excluded(usize),
}

impl Decision {
    /// Whether the process is to be watched.
    pub fn is_watched(self) -> bool {
        matches!(self, Self::Everybody | Self::Included(_))
    }
}

impl Choice {
    /// Reads the selectors. The error names the list, the number from 0 and the key.
    pub fn new(include: &[Selector], exclude: &[Selector]) -> Result<Self, String> {
        let read = |list: &str, selectors: &[Selector]| {
            let one = |(at, selector): (usize, &Selector)| {
                Matcher::new(selector).map_err(|e| format!("{list}[{at}].{e}"))
            };
            selectors.iter().enumerate().map(one).collect::<Result<Vec<_>, String>>()
        };
        Ok(Self { include: read("include", include)?, exclude: read("exclude", exclude)? })
    }

    /// Whether no choice was made.
    pub fn is_everybody(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether those who are not spoken of are watched.
    pub fn watches_the_rest(&self) -> bool {
        self.include.is_empty()
    }

    /// Whom it includes.
    pub fn include(&self) -> &[Matcher] {
        &self.include
    }

    /// Whom it excludes.
    pub fn exclude(&self) -> &[Matcher] {
        &self.exclude
    }

    /// Decides on a process.
    pub fn decide(&self, process: &Candidate) -> Decision {
        let by = |list: &[Matcher]| list.iter().position(|matcher| matcher.matches(process));
        match (by(&self.exclude), by(&self.include)) {
            (Some(at), _) => Decision::Excluded(at),
            (None, Some(at)) => Decision::Included(at),
            (None, None) if self.include.is_empty() => Decision::Everybody,
            (None, None) => Decision::NotIncluded,
        }
    }

    /// What has to be known of a process to decide.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        self.include.iter().chain(&self.exclude).for_each(|matcher| matcher.needs(&mut needs));
        needs.variables.sort();
        needs.variables.dedup();
        needs
    }
}
