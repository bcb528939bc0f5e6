//! What a commit changed, in words: for `log` and `replay`.

use in_mem::{Commit, KeyBytes, KeyChange, Object, RunAt, Tag, Timestamp, Value};
use serde_json::json;

use super::{Failure, events::event_json};
use crate::render::{Screen, Tone, gist, human, text};

/// Characters of a value that a line shows where nothing else cuts it.
const MAX_VALUE_CHARS: usize = 160;
/// Columns that a key may take before what it holds stands further right than in other lines.
const MAX_KEY_COLUMNS: usize = 28;

/// One commit of a run with its place among them.
pub(super) struct Moment {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) commit: Commit,
    lines: Vec<Line>,
}

/// One change.
struct Line {
    mark: char,
    what: &'static str,
    key: String,
    holds: String,
    /// Of an event, its number.
    number: Option<u64>,
    /// Of an event or a span, what is stored in a packed form, as `--json` has it.
    read: Option<serde_json::Value>,
}

impl Line {
    /// The key, the numbers of events so wide.
    fn shown_key(&self, digits: usize) -> String {
        match self.number {
            Some(number) => format!("{number:>digits$} {}", self.key),
            None => self.key.clone(),
        }
    }
}

impl Moment {
    /// The last commit in `at`; `before` is the run as it was without it.
    pub(super) fn of(at: &RunAt, before: Option<&RunAt>) -> Result<Moment, Failure> {
        let commit = at.commit();
        let lines = commit
            .changes
            .iter()
            .map(|change| line(change, at, before))
            .collect::<Result<Vec<_>, Failure>>()?;
        Ok(Moment { number: at.place(), commit, lines })
    }

    /// The commit as `--json` has it.
    pub(super) fn json(&self) -> serde_json::Value {
        let mut line = json!(self.commit);
        line["number"] = self.number.into();
        if let Some(changes) = line["changes"].as_array_mut() {
            for ((change, of), read) in changes.iter_mut().zip(&self.commit.changes).zip(&self.lines) {
                // The number of an event reads better than its eight bytes, and what it and a span say than their packed form.
                if let Some(number) = sequence(of) {
                    change["key"] = number.into();
                }
                if let Some(read) = &read.read {
                    change["value"] = read.clone();
                }
            }
        }
        line
    }

    /// The commit and at most so many of its changes.
    pub(super) fn text(&self, first: Timestamp, max_changes: usize, screen: &Screen) -> String {
        let after = human::duration(self.commit.timestamp.0.saturating_sub(first.0).max(0));
        let mut out = screen.paint(Tone::Warning, &format!("version {}", self.commit.version));
        let of = format!(
            "  commit {}  +{after}  {}",
            self.number,
            human::counted(self.lines.len() as u64, "change")
        );
        out.push_str(&screen.paint(Tone::Quiet, &of));
        out.push('\n');
        if self.commit.dropped {
            out.push_str(&screen.paint(Tone::Bad, "  - the whole run was deleted"));
            out.push('\n');
        }
        let shown = &self.lines[..self.lines.len().min(max_changes)];
        let digits = shown.iter().filter_map(|line| line.number).max().unwrap_or(0).to_string().len();
        let keys: Vec<String> = shown.iter().map(|line| line.shown_key(digits)).collect();
        let column = keys.iter().map(|key| text::width(key)).max().unwrap_or(0).min(MAX_KEY_COLUMNS);
        for (line, key) in shown.iter().zip(&keys) {
            let (tone, used) = (tone(line.mark), 11 + text::width(key).max(column) + 2);
            let room = screen.width().map_or(MAX_VALUE_CHARS, |columns| columns.saturating_sub(used));
            out.push_str(&screen.paint(tone, &format!("  {} ", line.mark)));
            out.push_str(&screen.paint(Tone::Quiet, &format!("{:<5}  ", line.what)));
            out.push_str(&screen.paint(Tone::Name, &text::pad_right(key, column)));
            let end = format!("  {}", text::fit(&text::one_line(&line.holds), room));
            out.push_str(end.trim_end());
            out.push('\n');
        }
        let more = self.lines.len() - shown.len();
        if more > 0 {
            let words = format!("    and {}; --all shows them", human::counted(more as u64, "more change"));
            out.push_str(&screen.paint(Tone::Quiet, &words));
            out.push('\n');
        }
        out
    }
}

fn tone(mark: char) -> Tone {
    match mark {
        '+' => Tone::Good,
        '-' => Tone::Bad,
        _ => Tone::Warning,
    }
}

/// The number of the event that was written.
fn sequence(change: &KeyChange) -> Option<u64> {
    let bytes = (change.tag == Tag::Event).then(|| change.key.as_bytes().try_into().ok())??;
    Some(u64::from_be_bytes(bytes))
}

