//! `diff`: how two runs differ, and where they first went different ways.

use std::process::ExitCode;

use in_mem::{Diff, Divergence, Event, KeyDiff, Side, SpanDiff, SpanSide, TraceDiff, Value, ValueDiff};
use serde_json::json;

use super::{
    Failure,
    changes::{key_text, preview},
    history, open, print,
};
use crate::{
    args::{Common, DiffArgs},
    render::{Screen, Tone, gist, human, text},
};

/// Keys of each primitive, and parts of a value, that are shown without `--all`.
const MAX_LINES: usize = 12;
/// Characters that both texts have and that are shown before the first that differs.
const LEAD_CHARS: usize = 24;
/// Levels of a trace that stand further right than the one above.
const MAX_SHOWN_DEPTH: usize = 12;
/// Columns that the name of a span may take, how deep it stands included.
const MAX_NAME_COLUMNS: usize = 44;
/// Characters of a value that a line shows where nothing else cuts it.
const MAX_VALUE_CHARS: usize = 160;

pub(super) fn diff(args: &DiffArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let (a, at_a) = history::run_at_point(&db, &args.a)?;
    let (b, at_b) = history::run_at_point(&db, &args.b)?;
    let names = [a.info()?.meta.name, b.info()?.meta.name];
    let diff = db.diff_at((a.id(), at_a), (b.id(), at_b))?;
    let max = if args.all { usize::MAX } else { MAX_LINES };
    print(common, || as_json(&diff), |screen| Page { screen, max }.text(&diff, [&names[0], &names[1]]))?;
    Ok(ExitCode::SUCCESS)
}

/// The diff as one object; of spans that are the same on both sides, without what they were given and gave.
fn as_json(diff: &Diff) -> serde_json::Value {
    let mut json = json!(diff);
    if let Some(spans) = json["traces"]["spans"].as_array_mut() {
        for (json, _) in spans.iter_mut().zip(&diff.traces.spans).filter(|(_, span)| span.is_same()) {
            for side in ["a", "b"] {
                if let Some(side) = json[side].as_object_mut() {
                    side.retain(|field, _| !matches!(&**field, "input" | "output" | "attributes"));
                }
            }
        }
    }
    json
}

/// How long a span took; nothing where its source had no times.
fn took(side: &SpanSide) -> String {
    match side.duration_micros {
        None => "under way".to_owned(),
        Some(0) => String::new(),
        Some(micros) => human::duration(i64::try_from(micros).unwrap_or(i64::MAX)),
    }
}

/// The tokens that a span and all below it read and wrote.
fn tokens(side: &SpanSide) -> String {
    match (side.total.input_tokens, side.total.output_tokens) {
        (0, 0) => String::new(),
        (input, output) => format!("{} → {}", human::count(input), human::count(output)),
    }
}

struct Page<'s> {
    screen: &'s Screen,
    max: usize,
}

