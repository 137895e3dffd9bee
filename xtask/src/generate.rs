//! `cargo xtask generate`: committed files that the program itself writes.
//!
//! They are committed so that packagers and readers need no build; `--check`, part of `test`,
//! keeps them true.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{build, shell};

/// Arguments after `lockprobe generate`, and the file they make.
const FILES: &[(&[&str], &str)] = &[
    (&["man"], "docs/man/lockprobe.1"),
    (&["completions", "bash"], "docs/completions/lockprobe.bash"),
    (&["completions", "zsh"], "docs/completions/_lockprobe"),
    (&["completions", "fish"], "docs/completions/lockprobe.fish"),
    (&["schema"], "docs/schema/records.schema.json"),
    (&["snapshot-schema"], "docs/schema/snapshot.schema.json"),
    (&["signals"], "docs/signals.md"),
];

/// Writes every file.
pub fn write() -> Result<()> {
    for (arguments, file) in FILES {
        let path = shell::workspace().join(file);
        fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        fs::write(&path, printed(arguments)?)?;
        println!("generate: {file}");
    }
    Ok(())
}

/// Fails naming the files that differ from what the program prints now.
pub fn check() -> Result<()> {
    let mut drifted = Vec::new();
    for (arguments, file) in FILES {
        let committed = fs::read_to_string(shell::workspace().join(file)).unwrap_or_default();
        if committed != printed(arguments)? {
            drifted.push(*file);
        }
    }
    if !drifted.is_empty() {
        bail!("{} drifted: run `cargo xtask generate` and commit", drifted.join(", "));
    }
    println!("generate: {} files are what the program prints", FILES.len());
    Ok(())
}

/// Whether any of the files was ever committed.
pub fn begun() -> bool {
    FILES.iter().any(|(_, file)| shell::workspace().join(file).exists())
}

fn printed(arguments: &[&str]) -> Result<String> {
    let mut command = shell::program(build::lockprobe()?);
    let text = shell::output(command.arg("generate").args(arguments))?;
    if text.is_empty() {
        bail!("`lockprobe generate {}` printed nothing; is it written yet?", arguments.join(" "));
    }
    Ok(text)
}
