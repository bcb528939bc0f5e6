//! The lives of a run: it may be deleted, and made again under its id, as a fork or not.

use in_mem_model::{Tag, Version};
use in_mem_shard::core::run_meta::RunMeta;

use super::{Timeline, View};

#[derive(Debug)]
pub(super) struct Life {
    /// Its first commit, counted from 1.
    pub(super) begin: u32,
    /// What a fork shares with its parent.
    pub(super) base: Option<View>,
}

impl Timeline {
    /// The life that the run is in behind so many commits.
    pub(super) fn life(&self, place: usize) -> &Life {
        let behind = self.lives.partition_point(|life| life.begin as usize <= place);
        &self.lives[behind.saturating_sub(1)]
    }

    /// The last one.
    pub(super) fn last_life(&self) -> &Life {
        &self.lives[self.lives.len() - 1]
    }

    /// The commits up to a version that made the run again, counted from 1, with what was known of it as a whole then.
    pub(super) fn made_again(&self, up_to: Version) -> Vec<(u32, RunMeta)> {
        let versions = self.key(Tag::Run, b"").map_or(&[][..], |key| &key.versions);
        let made = versions.iter().filter(|version| version.commit > 1).filter_map(|version| {
            let meta = RunMeta::from_value(version.value.as_ref()?)?;
            let at = self.commits[version.commit as usize - 1].version;
            (meta.first_version == at && at <= up_to).then_some((version.commit, meta))
        });
        made.collect()
    }
}
