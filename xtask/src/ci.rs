//! `ci`: everything that has to hold before a change is taken in. `.ci/run` calls it.

use std::process::Command;

use crate::Error;
use crate::report::{Figure, Report};
use crate::shell;

/// The README's own test command.
pub(crate) const TEST_COMMAND: &str = "cargo test --workspace";
/// The README's own way to see the whole at work.
pub(crate) const DEMO_COMMAND: &str = "cargo run --release -- demo";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only steps whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// The steps, cheap ones first.
fn steps() -> Result<Vec<(&'static str, Command)>, Error> {
    let itself = std::env::current_exe()?;
    let xtask = |arguments: &[&str]| {
        let mut command = Command::new(&itself);
        command.args(arguments);
        command
    };
    let mut docs = shell::cargo(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    let test: Vec<&str> = TEST_COMMAND.split(' ').skip(1).collect();
    let demo: Vec<&str> = DEMO_COMMAND.split(' ').skip(1).collect();
    Ok(vec![
        ("format", shell::cargo(&["fmt", "--all", "--check"])),
        ("tidy", xtask(&["tidy"])),
        ("clippy", shell::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        ("docs", docs),
        ("test", shell::cargo(&test)),
        ("loom", xtask(&["loom", "--preemptions", "2"])),
        ("sim", xtask(&["sim"])),
        ("sim-faults", xtask(&["sim", "--faults"])),
        ("crash", xtask(&["crash", "--smoke"])),
        ("corrupt", xtask(&["corrupt", "--smoke"])),
        ("fuzz", xtask(&["fuzz", "--smoke"])),
        ("gates", xtask(&["gates", "--smoke"])),
        ("demo", shell::cargo(&demo)),
    ])
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Error> {
    for (name, mut command) in steps()? {
        if arguments.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let outcome = shell::run(&mut command)?;
        if !outcome.succeeded {
            eprintln!("---- {name}\n{}", outcome.output);
        }
        let note = format!("{:.0} s", outcome.seconds);
        report.add(Figure::check(format!("ci.{name}"), outcome.succeeded).note(note));
    }
    Ok(())
}
