//! The `in-mem` command.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use in_mem_cli::{args::Cli, commands};

fn main() -> ExitCode {
    // `IN_MEM_DB` counts as an argument to clap, which would then only say that a command is missing.
    if std::env::args_os().len() < 2 {
        eprintln!("{}", Cli::command().render_long_help());
        return ExitCode::from(2);
    }
    commands::main(&Cli::parse())
}
