//! Whose span is it: processes and the OpenTelemetry resources that stand for them.

use super::convert::{Subject, int, text};
use crate::model::{LockId, ProcessFact, names};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A process as a resource.
#[derive(Debug, PartialEq)]
pub struct Process {
    /// Ready to send.
    pub resource: Resource,
    /// Its encoded size.
    pub bytes: usize,
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
    pub fn learn(&mut self, fact: &ProcessFact) {
        let mut attributes = vec![
            text(
                names::SERVICE_NAME,
                if fact.service.is_empty() { UNKNOWN } else { &fact.service },
            ),
            text(names::SERVICE_INSTANCE_ID, format!("{}-{}", fact.pid, fact.start_ticks)),
            int(names::PROCESS_PID, fact.pid.into()),
        ];
        if let Some(name) = fact.executable.rsplit('/').next().filter(|name| !name.is_empty()) {
            attributes.push(text(names::PROCESS_EXECUTABLE_NAME, name));
            attributes.push(text(names::PROCESS_EXECUTABLE_PATH, &*fact.executable));
        }
        if let Some(command) = fact.command.first().filter(|word| !word.is_empty()) {
            attributes.push(text(names::PROCESS_COMMAND, &**command));
        }
        let process = self.build(attributes);
        self.insert((fact.pid, fact.image), process);
    }

    /// The process a span belongs to: the image its lock tells, else the latest of that id.
    pub fn of(&mut self, subject: &Subject) -> Arc<Process> {
        let (pid, lock) = match subject {
            Subject::Acquire(span) => (span.thread.id.pid, span.lock.id),
            Subject::Hold(span) => (span.holder.id.pid, span.lock.id),
        };
        let told = match lock {
            LockId::Private { pid: of, image, .. } | LockId::Process { pid: of, image, .. }
                if of == pid =>
            {
                Some(image)
            }
            _ => None,
        };
        let latest = self.latest.get(&pid).copied();
        let known = [told, latest]
            .into_iter()
            .flatten()
            .find_map(|image| self.processes.get(&(pid, image)));
        if let Some(process) = known {
            return process.clone();
        }
        let attributes =
            vec![text(names::SERVICE_NAME, UNKNOWN), int(names::PROCESS_PID, pid.into())];
        let process = self.build(attributes);
        self.insert((pid, told.unwrap_or(0)), process)
    }

    /// How many processes are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        assert_eq!(self.processes.len(), self.order.len());
        assert!(self.latest.len() <= self.processes.len());
        self.processes.len()
    }

    fn build(&self, mut attributes: Vec<KeyValue>) -> Process {
        if !self.host.is_empty() {
            attributes.push(text(names::HOST_NAME, &*self.host));
        }
        attributes.push(text(names::TELEMETRY_DISTRO_NAME, "lockprobe"));
        attributes.push(text(names::TELEMETRY_DISTRO_VERSION, env!("CARGO_PKG_VERSION")));
        let resource = Resource { attributes, ..Resource::default() };
        let bytes = resource.encoded_len();
        Process { resource, bytes }
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

/// The name the specification gives to a service nothing is known of.
const UNKNOWN: &str = "unknown_service";
