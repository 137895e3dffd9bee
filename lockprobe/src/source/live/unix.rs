//! Unix sockets at which lock servers listen: found by their names, or by whose they are.
//!
//! A server that listens at a port and at a path is one server, and a lock of it the same for all
//! its clients: those over the path are told as if they came over the port. A path alone, of a
//! server without any port, says too little to name its locks, and is not followed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, HashMap as BpfMap, MapData};
use lockprobe_ebpf::wire::{SOCKET_BLOCK, UNIX_PATH, UNIX_PORT_BITS};

use super::servers::{Servers, number};
use crate::model::Dialect;

/// How often new ones are looked for, unless looking takes more than a thousandth of it.
const EVERY: Duration = Duration::from_secs(2);
/// How soon the thread notices that it is to end.
const PATIENCE: Duration = Duration::from_millis(50);
/// Most lines of a table of sockets, and most processes and descriptors, that are looked at.
const LINES_AT_MOST: usize = 100_000;
const PROCESSES_AT_MOST: usize = 32_768;
const DESCRIPTORS_AT_MOST: usize = 4096;
/// Most paths followed; the map has room for as many.
const PATHS_AT_MOST: usize = 256;

/// A socket somebody listens at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listener {
    inode: u64,
    path: String,
}

/// Looks for such sockets now and then, until dropped.
pub struct UnixServers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Finder {
    servers: Servers,
    paths: BpfMap<MapData, [u8; UNIX_PATH], u32>,
    lengths: Array<MapData, u64>,
    known: HashMap<String, u32>,
    /// Listening sockets whose owners were looked for.
    looked_at: HashSet<u64>,
}

impl UnixServers {
    /// Looks once, and goes on looking. `None`: the programs have no place for what is found, and
    /// unix sockets are not followed.
    pub fn follow(ebpf: &mut Ebpf, servers: &Servers) -> Option<Self> {
        let mut marks: BpfMap<MapData, u32, u32> =
            BpfMap::try_from(ebpf.take_map("UNIX_MARKS")?).ok()?;
        for (block, last) in marks_now() {
            marks.insert(block, last, 0).ok()?;
        }
        let mut finder = Finder {
            servers: servers.clone(),
            paths: BpfMap::try_from(ebpf.take_map("UNIX_SERVERS")?).ok()?,
            lengths: Array::try_from(ebpf.take_map("UNIX_LENGTHS")?).ok()?,
            known: HashMap::new(),
            looked_at: HashSet::new(),
        };
        finder.look();
        let stop = Arc::new(AtomicBool::new(false));
        let own = stop.clone();
        let thread = std::thread::Builder::new().name("lockprobe-unix".into());
        let thread = thread.spawn(move || finder.run(&own)).ok()?;
        Some(Self { stop, thread: Some(thread) })
    }
}

impl Drop for UnixServers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Finder {
    fn run(&mut self, stop: &AtomicBool) {
        let mut next = Instant::now() + EVERY;
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() >= next {
                let begun = Instant::now();
                self.look();
                next = Instant::now() + EVERY.max(begun.elapsed() * 1000);
            }
            std::thread::sleep(PATIENCE);
        }
    }

    fn look(&mut self) {
        let listeners = unix_listeners(&read("/proc/net/unix"));
        let mut found = BTreeMap::new();
        let mut nameless = Vec::new();
        for listener in listeners {
            match port_of_postgres(&listener.path) {
                Some(port) => drop(found.insert(listener.path, (port, Dialect::Postgres))),
                None => nameless.push(listener),
            }
        }
        // Whose they are is looked for once, when there is a new one.
        nameless.retain(|listener| !self.looked_at.contains(&listener.inode));
        if !nameless.is_empty() {
            if self.looked_at.len() >= LINES_AT_MOST {
                self.looked_at.clear();
            }
            self.looked_at.extend(nameless.iter().map(|listener| listener.inode));
            let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(read);
            let ports = tables.iter().flat_map(|table| tcp_listeners(table));
            let ports =
                ports.filter_map(|(inode, port)| Some((inode, port, self.servers.at(port)?)));
            let ports: HashMap<u64, (u16, Dialect)> =
                ports.map(|(inode, port, dialect)| (inode, (port, dialect))).collect();
            found.extend(by_owner(&nameless, &ports));
        }
        for (path, (port, dialect)) in found {
            self.add(path, u32::from(port) | number(dialect) << UNIX_PORT_BITS);
        }
    }

    fn add(&mut self, path: String, server: u32) {
        if self.known.get(&path) == Some(&server) {
            return;
        }
        let length = path.len();
        if length > UNIX_PATH || length == 0 || self.known.len() >= PATHS_AT_MOST {
            return;
        }
        let mut key = [0; UNIX_PATH];
        key[..length].copy_from_slice(path.as_bytes());
        let (word, bit) = (length as u32 / 64, length % 64);
        // The path first: who finds the length looks for it.
        if self.paths.insert(key, server, 0).is_ok() {
            let before = self.lengths.get(&word, 0).unwrap_or(0);
            let _ = self.lengths.set(word, before | 1 << bit, 0);
            self.known.insert(path, server);
        }
    }
}

