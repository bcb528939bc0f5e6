//! `picture`: what a terminal shows of a diff of two trials, as an image for the documents, made from the command's own output.

use std::path::PathBuf;
use std::process::Command;
use std::{fs, io};

use crate::Error;
use crate::report::{Figure, Report};
use crate::shell;

/// Columns of the terminal that is shown.
const COLUMNS: usize = 112;
/// Lines of it that are shown.
const LINES: usize = 48;
/// Where the image goes.
const IMAGE: &str = "docs/diff.svg";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A file of tau-bench trials.
    #[arg(long, default_value = "../../shared/data/tau-bench/gpt-4o-airline.json")]
    data: PathBuf,
    /// The task whose trials are compared.
    #[arg(long, default_value_t = 10)]
    task: u64,
    /// The two trials.
    #[arg(long, num_args = 2, default_values_t = [3, 2])]
    trials: Vec<u64>,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Error> {
    let built = shell::run(&mut shell::cargo(&["build", "--quiet", "--package", "in-mem-cli"]))?;
    if !built.succeeded {
        return Err(format!("the command does not build:\n{}", built.output).into());
    }
    let (command, db) = ("target/debug/in-mem", "target/picture");
    match fs::remove_dir_all(db) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let in_mem = |of: &[&str]| -> Result<String, Error> {
        let output = Command::new(command).args(["--db", db]).args(of).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    let data = arguments.data.to_str().ok_or("the path of the data is not UTF-8")?;
    in_mem(&["import", "tau-bench", data])?;
    let mut ids = Vec::new();
    let runs = in_mem(&["runs", "--json", "--limit", "100000"])?;
    for trial in &arguments.trials {
        let is_wanted = |run: &serde_json::Value| {
            let of = &run["metadata"];
            of["task_id"] == arguments.task && of["trial"] == *trial
        };
        let runs = runs.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let run = runs.into_iter().find(is_wanted).ok_or("the data holds no such trial")?;
        ids.push(run["id"].as_str().ok_or("a run without an id")?.to_owned());
    }
    // A terminal of this width, so that it is what a terminal shows; short ids, as a person would write them.
    let shown: Vec<&str> = ids.iter().map(|id| &id[..13]).collect();
    let line = format!("stty cols {COLUMNS}; {command} --db {db} diff {}", shown.join(" "));
    let output = Command::new("script").args(["--quiet", "--command", &line, "/dev/null"]).output()?;
    let text = String::from_utf8(output.stdout)?.replace('\r', "");
    if !output.status.success() || !text.contains("events") {
        return Err(format!("the diff was not shown:\n{text}").into());
    }
    let mut lines: Vec<&str> = text.lines().collect();
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    let rest = if more > 0 { format!("\n… and {more} lines more") } else { String::new() };
    let whole = format!("$ in-mem diff {}\n{}{rest}\n", shown.join(" "), lines.join("\n"));
    fs::write(IMAGE, anstyle_svg::Term::new().render_svg(&whole))?;
    fs::remove_dir_all(db)?;
    report.add(Figure::check("picture.written", true));
    Ok(())
}
