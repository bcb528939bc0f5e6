//! `peers`: other engines, side by side. They are built in a workspace of their own, with their C libraries.

use std::process::{Command, Stdio};

use crate::Error;
use crate::report::{Figure, Report};
use crate::shell;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Tiny sizes: that everything runs.
    #[arg(long)]
    smoke: bool,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Error> {
    let mut command: Command =
        shell::cargo(&["run", "--quiet", "--release", "--manifest-path", "peers/Cargo.toml"]);
    command.env("CARGO_TARGET_DIR", "target/peers").stderr(Stdio::inherit());
    if arguments.smoke {
        command.args(["--", "--smoke"]);
    }
    let output = command.output()?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let measured: Measured = serde_json::from_str(line)?;
        report.add(Figure::shown(measured.name, measured.value, "ns"));
    }
    report.add(Figure::check("peers.measured", output.status.success()));
    Ok(())
}

#[derive(Debug, serde::Deserialize)]
struct Measured {
    name: String,
    value: f64,
}
