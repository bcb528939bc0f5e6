//! `check`, `salvage` and `backup`: looking after a database as a whole.

use std::{path::Path, process::ExitCode};

use in_mem::{
    Error,
    admin::{self, CheckReport, Problem},
};
use serde_json::json;

use super::{Failure, open, print, runs};
use crate::{
    args::{BackupArgs, Common, SalvageArgs},
    render::{Align, Screen, Table, Tone, human, text},
};

/// Problems of a check shown; further ones are counted. `--json` has all.
const MAX_PROBLEMS: usize = 20;

/// Reads every byte of a database that nobody has open.
pub(super) fn check(common: &Common) -> Result<ExitCode, Failure> {
    open::must_be_there(common)?;
    let report = admin::check(common.db_path()).map_err(Error::from)?;
    print(
        common,
        || {
            let mut page = json!(report);
            page["sound"] = report.sound().into();
            page
        },
        |screen| check_text(&report, screen),
    )?;
    Ok(if report.sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_text(report: &CheckReport, screen: &Screen) -> String {
    let mut table = Table::new([
        ("SHARD", Align::Right),
        ("CHECKPOINTS", Align::Right),
        ("ENTRIES", Align::Right),
        ("SEGMENTS", Align::Right),
        ("TRANSACTIONS", Align::Right),
        ("READ", Align::Right),
        ("LOG ENDS IN", Align::Left),
    ]);
    for shard in &report.shards {
        table.row([
            (Tone::Name, shard.shard.to_string()),
            (Tone::Plain, human::count(shard.checkpoints)),
            (Tone::Plain, human::count(shard.checkpoint_entries)),
            (Tone::Plain, human::count(shard.segments)),
            (Tone::Plain, human::count(shard.transactions)),
            (Tone::Plain, human::bytes(shard.bytes)),
            (Tone::Quiet, shard.end.clone().unwrap_or_default()),
        ]);
    }
    let mut out = table.render(screen);
    out.push_str(&problems(&report.problems, MAX_PROBLEMS, &report.path, screen));
    out.push_str(&problems(&report.history, MAX_PROBLEMS, &report.path, screen));
    out.push('\n');
    out.push_str(&if report.sound() {
        screen.paint(Tone::Good, "sound: every byte that counts can be read")
    } else if report.can_be_opened() {
        let words = "damaged in its history only: it opens and holds what it held; what runs were before cannot all be replayed";
        screen.paint(Tone::Bad, words)
    } else {
        let command = in_mem::admin::salvage_command(&report.path);
        let words = format!("damaged: restore a backup, or save what can be read with `{command}`");
        screen.paint(Tone::Bad, &words)
    });
    out.push('\n');
    out
}

fn problems(problems: &[Problem], most: usize, root: &Path, screen: &Screen) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        ("FILE", Align::Left),
        ("AT", Align::Right),
        ("BYTES", Align::Right),
        ("WHAT", Align::Left),
    ]);
    for problem in problems.iter().take(most) {
        let file = problem.file.strip_prefix(root).unwrap_or(&problem.file);
        let tone = if problem.serious { Tone::Bad } else { Tone::Quiet };
        table.row([
            (tone, file.display().to_string()),
            (Tone::Plain, human::count(problem.offset)),
            (Tone::Plain, human::count(problem.bytes)),
            (Tone::Plain, problem.what.clone()),
        ]);
    }
    let mut out = format!("\n{}", table.render(screen));
    if problems.len() > most {
        out.push_str(&format!("and {} more; --json has all\n", problems.len() - most));
    }
    out
}

/// The exit code of a salvage that saved what there was to save, and lost something: neither all is well, nor did it fail.
const SOMETHING_LOST: u8 = 3;

/// Saves what can be read of a damaged database into a new one. What was lost is listed whole, and told by the exit code.
pub(super) fn salvage(args: &SalvageArgs, common: &Common) -> Result<ExitCode, Failure> {
    if !args.from.exists() {
        let words = "name the directory of the damaged one";
        return Err(Failure::Failed(format!("there is no database at {}; {words}", args.from.display())));
    }
    let report = admin::salvage(&args.from, &args.to).map_err(Error::from)?;
    let lost = report.lost.iter().any(|problem| problem.serious);
    print(
        common,
        || json!(report),
        |screen| {
            let mut out = format!(
                "{} with {} saved into {}\n",
                human::counted(report.runs, "run"),
                entries(report.entries),
                shown(&args.to)
            );
            out.push_str(&problems(&report.lost, usize::MAX, &args.from, screen));
            if lost {
                let words = "something is missing: later work may build on what was lost";
                out.push_str(&screen.paint(Tone::Warning, words));
                out.push('\n');
            }
            out.push_str(&runs::hint(screen, Some(&args.to)));
            out
        },
    )?;
    Ok(if lost { ExitCode::from(SOMETHING_LOST) } else { ExitCode::SUCCESS })
}

/// Copies a database into a new one.
pub(super) fn backup(args: &BackupArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let report = db.backup(&args.to)?;
    db.close()?;
    print(
        common,
        || json!(report),
        |screen| {
            let bytes = human::bytes(report.bytes);
            let words = format!("{} ({bytes}) copied into {}\n", entries(report.entries), shown(&args.to));
            words + &runs::hint(screen, Some(&args.to))
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

fn entries(n: u64) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{} entries", human::count(n)) }
}

fn shown(path: &Path) -> String {
    text::one_line(&path.display().to_string())
}
