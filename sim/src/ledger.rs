//! Every commit in its shard's order, and which of them must be there after a crash.

use in_mem::{Database, RunId};

use crate::model::{Change, Model, ModelRun};

/// What happened to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accident {
    /// Only the process is gone: all that was acknowledged is there.
    Killed,
    /// The power is gone: what was promised to be on the disk is there.
    PowerCut,
}

/// One shard's commits.
#[derive(Debug, Clone, Default)]
pub struct ShardLedger {
    /// What it held when it was opened.
    base: Model,
    /// At which version it was opened.
    opened: u64,
    /// The commits since then: each one's version, and what it changed.
    commits: Vec<(u64, Vec<Change>)>,
    /// The version of the last commit that was acknowledged.
    acknowledged: u64,
    /// The newest version that was seen, deletes of expired keys included.
    newest: u64,
    /// Through which version a power cut may take nothing.
    durable: u64,
}

/// Every shard's commits.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    shards: Vec<ShardLedger>,
    /// Sent, in order, and not acknowledged.
    in_flight: Vec<(usize, Vec<Change>)>,
    /// What all of it comes to.
    pub live: Model,
    /// Whether the log that checkpoints cover is kept, so that a run's past can be asked for.
    pub keep_history: bool,
    strict: bool,
    /// Runs, and their lives, that the next erase or opening drops: a prune failed between them and the others.
    half_erased: Vec<(RunId, u64)>,
    /// What held before a kill that nothing was made durable after: a power cut may take all that this lets it take.
    undurable: Option<Box<Ledger>>,
}

fn versions(db: &Database) -> Result<Vec<u64>, String> {
    let stats = db.stats().map_err(|error| format!("stats: {error}"))?;
    Ok(stats.shards.iter().map(|shard| shard.core.version.0).collect())
}

impl Ledger {
    /// The ledger of a database that holds this, durably, and is not open: whatever its shards are, nothing may change.
    pub fn unopened(live: Model) -> Self {
        Self { live, ..Self::default() }
    }

    /// The ledger of a database that was killed, came back as this, and is not open again yet: as long as no opening has come to
    /// its end, a power cut may leave what it might have left at the kill.
    pub fn killed(live: Model, before: Ledger) -> Self {
        Self { undurable: Some(Box::new(before)), ..Self::unopened(live) }
    }

    /// The ledger of a database that was just opened and holds this, durably.
    ///
    /// # Errors
    /// In words, where the database does not answer.
    pub fn opened(db: &Database, live: Model, strict: bool) -> Result<Self, String> {
        let mut shards: Vec<ShardLedger> = versions(db)?
            .into_iter()
            .map(|version| ShardLedger {
                opened: version,
                acknowledged: version,
                newest: version,
                durable: version,
                ..ShardLedger::default()
            })
            .collect();
        for (id, run) in &live.runs {
            shards[db.engine().shard_of(*id)].base.runs.insert(*id, run.clone());
        }
        Ok(Self { shards, live, strict, ..Self::default() })
    }

    /// Whether a run was there when the database was opened.
    pub fn was_opened_with(&self, db: &Database, run: RunId) -> bool {
        self.shards[db.engine().shard_of(run)].base.runs.contains_key(&run)
    }

    /// A commit is sent.
    pub fn send(&mut self, db: &Database, run: RunId, changes: Vec<Change>) {
        self.in_flight.push((db.engine().shard_of(run), changes));
    }

    /// What was sent last was not sent after all.
    pub fn unsend(&mut self) {
        self.in_flight.pop();
    }

    /// How many commits are sent and not acknowledged.
    pub fn sent(&self) -> usize {
        self.in_flight.len()
    }

    /// What was sent at this place was not sent after all.
    pub fn unsend_at(&mut self, place: usize) {
        self.in_flight.remove(place);
    }

    /// These runs are dropped by the next erase or opening.
    pub fn half_erase(&mut self, runs: Vec<RunId>) {
        let lives = runs.into_iter().filter_map(|id| Some((id, self.live.runs.get(&id)?.life)));
        self.half_erased = lives.collect();
    }

    /// Of those, the ones that are there, and were not made anew.
    pub fn half_erased(&self) -> Vec<RunId> {
        let is_there = |run: &&(RunId, u64)| self.live.runs.get(&run.0).is_some_and(|of| of.life == run.1);
        self.half_erased.iter().filter(is_there).map(|run| run.0).collect()
    }

    /// Everything that was sent was acknowledged.
    ///
    /// # Errors
    /// In words: the database did not answer, or counts its commits in another way than it acknowledged them.
    pub fn acknowledge(&mut self, db: &Database) -> Result<(), String> {
        self.acknowledge_first(self.in_flight.len());
        self.look(db)
    }

    /// The first so many of what was sent were made; the rest is not known of.
    pub fn acknowledge_first(&mut self, made: usize) {
        for (shard, changes) in self.in_flight.drain(..made.min(self.in_flight.len())) {
            self.live.apply_all(&changes);
            let shard = &mut self.shards[shard];
            shard.newest += 1;
            shard.acknowledged = shard.newest;
            shard.commits.push((shard.newest, changes));
        }
    }

