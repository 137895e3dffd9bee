//! How programs write into a lock file who they are (pure).

/// Largest process id there can be (PID_MAX_LIMIT, include/linux/threads.h).
const LARGEST: u32 = 1 << 22;

/// Whom a lock file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The process, as its own namespace numbers it.
    pub pid: u32,
    /// Its host, where it says that.
    pub host: Option<String>,
}

impl Words {
    /// What a file says: a decimal number alone or padded with blanks (HDB UUCP, `%10d\n`), in the
    /// first of several lines, or with a host behind it (`pid:host`, or the host in the second
    /// line, as `filelock` for Python has it).
    pub fn of_file(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.trim_matches(|c: char| c == '\0' || c.is_ascii_whitespace());
        let mut lines = text.lines().map(str::trim);
        let first = lines.next()?;
        let (number, rest) = match first.split_once(':') {
            Some((number, rest)) => (number.trim_end(), Some(rest)),
            None => (first, None),
        };
        let pid = pid(number)?;
        // A second line may be anything: a path (as PostgreSQL has it), a number, a host.
        let other = |line: &str| line.starts_with('/') || line.parse::<f64>().is_ok();
        let second = lines.next().filter(|line| !line.is_empty() && !other(line));
        Some(Self { pid, host: rest.or(second).map(|host| host.trim().to_owned()) })
    }

    /// What a symbolic link says: `user@host.pid:boot` (GNU Emacs) or `host-pid` (Chromium).
    pub fn of_link(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (host, number) = match text.split_once('@') {
            Some((_, rest)) => rest.split(':').next()?.rsplit_once('.')?,
            None => text.rsplit_once('-')?,
        };
        let host = (!host.is_empty() && !host.contains('/')).then(|| host.to_owned())?;
        Some(Self { pid: pid(number)?, host: Some(host) })
    }
}

fn pid(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&pid| digits && pid > 0 && pid <= LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written, and whom it names, with its host.
    type Row<'a, Host> = (&'a [u8], Option<(u32, Host)>);

    #[test]
    fn processes_are_read_in_every_form() {
        let table: &[Row<'_, Option<&str>>] = &[
            (b"4711", Some((4711, None))),
            (b"4711\n", Some((4711, None))),
            (b"      4711\n", Some((4711, None))),
            (b"4711\0\0\0\0", Some((4711, None))),
            (b"4711\nbox\n1763720000.5\n", Some((4711, Some("box")))),
            (b"4711\nbox", Some((4711, Some("box")))),
            (b"4711:box.example.org\n", Some((4711, Some("box.example.org")))),
            (b"4711\n/var/lib/postgresql/15/main\n1763720000\n5432\n", Some((4711, None))),
            (b"4711\n1763720000\n", Some((4711, None))),
            (b"00004711\n", Some((4711, None))),
            (b"0", None),
            (b"-4711", None),
            (b"+4711", None),
            (b"4711 box", None),
            (b"99999999", None),
            (b"000000000004711", None),
            (b"", None),
            (b"\n\n", None),
            (b"\xff\xfe4711", None),
            (b"# a comment\n4711\n", None),
        ];
        for &(bytes, expected) in table {
            let words = Words::of_file(bytes);
            let told = words.as_ref().map(|words| (words.pid, words.host.as_deref()));
            assert_eq!(told, expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn links_name_a_host_and_a_process() {
        let table: &[Row<'_, &str>] = &[
            (b"ada@box.example.org.4711:1763720000", Some((4711, "box.example.org"))),
            (b"ada@box.4711", Some((4711, "box"))),
            (b"my-box-4711", Some((4711, "my-box"))),
            (b"/var/run/x-4711", None),
            (b"-4711", None),
            (b"target", None),
            (b"ada@", None),
        ];
        for &(bytes, expected) in table {
            let words = Words::of_link(bytes);
            let told = words.as_ref().and_then(|w| Some((w.pid, w.host.as_deref()?)));
            assert_eq!(told, expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
