//! What a process calls itself: the script of an interpreter, else the executable.

/// The script of an interpreter, else the executable.
pub fn service(executable: &str, command: &[String]) -> Option<String> {
    let own = file_name(executable);
    let own = if own.is_empty() {
        command.first().map(|c| file_name(c)).unwrap_or_default()
    } else {
        own
    };
    let script = interpreter(own).and_then(|options| script(command.get(1..)?, options));
    script.or(Some(own)).filter(|n| !n.is_empty()).map(str::to_owned)
}

pub fn file_name(path: &str) -> &str {
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
}
