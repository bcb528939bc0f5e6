//! The changes of watched runs that were told of last, so that a watcher who comes back goes on where it was. Only runs
//! that are watched, or were a while ago, pay for it.

use std::collections::VecDeque;

use hashbrown::HashMap;
use in_mem_model::{RunId, Value, Version};
use rustc_hash::FxBuildHasher;

use super::watch::Change;

/// The most changes that one shard keeps.
pub const RECENT_CHANGES_PER_SHARD: usize = 4_096;

/// The most bytes of keys and values that one shard keeps.
pub const RECENT_BYTES_PER_SHARD: usize = 4 << 20;

/// So many versions of its shard after its last watcher went, a run's changes are no longer kept.
pub const RECENT_VERSIONS_UNWATCHED: u64 = 65_536;

#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Every change after this version is here.
    since: Version,
    /// Nobody has watched it since.
    unwatched: Option<Version>,
}

/// What one shard keeps.
#[derive(Debug, Default)]
pub(super) struct RecentChanges {
    runs: HashMap<RunId, Kept, FxBuildHasher>,
    changes: VecDeque<(RunId, Change)>,
    bytes: usize,
    /// No run is forgotten before.
    next_look: Option<Version>,
}

fn bytes_of(change: &Change) -> usize {
    change.key.len() + change.value.as_ref().map_or(0, Value::heap_bytes)
}

impl RecentChanges {
    /// Whether no run's changes are kept.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn keeps(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    /// The run is watched: its changes are kept from this version on, if they are not already.
    pub(super) fn watched(&mut self, run: RunId, since: Version) {
        self.runs.entry(run).or_insert(Kept { since, unwatched: None }).unwatched = None;
    }

    /// Nobody watches the run any more.
    pub(super) fn unwatched(&mut self, run: RunId, at: Version) {
        if let Some(kept) = self.runs.get_mut(&run) {
            kept.unwatched.get_or_insert(at);
            self.next_look.get_or_insert(Version(at.0 + RECENT_VERSIONS_UNWATCHED));
        }
    }

    /// Keeps a change that was told of.
    pub(super) fn push(&mut self, run: RunId, change: Change) {
        self.bytes += bytes_of(&change);
        self.changes.push_back((run, change));
        while self.changes.len() > RECENT_CHANGES_PER_SHARD || self.bytes > RECENT_BYTES_PER_SHARD {
            let Some((run, change)) = self.changes.pop_front() else { break };
            self.bytes -= bytes_of(&change);
            if let Some(kept) = self.runs.get_mut(&run) {
                kept.since = kept.since.max(change.version);
            }
        }
    }

    /// The changes of a run after a version.
    ///
    /// # Errors
    /// The oldest version to ask for, where not all of them are here; `None` where nothing of the run is.
    pub(super) fn after(
        &self,
        run: RunId,
        from: Version,
    ) -> Result<impl Iterator<Item = &Change>, Option<Version>> {
        match self.runs.get(&run) {
            Some(kept) if kept.since <= from => {}
            other => return Err(other.map(|kept| kept.since)),
        }
        let behind = self.changes.partition_point(|(_, change)| change.version <= from);
        Ok(self.changes.range(behind..).filter(move |(on, _)| *on == run).map(|(_, change)| change))
    }

    pub(super) fn forget_run(&mut self, run: RunId) {
        if self.runs.remove(&run).is_some() {
            self.drop_forgotten();
        }
    }

    /// Forgets runs that nobody has watched for long.
    pub(super) fn age(&mut self, now: Version) {
        if self.next_look.is_none_or(|at| now < at) {
            return;
        }
        self.runs
            .retain(|_, kept| kept.unwatched.is_none_or(|since| now.0 < since.0 + RECENT_VERSIONS_UNWATCHED));
        let oldest = self.runs.values().filter_map(|kept| kept.unwatched).min();
        self.next_look = oldest.map(|since| Version(since.0 + RECENT_VERSIONS_UNWATCHED));
        self.drop_forgotten();
    }

    fn drop_forgotten(&mut self) {
        let Self { runs, changes, bytes, .. } = self;
        changes.retain(|(run, change)| {
            let keep = runs.contains_key(run);
            if !keep {
                *bytes -= bytes_of(change);
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use in_mem_model::KeyBytes;

    use super::*;

    const RUN: RunId = RunId::from_bytes([1; 16]);
    const OTHER: RunId = RunId::from_bytes([2; 16]);

    fn change(version: u64) -> Change {
        Change { key: KeyBytes::new(b"k"), value: Some(Value::from("v")), version: Version(version) }
    }

    fn versions(recent: &RecentChanges, run: RunId, from: u64) -> Result<Vec<u64>, Option<Version>> {
        Ok(recent.after(run, Version(from))?.map(|change| change.version.0).collect())
    }

    #[test]
    fn what_was_pushed_out_is_not_passed_over() {
        let mut recent = RecentChanges::default();
        recent.watched(RUN, Version(0));
        let last = RECENT_CHANGES_PER_SHARD as u64 + 10;
        (1..=last).for_each(|version| recent.push(RUN, change(version)));
        assert_eq!(versions(&recent, RUN, 9), Err(Some(Version(10))));
        let there = versions(&recent, RUN, 10).unwrap();
        assert_eq!((there[0], there.len()), (11, RECENT_CHANGES_PER_SHARD));
        assert_eq!(versions(&recent, OTHER, last), Err(None));
    }

    #[test]
    fn bytes_are_bounded_and_counted_back_to_nothing() {
        let mut recent = RecentChanges::default();
        recent.watched(RUN, Version(0));
        let large = |version| Change { value: Some(Value::from(vec![0u8; 1 << 20])), ..change(version) };
        (1..=10).for_each(|version| recent.push(RUN, large(version)));
        assert!(recent.bytes <= RECENT_BYTES_PER_SHARD && recent.changes.len() >= 3, "{}", recent.bytes);
        let Err(Some(oldest)) = versions(&recent, RUN, 0) else { panic!("all are there") };
        assert_eq!(versions(&recent, RUN, oldest.0).unwrap().len(), recent.changes.len());
        recent.forget_run(RUN);
        assert_eq!((recent.bytes, recent.changes.len()), (0, 0));
    }

    #[test]
    fn a_run_that_nobody_watches_is_forgotten_after_a_while_and_another_is_not() {
        let mut recent = RecentChanges::default();
        recent.watched(RUN, Version(0));
        recent.watched(OTHER, Version(0));
        recent.push(RUN, change(1));
        recent.push(OTHER, change(2));
        recent.unwatched(RUN, Version(2));
        recent.age(Version(1 + RECENT_VERSIONS_UNWATCHED));
        assert_eq!(versions(&recent, RUN, 0), Ok(vec![1]));
        recent.age(Version(2 + RECENT_VERSIONS_UNWATCHED));
        assert_eq!(versions(&recent, RUN, 0), Err(None));
        assert_eq!(versions(&recent, OTHER, 0), Ok(vec![2]));
        recent.unwatched(OTHER, Version(2 + RECENT_VERSIONS_UNWATCHED));
        recent.watched(OTHER, Version(9));
        recent.age(Version(9 * RECENT_VERSIONS_UNWATCHED));
        assert_eq!(versions(&recent, OTHER, 0), Ok(vec![2]), "it is watched again");
    }
}
