//! A run's spans as a tree.

use std::collections::{HashMap, HashSet};

use super::{
    human,
    screen::{Screen, Tone, status_tone},
    text::{fit, one_line, pad_right, width},
};

/// What the tree shows of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanNode {
    /// Unique among the spans shown.
    pub id: String,
    /// The parent's id. A span whose parent is not among those shown stands at the top.
    pub parent: Option<String>,
    /// `model_call`, `tool_call`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `ok`, `failed`, `running`, or empty where nobody said.
    pub status: String,
    /// When it began, microseconds since 1970.
    pub start: Option<i64>,
    /// How long it took, microseconds.
    pub duration: Option<i64>,
    /// More about it in a few words: the model, tokens, cost, an error.
    pub detail: String,
}

/// Columns that stay for a span's name however deep it stands.
const MIN_NAME_COLUMNS: usize = 12;
/// Columns a level of depth takes.
const LEVEL_COLUMNS: usize = 3;

/// The spans as a tree, children under their parents in the order given, one line each.
pub fn span_tree(spans: &[SpanNode], screen: &Screen) -> String {
    let known: HashSet<&str> = spans.iter().map(|s| s.id.as_str()).collect();
    let mut children: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
    for (index, span) in spans.iter().enumerate() {
        let parent = span.parent.as_deref().filter(|p| known.contains(p) && *p != span.id);
        children.entry(parent).or_default().push(index);
    }

    // Levels beyond this are drawn at this depth, so that a chain of thousands of spans stays on the screen.
    let names_limit = (screen.layout_width() * 2 / 5).max(20);
    let max_drawn_depth = names_limit.saturating_sub(MIN_NAME_COLUMNS) / LEVEL_COLUMNS;

    // Depth first without recursion: the depth of a trace is up to whoever recorded it.
    let mut lines: Vec<(String, usize)> = Vec::with_capacity(spans.len());
    let mut stack: Vec<(usize, String, bool, usize)> = Vec::new();
    let push = |stack: &mut Vec<_>, siblings: Vec<usize>, lead: &str, depth: usize| {
        let last = siblings.len().saturating_sub(1);
        for (place, index) in siblings.into_iter().enumerate().rev() {
            stack.push((index, lead.to_owned(), place == last, depth));
        }
    };
    push(&mut stack, children.remove(&None).unwrap_or_default(), "", 0);
    while let Some((index, lead, last, depth)) = stack.pop() {
        let (branch, below) = match (depth, last) {
            (0, _) => (String::new(), String::new()),
            (_, true) => (format!("{lead}└─ "), format!("{lead}   ")),
            (_, false) => (format!("{lead}├─ "), format!("{lead}│  ")),
        };
        let below = if depth >= max_drawn_depth { lead } else { below };
        let children = children.remove(&Some(spans[index].id.as_str())).unwrap_or_default();
        push(&mut stack, children, &below, depth + 1);
        lines.push((branch, index));
    }
    // Spans that only reach each other (a cycle) have no way to the top; they are shown all the same.
    for index in children.into_values().flatten() {
        lines.push((String::new(), index));
    }

    let left = |(branch, index): &(String, usize)| width(branch) + width(&one_line(&spans[*index].name));
    let name_column = lines.iter().map(left).max().unwrap_or(0).min(names_limit);
    let kind_column = spans.iter().map(|s| width(&one_line(&s.kind))).max().unwrap_or(0).min(16);

    let mut out = String::new();
    for (branch, index) in &lines {
        let span = &spans[*index];
        let name = fit(&one_line(&span.name), name_column.saturating_sub(width(branch)));
        let spare = name_column.saturating_sub(width(branch) + width(&name));
        let took = span.duration.map(human::duration).unwrap_or_default();
        let took = format!("{}{took}", " ".repeat(9usize.saturating_sub(width(&took))));
        let kind = pad_right(&fit(&one_line(&span.kind), kind_column), kind_column);
        let used = name_column + 2 + kind_column + 2 + 9 + 2 + width(&span.status);
        let detail = one_line(&span.detail);
        let detail = match screen.width() {
            Some(columns) => fit(&detail, columns.saturating_sub(used + 2)),
            None => detail,
        };
        let tone = if status_tone(&span.status) == Tone::Bad { Tone::Bad } else { Tone::Name };
        let mut line = format!(
            "{}{}{}  {}  {took}  {}",
            screen.paint(Tone::Quiet, branch),
            screen.paint(tone, &name),
            " ".repeat(spare),
            screen.paint(Tone::Quiet, &kind),
            screen.paint(status_tone(&span.status), &one_line(&span.status)),
        );
        if !detail.is_empty() {
            line.push_str("  ");
            line.push_str(&screen.paint(Tone::Quiet, &detail));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, parent: Option<&str>, status: &str) -> SpanNode {
        SpanNode {
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            kind: "tool_call".to_owned(),
            name: id.to_owned(),
            status: status.to_owned(),
            start: None,
            duration: Some(1_500),
            detail: String::new(),
        }
    }

    #[test]
    fn children_stand_under_their_parents() {
        let spans = [
            node("top", None, "ok"),
            node("a", Some("top"), "ok"),
            node("a1", Some("a"), "failed"),
            node("b", Some("top"), ""),
        ];
        assert_eq!(
            span_tree(&spans, &Screen::of_width(None, false)),
            "top       tool_call     1.5 ms  ok\n\
             ├─ a      tool_call     1.5 ms  ok\n\
             │  └─ a1  tool_call     1.5 ms  failed\n\
             └─ b      tool_call     1.5 ms\n"
        );
    }

    #[test]
    fn every_span_is_shown_once_whatever_the_links() {
        let mut spans = vec![
            node("orphan", Some("nobody"), ""),
            node("self", Some("self"), ""),
            node("x", Some("y"), ""),
            node("y", Some("x"), ""),
        ];
        for depth in 0..5_000 {
            let parent = (depth > 0).then(|| format!("d{}", depth - 1));
            spans.push(node(&format!("d{depth}"), parent.as_deref(), ""));
        }
        let text = span_tree(&spans, &Screen::of_width(Some(80), false));
        assert_eq!(text.lines().count(), spans.len());
        assert!(text.lines().all(|l| width(l) <= 80), "deep trees do not run off the screen");
    }
}
