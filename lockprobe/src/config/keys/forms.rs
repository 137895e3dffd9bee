//! What texts of the configuration must look like.

use crate::config::kind::Form;
use crate::select;

/// Longest text, bytes.
const TEXT_BYTES: usize = 4096;

const fn form(name: &'static str, check: fn(&str) -> Result<(), String>) -> Form {
    Form { name, check, pattern: None, secret: false }
}

/// Any text that can be printed.
pub static TEXT: Form = form("text", text);
/// A text that may hold `${env:NAME}`.
pub static TEMPLATE: Form = form("text", template);
/// A pattern for names.
pub static GLOB: Form = form("glob", |text| select::glob(text).map(drop));
/// A pattern for paths.
pub static PATH_GLOB: Form = form("glob", |text| select::path_glob(text).map(drop));
/// A regular expression.
pub static REGEX: Form = form("regular expression", |text| select::words(text).map(drop));
/// Where something answers.
pub static URL: Form = Form { pattern: Some("^https?://[^@]+$"), ..form("URL", url) };
/// Where to listen.
pub static LISTEN: Form =
    Form { pattern: Some(r"^(off|.+:[0-9]{1,5})$"), ..form("address and port, or `off`", listen) };
/// Where to keep files.
pub static DIRECTORY: Form =
    Form { pattern: Some("^(off|/.*)$"), ..form("absolute path, or `off`", directory) };
/// A port as a name.
pub static PORT: Form = Form { pattern: Some("^[0-9]{1,5}$"), ..form("port", port) };
/// A variable of an environment.
pub static VARIABLE: Form = Form { pattern: Some("^[^=]+$"), ..form("variable", variable) };
/// A label of a pod.
pub static LABEL: Form = form("label", text);
/// A header of a request.
pub static HEADER: Form =
    Form { pattern: Some("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"), ..form("header", header) };
/// What must not be shown.
pub static SECRET: Form = Form { secret: true, ..form("secret", secret) };

fn text(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("an empty text; leave the key out".into()),
        n if n > TEXT_BYTES => {
            Err(format!("a text of {n} bytes; {TEXT_BYTES} is the most there may be"))
        }
        _ if text.chars().any(char::is_control) => {
            Err("there are control characters in it; leave them out".into())
        }
        _ => Ok(()),
    }
}

fn template(said: &str) -> Result<(), String> {
    text(said)?;
    let mut rest = said;
    while let Some((_, behind)) = rest.split_once("${") {
        let inside =
            behind.split_once('}').map(|(inside, rest)| (inside.strip_prefix("env:"), rest));
        let Some((Some(name), after)) = inside else {
            return Err(format!(
                "`{said}`: after `${{` comes `env:NAME}}`, like ${{env:AGENT_NAME}}"
            ));
        };
        variable(name)?;
        rest = after;
    }
    Ok(())
}

fn url(said: &str) -> Result<(), String> {
    const FORM: &str = "write it like http://127.0.0.1:4317";
    if said.contains('@') {
        // Not repeated: it holds a password.
        return Err(format!("there is a user name in it; {FORM}, and credentials as headers"));
    }
    text(said)?;
    let rest = said.strip_prefix("http://").or_else(|| said.strip_prefix("https://"));
    let host = rest.unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
    match rest {
        None => Err(format!("`{said}` has no http:// or https:// in front; {FORM}")),
        Some(_) if host.is_empty() || host.starts_with(':') => {
            Err(format!("`{said}` names no host; {FORM}"))
        }
        Some(rest) if rest.contains(char::is_whitespace) => {
            Err(format!("`{said}` has blanks in it; {FORM}"))
        }
        Some(_) => Ok(()),
    }
}

fn listen(said: &str) -> Result<(), String> {
    let example = "write it like 127.0.0.1:9464 or [::1]:9464, or `off`";
    if said == "off" || said.parse::<std::net::SocketAddr>().is_ok() {
        return Ok(());
    }
    Err(format!("`{said}` is no address with a port; {example}"))
}

fn directory(said: &str) -> Result<(), String> {
    text(said)?;
    match said == "off" || said.starts_with('/') {
        true => Ok(()),
        false => {
            Err(format!("`{said}` is no absolute path; write it like /var/lib/lockprobe, or `off`"))
        }
    }
}

fn port(said: &str) -> Result<(), String> {
    let digits = said.bytes().all(|b| b.is_ascii_digit());
    match said.parse::<u16>() {
        Ok(port) if port > 0 && digits => Ok(()),
        _ => Err(format!("`{said}` is no port; ports are numbers from 1 to 65535")),
    }
}

fn variable(said: &str) -> Result<(), String> {
    text(said)?;
    match said.contains('=') {
        true => Err(format!("`{said}` is no name of a variable; there is a `=` in it")),
        false => Ok(()),
    }
}

/// RFC 9110, 5.6.2: a token.
fn header(said: &str) -> Result<(), String> {
    text(said)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match said.bytes().all(token) {
        true => Ok(()),
        false => Err(format!("`{said}` is no name of a header; letters, digits and - are")),
    }
}

fn secret(said: &str) -> Result<(), String> {
    match said.len() {
        n if n > TEXT_BYTES => {
            Err(format!("a text of {n} bytes; {TEXT_BYTES} is the most there may be"))
        }
        _ if said.chars().any(|c| c.is_control() || !c.is_ascii()) => {
            Err("there are characters in it that no header may have; printable ASCII may".into())
        }
        _ => Ok(()),
    }
}
