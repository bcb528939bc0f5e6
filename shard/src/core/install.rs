//! How a logged change becomes what the shard holds: in the index, in what is derived of its run, and, once it is as durable
//! as the mode promises, in what readers see.

use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, Value, Version};

use super::ShardCore;
use super::command::Committed;
use super::event::{self, ChainHead};
use super::fork::{DroppedFork, hidden_key};
use super::run_meta::RunMeta;
use super::run_state::RunState;
use crate::index::{Direction, HashedKey, Installed, KeyRef, PageLimit, ScanRange};

impl ShardCore {
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
        let key = self.hashed(run, tag, user);
        self.install_hashed(&key, version, value, expires_at);
    }

    /// As [`ShardCore::install`], where the key is hashed already.
    #[inline]
    pub(super) fn install_hashed(
        &mut self,
        key: &HashedKey<'_>,
        version: Version,
        value: Option<Value>,
        expires_at: Option<Timestamp>,
    ) {
        let KeyRef { run, tag, user } = key.key();
        if let Some(at) = expires_at
            && value.is_some()
        {
            self.expiry.add(at, Key { run, tag, user: KeyBytes::from(user) });
        }
        self.note(run, tag, user, value.as_ref());
        if !self.watchers.is_empty() {
            self.watchers.note(run, tag, user, version, value.as_ref());
        }
        let Self { index, runs, last_versions, log, now, .. } = self;
        let state = runs.get_mut(&run);
        // Only a run with forks has to know what is superseded; no other put waits for that version.
        let has_forks = state.as_ref().is_some_and(|state| state.changes.is_some());
        let superseded = if has_forks { index.head(key).map(|head| head.version) } else { None };
        let Installed { added, replaced, .. } = index.install(key, version, *now, expires_at, value);
        let Some(state) = state else { return };
        if let Some(changes) = &mut state.changes
            && (added.is_some() || replaced.is_some())
        {
            let run_hash = index.run_hash(&run);
            let is_there =
                |tag, user: &[u8]| index.head(&index.hashed(run_hash, KeyRef::new(run, tag, user))).is_some();
            // A fork's own forks may see what it hides, of which it has no entry itself.
            let is_fork = state.fork.is_some();
            if changes.note(version, tag, user, superseded.unwrap_or_default()) {
                changes.sweep(|tag, user| {
                    is_there(tag, user) || is_fork && is_there(Tag::Run, &hidden_key(tag, user))
                });
            }
        }
        if version > state.last_version {
            last_versions.changes(run, state.last_version, version, log.waits_for_disk());
            state.last_version = version;
        }
        let usage = state.usage_mut(tag);
        if let Some(bytes) = added {
            usage.entries += 1;
            usage.bytes += user.len() as u64 + u64::from(bytes.get());
        }
        // What forks retain of a key is loaded before what it is now, and counts for nothing.
        if let Some(bytes) = replaced
            && !self.loading
        {
            usage.entries = usage.entries.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(user.len() as u64 + u64::from(bytes.get()));
        }
    }

    /// Keeps what is derived of a run's entries.
    #[inline]
    pub(super) fn note(&mut self, run: RunId, tag: Tag, user: &[u8], value: Option<&Value>) {
        match tag {
            // Other keys under this tag are the run's bookkeeping.
            Tag::Run if user.is_empty() => self.note_meta(run, value),
            Tag::Run if value.is_some() && !self.loading => self.note_hidden(run, user),
            Tag::Event => self.note_event(run, user, value),
            Tag::Trace => {
                if let Some(spans) = self.runs.get_mut(&run).and_then(|state| state.spans.as_mut()) {
                    spans.note(user, value);
                }
            }
            Tag::Kv | Tag::State | Tag::Run => {}
        }
    }

    fn note_meta(&mut self, run: RunId, value: Option<&Value>) {
        let Some(meta) = value.and_then(RunMeta::from_value) else { return };
        match self.runs.get_mut(&run) {
            Some(state) => {
                if *state.meta != meta {
                    // A run that was made has a version: without one, recovery has only heard of it.
                    let is_made = state.meta.first_version == Version(0);
                    self.run_index.remove(run, &state.meta);
                    self.run_index.insert(run, &meta);
                    *state.meta = meta.clone();
                    if is_made {
                        self.link_recovered_fork(run, &meta);
                    }
                }
            }
            None => {
                self.run_index.insert(run, &meta);
                self.runs.insert(run, RunState::new(meta.clone()));
                self.link_recovered_fork(run, &meta);
            }
        }
    }

    /// Recovery: a fork that a record makes shares its parent again. One that a checkpoint holds has what it shared for its own.
    fn link_recovered_fork(&mut self, run: RunId, meta: &RunMeta) {
        if meta.forked_from.is_none() || self.loading {
            return;
        }
        if let Some(mut state) = self.runs.remove(&run) {
            self.link_fork(run, meta, &mut state);
            self.runs.insert(run, state);
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
        if let Some((stream, _)) = event::stored_stream(rest) {
            state.streams.get_or_insert_default().note(stream, sequence);
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
            if let Some(fork) = state.fork {
                self.leave_fork(DroppedFork {
                    at: version,
                    run,
                    first_version: state.meta.first_version,
                    chain: state.chain,
                    shared_events: state.shared_events,
                    adopted: state.adopted,
                    fork,
                });
            }
        }
        self.watchers.forget_run(run, version);
    }

    /// Shows the commit to readers, unless it waits for the disk.
    #[inline]
    pub(super) fn finish_commit(&mut self, version: Version) -> Committed {
        self.counters.commits += 1;
        if !self.log.waits_for_disk() || in_mem_wal::planted::is_planted("shard_publish_before_sync") {
            self.publish(version);
        }
        Committed { version, timestamp: self.now, sequences: Vec::new() }
    }

    /// Shows every commit up to `version` to readers.
    #[inline]
    pub fn publish(&mut self, version: Version) {
        debug_assert!(version <= self.version);
        if version > self.published {
            self.published = version;
            self.last_versions.published(version);
            self.index.publish(version);
            self.index.maintain();
            if !self.dropped_forks.is_empty() {
                self.release_dropped_forks();
            }
            if !self.watchers.is_empty() {
                self.watchers.tell(version);
            }
        }
    }
}
