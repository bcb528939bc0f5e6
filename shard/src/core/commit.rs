//! How a write becomes part of the shard: it is checked against the newest installed versions, logged as one record,
//! installed, and published as soon as it is as durable as the mode promises. A refusal happens before the log is
//! touched, so that it leaves nothing behind.

use std::sync::Arc;

use in_mem_model::codec;
use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, Value, Version};
use smallvec::SmallVec;

use super::ShardCore;
use super::command::{CommitRequest, Committed, ReadKey, RunChange, Write};
use super::effect::EffectWriter;
use super::error::{Condition, WriteError};
use super::event::{self, ChainHead, event_key};
use super::run_meta::{RunMeta, RunStatus};
use super::run_state::RunState;
use crate::index::{Direction, PageLimit, ScanRange};

/// What a commit will do to one of its runs as a whole.
struct StagedRun {
    run: RunId,
    /// The meta to store, where it changes.
    meta: Option<Box<RunMeta>>,
    created: bool,
    chain: ChainHead,
    /// The streams it appended to, with the places they reach.
    streams: SmallVec<[(Arc<str>, u64); 1]>,
}

/// One change, ready to be installed.
enum StagedWrite {
    Entry { run: RunId, tag: Tag, key: KeyBytes, value: Option<Value>, expires_at: Option<Timestamp> },
    DropRun(RunId),
}

#[derive(Default)]
struct Staging {
    runs: SmallVec<[StagedRun; 2]>,
    writes: Vec<StagedWrite>,
    sequences: Vec<u64>,
}

fn key(run: RunId, tag: Tag, user: &[u8]) -> Box<Key> {
    Box::new(Key { run, tag, user: KeyBytes::from(user) })
}

