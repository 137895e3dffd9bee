//! `lockprobe config`, and how the daemon gets its settings.

use std::fs::OpenOptions;
use std::io::{Read, Write, stdout};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::status::NOT_UNDERSTOOD;
use crate::config::{self, Effective, FILE_BYTES, Problem, Sources};

/// Examples.
pub const CONFIG_EXAMPLES: &str = "\
Examples:
  lockprobe config validate /etc/lockprobe/lockprobe.yaml
  lockprobe config show --config lockprobe.yaml --set capture.min_wait=5ms
  lockprobe config schema > lockprobe.schema.json";

/// `lockprobe config`.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// What
    #[command(subcommand)]
    pub what: Question,
}

/// What is asked of a configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum Question {
    /// Say all that is wrong with a file, with line and column; the status is 2 if anything is
    Validate {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show every key, what it is set to and by whom; secrets are masked
    Show(SettingArgs),
    /// Print the JSON Schema of the file
    Schema,
}

/// Where settings come from.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingArgs {
    /// Read this file (default: none, everything as it is by itself)
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a key, whatever file and environment say, like capture.min_wait=5ms; may be given
    /// several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Runs it.
pub fn main(args: &ConfigArgs) -> anyhow::Result<u8> {
    match &args.what {
        Question::Validate { file } => {
            // The file alone: what this shell's environment says is another matter.
            let read = read(file).and_then(|bytes| {
                let name = name(file);
                let sources = Sources { file: Some((&name, &bytes)), ..Sources::default() };
                config::effective(sources)
            });
            match read {
                Ok(_) => writeln!(stdout(), "{}: a valid configuration", name(file))?,
                Err(problems) => return Ok(tell(&problems)),
            }
        }
        Question::Show(settings) => match load(settings) {
            Ok(effective) => {
                effective.remarks.iter().for_each(|remark| eprintln!("lockprobe: {remark}"));
                let file = settings.config.as_deref().map(name);
                stdout().write_all(config::show(&effective, file.as_deref()).as_bytes())?;
            }
            Err(problems) => return Ok(tell(&problems)),
        },
        Question::Schema => writeln!(stdout(), "{:#}", config::schema())?,
    }
    Ok(0)
}

/// All problems, one a line; the exit status.
pub fn tell(problems: &[Problem]) -> u8 {
    problems.iter().for_each(|problem| eprintln!("lockprobe: {problem}"));
    NOT_UNDERSTOOD
}

/// The settings in force: defaults, file, environment, flags.
pub fn load(args: &SettingArgs) -> Result<Effective, Vec<Problem>> {
    let file = match args.config.as_deref() {
        Some(path) => Some((name(path), read(path)?)),
        None => None,
    };
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let environment: Vec<(String, String)> =
        std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    let file = file.as_ref().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    config::effective(Sources { file, environment: &environment, flags: &args.set })
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// What is in a file; of one that is no file, or is too large, no more than shows that.
fn read(path: &Path) -> Result<Vec<u8>, Vec<Problem>> {
    let wrong = |text: String| vec![Problem::new(name(path), text)];
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong("there is no such file; check the path".into()),
        std::io::ErrorKind::PermissionDenied => {
            wrong("it must not be read; check its permissions, and those of its directory".into())
        }
        _ => wrong(format!("it cannot be read: {error}; choose another file")),
    };
    // A pipe nobody writes to would be waited for.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?;
    if !kind.is_file() {
        let what = if kind.is_dir() { "a directory" } else { "no regular file" };
        return Err(wrong(format!("it is {what}; give the file itself")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
