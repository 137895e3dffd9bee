//! Looks at files of this very process, of children, and of nobody.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

fn root() -> (u32, u64) {
    (0, std::fs::metadata("/").unwrap().ino())
}

/// A look at a path by this thread.
fn look(directory: &Path, name: &str) -> LockFileFact {
    let pid = std::process::id();
    let thread = ThreadId { pid, tid: pid };
    let directory = directory.to_str().unwrap();
    LockFiles::new().look(Asked { thread, root: root(), directory, name })
}

fn says(directory: &Path, name: &str) -> Option<(u32, u32, NamedState)> {
    let said = look(directory, name).found?.says?;
    Some((said.pid, said.host_pid, said.state))
}

/// A directory where files are believed; none where the machine has only others.
fn local() -> Option<tempfile::TempDir> {
    let directory = tempfile::tempdir().unwrap();
    let about = rustix::fs::statfs(directory.path()).unwrap();
    LOCAL.contains(&(about.f_type as u64 & 0xffff_ffff)).then_some(directory)
}

fn sleeper() -> Child {
    Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn two_ways_to_a_directory_are_one() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("real");
    std::fs::create_dir(&real).unwrap();
    let link = directory.path().join("link");
    symlink("real", &link).unwrap();
    std::fs::write(real.join("x.lock"), "").unwrap();
    let straight = look(&real, "x.lock");
    assert!(straight.at.is_some() && straight.found.is_some(), "{straight:?}");
    for way in [&link, &real.join("../link"), &real.join(".")] {
        let fact = look(way, "x.lock");
        assert_eq!((fact.at, &fact.path), (straight.at, &straight.path), "{way:?}");
    }
    assert_eq!(straight.path.as_deref(), std::fs::canonicalize(&real).unwrap().to_str());
    assert_eq!(look(&real, "none.lock").found, None);
    assert_eq!(look(&directory.path().join("nowhere"), "x").at, None);
    let of_nobody = |root| {
        let (thread, directory) = (ThreadId { pid: u32::MAX, tid: 1 }, "/");
        LockFiles::new().look(Asked { thread, root, directory, name: "x" }).at
    };
    assert_eq!(of_nobody(root()), None);
    let about = std::fs::metadata("/").unwrap();
    let device = libc::major(about.dev()) << 20 | libc::minor(about.dev());
    assert_eq!(of_nobody((device, about.ino())), Some((about.dev(), about.ino())));
}

#[test]
fn a_file_says_who_has_it_and_whether_that_one_is_there() {
    let Some(directory) = local() else { return };
    let at = directory.path();
    let mut child = sleeper();
    let pid = child.id();
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| std::fs::write(at.join(name), text).unwrap();
    write("plain", &format!("{pid:>10}\n"));
    write("host", &format!("{pid}\n{host}\n1\n"));
    write("other", &format!("{pid}\nnot-{host}\n"));
    write("words", "somebody\n");
    write("empty", "");
    symlink(format!("me@{host}.{pid}:7"), at.join("link.lock")).unwrap();
    std::fs::create_dir(at.join("directory")).unwrap();
    write("directory/pid", &pid.to_string());
    for name in ["plain", "host", "link.lock", "directory"] {
        assert_eq!(says(at, name), Some((pid, pid, NamedState::There)), "{name}");
    }
    assert_eq!(says(at, "other"), Some((pid, 0, NamedState::Unknown)));
    assert_eq!((says(at, "words"), says(at, "empty")), (None, None));
    child.kill().unwrap();
    // Until it is reaped it is a zombie: it can do nothing any more.
    let ended = || says(at, "plain") == Some((pid, 0, NamedState::Gone));
    let patience = std::time::Instant::now();
    while !ended() {
        assert!(patience.elapsed() < Duration::from_secs(10), "{:?}", says(at, "plain"));
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait().unwrap();
    assert_eq!(says(at, "host"), Some((pid, 0, NamedState::Gone)));
    assert_eq!(says(at, "other"), Some((pid, 0, NamedState::Unknown)));
}

#[test]
fn a_process_that_began_after_the_file_was_written_did_not_write_it() {
    let Some(directory) = local() else { return };
    let mut child = sleeper();
    let path = directory.path().join("x.pid");
    std::fs::write(&path, child.id().to_string()).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let age =
        |seconds| file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    let state = || says(directory.path(), "x.pid").map(|(_, _, state)| state);
    assert_eq!(state(), Some(NamedState::There));
    // A clock that was set in between makes the same picture.
    age(20);
    assert_eq!(state(), Some(NamedState::Unknown));
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    if up > 200 {
        age(120);
        assert_eq!(state(), Some(NamedState::Gone));
    }
    // Before the machine began.
    age(up as u64 + 3600);
    assert_eq!(state(), Some(NamedState::Unknown));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn nothing_but_a_small_regular_file_is_read() {
    let Some(directory) = local() else { return };
    let at = directory.path();
    let own = std::process::id();
    // Opening it would wait for a writer.
    let fifo = std::ffi::CString::new(at.join("fifo.lock").to_str().unwrap()).unwrap();
    let made = Command::new("mkfifo").arg(fifo.to_str().unwrap()).status().unwrap();
    assert!(made.success());
    assert!(look(at, "fifo.lock").found.is_some_and(|found| found.says.is_none()));
    symlink(format!("/proc/{own}/stat"), at.join("proc.lock")).unwrap();
    assert_eq!(says(at, "proc.lock"), None);
    std::fs::create_dir(at.join("d")).unwrap();
    symlink("/proc/sys/kernel/random/uuid", at.join("d/pid")).unwrap();
    assert_eq!(says(at, "d"), None);
    std::fs::write(at.join("long"), format!("{}{own}\n", " ".repeat(1 << 20))).unwrap();
    assert_eq!(says(at, "long"), None);
    assert_eq!(look(at, "..").found, None, "no way out of the directory");
}
