//! Embeds the eBPF object that `cargo xtask build` made, or an empty file when there is none.
//!
//! An empty object keeps `cargo build` working on stable without an eBPF toolchain: replay,
//! reports and tests need no kernel half, and live capture says in one sentence what is missing.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[path = "../xtask/src/fingerprint.rs"]
mod fingerprint;

fn main() -> io::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sources = workspace.join("lockprobe-ebpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let built = target_folder(&out, &workspace).join("bpf");
    // Watched before it is filled: cargo would take a missing path for changed at every build.
    fs::create_dir_all(&built)?;

    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    for watched in [&built, &sources.join("Cargo.toml"), &sources.join("src")] {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let embedded = out.join(fingerprint::OBJECT);
    // A new file each time: a target folder may share its files with copies of itself.
    let _ = fs::remove_file(&embedded);
    fs::write(embedded, object(&built, &sources)?)
}

/// The object in `built` when it was made from the present sources, else nothing.
fn object(built: &Path, sources: &Path) -> io::Result<Vec<u8>> {
    let Ok(object) = fs::read(built.join(fingerprint::OBJECT)) else { return Ok(Vec::new()) };
    let made_from = fs::read_to_string(built.join(fingerprint::SOURCES)).unwrap_or_default();
    if made_from.trim() == fingerprint::of_sources(sources)? {
        return Ok(object);
    }
    println!(
        "cargo::warning=the eBPF object is older than lockprobe-ebpf's sources and is left out, \
         so live capture is off in this build: run `cargo xtask build`"
    );
    Ok(Vec::new())
}

/// Cargo's target folder, which build scripts are not told: from the environment, else the folder
/// above OUT_DIR that cargo marks as its own, else the workspace's.
fn target_folder(out: &Path, workspace: &Path) -> PathBuf {
    let named =
        env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let marked = || out.ancestors().find(|path| path.join("CACHEDIR.TAG").is_file());
    named.or_else(|| marked().map(Path::to_owned)).unwrap_or_else(|| workspace.join("target"))
}
