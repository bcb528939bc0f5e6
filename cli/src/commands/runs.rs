//! `runs`: the list of runs.

use std::{io, path::Path, process::ExitCode};

use in_mem::{RunInfo, Timestamp};

use super::{Failure, find, open, print};
use crate::{
    args::{Common, RunsArgs},
    render::{Align, JsonLines, Screen, Table, Tone, human, text},
};

/// From this width on the list has its columns of less weight, too.
const ROOMY_COLUMNS: usize = 110;

pub(super) fn runs(args: &RunsArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let mut query = db.runs().newest_first();
    if let Some(status) = args.status {
        query = query.status(status);
    }
    for tag in &args.tags {
        query = query.tag(tag);
    }
    if let Some(prefix) = &args.name {
        query = query.name_prefix(prefix);
    }
    let found = query.list()?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let shown = &found[..found.len().min(limit)];
    if common.json {
        let mut lines = JsonLines::new(io::stdout().lock());
        for info in shown {
            lines.write(info)?;
        }
        lines.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    // An id must be told from all others, also from those that are not listed.
    let all = db.runs().with_memories().list()?;
    let id_chars = find::short_id_chars(all.iter().map(|info| info.id));
    print(
        common,
        || serde_json::Value::Null,
        |screen| {
            if found.is_empty() {
                let words = if all.is_empty() {
                    "no runs yet; `in-mem import` brings some in, `in-mem demo --db PATH` makes one"
                } else {
                    "no run is like that"
                };
                return format!("{words}\n");
            }
            let mut out = table(shown, id_chars, screen);
            let more = found.len() - shown.len();
            if more > 0 {
                let words = format!("and {more} more; --limit {} shows them all", found.len());
                out.push_str(&screen.paint(Tone::Quiet, &words));
                out.push('\n');
            }
            out
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The status of a run as one word; a run whose process is gone is at work no more, whatever its status says.
pub(super) fn status_word(info: &RunInfo) -> &'static str {
    if info.orphaned { "orphaned" } else { info.meta.status.as_str() }
}

/// How long the run took, in microseconds, where it has ended.
pub(super) fn took(info: &RunInfo) -> Option<i64> {
    let Timestamp(ended) = info.meta.ended?;
    let Timestamp(began) = info.meta.started.unwrap_or(info.meta.created);
    (ended > began).then(|| ended - began)
}

fn table(runs: &[RunInfo], id_chars: usize, screen: &Screen) -> String {
    // Where there is little room, the name gets it.
    let roomy = screen.width().is_none_or(|columns| columns >= ROOMY_COLUMNS);
    let mut heads = vec![
        ("RUN", Align::Left),
        ("NAME", Align::Left),
        ("STATUS", Align::Left),
        ("CREATED", Align::Left),
        ("TOOK", Align::Right),
        ("EVENTS", Align::Right),
        ("SPANS", Align::Right),
    ];
    if roomy {
        heads.extend([("KEYS", Align::Right), ("TAGS", Align::Left)]);
    }
    let mut table = Table::new(heads);
    for info in runs {
        let status = status_word(info);
        let created = human::time(info.meta.created.0);
        let quiet = |n: u64| (if n == 0 { Tone::Quiet } else { Tone::Plain }, human::count(n));
        table.row([
            (Tone::Name, find::short(info.id, id_chars)),
            (Tone::Plain, info.meta.name.to_string()),
            (Tone::of_status(status), status.to_owned()),
            // To the minute: a list is for finding a run, not for timing it.
            (Tone::Quiet, created.get(..16).unwrap_or(&created).to_owned()),
            (Tone::Plain, took(info).map(human::duration).unwrap_or_default()),
            quiet(info.events.entries),
            quiet(info.traces.entries),
            // Dropped by the table where it has no such columns.
            quiet(info.kv.entries),
            (Tone::Quiet, info.meta.tags.join(" ")),
        ]);
    }
    table.render(screen)
}

/// How to go on from here.
pub(super) fn hint(screen: &Screen, db: Option<&Path>) -> String {
    let db = db.map_or_else(String::new, |db| format!(" --db {}", text::one_line(&db.display().to_string())));
    let words = format!("see the runs with: in-mem runs{db}");
    format!("{}\n", screen.paint(Tone::Quiet, &words))
}

/// The text, indented by two columns.
pub(super) fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect()
}

/// The screen to render for what [`indented`] then moves.
pub(super) fn inner(screen: &Screen) -> Screen {
    screen.narrower(2)
}
