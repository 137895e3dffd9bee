//! Who a process is, all in all: a fact, and the same again when more is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::agent::Agents;
use super::cache::Cache;
use super::container::Containers;
use super::process::{self, Wanted, host};
use super::subject::Subject;
use crate::model::{ProcessFact, names};

/// Processes remembered: those about which more may be learnt.
const REMEMBERED: usize = 4096;
/// Attributes of a process.
const MOST: usize = 120;
/// When names of threads are looked at again: threads are named after they start. Nanoseconds since
/// the process was first seen.
const LOOK_AGAIN: [u64; 3] = [1_000_000_000, 5_000_000_000, 30_000_000_000];

/// Tells who processes are.
pub struct People {
    agents: Agents,
    wanted: Wanted,
    containers: Arc<Containers>,
    host_id: Option<String>,
    known: Cache<u32, Known>,
    generation: u64,
}

/// A process about which more may be learnt.
struct Known {
    subject: Subject,
    said: ProcessFact,
    seen: u64,
    looks: usize,
}

impl People {
    /// With these rules, and these containers.
    pub fn new(agents: Agents, containers: Arc<Containers>) -> Self {
        Self {
            wanted: agents.variables(Wanted::new(process::VARIABLES.iter().copied())),
            agents,
            generation: containers.generation(),
            containers,
            host_id: host::id(),
            known: Cache::new(REMEMBERED),
        }
    }

    /// Who a process is, as far as known now.
    pub fn fact(&mut self, pid: u32, image: u32, now: u64) -> ProcessFact {
        let subject = Subject::of(pid, &self.wanted, &self.containers);
        let said = self.tell(&subject, image);
        if subject.identity.container.is_some() || self.agents.know_threads() {
            let looks = if self.agents.know_threads() { 0 } else { LOOK_AGAIN.len() };
            self.known.insert(pid, Known { subject, said: said.clone(), seen: now, looks });
        }
        said
    }

    /// Processes of which more is known now, or something else.
    pub fn news(&mut self, now: u64) -> Vec<ProcessFact> {
        let generation = self.containers.generation();
        let pods_changed = std::mem::replace(&mut self.generation, generation) != generation;
        let mut due = Vec::new();
        if pods_changed || self.agents.know_threads() {
            let containers = &self.containers;
            self.known.each(|pid, known| {
                let ripe = |after: &u64| known.seen.saturating_add(*after) <= now;
                let look = LOOK_AGAIN.get(known.looks).is_some_and(ripe);
                known.looks += usize::from(look);
                if look || pods_changed && containers.look_up(&mut known.subject.identity) {
                    due.push(*pid);
                }
            });
        }
        let mut news = Vec::new();
        for pid in due {
            let Some(mut known) = self.known.take(&pid) else { continue };
            let said = self.tell(&known.subject, known.said.image);
            if said != known.said {
                known.said = said.clone();
                news.push(said);
            }
            self.known.insert(pid, known);
        }
        news
    }

