//! A run's events, one line each, in order.

use serde_json::Value;

use super::{
    human,
    screen::{Screen, Tone},
    text::{fit, one_line, pad_right, preview, width},
};

/// What the timeline shows of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineEvent {
    /// Its number in the run's log, from 0.
    pub sequence: u64,
    /// When, microseconds since 1970; `None` where the source has no times.
    pub at: Option<i64>,
    /// Its type, for example `message.user`.
    pub kind: String,
    /// Its content.
    pub payload: Value,
}

/// The events as lines of number, time, type and as much of the content as there is room for.
///
/// The first time is written in full and the others as the distance from it, since what matters in a run is how long
/// things took.
pub fn timeline(events: &[TimelineEvent], screen: &Screen) -> String {
    let number_column = events.last().map_or(1, |e| e.sequence.to_string().len());
    let kind_column = events.iter().map(|e| width(&one_line(&e.kind))).max().unwrap_or(0).min(24);
    let first = events.iter().find_map(|e| e.at);
    let mut out = String::new();
    if let Some(first) = first {
        out.push_str(&screen.paint(Tone::Quiet, &format!("times from {} UTC", human::time(first))));
        out.push('\n');
    }
    for event in events {
        let after = match (first, event.at) {
            (Some(first), Some(at)) if at >= first => format!("+{}", human::duration(at - first)),
            (Some(first), Some(at)) => human::duration(at - first),
            _ => String::new(),
        };
        let time_column = if first.is_some() { 11 } else { 0 };
        let kind = fit(&one_line(&event.kind), kind_column);
        let content = gist(&event.payload);
        let used = number_column + 2 + time_column + if time_column > 0 { 2 } else { 0 } + kind_column + 2;
        let content = match screen.width() {
            Some(columns) => fit(&content, columns.saturating_sub(used)),
            None => content,
        };
        let number = format!("{:>number_column$}", event.sequence);
        let mut line = screen.paint(Tone::Quiet, &number);
        line.push_str("  ");
        if time_column > 0 {
            let lead = " ".repeat(time_column - width(&after).min(time_column));
            line.push_str(&screen.paint(Tone::Quiet, &format!("{lead}{after}")));
            line.push_str("  ");
        }
        line.push_str(&screen.paint(kind_tone(&event.kind), &pad_right(&kind, kind_column)));
        line.push_str("  ");
        line.push_str(&content);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn kind_tone(kind: &str) -> Tone {
    match kind {
        k if k.contains("error") || k.contains("failed") => Tone::Bad,
        k if k.starts_with("tool.") || k.ends_with("action") => Tone::Warning,
        k if k.starts_with("message.") => Tone::Name,
        _ => Tone::Plain,
    }
}

/// The part of an event that says most: the words of a message, the name and arguments of a call.
pub fn gist(payload: &Value) -> String {
    let message = payload.get("message").filter(|m| m.is_object()).unwrap_or(payload);
    if let (Some(Value::String(name)), Some(arguments)) = (payload.get("name"), payload.get("arguments")) {
        return format!("{}({})", one_line(name), preview(arguments));
    }
    for key in ["content", "thought", "action", "observation", "text", "result"] {
        match message.get(key) {
            Some(Value::String(words)) if !words.trim().is_empty() => {
                return preview(&Value::String(words.clone()));
            }
            Some(value @ (Value::Array(_) | Value::Object(_))) => return preview(value),
            _ => {}
        }
    }
    preview(payload)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_hold_number_distance_type_and_gist() {
        let events = [
            TimelineEvent {
                sequence: 9,
                at: Some(1_000_000),
                kind: "message.user".into(),
                payload: json!({"role": "user", "content": "hi\nthere"}),
            },
            TimelineEvent {
                sequence: 10,
                at: Some(2_200_000),
                kind: "tool.call".into(),
                payload: json!({"name": "read", "arguments": {"path": "a"}}),
            },
        ];
        assert_eq!(
            timeline(&events, &Screen::of_width(None, false)),
            "times from 1970-01-01 00:00:01.000 UTC\n\
             \u{20}9        +0 µs  message.user  hi there\n\
             10       +1.2 s  tool.call     read({\"path\":\"a\"})\n"
        );
    }

    #[test]
    fn a_line_never_leaves_the_screen() {
        let events =
            [TimelineEvent { sequence: 0, at: None, kind: "x".repeat(300), payload: json!("y".repeat(300)) }];
        let text = timeline(&events, &Screen::of_width(Some(60), false));
        assert!(text.lines().all(|l| width(l) <= 60), "{text}");
    }
}
