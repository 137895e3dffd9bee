//! Which servers a process talks to.

use core::net::SocketAddr;
use std::collections::HashMap;

use crate::model::Connection;

/// Most processes whose servers are remembered.
const PROCESSES_AT_MOST: usize = 16_384;

/// The servers of processes.
#[derive(Debug, Default)]
pub struct Servers(HashMap<u32, Vec<SocketAddr>>);

impl Servers {
    /// A process talks to a server.
    pub fn opened(&mut self, connection: &Connection) {
        if self.0.len() < PROCESSES_AT_MOST || self.0.contains_key(&connection.pid) {
            self.0.entry(connection.pid).or_default().push(connection.server);
        }
    }

    /// It does no more.
    pub fn closed(&mut self, connection: &Connection) {
        let Some(servers) = self.0.get_mut(&connection.pid) else { return };
        if let Some(at) = servers.iter().position(|server| *server == connection.server) {
            servers.swap_remove(at);
        }
        if servers.is_empty() {
            self.0.remove(&connection.pid);
        }
    }

    /// A process that talks to several servers may have a lock on several.
    pub fn has_several(&self, connection: &Connection) -> bool {
        let servers = self.0.get(&connection.pid);
        servers.is_some_and(|servers| servers.iter().any(|server| *server != servers[0]))
    }
}
