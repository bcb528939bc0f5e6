//! Runs one of the programs; one JSON object a line. `cargo xtask` is what people use.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use in_mem_sim::finding::Finding;
use in_mem_sim::{corrupt, crash, faults, fuzz, kill};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// Crashes of the whole engine on a simulated disk.
    Sim {
        #[arg(long, default_value_t = 20_000)]
        images: u64,
        #[arg(long, default_value_t = 1)]
        first_seed: u64,
        #[arg(long)]
        seed: Option<u64>,
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Stops at the first violation.
        #[arg(long)]
        first: bool,
    },
    /// Files damaged bit by bit, cut, mixed up.
    Corrupt {
        /// Only every so-many-th bit, byte and sector.
        #[arg(long, default_value_t = 1)]
        stride: usize,
    },
    /// Hostile bytes for every decoder.
    Fuzz {
        #[arg(long, default_value_t = 200_000)]
        inputs: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// A process killed again and again.
    Crash {
        #[arg(long, default_value_t = 1_000)]
        kills: u32,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// The process that is killed.
    #[command(hide = true)]
    Child {
        path: std::path::PathBuf,
        #[arg(long)]
        strict: bool,
    },
    /// Every operation of a scripted workload fails in turn.
    Faults {
        /// Only every so-many-th operation.
        #[arg(long, default_value_t = 1)]
        stride: usize,
        /// Stops at the first violation.
        #[arg(long)]
        first: bool,
    },
}

fn main() -> ExitCode {
    let findings: Vec<Finding> = match Cli::parse().program {
        Program::Sim { images, first_seed, seed, threads, first } => {
            crash::run(&crash::Plan { images, first_seed, only: seed, threads, first })
        }
        Program::Corrupt { stride } => corrupt::run(stride.max(1)),
        Program::Fuzz { inputs, seed } => fuzz::run(inputs, seed),
        Program::Crash { kills, seed } => kill::run(kills, seed),
        Program::Child { path, strict } => {
            let Err(error) = kill::child(&path, strict);
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
        Program::Faults { stride, first } => faults::run(stride.max(1), first),
    };
    let mut holds = true;
    for finding in findings {
        holds &= finding.at_most.is_none_or(|most| finding.value <= most);
        match serde_json::to_string(&finding) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("in-mem-sim: {error}"),
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
