//! The repository's repeatable commands. Each prints a table, or with `--json` one object a line, and fails where
//! something falls short.

mod asan;
mod ci;
mod coverage;
mod gates;
mod guided;
mod loom;
mod peers;
mod picture;
mod report;
mod shell;
mod sim;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use report::Report;

/// Why a command could not be carried out.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Repeatable commands of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// One JSON object a line instead of a table: name, value, unit, limit, pass.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything that has to hold before a change is taken in.
    Ci(ci::Arguments),
    /// Performance, beside baselines in the same run.
    Gates(gates::Arguments),
    /// Other engines, side by side.
    Peers(peers::Arguments),
    /// The picture in the guide, of two trials of one task as a terminal shows them.
    Picture(picture::Arguments),
    /// The models of the commit paths, in every order of their steps; or planted bugs, which they have to find.
    Loom(loom::Arguments),
    /// The whole engine on a simulated disk: power cuts, failing operations, planted bugs.
    Sim(sim::Sim),
    /// A process on a real disk, killed again and again.
    Crash(sim::Crash),
    /// Files damaged bit by bit.
    Corrupt(sim::Corrupt),
    /// Hostile bytes for every decoder; changed at random, or guided by what they reach.
    Fuzz(sim::Fuzz),
    /// The stress tests under AddressSanitizer. Needs a nightly toolchain.
    Asan,
    /// How many lines the tests run.
    Coverage,
    /// The conventions that are checked rather than told.
    Tidy,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = shell::enter_root() {
        eprintln!("xtask: {error}");
        return ExitCode::FAILURE;
    }
    let mut report = Report::new(cli.json);
    let outcome = match &cli.command {
        Command::Ci(arguments) => ci::run(arguments, &mut report),
        Command::Gates(arguments) => gates::run(arguments, &mut report),
        Command::Peers(arguments) => peers::run(arguments, &mut report),
        Command::Picture(arguments) => picture::run(arguments, &mut report),
        Command::Loom(arguments) => loom::run(arguments, &mut report),
        Command::Sim(arguments) => sim::sim(arguments, &mut report),
        Command::Crash(arguments) => sim::crash(arguments, &mut report),
        Command::Corrupt(arguments) => sim::corrupt(arguments, &mut report),
        Command::Fuzz(arguments) => sim::fuzz(arguments, &mut report),
        Command::Asan => asan::run(&mut report),
        Command::Coverage => coverage::run(&mut report),
        Command::Tidy => tidy::run(&mut report),
    };
    let all_hold = report.finish();
    match outcome {
        Ok(()) if all_hold => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
