//! `prune`: takes away ended runs that a policy does not keep.

use std::process::ExitCode;

use in_mem::{RetentionPolicy, Timestamp};
use serde_json::json;

use super::{Failure, find, open, print};
use crate::{
    args::{Common, PruneArgs},
    render::{Align, Table, Tone, human},
};

pub(super) fn prune(args: &PruneArgs, common: &Common) -> Result<ExitCode, Failure> {
    if args.older_than.is_none()
        && args.ended_before.is_none()
        && args.keep_newest.is_none()
        && args.keep_bytes.is_none()
    {
        return Err(Failure::Usage(
            "nothing says which runs to take away; give --older-than, --ended-before, --keep-newest or --keep-bytes".into(),
        ));
    }
    let db = open::existing(common)?;
    let older = args.older_than.map(|age| Timestamp(db.engine().now().0.saturating_sub(age.0)));
    let policy = RetentionPolicy {
        // Of two limits the one that takes more away.
        ended_before: older.max(args.ended_before),
        older_than: None,
        keep_newest: args.keep_newest,
        keep_bytes: args.keep_bytes,
        status: args.status.clone(),
        tenant: args.tenant.as_deref().map(Into::into),
        app: args.app.as_deref().map(Into::into),
        agent: args.agent.as_deref().map(Into::into),
        history_only: args.history_only,
    };
    let all = db.runs().with_memories().list()?;
    let id_chars = find::short_id_chars(all.iter().map(|info| info.id));
    let report = db.prune(&policy, args.dry_run)?;
    db.close()?;
    print(
        common,
        || json!(report),
        |screen| {
            let mut table = Table::new([
                ("RUN", Align::Left),
                ("NAME", Align::Left),
                ("STATUS", Align::Left),
                ("ENDED", Align::Left),
                ("HOLDS", Align::Right),
                ("FORKS", Align::Right),
            ]);
            for run in &report.runs {
                let ended = human::time(run.ended.0);
                let forks = if run.forks.is_empty() { String::new() } else { run.forks.len().to_string() };
                table.row([
                    (Tone::Name, find::short(run.id, id_chars)),
                    (Tone::Plain, run.name.to_string()),
                    (Tone::of_status(run.status.as_str()), run.status.as_str().to_owned()),
                    (Tone::Quiet, ended.get(..16).unwrap_or(&ended).to_owned()),
                    (Tone::Plain, human::bytes(run.bytes)),
                    (Tone::Quiet, forks),
                ]);
            }
            let mut out = if report.runs.is_empty() { String::new() } else { table.render(screen) };
            let done = match (report.history_only, report.dry_run) {
                (false, true) => "would go",
                (false, false) => "gone",
                (true, true) => "would lose their past",
                (true, false) => "without their past now",
            };
            let words = format!(
                "{} {done}, {}; {} kept",
                human::counted(report.runs.len() as u64, "run"),
                human::bytes(report.bytes),
                human::count(report.kept)
            );
            out.push_str(&screen.paint(if report.dry_run { Tone::Warning } else { Tone::Heading }, &words));
            out.push('\n');
            let log = if report.dry_run { report.log_bytes } else { report.log_bytes_erased };
            let held = report.runs.iter().filter(|run| !run.forks.is_empty()).count() as u64;
            let mut words = format!(
                "{} of log {}",
                human::bytes(log),
                if report.dry_run { "to erase" } else { "erased" }
            );
            if !report.dry_run {
                let (before, after) = report.disk_bytes;
                words.push_str(&format!(
                    "; files {} before, {} after",
                    human::bytes(before),
                    human::bytes(after)
                ));
            }
            if report.log_bytes_left > 0 {
                words.push_str(&format!(
                    "; {} of log stays: commits over several runs, larger than a segment",
                    human::bytes(report.log_bytes_left)
                ));
            }
            if !report.released.is_empty() {
                let runs = human::counted(report.released.len() as u64, "run");
                let goes = if report.dry_run { "would go" } else { "is gone" };
                words.push_str(&format!("; the past of {runs} that forks held {goes} too"));
            }
            if held > 0 {
                words.push_str(&format!("; the past of {} is kept for forks", human::counted(held, "run")));
            }
            out.push_str(&screen.paint(Tone::Quiet, &words));
            out.push('\n');
            out
        },
    )?;
    Ok(ExitCode::SUCCESS)
}
