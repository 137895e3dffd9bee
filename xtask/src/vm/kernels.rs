//! The kernels: Debian's own, unpacked beside the build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::setup::later;
use crate::shell;

/// A kernel of Debian's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As people ask for it.
    pub name: &'static str,
    /// The release that has it, and what people know that by.
    pub release: &'static str,
    /// Major and minor version, to be compared with what a feature needs.
    pub version: (u32, u32),
}

/// The kernel of cloud images has all that is needed here, and a tenth of the drivers.
const META: &str = "linux-image-cloud-amd64";

/// Every kernel, oldest first.
pub const ALL: [Kernel; 4] = [
    Kernel { name: "5.10", release: "bullseye", version: (5, 10) },
    Kernel { name: "6.1", release: "bookworm", version: (6, 1) },
    Kernel { name: "6.12", release: "trixie", version: (6, 12) },
    Kernel { name: "7", release: "trixie-backports", version: (7, 0) },
];

impl Kernel {
    /// The folder it is unpacked in; it is fetched if it is not there.
    pub fn folder(self) -> Result<PathBuf> {
        let folder = shell::target()?.join("kernels").join(self.name);
        if self.image(&folder).is_err() {
            println!("vm: Linux {} of Debian's {} is missing", self.name, self.release);
            let release = later::Release { name: self.release, behind: Some(META), packages: &[] };
            later::unpack(&folder, &release)?;
        }
        Ok(folder)
    }

    /// The bootable image: in `boot`, or since 7 beside the modules.
    pub fn image(self, folder: &Path) -> Result<PathBuf> {
        let files = files(folder);
        let image = files.into_iter().find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        });
        image.with_context(|| format!("no kernel in {}", folder.display()))
    }

    /// Those of the named modules that are modules in it, in that order.
    pub fn modules(self, folder: &Path, names: &[&str]) -> Vec<PathBuf> {
        let files = files(folder);
        let find = |name: &&str| {
            let plain = format!("{name}.ko");
            files.iter().find(|path| {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                file == plain || file.strip_suffix(".xz") == Some(&plain)
            })
        };
        names.iter().filter_map(find).cloned().collect()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    files
}
