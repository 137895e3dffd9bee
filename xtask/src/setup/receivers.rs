//! Receivers of telemetry, at fixed versions, for the live tests: in `target/receivers`.

use std::fs;

use anyhow::Result;

use super::clients::virtual_environment;
use crate::shell;

/// The official protobufs of OTLP.
const OFFICIAL: (&str, &str) = ("official", "requirements.txt");
/// A trace store with a page; 850 MB, so only where it is asked for.
const PHOENIX: (&str, &str) = ("phoenix", "phoenix.txt");

/// Installs the small one if it is not there. Only live tests need it, so that what hinders it is
/// said and nothing else fails.
pub fn install(installed: &mut Vec<String>) -> Result<()> {
    match make(OFFICIAL) {
        Ok(true) => installed.push("the official protobufs of OTLP".to_owned()),
        Ok(false) => {}
        Err(error) => println!("setup: no receiver of telemetry: {error:#}"),
    }
    Ok(())
}

/// Installs the large one, which a test needs that is run by itself.
pub fn install_store() -> Result<()> {
    make(PHOENIX).map(drop)
}

/// Whether it had to be made.
fn make((name, list): (&str, &str)) -> Result<bool> {
    let list = shell::workspace().join("tests").join("receivers").join(list);
    let home = shell::target()?.join("receivers");
    fs::create_dir_all(&home)?;
    let mark = home.join(format!("{name}.installed"));
    let wanted = fs::read_to_string(&list)?;
    if fs::read_to_string(&mark).is_ok_and(|made| made == wanted) {
        return Ok(false);
    }
    println!("setup: the receiver of telemetry `{name}` is missing (live tests send to it)");
    virtual_environment(&home.join(name), &list)?;
    fs::write(&mark, wanted)?;
    Ok(true)
}
