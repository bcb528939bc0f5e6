//! An agent of durable steps, some within others, that begins anew each time it is run.

use in_mem::{Error, Run, RunId, StepError, Value};

use super::{Did, Work};
use crate::model::{Change, ModelStep, place_in_words};

/// Steps that a step with steps of its own takes.
const INNER: u32 = 2;
/// The deepest that steps go.
const DEPTH: usize = 3;

fn effect_failed(error: &Error) -> bool {
    matches!(error, Error::Step(step) if matches!(**step, StepError::Failed { .. }))
}

impl Work<'_> {
    /// Runs the agent of a run through what is recorded and one or two steps on.
    pub(super) fn agent(&mut self, id: RunId) -> Result<Did, String> {
        let run = self.db.run(id).map_err(|error| format!("run {id}: {error}"))?;
        let steps = &self.ledger.live.runs[&id].steps;
        let recorded = (0..).take_while(|n| steps.contains_key(&vec![*n])).count();
        for number in 0..recorded + self.rng.usize(1..3) {
            let place = [u32::try_from(number).unwrap_or(u32::MAX)];
            let did = self.take(&run, &place)?;
            if !matches!(did, Did::Well) {
                // An effect that gave nothing is no refusal of the database's.
                let own = matches!(&did, Did::Failed(error) if effect_failed(error));
                return Ok(if own { Did::Well } else { did });
            }
        }
        Ok(Did::Well)
    }

    /// Takes the step at this place: its effect is run if, and only if, no result is recorded.
    fn take(&mut self, run: &Run, place: &[u32]) -> Result<Did, String> {
        let (id, number) = (run.id(), place.last().copied().unwrap_or(0));
        let (name, input) = (format!("step-{}", number % 4), i64::from(number) * 7);
        let recorded = self.ledger.live.runs[&id].steps.get(place).cloned();
        if let Some(recorded) = recorded {
            let again = || Err::<String, _>("again");
            return match run.step(&name, input, again) {
                _ if self.disk.crashed() => Ok(Did::MachineGone),
                Ok(result) if result == recorded.result => Ok(Did::Well),
                Ok(result) => Err(format!("step {place:?} gave {result}, {} is recorded", recorded.result)),
                Err(Error::Step(error)) => Err(format!("step {place:?} is recorded: {error}")),
                Err(error) => Ok(Did::Failed(error)),
            };
        }
        let mut wrong = None;
        let mut ran = false;
        let result = run.step(&name, input, || {
            ran = true;
            let mut inner = 0;
            while number % 4 == 2 && place.len() < DEPTH && inner < INNER {
                let mut within = place.to_vec();
                within.push(inner);
                match self.take(run, &within) {
                    Ok(Did::Well) => {}
                    Ok(Did::MachineGone | Did::LogFailed) => return Err("the machine is gone".to_owned()),
                    Ok(Did::Failed(error)) => return self.effect_fails(id, place, &name, error.to_string()),
                    Err(what) => {
                        wrong = Some(what);
                        return Err("wrong".to_owned());
                    }
                }
                inner += 1;
            }
            if self.rng.u8(..12) == 0 {
                return self.effect_fails(id, place, &name, "no luck".to_owned());
            }
            let result = "r".repeat(self.rng.usize(..60));
            let step = ModelStep { name: name.clone(), input, result: result.clone() };
            self.send(id, vec![Change::Step { run: id, place: place.to_vec(), step }]);
            Ok(result)
        });
        if let Some(what) = wrong {
            return Err(what);
        }
        if !ran && !self.disk.crashed() {
            return match result {
                Ok(_) => {
                    Err(format!("the effect of step {place:?} was not run, and nothing is recorded of it"))
                }
                Err(error) => Ok(Did::Failed(error)),
            };
        }
        match result {
            // That it failed is written down.
            Err(error) if effect_failed(&error) => match self.end(Ok(()))? {
                Did::Well => Ok(Did::Failed(error)),
                did => Ok(did),
            },
            result => self.end(result),
        }
    }

    /// What a failing effect leaves: an event that says so.
    fn effect_fails(
        &mut self,
        run: RunId,
        place: &[u32],
        name: &str,
        reason: String,
    ) -> Result<String, String> {
        let payload: Value = in_mem::value!({
            "path": (place_in_words(place)), "name": (name.to_owned()), "attempt": 1, "error": (reason.clone())
        });
        self.send(run, vec![Change::Append { run, kind: "step_failed".to_owned(), stream: None, payload }]);
        Err(reason)
    }
}
