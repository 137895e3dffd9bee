//! What systemd is told, if it asks: sd_notify(3), without its library.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The way to systemd.
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that we are alive, and when it is to hear it next.
    watchdog: Option<(Duration, Instant)>,
}

impl Notify {
    /// As the environment asks for it.
    pub fn of_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let within = number("WATCHDOG_USEC").filter(|&within| for_us && within > 0);
        // Half of it, as sd_watchdog_enabled(3) advises.
        let every = within.map(|within| (Duration::from_micros(within / 2), Instant::now()));
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(address).and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        Self { socket, watchdog: every }
    }

    fn tell(&self, what: &str) {
        if let Some((socket, address)) = &self.socket {
            // Nobody who listens is no reason to stop.
            let _ = socket.send_to_addr(what.as_bytes(), address);
        }
    }

    /// What is going on, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// The start, or a reload, is over.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000;
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration"
        ));
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=delivering what is left");
    }

    /// We are alive; told as often as is wanted.
    pub fn alive(&mut self) {
        let now = Instant::now();
        if let Some((every, next)) = &mut self.watchdog
            && now >= *next
        {
            *next = now + *every;
            self.tell("WATCHDOG=1");
        }
    }
}

/// A path, or with `@` in front a name that is none.
fn address(name: OsString) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}
