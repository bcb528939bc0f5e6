//! What the agent found, for a person to read.

use serde_json::Value;

use super::{action::Question, memory::Memory};
use crate::render::{Align, Screen, Table, Tone, human, text};

/// Lines shown for each answer.
const MAX_LINES: usize = 6;
/// Packages shown.
const MAX_PACKAGES: usize = 12;

/// The answers as text: a paragraph for each question that is answered.
pub fn report(memory: &Memory, screen: &Screen) -> String {
    let mut out = String::new();
    for question in Question::ALL {
        let Some(answer) = memory.answers.get(&question) else { continue };
        let (title, body) = match question {
            Question::Overview => ("What is here", overview(answer)),
            Question::EntryPoints => ("Where it begins", files(answer, screen)),
            Question::LargestModules => ("Where most of the code is", files(answer, screen)),
            Question::Markers => ("What is left to do", markers(answer, screen)),
            Question::Dependencies => ("Who depends on whom", dependencies(answer)),
            Question::PublicApi => ("What it offers", public_api(answer, screen)),
            Question::MostUsed => ("Which names are used most", most_used(answer, screen)),
        };
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&screen.paint(Tone::Heading, title));
        out.push('\n');
        if body.is_empty() {
            out.push_str("  nothing\n");
        }
        for line in body.lines() {
            let line = format!("  {line}");
            // Painted lines are laid out by the table already; a cut could fall into an escape sequence.
            out.push_str(&match screen.width() {
                Some(columns) if !line.contains('\u{1b}') => text::fit(&line, columns),
                _ => line,
            });
            out.push('\n');
        }
    }
    out
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn names(value: &Value) -> String {
    let names: Vec<&str> = rows(value).iter().filter_map(Value::as_str).collect();
    text::one_line(&names.join(", "))
}

fn overview(answer: &Value) -> String {
    let mut out = format!(
        "{} ({}) in {}; {} read, {}\n",
        human::counted(number(answer, "files_seen"), "file"),
        human::bytes(number(answer, "bytes_seen")),
        if number(answer, "directories") == 1 {
            "1 directory".to_owned()
        } else {
            format!("{} directories", human::count(number(answer, "directories")))
        },
        human::count(number(answer, "files_read")),
        human::counted(number(answer, "lines_read"), "line"),
    );
    let languages = rows(&answer["languages"]).iter().take(MAX_LINES);
    let languages: Vec<String> =
        languages.map(|l| format!("{} {}", word(l, "language"), human::count(number(l, "lines")))).collect();
    if !languages.is_empty() {
        out.push_str(&format!("lines: {}\n", languages.join(", ")));
    }
    let closed = rows(&answer["could_not_be_read"]);
    if !closed.is_empty() {
        let first = closed
            .iter()
            .take(2)
            .filter_map(Value::as_str)
            .map(text::one_line)
            .collect::<Vec<_>>()
            .join("; ");
        out.push_str(&format!("{} could not be read: {first}\n", closed.len()));
    }
    out
}

/// The screen for a table that is indented by two columns.
fn inner(screen: &Screen) -> Screen {
    screen.narrower(2)
}

fn files(answer: &Value, screen: &Screen) -> String {
    if rows(answer).is_empty() {
        return String::new();
    }
    let mut table = Table::new([("FILE", Align::Left), ("LINES", Align::Right), ("ABOUT", Align::Left)]);
    for row in rows(answer).iter().take(MAX_LINES) {
        table.row([
            (Tone::Name, word(row, "file").to_owned()),
            (Tone::Plain, human::count(number(row, "lines"))),
            (Tone::Quiet, word(row, "about").to_owned()),
        ]);
    }
    let more = rows(answer).len().saturating_sub(MAX_LINES);
    table.render(&inner(screen)) + &and_more(more)
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!("and {more} more\n") }
}

fn markers(answer: &Value, screen: &Screen) -> String {
    if rows(answer).is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        ("MARKER", Align::Left),
        ("TIMES", Align::Right),
        ("FILES", Align::Right),
        ("FIRST", Align::Left),
    ]);
    for row in rows(answer).iter().take(MAX_LINES) {
        let first = rows(&row["places"]).first().and_then(Value::as_str).unwrap_or("");
        table.row([
            (Tone::Warning, word(row, "marker").to_owned()),
            (Tone::Plain, human::count(number(row, "matches"))),
            (Tone::Plain, human::count(number(row, "files"))),
            (Tone::Quiet, first.to_owned()),
        ]);
    }
    table.render(&inner(screen))
}

fn dependencies(answer: &Value) -> String {
    let line = |row: &Value| {
        let own = names(&row["depends_on"]);
        let outside = human::counted(number(row, "from_outside"), "package");
        let own = if own.is_empty() { "nothing of this tree".to_owned() } else { own };
        format!("{} -> {own}; {outside} from outside\n", text::one_line(word(row, "package")))
    };
    let shown: String = rows(answer).iter().take(MAX_PACKAGES).map(line).collect();
    shown + &and_more(rows(answer).len().saturating_sub(MAX_PACKAGES))
}

fn public_api(answer: &Value, screen: &Screen) -> String {
    if rows(answer).is_empty() {
        return String::new();
    }
    let mut table = Table::new([("PACKAGE", Align::Left), ("NAMES", Align::Right), ("SOME", Align::Left)]);
    for row in rows(answer).iter().take(MAX_PACKAGES) {
        table.row([
            (Tone::Name, word(row, "package").to_owned()),
            (Tone::Plain, human::count(number(row, "names"))),
            (Tone::Quiet, names(&row["some"])),
        ]);
    }
    // Into a pipe nothing is cut, and thirty names on a line are no summary.
    table.render(&Screen::of_width(Some(inner(screen).layout_width()), screen.has_colors()))
}

fn most_used(answer: &Value, screen: &Screen) -> String {
    let most = rows(&answer["most_used"]);
    if most.is_empty() {
        return String::new();
    }
    let mut table = Table::new([("NAME", Align::Left), ("FILES", Align::Right), ("TIMES", Align::Right)]);
    for row in most.iter().take(MAX_LINES) {
        table.row([
            (Tone::Name, word(row, "name").to_owned()),
            (Tone::Plain, human::count(number(row, "files"))),
            (Tone::Plain, human::count(number(row, "matches"))),
        ]);
    }
    table.render(&inner(screen))
}
