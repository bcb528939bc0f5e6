//! Aligned columns without lines around them: what is read is the data.

use super::{
    screen::{Screen, Tone},
    text::{fit, one_line, width},
};

/// Spaces between two columns.
const GAP_COLUMNS: usize = 2;
/// A column that has to give way keeps this many columns.
const MIN_COLUMN_COLUMNS: usize = 6;

/// On which side a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

struct Column {
    head: String,
    align: Align,
}

/// Rows of cells under headings.
///
/// Where the rows are wider than the screen, the widest columns give way and their cells end in `…`; into a pipe
/// nothing is cut.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(Tone, String)>>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("columns", &self.columns.len()).field("rows", &self.rows.len()).finish()
    }
}

impl Table {
    /// A table with these columns and no rows.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Table {
        let columns = columns.into_iter().map(|(head, align)| Column { head: head.to_owned(), align });
        Table { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row. Cells are made one line each; missing ones are empty, those beyond the last column are dropped.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = (Tone, S)>) {
        let cells = cells.into_iter().take(self.columns.len());
        self.rows.push(cells.map(|(tone, text)| (tone, one_line(text.as_ref()))).collect());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, a line for each row, each ending in a line break.
    pub fn render(&self, screen: &Screen) -> String {
        let widths = self.widths(screen.width());
        let mut out = String::new();
        let heads = self.columns.iter().map(|c| (Tone::Heading, c.head.as_str()));
        self.line(heads, &widths, screen, &mut out);
        for row in &self.rows {
            self.line(row.iter().map(|(tone, text)| (*tone, text.as_str())), &widths, screen, &mut out);
        }
        out
    }

    fn line<'a>(
        &self,
        cells: impl Iterator<Item = (Tone, &'a str)>,
        widths: &[usize],
        screen: &Screen,
        out: &mut String,
    ) {
        let mut pending = 0;
        for ((index, column), (tone, text)) in self.columns.iter().enumerate().zip(cells) {
            let text = fit(text, widths[index]);
            let spare = widths[index] - width(&text);
            let (before, after) = if column.align == Align::Right { (spare, 0) } else { (0, spare) };
            if !text.is_empty() {
                // Spaces are written only once something follows them, so that no line ends in them.
                out.push_str(&" ".repeat(pending + before));
                out.push_str(&screen.paint(tone, &text));
                pending = after;
            } else {
                pending += before + after;
            }
            pending += GAP_COLUMNS;
        }
        out.push('\n');
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|c| width(&c.head)).collect();
        for row in &self.rows {
            for (index, (_, text)) in row.iter().enumerate() {
                widths[index] = widths[index].max(width(text));
            }
        }
        let Some(limit) = limit else { return widths };
        let gaps = GAP_COLUMNS * widths.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(limit);
        while excess > 0 {
            let Some(widest) = (0..widths.len()).max_by_key(|i| widths[*i]) else { break };
            if widths[widest] <= MIN_COLUMN_COLUMNS {
                break;
            }
            // Down to the next widest in one go, so that equals then share what is left to give.
            let next = (0..widths.len()).filter(|i| *i != widest).map(|i| widths[i]).max().unwrap_or(0);
            let target = next.max(MIN_COLUMN_COLUMNS).min(widths[widest] - 1);
            let step = excess.min(widths[widest] - target);
            widths[widest] -= step;
            excess -= step;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([("RUN", Align::Left), ("EVENTS", Align::Right), ("STATUS", Align::Left)]);
        table.row([
            (Tone::Name, "a long name of a run that says much"),
            (Tone::Plain, "5"),
            (Tone::Good, "completed"),
        ]);
        table.row([(Tone::Name, "日本語"), (Tone::Plain, "5,308"), (Tone::Bad, "")]);
        table
    }

    #[test]
    fn columns_line_up_and_lines_have_no_tail() {
        let text = table().render(&Screen::of_width(None, false));
        assert_eq!(
            text,
            "RUN                                  EVENTS  STATUS\n\
             a long name of a run that says much       5  completed\n\
             日本語                                5,308\n"
        );
    }

    #[test]
    fn a_narrow_screen_is_kept() {
        let text = table().render(&Screen::of_width(Some(40), false));
        assert!(text.lines().all(|line| width(line) <= 40), "{text}");
        assert!(text.contains('…'));
    }

    #[test]
    fn a_cell_cannot_break_out_of_its_line() {
        let mut table = Table::new([("A", Align::Left)]);
        table.row([(Tone::Plain, "x\ny\u{1b}[2J")]);
        assert_eq!(table.render(&Screen::of_width(None, false)).lines().count(), 2);
    }
}
