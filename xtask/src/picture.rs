//! The picture in the guide: what a terminal shows of the diff of two trials of one task, drawn from what the command prints there.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use in_mem_benches::{Figure, Limit};
use serde_json::Value;

use crate::Error;
use crate::report::Report;
use crate::shell;

const PICTURE: &str = "docs/diff-of-trials.svg";
const WORK: &str = "target/picture";
const COLUMNS: u32 = 100;
/// The colours of an old screen, and those of terminals now: red on black could hardly be read.
const LIGHTER: [(&str, &str); 6] = [
    ("#AAAAAA", "#D4D4D4"),
    ("#AA0000", "#F48771"),
    ("#00AA00", "#6CC78C"),
    ("#00AAAA", "#5CC5D6"),
    ("#AA5500", "#E5C07B"),
    ("#000000", "#1E1E1E"),
];
/// The task whose trials are shown, and which of them.
const TASK: u64 = 43;
const TRIALS: [u64; 2] = [0, 1];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data sets' directory, with `tau-bench` in it; else what `IN_MEM_TEST_DATA` names.
    #[arg(long)]
    data: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), Error> {
    let data = arguments.data.clone().or_else(|| env::var_os("IN_MEM_TEST_DATA").map(PathBuf::from));
    let data = data.ok_or("give --data, or set IN_MEM_TEST_DATA")?;
    let built = shell::run(&mut shell::cargo(&["build", "-p", "in-mem-cli"]))?;
    if !built.succeeded {
        return Err(built.output.into());
    }
    let _ = fs::remove_dir_all(WORK);
    fs::create_dir_all(WORK)?;
    let root = env::current_dir()?;
    let (program, db) = (root.join("target/debug/in-mem"), root.join(WORK).join("db"));
    let called = |arguments: &[&str]| -> Result<String, Error> {
        let output = Command::new(&program).arg("--db").arg(&db).args(arguments).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    let file = data.join("tau-bench/gpt-4o-airline.json");
    called(&["import", "tau-bench", file.to_str().ok_or("the data set's path is not UTF-8")?])?;
    let runs = called(&["runs", "--json", "--limit", "1000"])?;
    let runs: Vec<Value> = runs.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let id = |trial: u64| {
        let is_meant = |run: &&Value| {
            run["metadata"]["task_id"].as_u64() == Some(TASK)
                && run["metadata"]["trial"].as_u64() == Some(trial)
        };
        runs.iter().find(is_meant).and_then(|run| run["id"].as_str()).ok_or(format!("no trial {trial}"))
    };
    let [a, b] = TRIALS.map(|trial| id(trial).map(|id| id[..8].to_owned()));
    let (a, b) = (a?, b?);
    // On a terminal, which `script` makes: only there is anything coloured, and lines cut to its width.
    let typed =
        format!("stty cols {COLUMNS}; exec '{}' --db '{}' diff {a} {b}", program.display(), db.display());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &typed, "/dev/null"]).env("TERM", "xterm-256color").env_remove("NO_COLOR");
    let output =
        terminal.output().map_err(|error| format!("`script` (util-linux) makes the terminal: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stdout).into_owned().into());
    }
    let shown = String::from_utf8(output.stdout)?.replace('\r', "");
    if !shown.contains('\u{1b}') {
        return Err("the terminal showed no colours".into());
    }
    let shown = format!("\u{1b}[1m$ in-mem diff {a} {b}\u{1b}[0m\n{shown}");
    let lines = shown.lines().count();
    let drawn = anstyle_svg::Term::new().min_width_px(0).render_svg(&shown);
    fs::write(PICTURE, LIGHTER.iter().fold(drawn, |drawn, (dark, light)| drawn.replace(dark, light)))?;
    report.add(Figure::limited("picture.lines", lines as f64, "lines", Limit::Sane).note(PICTURE));
    Ok(())
}
