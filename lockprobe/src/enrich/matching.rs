//! Rules that say which processes are meant, made ready to be asked.

use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use regex::bytes::{Regex, RegexBuilder};

use super::container::{Containers, Identity};
use super::process::{Process, Wanted};
use super::thread::read_bounded;
use crate::model::Selector;

/// Compiled size of a regular expression, bytes.
const LARGEST: usize = 1 << 20;
/// Sockets and descriptors of a process looked at for a port.
const MOST: usize = 16_384;

/// A process as rules see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// What it is by itself.
    pub process: Process,
    /// Where it runs.
    pub identity: Identity,
}

impl Subject {
    /// Looks at a process, and at those variables of its environment.
    pub fn of(pid: u32, wanted: &Wanted, containers: &Containers) -> Self {
        let process = Process::of(pid, wanted);
        Self { process, identity: containers.of(pid).unwrap_or_default() }
    }
}

/// A [`Selector`] made ready.
#[derive(Debug, Default)]
pub struct Matcher {
    exe: Option<GlobMatcher>,
    command: Option<Regex>,
    env: Vec<(String, GlobMatcher)>,
    port: Option<u16>,
    cgroup: Option<GlobMatcher>,
    container: Option<GlobMatcher>,
    namespace: Option<GlobMatcher>,
    pod: Option<GlobMatcher>,
    pod_labels: Vec<(String, GlobMatcher)>,
}

impl Matcher {
    /// The error is a sentence that says which pattern is none.
    pub fn new(selector: &Selector) -> Result<Self, String> {
        let named = |globs: &std::collections::BTreeMap<String, String>| {
            globs
                .iter()
                .map(|(name, text)| Ok((name.clone(), glob(text)?)))
                .collect::<Result<_, String>>()
        };
        let one = |text: &Option<String>| text.as_deref().map(glob).transpose();
        Ok(Self {
            exe: one(&selector.exe)?,
            command: selector.command.as_deref().map(expression).transpose()?,
            env: named(&selector.env)?,
            port: selector.port,
            cgroup: one(&selector.cgroup)?,
            container: one(&selector.container)?,
            namespace: one(&selector.namespace)?,
            pod: one(&selector.pod)?,
            pod_labels: named(&selector.pod_labels)?,
        })
    }

    /// Variables of the environment that it asks for.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.env.iter().map(|(name, _)| name.as_str())
    }

    /// Whether a process is meant.
    pub fn matches(&self, subject: &Subject) -> bool {
        let Subject { process, identity } = subject;
        let is = |glob: &Option<GlobMatcher>, texts: &[Option<&str>]| {
            let mut texts = texts.iter().flatten();
            glob.as_ref().is_none_or(|glob| texts.any(|text| glob.is_match(text)))
        };
        let path = process.executable.as_str();
        let pod = identity.pod.as_deref();
        let id = identity.container.as_ref().and_then(|container| container.id.as_deref());
        is(&self.exe, &[Some(path), path.rsplit('/').next()])
            && is(&self.cgroup, &[Some(&identity.cgroup)])
            && is(&self.container, &[id, identity.container_name.as_deref()])
            && is(&self.namespace, &[pod.map(|pod| pod.namespace.as_str())])
            && is(&self.pod, &[pod.map(|pod| pod.name.as_str())])
            && self.pod_labels.iter().all(|(name, glob)| {
                pod.and_then(|pod| pod.labels.get(name)).is_some_and(|text| glob.is_match(text))
            })
            && self.env.iter().all(|(name, glob)| {
                process.environment.get(name).is_some_and(|text| glob.is_match(text))
            })
            && self
                .command
                .as_ref()
                .is_none_or(|e| e.is_match(process.command.join(" ").as_bytes()))
            && self.port.is_none_or(|port| listens(process.pid, port))
    }
}

/// A glob; the error is a sentence.
pub fn glob(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text).build();
    let glob = glob.map_err(|e| format!("`{text}` is no glob pattern: {}", e.kind()))?;
    Ok(glob.compile_matcher())
}

/// On bytes and without Unicode's classes, of which the tables are larger than all the rest: `\w`
/// is a letter of ASCII.
fn expression(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).unicode(false).size_limit(LARGEST).build();
    built.map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("`{text}` is no regular expression: {why}")
    })
}

/// Whether a process has a socket that listens at a TCP port.
fn listens(pid: u32, port: u16) -> bool {
    let sockets: Vec<u64> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|file| read_bounded(format!("/proc/{pid}/net/{file}"), 4 << 20))
        .flat_map(|bytes| listening(&String::from_utf8_lossy(&bytes), port))
        .collect();
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    !sockets.is_empty()
        && open.flatten().take(MOST).any(|entry| {
            let link = std::fs::read_link(entry.path()).unwrap_or_default();
            let inode = link.to_str().and_then(|l| l.strip_prefix("socket:[")?.strip_suffix(']'));
            inode.and_then(|inode| inode.parse().ok()).is_some_and(|inode| sockets.contains(&inode))
        })
}

