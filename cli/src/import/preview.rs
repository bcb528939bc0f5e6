//! `import --dry-run`: what is in the files, and what is wrong with them, without a database.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{Format, ImportError, ImportedRun, read_file};
use crate::render::{Align, Screen, Table, Tone, human};

/// What some files would bring in.
#[derive(Debug, Default)]
pub struct Preview {
    files: Vec<FileCounts>,
    /// Where each source id was first seen.
    seen: HashMap<String, PathBuf>,
    /// What could not be read.
    pub errors: Vec<ImportError>,
    /// What had to be put right, and runs that come twice.
    pub warnings: Vec<String>,
}

/// The counts of one file, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs.
    pub runs: u64,
    /// Runs among these that came before: they go in once.
    pub repeated: u64,
    /// Events.
    pub events: u64,
    /// Events that are messages.
    pub messages: u64,
    /// Spans.
    pub spans: u64,
    /// Spans that are tool calls.
    pub tool_calls: u64,
    /// Keys of final state.
    pub keys: u64,
    /// Faults.
    pub errors: u64,
}

impl Counts {
    /// Both together.
    pub fn plus(&self, other: &Counts) -> Counts {
        Counts {
            runs: self.runs + other.runs,
            repeated: self.repeated + other.repeated,
            events: self.events + other.events,
            messages: self.messages + other.messages,
            spans: self.spans + other.spans,
            tool_calls: self.tool_calls + other.tool_calls,
            keys: self.keys + other.keys,
            errors: self.errors + other.errors,
        }
    }
}

#[derive(Debug)]
struct FileCounts {
    file: PathBuf,
    counts: Counts,
}

impl Preview {
    /// Reads the files.
    pub fn of(files: &[PathBuf], format: Format) -> Preview {
        let mut preview = Preview::default();
        for file in files {
            let mut counts = Counts::default();
            read_file(file, format, |run| {
                match run {
                    Ok(run) => preview.add(&run, file, &mut counts),
                    Err(error) => {
                        counts.errors += 1;
                        preview.errors.push(error);
                    }
                }
                ControlFlow::Continue(())
            });
            preview.files.push(FileCounts { file: file.clone(), counts });
        }
        preview
    }

    fn add(&mut self, run: &ImportedRun, file: &Path, counts: &mut Counts) {
        for warning in &run.warnings {
            self.warnings.push(format!("{}: {}: {warning}", file.display(), run.name));
        }
        counts.runs += 1;
        if let Some(first) = self.seen.get(&run.source_id) {
            counts.repeated += 1;
            let warning = format!("{}: {}: the same run as in {}", file.display(), run.name, first.display());
            self.warnings.push(warning);
            return;
        }
        self.seen.insert(run.source_id.clone(), file.to_owned());
        counts.events += run.events.len() as u64;
        counts.messages += run.message_count() as u64;
        counts.spans += run.spans.len() as u64;
        counts.tool_calls += run.tool_call_count() as u64;
        counts.keys += run.state.len() as u64;
    }

    /// All files together.
    pub fn total(&self) -> Counts {
        self.files.iter().fold(Counts::default(), |sum, file| sum.plus(&file.counts))
    }

    /// A row for each file and one for all.
    pub fn render(&self, screen: &Screen) -> String {
        let heads = ["RUNS", "MESSAGES", "EVENTS", "TOOL CALLS", "SPANS", "KEYS", "FAULTS"];
        let columns = [("FILE", Align::Left)].into_iter().chain(heads.map(|h| (h, Align::Right)));
        let mut table = Table::new(columns);
        let mut row = |name: &str, tone, c: &Counts| {
            let numbers = [c.runs - c.repeated, c.messages, c.events, c.tool_calls, c.spans, c.keys];
            let numbers = numbers.map(|n| (Tone::Plain, human::count(n)));
            let faults = (if c.errors > 0 { Tone::Bad } else { Tone::Quiet }, human::count(c.errors));
            table.row([(tone, name.to_owned())].into_iter().chain(numbers).chain([faults]));
        };
        for file in &self.files {
            let name = file.file.file_name().unwrap_or(file.file.as_os_str()).to_string_lossy();
            row(&name, Tone::Name, &file.counts);
        }
        if self.files.len() > 1 {
            row("together", Tone::Heading, &self.total());
        }
        table.render(screen)
    }

    /// The counts of each file as JSON objects.
    pub fn json(&self) -> impl Iterator<Item = serde_json::Value> {
        self.files.iter().map(|f| {
            let c = &f.counts;
            json!({
                "file": f.file, "runs": c.runs - c.repeated, "repeated": c.repeated, "messages": c.messages,
                "events": c.events, "tool_calls": c.tool_calls, "spans": c.spans, "keys": c.keys, "faults": c.errors,
            })
        })
    }
}
