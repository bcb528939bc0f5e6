//! `at`: what a run was, and knew, at a point of its past.

use std::process::ExitCode;

use in_mem::{Event, KeyBytes, RunAt, RunMoment, Span, Value};
use serde_json::json;

use super::{
    Failure,
    changes::{key_text, preview},
    find, history, open, print,
};
use crate::{
    args::{AtArgs, Common},
    render::{Align, Screen, Table, Tone, gist, human, text},
};

/// Lines of each part that are shown without `--all`.
const MAX_LINES: usize = 25;
/// Characters of an event that are shown where nothing else cuts it.
const MAX_EVENT_CHARS: usize = 160;
/// The newest events that are shown without `--all`.
const MAX_EVENTS: usize = 8;

struct Page {
    info: RunMoment,
    of_commits: usize,
    events: Vec<Event>,
    open: Vec<Span>,
    state: Vec<(KeyBytes, Value)>,
    kv: Vec<(KeyBytes, Value)>,
}

pub(super) fn at(args: &AtArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let run = find::run(&db, &args.run)?;
    let page = Page::of(&history::at(&run, &args.point)?)?;
    print(common, || page.json(), |screen| page.text(args.all, screen))?;
    Ok(ExitCode::SUCCESS)
}

impl Page {
    fn of(at: &RunAt) -> Result<Page, Failure> {
        let mut open = at.traces().list()?;
        open.retain(|span| span.head.end.is_none());
        Ok(Page {
            info: at.info()?,
            of_commits: at.commits(),
            events: at.events().range(..)?,
            open,
            state: at.state().list("").into_iter().map(|(key, cell)| (key, cell.value)).collect(),
            kv: at.kv().list(""),
        })
    }

    fn json(&self) -> serde_json::Value {
        let pairs = |pairs: &[(KeyBytes, Value)]| -> Vec<serde_json::Value> {
            pairs.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
        };
        let mut page = json!(self.info);
        page["of_commits"] = self.of_commits.into();
        page["last_event"] = json!(self.events.last());
        page["open_spans"] = json!(self.open);
        page["cells"] = pairs(&self.state).into();
        page["pairs"] = pairs(&self.kv).into();
        page
    }

    fn text(&self, all: bool, screen: &Screen) -> String {
        let info = &self.info;
        let mut out = screen.paint(Tone::Heading, &text::one_line(&info.meta.name));
        out.push('\n');
        let status = info.meta.status.as_str();
        let then = format!(
            "version {}, commit {} of {}, {} UTC",
            info.last_version,
            human::count(info.commits),
            human::count(self.of_commits as u64),
            human::time(info.timestamp.0)
        );
        for (name, tone, value) in [
            ("run", Tone::Name, info.id.to_string()),
            ("at", Tone::Plain, then),
            ("status", Tone::of_status(status), status.to_owned()),
        ] {
            out.push_str(&screen.paint(Tone::Quiet, &format!("  {name:<8}")));
            out.push_str(&screen.paint(tone, &value));
            out.push('\n');
        }
        let newest = if all { 0 } else { self.events.len().saturating_sub(MAX_EVENTS) };
        let digits = self.events.last().map_or(1, |event| event.sequence.to_string().len());
        let events = self.events[newest..]
            .iter()
            .map(|event| {
                (
                    format!("{:>digits$} {}", event.sequence, event.kind),
                    text::fit(&gist(&event.payload.to_json()), MAX_EVENT_CHARS),
                )
            })
            .collect::<Vec<_>>();
        let open = self
            .open
            .iter()
            .map(|span| (span.id.to_string(), format!("{} {}", span.head.kind.as_str(), span.head.name)))
            .collect::<Vec<_>>();
        let pairs = |pairs: &[(KeyBytes, Value)]| {
            pairs.iter().map(|(key, value)| (key_text(key), preview(value))).collect::<Vec<_>>()
        };
        let title = match newest {
            0 => "Events".to_owned(),
            more => format!("Events, the last {MAX_EVENTS} ({} before)", human::count(more as u64)),
        };
        part(&title, &events, all, &mut out, screen);
        part("At work on", &open, all, &mut out, screen);
        part("State cells", &pairs(&self.state), all, &mut out, screen);
        part("Key-value pairs", &pairs(&self.kv), all, &mut out, screen);
        out
    }
}

/// A heading and its lines; nothing where there are none.
fn part(title: &str, lines: &[(String, String)], all: bool, out: &mut String, screen: &Screen) {
    if lines.is_empty() {
        return;
    }
    out.push('\n');
    out.push_str(&screen.paint(Tone::Heading, title));
    out.push('\n');
    let shown = if all { lines.len() } else { lines.len().min(MAX_LINES) };
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    for (key, value) in &lines[..shown] {
        table.row([(Tone::Name, key), (Tone::Plain, value)]);
    }
    // The table has no headings here.
    for line in table.render(&screen.narrower(2)).lines().skip(1) {
        out.push_str(&format!("  {line}\n"));
    }
    if lines.len() > shown {
        let words = format!("  and {} more; --all shows them", human::count((lines.len() - shown) as u64));
        out.push_str(&screen.paint(Tone::Quiet, &words));
        out.push('\n');
    }
}
