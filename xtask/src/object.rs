//! Builds the eBPF object: `<target>/bpf/lockprobe.bpf.o` and, beside it, the fingerprint of the
//! sources it was made from.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::{fingerprint, setup, shell};

/// Builds the object unless the one there was made from the present sources.
pub fn build(target: &Path) -> Result<()> {
    let (began, folder) = (Instant::now(), target.join("bpf"));
    let (object, sidecar) = (folder.join(fingerprint::OBJECT), folder.join(fingerprint::SOURCES));
    let sources = fingerprint::of_sources(&shell::workspace().join("lockprobe-ebpf"))?;
    let made_from = fs::read_to_string(&sidecar).unwrap_or_default();
    if object.is_file() && made_from.trim() == sources {
        println!("build: the eBPF object is up to date");
        return Ok(());
    }
    let linked = compile(target)?;

    fs::create_dir_all(&folder)?;
    // The fingerprint goes first and comes last: an interrupted copy never looks finished.
    let _ = fs::remove_file(&sidecar);
    fs::copy(linked, &object)?;
    if let Some(strip) = setup::strip() {
        // Debug information only; the BTF, which the kernel reads, stays.
        shell::run(shell::program(strip).arg("-g").arg(&object))?;
    }
    fs::write(&sidecar, sources + "\n")?;
    let (bytes, seconds) = (fs::metadata(&object)?.len(), began.elapsed().as_secs_f32());
    println!("build: eBPF object, {bytes} bytes ({seconds:.1} s)");
    Ok(())
}

/// The kernel wants BTF for typed arguments; bpf-linker makes it when asked. Left to itself it has
/// LLVM turn each run of zeros stored, were it two words, into a call of a loop over its bytes: a
/// third of all the verifier looked at.
const FLAGS: &str = "-C link-arg=--btf -C link-arg=--disable-expand-memcpy-in-order";

fn compile(target: &Path) -> Result<std::path::PathBuf> {
    let missing = "no eBPF toolchain here: run `cargo xtask setup`";
    let (toolchain, linker) = setup::ebpf().context(missing)?;
    // A folder of its own: another compiler works there, under another lock.
    let folder = target.join("bpf-build");
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--locked", "--profile", "bpf", "--target", "bpfel-unknown-none"]);
    cargo.args(["-Z", "build-std=core", "--package", "lockprobe-ebpf", "--bin", "lockprobe-ebpf"]);
    cargo.args(["--features", "programs"]);
    cargo.env("CARGO_TARGET_DIR", &folder);
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS", FLAGS);
    shell::run(&mut cargo)?;
    Ok(folder.join("bpfel-unknown-none/bpf/lockprobe-ebpf"))
}
