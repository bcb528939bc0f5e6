//! `loom`: the models of the commit paths, and the planted bugs that they have to find.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::Error;
use crate::report::{Figure, Report};
use crate::shell;

const MODELS: &str = "loom-tests/tests";
const MUTANTS: &str = "xtask/mutants.toml";
/// What the models model. Bugs planted elsewhere are for the simulator and the tests to find.
const SOURCES: &[&str] = &["shard/src/index", "shard/src/turn"];
/// Longest that the models of one planted bug may take: one that makes them spin for ever is found by that.
const MUTANT_LIMIT_S: u64 = 900;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Plants each bug of the table in turn; a model has to fail on each.
    #[arg(long)]
    mutants: bool,
    /// Only models, or with `--mutants` bugs, whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How many times a thread may be interrupted where it does not wait.
    #[arg(long, default_value_t = 2)]
    preemptions: u32,
}

/// A bug that is planted with `--cfg inmem_mutant="name"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    /// The models that it is planted under; one of them has to fail.
    models: Vec<String>,
    /// Which part of which argument it takes away.
    breaks: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Error> {
    if arguments.mutants { mutants(arguments, report) } else { models(arguments, report) }
}

fn models(arguments: &Arguments, report: &mut Report) -> Result<(), Error> {
    let wanted = |name: &String| arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let names: Vec<String> = model_names()?.into_iter().filter(wanted).collect();
    if names.is_empty() {
        return Err(format!("there is no such model in {MODELS}").into());
    }
    for name in names {
        let outcome = shell::run(&mut test(&[name.as_str()], arguments.preemptions))?;
        if !outcome.succeeded {
            eprintln!("{}", outcome.output);
        }
        let models =
            outcome.output.lines().filter(|l| l.starts_with("test ") && l.ends_with("... ok")).count();
        // A file whose models were all compiled away would pass in silence.
        let holds = outcome.succeeded && models > 0;
        let note = format!("{models} models, {:.0} s", outcome.seconds);
        report.add(Figure::check(format!("loom.{name}"), holds).note(note));
    }
    Ok(())
}

fn mutants(arguments: &Arguments, report: &mut Report) -> Result<(), Error> {
    let table = table()?;
    let listed: BTreeSet<_> = table.iter().map(|mutant| mutant.name.clone()).collect();
    for name in planted()?.difference(&listed) {
        report.add(Figure::check(format!("loom.mutant.{name}"), false).note(format!("not in {MUTANTS}")));
    }
    for mutant in table {
        if arguments.only.as_ref().is_some_and(|only| !mutant.name.contains(only.as_str())) {
            continue;
        }
        let name = format!("loom.mutant.{}", mutant.name);
        let models: Vec<&str> = mutant.models.iter().map(String::as_str).collect();
        let wrapper = wrapper(&mutant.name)?;
        // Built first, by itself: a bug that does not compile is not one that was found.
        let mut build = test(&models, arguments.preemptions);
        build.arg("--no-run").env("RUSTC_WORKSPACE_WRAPPER", &wrapper);
        let built = shell::run(&mut build)?;
        if !built.succeeded {
            eprintln!("{}", built.output);
            report.add(Figure::check(name, false).note("does not compile"));
            continue;
        }
        let mut run = test(&models, arguments.preemptions);
        run.env("RUSTC_WORKSPACE_WRAPPER", &wrapper);
        let passed = shell::run_within(&mut run, Duration::from_secs(MUTANT_LIMIT_S))?;
        let note = match passed {
            Some(false) => format!("found by {}: {}", models.join(", "), mutant.breaks),
            Some(true) => format!("NOT found by {}: {}", models.join(", "), mutant.breaks),
            None => format!("never ends under {}: {}", models.join(", "), mutant.breaks),
        };
        report.add(Figure::check(name, passed != Some(true)).note(note));
    }
    Ok(())
}

/// The test command of these models.
fn test(models: &[&str], preemptions: u32) -> Command {
    let mut command = shell::cargo(&["test", "--release", "--package", "in-mem-loom-tests"]);
    for model in models {
        command.args(["--test", model]);
    }
    // A directory of its own: another cfg would otherwise throw away what is built for everything else. No link-time
    // optimisation: the models are built often and run briefly.
    command
        .env("CARGO_TARGET_DIR", "target/loom")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("RUSTFLAGS", "--cfg inmem_loom")
        .env("LOOM_MAX_PREEMPTIONS", preemptions.to_string());
    command
}

/// A compiler that plants the bug in this workspace's crates alone: their dependencies need not be built again for it.
fn wrapper(mutant: &str) -> Result<PathBuf, Error> {
    compiler_with(mutant, &format!("inmem_mutant=\"{mutant}\""))
}

/// A compiler that sets this cfg for this workspace's crates alone, under a name of its own.
pub(crate) fn compiler_with(name: &str, cfg: &str) -> Result<PathBuf, Error> {
    use std::os::unix::fs::PermissionsExt;
    let directory = shell::root().join("target/loom/mutants");
    fs::create_dir_all(&directory)?;
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\nexec \"$@\" --cfg '{cfg}'\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn model_names() -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = match fs::read_dir(MODELS) {
        Ok(entries) => entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
            .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    names.sort();
    Ok(names)
}

fn table() -> Result<Vec<Mutant>, Error> {
    let text = fs::read_to_string(MUTANTS).map_err(|error| format!("{MUTANTS}: {error}"))?;
    let table: Table = toml::from_str(&text).map_err(|error| format!("{MUTANTS}: {error}"))?;
    Ok(table.mutant)
}

/// The bugs that the sources can be built with.
fn planted() -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for file in shell::files(&[".rs"])? {
        if SOURCES.iter().any(|source| file.starts_with(Path::new(source))) {
            names.extend(names_in(&fs::read_to_string(&file)?));
        }
    }
    Ok(names)
}

fn names_in(source: &str) -> impl Iterator<Item = String> {
    source.split("inmem_mutant = \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_bugs_are_found_in_sources() {
        let source = "if cfg!(inmem_mutant = \"one\") {} else if !cfg!(inmem_mutant = \"two\") {}";
        assert_eq!(names_in(source).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn every_planted_bug_is_in_the_table_once() {
        shell::enter_root().expect("the repository");
        let table = table().expect("a sound table");
        let listed: BTreeSet<_> = table.iter().map(|mutant| mutant.name.clone()).collect();
        assert_eq!(listed.len(), table.len(), "no bug is listed twice");
        let missing: Vec<_> = planted().expect("lists").difference(&listed).cloned().collect();
        assert!(missing.is_empty(), "planted, but not in {MUTANTS}: {missing:?}");
    }
}
