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
        /// Write sound input of every decoder below this folder, and do nothing else.
        #[arg(long)]
        seeds: Option<std::path::PathBuf>,
    },
    /// A process killed again and again.
    Crash {
        /// Processes killed at random moments.
        #[arg(long, default_value_t = 1_000)]
        kills: u32,
        /// Kills at each named point in each mode; 0: one of each point.
        #[arg(long, default_value_t = 3)]
        each: u32,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// The process that is killed.
    #[command(hide = true)]
    Child {
        path: std::path::PathBuf,
        #[arg(long)]
        mode: kill::Mode,
        #[arg(long)]
        story: kill::Story,
        #[arg(long)]
        history: bool,
        /// Tell how often it came to each named point.
        #[arg(long)]
        count: bool,
        /// Kill itself at this point.
        #[arg(long, requires = "nth")]
        at: Option<String>,
        /// When it is there for the so-many-th time.
        #[arg(long)]
        nth: Option<u32>,
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
        Program::Fuzz { seeds: Some(to), .. } => {
            return match fuzz::write_seeds(&to) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            };
        }
        Program::Fuzz { inputs, seed, seeds: None } => fuzz::run(inputs, seed),
        Program::Crash { kills, each, seed } => kill::run(kills, each, seed),
        Program::Child { path, mode, story, history, count, at, nth } => {
            let point = at.as_deref().and_then(kill::point);
            let doom = match (point, nth) {
                (Some(point), Some(nth)) => kill::Doom::At(point, nth),
                _ if count => kill::Doom::Count,
                _ => kill::Doom::None,
            };
            let scene = kill::Scene { path, mode, history, story };
            return match kill::child(&scene, doom) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            };
        }
        Program::Faults { stride, first } => faults::run(stride.max(1), first),
    };
    let mut holds = true;
    for finding in findings {
        holds &= finding.holds();
        match serde_json::to_string(&finding) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("in-mem-sim: {error}"),
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
