//! A virtual machine that has this machine's files, read-only, and another kernel.
//!
//! The processor is emulated: a hundred times slower than life at times, but the same everywhere.
//! One thread emulates all processors, since kernels patch their own text while they boot.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::kernels::Kernel;
use crate::shell;

/// What the first program of the machine needs to reach our files; where a kernel has one built in
/// there is no module.
const MODULES: &[&str] = &[
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "fuse",
    "virtiofs",
];
/// Where Debian puts what serves our files to the machine: up to 12 with QEMU, later by itself.
const FILE_SERVERS: &[&str] = &["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];
const MEMORY: &str = "3G";

/// The first program of the machine: makes our root directory its own, and runs what it is told.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in MODULES; do insmod /modules/$module; done
mount -t virtiofs -o ro host /host || poweroff -f
for folder in proc sys dev; do mount --move /$folder /host/$folder; done
for folder in tmp run var/tmp WRITABLE; do mount -t tmpfs none /host/$folder; done
mkdir -p /host/dev/pts /host/dev/shm
mount -t devpts none /host/dev/pts; mount -t tmpfs none /host/dev/shm
mount -t tracefs none /host/sys/kernel/tracing
mount -t cgroup2 none /host/sys/fs/cgroup
ifconfig lo 127.0.0.1 up; hostname lockprobe-vm
cp /script /host/run/script
chroot /host /bin/bash /run/script
poweroff -f
"#;

/// What a machine said.
pub struct Said {
    /// Line by line.
    pub lines: Vec<String>,
    /// It came to its end, rather than to the end of our patience.
    pub whole: bool,
}

/// A folder with what one machine needs, removed with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with us.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a kernel and runs a script of bash as root. `tell` gets each line as it comes; the folder
/// `writable` of ours is empty there, and can be written to.
pub fn run(
    kernel: Kernel,
    script: &str,
    writable: &Path,
    patience: Duration,
    mut tell: impl FnMut(&str),
) -> Result<Said> {
    let unpacked = kernel.folder()?;
    let folder =
        Folder(shell::target()?.join(format!("vm-{}-{}", kernel.name, std::process::id())));
    fs::create_dir_all(&folder.0)?;
    fs::create_dir_all(writable)?;
    let initial = initial_files(kernel, &unpacked, &folder.0, script, writable)?;
    let socket = folder.0.join("files.sock");
    let _server = serve_files(&socket)?;
    let mut machine = emulator(&kernel.image(&unpacked)?, &initial, &socket);
    let mut machine = Started(machine.spawn().context("start qemu-system-x86_64")?);
    let output = machine.0.stdout.take().context("no output of the machine")?;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        // A machine that says too much is cut, as is a line without an end.
        while reader.by_ref().take(1 << 16).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    let end = Instant::now() + patience;
    let mut said = Said { lines: Vec::new(), whole: false };
    loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                tell(&line);
                said.whole |= line.contains(END);
                said.lines.push(line);
            }
            Err(_) => return Ok(said),
        }
    }
}

/// The last line of a script that came to its end.
pub const END: &str = "lockprobe-vm: end";

fn emulator(image: &Path, initial: &Path, socket: &Path) -> Command {
    let mut qemu = shell::program("qemu-system-x86_64");
    // Of the newest processor, but for one instruction that QEMU 7 emulates wrongly.
    qemu.args(["-accel", "tcg,thread=single", "-cpu", "max,-cx16", "-smp", "2", "-m", MEMORY]);
    qemu.arg("-object").arg(format!("memory-backend-memfd,id=memory,size={MEMORY},share=on"));
    qemu.args(["-numa", "node,memdev=memory"]);
    qemu.arg("-chardev").arg(format!("socket,id=files,path={}", socket.display()));
    qemu.args(["-device", "vhost-user-fs-pci,chardev=files,tag=host"]);
    qemu.arg("-kernel").arg(image).arg("-initrd").arg(initial);
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
    qemu.args(["-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    qemu
}

/// Serves our files over a socket.
fn serve_files(socket: &Path) -> Result<Started> {
    let program = FILE_SERVERS.iter().find(|path| Path::new(path).exists());
    let program = program.context("virtiofsd is missing: run `cargo xtask setup`")?;
    let mut server = shell::program(program);
    server.arg(format!("--socket-path={}", socket.display()));
    server.args(["-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always"]);
    let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Started(server.spawn().with_context(|| format!("start {program}"))?);
    let end = Instant::now() + Duration::from_secs(10);
    while !socket.exists() {
        ensure!(Instant::now() < end, "{program} does not serve files");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(started)
}

/// The files the machine begins with: busybox, modules, the script.
fn initial_files(
    kernel: Kernel,
    unpacked: &Path,
    folder: &Path,
    script: &str,
    writable: &Path,
) -> Result<PathBuf> {
    let root = folder.join("root");
    for name in ["bin", "proc", "sys", "dev", "host", "modules"] {
        fs::create_dir_all(root.join(name))?;
    }
    let busybox = shell::find("busybox").context("busybox is missing: run `cargo xtask setup`")?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    let mut names = Vec::new();
    for module in kernel.modules(unpacked, MODULES) {
        let file = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let copy = root.join("modules").join(&file);
        fs::copy(&module, &copy)?;
        if file.ends_with(".xz") {
            shell::run(shell::program("xz").arg("--decompress").arg(&copy))?;
        }
        names.push(file.trim_end_matches(".xz").to_owned());
    }
    let writable = writable.display().to_string();
    let init = INIT.replace("MODULES", &names.join(" "));
    let init = init.replace("WRITABLE", writable.trim_start_matches('/'));
    fs::write(root.join("init"), init)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    fs::write(root.join("script"), format!("{script}\necho '{END}'\n"))?;
    let packed = folder.join("initial.cpio");
    let pack = "find . | cpio --create --format=newc --quiet > ../initial.cpio";
    let mut packer = shell::program("sh");
    packer.args(["-c", pack]).current_dir(&root);
    shell::run(&mut packer)?;
    if !packed.exists() {
        bail!("cpio made no archive");
    }
    Ok(packed)
}