fn refuse_ended(run: RunId, status: RunStatus) -> Result<(), WriteError> {
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
        self.check_writable(run)?;
        if condition != Condition::Any {
            self.check_condition(run, tag, user, condition)?;
        }
        let version = if self.log.wal().is_some() {
            let mut payload = std::mem::take(&mut self.payload);
            EffectWriter::new(&mut payload, run).put(tag, user, &value, expires_at);
            let logged = self.log_commit(run, false, &payload);
            self.payload = payload;
            logged?
        } else {
            self.log_commit(run, false, &[])?
        };
        self.install(run, tag, user, version, Some(value), expires_at);
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
        let mut payload = std::mem::take(&mut self.payload);
        EffectWriter::new(&mut payload, run).delete(tag, user);
        let logged = self.log_commit(run, false, &payload);
        self.payload = payload;
        let version = logged?;
        self.install(run, tag, user, version, None, None);
        Ok((self.finish_commit(version), true))
    }

    /// Appends one event; its number is the commit's only sequence.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    pub fn append(&mut self, run: RunId, body: &[u8]) -> Result<(Committed, u64), WriteError> {
        self.check_writable(run)?;
        let stream = event::body_stream(body).map_err(|_| WriteError::MalformedEvent { run })?;
        let state = &self.runs[&run];
        let place = stream.map(|name| state.stream_len(name));
        let head = state.chain;
        let mut scratch = std::mem::take(&mut self.event_scratch);
        let (value, _) = event::seal(&head, self.now, place, body, &mut scratch);
        self.event_scratch = scratch;
        let key = event_key(head.len);
        let mut payload = std::mem::take(&mut self.payload);
        EffectWriter::new(&mut payload, run).put(Tag::Event, &key, &value, None);
        let logged = self.log_commit(run, false, &payload);
        self.payload = payload;
        let version = logged?;
        self.install(run, Tag::Event, &key, version, Some(value), None);
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
        if let Some(snapshot) = request.snapshot {
            self.validate(&request, snapshot)?;
        }
        if request.writes.is_empty() {
            return Ok(Committed { version: self.version, timestamp: self.now, sequences: Vec::new() });
        }
        let mut payload = std::mem::take(&mut self.payload);
        let mut effects = EffectWriter::new(&mut payload, request.run);
        let mut staging = Staging::default();
        let staged = self.stage(request.run, request.writes, &mut effects, &mut staging);
        let several_runs = effects.several_runs();
        let logged = match staged {
            Ok(()) => self.log_commit(request.run, several_runs, &payload),
            Err(error) => Err(error),
        };
        self.payload = payload;
        let version = logged?;
        for staged in &mut staging.runs {
            if staged.created
                && let Some(meta) = &staged.meta
            {
                let mut state = RunState::new((**meta).clone());
                state.adopted = true;
                self.runs.insert(staged.run, state);
                self.run_index.insert(staged.run, meta);
            }
        }
        for write in staging.writes {
            match write {
                StagedWrite::Entry { run, tag, key, value, expires_at } => {
                    self.install(run, tag, &key, version, value, expires_at);
                }
                StagedWrite::DropRun(run) => self.install_drop(run, version),
            }
        }
        let mut committed = self.finish_commit(version);
        committed.sequences = staging.sequences;
        Ok(committed)
    }

    fn validate(&mut self, request: &CommitRequest, snapshot: Version) -> Result<(), WriteError> {
        // Planted bug: a build that does not look at the last key read, which the serializability checker must notice.
        let unread = usize::from(cfg!(inmem_mutant = "validation_skips_a_key"));
        for ReadKey { key } in request.reads.iter().rev().skip(unread).rev() {
            let found = self.head(key.run, key.tag, &key.user).map(|head| head.version);
            if let Some(found) = found.filter(|found| *found > snapshot) {
                self.counters.conflicts += 1;
                return Err(WriteError::Conflict { key: Box::new(key.clone()), snapshot, found });
            }
        }
        for range in &request.ranges {
            let (lower, upper) = (range.lower.as_ref().map(|k| &**k), range.upper.as_ref().map(|k| &**k));
            let bounds = ScanRange::of_tag(range.run, range.tag, lower, upper);
            if let Some(changed) =
                self.index.range_changed_since(&bounds, snapshot).map(|c| KeyBytes::from(c.user))
            {
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

    fn stage(
        &self,
        home: RunId,
        writes: Vec<(RunId, Write)>,
        effects: &mut EffectWriter<'_>,
        staging: &mut Staging,
    ) -> Result<(), WriteError> {
        staging.writes.reserve(writes.len());
        let alone = writes.len() == 1;
        for (run, write) in writes {
            if run.routing() != home.routing() {
                return Err(WriteError::OtherLineage { run, with: home });
            }
            match write {
                Write::Put { tag, key, value, expires_at, condition } => {
                    self.check_staged_writable(run, staging)?;
                    self.check_condition(run, tag, &key, condition)?;
                    effects.on(run);
                    effects.put(tag, &key, &value, expires_at);
                    staging.writes.push(StagedWrite::Entry { run, tag, key, value: Some(value), expires_at });
                }
                Write::Delete { tag, key, condition } => {
                    self.check_staged_writable(run, staging)?;
                    self.check_condition(run, tag, &key, condition)?;
                    effects.on(run);
                    effects.delete(tag, &key);
                    staging.writes.push(StagedWrite::Entry { run, tag, key, value: None, expires_at: None });
                }
                Write::Append { body } => {
                    self.check_staged_writable(run, staging)?;
                    let sequence = self.stage_event(run, &body, effects, staging)?;
                    staging.sequences.push(sequence);
                }
                Write::CreateRun(meta) => {
                    let staged = self.staged_run(run, staging);
                    if self.runs.contains_key(&run) || staged.created {
                        return Err(WriteError::RunExists { run });
                    }
                    staged.created = true;
                    staged.meta = Some(Box::new(self.completed(*meta)));
                }
                Write::ChangeRun(change) => self.stage_change(run, &change, staging)?,
                Write::DropRun => {
                    if !self.runs.contains_key(&run) {
                        return Err(WriteError::UnknownRun { run });
                    }
                    // A commit gives a key one version: what is dropped cannot be written in the same breath.
                    if alone {
                        effects.on(run);
                    } else {
                        return Err(WriteError::DropNotAlone { run });
                    }
                    effects.drop_run();
                    staging.writes.push(StagedWrite::DropRun(run));
                }
            }
        }
        // The metas last, each once, as they stand at the end; so that a run may be written and ended in one transaction.
        for staged in &staging.runs {
            if let Some(meta) = &staged.meta {
                let value = meta.to_value();
                effects.on(staged.run);
                effects.put(Tag::Run, b"", &value, None);
                staging.writes.push(StagedWrite::Entry {
                    run: staged.run,
                    tag: Tag::Run,
                    key: KeyBytes::default(),
                    value: Some(value),
                    expires_at: None,
                });
            }
        }
        Ok(())
    }

    fn stage_event(
        &self,
        run: RunId,
        body: &[u8],
        effects: &mut EffectWriter<'_>,
        staging: &mut Staging,
    ) -> Result<u64, WriteError> {
        let stream = event::body_stream(body).map_err(|_| WriteError::MalformedEvent { run })?;
        let stored = self.runs.get(&run);
        let staged = self.staged_run(run, staging);
        let place = stream.map(|name| {
            if let Some((_, reached)) = staged.streams.iter_mut().find(|(n, _)| &**n == name) {
                *reached += 1;
                return *reached - 1;
            }
            let place = stored.map_or(0, |state| state.stream_len(name));
            staged.streams.push((Arc::from(name), place + 1));
            place
        });
        let (value, hash) = event::seal(&staged.chain, self.now, place, body, &mut Vec::new());
        let sequence = staged.chain.len;
        staged.chain = ChainHead { len: sequence + 1, hash };
        let key = event_key(sequence);
        effects.on(run);
        effects.put(Tag::Event, &key, &value, None);
        staging.writes.push(StagedWrite::Entry {
            run,
            tag: Tag::Event,
            key: KeyBytes::from(&key[..]),
            value: Some(value),
            expires_at: None,
        });
        Ok(sequence)
    }

    fn stage_change(&self, run: RunId, change: &RunChange, staging: &mut Staging) -> Result<(), WriteError> {
        let stored = self.runs.get(&run).map(|state| &state.meta);
        let staged = self.staged_run(run, staging);
        let mut meta = match (staged.meta.take(), stored) {
            (Some(meta), _) => meta,
            (None, Some(meta)) => meta.clone(),
            (None, None) => return Err(WriteError::UnknownRun { run }),
        };
        let at = change.at.unwrap_or(self.now);
        if let Some(to) = change.status {
            let from = meta.status;
            if !from.may_become(to) {
                return Err(WriteError::InvalidStatus { run, from, to });
            }
            meta.status = to;
            if to == RunStatus::Running {
                meta.started.get_or_insert(at);
            }
            if to.is_ended() {
                meta.ended.get_or_insert(at);
            }
            if change.error.is_some() {
                meta.error.clone_from(&change.error);
            }
        } else if change.name.is_some() || change.tags.is_some() || change.metadata.is_some() {
            refuse_ended(run, meta.status)?;
        }
        if let Some(name) = &change.name {
            meta.name = name.clone();
        }
        if let Some(tags) = &change.tags {
            meta.tags.clone_from(tags);
        }
        if let Some(metadata) = &change.metadata {
            meta.metadata = metadata.clone();
        }
        staged.meta = Some(meta);
        Ok(())
    }

    /// What is staged of the run, beginning with how it stands.
    fn staged_run<'s>(&self, run: RunId, staging: &'s mut Staging) -> &'s mut StagedRun {
        let place = staging.runs.iter().position(|s| s.run == run).unwrap_or_else(|| {
            let chain = self.runs.get(&run).map(|s| s.chain).unwrap_or_default();
            staging.runs.push(StagedRun { run, meta: None, created: false, chain, streams: SmallVec::new() });
            staging.runs.len() - 1
        });
        &mut staging.runs[place]
    }

    fn completed(&self, mut meta: RunMeta) -> RunMeta {
        if meta.created == Timestamp(0) {
            meta.created = self.now;
        }
        if meta.status == RunStatus::Running {
            meta.started.get_or_insert(meta.created);
        }
        meta.first_version = Version(self.version.0 + 1);
        meta
    }

    fn check_writable(&self, run: RunId) -> Result<(), WriteError> {
        match self.runs.get(&run) {
            Some(state) => refuse_ended(run, state.meta.status),
            None => Err(WriteError::UnknownRun { run }),
        }
    }

    fn check_staged_writable(&self, run: RunId, staging: &Staging) -> Result<(), WriteError> {
        if staging.runs.iter().any(|s| s.run == run && s.created) {
            return Ok(());
        }
        self.check_writable(run)
    }

    fn check_condition(
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
    pub(super) fn log_commit(
        &mut self,
        run: RunId,
        several_runs: bool,
        payload: &[u8],
    ) -> Result<Version, WriteError> {
        let version = Version(self.version.0 + 1);
        let logged = self.log.append(run, version, self.now, several_runs, payload);
        if !cfg!(inmem_mutant = "shard_drop_commit_error") {
            logged?;
        }
        self.version = version;
        Ok(version)
    }

    /// Installs one change of a commit that is in the log, and keeps the run's derived state.
    pub(super) fn install(
        &mut self,
        run: RunId,
        tag: Tag,
        user: &[u8],
        version: Version,
        value: Option<Value>,
        expires_at: Option<Timestamp>,
    ) {
        let added = value.as_ref().map(|v| (user.len() + codec::encoded_len(v)) as u64);
        if let Some(at) = expires_at
            && value.is_some()
        {
            self.expiry.add(at, Key { run, tag, user: KeyBytes::from(user) });
        }
        match tag {
            Tag::Run => self.note_meta(run, value.as_ref()),
            Tag::Event => self.note_event(run, user, value.as_ref()),
            Tag::Trace => {
                if let Some(spans) = self.runs.get_mut(&run).and_then(|state| state.spans.as_mut()) {
                    spans.note(user, value.as_ref());
                }
            }
            Tag::Kv | Tag::State => {}
        }
        if !self.watchers.is_empty() {
            self.watchers.note(run, tag, user, version, value.as_ref());
        }
        let hashed = self.hashed(run, tag, user);
        let mut replaced = None;
        self.index.install_over(&hashed, version, self.now, expires_at, value, |superseded| {
            replaced = superseded.value.map(codec::encoded_len);
        });
        let Some(state) = self.runs.get_mut(&run) else { return };
        if version > state.last_version {
            self.last_versions.changes(run, state.last_version, version, self.log.waits_for_disk());
            state.last_version = version;
        }
        let usage = state.usage_mut(tag);
        if let Some(bytes) = added {
            usage.entries += 1;
            usage.bytes += bytes;
        }
        if let Some(bytes) = replaced {
            usage.entries = usage.entries.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub((user.len() + bytes) as u64);
        }
    }

    fn note_meta(&mut self, run: RunId, value: Option<&Value>) {
        let Some(meta) = value.and_then(RunMeta::from_value) else { return };
        match self.runs.get_mut(&run) {
            Some(state) => {
                if *state.meta != meta {
                    self.run_index.remove(run, &state.meta);
                    self.run_index.insert(run, &meta);
                    *state.meta = meta;
                }
            }
            None => {
                self.run_index.insert(run, &meta);
                self.runs.insert(run, RunState::new(meta));
            }
        }
    }

    fn note_event(&mut self, run: RunId, user: &[u8], value: Option<&Value>) {
        let (Some(sequence), Some(value)) = (event::event_sequence(user), value) else { return };
        let (Some((hash, rest)), Some(state)) = (event::split_stored(value), self.runs.get_mut(&run)) else {
            return;
        };
        if sequence >= state.chain.len {
            state.chain = ChainHead { len: sequence + 1, hash };
        }
        if let Some((stream, place)) = event::stored_stream(rest) {
            state.note_stream(stream, place, sequence);
        }
    }

    /// Deletes every entry of the run, and the run.
    pub(super) fn install_drop(&mut self, run: RunId, version: Version) {
        let everything = PageLimit { rows: usize::MAX, keys: usize::MAX };
        let mut keys = Vec::new();
        self.index.scan(&ScanRange::of_run(run), Direction::Forwards, self.version, everything, |row| {
            keys.push((row.key.tag, KeyBytes::from(row.key.user)));
            true
        });
        for (tag, user) in keys {
            let hashed = self.hashed(run, tag, &user);
            self.index.install(&hashed, version, self.now, None, None);
        }
        if let Some(state) = self.runs.remove(&run) {
            self.last_versions.changes(run, state.last_version, version, self.log.waits_for_disk());
            self.run_index.remove(run, &state.meta);
        }
        self.watchers.forget_run(run);
    }

    /// Shows the commit to readers, unless it waits for the disk.
    pub(super) fn finish_commit(&mut self, version: Version) -> Committed {
        self.counters.commits += 1;
        if !self.log.waits_for_disk() {
            self.publish(version);
        }
        Committed { version, timestamp: self.now, sequences: Vec::new() }
    }

    /// Shows every commit up to `version` to readers.
    pub fn publish(&mut self, version: Version) {
        debug_assert!(version <= self.version);
        if version > self.published {
            self.published = version;
            self.last_versions.published(version);
            self.index.publish(version);
            self.index.maintain();
            if !self.watchers.is_empty() {
                self.watchers.tell(version);
            }
        }
    }
}
