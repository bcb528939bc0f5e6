//! `sim`, `crash`, `corrupt`, `fuzz`: the programs of `sim/`, built and run; and the planted bugs that they have to find.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::Error;
use crate::report::{Figure, Limit, Report};
use crate::shell;

const PACKAGE: &str = "in-mem-sim";
/// What `--smoke` takes: images, every so-many-th fault, every so-many-th bit, kills.
const SMOKE_IMAGES: u64 = 2_000;
const SMOKE_FAULT_STRIDE: usize = 5;
const SMOKE_CORRUPT_STRIDE: usize = 997;
const SMOKE_KILLS: u32 = 30;
const SMOKE_INPUTS: u64 = 40_000;
/// What a planted bug has to be found within: images, every so-many-th bit.
const MUTANT_IMAGES: u64 = 12_000;
const MUTANT_CORRUPT_STRIDE: usize = 499;
/// Only so that a program that spins for ever does not hold up the rest: it counts as one that found nothing.
const MUTANT_LIMIT_S: u64 = 3_600;
const MUTANTS: &str = "xtask/sim-mutants.toml";

#[derive(Debug, clap::Args)]
pub(crate) struct Sim {
    /// Every operation of a scripted workload fails in turn, instead of power cuts at random.
    #[arg(long, conflicts_with = "mutants")]
    faults: bool,
    /// Plants each bug of the table in turn; one of the programs has to find it.
    #[arg(long)]
    mutants: bool,
    /// Only bugs whose name contains this.
    #[arg(long, value_name = "NAME", requires = "mutants")]
    only: Option<String>,
    /// Images to check, each seed's twice.
    #[arg(long, default_value_t = 20_000)]
    images: u64,
    /// Only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Little of everything.
    #[arg(long)]
    smoke: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Crash {
    /// Processes to kill at random moments.
    #[arg(long, default_value_t = 1_000)]
    kills: u32,
    /// Processes to kill at each named point, in each mode that comes there.
    #[arg(long, default_value_t = 3)]
    each: u32,
    /// The seed of the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Few.
    #[arg(long)]
    smoke: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Corrupt {
    /// Only some of the bits, lengths and sectors.
    #[arg(long)]
    smoke: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Fuzz {
    /// Inputs to each decoder; those that take a whole database get fewer.
    #[arg(long, default_value_t = 2_000_000)]
    inputs: u64,
    /// The seed of the changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Few.
    #[arg(long)]
    smoke: bool,
    /// Guided by what the inputs reach, instead of changed at random. Needs a nightly toolchain and a C++ compiler.
    #[arg(long, conflicts_with_all = ["inputs", "seed", "smoke"])]
    guided: bool,
    /// Seconds for each decoder.
    #[arg(long, default_value_t = 60, requires = "guided")]
    seconds: u64,
    /// Only decoders whose name contains this; may be given several times.
    #[arg(long, value_name = "TARGET", requires = "guided")]
    only: Vec<String>,
}

/// A line of the program.
#[derive(Debug, Deserialize)]
struct Finding {
    name: String,
    value: f64,
    at_most: Option<f64>,
    at_least: Option<f64>,
    unit: String,
    note: String,
}

impl From<Finding> for Figure {
    fn from(found: Finding) -> Self {
        // The report's units live as long as the program; there are few.
        let unit: &'static str = match found.unit.as_str() {
            "images" => "images",
            "images/s" => "images/s",
            "violations" => "violations",
            "kills" => "kills",
            "faults" => "faults",
            "damages" => "damages",
            "commits" => "commits",
            "sites" => "sites",
            "inputs" => "inputs",
            "bytes" => "bytes",
            "openings" => "openings",
            "backups" => "backups",
            "scenes" => "scenes",
            _ => "count",
        };
        let limit = found.at_most.map(Limit::AtMost).or(found.at_least.map(Limit::AtLeast));
        let figure = match limit {
            Some(limit) => Figure::limited(found.name, found.value, unit, limit),
            None => Figure::shown(found.name, found.value, unit),
        };
        figure.note(found.note)
    }
}

pub(crate) fn sim(arguments: &Sim, report: &mut Report) -> Result<(), Error> {
    if arguments.mutants {
        return mutants(arguments, report);
    }
    let strings: Vec<String> = if arguments.faults {
        let stride = if arguments.smoke { SMOKE_FAULT_STRIDE } else { 1 };
        vec!["faults".to_owned(), format!("--stride={stride}")]
    } else {
        let images = if arguments.smoke { SMOKE_IMAGES } else { arguments.images };
        let mut strings = vec![
            "sim".to_owned(),
            format!("--images={images}"),
            format!("--first-seed={}", arguments.first_seed),
        ];
        strings.extend(arguments.seed.map(|seed| format!("--seed={seed}")));
        strings
    };
    program(&strings, report)
}

pub(crate) fn crash(arguments: &Crash, report: &mut Report) -> Result<(), Error> {
    let kills = if arguments.smoke { SMOKE_KILLS } else { arguments.kills };
    let each = if arguments.smoke { 0 } else { arguments.each };
    let arguments = [
        "crash".to_owned(),
        format!("--kills={kills}"),
        format!("--each={each}"),
        format!("--seed={}", arguments.seed),
    ];
    program_with(&["--features=failpoints"], &arguments, report)
}

pub(crate) fn corrupt(arguments: &Corrupt, report: &mut Report) -> Result<(), Error> {
    let stride = if arguments.smoke { SMOKE_CORRUPT_STRIDE } else { 1 };
    program(&["corrupt".to_owned(), format!("--stride={stride}")], report)
}

pub(crate) fn fuzz(arguments: &Fuzz, report: &mut Report) -> Result<(), Error> {
    if arguments.guided {
        return crate::guided::run(arguments.seconds, &arguments.only, report);
    }
    let inputs = if arguments.smoke { SMOKE_INPUTS } else { arguments.inputs };
    program(&["fuzz".to_owned(), format!("--inputs={inputs}"), format!("--seed={}", arguments.seed)], report)
}

/// Builds and runs a program; its lines go into the report.
fn program(arguments: &[String], report: &mut Report) -> Result<(), Error> {
    program_with(&[], arguments, report)
}

/// [`program`], built with more options.
fn program_with(options: &[&str], arguments: &[String], report: &mut Report) -> Result<(), Error> {
    let mut command = shell::cargo(&["run", "--quiet", "--release", "--package", PACKAGE]);
    let outcome = shell::run(command.args(options).arg("--").args(arguments))?;
    let mut figures: Vec<Figure> = Vec::new();
    for line in outcome.output.lines() {
        match serde_json::from_str::<Finding>(line) {
            Ok(found) => figures.push(found.into()),
            Err(_) => eprintln!("{line}"),
        }
    }
    let has_fallen_short = figures.iter().any(|figure| !figure.pass);
    let said = figures.len();
    report.add_all(figures);
    // Killed or broken off on its way, it has shown nothing, whatever it had said by then.
    if said == 0 || !(outcome.succeeded || has_fallen_short) {
        return Err(format!("{PACKAGE} did not come to its end").into());
    }
    Ok(())
}

/// A bug that is planted in the build of `--cfg inmem_mutants`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    /// Which promise it breaks.
    breaks: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

/// Where planted bugs are built: another cfg would otherwise throw away what is built for everything else.
const MUTANT_TARGET: &str = "target/mutants";

fn mutants(arguments: &Sim, report: &mut Report) -> Result<(), Error> {
    let text = std::fs::read_to_string(MUTANTS).map_err(|error| format!("{MUTANTS}: {error}"))?;
    let table: Table = toml::from_str(&text).map_err(|error| format!("{MUTANTS}: {error}"))?;
    for name in planted()?.iter().filter(|name| table.mutant.iter().all(|mutant| mutant.name != **name)) {
        report.add(Figure::check(format!("sim.mutant.{name}"), false).note(format!("not in {MUTANTS}")));
    }
    let mut build = shell::cargo(&["build", "--release", "--package", PACKAGE]);
    let wrapper = crate::loom::compiler_with("inmem_mutants", "inmem_mutants")?;
    build.env("RUSTC_WORKSPACE_WRAPPER", &wrapper).env("CARGO_TARGET_DIR", MUTANT_TARGET);
    build.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    let built = shell::run(&mut build)?;
    if !built.succeeded {
        return Err(format!("the planted bugs do not compile: {}", built.output).into());
    }
    if arguments.only.is_none() {
        // The same build with none of them: what is found there would be no planted bug's doing.
        let found = find("none")?;
        let note =
            found.as_ref().map_or("nothing is found where nothing is planted".to_owned(), Clone::clone);
        report.add(Figure::check("sim.mutants.control", found.is_err()).note(note));
    }
    for mutant in table.mutant {
        if arguments.only.as_ref().is_some_and(|only| !mutant.name.contains(only.as_str())) {
            continue;
        }
        let name = format!("sim.mutant.{}", mutant.name);
        let found = find(&mutant.name)?;
        let note = match &found {
            Ok(by) => format!("{}; found by {by}", mutant.breaks),
            Err(why) => format!("NOT found ({why}): {}", mutant.breaks),
        };
        report.add(Figure::check(name, found.is_ok()).note(note));
    }
    Ok(())
}

/// The names of the bugs in the sources.
fn planted() -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for file in shell::files(&[".rs"])?.iter().filter(|file| !file.starts_with("xtask")) {
        let source = std::fs::read_to_string(file)?;
        let named = source.split("is_planted(\"").skip(1).filter_map(|rest| rest.split('"').next());
        names.extend(named.map(str::to_owned));
    }
    Ok(names)
}

/// The first program that finds this bug, and what it says: the seed is in it. How many images and faults are looked at does
/// not depend on the machine; a program that does not come to its end has found nothing.
fn find(mutant: &str) -> Result<Result<String, &'static str>, Error> {
    let images = format!("--images={MUTANT_IMAGES}");
    let stride = format!("--stride={MUTANT_CORRUPT_STRIDE}");
    // The quickest first: a bug that only the last of them finds takes the others' whole time.
    let programs =
        [&["corrupt", &stride][..], &["sim", &images, "--threads=1", "--first"], &["faults", "--first"]];
    for arguments in programs {
        let mut command = Command::new(format!("{MUTANT_TARGET}/release/{PACKAGE}"));
        command.args(arguments).env("INMEM_MUTANT", mutant);
        let outcome = shell::output_within(&mut command, Duration::from_secs(MUTANT_LIMIT_S))?;
        let Some(outcome) = outcome else { return Ok(Err("it never ended")) };
        if outcome.succeeded {
            continue;
        }
        let said = outcome
            .output
            .lines()
            .filter_map(|line| serde_json::from_str::<Finding>(line).ok())
            .find(|found| found.at_most.is_some_and(|most| found.value > most));
        let Some(said) = said else { return Ok(Err("the program failed without a finding")) };
        let what: String = said.note.chars().take(160).collect();
        return Ok(Ok(format!("{}: {what}", arguments[0])));
    }
    Ok(Err("no program noticed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_keeps_its_limit_whichever_side_it_is_on() {
        let figure = |limits: &str, value: f64| {
            let line = format!(r#"{{"name":"a","value":{value:?},"unit":"images",{limits},"note":""}}"#);
            Figure::from(serde_json::from_str::<Finding>(&line).expect("a finding"))
        };
        let most = r#""at_most":0.0,"at_least":null"#;
        let least = r#""at_most":null,"at_least":20.0"#;
        assert!(figure(most, 0.0).pass && !figure(most, 1.0).pass);
        assert!(figure(least, 20.0).pass && !figure(least, 19.0).pass);
        assert_eq!(figure(least, 19.0).limit, Some(Limit::AtLeast(20.0)));
        assert_eq!(figure(r#""at_most":null,"at_least":null"#, 1.0).limit, None);
    }
}
