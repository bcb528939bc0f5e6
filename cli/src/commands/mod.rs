//! What each command does: opens the database, asks it, shows the answer.

mod care;
mod demo;
mod events;
mod failure;
mod find;
mod import;
mod kv;
mod open;
mod runs;
mod show;
mod stats;
mod store;

use std::{
    io::{self, Write},
    process::ExitCode,
};

pub use failure::Failure;
pub use store::{Stored, run_id, store};

use crate::{
    args::{Cli, Command, Common},
    render::{JsonLines, Screen, text},
};

/// Runs the command and says on standard error what went wrong. The exit code is 0 where it did what it was asked, 1 where
/// it could not, 2 where it was asked wrongly.
pub fn main(cli: &Cli) -> ExitCode {
    match run(cli) {
        Ok(code) => code,
        // Whoever read the output has seen enough: `in-mem ... | head` is no failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("in-mem: {}", text::one_line(&failure.to_string()));
            failure.exit_code()
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let common = &cli.common;
    match &cli.command {
        Command::Import(args) if args.dry_run => import::dry_run(args, common),
        Command::Import(args) => import::import(args, common),
        Command::Demo(args) => demo::demo(args, common),
        Command::DemoAgent(args) => demo::agent(args, common),
        Command::Runs(args) => runs::runs(args, common),
        Command::Show(args) => show::show(args, common),
        Command::Get(args) => kv::get(args, common),
        Command::Put(args) => kv::put(args, common),
        Command::Events(args) => events::events(args, common),
        Command::Check => care::check(common),
        Command::Salvage(args) => care::salvage(args, common),
        Command::Backup(args) => care::backup(args, common),
        Command::Stats(args) => stats::stats(args, common),
    }
}

/// Prints text on standard output, or one JSON object for `--json`.
fn print(
    common: &Common,
    json: impl FnOnce() -> serde_json::Value,
    text: impl FnOnce(&Screen) -> String,
) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if common.json {
        let mut lines = JsonLines::new(&mut out);
        lines.write(&json())?;
        lines.finish()?;
    } else {
        out.write_all(text(&Screen::stdout(common.color)).as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

/// Says something on standard error that is no failure.
fn note(words: &str) {
    eprintln!("note: {}", text::one_line(words));
}
