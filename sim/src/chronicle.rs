//! What is known of a database beyond one opening of it, and beyond what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use in_mem::{RunId, Value};
use in_mem_wal::SimDisk;

use crate::model::{Model, ModelRun};

/// Before every mark: what the bytes of no random value begin with.
const MARK: &str = "mark#";

/// What is known beyond one opening.
#[derive(Debug, Default)]
pub struct Chronicle {
    /// Backups that were acknowledged, with what they hold.
    pub backups: Vec<(String, Model)>,
    /// Ids whose past may have been erased, each with the last life that there was by then.
    pastless: BTreeMap<RunId, u64>,
    /// Texts that were written to no other run than this.
    marks: BTreeMap<RunId, Vec<String>>,
    /// Runs that a prune was to take away: where they are gone, and no fork holds them, a prune that comes to its end has erased
    /// them.
    pub owed: BTreeSet<RunId>,
    /// Ids that the note of a prune which failed may name: whatever finishes it takes the past of all lives that they have had by then, but
    /// of none that is there.
    noted: BTreeSet<RunId>,
    /// Those that are owed and were begun in this opening: a power cut may take them away, and with them what was owed.
    undurable: BTreeSet<RunId>,
    lives: u64,
}

impl Chronicle {
    /// A number that no life of a run has yet.
    pub fn new_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    /// A text that is nowhere yet, and that this run is about to hold.
    pub fn new_mark(&mut self, run: RunId) -> Value {
        self.lives += 1;
        let text = format!("{MARK}{:08x}", self.lives);
        self.marks.entry(run).or_default().push(text.clone());
        Value::from(text)
    }

    /// A prune is to take these runs away, of which only some are sure to outlast a power cut.
    pub fn owe(&mut self, runs: impl Iterator<Item = RunId>, is_durable: impl Fn(RunId) -> bool) {
        for run in runs {
            if self.owed.insert(run) && !is_durable(run) {
                self.undurable.insert(run);
            }
        }
    }

    /// The database was opened: what it shows, and what it does not, outlasts a power cut.
    pub fn opened(&mut self, live: &Model) {
        self.undurable.clear();
        self.finish_notes(live);
        self.noted.clear();
    }

    /// A prune failed that may have noted these.
    pub fn note(&mut self, runs: impl IntoIterator<Item = RunId>) {
        self.noted.extend(runs);
    }

    /// What was noted is about to be finished.
    pub fn finish_notes(&mut self, live: &Model) {
        for run in self.noted.clone() {
            if !live.runs.contains_key(&run) {
                self.lose_past(run);
            }
        }
    }

    /// What was noted is finished.
    pub fn finished_notes(&mut self) {
        self.noted.clear();
    }

    /// The power went. A run that is gone now may have gone with it: what no prune took away, nothing was to erase.
    pub fn power_cut(&mut self) {
        for run in std::mem::take(&mut self.undurable) {
            self.owed.remove(&run);
        }
    }

    /// What this run was and what it goes on from may be in the log under another's name now.
    pub fn spread(&mut self, run: RunId, of: &ModelRun) {
        self.marks.remove(&run);
        for (above, _) in &of.above {
            self.marks.remove(above);
        }
    }

    /// The past of all lives that this id has had may be gone.
    pub fn lose_past(&mut self, run: RunId) {
        self.pastless.insert(run, self.lives);
    }

    /// Whether the past of the run with this id, as it was, has to be in the log: its own, and that of what it goes on from.
    pub fn has_past(&self, id: RunId, run: &ModelRun) -> bool {
        let has = |(id, life): &(RunId, u64)| self.pastless.get(id).is_none_or(|last| life > last);
        run.whole && has(&(id, run.life)) && run.above.iter().all(has)
    }

    /// A file below `root` that holds what was erased with the past of these runs, and that no run holds now.
    ///
    /// # Errors
    /// The file, and what it holds.
    pub fn look_for_erased(
        &self,
        disk: &SimDisk,
        root: &Path,
        erased: &BTreeSet<RunId>,
        live: &Model,
    ) -> Result<(), String> {
        let held: BTreeSet<&str> = live
            .runs
            .values()
            .flat_map(|run| {
                let events = run.events.iter().map(|event| &event.payload);
                run.kv.values().map(|(value, _)| value).chain(run.cells.values()).chain(events)
            })
            .filter_map(Value::as_str)
            .collect();
        let gone: BTreeSet<&str> = erased
            .iter()
            .filter_map(|run| self.marks.get(run))
            .flatten()
            .map(String::as_str)
            .filter(|mark| !held.contains(mark))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        for path in disk.files().into_iter().filter(|path| path.starts_with(root)) {
            let Some(bytes) = disk.contents(&path) else { continue };
            if let Some(mark) = marks_in(&bytes).find(|mark| gone.contains(mark)) {
                return Err(format!("{} holds {mark}, which was erased", path.display()));
            }
        }
        Ok(())
    }
}

/// The marks that some bytes hold.
fn marks_in(bytes: &[u8]) -> impl Iterator<Item = &str> {
    const LEN: usize = MARK.len() + 8;
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += bytes.get(at..)?.iter().position(|byte| *byte == b'#')? + 1;
            let from = at.saturating_sub(MARK.len());
            if let Some(mark) = bytes.get(from..from + LEN).and_then(|found| std::str::from_utf8(found).ok())
                && mark.starts_with(MARK)
            {
                return Some(mark);
            }
        }
    })
}
