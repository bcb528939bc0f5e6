//! `coverage`: how many lines the tests run, over the workspace and crate by crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::Error;
use crate::report::{Figure, Limit, Report};
use crate::shell;

/// The program that counts; installed into the target directory where it is missing.
const PROGRAM: &str = "cargo-tarpaulin";
const PROGRAM_VERSION: &str = "0.37.5";
const TOOLS: &str = "target/tools";
const OUTPUT: &str = "target/coverage";
/// Crates that measure, model or check the others: their lines are no part of what is promised.
const NOT_COUNTED: &[&str] = &["xtask", "benches", "loom-tests", "peers", "sim"];
const WORKSPACE_LIMIT: f64 = 90.0;
/// Crates that have to be covered better than the rest.
const STRICT: &[(&str, f64)] = &[("wal", 95.0), ("shard", 95.0)];

#[derive(Debug, Deserialize)]
struct Counted {
    files: Vec<CountedFile>,
}

#[derive(Debug, Deserialize)]
struct CountedFile {
    path: Vec<String>,
    covered: u64,
    coverable: u64,
}

pub(crate) fn run(report: &mut Report) -> Result<(), Error> {
    let program = Path::new(TOOLS).join("bin").join(PROGRAM);
    if !program.exists() {
        eprintln!("installing {PROGRAM} {PROGRAM_VERSION} into {TOOLS}");
        let install = ["install", PROGRAM, "--version", PROGRAM_VERSION, "--locked", "--root", TOOLS];
        let installed = shell::run(&mut shell::cargo(&install))?;
        if !installed.succeeded {
            return Err(format!("{PROGRAM} could not be installed: {}", installed.output).into());
        }
    }
    fs::create_dir_all(OUTPUT)?;
    let mut command = std::process::Command::new(shell::root().join(&program));
    command.args(["tarpaulin", "--workspace", "--engine", "llvm", "--skip-clean", "--no-fail-fast"]);
    // The command's own process is counted too, where a test runs it.
    command.args(["--follow-exec", "--out", "json"]);
    command.args(["--output-dir", OUTPUT, "--target-dir", "target/coverage/build", "--timeout", "1200"]);
    for package in ["in-mem-xtask", "in-mem-benches", "in-mem-loom-tests"] {
        command.args(["--exclude", package]);
    }
    command.args([
        "--exclude-files",
        "target/*",
        "--exclude-files",
        "*/tests/*",
        "--exclude-files",
        "*/examples/*",
    ]);
    let outcome = shell::run(&mut command)?;
    if !outcome.succeeded {
        eprintln!("{}", outcome.output);
        report.add(Figure::check("coverage.tests", false).note("the tests failed, or could not be counted"));
        return Ok(());
    }
    let text = fs::read_to_string(Path::new(OUTPUT).join("tarpaulin-report.json"))?;
    let counted: Counted = serde_json::from_str(&text)?;
    let mut crates: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for file in counted.files {
        let Some(name) = crate_of(&file.path) else { continue };
        let sum = crates.entry(name).or_default();
        *sum = (sum.0 + file.covered, sum.1 + file.coverable);
    }
    let percent = |(covered, coverable): (u64, u64)| 100.0 * covered as f64 / coverable.max(1) as f64;
    let all = crates.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    report.add(
        Figure::limited("coverage.workspace", percent(all), "% of lines", Limit::AtLeast(WORKSPACE_LIMIT))
            .note(format!("{} of {}", all.0, all.1)),
    );
    for (name, sum) in crates {
        let figure = match STRICT.iter().find(|(strict, _)| *strict == name) {
            Some((_, limit)) => {
                let limit = Limit::AtLeast(*limit);
                Figure::limited(format!("coverage.{name}"), percent(sum), "% of lines", limit)
            }
            None => Figure::shown(format!("coverage.{name}"), percent(sum), "% of lines"),
        };
        report.add(figure.note(format!("{} of {}", sum.0, sum.1)));
    }
    Ok(())
}

/// The folder of the crate that a file is of, if it is counted.
fn crate_of(path: &[String]) -> Option<String> {
    // The report splits a path into its parts, the root of the file system among them.
    let path: std::path::PathBuf = path.iter().collect();
    let inside = path.strip_prefix(shell::root()).ok()?;
    let folder = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
    (!NOT_COUNTED.contains(&folder.as_str())).then_some(folder)
}
