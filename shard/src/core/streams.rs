//! Which events of a run are in each of its named streams. A fork looks through to its parent's, up to where it goes on from, so
//! that it costs the same however many events there are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use in_mem_model::RunId;
use rustc_hash::FxBuildHasher;

use super::ShardCore;

/// The numbers of the events of each named stream that a run appended itself, in order. Shared with the run's forks, which
/// outlive it; written by the run alone.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<HashMap<Arc<str>, Vec<u64>, FxBuildHasher>>);

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<u64>, FxBuildHasher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event is in the stream. Entries of a checkpoint come in any order, and are put in order by [`Streams::sort`].
    pub(crate) fn note(&self, stream: &str, sequence: u64) {
        let mut streams = self.lock();
        match streams.get_mut(stream) {
            Some(numbers) if numbers.last() == Some(&sequence) => {}
            Some(numbers) => numbers.push(sequence),
            None => drop(streams.insert(Arc::from(stream), vec![sequence])),
        }
    }

    /// Puts what was noted in order.
    pub(crate) fn sort(&self) {
        for numbers in self.lock().values_mut() {
            numbers.sort_unstable();
            numbers.dedup();
        }
    }

    /// How many of a stream's events come before the event of this number.
    fn len_before(&self, stream: &str, bound: u64) -> usize {
        let streams = self.lock();
        streams.get(stream).map_or(0, |numbers| numbers.partition_point(|number| *number < bound))
    }

    /// Adds the numbers from a place on, of those before a bound.
    fn extend(&self, stream: &str, bound: u64, from: usize, limit: usize, out: &mut Vec<u64>) {
        let streams = self.lock();
        let Some(numbers) = streams.get(stream) else { return };
        let seen = numbers.partition_point(|number| *number < bound);
        out.extend(numbers[from.min(seen)..seen].iter().take(limit));
    }
}

impl ShardCore {
    /// The streams that make up a run's, each with the number of the event before which it counts: the run's own first, then
    /// its parent's, and so on.
    fn stream_layers(&self, run: RunId) -> impl Iterator<Item = (&Arc<Streams>, u64)> {
        let state = self.runs.get(&run);
        let own = state.and_then(|state| state.streams.as_ref()).map(|own| (own, u64::MAX));
        let first = state.and_then(|state| Some((state.fork.as_deref()?, state.shared_events)));
        let shared = std::iter::successors(first, |&(fork, bound)| {
            fork.above.as_deref().map(|above| (above, fork.above_events.min(bound)))
        })
        .filter_map(|(fork, bound)| fork.streams.get().map(|streams| (streams, bound)));
        own.into_iter().chain(shared)
    }

    /// How many events of a run are in the stream.
    pub(super) fn stream_len(&self, run: RunId, stream: &str) -> u64 {
        self.stream_layers(run).map(|(streams, bound)| streams.len_before(stream, bound) as u64).sum()
    }

    /// The numbers of the stream's events from a place on, and how many it has.
    pub(super) fn stream_numbers(
        &self,
        run: RunId,
        stream: &str,
        from: u64,
        limit: usize,
    ) -> (Vec<u64>, u64) {
        let layers: Vec<_> = self.stream_layers(run).collect();
        let (mut numbers, mut len) = (Vec::new(), 0);
        for (streams, bound) in layers.into_iter().rev() {
            let here = streams.len_before(stream, bound);
            let skip = usize::try_from(from.saturating_sub(len)).unwrap_or(usize::MAX);
            let left = limit.saturating_sub(numbers.len());
            streams.extend(stream, bound, skip, left, &mut numbers);
            len += here as u64;
        }
        (numbers, len)
    }
}
