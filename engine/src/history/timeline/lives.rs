//! The lives of a run: it may be deleted, and made again under its id, as a fork or not.

use in_mem_model::{Tag, Version};
use in_mem_shard::core::run_meta::RunMeta;

use super::{Timeline, View};
use crate::history::error::HistoryError;

#[derive(Debug)]
pub(super) struct Life {
    /// Its first commit, counted from 1.
    pub(super) begin: u32,
    /// What a fork shares with its parent.
    pub(super) base: Option<View>,
    /// Not all that it was made of is in the log any more: why. Then nothing of it is shown.
    pub(super) lost: Option<HistoryError>,
}

impl Life {
    pub(super) fn new(begin: u32, base: Option<View>) -> Self {
        Self { begin, base, lost: None }
    }

    pub(super) fn lost(begin: u32, why: HistoryError) -> Self {
        Self { begin, base: None, lost: Some(why) }
    }
}

impl Timeline {
    /// The life that the run is in behind so many commits.
    pub(super) fn life(&self, place: usize) -> &Life {
        &self.lives[self.number_of_life(place)]
    }

    fn number_of_life(&self, place: usize) -> usize {
        self.lives.partition_point(|life| life.begin as usize <= place).saturating_sub(1)
    }

    /// The first place from this one on that can be shown; the last life can be.
    pub(super) fn shown_from(&self, place: usize) -> usize {
        let here = self.number_of_life(place);
        let shown = self.lives[here..].iter().find(|life| life.lost.is_none());
        shown.map_or(place, |life| place.max(life.begin as usize))
    }

    /// The last place up to this one that can be shown; 0: there is none.
    pub(super) fn shown_until(&self, place: usize) -> usize {
        let here = self.number_of_life(place);
        let lost = self.lives[..=here].iter().rev().take_while(|life| life.lost.is_some()).last();
        lost.map_or(place, |life| life.begin as usize - 1)
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