fn read(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The numbers of the sockets made last, by block of numbers; under `u32::MAX` the last block. A
/// socket of each processor shows how far it has come.
fn marks_now() -> HashMap<u32, u32> {
    let look = || {
        let mut marks = HashMap::new();
        for processor in 0..libc::CPU_SETSIZE as usize {
            // SAFETY: a set of processors is plain memory, and the macro checks the index.
            let moved = unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(processor, &mut set);
                libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) == 0
            };
            let inode = || {
                let (socket, _) = std::os::unix::net::UnixStream::pair().ok()?;
                let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
                inode_of(&link.to_string_lossy())
            };
            let Some(inode) = moved.then(inode).flatten() else { continue };
            let (inode, block) = (inode as u32, inode as u32 / SOCKET_BLOCK);
            let last = marks.entry(block).or_insert(inode);
            *last = inode.max(*last);
        }
        if let Some(newest) = marks.keys().max().copied() {
            marks.insert(u32::MAX, newest);
        }
        marks
    };
    // In a thread that ends: it has been moved about.
    std::thread::spawn(look).join().unwrap_or_default()
}

fn inode_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Streams somebody listens at, of a table as `/proc/net/unix` is.
fn unix_listeners(table: &str) -> Vec<Listener> {
    let listener = |line: &str| {
        // Num: RefCount Protocol Flags Type St Inode Path
        let mut fields = line.splitn(8, ' ').filter(|field| !field.is_empty());
        let (flags, kind) = (fields.nth(3)?, fields.next()?);
        let rest = line.split_whitespace().nth(6)?;
        let path = line.split_once(rest)?.1.strip_prefix(' ')?;
        // __SO_ACCEPTCON, SOCK_STREAM.
        let listens = u32::from_str_radix(flags, 16).ok()? & 0x1_0000 != 0 && kind == "0001";
        let inode = rest.parse().ok()?;
        (listens && path.starts_with('/')).then(|| Listener { inode, path: path.to_owned() })
    };
    table.lines().skip(1).take(LINES_AT_MOST).filter_map(listener).collect()
}

/// Inodes and ports somebody listens at, of a table as `/proc/net/tcp` is.
fn tcp_listeners(table: &str) -> impl Iterator<Item = (u64, u16)> {
    table.lines().skip(1).take(LINES_AT_MOST).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
        let [_, local, _, "0A", .., inode] = fields[..] else { return None };
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        Some((inode.parse().ok()?, port))
    })
}

/// PostgreSQL calls its sockets after its port.
fn port_of_postgres(path: &str) -> Option<u16> {
    let name = path.rsplit('/').next()?;
    name.strip_prefix(".s.PGSQL.")?.parse().ok()
}

/// Of the listeners, those of processes that listen at a port of a lock server too.
fn by_owner(
    listeners: &[Listener],
    ports: &HashMap<u64, (u16, Dialect)>,
) -> BTreeMap<String, (u16, Dialect)> {
    let mut found = BTreeMap::new();
    if ports.is_empty() {
        return found;
    }
    let wanted: HashMap<u64, &str> = listeners.iter().map(|l| (l.inode, &*l.path)).collect();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter(|entry| {
        entry.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
    });
    for process in processes.take(PROCESSES_AT_MOST) {
        let links = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let links = links.take(DESCRIPTORS_AT_MOST);
        let inodes = links.filter_map(|link| fs::read_link(link.path()).ok());
        let inodes: Vec<u64> =
            inodes.filter_map(|link| inode_of(&link.to_string_lossy())).collect();
        // The least of several ports, whichever order they come in.
        let port = inodes.iter().filter_map(|inode| ports.get(inode)).min_by_key(|(port, _)| *port);
        let Some(&server) = port else { continue };
        for path in inodes.iter().filter_map(|inode| wanted.get(inode)) {
            found.insert((*path).to_owned(), server);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_off_the_kernels_tables() {
        let unix = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 20571 /run/a b.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 20572 /run/a b.sock\n\
            0000000000000000: 00000002 00000000 00010000 0005 01 20573 /run/seq\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 20574 @abstract\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 20575\n";
        let path = "/run/a b.sock".to_owned();
        assert_eq!(unix_listeners(unix), [Listener { inode: 20571, path }]);
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
            0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 777 1\n\
            1: 0100007F:18EB 0100007F:9999 01 00000000:00000000 00:00000000 00000000 0 0 778 1\n";
        assert_eq!(tcp_listeners(tcp).collect::<Vec<_>>(), [(777, 6379)]);
    }

    #[test]
    fn postgres_says_its_port() {
        assert_eq!(port_of_postgres("/run/postgresql/.s.PGSQL.5432"), Some(5432));
        for path in ["/run/.s.PGSQL.5432.lock", "/run/.s.PGSQL.", "/run/x", ".s.PGSQL.99999"] {
            assert_eq!(port_of_postgres(path), None, "{path}");
        }
    }

    #[test]
    fn a_path_is_that_of_the_process_that_has_the_port() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let path = path.to_str().unwrap();
        let mine: Vec<Listener> = unix_listeners(&read("/proc/net/unix"))
            .into_iter()
            .filter(|listener| listener.path == path)
            .collect();
        assert_eq!(mine.len(), 1);
        let table = read("/proc/net/tcp");
        let ports = tcp_listeners(&table).filter(|(_, p)| *p == port);
        let ports: HashMap<_, _> = ports.map(|(i, p)| (i, (p, Dialect::Redis))).collect();
        let expected = BTreeMap::from([(path.to_owned(), (port, Dialect::Redis))]);
        assert_eq!(by_owner(&mine, &ports), expected);
    }

    #[test]
    fn sockets_made_later_have_marks_below_them() {
        let marks = marks_now();
        let newest = marks[&u32::MAX];
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = inode_of(&link.to_string_lossy()).unwrap() as u32;
        let block = inode / SOCKET_BLOCK;
        assert!(marks.get(&block).map_or(block > newest, |last| inode > *last));
    }
}