/// Inodes of sockets that listen at a port (proc(5), `/proc/net/tcp`): the second field is the
/// address, the fourth the state, the tenth the inode.
fn listening(text: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let at = format!(":{port:04X}");
    let inode = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, state) = (fields.next()?, fields.nth(1)?);
        let inode = fields.nth(5)?.parse().ok()?;
        (address.ends_with(&at) && state == LISTEN).then_some(inode)
    };
    text.lines().skip(1).take(MOST).filter_map(inode).collect()
}

/// What selectors are asked with from other threads: a process as of now.
pub fn subject(pid: u32, matchers: &[Matcher], containers: &Arc<Containers>) -> Subject {
    let wanted = Wanted::new(matchers.iter().flat_map(Matcher::variables));
    Subject::of(pid, &wanted, containers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::container::Container;
    use crate::enrich::kubernetes::Pod;
    use crate::enrich::process::Environment;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn worker() -> Subject {
        let process = Process {
            pid: u32::MAX,
            executable: "/usr/bin/python3.11".into(),
            command: ["python3", "-m", "agents.planner", "--fast"].map(String::from).to_vec(),
            environment: Environment::from([("ROLE", "planner-7")]),
            ..Process::default()
        };
        let labels = [("app".to_owned(), "shop".to_owned())];
        let pod = Pod {
            name: "planner-abc".into(),
            namespace: "prod".into(),
            labels: labels.into_iter().collect(),
            ..Pod::default()
        };
        let container = Container { id: some("4563bdde"), ..Container::default() };
        let identity = Identity {
            cgroup: "/kubepods/burstable/pod1/4563bdde".into(),
            container: Some(container),
            container_name: some("app"),
            pod: Some(Arc::new(pod)),
        };
        Subject { process, identity }
    }

    #[test]
    fn all_that_is_given_must_match() {
        let given =
            |name: &str, glob: &str| [(name.to_owned(), glob.to_owned())].into_iter().collect();
        let all = Selector::default;
        #[rustfmt::skip]
        let table: Vec<(Selector, bool, &str)> = vec![
            (all(), true, "nothing given"),
            (Selector { exe: some("python3*"), ..all() }, true, "file name"),
            (Selector { exe: some("/usr/*/python3.11"), ..all() }, true, "path"),
            (Selector { exe: some("node"), ..all() }, false, "another file name"),
            (Selector { command: some(r"-m agents\.\w+"), ..all() }, true, "command"),
            (Selector { command: some("^agents"), ..all() }, false, "anchored"),
            (Selector { env: given("ROLE", "planner-*"), ..all() }, true, "variable"),
            (Selector { env: given("ROLE", "writer-*"), ..all() }, false, "another value"),
            (Selector { env: given("OTHER", "*"), ..all() }, false, "not set"),
            (Selector { cgroup: some("/kubepods/*"), ..all() }, true, "group"),
            (Selector { container: some("app"), ..all() }, true, "container's name"),
            (Selector { container: some("4563*"), ..all() }, true, "container's id"),
            (Selector { container: some("db"), ..all() }, false, "another container"),
            (Selector { namespace: some("prod"), pod: some("planner-*"), ..all() }, true, "pod"),
            (Selector { namespace: some("test"), pod: some("planner-*"), ..all() }, false, "another namespace"),
            (Selector { pod_labels: given("app", "s*p"), ..all() }, true, "label"),
            (Selector { pod_labels: given("tier", "*"), ..all() }, false, "no such label"),
            (Selector { port: Some(1), ..all() }, false, "port of nobody"),
        ];
        for (selector, expected, what) in table {
            let matcher = Matcher::new(&selector).unwrap();
            assert_eq!(matcher.matches(&worker()), expected, "{what}");
            if selector.container.is_some() || selector.pod.is_some() {
                assert!(!matcher.matches(&Subject::default()), "{what}: in no container");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_a_sentence() {
        let wrong = Matcher::new(&Selector { exe: some("["), ..Selector::default() }).unwrap_err();
        assert!(wrong.starts_with("`[` is no glob pattern: "), "{wrong}");
        for text in ["(", r"\p{Greek}", "a{1000000}"] {
            let selector = Selector { command: some(text), ..Selector::default() };
            let wrong = Matcher::new(&selector).unwrap_err();
            assert!(
                wrong.contains("is no regular expression: ") && !wrong.contains('\n'),
                "{wrong}"
            );
        }
    }

    #[test]
    fn who_listens_is_known() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (own, port) = (std::process::id(), listener.local_addr().unwrap().port());
        assert!(listens(own, port));
        let selector = Selector { port: Some(port), ..Selector::default() };
        let matchers = [Matcher::new(&selector).unwrap()];
        let containers = Arc::new(Containers::new(Arc::default()));
        assert!(matchers[0].matches(&subject(own, &matchers, &containers)));
        let parent = std::os::unix::process::parent_id();
        assert!(!listens(parent, port), "its parent sees the socket in the table and has it not");
        let connected = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(listener);
        assert!(!listens(own, port), "connected is not listening");
        drop(connected);
    }
}
