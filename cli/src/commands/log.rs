//! `log`: a run's commits, the newest first.

use std::{io, process::ExitCode};

use super::{Failure, changes::Moment, find, open, print};
use crate::{
    args::{Common, LogArgs},
    render::{JsonLines, Tone, human},
};

/// Changes of a commit that are shown without `--all`.
const MAX_CHANGES: usize = 8;

pub(super) fn log(args: &LogArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let run = find::run(&db, &args.run)?;
    let now = db.replay(run.id())?;
    let mut places: Vec<_> = now.every().collect();
    let total = places.len();
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let first = places.first().map_or(now.timestamp(), in_mem::RunAt::timestamp);
    // One more than is shown: the run as it was before the oldest of them.
    let from = total.saturating_sub(limit);
    let before = from.checked_sub(1).map(|place| places[place].clone());
    places.drain(..from);
    let olds = [before].into_iter().chain(places.iter().cloned().map(Some));
    let mut moments = places
        .iter()
        .zip(olds)
        .map(|(at, before)| Moment::of(at, before.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    moments.reverse();
    if common.json {
        let mut lines = JsonLines::new(io::stdout().lock());
        for moment in &moments {
            lines.write(&moment.json())?;
        }
        lines.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    print(
        common,
        || serde_json::Value::Null,
        |screen| {
            let words = format!(
                "run {}, {}, from {} UTC",
                run.id(),
                human::counted(total as u64, "commit"),
                human::time(first.0)
            );
            let mut out = screen.paint(Tone::Quiet, &words);
            out.push('\n');
            let max = if args.all { usize::MAX } else { MAX_CHANGES };
            for moment in &moments {
                out.push('\n');
                out.push_str(&moment.text(first, max, screen));
            }
            if total > moments.len() {
                let words = format!(
                    "\nand {} before; --limit {total} shows them all",
                    human::counted((total - moments.len()) as u64, "commit")
                );
                out.push_str(&screen.paint(Tone::Quiet, &words));
                out.push('\n');
            }
            out
        },
    )?;
    Ok(ExitCode::SUCCESS)
}
