//! The command line: one thin file a subcommand.
//!
//! In: arguments. Out: an exit status, one line for an error. Never: work that a room does.

pub mod args;
mod bench;
mod bench_graph;
mod bench_metrics;
mod bench_talk;
mod command;
mod deadlocks;
mod demo;
mod doctor;
mod generate;
mod generate_signals;
mod look;
mod pages;
mod record;
mod replay;
mod run;
mod snapshot;
mod status;
mod trace;

use std::process::ExitCode;

use clap::FromArgMatches;

pub use command::definition;
use command::{Cli, Command};

/// Runs the command line and returns its exit status.
pub fn main() -> ExitCode {
    let matches = definition().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Trace(args) => trace::main(&args),
        Command::Record(args) => record::main(&args),
        Command::Replay(args) => replay::main(&args),
        Command::Snapshot(args) => snapshot::main(&args),
        Command::Deadlocks(args) => deadlocks::main(&args),
        Command::Doctor(args) => doctor::main(&args),
        Command::Demo(args) => demo::main(&args),
        Command::Generate(args) => generate::main(&args),
        Command::Bench(args) if args.graph => bench_graph::main(),
        Command::Bench(args) if args.metrics => bench_metrics::main(),
        Command::Bench(args) if args.talk => bench_talk::main(),
        Command::Bench(args) => bench::main(&args),
        Command::DemoWorkload { scenario } => demo::workload(scenario),
        Command::ExecWhenTold { command } => {
            let status = crate::source::live::command::trampoline(&command);
            Ok(u8::try_from(status).unwrap_or(1))
        }
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => status::report(&error),
    }
}
