//! After a sync that failed: commits that were installed and never published are of unknown outcome, and nobody may see them.
//! Values are read at what is published anyway; what is derived of the runs goes back to that here, once, so that reads
//! go on and tell the truth.

use in_mem_model::{KeyBytes, RunId, Tag, Value, Version, codec};

use super::ShardCore;
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
        let adopted = self.runs.get(&run).is_some_and(|state| state.adopted);
        let (mut fork, mut streams) = (None, None);
        if let Some(state) = self.runs.remove(&run) {
            self.run_index.remove(run, &state.meta);
            (fork, streams) = (state.fork, state.streams);
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
        let meta = rows.iter().find(|(tag, ..)| *tag == Tag::Run).and_then(|(.., v)| RunMeta::from_value(v));
        // Made by a commit that nobody knows of.
        let Some(meta) = meta else {
            self.unlink_fork(fork);
            return;
        };
        self.run_index.insert(run, &meta);
        let mut state = RunState::new(meta);
        state.last_version = last_version;
        state.adopted = adopted;
        let is_fork = fork.is_some();
        if is_fork {
            // A stream may name an event that is not there; it is read as what it is, absent.
            (state.fork, state.streams) = (fork, streams);
        }
        self.runs.insert(run, state);
        if is_fork {
            self.find_chain(run);
        }
        for (tag, user, value) in &rows {
            // What a fork hides of its parent's log is found already.
            self.loading = is_fork;
            self.note(run, *tag, user, Some(value));
            self.loading = false;
            if let Some(state) = self.runs.get_mut(&run) {
                let usage = state.usage_mut(*tag);
                usage.entries += 1;
                usage.bytes += (user.len() + codec::encoded_len(value)) as u64;
            }
        }
    }
}
