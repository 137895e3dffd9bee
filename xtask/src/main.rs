//! The chores of the workspace, run as `cargo xtask COMMAND`.

mod bench;
mod build;
mod deny;
mod deploy;
mod fingerprint;
mod foreign;
mod fuzz;
mod generate;
mod object;
mod setup;
mod shell;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
usage: cargo xtask COMMAND

  setup               install what building and testing needs and is missing
  build [--debug]     build the eBPF object and target/release/lockprobe
  test [--fast]       everything CI checks; --fast leaves out the tests that need root
  test --receivers    the trace store alone that telemetry is sent to (needs root, 850 MB)
  bench [--quick]     measure what lockprobe costs (needs root); --rounds N, --only NAME
  fuzz [TARGET]       every parser on made-up bytes; --seconds N for each (60)
  demo [SCENARIO]     build, then run a demonstration (needs root)
  vm [KERNEL|ci]      live tests on Debian's kernels, 5.10 to 7, under emulation (needs root)
  tidy                check the house rules that CONTRIBUTING.md lists
  deny                check licences, sources and yanked versions of all dependencies
  check-deploy        check everything below deploy/; --write makes what is made from it first
  package [--built]   make the Debian package in target/package, of the build that is there if asked;
                      --tree FOLDER only lays out its files, for images
  check-aarch64       check that the agent compiles for the other processor
  generate [--check]  write man page, completions and record schema into docs/
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] | ["-h" | "--help" | "help", ..] | [_, "-h" | "--help", ..] => print!("{HELP}"),
        ["setup"] => setup::run()?,
        // Always an optimised build; the flag is taken for those who type it out of habit.
        ["build", "--debug"] => {
            setup::for_build()?;
            build::debug()?;
        }
        ["build"] | ["build", "--release"] => {
            setup::for_build()?;
            build::run()?;
        }
        ["test"] => test::run(false),
        ["test", "--fast"] => test::run(true),
        ["test", "--receivers"] => test::receivers()?,
        ["fuzz", rest @ ..] => fuzz::run(rest)?,
        ["bench", rest @ ..] => bench::run(rest)?,
        ["demo", rest @ ..] => {
            setup::run()?;
            build::run()?;
            build::demo(rest)?;
        }
        ["vm", rest @ ..] => vm::run(rest)?,
        ["tidy"] => tidy::run()?,
        ["deny"] => deny::run()?,
        ["check-deploy"] => deploy::run(false)?,
        ["check-deploy", "--write"] => deploy::run(true)?,
        ["package"] => {
            build::run()?;
            deploy::package::run()?;
        }
        ["package", "--built"] => deploy::package::run()?,
        ["package", "--tree", folder] => deploy::package::stage(folder.as_ref())?,
        ["check-aarch64"] => foreign::run()?,
        ["generate"] => {
            build::run()?;
            generate::write()?;
        }
        ["generate", "--check"] => {
            build::run()?;
            generate::check()?;
        }
        other => bail!("unknown command `{}`\n\n{HELP}", other.join(" ")),
    }
    Ok(())
}
