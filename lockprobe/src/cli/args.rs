//! Values on the command line.

pub use crate::config::values::{duration, ring_size};
use crate::model::Dialect;

/// Reads where a lock server listens: `7001=redis`.
pub fn server(text: &str) -> Result<(u16, Dialect), String> {
    let known = || Dialect::ALL.map(Dialect::name).join(", ");
    let (port, kind) = text.split_once('=').ok_or_else(|| "write it like 7001=redis".to_owned())?;
    let port = port.trim().parse::<u16>().ok().filter(|&port| port != 0);
    let port = port.ok_or_else(|| "the port must be a number from 1 to 65535".to_owned())?;
    let dialect = Dialect::ALL.into_iter().find(|d| d.name() == kind.trim());
    dialect
        .map(|dialect| (port, dialect))
        .ok_or_else(|| format!("`{}` is no lock server lockprobe knows: {}", kind.trim(), known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_a_port_and_a_kind() {
        assert_eq!(server("7001=redis"), Ok((7001, Dialect::Redis)));
        assert!(server("7001=rediss").unwrap_err().contains("redis, etcd"));
        assert!(server("0=redis").is_err() && server("redis").is_err());
    }
}
