//! A diff as text.

use std::fmt;

use in_mem_model::Value;
use in_mem_shard::core::event::Event;

use super::spans::{SpanDiff, SpanSide, TraceDiff, TraceTotals};
use super::values::ValueDiff;
use super::{Diff, Divergence, KeyDiff};

/// The most bytes of a value that the text form shows.
const SHOWN_VALUE_BYTES: usize = 120;

/// Levels of a trace that stand further right than the one above.
const SHOWN_DEPTH: usize = 24;

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "(nothing)".to_owned() };
    let mut text = value.to_json().to_string();
    if text.len() > SHOWN_VALUE_BYTES {
        let end = (0..=SHOWN_VALUE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let more = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("... ({more} bytes more)"));
    }
    text
}

fn write_part(f: &mut fmt::Formatter<'_>, indent: &str, part: &ValueDiff) -> fmt::Result {
    let path = if part.path.is_empty() { "(value)" } else { &part.path };
    writeln!(f, "{indent}{path}")?;
    writeln!(f, "{indent}  - {}", shown(part.a.as_ref()))?;
    writeln!(f, "{indent}  + {}", shown(part.b.as_ref()))
}

fn write_keys(f: &mut fmt::Formatter<'_>, what: &str, keys: &[KeyDiff]) -> fmt::Result {
    if keys.is_empty() {
        return Ok(());
    }
    let count = |wanted: fn(&KeyDiff) -> bool| keys.iter().filter(|key| wanted(key)).count();
    let (added, removed) = (count(|key| key.a.is_none()), count(|key| key.b.is_none()));
    writeln!(f, "{what}: {added} added, {removed} removed, {} changed", keys.len() - added - removed)?;
    for key in keys {
        match (&key.a, &key.b) {
            (None, b) => writeln!(f, "  + {}  {}", key.key, shown(b.as_ref()))?,
            (a, None) => writeln!(f, "  - {}  {}", key.key, shown(a.as_ref()))?,
            _ => {
                writeln!(f, "  ~ {}", key.key)?;
                key.parts.iter().try_for_each(|part| write_part(f, "      ", part))?;
            }
        }
    }
    Ok(())
}

fn write_totals(f: &mut fmt::Formatter<'_>, mark: char, totals: &TraceTotals) -> fmt::Result {
    let TraceTotals { spans, elapsed_micros, input_tokens, output_tokens, .. } = totals;
    let ms = *elapsed_micros as f64 / 1e3;
    writeln!(f, "  {mark} {spans} spans, {ms:.1} ms, {input_tokens} tokens in, {output_tokens} out")
}

/// What a span took and used, the first's beside the second's where they are not the same.
fn beside(span: &SpanDiff) -> String {
    let took = |side: &SpanSide| match side.duration_micros {
        Some(micros) => format!("{:.1} ms", micros as f64 / 1e3),
        None => "under way".to_owned(),
    };
    let tokens = |side: &SpanSide| match (side.total.input_tokens, side.total.output_tokens) {
        (0, 0) => String::new(),
        (input, output) => format!("{input}+{output} tokens"),
    };
    let both = |of: &dyn Fn(&SpanSide) -> String| match (span.a.as_ref().map(of), span.b.as_ref().map(of)) {
        (Some(a), Some(b)) if a == b => a,
        (Some(a), Some(b)) => format!("{a} | {b}"),
        (a, b) => a.or(b).unwrap_or_default(),
    };
    format!("{}  {}", both(&took), both(&tokens)).trim_end().to_owned()
}

/// The spans that differ, each below what it is a part of.
fn write_traces(f: &mut fmt::Formatter<'_>, traces: &TraceDiff) -> fmt::Result {
    if traces.is_empty() {
        return Ok(());
    }
    let (added, removed, changed) = traces.counts();
    writeln!(f, "traces: {added} added, {removed} removed, {changed} changed")?;
    write_totals(f, '-', &traces.totals.0)?;
    write_totals(f, '+', &traces.totals.1)?;
    for (span, leads) in traces.spans.iter().zip(traces.leads_to_difference()) {
        if !leads {
            continue;
        }
        let mark = match (&span.a, &span.b) {
            (None, _) => '+',
            (_, None) => '-',
            _ if span.is_same() => ' ',
            _ => '~',
        };
        let indent = 2 * span.depth.min(SHOWN_DEPTH);
        writeln!(f, "  {mark} {:indent$}{} {}  {}", "", span.kind, span.name, beside(span))?;
        span.parts.iter().try_for_each(|part| write_part(f, &" ".repeat(6 + indent), part))?;
    }
    Ok(())
}

fn write_event(f: &mut fmt::Formatter<'_>, mark: char, event: &Event) -> fmt::Result {
    writeln!(f, "  {mark} {:>5}  {}  {}", event.sequence, event.kind, shown(Some(&event.payload)))
}

impl fmt::Display for Diff {
    /// The difference for people, the first state marked `-`, the second `+`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "- {} at version {} ({} events)", self.a.run, self.a.version, self.events.0)?;
        writeln!(f, "+ {} at version {} ({} events)", self.b.run, self.b.version, self.events.1)?;
        if self.is_empty() {
            return writeln!(f, "no difference");
        }
        if let Some(Divergence { sequence, context, a, b, parts }) = &self.divergence {
            writeln!(f, "events: the same up to number {sequence}, then")?;
            context.iter().try_for_each(|event| write_event(f, ' ', event))?;
            match a {
                Some(event) => write_event(f, '-', event)?,
                None => writeln!(f, "  - (ends here)")?,
            }
            match b {
                Some(event) => write_event(f, '+', event)?,
                None => writeln!(f, "  + (ends here)")?,
            }
            parts.iter().try_for_each(|part| write_part(f, "      ", part))?;
        }
        write_keys(f, "keys", &self.kv)?;
        write_keys(f, "cells", &self.state)?;
        write_traces(f, &self.traces)
    }
}
