//! What a command prints.

use std::io::{IsTerminal, Write};

pub(crate) use in_mem_benches::{Figure, Limit};

/// Figures, printed as they come.
#[derive(Debug)]
pub(crate) struct Report {
    as_json: bool,
    has_header: bool,
    passed: usize,
    failed: Vec<String>,
}

impl Report {
    pub(crate) fn new(as_json: bool) -> Self {
        Self { as_json, has_header: false, passed: 0, failed: Vec::new() }
    }

    /// Prints a figure.
    pub(crate) fn add(&mut self, figure: Figure) {
        let out = std::io::stdout();
        let mut out = out.lock();
        // Nobody is left to tell that nobody reads: the exit code still says what came of it.
        let _ = if self.as_json { Self::json(&mut out, &figure) } else { self.row(&mut out, &figure) };
        if figure.pass {
            self.passed += 1;
        } else {
            self.failed.push(figure.name);
        }
    }

    pub(crate) fn add_all(&mut self, figures: impl IntoIterator<Item = Figure>) {
        figures.into_iter().for_each(|figure| self.add(figure));
    }

    fn json(out: &mut impl Write, figure: &Figure) -> std::io::Result<()> {
        writeln!(out, "{}", serde_json::to_string(figure)?)
    }

    fn row(&mut self, out: &mut impl Write, figure: &Figure) -> std::io::Result<()> {
        if !self.has_header {
            writeln!(out, "{:<52} {:>12} {:<12} {:>10}  {:<4}", "name", "value", "unit", "limit", "")?;
            self.has_header = true;
        }
        let limit = figure.limit.map_or_else(String::new, |limit| limit.to_string());
        let verdict = match (figure.limit, figure.pass) {
            (None, _) => "",
            (Some(_), true) => "ok",
            (Some(_), false) => "FAIL",
        };
        let (name, value) = (&figure.name, number(figure.value));
        write!(out, "{name:<52} {value:>12} {:<12} {limit:>10}  {verdict:<4}", figure.unit)?;
        writeln!(out, "{}{}", if figure.note.is_empty() { "" } else { "  " }, figure.note)
    }

    /// Prints the closing line; gives whether everything held. With `--json` the line goes where no program reads it.
    pub(crate) fn finish(self) -> bool {
        let line = format!("{} passed, {} failed", self.passed, self.failed.len());
        if self.as_json {
            if std::io::stderr().is_terminal() {
                eprintln!("{line}");
            }
        } else {
            for name in &self.failed {
                println!("failed: {name}");
            }
            println!("{line}");
        }
        self.failed.is_empty()
    }
}

/// Four significant digits, and thousands apart.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    if value.abs() >= 1000.0 {
        let digits = format!("{:.0}", value.abs());
        let mut grouped = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        return if value < 0.0 { format!("-{grouped}") } else { grouped };
    }
    if value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    format!("{value:.prec$}", prec = if value.abs() >= 100.0 { 1 } else { 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        let shown = [0.0, 1.0, 0.6789, 123.45, 1234.5, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "1", "0.68", "123.5", "1,234", "1,234,567"]);
    }

    #[test]
    fn a_line_of_json_has_the_five_fields_and_no_others() {
        let mut line = Vec::new();
        Report::json(&mut line, &Figure::limited("a", 2.0, "ratio", Limit::AtMost(1.5)).note("unseen"))
            .expect("writes to memory");
        assert_eq!(
            String::from_utf8(line).expect("is text"),
            "{\"name\":\"a\",\"value\":2.0,\"unit\":\"ratio\",\"limit\":\"<= 1.5\",\"pass\":false}\n"
        );
    }

    #[test]
    fn one_failure_fails_the_whole() {
        let mut report = Report::new(true);
        report.add(Figure::check("holds", true));
        assert!(report.failed.is_empty());
        report.add(Figure::check("does not", false));
        assert!(!report.finish());
    }
}
