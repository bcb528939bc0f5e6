//! The past of runs, held against what they were: at every version, in every life that their ids have had.

use in_mem::{Error, HistoryError, Point, Run, RunAt, RunId, Timestamp, Value, Verification, Version};

use super::{Did, Work};
use crate::model::{ModelRun, same};

/// Whether this says that a past is not in the log, which may be so where nothing promises that it is.
pub(super) fn is_gone(error: &HistoryError) -> bool {
    matches!(
        error,
        HistoryError::NoLog { .. }
            | HistoryError::NoHistory { .. }
            | HistoryError::Erased { .. }
            | HistoryError::Cut { .. }
            | HistoryError::LetGo { .. }
            | HistoryError::BeforeVersion { .. }
    )
}

impl Work<'_> {
    /// Replays any run, and looks at it behind each of its commits since the database was opened.
    pub(super) fn replay(&mut self) -> Result<Did, String> {
        let all: Vec<RunId> = self.ledger.live.runs.keys().copied().collect();
        let id = all[self.rng.usize(..all.len())];
        self.replay_of(id)
    }

    /// As [`Work::replay`], of this run.
    pub(crate) fn replay_of(&mut self, id: RunId) -> Result<Did, String> {
        let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
        let now = self.ledger.live.runs[&id].clone();
        let is_there = self.chronicle.has_past(id, &now);
        // What reads the log is refused where the disk is broken; what it gives is held against the ledger.
        let read = match run.at(Point::Now) {
            Err(Error::History(error)) if !is_there && is_gone(&error) => return Ok(Did::Well),
            Ok(replay) if is_there => run.verify().map(|verified| (replay, Some(verified))),
            replay => replay.map(|replay| (replay, None)),
        };
        if self.disk.crashed() {
            return Ok(Did::MachineGone);
        }
        let (replay, verified) = match read {
            Ok(read) => read,
            Err(error) => return Ok(Did::Failed(error)),
        };
        let result = self.look_back(&run, &replay, verified.as_ref(), &now);
        if self.disk.crashed() {
            return Ok(Did::MachineGone);
        }
        result.map(|()| Did::Well).map_err(|what| format!("the past of run {id}: {what}"))
    }

    fn look_back(
        &self,
        run: &Run,
        replay: &RunAt,
        verified: Option<&Verification>,
        now: &ModelRun,
    ) -> Result<(), String> {
        compare_past(replay, now)?;
        if let Some(verified) = verified {
            same("what verifying says", verified.is_same(), true)
                .map_err(|what| format!("{what}: {verified}"))?;
        }
        for (version, was) in self.ledger.states_of(self.db, run.id()) {
            let at = |what| format!("at version {version}: {what}");
            match (replay.at(Version(version)), was) {
                (Ok(then), Some(was)) if self.chronicle.has_past(run.id(), &was) => {
                    compare_past(&then, &was).map_err(at)?;
                }
                // Of a life whose erasing was cut off, and whose id another has now, there is all or nothing.
                (Ok(then), was) => {
                    let is_whole = was.is_some_and(|was| compare_past(&then, &was).is_ok());
                    if !is_whole {
                        same("whether it is there", then.info().is_ok(), false).map_err(at)?;
                        same("pairs", then.kv().list("").len(), 0).map_err(at)?;
                        same("events", then.events().len(), 0).map_err(at)?;
                    }
                }
                (Err(Error::History(error)), Some(was))
                    if !self.chronicle.has_past(run.id(), &was) && is_gone(&error) => {}
                (Err(Error::History(error)), None) if is_gone(&error) => {}
                (Err(error), _) => return Err(at(error.to_string())),
            }
        }
        Ok(())
    }
}

/// Whether a run as it was is this.
fn compare_past(then: &RunAt, was: &ModelRun) -> Result<(), String> {
    let words = |error: Error| error.to_string();
    let info = then.info().map_err(words)?;
    same("name", &*info.meta.name, &*was.name)?;
    same("status", Some(info.meta.status), was.status)?;
    same("parent", info.meta.parent, was.parent)?;
    let now = then.timestamp().0;
    let found: Vec<(Vec<u8>, Value)> =
        then.kv().list("").into_iter().map(|(key, value)| (key.to_vec(), value)).collect();
    let keys = was.kv.keys();
    let expected: Vec<(Vec<u8>, Value)> =
        keys.filter_map(|key| was.get(key, now).map(|value| (key.clone(), value.clone()))).collect();
    same("pairs", found, expected)?;
    let events = then.events().range(..).map_err(words)?;
    same("number of events", events.len(), was.events.len())?;
    for (event, expected) in events.iter().zip(&was.events) {
        same("event's kind", &*event.kind, &*expected.kind)?;
        same("event's payload", &event.payload, &expected.payload)?;
    }
    let cells = then.state().list("").into_iter().map(|(cell, value)| (cell.to_vec(), value.value));
    let expected = was.cells.iter().map(|(cell, value)| (cell.clone().into_bytes(), value.clone()));
    same("cells", cells.collect::<Vec<_>>(), expected.collect())?;
    let spans = then.traces().list().map_err(words)?;
    let found: std::collections::BTreeMap<String, _> =
        spans.into_iter().map(|span| (span.id.to_string(), (span.head.start, span.head.end))).collect();
    let expected =
        was.spans.iter().map(|(id, (start, end, _))| (id.clone(), (Timestamp(*start), end.map(Timestamp))));
    same("spans", found, expected.collect())
}
