//! After a sync that failed: commits that were installed and never published are of unknown outcome, and nobody may see them.
//! Values are read at what is published anyway; what is derived of the runs goes back to that here, once, so that reads
//! go on and tell the truth.

use in_mem_model::{KeyBytes, RunId, Tag, Value, Version, codec};

use super::ShardCore;
use super::event::{self, ChainHead, event_key};
use super::fork::DroppedFork;
use super::run_meta::RunMeta;
use super::run_state::RunState;
use crate::index::{Direction, PageLimit, ScanRange};

impl ShardCore {
    /// Takes back what the runs tell of commits that were never published. The log takes no more of them.
    pub fn fall_back(&mut self) {
        for (run, last_version) in self.last_versions.unpublished_runs() {
            self.rebuild(run, last_version);
        }
    }

    fn rebuild(&mut self, run: RunId, last_version: Version) {
        let before = self.runs.remove(&run);
        if let Some(state) = &before {
            self.run_index.remove(run, &state.meta);
        }
        let everything = PageLimit { rows: usize::MAX, keys: usize::MAX };
        let mut rows: Vec<(Tag, KeyBytes, Value)> = Vec::new();
        let range = ScanRange::of_run(run);
        self.index.scan(&range, Direction::Forwards, self.published, everything, |row| {
            if let Some(value) = row.node.value {
                rows.push((row.key.tag, KeyBytes::from(row.key.user), value.clone()));
            }
            true
        });
        let meta = rows
            .iter()
            .find(|(tag, user, _)| *tag == Tag::Run && user.is_empty())
            .and_then(|(.., v)| RunMeta::from_value(v));
        // Made by a commit that nobody knows of.
        let Some(meta) = meta else { return };
        self.run_index.insert(run, &meta);
        let mut state = RunState::new(meta);
        state.last_version = last_version;
        let mut known = None;
        // Dropped and made again by commits of which nobody knows: what it was before counts.
        let is_remade = |before: &RunState| before.meta.first_version > self.published;
        let dropped = |dropped: &DroppedFork| {
            dropped.run == run && dropped.first_version <= self.published && dropped.at > self.published
        };
        if let Some(before) = before.filter(|before| !is_remade(before)) {
            state.adopted = before.adopted;
            if before.fork.is_some() {
                known = Some(before.chain);
                state.fork = before.fork;
                state.shared_events = before.shared_events;
            }
        } else if let Some(place) = self.dropped_forks.iter().position(dropped)
            && let Some(dropped) = self.dropped_forks.remove(place)
        {
            // The drop is what nobody knows of.
            known = Some(dropped.chain);
            state.adopted = dropped.adopted;
            state.fork = Some(dropped.fork);
            state.shared_events = dropped.shared_events;
        }
        self.runs.insert(run, state);
        for (tag, user, value) in &rows {
            self.note(run, *tag, user, Some(value));
            if let Some(state) = self.runs.get_mut(&run) {
                let usage = state.usage_mut(*tag);
                usage.entries += 1;
                usage.bytes += (user.len() + codec::encoded_len(value)) as u64;
            }
        }
        if let Some(known) = known {
            self.rewind_chain(run, known);
        }
    }

    /// A fork's chain goes on from its parent's: its end is the last event up to `known` that is published.
    fn rewind_chain(&mut self, run: RunId, known: ChainHead) {
        let mut chain = known;
        while let Some(last) = chain.len.checked_sub(1) {
            let key = event_key(last);
            let own = self.index.get_at(&self.hashed(run, Tag::Event, &key), self.published);
            let stored = own.or_else(|| self.shared(run, Tag::Event, &key, self.published));
            if let Some((hash, _)) = stored.and_then(|node| event::split_stored(node.value?)) {
                chain.hash = hash;
                break;
            }
            chain = ChainHead { len: last, ..ChainHead::default() };
        }
        if let Some(state) = self.runs.get_mut(&run) {
            state.chain = chain;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use in_mem_model::Key;
    use in_mem_wal::{Config, Mode, ShardLog, SimDisk};

    use super::*;
    use crate::core::Log;
    use crate::core::command::{CommitRequest, Write};
    use crate::core::error::Condition;
    use crate::core::run_meta::ForkPoint;
    use crate::index::{IndexConfig, IndexWriter};

    const PARENT: RunId = RunId::from_bytes([0; 16]);

    fn write(core: &mut ShardCore, run: RunId, write: Write) {
        let mut request = CommitRequest::new(run);
        request.writes.push((run, write));
        core.commit(request).unwrap();
    }

    fn create(core: &mut ShardCore, run: RunId, from: Option<RunId>) {
        let mut meta = RunMeta::new(run, "r");
        meta.forked_from = from.map(|run| ForkPoint { run, version: Version(u64::MAX) });
        write(core, run, Write::CreateRun(Box::new(meta)));
    }

    /// It was dropped, made again as a fork, and dropped again, by commits of which nobody knows.
    #[test]
    fn a_run_that_was_no_fork_is_none_afterwards() {
        for made_again in [false, true] {
            let config = Config { segment_bytes: 1 << 20, mode: Mode::Strict, shard: 0, create: true };
            let storage = Arc::new(SimDisk::new(1));
            let (log, _) =
                ShardLog::recover(storage, Path::new("/log"), config, 1, None, &mut |_| Ok(())).unwrap();
            let mut core = ShardCore::new(IndexWriter::new(IndexConfig::new(1)), Log::Wal(log));
            let run = RunId::from_bytes([1; 16]).with_routing(0);
            create(&mut core, PARENT, None);
            core.put(PARENT, Tag::Kv, b"parent's", Value::from(1), None, Condition::Any).unwrap();
            create(&mut core, run, None);
            core.put(run, Tag::Kv, b"own", Value::from(2), None, Condition::Any).unwrap();
            core.publish(core.version());
            write(&mut core, run, Write::DropRun);
            create(&mut core, run, Some(PARENT));
            write(&mut core, run, Write::DropRun);
            if made_again {
                create(&mut core, run, None);
            }
            core.fall_back();
            let get = |key: &str| core.get(&Key { run, tag: Tag::Kv, user: KeyBytes::from(key) });
            assert_eq!(get("own").map(|found| found.value), Some(Value::from(2)));
            assert_eq!(get("parent's"), None, "made again: {made_again}");
        }
    }
}