fn line(change: &KeyChange, at: &RunAt, before: Option<&RunAt>) -> Result<Line, Failure> {
    let key = text::one_line(&change.key.to_string());
    let line = match change.tag {
        Tag::Kv => {
            let old = before.and_then(|before| before.kv().get(&change.key));
            pair("key", key, old, change.value.as_ref())
        }
        Tag::State => {
            let name = change.key.as_str().unwrap_or_default();
            let old = before.and_then(|before| before.state().read(name)).map(|cell| cell.value);
            pair("cell", key, old, change.value.as_ref())
        }
        Tag::Event => {
            let event = sequence(change).map(|number| at.events().read(number)).transpose()?.flatten();
            match event {
                Some(event) => Line {
                    mark: '+',
                    what: "event",
                    key: text::one_line(&event.kind),
                    holds: gist(&event.payload.to_json()),
                    number: Some(event.sequence),
                    read: Some(event_json(&event)),
                },
                None => pair("event", key, None, None),
            }
        }
        Tag::Trace => {
            let id = change.key.as_str().unwrap_or_default();
            let was = before.map(|before| before.traces().get(id)).transpose()?.flatten().is_some();
            match at.traces().get(id)? {
                Some(span) => {
                    let head = &span.head;
                    let how = match head.end {
                        None => "running".to_owned(),
                        Some(end) => format!(
                            "{} {}",
                            head.status.as_str(),
                            human::duration(end.0.saturating_sub(head.start.0))
                        ),
                    };
                    let holds = format!("{} {}, {how}", head.kind.as_str(), head.name);
                    let mark = if was { '~' } else { '+' };
                    Line { mark, what: "span", key, holds, number: None, read: Some(json!(span)) }
                }
                None => pair("span", key, None, None),
            }
        }
        Tag::Run => run_line(at, before),
    };
    Ok(line)
}

fn run_line(at: &RunAt, before: Option<&RunAt>) -> Line {
    let status = |at: &RunAt| at.info().map(|info| info.meta.status.as_str()).unwrap_or("deleted");
    let now = status(at);
    let (mark, key, holds) = match before.map(status) {
        None => ('+', "status", now.to_owned()),
        // Its name, tags or metadata, then.
        Some(was) if was == now => ('~', "metadata", String::new()),
        Some(was) => ('~', "status", format!("{was} → {now}")),
    };
    Line { mark, what: "run", key: key.to_owned(), holds, number: None, read: None }
}

fn pair(what: &'static str, key: String, old: Option<Value>, new: Option<&Value>) -> Line {
    let (mark, holds) = match (old, new) {
        (None, Some(new)) => ('+', preview(new)),
        (Some(Value::Object(old)), Some(Value::Object(new))) => ('~', fields(&old, new)),
        (Some(old), Some(new)) => ('~', format!("{} → {}", preview(&old), preview(new))),
        (old, None) => ('-', old.map(|old| preview(&old)).unwrap_or_default()),
    };
    Line { mark, what, key, holds, number: None, read: None }
}

/// The fields that differ, by name.
fn fields(old: &Object, new: &Object) -> String {
    let gone = old.iter().filter(|(name, _)| new.get(name).is_none());
    let gone = gone.map(|(name, value)| format!("{name} {} → nothing", preview(value)));
    let other = new.iter().filter(|(name, value)| old.get(name) != Some(*value));
    let other = other.map(|(name, value)| match old.get(name) {
        Some(old) => format!("{name} {} → {}", preview(old), preview(value)),
        None => format!("{name} nothing → {}", preview(value)),
    });
    let all: Vec<String> = gone.chain(other).collect();
    if all.is_empty() { "the same again".to_owned() } else { all.join(", ") }
}

/// A value in one line.
pub(super) fn preview(value: &Value) -> String {
    let words = match value {
        Value::Bytes(bytes) => format!("{} of bytes", human::bytes(bytes.len() as u64)),
        other => text::preview(&other.to_json()),
    };
    text::fit(&text::one_line(&words), MAX_VALUE_CHARS)
}

/// A key as text.
pub(super) fn key_text(key: &KeyBytes) -> String {
    text::one_line(&key.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_object_only_the_fields_that_differ_are_shown() {
        let object = |json| match Value::from(json) {
            Value::Object(object) => object,
            other => panic!("{other}"),
        };
        let old = object(json!({"steps": 1, "same": "x", "gone": true}));
        let new = object(json!({"steps": 2, "same": "x", "made": null}));
        assert_eq!(fields(&old, &new), "gone true → nothing, made nothing → null, steps 1 → 2");
        assert_eq!(fields(&old, &old), "the same again");
    }
}
