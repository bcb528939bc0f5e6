//! What each command does: opens the database, asks it, shows the answer.

mod at;
mod bundle;
mod care;
mod changes;
mod demo;
mod diff;
mod events;
mod failure;
mod find;
mod fork;
mod history;
mod import;
mod kv;
mod log;
mod open;
mod prune;
mod replay;
mod runs;
mod show;
mod stats;
mod store;
mod verify;

use std::{
    io::{self, Write},
    process::ExitCode,
};

pub use failure::Failure;
pub use store::{Stored, run_id, store};

use crate::{
    args::{Cli, Command, Common, FormatArg},
    render::{JsonLines, Screen, text},
};

/// Runs the command and says on standard error what went wrong. The exit code is 0 where it did what it was asked, 1 where
/// it could not, 2 where it was asked wrongly, 3 where a salvage saved what there was to save and something is lost.
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
        Command::Import(args) => match args.format {
            FormatArg::Bundle => bundle::import(args, common),
            FormatArg::Traces(_) if args.new_ids => Err(Failure::Usage(
                "--new-ids is for bundles: the id of what another tool recorded comes from its content"
                    .into(),
            )),
            FormatArg::Traces(format) if args.dry_run => import::dry_run(args, format, common),
            FormatArg::Traces(format) => import::import(args, format, common),
        },
        Command::Demo(args) => demo::demo(args, common),
        Command::DemoAgent(args) => demo::agent(args, common),
        Command::Runs(args) => runs::runs(args, common),
        Command::Show(args) => show::show(args, common),
        Command::Get(args) => kv::get(args, common),
        Command::Put(args) => kv::put(args, common),
        Command::Events(args) => events::events(args, common),
        Command::Log(args) => log::log(args, common),
        Command::Replay(args) => replay::replay(args, common),
        Command::At(args) => at::at(args, common),
        Command::Fork(args) => fork::fork(args, common),
        Command::Diff(args) => diff::diff(args, common),
        Command::Verify(args) => verify::verify(args, common),
        Command::Export(args) => bundle::export(args, common),
        Command::Prune(args) => prune::prune(args, common),
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
