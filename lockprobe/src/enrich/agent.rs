//! Which agent a process is: what it says itself, what the user's rules say, what is well known.

use super::process::resource::value;
use super::process::{Environment, Wanted};
use super::subject::Subject;
use super::thread;
use crate::model::{AgentRule, ThreadId, names};
use crate::select::{Glob, Matcher, glob};

/// Threads of a process whose names are looked at.
const MOST_THREADS: usize = 256;

/// Attributes of an agent.
type Said = Vec<(&'static str, String)>;

/// Variables that agents and what runs them set to a name or an id: the variable, the values that
/// are believed (none: any), and the attribute.
const NAMED: &[(&str, &[&str], &str)] = &[
    // <https://github.com/vercel/vercel/tree/main/packages/detect-agent>: `name` or `name@version`;
    // Claude Code and Visual Studio Code set it.
    ("AI_AGENT", &[], names::GEN_AI_AGENT_NAME),
    // kagent sets it for each of its agents.
    ("KAGENT_NAME", &[], names::GEN_AI_AGENT_NAME),
    // Google's Agent Engine sets it for what it runs.
    ("GOOGLE_CLOUD_AGENT_ENGINE_ID", &[], names::GEN_AI_AGENT_ID),
    // <https://github.com/agentsmd/agents.md/issues/136>: the name means anything elsewhere.
    ("AGENT", &["amp", "crush", "goose"], names::GEN_AI_AGENT_NAME),
];

/// Variables that an agent sets in what it starts, and its name.
const MARKS: &[(&str, &str)] = &[
    ("CLAUDECODE", "claude-code"),
    ("GEMINI_CLI", "gemini-cli"),
    ("QWEN_CODE", "qwen-code"),
    ("CURSOR_AGENT", "cursor-cli"),
    ("CODEX_SANDBOX", "codex"),
    ("CODEX_THREAD_ID", "codex"),
    ("COPILOT_CLI", "copilot-cli"),
    ("AUGMENT_AGENT", "augment"),
    ("CLINE_ACTIVE", "cline"),
    ("OPENCODE", "opencode"),
    ("GOOSE_TERMINAL", "goose"),
];

/// The rules, ready to be asked.
#[derive(Debug, Default)]
pub struct Agents {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    matcher: Matcher,
    thread: Option<Glob>,
    texts: Vec<(&'static str, Vec<Part>)>,
}

/// A piece of a text.
#[derive(Debug)]
enum Part {
    Text(String),
    Variable(String),
}

impl Agents {
    /// The error is a sentence that says which rule is wrong, and why.
    pub fn new(rules: &[AgentRule]) -> Result<Self, String> {
        let rules = rules.iter().enumerate().map(|(at, rule)| {
            Rule::new(rule).map_err(|why| format!("rule {} for agents: {why}", at + 1))
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// The variables that are asked for, the well-known ones among them.
    pub fn variables(&self, wanted: Wanted) -> Wanted {
        let rules = self.rules.iter().flat_map(Rule::variables);
        let known = NAMED.iter().map(|(name, ..)| *name).chain(MARKS.iter().map(|(name, _)| *name));
        wanted.and(rules).and(known)
    }

    /// Whether threads' names matter, which may change while a process runs.
    pub fn know_threads(&self) -> bool {
        self.rules.iter().any(|rule| rule.thread.is_some())
    }

    /// The agent a process is, by the first rule that says something, else by what is well known.
    /// It all comes from one place: a name from here and a version from there would be no agent's.
    pub fn of(&self, subject: &Subject) -> Said {
        let said = self.by_rules(subject);
        if said.is_empty() { well_known(&subject.process.environment) } else { said }
    }

    fn by_rules(&self, subject: &Subject) -> Said {
        if self.rules.is_empty() {
            return Vec::new();
        }
        let by_port = self.rules.iter().any(|rule| rule.matcher.said().port.is_some());
        let candidate = subject.candidate(by_port);
        let mut threads: Option<Vec<String>> = None;
        let mut by_thread: Vec<Said> = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.matcher.matches(&candidate)) {
            let Some(glob) = &rule.thread else {
                let said = rule.say(&subject.process.environment);
                if said.is_empty() || !by_thread.is_empty() {
                    continue;
                }
                return said;
            };
            let names = threads.get_or_insert_with(|| names_of_threads(subject.process.pid));
            if names.iter().any(|name| glob.is_match(name)) {
                by_thread.push(rule.say(&subject.process.environment));
            }
        }
        // A process whose threads are several agents is none of them.
        match &mut by_thread[..] {
            [first, others @ ..] if others.iter().all(|other| other == first) => {
                std::mem::take(first)
            }
            _ => Vec::new(),
        }
    }
}

impl Rule {
    fn new(rule: &AgentRule) -> Result<Self, String> {
        let texts = [
            (names::GEN_AI_AGENT_NAME, &rule.name),
            (names::GEN_AI_AGENT_ID, &rule.id),
            (names::GEN_AI_AGENT_VERSION, &rule.version),
        ];
        let texts: Vec<_> = texts
            .into_iter()
            .filter_map(|(name, text)| Some(parts(text.as_deref()?).map(|parts| (name, parts))))
            .collect::<Result<_, _>>()?;
        if texts.is_empty() {
            return Err("it says nothing; give a name, an id or a version".to_owned());
        }
        let thread = rule.thread.as_deref().map(glob).transpose()?;
        Ok(Self { matcher: Matcher::new(&rule.selector)?, thread, texts })
    }

    fn variables(&self) -> impl Iterator<Item = &str> {
        let parts = self.texts.iter().flat_map(|(_, parts)| parts);
        let named = parts.filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Text(_) => None,
        });
        named.chain(self.matcher.said().env.keys().map(String::as_str))
    }

    fn say(&self, environment: &Environment) -> Said {
        let text = |parts: &[Part]| {
            let parts = parts.iter().map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Variable(name) => environment.get(name),
            });
            parts.collect::<Option<String>>().and_then(|text| value(&text))
        };
        self.texts.iter().filter_map(|(name, parts)| Some((*name, text(parts)?))).collect()
    }
}

