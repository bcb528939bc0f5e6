//! Width and colours: decided once, at the start.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// Columns used where there is no terminal to ask but a width is needed.
const FALLBACK_WIDTH_COLUMNS: usize = 100;
/// The narrowest width anything is laid out for.
const MIN_WIDTH_COLUMNS: usize = 40;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is `dumb`.
    #[default]
    Auto,
    /// Always, also into a pipe.
    Always,
    /// Never.
    Never,
}

/// What a piece of text means; the screen decides what that looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A heading.
    Heading,
    /// Of less weight: ids, times, units.
    Quiet,
    /// What the eye should find: a name, a key.
    Name,
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// Look here.
    Warning,
}

/// Where output goes: how wide it may be and whether it may be coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    width_columns: Option<usize>,
    colors: bool,
}

impl Screen {
    /// Asks the process's standard output. Into a pipe or a file, nothing is cut and nothing coloured.
    pub fn stdout(choice: ColorChoice) -> Screen {
        let terminal = std::io::stdout().is_terminal();
        let width = terminal.then(|| {
            let width = terminal_size::terminal_size().map(|(w, _)| usize::from(w.0));
            width.filter(|w| *w > 0).unwrap_or(FALLBACK_WIDTH_COLUMNS)
        });
        let env = |name| std::env::var_os(name).filter(|v| !v.is_empty());
        let dumb = env("TERM").is_some_and(|t| t == "dumb");
        Screen::decide(choice, terminal, width, env("NO_COLOR").is_some(), dumb)
    }

    fn decide(
        choice: ColorChoice,
        terminal: bool,
        width: Option<usize>,
        no_color: bool,
        dumb: bool,
    ) -> Screen {
        let colors = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color && !dumb,
        };
        Screen { width_columns: width.map(|w| w.max(MIN_WIDTH_COLUMNS)), colors }
    }

    /// A screen of a given width in columns, for tests and for pictures in documents; `None` cuts nothing.
    pub fn of_width(width_columns: Option<usize>, colors: bool) -> Screen {
        Screen { width_columns: width_columns.map(|w| w.max(MIN_WIDTH_COLUMNS)), colors }
    }

    /// Columns a line may have, or `None` where lines are not cut.
    pub fn width(&self) -> Option<usize> {
        self.width_columns
    }

    /// Columns to lay something out for that needs a width in any case, such as a bar.
    pub fn layout_width(&self) -> usize {
        self.width_columns.unwrap_or(FALLBACK_WIDTH_COLUMNS)
    }

    /// Whether colours are wanted.
    pub fn has_colors(&self) -> bool {
        self.colors
    }

    /// The same screen with `columns` less to write in, for what is indented.
    pub fn narrower(&self, columns: usize) -> Screen {
        Screen { width_columns: self.width_columns.map(|w| w.saturating_sub(columns)), colors: self.colors }
    }

    /// `text` in the colours of `tone`, where colours are wanted.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Heading => Style::new().bold(),
            Tone::Quiet => Style::new().dimmed(),
            Tone::Name => AnsiColor::Cyan.on_default(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
            Tone::Warning => AnsiColor::Yellow.on_default(),
        };
        if !self.colors || text.is_empty() {
            return text.to_owned();
        }
        format!("{style}{text}{style:#}")
    }
}

/// The tone of a status word, the same in every table and tree.
pub(super) fn status_tone(status: &str) -> Tone {
    match status.split([':', ' ']).next().unwrap_or_default() {
        "completed" | "ok" => Tone::Good,
        "failed" | "error" | "corrupt" | "missing" => Tone::Bad,
        "running" | "paused" | "orphaned" | "cancelled" => Tone::Warning,
        _ => Tone::Quiet,
    }
}

impl Tone {
    /// The tone of a status word (`completed`, `failed`, `running`, ...).
    pub fn of_status(status: &str) -> Tone {
        status_tone(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_choice_then_the_environment_then_the_terminal() {
        let colors = |choice, terminal, no_color, dumb| {
            Screen::decide(choice, terminal, Some(80), no_color, dumb).colors
        };
        assert!(colors(ColorChoice::Auto, true, false, false));
        assert!(!colors(ColorChoice::Auto, false, false, false));
        assert!(!colors(ColorChoice::Auto, true, true, false));
        assert!(!colors(ColorChoice::Auto, true, false, true));
        assert!(colors(ColorChoice::Always, false, true, true));
        assert!(!colors(ColorChoice::Never, true, false, false));
    }

    #[test]
    fn plain_screens_add_no_byte() {
        let plain = Screen::of_width(None, false);
        assert_eq!(plain.paint(Tone::Bad, "x"), "x");
        assert_eq!(Screen::of_width(None, true).paint(Tone::Good, "x"), "\u{1b}[32mx\u{1b}[0m");
    }
}
