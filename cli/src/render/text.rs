//! Text from outside, made fit for one cell or one line.

use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that `text` takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` on one line: line breaks and tabs become spaces, other control characters become visible escapes.
///
/// What an agent recorded may hold anything a web page or a model sent it. Printed raw, an escape sequence in it could
/// rename the window, hide lines or paste into the shell; and a right-to-left override could make one id look like another.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for c in text.chars() {
        if c == '\n' || c == '\r' || c == '\t' || c == ' ' {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) && !out.is_empty() {
            out.push(' ');
        }
        push_visible(c, &mut out);
    }
    out
}

/// `text` with its lines kept and every other control character made visible.
pub fn many_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        for c in line.chars() {
            match c {
                '\t' => out.push_str("    "),
                '\r' => {}
                c => push_visible(c, &mut out),
            }
        }
        out.push('\n');
    }
    out
}

fn push_visible(c: char, out: &mut String) {
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || reorders {
        out.extend(c.escape_unicode());
    } else {
        out.push(c);
    }
}

/// `text` cut to `columns`, ending in `…` where something was cut off. Never cuts a character in two.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > room {
            break;
        }
        used += w;
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// `text` followed by spaces up to `columns`.
pub fn pad_right(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// A JSON value in one line: text without its quotes, everything else as JSON.
pub fn preview(value: &Value) -> String {
    /// A preview is cut to a line anyway; a value of megabytes need not be written out for it.
    const MAX_PREVIEW_CHARS: usize = 2_000;
    match value {
        Value::String(text) => one_line(&text.chars().take(MAX_PREVIEW_CHARS).collect::<String>()),
        other => one_line(&other.to_string().chars().take(MAX_PREVIEW_CHARS).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_within_the_columns_whatever_the_script() {
        for text in
            ["plain ascii text", "日本語のテキスト", "emoji 👩‍👩‍👧 family", "e\u{301}e\u{301}e\u{301}e\u{301}"]
        {
            for columns in 0..20 {
                let cut = fit(text, columns);
                assert!(width(&cut) <= columns, "{cut:?} is wider than {columns}");
                assert!(cut == text || cut.ends_with('…') || columns == 0);
            }
        }
    }

    #[test]
    fn nothing_from_outside_can_steer_the_terminal() {
        let hostile = "a\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\u{202e}gpj.exe\r\nb";
        for shown in [one_line(hostile), many_lines(hostile)] {
            assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
            assert!(!shown.contains('\u{202e}'));
        }
        assert!(one_line(hostile).contains("\\u{1b}"), "what was there is shown, not dropped");
    }

    #[test]
    fn a_line_has_no_double_spaces_and_no_ends() {
        assert_eq!(one_line("  a \n\n b\tc  "), "a b c");
        assert_eq!(preview(&serde_json::json!({"a": "x\ny"})), r#"{"a":"x\ny"}"#);
    }
}
