//! What a transaction will do, worked out before anything of it is done: its effects, its events' numbers, its runs' new
//! state. A refusal here leaves nothing behind.

use std::sync::Arc;

use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, Version};
use smallvec::SmallVec;

use super::ShardCore;
use super::command::{RunChange, Write};
use super::commit::refuse_ended;
use super::effect::EffectWriter;
use super::error::WriteError;
use super::event::{self, ChainHead, event_key};
use super::fork::{MAX_FORK_DEPTH, hidden_key};
use super::run_meta::{RunMeta, RunStatus};
use crate::index::{HashedKey, KeyRef};

/// What a commit will do to one of its runs as a whole.
pub(super) struct StagedRun {
    pub(super) run: RunId,
    /// The meta to store, where it changes.
    pub(super) meta: Option<Box<RunMeta>>,
    pub(super) created: bool,
    /// Whether it begins as a fork.
    pub(super) forks: bool,
    /// Whether the meta is among the writes already.
    pub(super) written: bool,
    pub(super) chain: ChainHead,
    /// The streams it appended to, with the places they reach.
    pub(super) streams: SmallVec<[(Arc<str>, u64); 1]>,
}

/// One change, ready to be installed.
#[derive(Debug)]
pub(super) enum StagedWrite {
    Entry {
        run: RunId,
        tag: Tag,
        key: KeyBytes,
        /// The key's, as the index has it.
        hash: u64,
        value: Option<Value>,
        expires_at: Option<Timestamp>,
    },
    DropRun(RunId),
}

impl StagedWrite {
    /// The key that it changes.
    #[inline]
    pub(super) fn hashed(&self) -> Option<HashedKey<'_>> {
        match self {
            Self::Entry { run, tag, key, hash, .. } => {
                Some(HashedKey { key: KeyRef::new(*run, *tag, key), hash: *hash })
            }
            Self::DropRun(_) => None,
        }
    }
}

#[derive(Default)]
pub(super) struct Staging {
    pub(super) runs: SmallVec<[StagedRun; 2]>,
    pub(super) writes: Vec<StagedWrite>,
    pub(super) sequences: Vec<u64>,
    /// The event in hand.
    scratch: Vec<u8>,
    /// A run that was seen to take writes.
    writable: Option<RunId>,
}

/// So many staged changes keep their room for the next transaction; a larger one's is given back.
const KEPT_WRITES: usize = 256;

impl ShardCore {
    /// A change of one key; where it goes is being fetched from here on.
    #[inline]
    fn entry(
        &self,
        run: RunId,
        tag: Tag,
        key: KeyBytes,
        value: Option<Value>,
        expires_at: Option<Timestamp>,
    ) -> StagedWrite {
        let hashed = self.hashed(run, tag, &key);
        self.index.prefetch(&hashed);
        StagedWrite::Entry { run, tag, hash: hashed.hash, key, value, expires_at }
    }

    fn write_meta(
        &self,
        run: RunId,
        meta: &RunMeta,
        effects: &mut EffectWriter<'_>,
        writes: &mut Vec<StagedWrite>,
    ) -> Result<(), WriteError> {
        let value = meta.to_value();
        // Metadata lies one level deeper here than where the caller's was checked, and what is too deep the recovery would
        // refuse.
        value.check()?;
        effects.on(run);
        effects.put(Tag::Run, b"", &value, None);
        writes.push(self.entry(run, Tag::Run, KeyBytes::default(), Some(value), None));
        Ok(())
    }

