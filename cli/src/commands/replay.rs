//! `replay`: a run again from its beginning, commit by commit, out of the log alone.

use std::{io, process::ExitCode, time::Instant};

use serde_json::json;

use super::{Failure, changes::Moment, find, history, open, print};
use crate::{
    args::{Common, ReplayArgs},
    render::{JsonLines, Tone, human},
};

/// Changes of a commit that are shown without `--all`.
const MAX_CHANGES: usize = 25;

pub(super) fn replay(args: &ReplayArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let run = find::run(&db, &args.run)?;
    let began = Instant::now();
    let end = history::at(&run, &args.at)?;
    let took = i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
    let mut moments = Vec::new();
    let mut before = None;
    for at in end.every().take(end.place()) {
        moments.push(Moment::of(&at, before.as_ref())?);
        before = Some(at);
    }
    let digest = end.digest();
    if common.json {
        let mut lines = JsonLines::new(io::stdout().lock());
        for moment in &moments {
            let mut line = moment.json();
            line["type"] = "commit".into();
            lines.write(&line)?;
        }
        lines.write(&json!({
            "type": "end", "run": run.id(), "version": end.version(), "timestamp": end.timestamp(), "commits": end.place(),
            "of": end.commits(), "exact": history::hex(&digest.exact), "content": history::hex(&digest.content),
            "micros": took,
        }))?;
        lines.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    let first = moments.first().map_or(end.timestamp(), |moment| moment.commit.timestamp);
    print(
        common,
        || serde_json::Value::Null,
        |screen| {
            let max = if args.all { usize::MAX } else { MAX_CHANGES };
            let mut out = String::new();
            for moment in &moments {
                out.push_str(&moment.text(first, max, screen));
                out.push('\n');
            }
            let of = if end.place() < end.commits() {
                format!(" of {}", human::count(end.commits() as u64))
            } else {
                String::new()
            };
            let words = format!(
                "{}{of} read from the log in {}, to version {}",
                human::counted(end.place() as u64, "commit"),
                human::duration(took),
                end.version()
            );
            out.push_str(&screen.paint(Tone::Heading, &words));
            out.push('\n');
            out.push_str(&screen.paint(Tone::Quiet, &format!("digest  {digest}")));
            out.push('\n');
            out
        },
    )?;
    Ok(ExitCode::SUCCESS)
}
