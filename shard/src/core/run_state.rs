//! What a shard keeps at hand of each of its runs. Derived from the run's entries, and rebuilt from them.

use std::sync::Arc;

use hashbrown::HashMap;
use in_mem_model::{Tag, Version};
use rustc_hash::FxBuildHasher;

use super::apart::ChangesSinceForks;
use super::command::Usage;
use super::event::ChainHead;
use super::fork::Fork;
use super::run_meta::RunMeta;
use super::span_index::SpanIndex;

/// The numbers of the events of each named stream of a run, in the stream's order.
pub(crate) type Streams = HashMap<Arc<str>, Vec<u64>, FxBuildHasher>;

/// What a shard keeps at hand of a run.
#[derive(Debug)]
pub(crate) struct RunState {
    pub(crate) meta: Box<RunMeta>,
    /// Per primitive, in the order of the tags.
    pub(crate) usage: [Usage; 5],
    pub(crate) chain: ChainHead,
    /// Boxed: most runs have none.
    pub(crate) streams: Option<Box<Streams>>,
    /// Built by the first query over the run's spans.
    pub(crate) spans: Option<Box<SpanIndex>>,
    pub(crate) last_version: Version,
    /// What it shares with another run, where it is a fork.
    pub(crate) fork: Option<Arc<Fork>>,
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

    pub(crate) fn stream_len(&self, stream: &str) -> u64 {
        self.streams.as_ref().and_then(|s| s.get(stream)).map_or(0, |s| s.len() as u64)
    }

    /// An event is at this place of the stream. Entries of a checkpoint come in any order.
    pub(crate) fn note_stream(&mut self, stream: &str, place: u64, sequence: u64) {
        let streams = self.streams.get_or_insert_default();
        // A place is never past the event's own number; what says so is damaged, and must not cost memory.
        let Some(place) = usize::try_from(place).ok().filter(|_| place <= sequence) else { return };
        let numbers = match streams.get_mut(stream) {
            Some(numbers) => numbers,
            None => streams.entry(Arc::from(stream)).or_default(),
        };
        if numbers.len() <= place {
            numbers.resize(place + 1, u64::MAX);
        }
        numbers[place] = sequence;
    }

    /// Whether a process that is gone left the run at work.
    pub(crate) fn orphaned(&self) -> bool {
        use super::run_meta::RunStatus::{Created, Paused, Running};
        !self.adopted && !self.meta.memory && matches!(self.meta.status, Created | Running | Paused)
    }
}
