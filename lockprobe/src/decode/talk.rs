//! Records of conversations with lock servers.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lockprobe_ebpf::wire::{
    BytesRecord, ClosedRecord, ConnectionRecord, bytes_flag, dialect, socket_flag,
};
use zerocopy::FromBytes;

use super::frame::thread;
use crate::model::{BytesSeen, Connection, Dialect, Malformed, TalkSeen};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// What is spoken, by its number in records.
pub fn dialect_of(number: u32) -> Option<Dialect> {
    Some(match number {
        dialect::REDIS => Dialect::Redis,
        dialect::ETCD => Dialect::Etcd,
        dialect::ZOOKEEPER => Dialect::ZooKeeper,
        dialect::POSTGRES => Dialect::Postgres,
        dialect::MYSQL => Dialect::Mysql,
        dialect::MEMCACHED => Dialect::Memcached,
        dialect::CONSUL => Dialect::Consul,
        _ => return None,
    })
}

fn address(family: u16, bytes: [u8; 16], port: u16) -> Option<SocketAddr> {
    let address = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        // An IPv4 address is the same whatever socket it is used by.
        AF_INET6 => Ipv6Addr::from(bytes).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// A connection.
pub fn connection(frame: &[u8]) -> Result<TalkSeen, Malformed> {
    let record = ConnectionRecord::read_from_bytes(frame).map_err(|_| Malformed::Length)?;
    let end = |bytes, port| address(record.family, bytes, port).ok_or(Malformed::Value);
    Ok(TalkSeen::Opened(Connection {
        id: record.connection,
        pid: record.thread.tgid,
        dialect: dialect_of(record.dialect).ok_or(Malformed::Value)?,
        client: end(record.client, record.client_port)?,
        server: end(record.server, record.server_port)?,
        namespace: record.namespace,
        joined: record.flags & socket_flag::JOINED != 0,
    }))
}

/// Bytes.
pub fn bytes(frame: &[u8]) -> Result<TalkSeen, Malformed> {
    let (record, data) = BytesRecord::read_from_prefix(frame).map_err(|_| Malformed::Length)?;
    let bytes = data.get(..record.length as usize).ok_or(Malformed::Value)?;
    let has = |flag| record.flags & flag != 0;
    Ok(TalkSeen::Bytes(BytesSeen {
        time: record.header.time_ns,
        thread: thread(&record.thread),
        connection: record.connection,
        sent: has(bytes_flag::SENT),
        offset: record.offset,
        bytes: bytes.to_vec(),
        settled: has(bytes_flag::SETTLED),
        skipped: has(bytes_flag::SKIPPED),
        blind: match record.flags {
            flags if flags & bytes_flag::ENCRYPTED != 0 => Some("encrypted"),
            flags if flags & bytes_flag::HIDDEN != 0 => Some("io_uring"),
            _ => None,
        },
    }))
}

/// The end of a connection.
pub fn closed(frame: &[u8]) -> Result<TalkSeen, Malformed> {
    let record = ClosedRecord::read_from_bytes(frame).map_err(|_| Malformed::Length)?;
    Ok(TalkSeen::Closed { time: record.header.time_ns, connection: record.connection })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn addresses_are_those_people_write() {
        let record = |family, server: [u8; 16]| ConnectionRecord {
            dialect: dialect::REDIS,
            family,
            server,
            server_port: 6379,
            ..Default::default()
        };
        let server = |record: ConnectionRecord| match connection(record.as_bytes()) {
            Ok(TalkSeen::Opened(connection)) => connection.server.to_string(),
            other => panic!("{other:?}"),
        };
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[10, 0, 0, 7]);
        bytes[4] = 99;
        assert_eq!(server(record(AF_INET, bytes)), "10.0.0.7:6379");
        let mapped = Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped().octets();
        assert_eq!(server(record(AF_INET6, mapped)), "10.0.0.7:6379");
        assert_eq!(server(record(AF_INET6, Ipv6Addr::LOCALHOST.octets())), "[::1]:6379");
        assert_eq!(connection(record(1, bytes).as_bytes()), Err(Malformed::Value));
    }

    #[test]
    fn no_more_bytes_count_than_there_are() {
        let mut frame = BytesRecord { length: 3, ..Default::default() }.as_bytes().to_vec();
        frame.extend([1, 2, 3, 0]);
        assert!(matches!(bytes(&frame), Ok(TalkSeen::Bytes(seen)) if seen.bytes == [1, 2, 3]));
        frame.truncate(frame.len() - 2);
        assert_eq!(bytes(&frame), Err(Malformed::Value));
    }
}