/// A text with `${env:NAME}` in it.
fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let inside = after.split_once('}');
        let named = inside.and_then(|(inside, rest)| Some((inside.strip_prefix("env:")?, rest)));
        let Some((name, behind)) = named.filter(|(name, _)| is_variable(name)) else {
            return Err(format!("`{text}` has a `${{` that is not of the form ${{env:NAME}}"));
        };
        parts.push(Part::Text(before.to_owned()));
        parts.push(Part::Variable(name.to_owned()));
        rest = behind;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn well_known(environment: &Environment) -> Said {
    for (variable, believed, attribute) in NAMED {
        let Some(text) = environment.get(variable).and_then(value) else { continue };
        // A bare yes says that there is some agent.
        let yes = ["1", "true", "yes"].contains(&text.to_ascii_lowercase().as_str());
        if yes || !believed.is_empty() && !believed.contains(&text.as_str()) {
            continue;
        }
        return match text.split_once('@').filter(|_| *variable == "AI_AGENT") {
            Some((name, version)) if !name.is_empty() && !version.is_empty() => vec![
                (names::GEN_AI_AGENT_NAME, name.to_owned()),
                (names::GEN_AI_AGENT_VERSION, version.to_owned()),
            ],
            _ => vec![(*attribute, text)],
        };
    }
    let set = |variable: &str| {
        environment.get(variable).is_some_and(|text| !["0", "false", "no"].contains(&text))
    };
    let mut marks: Vec<&str> =
        MARKS.iter().filter(|(variable, _)| set(variable)).map(|(_, name)| *name).collect();
    marks.dedup();
    // One agent that was started by another: which of them it is cannot be told.
    let [name] = marks[..] else { return Vec::new() };
    vec![(names::GEN_AI_AGENT_NAME, name.to_owned())]
}