    /// Forgets a process that ended or runs another program.
    pub fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
    }

    /// What is seen comes before what is claimed; of the rest, the process's word counts first.
    fn tell(&self, subject: &Subject, image: u32) -> ProcessFact {
        let Subject { process, identity } = subject;
        let (claimed, claims) = process.claims();
        let says_agent = claims.iter().any(|(name, _)| {
            [names::GEN_AI_AGENT_NAME, names::GEN_AI_AGENT_ID].contains(&name.as_str())
        });
        let mut attributes: BTreeMap<String, String> = claims.into_iter().collect();
        if !says_agent {
            let said = self.agents.of(subject);
            attributes.extend(said.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        let pod = identity.pod.as_deref();
        let by_pod = pod.map(|pod| pod.attributes.iter()).into_iter().flatten();
        for (name, value) in by_pod.filter(|(name, _)| name != names::SERVICE_NAME) {
            attributes.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for (name, value) in [
            (names::SERVICE_VERSION, pod.and_then(|pod| pod.version())),
            (names::SERVICE_NAMESPACE, pod.map(|pod| pod.namespace.as_str())),
            (names::HOST_ID, self.host_id.as_deref()),
        ] {
            let Some(value) = value else { continue };
            attributes.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        for (name, value) in seen(subject) {
            attributes.insert(name.to_owned(), value.to_owned());
        }
        let in_pod = pod.and_then(|pod| {
            pod.service().or_else(|| pod.container(identity.container.as_ref()?.id.as_deref()?))
        });
        let service = claimed.or_else(|| in_pod.map(str::to_owned));
        ProcessFact {
            pid: process.pid,
            image,
            start_ticks: process.start_ticks,
            service: service.unwrap_or_else(|| process.own_name.clone()),
            executable: process.executable.clone(),
            command: process.command.clone(),
            attributes: attributes.into_iter().take(MOST).collect(),
            trace_parent: process.trace_parent(),
        }
    }
}

/// Attributes that lockprobe sees for itself.
fn seen<'a>(subject: &'a Subject) -> Vec<(&'static str, &'a str)> {
    let Subject { process, identity } = subject;
    let mut seen: Vec<(&'static str, &'a str)> = Vec::new();
    let mut add = |name, value: Option<&'a str>| seen.extend(value.map(|value| (name, value)));
    add(names::PROCESS_RUNTIME_NAME, process.runtime);
    let Some(container) = &identity.container else { return seen };
    add(names::CONTAINER_ID, container.id.as_deref());
    add(names::CONTAINER_NAME, identity.container_name.as_deref());
    add(names::CONTAINER_RUNTIME_NAME, container.runtime.map(|runtime| runtime.name()));
    // The kubelet and its control groups take the hash of a static pod for its UID.
    let uid = identity.pod.as_ref().map(|pod| &pod.uid).or(container.pod.as_ref());
    add(names::K8S_POD_UID, uid.map(String::as_str).filter(|uid| uid.len() == 36));
    let Some(pod) = &identity.pod else { return seen };
    add(names::K8S_POD_NAME, Some(&pod.name));
    add(names::K8S_NAMESPACE_NAME, Some(&pod.namespace));
    add(names::K8S_NODE_NAME, pod.node.as_deref());
    add(names::K8S_CONTAINER_NAME, container.id.as_deref().and_then(|id| pod.container(id)));
    for (name, value) in &pod.owners {
        add(name, Some(value));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::kubernetes::{Pod, Pods};
    use crate::enrich::process::{Environment, Process};
    use crate::model::AgentRule;

    const ID: &str = "4563bdde6dad0288c08a37ca5854f0d142076156c5d1f77f0349e2b9c468a406";
    const UID: &str = "74c13223-5a00-11e9-b385-42010a80018d";

    fn pod() -> Pod {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Pod {
            uid: UID.into(),
            name: "shop-0".into(),
            namespace: "prod".into(),
            node: Some("worker-1".into()),
            labels: [pair("app.kubernetes.io/version", "3")].into_iter().collect(),
            attributes: vec![pair("team", "blue"), pair("deployment.environment.name", "test")],
            owners: vec![(names::K8S_STATEFULSET_NAME, "shop".into())],
            containers: vec![pair(ID, "app")],
            ..Pod::default()
        }
    }

    fn people(rules: &[AgentRule]) -> (People, Arc<Pods>) {
        let pods = Arc::<Pods>::default();
        let nowhere = tempfile::tempdir().unwrap();
        let containers = Containers::new(pods.clone()).below(nowhere.path());
        let people = People::new(Agents::new(rules).unwrap(), Arc::new(containers));
        (People { host_id: Some("f00d".into()), ..people }, pods)
    }

    fn subject(people: &People, environment: Environment) -> Subject {
        let process = Process {
            pid: u32::MAX,
            executable: "/usr/bin/python3.11".into(),
            command: vec!["python3".into(), "work.py".into()],
            own_name: "work.py".into(),
            runtime: Some("cpython"),
            environment,
            ..Process::default()
        };
        let groups = format!("0::/kubepods/burstable/pod{UID}/{ID}\n");
        Subject { process, identity: people.containers.of_groups(&groups) }
    }

    fn shown(fact: &ProcessFact) -> String {
        let pairs = fact.attributes.iter().map(|(n, v)| format!("{n}={v}"));
        pairs.collect::<Vec<_>>().join(" ").replace(ID, "ID").replace(UID, "UID")
    }

    #[test]
    fn what_is_seen_comes_before_what_is_claimed() {
        let (people, pods) = people(&[]);
        let claims = "service.version=1,team=red,container.id=fake,k8s.pod.name=fake,a=b";
        let claimed = || Environment::from([("OTEL_RESOURCE_ATTRIBUTES", claims)]);
        let fact = people.tell(&subject(&people, claimed()), 0);
        assert_eq!(fact.service, "work.py");
        assert_eq!(
            shown(&fact),
            "a=b container.id=ID host.id=f00d k8s.pod.name=fake k8s.pod.uid=UID \
             process.runtime.name=cpython service.version=1 team=red"
        );
        pods.put(pod());
        let fact = people.tell(&subject(&people, claimed()), 0);
        assert_eq!(fact.service, "shop");
        assert_eq!(
            shown(&fact),
            "a=b container.id=ID container.name=app deployment.environment.name=test host.id=f00d \
             k8s.container.name=app k8s.namespace.name=prod k8s.node.name=worker-1 \
             k8s.pod.name=shop-0 k8s.pod.uid=UID k8s.statefulset.name=shop \
             process.runtime.name=cpython service.namespace=prod service.version=1 team=red"
        );
    }

    #[test]
    fn services_are_named_in_order() {
        let (people, pods) = people(&[]);
        let service = |pod: Pod, environment: Environment| {
            pods.put(pod);
            people.tell(&subject(&people, environment), 0).service
        };
        let nothing = Environment::default;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let bare = || Pod { owners: Vec::new(), labels: BTreeMap::new(), ..pod() };
        assert_eq!(service(Pod { containers: Vec::new(), ..bare() }, nothing()), "work.py");
        assert_eq!(service(bare(), nothing()), "app");
        assert_eq!(service(pod(), nothing()), "shop");
        let labels = [pair("app.kubernetes.io/name", "label")].into_iter().collect();
        let labelled = Pod { labels, ..pod() };
        assert_eq!(service(labelled.clone(), nothing()), "label");
        let attributes = vec![pair("service.name", "annotation")];
        let annotated = Pod { attributes, ..labelled };
        assert_eq!(service(annotated.clone(), nothing()), "annotation");
        let claims = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=claimed");
        assert_eq!(service(annotated.clone(), Environment::from([claims])), "claimed");
        let named = Environment::from([claims, ("OTEL_SERVICE_NAME", "named")]);
        assert_eq!(service(annotated, named), "named");
    }

    #[test]
    fn more_is_said_once_the_pod_is_known_and_again_when_it_changes() {
        let (mut people, pods) = people(&[]);
        let subject = subject(&people, Environment::default());
        let said = people.tell(&subject, 3);
        people.known.insert(u32::MAX, Known { subject, said, seen: 0, looks: 3 });
        assert_eq!(people.news(1), []);
        pods.put(pod());
        let news = people.news(2);
        let [fact] = &news[..] else { panic!("{news:?}") };
        assert_eq!((fact.service.as_str(), fact.image), ("shop", 3));
        assert_eq!(people.news(3), [], "once");
        pods.put(Pod { uid: "other".into(), ..pod() });
        assert_eq!(people.news(4), [], "another pod's change");
        pods.put(Pod { owners: vec![(names::K8S_DAEMONSET_NAME, "log".into())], ..pod() });
        assert_eq!(people.news(5).len(), 1);
        pods.replace(Vec::new());
        assert_eq!(people.news(6), [], "its processes may outlive a pod: what was said stays said");
        people.forget(u32::MAX);
        pods.put(pod());
        assert_eq!(people.news(7), []);
    }

    #[test]
    fn agents_are_named_by_themselves_then_by_rules_then_by_what_is_known() {
        let rule = AgentRule { name: Some("by rule".into()), ..AgentRule::default() };
        let agent = |rules: &[AgentRule], pairs: [(&str, &str); 2]| {
            let (people, _) = people(rules);
            let fact = people.tell(&subject(&people, Environment::from(pairs)), 0);
            let said = fact.attributes.into_iter().filter(|(name, _)| name.starts_with("gen_ai."));
            said.map(|(_, value)| value).collect::<Vec<_>>()
        };
        let known = ("CLAUDECODE", "1");
        let claimed = ("OTEL_RESOURCE_ATTRIBUTES", "gen_ai.agent.name=mine");
        assert_eq!(agent(std::slice::from_ref(&rule), [known, claimed]), ["mine"]);
        assert_eq!(agent(&[rule], [known, ("A", "b")]), ["by rule"]);
        assert_eq!(agent(&[], [known, ("A", "b")]), ["claude-code"]);
        assert_eq!(agent(&[], [("A", "b"), ("C", "d")]), [""; 0]);
    }

    #[test]
    fn threads_are_looked_at_again() {
        let name = || Some("threaded".to_owned());
        let thread = Some("ident-late".to_owned());
        let (mut people, _) = people(&[AgentRule { name: name(), thread, ..AgentRule::default() }]);
        let own = std::process::id();
        let agent = |fact: &ProcessFact| {
            let name = |(of, _): &&(String, String)| of == names::GEN_AI_AGENT_NAME;
            fact.attributes.iter().find(name).map(|(_, value)| value.clone())
        };
        assert_eq!(agent(&people.fact(own, 0, 0)), None);
        let (tell, named) = std::sync::mpsc::channel();
        let late = move || {
            tell.send(()).unwrap();
            loop {
                std::thread::park();
            }
        };
        std::thread::Builder::new().name("ident-late".into()).spawn(late).unwrap();
        named.recv().unwrap();
        assert_eq!(people.news(999_999_999), []);
        let news = people.news(1_000_000_000);
        assert_eq!(agent(&news[0]), name());
        assert_eq!(people.news(60_000_000_000), []);
    }
}
