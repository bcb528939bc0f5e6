//! What the demo prints: the story for a person, or a line of JSON for each stage.

use std::{
    io::{self, Write},
    time::Duration,
};

use in_mem::RunInfo;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Stage, ack::Ack, recovered::Recovered};
use crate::{
    args::Common,
    commands::Failure,
    demo::{Memory, report},
    render::{Align, JsonLines, Screen, Table, Tone, human, text},
};

/// Faults named at the end.
const MAX_FAULTS: usize = 10;

pub(super) struct Story<'a> {
    common: &'a Common,
    screen: Screen,
    bar: ProgressBar,
    stage: u32,
}

impl<'a> Story<'a> {
    pub(super) fn new(common: &'a Common, steps: u64) -> Result<Story<'a>, Failure> {
        // Where standard error is no terminal, it draws nothing.
        let bar = if common.json { ProgressBar::hidden() } else { ProgressBar::new(steps) };
        if let Ok(style) = ProgressStyle::with_template("   [{bar:24}] {pos}/{len} {wide_msg:.dim}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Ok(Story { common, screen: Screen::stdout(common.color), bar, stage: 0 })
    }

    fn tell(&mut self, json: serde_json::Value, words: &str) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let mut out = io::stdout().lock();
        if self.common.json {
            let mut lines = JsonLines::new(&mut out);
            lines.write(&json)?;
            lines.finish()?;
        } else {
            out.write_all(words.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    }

    fn title(&mut self, words: &str) -> String {
        self.stage += 1;
        let line = self.screen.paint(Tone::Heading, &format!("{}  {words}", self.stage));
        if self.stage == 1 { format!("{line}\n") } else { format!("\n{line}\n") }
    }

    fn line(&self, name: &str, value: &str) -> String {
        format!("   {}{value}\n", self.screen.paint(Tone::Quiet, &format!("{name:<12}")))
    }

    pub(super) fn begins(&mut self, stage: &Stage<'_>, sample: bool, pid: u32) -> Result<(), Failure> {
        let mut words = self.title("An agent is put to work");
        if sample {
            words.push_str("   There is nothing to explore here, so it gets a small sample project.\n");
        }
        let path = |path: &std::path::Path| text::one_line(&path.display().to_string());
        words.push_str(&self.line("tree", &self.screen.paint(Tone::Name, &path(&stage.tree))));
        words.push_str(&self.line("database", &path(&stage.db)));
        words.push_str(&self.line("process", &pid.to_string()));
        words.push_str(&self.line("run", &stage.run.to_string()));
        let json = json!({
            "stage": "begins", "tree": stage.tree, "sample": sample, "database": stage.db, "process": pid, "run": stage.run,
        });
        self.tell(json, &words)?;
        self.bar.reset();
        Ok(())
    }

    /// A step was acknowledged.
    pub(super) fn step(&self, ack: &Ack) {
        self.bar.set_position(ack.step);
        self.bar.set_message(text::one_line(&ack.action));
    }

    pub(super) fn killed(&mut self, acks: &[Ack]) -> Result<(), Failure> {
        let last = acks.last();
        let (step, action) = last.map_or((0, ""), |ack| (ack.step, ack.action.as_str()));
        let mut words = self.title("Its process is killed");
        words.push_str(&self.line(
            "signal",
            &format!("{}: no handler runs, nothing is flushed", self.screen.paint(Tone::Bad, "SIGKILL")),
        ));
        let action = text::fit(&text::one_line(action), self.screen.layout_width().saturating_sub(30));
        words.push_str(&self.line("last heard", &format!("step {step}, {action}")));
        self.tell(json!({"stage": "killed", "acknowledged_steps": step}), &words)
    }

    pub(super) fn recovered(
        &mut self,
        acks: &[Ack],
        found: &Recovered,
        faults: &[String],
        took: Duration,
    ) -> Result<(), Failure> {
        let last = acks.last();
        let steps = last.map_or(0, |ack| ack.step);
        let events = last.map_or(0, |ack| ack.events);
        let notes = acks.iter().filter(|ack| ack.note.is_some()).count() as u64;
        let mut words = self.title("The database is opened again");
        let opened = human::duration(i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
        words.push_str(&self.line("recovery", &opened));
        let mut table =
            Table::new([("", Align::Left), ("ACKNOWLEDGED", Align::Right), ("RECOVERED", Align::Right)]);
        let rows = [
            ("steps", steps, found.progress.steps),
            ("notes", notes, found.notes.len() as u64),
            ("events", events, found.events),
            // The agent's own span comes with its first step.
            ("spans", if steps > 0 { steps + 1 } else { 0 }, found.spans),
        ];
        for (name, acknowledged, recovered) in rows {
            let tone = if recovered < acknowledged { Tone::Bad } else { Tone::Good };
            let numbers = [(Tone::Plain, human::count(acknowledged)), (tone, human::count(recovered))];
            table.row([(Tone::Plain, name.to_owned())].into_iter().chain(numbers));
        }
        for line in table.render(&self.screen.narrower(3)).lines() {
            words.push_str(&format!("   {line}\n"));
        }
        words.push_str("   ");
        if faults.is_empty() {
            let all = format!(
                "Nothing that was acknowledged is missing: {}, each byte for byte.",
                human::counted(notes, "note")
            );
            words.push_str(&self.screen.paint(Tone::Good, &all));
            let more = found.progress.steps.saturating_sub(steps);
            if more > 0 {
                let verb = if more == 1 { "was" } else { "were" };
                words.push_str(&format!(
                    "\n   {} more {verb} committed, and the process killed before it could say so.",
                    human::counted(more, "step")
                ));
            }
            words.push_str("\n   Each event's hash vouches for all before it, and all of them hold.\n");
        } else {
            words.push_str(&self.screen.paint(Tone::Bad, "Something is wrong:"));
            words.push('\n');
            words.push_str(&self.list(faults));
        }
        let json = json!({
            "stage": "recovered", "micros": took.as_micros() as u64, "faults": faults,
            "acknowledged": {"steps": steps, "notes": notes, "events": events},
            "recovered": {
                "steps": found.progress.steps, "notes": found.notes.len(), "events": found.events, "spans": found.spans,
            },
        });
        self.tell(json, &words)
    }

    pub(super) fn goes_on(&mut self, pid: u32, steps: u64) -> Result<(), Failure> {
        let mut words = self.title("Another process goes on");
        words.push_str(&self.line("process", &pid.to_string()));
        words.push_str(
            &self.line("from step", &format!("{}, with the notes of the {steps} before it", steps + 1)),
        );
        self.tell(json!({"stage": "goes_on", "process": pid, "from_step": steps + 1}), &words)?;
        self.bar.reset();
        self.bar.set_position(steps);
        Ok(())
    }

    pub(super) fn finished(&mut self, memory: &Memory, unkilled: &Memory) -> Result<(), Failure> {
        let same = memory == unkilled;
        let mut words = self.title("What the agent found");
        for line in report(memory, &self.screen.narrower(3)).lines() {
            words.push_str(if line.is_empty() { "" } else { "   " });
            words.push_str(line);
            words.push('\n');
        }
        let answers: serde_json::Map<String, serde_json::Value> =
            memory.answers.iter().map(|(q, answer)| (q.name().to_owned(), answer.clone())).collect();
        let json = json!({"stage": "finished", "as_if_never_killed": same, "answers": answers});
        words.push('\n');
        let (tone, verdict) = if same {
            (Tone::Good, "These are, note for note, the findings of an agent that is never killed.")
        } else {
            (Tone::Warning, "The tree changed meanwhile: an agent that is never killed finds something else.")
        };
        words.push_str(&format!("   {}\n", self.screen.paint(tone, verdict)));
        self.tell(json, &words)
    }

    pub(super) fn ends(
        &mut self,
        stage: &Stage<'_>,
        info: &RunInfo,
        found: &Recovered,
        faults: &[String],
        down: Duration,
        took: Duration,
    ) -> Result<(), Failure> {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        let mut words = self.title("In short");
        words.push_str(&self.line(
            "work",
            &format!(
                "{}, {}, {}, {}",
                human::counted(found.progress.steps, "step"),
                human::counted(found.events, "event"),
                human::counted(found.spans, "span"),
                human::counted(info.kv.entries, "note")
            ),
        ));
        let lost = match faults.len() {
            0 => self.screen.paint(Tone::Good, "nothing that was acknowledged"),
            n => self.screen.paint(Tone::Bad, &human::counted(n as u64, "fault")),
        };
        words.push_str(&self.line("killed", "once"));
        words.push_str(&self.line("lost", &lost));
        words.push_str(&self.line(
            "time",
            &format!(
                "{} in all, {} from the kill to the end of the work",
                human::duration(micros(took)),
                human::duration(micros(down))
            ),
        ));
        words.push_str(&self.list(faults));
        words.push('\n');
        let hint = match &self.common.db {
            Some(db) => format!("Look around: in-mem show {} --db {}", stage.run, db.display()),
            None => "The database is removed. To keep one and look around: in-mem demo --db ./in-mem-demo"
                .to_owned(),
        };
        words.push_str(&format!("   {}\n", self.screen.paint(Tone::Quiet, &text::one_line(&hint))));
        let json = json!({
            "stage": "ends", "steps": found.progress.steps, "events": found.events, "notes": info.kv.entries,
            "faults": faults, "micros": took.as_micros() as u64, "status": info.meta.status,
        });
        self.tell(json, &words)
    }

    fn list(&self, faults: &[String]) -> String {
        let mut out: String =
            faults.iter().take(MAX_FAULTS).map(|f| format!("   - {}\n", text::one_line(f))).collect();
        if faults.len() > MAX_FAULTS {
            out.push_str(&format!("   - and {} more\n", faults.len() - MAX_FAULTS));
        }
        out
    }
}
