//! `export` and `import bundle`: a run with its whole history as one file.

use std::{fs, io::Write, process::ExitCode};

use in_mem::{Bundle, Error, WriteError};
use serde_json::json;

use super::{Failure, find, history::hex, open, print};
use crate::{
    args::{Common, ExportArgs, ImportArgs},
    render::{Align, Table, Tone, human, text},
};

/// Writes a run, with the runs that belong to it, into a new file.
pub(super) fn export(args: &ExportArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let run = find::run(&db, &args.run)?;
    let cannot = |error| Failure::Failed(format!("{} cannot be written: {error}", args.file.display()));
    if args.file.exists() && !args.force {
        return Err(Failure::Failed(format!(
            "{} is there already; --force writes over it",
            args.file.display()
        )));
    }
    let bytes = db.export(run.id())?;
    let bundle = Bundle::read(&bytes).map_err(in_mem::Error::from)?;
    // Under another name first: a bundle is there whole or not at all.
    let folder = args.file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(".".as_ref());
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(cannot)?;
    file.write_all(&bytes).map_err(cannot)?;
    file.as_file().sync_all().map_err(cannot)?;
    file.persist(&args.file).map_err(|error| cannot(error.error))?;
    let (runs, commits) = (bundle.runs.len() as u64, bundle.commits() as u64);
    print(
        common,
        || {
            let of = |run: &in_mem::BundledRun| json!({"run": run.id, "events": run.head.len, "head": hex(&run.head.hash), "content": hex(&run.content)});
            let all: Vec<_> = bundle.runs.iter().map(of).collect();
            json!({"run": run.id(), "file": args.file.display().to_string(), "bytes": bytes.len(), "runs": all, "commits": commits})
        },
        |screen| {
            format!(
                "{}  {} with {}, {}\n",
                screen.paint(Tone::Name, &text::one_line(&args.file.display().to_string())),
                human::counted(runs, "run"),
                human::counted(commits, "commit"),
                human::bytes(bytes.len() as u64)
            )
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Takes in bundles, or only says what is in them.
pub(super) fn import(args: &ImportArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = if args.dry_run { None } else { Some(open::or_new(common)?) };
    let mut faults = 0;
    for file in &args.files {
        let taken = fs::read(file).map_err(|error| error.to_string()).and_then(|bytes| match &db {
            None => Bundle::read(&bytes)
                .map(|b| (b.runs.iter().map(|run| (run.id, run.id)).collect(), b.commits() as u64))
                .map_err(|error| error.to_string()),
            Some(db) => db
                .import(&bytes, args.new_ids)
                .map(|report| (report.runs, report.commits))
                .map_err(|error| match error {
                    Error::Write(WriteError::RunExists { run }) => format!(
                        "run {run} is there already, so nothing was taken in; --new-ids brings the bundle's runs in beside what is there"
                    ),
                    error => error.to_string(),
                }),
        });
        let (runs, commits): (Vec<(in_mem::RunId, in_mem::RunId)>, u64) = match taken {
            Ok(taken) => taken,
            Err(why) => {
                faults += 1;
                eprintln!("error: {}", text::one_line(&format!("{}: {why}", file.display())));
                continue;
            }
        };
        print(
            common,
            || {
                let runs: Vec<_> =
                    runs.iter().map(|(there, here)| json!({"there": there, "here": here})).collect();
                json!({"type": "bundle", "file": file.display().to_string(), "runs": runs, "commits": commits, "dry_run": args.dry_run})
            },
            |screen| {
                let mut table =
                    Table::new([("RUN", Align::Left), ("NAME", Align::Left), ("ID THERE", Align::Left)]);
                for (there, here) in &runs {
                    let info = db.as_ref().and_then(|db| db.run(*here).ok()?.info().ok());
                    let name = info.map(|info| info.meta.name.to_string()).unwrap_or_default();
                    let same = if there == here { "the same".to_owned() } else { there.to_string() };
                    table.row([(Tone::Name, here.to_string()), (Tone::Plain, name), (Tone::Quiet, same)]);
                }
                let done = if args.dry_run { "would come in" } else { "came in" };
                format!(
                    "{}{} with {} {done} from {}\n",
                    table.render(screen),
                    human::counted(runs.len() as u64, "run"),
                    human::counted(commits, "commit"),
                    text::one_line(&file.display().to_string())
                )
            },
        )?;
    }
    if let Some(db) = db {
        db.close()?;
    }
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
