//! Who a process is.

use super::thread::{name, read_bounded};
use crate::model::{ProcessFact, ThreadId, thread::printable};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;

/// Bounds of a command line.
const LONGEST_COMMAND: u64 = 4096;
const MOST_ARGUMENTS: usize = 64;
/// Bound of an environment that is searched, and of one variable.
const LONGEST_ENVIRONMENT: u64 = 4 << 20;
const LONGEST_NAME: usize = 256;

/// Who a process is; what cannot be read stays empty.
pub fn fact(pid: u32, image: u32) -> ProcessFact {
    let executable = executable(pid).unwrap_or_default();
    let command = command(pid).unwrap_or_default();
    let service = named_service(pid)
        .or_else(|| service(&executable, &command))
        .or_else(|| name(ThreadId { pid, tid: pid }))
        .unwrap_or_default();
    ProcessFact {
        pid,
        image,
        start_ticks: start_ticks(pid).unwrap_or(0),
        service,
        executable,
        command,
        ..ProcessFact::default()
    }
}

/// Device and inode of the executable: an exec changes them, unless the process runs the same program again.
pub type Program = (u64, u64);

/// The program a process runs.
pub fn program(pid: u32) -> Option<Program> {
    let file = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((file.dev(), file.ino()))
}

fn start_ticks(pid: u32) -> Option<u64> {
    let stat = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
    Some(stat.starttime)
}

fn executable(pid: u32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let path = path.to_string_lossy();
    Some(printable(path.strip_suffix(" (deleted)").unwrap_or(&path)))
}

fn command(pid: u32) -> Option<Vec<String>> {
    let bytes = read_bounded(format!("/proc/{pid}/cmdline"), LONGEST_COMMAND)?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return None;
    }
    let arguments = bytes.split(|&b| b == 0).take(MOST_ARGUMENTS);
    Some(arguments.map(|a| printable(&String::from_utf8_lossy(a))).collect())
}

/// OTEL_SERVICE_NAME of the environment; no other variable is kept for longer than it takes to see
/// that it is another.
fn named_service(pid: u32) -> Option<String> {
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    let mut reader = BufReader::with_capacity(4096, file.take(LONGEST_ENVIRONMENT));
    let mut variable = Vec::new();
    while reader.read_until(0, &mut variable).ok()? > 0 {
        if let Some(value) = variable.strip_prefix(b"OTEL_SERVICE_NAME=") {
            let value = value.strip_suffix(b"\0").unwrap_or(value);
            let value =
                printable(&String::from_utf8_lossy(&value[..value.len().min(LONGEST_NAME)]));
            return (!value.trim().is_empty()).then_some(value);
        }
        variable.clear();
    }
    None
}

/// The script of an interpreter, else the executable.
fn service(executable: &str, command: &[String]) -> Option<String> {
    let own = file_name(executable);
    let own = if own.is_empty() {
        command.first().map(|c| file_name(c)).unwrap_or_default()
    } else {
        own
    };
    let script = interpreter(own).and_then(|options| script(command.get(1..)?, options));
    script.or(Some(own)).filter(|n| !n.is_empty()).map(str::to_owned)
}

fn file_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// How an interpreter reads its options.
struct Options {
    /// Take the next argument as their value.
    valued: &'static [&'static str],
    /// The next argument names the program.
    program: &'static [&'static str],
    /// The next argument is the program itself: it has no name.
    inline: &'static [&'static str],
}

/// Options by interpreter, from their manual pages.
fn interpreter(executable: &str) -> Option<Options> {
    let name = executable.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    Some(match name {
        "python" | "pypy" => {
            Options { valued: &["-W", "-X", "-Q"], program: &["-m"], inline: &["-c"] }
        }
        "node" | "nodejs" | "bun" => Options {
            valued: &["-r", "--require", "--import", "-C", "--conditions", "--env-file"],
            program: &[],
            inline: &["-e", "--eval", "-p", "--print", "-pe"],
        },
        "ruby" => Options { valued: &["-I", "-r", "-C", "-E"], program: &[], inline: &["-e"] },
        "perl" => Options { valued: &["-I"], program: &[], inline: &["-e", "-E"] },
        "bash" | "sh" | "dash" | "zsh" => {
            Options { valued: &["-o", "+o", "-O"], program: &[], inline: &["-c"] }
        }
        "php" => Options { valued: &["-d", "-c"], program: &["-f"], inline: &["-r"] },
        "java" => Options {
            valued: &[
                "-cp",
                "-classpath",
                "--class-path",
                "-p",
                "--module-path",
                "--add-opens",
                "--add-modules",
            ],
            program: &["-jar", "-m", "--module"],
            inline: &[],
        },
        _ => return None,
    })
}

/// The first argument that is no option.
fn script(arguments: &[String], options: Options) -> Option<&str> {
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        let among = |list: &[&str]| list.contains(&argument);
        if among(options.inline) {
            return None;
        } else if among(options.valued) {
            arguments.next();
        } else if among(options.program) || argument == "--" {
            return arguments.next().map(file_name);
        } else if !argument.starts_with(['-', '+']) {
            return Some(file_name(argument));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_names() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str], Option<&str>)] = &[
            ("/usr/sbin/mysqld", &["mysqld", "--port=1"], Some("mysqld")),
            ("/usr/bin/python3.11", &["python3", "-u", "/srv/app/worker.py", "x"], Some("worker.py")),
            ("/usr/bin/python3.11", &["python3", "-X", "dev", "-m", "http.server"], Some("http.server")),
            ("/usr/bin/python3.11", &["python3", "-c", "import os"], Some("python3.11")),
            ("/usr/bin/python3.11", &["python3"], Some("python3.11")),
            ("/usr/bin/node", &["node", "--require", "./trace.js", "--max-old-space-size=1", "server.js"], Some("server.js")),
            ("/usr/bin/bash", &["bash", "-e", "/opt/run.sh"], Some("run.sh")),
            ("/usr/lib/jvm/java-17/bin/java", &["java", "-Xmx1g", "-cp", "a.jar", "org.example.Main"], Some("org.example.Main")),
            ("/usr/lib/jvm/java-17/bin/java", &["java", "-jar", "/opt/shop.jar"], Some("shop.jar")),
            ("", &["/bin/perl", "-I", "lib", "job.pl"], Some("job.pl")),
            ("", &[], None),
        ];
        for (executable, command, expected) in table {
            let command: Vec<String> = command.iter().map(|&c| c.to_owned()).collect();
            assert_eq!(
                service(executable, &command).as_deref(),
                *expected,
                "{executable} {command:?}"
            );
        }
    }

    #[test]
    fn the_own_process_is_known() {
        let fact = fact(std::process::id(), 3);
        assert!(fact.start_ticks > 0 && fact.image == 3);
        assert!(fact.executable.contains("lockprobe"), "{fact:?}");
        assert!(!fact.service.is_empty() && !fact.command.is_empty());
        let nobody = super::fact(u32::MAX, 0);
        assert_eq!((nobody.start_ticks, nobody.service.as_str()), (0, ""));
    }

    #[test]
    fn the_environment_names_the_service() {
        let mut child = std::process::Command::new("sleep")
            .arg("30")
            .env("OTEL_SERVICE_NAME", "shop\u{7}")
            .spawn()
            .unwrap();
        // Until exec is complete the environment is ours, or none.
        let mut got = fact(child.id(), 0);
        for _ in 0..200 {
            if got.service.starts_with("shop") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
            got = fact(child.id(), 0);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(got.service, "shop\u{fffd}");
    }
}