fn names_of_threads(pid: u32) -> Vec<String> {
    let all = thread::siblings(ThreadId { pid, tid: 0 }, usize::MAX - 1);
    all.into_iter().take(MOST_THREADS).filter_map(thread::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::process::Process;
    use crate::model::Selector;

    fn said(rules: &[AgentRule], pid: u32, environment: Environment) -> Vec<String> {
        let agents = Agents::new(rules).unwrap();
        let process = Process { pid, environment, ..Process::default() };
        let said = agents.of(&Subject { process, ..Subject::default() });
        said.into_iter().map(|(name, value)| format!("{}={value}", &name[13..])).collect()
    }

    fn known(pair: (&str, &str)) -> Vec<String> {
        said(&[], u32::MAX, Environment::from([pair]))
    }

    #[test]
    fn well_known_variables_name_agents() {
        #[rustfmt::skip]
        let table: &[((&str, &str), &[&str])] = &[
            (("AI_AGENT", "devin@1"), &["name=devin", "version=1"]),
            (("AI_AGENT", "github_copilot_vscode_agent"), &["name=github_copilot_vscode_agent"]),
            (("AI_AGENT", "@"), &["name=@"]),
            (("AI_AGENT", "1"), &[]),
            (("KAGENT_NAME", "k8s-agent"), &["name=k8s-agent"]),
            (("GOOGLE_CLOUD_AGENT_ENGINE_ID", "4711"), &["id=4711"]),
            (("AGENT", "goose"), &["name=goose"]),
            (("AGENT", "zabbix"), &[]),
            (("CLAUDECODE", "1"), &["name=claude-code"]),
            (("GEMINI_CLI", "0"), &[]),
            (("CODEX_SANDBOX", "seatbelt"), &["name=codex"]),
            (("PATH", "/bin"), &[]),
        ];
        for (pair, expected) in table {
            assert_eq!(known(*pair), *expected, "{pair:?}");
        }
        let two = |pairs: [(&str, &str); 2]| said(&[], u32::MAX, Environment::from(pairs));
        assert_eq!(two([("CODEX_SANDBOX", "x"), ("CODEX_THREAD_ID", "y")]), ["name=codex"]);
        assert_eq!(two([("CLAUDECODE", "1"), ("GEMINI_CLI", "1")]), [""; 0], "one in the other");
        assert_eq!(two([("AI_AGENT", "mine"), ("GEMINI_CLI", "1")]), ["name=mine"]);
    }

    fn rule(name: &str, thread: Option<&str>) -> AgentRule {
        let env = [("ROLE".to_owned(), "*".to_owned())].into_iter().collect();
        AgentRule {
            selector: Selector { env, ..Selector::default() },
            thread: thread.map(str::to_owned),
            name: Some(name.to_owned()),
            ..AgentRule::default()
        }
    }

    #[test]
    fn the_first_rule_that_says_something_counts() {
        let role = || Environment::from([("ROLE", "planner"), ("CLAUDECODE", "1")]);
        let with = |name: &str| rule(name, None);
        let of = |rules: &[AgentRule]| said(rules, u32::MAX, role());
        assert_eq!(of(&[with("the ${env:ROLE}!")]), ["name=the planner!"]);
        assert_eq!(of(&[with("${env:MISSING}"), with("second")]), ["name=second"]);
        assert_eq!(of(&[with("${env:MISSING}")]), ["name=claude-code"]);
        let full =
            AgentRule { id: Some("a-${env:ROLE}".into()), version: Some("2".into()), ..with("x") };
        assert_eq!(of(&[full]), ["name=x", "id=a-planner", "version=2"]);
        assert_eq!(said(&[with("x")], u32::MAX, Environment::default()), [""; 0]);
    }

    #[test]
    fn threads_name_an_agent_if_they_agree() {
        let started = std::sync::Arc::new(std::sync::Barrier::new(3));
        for name in ["planner-1", "writer-1"] {
            let started = started.clone();
            let run = move || {
                started.wait();
                loop {
                    std::thread::park();
                }
            };
            std::thread::Builder::new().name(name.into()).spawn(run).unwrap();
        }
        started.wait();
        let role = || Environment::from([("ROLE", "x")]);
        let of = |rules: &[AgentRule]| said(rules, std::process::id(), role());
        let (planner, writer) =
            (rule("planner", Some("planner-*")), rule("writer", Some("writer-?")));
        assert_eq!(of(&[rule("nobody", Some("reader*")), planner.clone()]), ["name=planner"]);
        assert_eq!(of(&[planner.clone(), writer.clone()]), [""; 0], "neither, since both");
        assert_eq!(of(&[planner, rule("planner", Some("writer*"))]), ["name=planner"]);
        assert_eq!(of(&[rule("reader", Some("reader*"))]), [""; 0]);
    }

    #[test]
    fn wrong_rules_are_a_sentence() {
        for (text, why) in [
            ("${", "is not of the form ${env:NAME}"),
            ("${env:}", "is not of the form ${env:NAME}"),
            ("${HOME}", "is not of the form ${env:NAME}"),
            ("a${env:A B}", "is not of the form ${env:NAME}"),
        ] {
            let wrong = Agents::new(&[rule("fine", None), rule(text, None)]).unwrap_err();
            assert!(wrong.starts_with("rule 2 for agents: ") && wrong.ends_with(why), "{wrong}");
        }
        let nothing = AgentRule::default();
        assert!(Agents::new(&[nothing]).unwrap_err().contains("says nothing"));
        assert!(Agents::new(&[rule("x", Some("["))]).unwrap_err().contains("pattern"));
    }
}