    pub(super) fn stage(
        &self,
        home: RunId,
        writes: Vec<(RunId, Write)>,
        effects: &mut EffectWriter<'_>,
        staging: &mut Staging,
    ) -> Result<(), WriteError> {
        staging.writes.reserve(writes.len());
        let alone = writes.len() == 1;
        let changed: SmallVec<[RunId; 2]> = writes
            .iter()
            .filter(|(_, write)| matches!(write, Write::ChangeRun(_)))
            .map(|(run, _)| *run)
            .collect();
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
                    staging.writes.push(self.entry(run, tag, key, Some(value), expires_at));
                }
                Write::Delete { tag, key, condition } => {
                    self.check_staged_writable(run, staging)?;
                    self.check_condition(run, tag, &key, condition)?;
                    effects.on(run);
                    effects.delete(tag, &key);
                    if staging.runs.iter().any(|s| s.run == run && s.forks) || self.must_hide(run, tag, &key)
                    {
                        let hidden = hidden_key(tag, &key);
                        effects.put(Tag::Run, &hidden, &Value::Null, None);
                        staging.writes.push(self.entry(run, Tag::Run, hidden, Some(Value::Null), None));
                    }
                    staging.writes.push(self.entry(run, tag, key, None, None));
                }
                Write::Append { body } => {
                    self.check_staged_writable(run, staging)?;
                    let sequence = self.stage_event(run, &body, effects, staging)?;
                    staging.sequences.push(sequence);
                }
                Write::CreateRun(meta) => {
                    if let Some(point) = meta.forked_from.filter(|point| self.is_arriving(point.run)) {
                        return Err(WriteError::UnknownRun { run: point.run });
                    }
                    let chain = self.chain_to_go_on(&meta, run)?;
                    let staged = self.staged_run(run, staging);
                    self.check_free(run)?;
                    if staged.created {
                        return Err(WriteError::RunExists { run });
                    }
                    staged.created = true;
                    staged.forks = meta.forked_from.is_some();
                    staged.chain = chain;
                    let meta = Box::new(self.completed(*meta));
                    // Before what is written to the run, so that recovery knows whose that is; unless it changes yet.
                    if !changed.contains(&run) {
                        self.write_meta(run, &meta, effects, &mut staging.writes)?;
                        let staged = self.staged_run(run, staging);
                        staged.written = true;
                    }
                    self.staged_run(run, staging).meta = Some(meta);
                }
                Write::ChangeRun(change) => self.stage_change(run, &change, staging)?,
                Write::DropRun => {
                    self.check_seen(run)?;
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
            if let (Some(meta), false) = (&staged.meta, staged.written) {
                self.write_meta(staged.run, meta, effects, &mut staging.writes)?;
            }
        }
        Ok(())
    }

    /// Staging in the room that the last transaction left.
    pub(super) fn begin_staging(&mut self) -> Staging {
        let (writes, scratch) = (&mut self.staged_writes, &mut self.event_scratch);
        Staging { writes: std::mem::take(writes), scratch: std::mem::take(scratch), ..Staging::default() }
    }

    /// Leaves the room for the next transaction. Gives the numbers of the events.
    pub(super) fn end_staging(&mut self, mut staging: Staging) -> Vec<u64> {
        staging.writes.clear();
        if staging.writes.capacity() <= KEPT_WRITES {
            self.staged_writes = staging.writes;
        }
        self.event_scratch = staging.scratch;
        staging.sequences
    }

    fn stage_event(
        &self,
        run: RunId,
        body: &[u8],
        effects: &mut EffectWriter<'_>,
        staging: &mut Staging,
    ) -> Result<u64, WriteError> {
        let stream = event::body_stream(body).map_err(|_| WriteError::MalformedEvent { run })?;
        let staged = self.staged_run(run, staging);
        let place = stream.map(|name| {
            if let Some((_, reached)) = staged.streams.iter_mut().find(|(n, _)| &**n == name) {
                *reached += 1;
                return *reached - 1;
            }
            let place = self.stream_len(run, name);
            staged.streams.push((Arc::from(name), place + 1));
            place
        });
        let chain = staged.chain;
        let key = event_key(chain.len);
        // The key is new, and where it goes is fetched while the event is hashed.
        self.index.prefetch(&self.hashed(run, Tag::Event, &key));
        let (value, hash) = event::seal(&chain, self.now, place, body, &mut staging.scratch);
        let sequence = chain.len;
        self.staged_run(run, staging).chain = ChainHead { len: sequence + 1, hash };
        effects.on(run);
        effects.put(Tag::Event, &key, &value, None);
        staging.writes.push(self.entry(run, Tag::Event, KeyBytes::from(&key[..]), Some(value), None));
        Ok(sequence)
    }

    fn stage_change(&self, run: RunId, change: &RunChange, staging: &mut Staging) -> Result<(), WriteError> {
        let stored = self.runs.get(&run).filter(|_| !self.is_arriving(run)).map(|state| &state.meta);
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
            if meta.memory && to.is_ended() {
                return Err(WriteError::EndlessMemory { run, to });
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
            staging.runs.push(StagedRun {
                run,
                meta: None,
                created: false,
                forks: false,
                written: false,
                chain,
                streams: SmallVec::new(),
            });
            staging.runs.len() - 1
        });
        &mut staging.runs[place]
    }

    /// The chain that a new run's events go on: a fork's parent's.
    pub(super) fn chain_to_go_on(&self, meta: &RunMeta, run: RunId) -> Result<ChainHead, WriteError> {
        let Some(point) = &meta.forked_from else { return Ok(ChainHead::default()) };
        let parent = self.runs.get(&point.run).ok_or(WriteError::UnknownRun { run: point.run })?;
        if point.run.routing() != run.routing() {
            return Err(WriteError::OtherLineage { run, with: point.run });
        }
        if self.fork_depth(point.run) >= MAX_FORK_DEPTH {
            return Err(WriteError::ForkTooDeep { run: point.run, limit: MAX_FORK_DEPTH });
        }
        Ok(parent.chain)
    }

    fn completed(&self, mut meta: RunMeta) -> RunMeta {
        if let Some(point) = &mut meta.forked_from {
            point.version = point.version.min(self.version);
        }
        if meta.created == Timestamp(0) {
            meta.created = self.now;
        }
        if meta.status == RunStatus::Running {
            meta.started.get_or_insert(meta.created);
        }
        meta.first_version = Version(self.version.0 + 1);
        meta
    }

    fn check_staged_writable(&self, run: RunId, staging: &mut Staging) -> Result<(), WriteError> {
        if staging.writable == Some(run) {
            return Ok(());
        }
        if !staging.runs.iter().any(|s| s.run == run && s.created) {
            self.check_writable(run)?;
        }
        staging.writable = Some(run);
        Ok(())
    }
}
