//! Programs that `cargo xtask setup` unpacks: they run by a loader and with libraries of their own.

use std::path::{Path, PathBuf};

use crate::probe;

/// A command that runs this program of what is unpacked in a folder of `target`, in parts.
pub fn program(folder: &str, name: &str) -> Vec<String> {
    let home = probe::target().join(folder).join("usr");
    let architecture = std::env::consts::ARCH;
    let loader = match architecture {
        "x86_64" => "lib64/ld-linux-x86-64.so.2",
        _ => "lib/ld-linux-aarch64.so.1",
    };
    let libraries = format!("lib/{architecture}-linux-gnu");
    let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
    let part = |path: &str| {
        let path = home.join(path);
        assert!(path.exists(), "{} is not there: run `cargo xtask setup`", path.display());
        text(std::path::absolute(path).expect("a path"))
    };
    let program = part(&format!("bin/{name}"));
    vec![part(loader), "--library-path".to_owned(), part(&libraries), program]
}

/// A command that runs this minor version of Python, in parts.
pub fn python(version: &str) -> Vec<String> {
    program(&format!("pythons/{version}"), &format!("python{version}"))
}

/// Whether a command runs Python.
pub fn is_python(command: &[String]) -> bool {
    let name = |part: &str| Path::new(part).file_name().map(|n| n.to_string_lossy().into_owned());
    command.iter().filter_map(|part| name(part)).any(|name| name.starts_with("python3"))
}
