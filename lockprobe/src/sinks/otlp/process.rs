//! Whose span is it: processes, and the OpenTelemetry resources that stand for them.

use super::wire::{Attributes, Wire};
use crate::model::{LockId, ProcessFact, TraceContext, names};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// A process as a resource.
#[derive(Debug, Default, PartialEq)]
pub struct Process {
    /// A `Resource`, ready to send.
    pub resource: Vec<u8>,
    /// Its service, for people.
    pub service: String,
    /// The span of its environment, in a trace that is recorded.
    pub parent: Option<TraceContext>,
}

/// Process id and image: an exec makes another process of it.
type Key = (u32, u32);

/// Processes seen, as many as fit; the oldest go first.
pub struct Table {
    limit: usize,
    host: String,
    processes: HashMap<Key, Arc<Process>>,
    /// The image of each process that was learnt last.
    latest: HashMap<u32, u32>,
    order: VecDeque<Key>,
}

/// The name the specification gives to a service nothing is known of.
const UNKNOWN: &str = "unknown_service";

/// Attributes nobody else says: what a process says of itself does not count.
const OWN: [&str; 4] = [
    names::SERVICE_NAME,
    names::PROCESS_PID,
    names::TELEMETRY_DISTRO_NAME,
    names::TELEMETRY_DISTRO_VERSION,
];

/// Bounds of what others say: attributes, and bytes of each.
const ATTRIBUTES_AT_MOST: usize = 128;
const VALUE_AT_MOST: usize = 4096;

impl Table {
    /// An empty table for processes of `host`.
    pub fn new(limit: usize, host: &str) -> Self {
        Self {
            limit: limit.max(1),
            host: host.to_owned(),
            processes: HashMap::new(),
            latest: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Takes in who a process is; what was known under its id and image is void.
    pub fn learn(&mut self, fact: &ProcessFact) -> Arc<Process> {
        let process = self.of_fact(fact);
        self.insert((fact.pid, fact.image), process)
    }

    /// The process of that fact, or what became known of it since.
    pub fn known_or_learn(&mut self, fact: &ProcessFact) -> Arc<Process> {
        match self.processes.get(&(fact.pid, fact.image)) {
            Some(process) => process.clone(),
            None => self.learn(fact),
        }
    }

    /// The process a span belongs to: the image its lock tells, else the latest of that id.
    pub fn of(&mut self, pid: u32, lock: LockId) -> Arc<Process> {
        let told = match lock {
            LockId::Private { pid: of, image, .. } | LockId::Process { pid: of, image, .. }
                if of == pid =>
            {
                Some(image)
            }
            _ => None,
        };
        let of_image = told.and_then(|image| self.processes.get(&(pid, image)));
        if let Some(process) = of_image.or_else(|| self.latest(pid)) {
            return process.clone();
        }
        let resource =
            self.resource(UNKNOWN, &[], &|list| list.int(names::PROCESS_PID, pid.into()));
        let process = Process { resource, ..Process::default() };
        self.insert((pid, told.unwrap_or(0)), process)
    }

    /// What the process of this id runs now, as far as known.
    pub fn latest(&self, pid: u32) -> Option<&Arc<Process>> {
        self.processes.get(&(pid, *self.latest.get(&pid)?))
    }

    /// A process for people.
    pub fn name(&self, pid: u32) -> String {
        let service = self.latest(pid).map_or("", |process| &process.service);
        format!("{service}[{pid}]")
    }

    /// lockprobe itself.
    pub fn lockprobe(&self) -> Process {
        let resource = self.resource("lockprobe", &[], &|list| {
            list.text(names::SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
            list.int(names::PROCESS_PID, std::process::id().into());
        });
        Process { resource, service: "lockprobe".to_owned(), parent: None }
    }

    /// How many processes are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        assert_eq!(self.processes.len(), self.order.len());
        assert!(self.latest.len() <= self.processes.len());
        self.processes.len()
    }

    fn of_fact(&self, fact: &ProcessFact) -> Process {
        let said = |key: &str| fact.attributes.iter().any(|(own, _)| own == key);
        let service = if fact.service.is_empty() { UNKNOWN } else { &fact.service };
        let resource = self.resource(service, &fact.attributes, &|list| {
            list.int(names::PROCESS_PID, fact.pid.into());
            if !said(names::SERVICE_INSTANCE_ID) {
                let instance = format_args!("{}-{}", fact.pid, fact.start_ticks);
                list.shown(names::SERVICE_INSTANCE_ID, instance);
            }
            if let Some(name) = fact.executable.rsplit('/').next().filter(|name| !name.is_empty()) {
                if !said(names::PROCESS_EXECUTABLE_NAME) {
                    list.text(names::PROCESS_EXECUTABLE_NAME, name);
                }
                if !said(names::PROCESS_EXECUTABLE_PATH) {
                    list.text(names::PROCESS_EXECUTABLE_PATH, &fact.executable);
                }
            }
            let command = fact.command.first().filter(|word| !word.is_empty());
            if let Some(command) = command.filter(|_| !said(names::PROCESS_COMMAND)) {
                list.text(names::PROCESS_COMMAND, command);
            }
        });
        // Of a trace that is not recorded, nothing is there to be a child of.
        let parent = fact.trace_parent.as_deref().and_then(TraceContext::parse);
        let parent = parent.filter(|context| context.sampled);
        Process { resource, service: fact.service.clone(), parent }
    }

    /// A `Resource`: what is certain, what was said, the host.
    fn resource(
        &self,
        service: &str,
        said: &[(String, String)],
        certain: &dyn Fn(&mut Attributes<'_>),
    ) -> Vec<u8> {
        /// Tags of `Resource`.
        const ATTRIBUTES: u32 = 1;
        const DROPPED: u32 = 2;
        let mut wire = Wire::default();
        let mut list = wire.attributes(ATTRIBUTES);
        list.text(names::SERVICE_NAME, service);
        certain(&mut list);
        let mut seen: HashSet<&str> = OWN.into();
        let mut dropped = 0;
        for (key, value) in said {
            if !seen.insert(key) {
                continue;
            }
            match seen.len() <= ATTRIBUTES_AT_MOST && key.len() + value.len() <= VALUE_AT_MOST {
                true => list.text(key, value),
                false => dropped += 1,
            }
        }
        if !self.host.is_empty() && !seen.contains(names::HOST_NAME) {
            list.text(names::HOST_NAME, &self.host);
        }
        list.text(names::TELEMETRY_DISTRO_NAME, "lockprobe");
        list.text(names::TELEMETRY_DISTRO_VERSION, env!("CARGO_PKG_VERSION"));
        if dropped > 0 {
            wire.uint(DROPPED, dropped);
        }
        wire.into_bytes()
    }

    fn insert(&mut self, key: Key, process: Process) -> Arc<Process> {
        let process = Arc::new(process);
        self.latest.insert(key.0, key.1);
        if self.processes.insert(key, process.clone()).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.limit {
            let Some(oldest) = self.order.pop_front() else { break };
            self.processes.remove(&oldest);
            if self.latest.get(&oldest.0) == Some(&oldest.1) {
                self.latest.remove(&oldest.0);
            }
        }
        process
    }
}