    /// What a run was behind each of its commits since the database was opened, and before them, with their versions; `None`: it
    /// was not there.
    pub fn states_of(&self, db: &Database, run: RunId) -> Vec<(u64, Option<ModelRun>)> {
        let shard = &self.shards[db.engine().shard_of(run)];
        let mut states = Vec::new();
        let mut model = Model::default();
        if let Some(base) = shard.base.runs.get(&run) {
            model.runs.insert(run, base.clone());
            states.push((shard.opened, Some(base.clone())));
        }
        for (version, changes) in &shard.commits {
            let mut own = changes.iter().filter(|change| change.run() == run).peekable();
            if own.peek().is_some() {
                own.for_each(|change| model.apply(change));
                states.push((*version, model.runs.get(&run).cloned()));
            }
        }
        states
    }

    /// Something of what was sent was refused. Where the shard counts no further all of it was; otherwise nobody knows.
    ///
    /// # Errors
    /// In words, where the database does not answer.
    pub fn refuse(&mut self, db: &Database) -> Result<(), String> {
        let versions = versions(db)?;
        let stuck = self.in_flight.iter().any(|(shard, _)| versions[*shard] > self.shards[*shard].newest);
        if !stuck {
            self.in_flight.clear();
        }
        Ok(())
    }

    /// Of what was sent, one by one, only these may have been made.
    pub fn keep(&mut self, made: &[bool]) {
        let mut made = made.iter();
        self.in_flight.retain(|_| made.next().copied().unwrap_or(true));
    }

    /// The run of the first commit of which nobody knows whether it was made.
    pub fn stuck(&self) -> Option<RunId> {
        self.in_flight.first().and_then(|(_, changes)| changes.first()).map(Change::run)
    }

    fn look(&mut self, db: &Database) -> Result<(), String> {
        let stats = db.stats().map_err(|error| format!("stats: {error}"))?;
        for (number, (shard, stats)) in self.shards.iter_mut().zip(stats.shards).enumerate() {
            let version = stats.core.version.0;
            if shard.newest != version {
                let newest = shard.newest;
                return Err(format!("shard {number} is at version {version}, its commits at {newest}"));
            }
            if self.strict {
                // Not what a sync that failed has left behind: of expired keys that were deleted, say.
                shard.durable = stats.core.committed.0;
            }
        }
        Ok(())
    }

    /// Expired keys may have been deleted: commits that nobody sent and nobody sees.
    ///
    /// # Errors
    /// In words, where the database does not answer.
    pub fn expired(&mut self, db: &Database) -> Result<(), String> {
        for (shard, version) in self.shards.iter_mut().zip(versions(db)?) {
            shard.newest = shard.newest.max(version);
        }
        Ok(())
    }

    /// All that was acknowledged is on the disk now.
    pub fn synced(&mut self) {
        for shard in &mut self.shards {
            shard.durable = shard.durable.max(shard.acknowledged);
        }
    }

    /// Whether what was recovered is what it may be (I1 to I5); gives that state. The versions recovered decide how many
    /// commits there have to be, and then every one before must be there whole and none behind it.
    ///
    /// # Errors
    /// The violation, in words.
    pub fn check(&self, db: &Database, accident: Accident, now: i64) -> Result<Model, String> {
        let versions = versions(db)?;
        if versions.len() != self.shards.len() {
            // Between two shard counts: nothing was written since it was opened.
            let sent = !self.in_flight.is_empty() || self.shards.iter().any(|s| !s.commits.is_empty());
            if sent {
                return Err(format!("{} shards came back as {}", self.shards.len(), versions.len()));
            }
            let whole = self.live.compare(db, now).map(|()| self.live.clone());
            return match &self.undurable {
                Some(before) if accident == Accident::PowerCut => whole
                    .or_else(|what| before.check(db, accident, now).map_err(|or| format!("{what}; or {or}"))),
                _ => whole,
            };
        }
        let mut whole = Model::default();
        for (number, (shard, version)) in self.shards.iter().zip(versions).enumerate() {
            let least = match accident {
                Accident::Killed => shard.acknowledged,
                Accident::PowerCut => shard.durable,
            };
            if version < least {
                return Err(format!("shard {number}: {least} was promised, version {version} came back"));
            }
            let mut expected = shard.base.clone();
            let there = shard.commits.iter().take_while(|(at, _)| *at <= version);
            there.for_each(|(_, changes)| expected.apply_all(changes));
            let beyond = usize::try_from(version.saturating_sub(shard.newest)).unwrap_or(usize::MAX);
            let in_flight = self.in_flight.iter().filter(|(of, _)| *of == number).take(beyond);
            in_flight.for_each(|(_, changes)| expected.apply_all(changes));
            whole.runs.extend(expected.runs);
        }
        let plain = whole.compare(db, now);
        if plain.is_err() && !self.half_erased.is_empty() {
            whole.runs.retain(|id, run| !self.half_erased.contains(&(*id, run.life)));
            return whole
                .compare(db, now)
                .map(|()| whole)
                .map_err(|what| format!("not a prefix of the commits: {what}"));
        }
        plain.map_err(|what| format!("not a prefix of the commits: {what}"))?;
        Ok(whole)
    }
}
