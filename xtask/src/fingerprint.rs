//! The fingerprint that ties an eBPF object to the sources it was built from.
//!
//! `lockprobe/build.rs` compiles this same file, so that the writer and the reader of
//! `lockprobe.bpf.sources` cannot disagree. Standard library only, for that reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// File name of the stripped object under `<target>/bpf/`.
pub const OBJECT: &str = "lockprobe.bpf.o";
/// File name of its fingerprint, beside it.
pub const SOURCES: &str = "lockprobe.bpf.sources";

/// FNV-1a over names and contents of `Cargo.toml` and `src/**` of the crate at `root`, in hex.
///
/// It guards against a stale object, not against an attacker: 64 bits without a dependency do.
pub fn of_sources(root: &Path) -> io::Result<String> {
    let mut files = vec![root.join("Cargo.toml")];
    collect(&root.join("src"), &mut files)?;
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        let content = fs::read(&file)?;
        // Lengths first, so that moving bytes between a name, a file and the next is seen.
        for part in [name.as_bytes(), &content] {
            hash = fnv1a(hash, &(part.len() as u64).to_le_bytes());
            hash = fnv1a(hash, part);
        }
    }
    Ok(format!("{hash:016x}"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn fnv1a(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
