//! A seeded agent: what it asks of a database next, and what the database should hold then.

use in_mem::{Database, Error, RunId, RunStatus, Timestamp, Value};
use in_mem_wal::storage::sim::SimRng;

use crate::model::{Commit, Model, RunContent};

/// The most runs that are alive at once.
const RUNS_LIMIT: usize = 6;

/// What is asked next, and what it should lead to.
#[derive(Debug)]
pub struct Workload {
    rng: SimRng,
    /// Counts up: no two values are the same.
    stamp: i64,
}

impl Workload {
    /// The sequence that belongs to this seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: SimRng::new(seed), stamp: 0 }
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    fn value(&mut self) -> Value {
        self.stamp += 1;
        match self.below(12) {
            // Larger than a segment: split over several records.
            0 => Value::from(vec![(self.stamp % 251) as u8; 9_000]),
            1..=3 => Value::from(format!("{} {}", self.stamp, "x".repeat(self.stamp as usize % 400))),
            _ => Value::from(self.stamp),
        }
    }

    fn key(&mut self) -> String {
        format!("k{}", self.below(8))
    }

    /// One commit: enters it into the model, asks for it, and enters whether it was acknowledged. `dead`: whether the disk is
    /// gone by now, so that nobody saw the answer.
    ///
    /// # Errors
    /// What the database answered; the commit's outcome is then unknown.
    pub fn commit(&mut self, db: &Database, model: &mut Model, dead: impl Fn() -> bool) -> Result<(), Error> {
        let all = model.newest();
        let open: Vec<RunId> =
            all.iter().filter(|(_, held)| !held.status.is_ended()).map(|(run, _)| *run).collect();
        let choice = self.below(20);
        if open.is_empty() || (choice == 0 && all.len() < RUNS_LIMIT) {
            return self.begin(db, model, None, dead);
        }
        let run = open[self.below(open.len() as u64) as usize];
        let mut held = all[&run].clone();
        match choice {
            1 if all.len() < RUNS_LIMIT => self.begin(db, model, Some(run), dead),
            0..=2 => {
                let key = self.key();
                if held.kv.remove(&key).is_none() {
                    return Ok(());
                }
                done(db, model, vec![(run, Some(held))], dead, |db| {
                    db.run(run)?.kv().delete(&key).map(|_| ())
                })
            }
            3..=5 => {
                let value = self.value();
                held.events.push(("note".to_owned(), value.clone()));
                done(db, model, vec![(run, Some(held))], dead, |db| {
                    db.run(run)?.events().append("note", value).map(|_| ())
                })
            }
            6 | 7 => {
                let value = self.value();
                let cell = format!("c{}", self.below(3));
                held.cells.insert(cell.clone(), value.clone());
                done(db, model, vec![(run, Some(held))], dead, |db| {
                    db.run(run)?.state().set(&cell, value).map(|_| ())
                })
            }
            8 if self.below(3) == 0 => {
                held.status = RunStatus::Completed;
                done(db, model, vec![(run, Some(held))], dead, |db| db.run(run)?.end(RunStatus::Completed))
            }
            9 if self.below(3) == 0 => done(db, model, vec![(run, None)], dead, |db| db.run(run)?.delete()),
            10..=13 => self.transaction(db, model, run, held, dead),
            _ => {
                let (key, value) = (self.key(), self.value());
                held.kv.insert(key.clone(), value.clone());
                done(db, model, vec![(run, Some(held))], dead, |db| {
                    db.run(run)?.kv().put(&key, value).map(|_| ())
                })
            }
        }
    }

    fn begin(
        &mut self,
        db: &Database,
        model: &mut Model,
        parent: Option<RunId>,
        dead: impl Fn() -> bool,
    ) -> Result<(), Error> {
        self.stamp += 1;
        let mut entropy = [0; 10];
        for byte in &mut entropy {
            *byte = self.rng.next_u64() as u8;
        }
        let now = Timestamp(1_000_000 + self.stamp);
        let id = match parent {
            None => RunId::new(now, entropy),
            Some(parent) => RunId::child_of(parent, now, entropy),
        };
        let name = format!("run {}", self.stamp);
        let held = RunContent::new(&name);
        done(db, model, vec![(id, Some(held))], dead, |db| {
            match parent {
                None => db.new_run(&name).id(id).begin()?,
                Some(parent) => db.run(parent)?.child(&name)?.id(id).begin()?,
            };
            Ok(())
        })
    }

    /// Several keys, an event and a cell, of a run and of another of its lineage where there is one.
    fn transaction(
        &mut self,
        db: &Database,
        model: &mut Model,
        run: RunId,
        mut held: RunContent,
        dead: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let writes: Vec<(String, Value)> = (0..3).map(|_| (self.key(), self.value())).collect();
        for (key, value) in &writes {
            held.kv.insert(key.clone(), value.clone());
        }
        let mark = self.value();
        held.events.push(("tx".to_owned(), mark.clone()));
        held.cells.insert("tx".to_owned(), mark.clone());
        let other = model
            .newest()
            .into_iter()
            .find(|(id, held)| *id != run && id.routing() == run.routing() && !held.status.is_ended());
        let mut after = vec![(run, Some(held))];
        let mut also = None;
        if let Some((id, mut held)) = other {
            held.kv.insert("from".to_owned(), mark.clone());
            after.push((id, Some(held)));
            also = Some(id);
        }
        done(db, model, after, dead, |db| {
            let run = db.run(run)?;
            let also = also.map(|id| db.run(id)).transpose()?;
            run.transaction(|tx| {
                for (key, value) in &writes {
                    tx.kv().get(key)?;
                    tx.kv().put(key, value.clone())?;
                }
                tx.events().append("tx", mark.clone())?;
                tx.state().set("tx", mark.clone())?;
                if let Some(also) = &also {
                    tx.kv_of(also).put("from", mark.clone())?;
                }
                Ok(())
            })
        })
    }
}

/// Asks, and enters the outcome.
fn done(
    db: &Database,
    model: &mut Model,
    mut after: Vec<(RunId, Option<RunContent>)>,
    dead: impl Fn() -> bool,
    ask: impl FnOnce(&Database) -> Result<(), Error>,
) -> Result<(), Error> {
    for held in after.iter_mut().filter_map(|(_, held)| held.as_mut()) {
        // Not known before it is acknowledged.
        held.last_version = 0;
    }
    let number = model.shard_of(after[0].0);
    let shard = &mut model.shards[number];
    shard.commits.push(Commit { after });
    let at = shard.commits.len();
    let answer = ask(db);
    if answer.is_ok() && !dead() {
        shard.acknowledged = at;
        for (run, held) in &mut shard.commits[at - 1].after {
            if let (Some(held), Some(info)) = (held, db.engine().run_info(*run)?) {
                held.last_version = info.last_version.0;
            }
        }
    }
    // Refused: nothing was changed. Only of an unknown outcome may anything be there afterwards.
    if let Err(error) = &answer
        && !dead()
        && !matches!(error, Error::OutcomeUnknown { .. })
    {
        shard.commits.pop();
    }
    answer
}