impl Page<'_> {
    fn text(&self, diff: &Diff, names: [&str; 2]) -> String {
        let mut out = self.side('-', &diff.a, diff.events.0, names[0]);
        out.push_str(&self.side('+', &diff.b, diff.events.1, names[1]));
        if diff.is_empty() {
            out.push_str(&self.screen.paint(Tone::Good, "no difference"));
            out.push('\n');
            return out;
        }
        match &diff.divergence {
            Some(divergence) => self.divergence(divergence, &mut out),
            None => {
                out.push('\n');
                out.push_str(&self.screen.paint(Tone::Good, "events: the same"));
                out.push('\n');
            }
        }
        self.keys("state cells", &diff.state, &mut out);
        self.keys("keys", &diff.kv, &mut out);
        self.spans(&diff.traces, &mut out);
        out
    }

    fn side(&self, mark: char, side: &Side, events: u64, name: &str) -> String {
        let what = format!(
            "{}  version {}, {}",
            text::one_line(name),
            side.version,
            human::counted(events, "event")
        );
        format!("{} {}  {what}\n", self.mark(mark), self.screen.paint(Tone::Name, &side.run.to_string()))
    }

    fn mark(&self, mark: char) -> String {
        let tone = match mark {
            '+' => Tone::Good,
            '-' => Tone::Bad,
            _ => Tone::Warning,
        };
        self.screen.paint(tone, &mark.to_string())
    }

    /// The events on both sides of the point where the two went different ways.
    fn divergence(&self, d: &Divergence, out: &mut String) {
        let words = match d.sequence {
            0 => "events: different from the first one on".to_owned(),
            1 => "events: the first is the same, then".to_owned(),
            same => format!("events: the first {} are the same, then", human::count(same)),
        };
        out.push_str(&format!("\n{}\n", self.screen.paint(Tone::Heading, &words)));
        let all = || d.context.iter().chain(&d.a).chain(&d.b);
        let number = all().map(|e| e.sequence.to_string().len()).max().unwrap_or(1);
        let kind = all().map(|e| text::width(&text::one_line(&e.kind))).max().unwrap_or(0);
        let line = |mark: char, event: &Event| {
            let gist = self.fit(&gist(&event.payload.to_json()), 4 + number + 2 + kind + 2);
            let head = format!(
                "{:>number$}  {}  ",
                event.sequence,
                text::pad_right(&text::one_line(&event.kind), kind)
            );
            match mark {
                ' ' => format!("    {}\n", self.screen.paint(Tone::Quiet, &format!("{head}{gist}"))),
                mark => format!("  {} {head}{gist}\n", self.mark(mark)),
            }
        };
        for event in &d.context {
            out.push_str(&line(' ', event));
        }
        for (mark, event) in [('-', &d.a), ('+', &d.b)] {
            match event {
                Some(event) => out.push_str(&line(mark, event)),
                None => out.push_str(&format!("  {} the run ends here\n", self.mark(mark))),
            }
        }
        self.parts(&d.parts, out);
    }

    fn keys(&self, title: &str, keys: &[KeyDiff], out: &mut String) {
        if keys.is_empty() {
            return;
        }
        self.heading(title, keys, out);
        let shown = &keys[..keys.len().min(self.max)];
        let column = shown.iter().map(|key| text::width(&key_text(&key.key))).max().unwrap_or(0).min(28);
        for key in shown {
            let name = text::pad_right(&key_text(&key.key), column);
            let (mark, value) = match (&key.a, &key.b) {
                (None, b) => ('+', b.as_ref()),
                (a, None) => ('-', a.as_ref()),
                _ => ('~', None),
            };
            let value = value.map(preview).unwrap_or_default();
            let value = self.fit(&value, 4 + text::width(&name) + 2);
            let line = format!("  {} {}  {value}", self.mark(mark), self.screen.paint(Tone::Name, &name));
            out.push_str(line.trim_end());
            out.push('\n');
            self.parts(&key.parts, out);
        }
        self.and_more(keys.len() - shown.len(), "  ", out);
    }

    fn heading(&self, title: &str, keys: &[KeyDiff], out: &mut String) {
        let added = keys.iter().filter(|key| key.a.is_none()).count();
        let removed = keys.iter().filter(|key| key.b.is_none()).count();
        let changed = keys.len() - added - removed;
        self.counts(title, &[(added, "added"), (removed, "removed"), (changed, "changed")], out);
    }

    fn counts(&self, title: &str, counts: &[(usize, &str)], out: &mut String) {
        let counts: Vec<String> = counts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{} {what}", human::count(*n as u64)))
            .collect();
        let words = format!("{title}: {}", counts.join(", "));
        out.push_str(&format!("\n{}\n", self.screen.paint(Tone::Heading, &words)));
    }

    /// The two traces beside each other: what differs, below what it is a part of.
    fn spans(&self, traces: &TraceDiff, out: &mut String) {
        if traces.is_empty() {
            return;
        }
        let (added, removed, changed) = traces.counts();
        self.counts("traces", &[(added, "added"), (removed, "removed"), (changed, "changed")], out);
        let leads = traces.leads_to_difference();
        let shown: Vec<&SpanDiff> =
            traces.spans.iter().zip(leads).filter(|(_, leads)| *leads).map(|(span, _)| span).collect();
        let rest = shown.len();
        let shown = &shown[..rest.min(self.max.saturating_mul(2))];
        let name = |span: &SpanDiff| {
            let indent = 2 * span.depth.min(MAX_SHOWN_DEPTH);
            text::fit(&format!("{:indent$}{}", "", text::one_line(&span.name)), MAX_NAME_COLUMNS)
        };
        let names = shown.iter().map(|span| text::width(&name(span))).max().unwrap_or(0);
        let kinds = shown.iter().map(|span| text::width(&text::one_line(span.kind.as_str()))).max();
        let sides = |of: &dyn Fn(&SpanSide) -> String, span: &SpanDiff| {
            [&span.a, &span.b].map(|side| side.as_ref().map(of).unwrap_or_default())
        };
        let columns: Vec<[String; 4]> = shown
            .iter()
            .map(|span| {
                let ([took_a, took_b], [used_a, used_b]) = (sides(&took, span), sides(&tokens, span));
                [took_a, took_b, used_a, used_b]
            })
            .collect();
        let width = |n: usize| columns.iter().map(|c| text::width(&c[n])).max().unwrap_or(0);
        let widths: [usize; 4] = std::array::from_fn(width);
        let totals = [("-", &traces.totals.0, Tone::Bad), ("+", &traces.totals.1, Tone::Good)];
        for (mark, total, tone) in totals {
            let mut words = vec![human::counted(total.spans, "span")];
            if total.elapsed_micros > 0 {
                words.push(human::duration(i64::try_from(total.elapsed_micros).unwrap_or(i64::MAX)));
            }
            if total.input_tokens + total.output_tokens > 0 {
                let (input, output) = (human::count(total.input_tokens), human::count(total.output_tokens));
                words.push(format!("{input} → {output} tokens"));
            }
            if total.cost_usd > 0.0 {
                words.push(human::usd(total.cost_usd));
            }
            out.push_str(&format!("  {} {}\n", self.screen.paint(tone, mark), words.join(", ")));
        }
        for (span, columns) in shown.iter().zip(&columns) {
            let (mark, tone) = match (&span.a, &span.b) {
                (None, _) => ('+', Tone::Good),
                (_, None) => ('-', Tone::Bad),
                _ if span.is_same() => (' ', Tone::Quiet),
                _ => ('~', Tone::Name),
            };
            let kind = text::pad_right(&text::one_line(span.kind.as_str()), kinds.unwrap_or(0));
            let mut line = format!(
                "  {} {}  {}",
                self.screen.paint(tone, &mark.to_string()),
                self.screen.paint(tone, &text::pad_right(&name(span), names)),
                self.screen.paint(Tone::Quiet, &kind),
            );
            for ((column, width), tone) in
                columns.iter().zip(widths).zip([Tone::Bad, Tone::Good, Tone::Bad, Tone::Good])
            {
                if width > 0 {
                    let pad = " ".repeat(width - text::width(column));
                    line.push_str(&format!("  {pad}{}", self.screen.paint(tone, column)));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
            self.parts(&span.parts, out);
        }
        self.and_more(rest - shown.len(), "  ", out);
    }

    /// Where two values differ, the two sides below each other, cut so that the difference is in view.
    fn parts(&self, parts: &[ValueDiff], out: &mut String) {
        let shown = &parts[..parts.len().min(self.max)];
        for part in shown {
            if !part.path.is_empty() {
                let path = text::one_line(&part.path);
                out.push_str(&format!("      {}\n", self.screen.paint(Tone::Quiet, &path)));
            }
            let [a, b] = in_view(part.a.as_ref(), part.b.as_ref());
            for (mark, tone, side) in [('-', Tone::Bad, a), ('+', Tone::Good, b)] {
                let Some(side) = side else { continue };
                out.push_str(&format!(
                    "      {}\n",
                    self.screen.paint(tone, &format!("{mark} {}", self.fit(&side, 8)))
                ));
            }
        }
        self.and_more(parts.len() - shown.len(), "      ", out);
    }

    fn and_more(&self, more: usize, indent: &str, out: &mut String) {
        if more > 0 {
            let words = format!("{indent}and {} more; --all shows them", human::count(more as u64));
            out.push_str(&format!("{}\n", self.screen.paint(Tone::Quiet, &words)));
        }
    }

    fn fit(&self, value: &str, used: usize) -> String {
        let room = self.screen.width().map_or(MAX_VALUE_CHARS, |columns| columns.saturating_sub(used));
        text::fit(value, room)
    }
}

/// Both values in one line each, without what they begin with alike but for a few characters.
fn in_view(a: Option<&Value>, b: Option<&Value>) -> [Option<String>; 2] {
    let line = |value: &Value| match value {
        // As JSON, so that an empty text and the text `null` can be told from what they look like.
        Value::Bytes(bytes) => format!("{} of bytes", human::bytes(bytes.len() as u64)),
        other => text::one_line(&other.to_json().to_string()),
    };
    let (a, b) = (a.map(line), b.map(line));
    let (Some(a), Some(b)) = (&a, &b) else { return [a, b] };
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let cut = same.saturating_sub(LEAD_CHARS);
    let from = |side: &str| match cut {
        0 => side.to_owned(),
        cut => format!("…{}", side.chars().skip(cut).collect::<String>()),
    };
    [Some(from(a)), Some(from(b))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_far_into_a_text_is_in_view() {
        let long = "the same words again ".repeat(50);
        let (a, b) = (Value::from(format!("{long}left")), Value::from(format!("{long}right")));
        for (side, word) in in_view(Some(&a), Some(&b)).into_iter().flatten().zip(["left", "right"]) {
            assert!(side.starts_with('…') && side.contains(word) && side.chars().count() < 40, "{side}");
        }
        assert_eq!(in_view(None, Some(&Value::from(1))), [None, Some("1".to_owned())]);
    }
}
