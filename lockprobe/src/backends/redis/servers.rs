//! Which servers a process talks to.

use core::net::SocketAddr;

use super::memory::Map;
use crate::model::Connection;

/// Most processes whose servers are remembered.
const PROCESSES_AT_MOST: usize = 16_384;

#[derive(Debug, Default)]
struct Process {
    servers: Vec<SocketAddr>,
    /// A token it set was set on one server only.
    alone: bool,
}

/// The servers of processes.
#[derive(Debug, Default)]
pub struct Servers(Map<u32, Process>);

impl Servers {
    /// A process talks to a server.
    pub fn opened(&mut self, connection: &Connection) {
        if self.0.len() < PROCESSES_AT_MOST || self.0.contains_key(&connection.pid) {
            let process = self.0.entry(connection.pid).or_default();
            process.alone &= process.servers.contains(&connection.server);
            process.servers.push(connection.server);
        }
    }

    /// It does no more.
    pub fn closed(&mut self, connection: &Connection) {
        let Some(process) = self.0.get_mut(&connection.pid) else { return };
        let servers = &mut process.servers;
        if let Some(at) = servers.iter().position(|server| *server == connection.server) {
            servers.swap_remove(at);
        }
        if servers.is_empty() {
            self.0.remove(&connection.pid);
        }
    }

    /// A process was seen to have a lock on one server.
    pub fn alone(&mut self, pid: u32) {
        if let Some(process) = self.0.get_mut(&pid) {
            process.alone = true;
        }
    }

    /// Whether what a process sets on one server it may set on others, too. Many connect to the
    /// second server of a lock only when the first has answered: a process that has talked to one
    /// server only is not known to talk to one only before it has used it for a lock.
    pub fn may_be_several(&self, connection: &Connection) -> bool {
        self.0.get(&connection.pid).is_some_and(|process| {
            let servers = &process.servers;
            !process.alone || servers.iter().any(|server| *server != servers[0])
        })
    }
}
