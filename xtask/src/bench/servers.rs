//! What following the clients of lock servers costs: redis-benchmark, and the decoding alone.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::figures::Spread;
use super::observer::Observer;
use super::page::Row;
use crate::{build, shell};

/// Name for `--only`.
pub const NAME: &str = "redis";

const REQUESTS: &str = "150000";
const CLIENTS: &str = "8";
const THROUGHPUT_BAR: f64 = 0.93;
const COMMANDS_BAR: f64 = 1e6;
const BYTES_BAR: f64 = 1e9;

/// All of it.
pub fn measure(rounds: usize) -> Result<Vec<Row>> {
    let server = Redis::start()?;
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    for round in 0..rounds {
        // Pairs take turns in who goes first.
        let watched_first = round % 2 == 0;
        let first = server.rate(watched_first)?;
        let second = server.rate(!watched_first)?;
        let (watched, bare) = if watched_first { (first, second) } else { (second, first) };
        ratios.push(watched / bare);
        rates.push((bare, watched));
    }
    let ratio = Spread::of(&ratios);
    let bare = Spread::of(&rates.iter().map(|rate| rate.0).collect::<Vec<_>>()).median;
    let watched = Spread::of(&rates.iter().map(|rate| rate.1).collect::<Vec<_>>()).median;
    let report = shell::output(shell::program(build::lockprobe()?).args(["bench", "--talk"]))?;
    let report: Value = serde_json::from_str(&report)?;
    let figure = |key: &str| report[key].as_f64().context("lockprobe bench --talk: no figure");
    let commands = figure("lock_commands_a_second")?;
    let bytes = figure("skipped_bytes_a_second")?;
    Ok(vec![
        Row::judged(
            "redis-benchmark GET, 8 clients, throughput watched to unwatched",
            format!("{:.3}", ratio.median),
            format!(
                "{:.3} to {:.3}; {:.0} to {:.0} a second",
                ratio.quartiles.0, ratio.quartiles.1, bare, watched
            ),
            "0.93",
            ratio.median >= THROUGHPUT_BAR,
        ),
        Row::judged(
            "lock commands of Redis decoded, one core",
            format!("{:.2} M/s", commands / 1e6),
            String::new(),
            "1 M/s",
            commands >= COMMANDS_BAR,
        ),
        Row::judged(
            "bytes of Redis passed over, one core",
            format!("{:.1} GB/s", bytes / 1e9),
            String::new(),
            "1 GB/s",
            bytes >= BYTES_BAR,
        ),
    ])
}

/// A server of our own; dropped, it ends.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start() -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut server = shell::program("redis-server");
        server.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"]);
        server.arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let child =
            server.spawn().context("start redis-server (`cargo xtask setup` installs it)")?;
        let server = Self { child, port };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            sleep(Duration::from_millis(10));
        }
        bail!("redis-server does not listen")
    }

    /// Requests a second.
    fn rate(&self, watched: bool) -> Result<f64> {
        let server = format!("{}=redis", self.port);
        let observer = if watched { Some(Observer::start(&["--server", &server])?) } else { None };
        let mut benchmark = shell::program("redis-benchmark");
        benchmark.args(["-p", &self.port.to_string(), "-t", "get", "-n", REQUESTS, "-c", CLIENTS]);
        let text = shell::output(benchmark.args(["--csv"]))?;
        drop(observer);
        // "GET","93852.65",...
        let rate = text.lines().find_map(|line| line.strip_prefix("\"GET\",\""));
        let rate =
            rate.and_then(|rest| rest.split('"').next()).context("redis-benchmark: no rate")?;
        Ok(rate.parse()?)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
