//! Where lock servers listen, and the programs that follow what clients say to them.

use aya::Ebpf;
use aya::maps::{Array, HashMap};
use aya::programs::BtfTracePoint;

use super::load::{Constant, Members, explain};
use crate::model::Dialect;
use crate::source::Error;

/// Program, and the tracepoint it belongs to.
pub const PROGRAMS: [(&str, &str); 3] = [
    ("sock_send", "sock_send_length"),
    ("sock_recv", "sock_recv_length"),
    ("sock_state", "inet_sock_set_state"),
];

/// Oldest kernel with these tracepoints.
pub const OLDEST_KERNEL: (u32, u32) = (6, 3);

/// Structures whose members [`constants`] asks for.
pub const STRUCTURES: [&str; 8] = [
    "sock_common",
    "net",
    "sock",
    "socket_alloc",
    "inode",
    "unix_sock",
    "unix_address",
    "sockaddr_un",
];

/// Ports, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers(Vec<(u16, Dialect)>);

impl Default for Servers {
    /// The ports everybody uses.
    fn default() -> Self {
        let all = Dialect::ALL.iter();
        Self(all.flat_map(|d| d.ports().iter().map(move |&port| (port, *d))).collect())
    }
}

impl Servers {
    /// None: conversations are not followed.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// These too; a port given again has its new meaning.
    pub fn with(mut self, more: &[(u16, Dialect)]) -> Self {
        for &(port, dialect) in more {
            self.0.retain(|known| known.0 != port);
            self.0.push((port, dialect));
        }
        self
    }

    /// What is spoken at a port.
    pub fn at(&self, port: u16) -> Option<Dialect> {
        self.0.iter().find(|known| known.0 == port).map(|known| known.1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The number of a dialect in records.
pub fn number(dialect: Dialect) -> u32 {
    // The order of `Dialect::ALL` is that of the numbers; a test holds them together.
    Dialect::ALL.iter().position(|d| *d == dialect).map_or(0, |at| at as u32 + 1)
}

/// Offsets on the way from a socket to its ends.
pub fn constants(get: &Members<'_>) -> Result<Vec<Constant>, Error> {
    Ok(vec![
        ("SK_FAMILY", get("sock_common", "skc_family")?),
        ("SK_V6_SERVER", get("sock_common", "skc_v6_daddr").unwrap_or(0)),
        ("SK_V6_CLIENT", get("sock_common", "skc_v6_rcv_saddr").unwrap_or(0)),
        ("SK_NET", get("sock_common", "skc_net")?),
        ("NET_INUM", get("net", "ns")? + get("ns_common", "inum")?),
        // Without them unix sockets are not followed.
        ("SK_TYPE", get("sock", "sk_type").unwrap_or(0)),
        ("SK_SOCKET", get("sock", "sk_socket").unwrap_or(0)),
        ("SOCKET_INODE", sum(get("socket_alloc", "vfs_inode"), get("inode", "i_ino"))),
        ("UNIX_PEER", get("unix_sock", "peer").unwrap_or(0)),
        ("UNIX_ADDRESS", get("unix_sock", "addr").unwrap_or(0)),
        ("UNIX_LENGTH", get("unix_address", "len").unwrap_or(0)),
        ("UNIX_PATH_AT", sum(get("unix_address", "name"), get("sockaddr_un", "sun_path"))),
    ])
}

fn sum(first: Result<u64, Error>, second: Result<u64, Error>) -> u64 {
    first.ok().zip(second.ok()).map_or(0, |(first, second)| first + second)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint, Error> {
    let missing =
        || Error::Failed(format!("the eBPF object has no program {name}; rebuild lockprobe"));
    ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
}

/// Tells the programs the ports.
pub fn tell_ports(ebpf: &mut Ebpf, servers: &Servers) -> Result<(), Error> {
    let wrong = |e: aya::maps::MapError| {
        Error::Failed(format!("the eBPF maps of ports cannot be used: {e}; rebuild lockprobe"))
    };
    let missing =
        || Error::Failed("the eBPF object has no maps of ports; rebuild lockprobe".into());
    let mut words = std::collections::BTreeMap::new();
    for &(port, _) in &servers.0 {
        *words.entry(u32::from(port) / 64).or_insert(0u64) |= 1 << (port % 64);
    }
    let map = ebpf.map_mut("PORTS").ok_or_else(missing)?;
    let mut ports: Array<_, u64> = Array::try_from(map).map_err(wrong)?;
    for (at, word) in words {
        ports.set(at, word, 0).map_err(wrong)?;
    }
    let map = ebpf.map_mut("DIALECTS").ok_or_else(missing)?;
    let mut dialects: HashMap<_, u32, u32> = HashMap::try_from(map).map_err(wrong)?;
    for &(port, dialect) in &servers.0 {
        dialects.insert(u32::from(port), number(dialect), 0).map_err(wrong)?;
    }
    Ok(())
}

/// Attaches them.
pub fn attach(ebpf: &mut Ebpf) -> Result<(), Error> {
    for (name, point) in PROGRAMS {
        let what = format!("attach to {point}");
        program(ebpf, name)?.attach().map_err(|e| explain(&what, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::dialect_of;

    #[test]
    fn every_dialect_has_its_number() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect_of(number(dialect)), Some(dialect));
        }
    }

    #[test]
    fn a_port_has_one_meaning() {
        let servers =
            Servers::default().with(&[(6379, Dialect::Memcached), (7001, Dialect::Redis)]);
        let of = |port| servers.0.iter().filter(|s| s.0 == port).map(|s| s.1).collect::<Vec<_>>();
        assert_eq!(of(6379), [Dialect::Memcached]);
        assert_eq!(of(7001), [Dialect::Redis]);
        assert!(!servers.is_empty() && Servers::none().is_empty());
    }
}
