//! `import`: runs recorded elsewhere go in, each in one commit.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use in_mem::{Database, Error, RunId};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Failure, Stored, note, open, print, run_id, runs, store};
use crate::{
    args::{Common, ImportArgs},
    import::{Counts, Format, ImportedRun, Preview, read_file},
    render::{Align, JsonLines, Screen, Table, Tone, human, text},
};

/// Things said of a file that are no fault, beyond which they are only counted.
const MAX_NOTES_PER_FILE: u64 = 20;
/// How often the progress bar moves by itself.
const TICK_INTERVAL_MS: u64 = 120;

/// Reads the files and says what would go in.
pub(super) fn dry_run(args: &ImportArgs, format: Format, common: &Common) -> Result<ExitCode, Failure> {
    let preview = Preview::of(&args.files, format);
    let mut out = io::stdout().lock();
    if common.json {
        let mut lines = JsonLines::new(&mut out);
        for line in preview.json() {
            lines.write(&line)?;
        }
        lines.finish()?;
    } else {
        out.write_all(preview.render(&Screen::stdout(common.color)).as_bytes())?;
    }
    for warning in &preview.warnings {
        note(warning);
    }
    for error in &preview.errors {
        eprintln!("error: {}", text::one_line(&error.to_string()));
    }
    Ok(if preview.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the files and puts their runs into the database.
pub(super) fn import(args: &ImportArgs, format: Format, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::or_new(common)?;
    let began = Instant::now();
    let mut import = Import { db: &db, json: common.json, bar: bar(args), files: Vec::new() };
    for file in &args.files {
        import.file(file, format)?;
    }
    import.bar.finish_and_clear();
    let total = import.total();
    db.close()?;
    let took = i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
    print(
        common,
        || {
            let mut line = total.json();
            line["type"] = "total".into();
            line["micros"] = took.into();
            line
        },
        |screen| {
            let mut out = import.table(screen);
            out.push('\n');
            out.push_str(&summary(&total, took, common, screen));
            out
        },
    )?;
    Ok(if total.counts.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn bar(args: &ImportArgs) -> ProgressBar {
    let bytes = args.files.iter().map(|f| std::fs::metadata(f).map_or(0, |m| m.len())).sum();
    // Where standard error is no terminal, it draws nothing.
    let bar = ProgressBar::new(bytes);
    let template = match args.files.len() {
        // Within a file nobody knows how far it is; what went in so far says that it goes on.
        1 => "{spinner} {wide_msg}",
        _ => "{spinner} [{bar:20}] {bytes}/{total_bytes} {wide_msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(TICK_INTERVAL_MS));
    bar
}

/// What became of the runs of one file, or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    /// Of what went in.
    counts: Counts,
    /// Things said of them that are no fault.
    notes: u64,
    present: u64,
    changed: u64,
}

impl Done {
    fn json(&self) -> serde_json::Value {
        let c = &self.counts;
        json!({
            "imported": c.runs, "present": self.present, "changed": self.changed, "messages": c.messages, "events": c.events,
            "tool_calls": c.tool_calls, "spans": c.spans, "keys": c.keys, "faults": c.errors,
        })
    }
}

struct Import<'a> {
    db: &'a Database,
    json: bool,
    bar: ProgressBar,
    files: Vec<(String, Done)>,
}

impl Import<'_> {
    fn file(&mut self, file: &Path, format: Format) -> Result<(), Failure> {
        let name = text::one_line(&file.file_name().unwrap_or(file.as_os_str()).to_string_lossy());
        self.bar.set_message(name.clone());
        let mut done = Done::default();
        let mut failure = None;
        read_file(file, format, |read| {
            let outcome = match read {
                Ok(run) => self.run(file, &run, &mut done),
                Err(error) => self.fault(file, &error.to_string(), &mut done),
            };
            let so_far = human::counted(done.counts.runs + done.present + done.changed, "run");
            let events = human::counted(done.counts.events, "event");
            self.bar.set_message(format!("{so_far}, {events} from {name}"));
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if done.notes > MAX_NOTES_PER_FILE {
            let more = done.notes - MAX_NOTES_PER_FILE;
            self.bar.suspend(|| {
                note(&format!("{}: {} like these", file.display(), human::counted(more, "more note")))
            });
        }
        self.bar.inc(std::fs::metadata(file).map_or(0, |m| m.len()));
        if let Some(failure) = failure {
            self.bar.finish_and_clear();
            return Err(failure);
        }
        if self.json {
            let mut line = done.json();
            line["type"] = "file".into();
            line["file"] = json!(file.display().to_string());
            self.line(&line)?;
        }
        self.files.push((name, done));
        Ok(())
    }

    fn run(&self, file: &Path, run: &ImportedRun, done: &mut Done) -> Result<(), Failure> {
        let id = run_id(run);
        let stored = match store(self.db, run) {
            Ok(stored) => stored,
            Err(error) if ends_the_import(&error) => return Err(error.into()),
            Err(error) => {
                let place = format!("{}: {}: cannot be stored: {error}", file.display(), run.name);
                return self.fault(file, &place, done);
            }
        };
        match stored {
            Stored::New => {
                let counts = &mut done.counts;
                counts.runs += 1;
                counts.events += run.events.len() as u64;
                counts.messages += run.message_count() as u64;
                counts.spans += run.spans.len() as u64;
                counts.tool_calls += run.tool_call_count() as u64;
                counts.keys += run.state.len() as u64;
            }
            Stored::Present => done.present += 1,
            Stored::Changed => done.changed += 1,
        }
        self.acknowledge(file, id, run, stored)?;
        if stored == Stored::Changed {
            self.say(
                format!(
                    "{}: {}: has changed since it was imported as run {id}, which was left as it is",
                    file.display(),
                    run.name
                ),
                done,
            );
        }
        if stored == Stored::New {
            for warning in &run.warnings {
                self.say(format!("{}: {}: {warning}", file.display(), run.name), done);
            }
        }
        Ok(())
    }

    /// One line for each run, written out once the commit is as durable as the mode promises: who reads the line may rely
    /// on the run.
    fn acknowledge(&self, file: &Path, id: RunId, run: &ImportedRun, stored: Stored) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        self.line(&json!({
            "type": "run", "run": id, "name": run.name, "file": file.display().to_string(), "outcome": stored.word(), "events": run.events.len(),
            "messages": run.message_count(), "tool_calls": run.tool_call_count(), "spans": run.spans.len(),
            "keys": run.state.len(),
        }))
    }

    fn fault(&self, file: &Path, message: &str, done: &mut Done) -> Result<(), Failure> {
        done.counts.errors += 1;
        self.bar.suspend(|| eprintln!("error: {}", text::one_line(message)));
        if self.json {
            self.line(&json!({"type": "fault", "file": file.display().to_string(), "message": message}))?;
        }
        Ok(())
    }

    fn say(&self, words: String, done: &mut Done) {
        done.notes += 1;
        if done.notes <= MAX_NOTES_PER_FILE {
            self.bar.suspend(|| note(&words));
        }
    }

    fn line(&self, line: &serde_json::Value) -> Result<(), Failure> {
        let mut lines = JsonLines::new(io::stdout().lock());
        lines.write(line)?;
        lines.finish()?;
        Ok(())
    }

    fn total(&self) -> Done {
        self.files.iter().fold(Done::default(), |sum, (_, done)| Done {
            counts: sum.counts.plus(&done.counts),
            notes: sum.notes + done.notes,
            present: sum.present + done.present,
            changed: sum.changed + done.changed,
        })
    }

    fn table(&self, screen: &Screen) -> String {
        let total = self.total();
        let columns = columns(&total);
        let heads = columns.iter().map(|column| (column.head, Align::Right));
        let mut table = Table::new([("FILE", Align::Left)].into_iter().chain(heads));
        let rows = self.files.iter().map(|(name, done)| (name.as_str(), Tone::Name, done));
        let together = (self.files.len() > 1).then_some(("together", Tone::Heading, &total));
        for (name, tone, done) in rows.chain(together) {
            let numbers = columns.iter().map(|column| {
                let n = (column.of)(done);
                (if n == 0 { Tone::Quiet } else { column.tone }, human::count(n))
            });
            table.row([(tone, name.to_owned())].into_iter().chain(numbers));
        }
        table.render(screen)
    }
}

/// A column of numbers.
struct Column {
    head: &'static str,
    /// Of numbers other than 0.
    tone: Tone,
    of: fn(&Done) -> u64,
}

/// The columns to show: what happens seldom has one only where it happened.
fn columns(total: &Done) -> Vec<Column> {
    let plain = |head, of| Column { head, tone: Tone::Plain, of };
    let mut columns = vec![
        plain("RUNS", |d| d.counts.runs),
        plain("MESSAGES", |d| d.counts.messages),
        plain("EVENTS", |d| d.counts.events),
        plain("TOOL CALLS", |d| d.counts.tool_calls),
        plain("SPANS", |d| d.counts.spans),
        plain("KEYS", |d| d.counts.keys),
    ];
    let seldom = [
        Column { head: "PRESENT", tone: Tone::Plain, of: |d| d.present },
        Column { head: "CHANGED", tone: Tone::Warning, of: |d| d.changed },
        Column { head: "FAULTS", tone: Tone::Bad, of: |d| d.counts.errors },
    ];
    columns.extend(seldom.into_iter().filter(|column| (column.of)(total) > 0));
    columns
}

/// Whether nothing more can be written after this error, whatever the run.
fn ends_the_import(error: &Error) -> bool {
    matches!(
        error,
        Error::Closed
            | Error::Poisoned { .. }
            | Error::OutcomeUnknown { .. }
            | Error::Open(_)
            | Error::Internal { .. }
            | Error::Write(in_mem::WriteError::Log(_))
    )
}

fn summary(total: &Done, took: i64, common: &Common, screen: &Screen) -> String {
    let c = &total.counts;
    let mut parts = vec![format!("{} imported", human::counted(c.runs, "run"))];
    if total.present > 0 {
        parts.push(format!("{} there already", human::count(total.present)));
    }
    if total.changed > 0 {
        parts.push(format!("{} changed since and left as they were", human::count(total.changed)));
    }
    if c.errors > 0 {
        parts.push(human::counted(c.errors, "fault"));
    }
    let mut out = format!(
        "{} in {}, into {}\n",
        parts.join(", "),
        human::duration(took),
        text::one_line(&common.db_path().display().to_string())
    );
    if c.runs + total.present > 0 {
        out.push_str(&runs::hint(screen, common.db.as_deref()));
    }
    out
}
