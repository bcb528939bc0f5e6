//! `--json`: one JSON object on each line, for other programs.

use std::io::{self, Write};

use serde::Serialize;

/// Writes values as JSON lines.
#[derive(Debug)]
pub struct JsonLines<W: Write> {
    out: W,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        JsonLines { out }
    }

    /// Writes one value on one line. Fails where the value cannot be JSON or `out` cannot be written, as when the
    /// program that read it has gone.
    pub fn write(&mut self, value: &impl Serialize) -> io::Result<()> {
        // Through a buffer, so that a value that fails half-way leaves no half line.
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.out.write_all(&line)
    }

    /// Writes what is still buffered below.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_line_whatever_is_in_it() {
        let mut out = Vec::new();
        let mut lines = JsonLines::new(&mut out);
        lines.write(&serde_json::json!({"a": "x\ny\u{1b}"})).unwrap();
        lines.write(&1).unwrap();
        lines.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":\"x\\ny\\u001b\"}\n1\n");
    }
}
