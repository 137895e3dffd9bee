//! The `lockprobe` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockprobe::cli::main()
}
