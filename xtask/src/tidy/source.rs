//! Rust source with what is no code blanked out, so that a word in a string or a comment is not taken for one in code.

/// The source with comments, strings and characters blanked; lines stay where they were.
pub(super) fn code_of(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = not_code(bytes, at);
        if end > at {
            code.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            code.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// Where what starts here and is no code ends; `at` itself where code starts here.
fn not_code(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let until = |from: usize, end: &[u8]| {
        rest[from..]
            .windows(end.len())
            .position(|window| window == end)
            .map_or(rest.len(), |found| from + found)
    };
    let is_in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let length = if rest.starts_with(b"//") {
        until(2, b"\n")
    } else if rest.starts_with(b"/*") {
        until(2, b"*/") + 2
    } else if rest[0] == b'"' {
        quoted(rest, b'"')
    } else if !is_in_word && (rest.starts_with(b"r\"") || rest.starts_with(b"r#")) {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(1 + hashes) != Some(&b'"') {
            return at;
        }
        let mut end = vec![b'"'];
        end.resize(1 + hashes, b'#');
        until(2 + hashes, &end) + end.len()
    } else if rest[0] == b'\'' && (rest.get(1) == Some(&b'\\') || rest.get(2) == Some(&b'\'')) {
        // A character; without a closing quote at once it is a lifetime.
        quoted(rest, b'\'')
    } else {
        0
    };
    (at + length).min(bytes.len())
}

/// How long a quoted text is, its quotes included.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Whether the line has this word, and not only as a part of a longer one.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let code =
            code_of("unsafe {} // unsafe\n\"unsafe \\\" unsafe\" r#\"unsafe\"# 'u' &'a unsafe /* unsafe */");
        assert_eq!(code.matches("unsafe").count(), 2, "{code}");
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("allow(unsafe_code)", "unsafe"));
    }
}
