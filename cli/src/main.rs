//! The `in-mem` command.

use std::process::ExitCode;

use clap::Parser;
use in_mem_cli::{args::Cli, commands};

fn main() -> ExitCode {
    commands::main(&Cli::parse())
}
