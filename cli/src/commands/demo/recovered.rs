//! What the database holds of the agent's work, and whether all that was acknowledged is in it.

use std::collections::HashMap;

use in_mem::{ChainCheck, Run};

use super::{
    ack::{Ack, digest},
    recorder::{NOTE, PROGRESS_CELL, STEP_BEGINS},
};
use crate::{
    commands::Failure,
    demo::{Memory, Progress},
};

/// The agent's memory, made of the notes in its run.
pub(super) fn memory(run: &Run) -> Result<Memory, Failure> {
    Memory::from_notes(notes(run)?).map_err(|error| Failure::Failed(error.to_string()))
}

fn notes(run: &Run) -> Result<Vec<(String, serde_json::Value)>, Failure> {
    let pairs = run.kv().list("")?;
    Ok(pairs
        .iter()
        .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), value.to_json()))
        .collect())
}

/// What was found in the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recovered {
    /// The digest of each note by its key.
    pub(super) notes: HashMap<String, String>,
    /// Events of the run.
    pub(super) events: u64,
    /// Events that say that a step began, and that it left its note: as many, where no step is half there.
    pub(super) begun: u64,
    /// See [`Recovered::begun`].
    pub(super) done: u64,
    /// Spans of the trace: one for each step, and the agent's own.
    pub(super) spans: u64,
    /// What is wrong with the chain of events, if anything is.
    pub(super) chain_fault: Option<String>,
    /// What the progress cell says.
    pub(super) progress: Progress,
}

impl Recovered {
    /// Reads all of it.
    pub(super) fn of(run: &Run) -> Result<Recovered, Failure> {
        let notes = notes(run)?.into_iter().map(|(key, value)| {
            let digest = digest(&value);
            (key, digest)
        });
        let mut found = Recovered { notes: notes.collect(), ..Recovered::default() };
        for event in run.events().iter() {
            let event = event?;
            found.events += 1;
            found.begun += u64::from(&*event.kind == STEP_BEGINS);
            found.done += u64::from(&*event.kind == NOTE);
        }
        found.spans = run.traces().query().count()?;
        if let ChainCheck::Broken(fault) = run.events().verify_chain()? {
            found.chain_fault = Some(fault.to_string());
        }
        if let Some(cell) = run.state().read(PROGRESS_CELL)? {
            found.progress = cell.value.deserialize().map_err(in_mem::Error::from)?;
        }
        Ok(found)
    }

    /// What was acknowledged and is not there, or not as it was, or is there by half; in words. Nothing, where all is well.
    pub(super) fn faults(&self, acks: &[Ack]) -> Vec<String> {
        let mut faults = Vec::new();
        for ack in acks {
            let Some((key, digest)) = &ack.note else { continue };
            match self.notes.get(key) {
                None => faults.push(format!("step {}: its note {key} is missing", ack.step)),
                Some(found) if found != digest => {
                    faults.push(format!("step {}: its note {key} is not what was written", ack.step));
                }
                Some(_) => {}
            }
        }
        if let Some(last) = acks.last() {
            if self.events < last.events {
                faults.push(format!("{} events were acknowledged, {} are there", last.events, self.events));
            }
            if self.progress.steps < last.step {
                faults.push(format!(
                    "step {} was acknowledged, the progress cell says {}",
                    last.step, self.progress.steps
                ));
            }
        }
        faults.extend(self.chain_fault.iter().map(|fault| format!("the chain of events is broken: {fault}")));
        let spans = self.spans.saturating_sub(1);
        let steps = [self.begun, self.done, self.notes.len() as u64, spans];
        if steps.iter().any(|n| *n != self.progress.steps) {
            faults.push(format!(
                "a step is there by half: {} begun, {} ended, {} notes, {spans} spans, progress {}",
                self.begun,
                self.done,
                self.notes.len(),
                self.progress.steps
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use in_mem::RunId;

    use super::*;

    fn ack(step: u64) -> Ack {
        let note = Some((format!("file/{step}"), format!("digest {step}")));
        let run = RunId::from_bytes([1; 16]);
        Ack { run, step, action: String::new(), note, events: step * 4, finished: false }
    }

    fn sound(steps: u64) -> Recovered {
        Recovered {
            notes: (1..=steps).filter_map(|step| ack(step).note).collect(),
            events: steps * 4,
            begun: steps,
            done: steps,
            spans: steps + 1,
            chain_fault: None,
            progress: Progress { steps, ..Progress::default() },
        }
    }

    #[test]
    fn more_than_was_acknowledged_is_sound_and_anything_less_is_found() {
        let acks: Vec<Ack> = (1..=5).map(ack).collect();
        assert!(sound(5).faults(&acks).is_empty());
        assert!(sound(6).faults(&acks).is_empty(), "committed, and killed before it could say so");
        let spoilt: [fn(&mut Recovered); 8] = [
            |r| drop(r.notes.remove("file/3")),
            |r| drop(r.notes.insert("file/3".to_owned(), "other".to_owned())),
            |r| r.events -= 1,
            |r| r.begun += 1,
            |r| r.done -= 1,
            |r| r.spans -= 1,
            |r| r.chain_fault = Some("event 7 is missing".to_owned()),
            |r| r.progress.steps -= 1,
        ];
        for spoil in spoilt {
            let mut found = sound(5);
            spoil(&mut found);
            assert!(!found.faults(&acks).is_empty(), "{found:?}");
        }
        assert!(!sound(4).faults(&acks).is_empty(), "a whole step is missing");
    }
}
