//! What a shard keeps at hand of each of its runs. Derived from the run's entries, and rebuilt from them.

use std::sync::Arc;

use in_mem_model::{Tag, Version};

use super::apart::ChangesSinceForks;
use super::command::Usage;
use super::event::ChainHead;
use super::fork::Fork;
use super::run_meta::RunMeta;
use super::span_index::SpanIndex;
use super::streams::Streams;

/// What a shard keeps at hand of a run.
#[derive(Debug)]
pub(crate) struct RunState {
    pub(crate) meta: Box<RunMeta>,
    /// Per primitive, in the order of the tags.
    pub(crate) usage: [Usage; 5],
    pub(crate) chain: ChainHead,
    /// Of what it appended itself. Most runs have none.
    pub(crate) streams: Option<Arc<Streams>>,
    /// Built by the first query over the run's spans.
    pub(crate) spans: Option<Box<SpanIndex>>,
    pub(crate) last_version: Version,
    /// What it shares with another run, where it is a fork.
    pub(crate) fork: Option<Arc<Fork>>,
    /// How many of its parent's events it sees, where it is a fork: all that there were, but for those it hides.
    pub(crate) shared_events: u64,
    /// What it changed since it was forked; runs without forks note nothing.
    pub(crate) changes: Option<Box<ChangesSinceForks>>,
    /// Whether this process began the run or took it over.
    pub(crate) adopted: bool,
}

impl RunState {
    pub(crate) fn new(meta: RunMeta) -> Self {
        Self {
            meta: Box::new(meta),
            usage: [Usage::default(); 5],
            chain: ChainHead::default(),
            streams: None,
            spans: None,
            last_version: Version(0),
            fork: None,
            shared_events: 0,
            changes: None,
            adopted: false,
        }
    }

    pub(crate) fn usage_mut(&mut self, tag: Tag) -> &mut Usage {
        &mut self.usage[tag as usize - 1]
    }

    pub(crate) fn usage(&self, tag: Tag) -> Usage {
        self.usage[tag as usize - 1]
    }

    /// Whether a process that is gone left the run at work.
    pub(crate) fn orphaned(&self) -> bool {
        use super::run_meta::RunStatus::{Created, Paused, Running};
        !self.adopted && !self.meta.memory && matches!(self.meta.status, Created | Running | Paused)
    }
}
