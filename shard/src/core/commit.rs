//! How a write becomes part of the shard: it is checked against the newest installed versions, logged as one record,
//! installed, and published as soon as it is as durable as the mode promises. A refusal happens before the log is
//! touched, so that it leaves nothing behind.

use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, Value, Version};

use super::ShardCore;
use super::command::{CommitRequest, Committed, ReadKey};
use super::effect::{EffectWriter, effects_of_lineage};
use super::error::{Condition, WriteError};
use super::event::{self, event_key};
use super::fork::{hidden_key, hidden_of};
use super::limit;
use super::log::lineage_id;
use super::run_meta::RunStatus;
use super::run_state::RunState;
use super::stage::StagedWrite;
use crate::index::{HashedKey, KeyRef, ScanRange};

/// So many writes of a transaction are fetched ahead: more would push each other out again.
const PREPARED_WRITES: usize = 16;

pub(super) fn key(run: RunId, tag: Tag, user: &[u8]) -> Box<Key> {
    Box::new(Key { run, tag, user: KeyBytes::from(user) })
}

pub(super) fn refuse_ended(run: RunId, status: RunStatus) -> Result<(), WriteError> {
    if status.is_ended() { Err(WriteError::RunEnded { run, status }) } else { Ok(()) }
}

impl ShardCore {
    /// Puts one value: the hot path, with borrowed arguments and no allocation where the key is there already.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    pub fn put(
        &mut self,
        run: RunId,
        tag: Tag,
        user: &[u8],
        value: Value,
        expires_at: Option<Timestamp>,
        condition: Condition,
    ) -> Result<Committed, WriteError> {
        let key = self.hashed(run, tag, user);
        self.put_hashed(&key, value, expires_at, condition)
    }

    /// As [`ShardCore::put`], for a caller who knows where the key lies.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    #[inline]
    pub fn put_hashed(
        &mut self,
        key: &HashedKey<'_>,
        value: Value,
        expires_at: Option<Timestamp>,
        condition: Condition,
    ) -> Result<Committed, WriteError> {
        let KeyRef { run, tag, user } = key.key();
        self.check_writable(run)?;
        if condition != Condition::Any {
            self.check_condition(run, tag, user, condition)?;
        }
        self.index.prepare(key);
        let version = if self.log.wal().is_some() {
            let mut payload = std::mem::take(&mut self.payload);
            EffectWriter::new(&mut payload, run).put(tag, user, &value, expires_at);
            let logged = self.log_commit(run, false, &payload);
            self.payload = payload;
            logged?
        } else {
            self.log_commit(run, false, &[])?
        };
        self.install_hashed(key, version, Some(value), expires_at);
        Ok(self.finish_commit(version))
    }

    /// Deletes one key; says whether there was anything. Deleting what is not there makes no commit.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    pub fn delete(
        &mut self,
        run: RunId,
        tag: Tag,
        user: &[u8],
        condition: Condition,
    ) -> Result<(Committed, bool), WriteError> {
        self.check_writable(run)?;
        self.check_condition(run, tag, user, condition)?;
        if !self.is_live(run, tag, user) {
            let nothing = Committed { version: self.version, timestamp: self.now, sequences: Vec::new() };
            return Ok((nothing, false));
        }
        let version = self.log_delete(run, tag, user)?;
        Ok((self.finish_commit(version), true))
    }

    /// Logs and installs the deletion of one key; where a fork's parent holds it, that it is hidden.
    pub(super) fn log_delete(&mut self, run: RunId, tag: Tag, user: &[u8]) -> Result<Version, WriteError> {
        let hidden = self.must_hide(run, tag, user).then(|| hidden_key(tag, user));
        let mut payload = std::mem::take(&mut self.payload);
        let mut effects = EffectWriter::new(&mut payload, run);
        effects.delete(tag, user);
        if let Some(hidden) = &hidden {
            effects.put(Tag::Run, hidden, &Value::Null, None);
        }
        let logged = self.log_commit(run, false, &payload);
        self.payload = payload;
        let version = logged?;
        self.install(run, tag, user, version, None, None);
        if let Some(hidden) = &hidden {
            self.install(run, Tag::Run, hidden, version, Some(Value::Null), None);
        }
        Ok(version)
    }

    /// Appends one event; its number is the commit's only sequence.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    pub fn append(&mut self, run: RunId, body: &[u8]) -> Result<(Committed, u64), WriteError> {
        self.check_writable(run)?;
        let stream = event::body_stream(body).map_err(|_| WriteError::MalformedEvent { run })?;
        let state = &self.runs[&run];
        let place = stream.map(|name| self.stream_len(run, name));
        let head = state.chain;
        let key = event_key(head.len);
        // The key is new, and where it goes is fetched while the event is hashed; where the next one goes as well, since events
        // come in rows.
        for key in [key, event_key(head.len + 1)] {
            self.index.prefetch(&self.hashed(run, Tag::Event, &key));
        }
        let mut scratch = std::mem::take(&mut self.event_scratch);
        let (value, _) = event::seal(&head, self.now, place, body, &mut scratch);
        self.event_scratch = scratch;
        let version = if self.log.wal().is_some() {
            let mut payload = std::mem::take(&mut self.payload);
            EffectWriter::new(&mut payload, run).put(Tag::Event, &key, &value, None);
            let logged = self.log_commit(run, false, &payload);
            self.payload = payload;
            logged?
        } else {
            self.log_commit(run, false, &[])?
        };
        self.install(run, Tag::Event, &key, version, Some(value), None);
        Ok((self.finish_commit(version), head.len))
    }

    /// Puts one value and appends one event in the same commit; gives the event's number.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    pub fn put_and_append(
        &mut self,
        run: RunId,
        tag: Tag,
        user: &[u8],
        value: Value,
        condition: Condition,
        body: &[u8],
    ) -> Result<(Committed, u64), WriteError> {
        self.check_writable(run)?;
        limit::check_put_and_append(user, &value, body)?;
        let head = self.runs[&run].chain;
        let key = event_key(head.len);
        self.index.prefetch(&self.hashed(run, Tag::Event, &key));
        self.check_condition(run, tag, user, condition)?;
        let stream = event::body_stream(body).map_err(|_| WriteError::MalformedEvent { run })?;
        let place = stream.map(|name| self.stream_len(run, name));
        let (event, _) = event::seal(&head, self.now, place, body, &mut self.event_scratch);
        let mut payload = std::mem::take(&mut self.payload);
        let mut effects = EffectWriter::if_logged(&mut payload, run, self.log.wal().is_some());
        effects.put(tag, user, &value, None);
        effects.put(Tag::Event, &key, &event, None);
        let logged = self.log_commit(run, false, &payload);
        self.payload = payload;
        let version = logged?;
        self.install(run, tag, user, version, Some(value), None);
        self.install(run, Tag::Event, &key, version, Some(event), None);
        Ok((self.finish_commit(version), head.len))
    }

    /// Counts an integer up; absent counts as 0. Gives the sum.
    ///
    /// # Errors
    /// [`WriteError::NotAnInteger`], [`WriteError::Overflow`] and the rest of [`WriteError`]; nothing was changed.
    pub fn increment(
        &mut self,
        run: RunId,
        tag: Tag,
        user: &[u8],
        by: i64,
    ) -> Result<(Committed, i64), WriteError> {
        self.check_writable(run)?;
        let (now_at, expires_at) = match self.live_head(run, tag, user) {
            None => (0, None),
            Some(head) => match head.value {
                Some(Value::Int(i)) => (*i, head.expires_at),
                Some(other) => {
                    return Err(WriteError::NotAnInteger { key: key(run, tag, user), found: other.kind() });
                }
                None => (0, None),
            },
        };
        let sum =
            now_at.checked_add(by).ok_or_else(|| WriteError::Overflow { key: key(run, tag, user), by })?;
        let committed = self.put(run, tag, user, Value::Int(sum), expires_at, Condition::Any)?;
        Ok((committed, sum))
    }

    /// Makes a whole transaction, or nothing of it.
    ///
    /// # Errors
    /// [`WriteError::Conflict`] where something it read has changed since its snapshot, and the rest of [`WriteError`];
    /// nothing was changed.
    pub fn commit(&mut self, request: CommitRequest) -> Result<Committed, WriteError> {
        self.commit_validated(request, || ())
    }

    /// As [`ShardCore::commit`]; `validated` is called when what was read has been looked at, and the snapshot that it was read
    /// at is needed no more. Given back by then, it keeps nothing from being freed.
    ///
    /// # Errors
    /// As [`ShardCore::commit`].
    pub fn commit_validated(
        &mut self,
        request: CommitRequest,
        validated: impl FnOnce(),
    ) -> Result<Committed, WriteError> {
        limit::check_request(&request)?;
        if let Some(snapshot) = request.snapshot {
            self.validate(&request, snapshot)?;
        }
        validated();
        if request.writes.is_empty() {
            return Ok(Committed { version: self.version, timestamp: self.now, sequences: Vec::new() });
        }
        let mut payload = std::mem::take(&mut self.payload);
        let mut effects = EffectWriter::if_logged(&mut payload, request.run, self.log.wal().is_some());
        let mut staging = self.begin_staging();
        let staged = self.stage(request.run, request.writes, &mut effects, &mut staging);
        let several_runs = effects.several_runs();
        if staged.is_ok() {
            // All at once, while the log is written: one by one, each would be waited for by itself.
            staging.writes.iter().take(PREPARED_WRITES).filter_map(StagedWrite::hashed).for_each(|key| {
                self.index.prepare(&key);
            });
        }
        let logged = match staged {
            // Whoever looks for the history of one run finds what spans several under the lineage's own id.
            Ok(()) if several_runs => {
                effects_of_lineage(request.run, &mut payload);
                self.log_commit(lineage_id(request.run), true, &payload)
            }
            Ok(()) => self.log_commit(request.run, false, &payload),
            Err(error) => Err(error),
        };
        self.payload = payload;
        let version = match logged {
            Ok(version) => version,
            Err(error) => {
                self.end_staging(staging);
                return Err(error);
            }
        };
        for staged in &mut staging.runs {
            if staged.created
                && let Some(meta) = &staged.meta
            {
                let mut state = RunState::new((**meta).clone());
                state.adopted = true;
                self.link_fork(staged.run, meta, &mut state);
                self.runs.insert(staged.run, state);
                self.run_index.insert(staged.run, meta);
            }
        }
        for write in staging.writes.drain(..) {
            match write {
                StagedWrite::Entry { run, tag, key, hash, value, expires_at } => {
                    let key = HashedKey { key: KeyRef::new(run, tag, &key), hash };
                    self.install_hashed(&key, version, value, expires_at);
                }
                StagedWrite::DropRun(run) => self.install_drop(run, version),
            }
        }
        let mut committed = self.finish_commit(version);
        committed.sequences = self.end_staging(staging);
        Ok(committed)
    }

    fn validate(&mut self, request: &CommitRequest, snapshot: Version) -> Result<(), WriteError> {
        if (!request.reads.is_empty() || !request.ranges.is_empty()) && !self.index.remembers(snapshot) {
            return Err(WriteError::SnapshotExpired { snapshot });
        }
        // Planted bug: a build that does not look at the last key read, which the serializability checker must notice.
        let unread = usize::from(cfg!(inmem_mutant = "validation_skips_a_key"));
        // Whether or not its deletion is logged by now, others have seen that it is gone.
        if let Some((until, key)) = request.expires.as_deref()
            && *until <= self.now
        {
            self.counters.conflicts += 1;
            let found = self.head(key.run, key.tag, &key.user).map_or(snapshot, |head| head.version);
            return Err(WriteError::Conflict { key: Box::new(key.clone()), snapshot, found });
        }
        // Mostly all of one run.
        let mut last = (request.run, self.fork_depth(request.run) > 0);
        for ReadKey { key } in request.reads.iter().rev().skip(unread).rev() {
            let mut found = self.head(key.run, key.tag, &key.user).map(|head| head.version);
            if last.0 != key.run {
                last = (key.run, self.fork_depth(key.run) > 0);
            }
            if last.1 {
                // What a fork deletes of its parent's it writes down elsewhere.
                let hidden = self.head(key.run, Tag::Run, &hidden_key(key.tag, &key.user));
                found = found.max(hidden.map(|head| head.version));
            }
            if let Some(found) = found.filter(|found| *found > snapshot) {
                self.counters.conflicts += 1;
                return Err(WriteError::Conflict { key: Box::new(key.clone()), snapshot, found });
            }
        }
        for range in &request.ranges {
            let (lower, upper) = (range.lower.as_ref().map(|k| &**k), range.upper.as_ref().map(|k| &**k));
            let bounds = ScanRange::of_tag(range.run, range.tag, lower, upper);
            let mut changed =
                self.index.range_changed_since(&bounds, snapshot).map(|c| KeyBytes::from(c.user));
            if changed.is_none() && self.fork_depth(range.run) > 0 {
                let hidden = Self::hidden_bounds(range.tag, lower, upper);
                let (lower, upper) = (hidden.0.as_ref().map(|k| &**k), hidden.1.as_ref().map(|k| &**k));
                let bounds = ScanRange::of_tag(range.run, Tag::Run, lower, upper);
                let found = self.index.range_changed_since(&bounds, snapshot);
                changed = found.and_then(|c| hidden_of(c.user)).map(|(_, user)| KeyBytes::from(user));
            }
            if let Some(changed) = changed {
                self.counters.conflicts += 1;
                let found =
                    self.head(range.run, range.tag, &changed).map_or(self.version, |head| head.version);
                return Err(WriteError::Conflict {
                    key: key(range.run, range.tag, &changed),
                    snapshot,
                    found,
                });
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn check_writable(&self, run: RunId) -> Result<(), WriteError> {
        match self.runs.get(&run) {
            Some(_) if self.is_arriving(run) => Err(WriteError::UnknownRun { run }),
            Some(state) => refuse_ended(run, state.meta.status),
            None => Err(WriteError::UnknownRun { run }),
        }
    }

    pub(super) fn check_condition(
        &self,
        run: RunId,
        tag: Tag,
        user: &[u8],
        condition: Condition,
    ) -> Result<(), WriteError> {
        if condition == Condition::Any {
            return Ok(());
        }
        let found = self.live_head(run, tag, user).map(|head| head.version);
        let holds = match condition {
            Condition::Any => true,
            Condition::Absent => found.is_none(),
            Condition::Present => found.is_some(),
            Condition::Version(version) => found == Some(version),
        };
        if holds {
            Ok(())
        } else {
            Err(WriteError::ConditionFailed { key: key(run, tag, user), expected: condition, found })
        }
    }

    /// Hands one record to the log and takes the next version for it. Where it fails, no version is used up.
    #[inline]
    pub(super) fn log_commit(
        &mut self,
        run: RunId,
        several_runs: bool,
        payload: &[u8],
    ) -> Result<Version, WriteError> {
        let version = Version(self.version.0 + 1);
        let logged = self.log.append(run, version, self.now, several_runs, payload);
        if !in_mem_wal::planted::is_planted("shard_drop_commit_error") {
            logged?;
        }
        self.version = version;
        Ok(version)
    }
}
