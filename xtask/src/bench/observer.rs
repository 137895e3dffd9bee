//! `lockprobe trace` on the whole host, from attached to gone.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{build, shell};

/// The thread that reads the ring; it starts once everything is attached.
const READER: &str = "lockprobe-ring";
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(10);
/// After attaching: the kernel patches its tracepoints, lockprobe looks at what runs.
const SETTLE: Duration = Duration::from_millis(200);

/// A running lockprobe; dropped, it is killed.
pub struct Observer(Child);

impl Observer {
    /// Returns once it is attached and has settled.
    pub fn start(flags: &[&str]) -> Result<Self> {
        let mut child = trace()?
            .args(["--output", "/dev/null"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .context("start lockprobe")?;
        let began = Instant::now();
        while readers(child.id()) == 0 {
            if let Some(status) = child.try_wait()? {
                bail!("lockprobe ended instead of watching ({status})");
            }
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
                bail!("lockprobe is not attached after {PATIENCE:?}");
            }
            sleep(STEP);
        }
        sleep(SETTLE);
        Ok(Self(child))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as Ctrl-C would, and waits until its programs are off the tracepoints.
    pub fn stop(mut self) -> Result<()> {
        let pid = self.0.id();
        shell::run(shell::program("sh").args(["-c", &format!("kill -INT {pid}")]))?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                // Programs leave the tracepoints a grace period after the last descriptor.
                sleep(SETTLE);
                return if status.success() { Ok(()) } else { bail!("lockprobe: {status}") };
            }
            if began.elapsed() > PATIENCE {
                bail!("lockprobe does not end");
            }
            sleep(STEP);
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `lockprobe trace` in the form everything here measures.
pub fn trace() -> Result<Command> {
    let mut command = shell::program(build::lockprobe()?);
    command.args(["trace", "--format", "jsonl"]).stdin(Stdio::null());
    Ok(command)
}

/// How many lockprobes watch this machine, other than `own`: their cost would be taken for ours.
pub fn strangers(own: Option<u32>) -> usize {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| Some(*pid) != own).map(readers).sum()
}

fn readers(pid: u32) -> usize {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.flatten().filter_map(name).filter(|name| name.trim() == READER).count()
}
