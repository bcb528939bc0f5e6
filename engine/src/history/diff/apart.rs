//! Diffs of two states that share a past: only keys that may differ are looked at.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::Arc;

use in_mem_model::{KeyBytes, RunId, Tag, Timestamp};
use in_mem_shard::core::PAGE_LIMIT;
use in_mem_shard::core::apart::BothValues;
use in_mem_shard::core::command::ScanRequest;
use in_mem_shard::core::event::{self, event_key};

use super::spans::TraceDiff;
use super::{Diff, Divergence, Side, diff_key, parted, says_same, unpack_event, unpack_trace};
use crate::engine::Engine;
use crate::error::Error;
use crate::history::digest::TAGS;
use crate::history::timeline::View;
use crate::snapshot::Snapshot;

type Keys = Vec<(Tag, KeyBytes)>;

/// Gives what both states hold under some keys, at most [`PAGE_LIMIT`] of them.
type Fetch<'f> = dyn FnMut(Keys) -> Result<Vec<BothValues>, Error> + 'f;

/// The diff of two states that hold the same under every key but these.
fn diff_keys(
    (a, b): (Side, Side),
    mut candidates: Keys,
    events: (u64, u64),
    context_events: usize,
    fetch: &mut Fetch<'_>,
) -> Result<Diff, Error> {
    candidates.sort_unstable();
    candidates.dedup();
    let of = |wanted: Tag| -> Keys { candidates.iter().filter(|(tag, _)| *tag == wanted).cloned().collect() };
    let (mut kv, mut state) = (Vec::new(), Vec::new());
    for (keys, found) in [(of(Tag::Kv), &mut kv), (of(Tag::State), &mut state)] {
        for page in keys.chunks(PAGE_LIMIT) {
            let values = fetch(page.to_vec())?;
            let both = page.iter().zip(values);
            found.extend(both.filter_map(|((_, key), (a, b))| diff_key(key.clone(), a, b)));
        }
    }
    Ok(Diff {
        a,
        b,
        kv,
        state,
        traces: diff_spans((a.run, b.run), of(Tag::Trace), fetch)?,
        events,
        divergence: first_divergence((a.run, b.run), &of(Tag::Event), context_events, fetch)?,
    })
}

/// Spans that differ, with those that they are a part of.
fn diff_spans((a, b): (RunId, RunId), candidates: Keys, fetch: &mut Fetch<'_>) -> Result<TraceDiff, Error> {
    let (mut spans_a, mut spans_b) = (Vec::new(), Vec::new());
    let mut known: HashSet<Arc<str>> = HashSet::new();
    let (mut next, mut are_parents) = (candidates, false);
    while !next.is_empty() {
        let mut parents: Keys = Vec::new();
        for page in next.chunks(PAGE_LIMIT) {
            for ((_, key), (one, other)) in page.iter().zip(fetch(page.to_vec())?) {
                let is_same = one.as_ref().map(|v| &v.value) == other.as_ref().map(|v| &v.value);
                if is_same && !are_parents {
                    continue;
                }
                for (run, stored, spans) in [(a, one, &mut spans_a), (b, other, &mut spans_b)] {
                    let Some(stored) = stored else { continue };
                    let span = unpack_trace(run, key, &stored)?;
                    known.insert(span.id.clone());
                    parents.extend(span.head.parent.as_deref().map(|id| (Tag::Trace, KeyBytes::from(id))));
                    spans.push(span);
                }
            }
        }
        parents.sort_unstable();
        parents.dedup();
        // What was looked for and is not there is not looked for again.
        parents.retain(|(_, key)| key.as_str().is_some_and(|id| known.insert(Arc::from(id))));
        (next, are_parents) = (parents, true);
    }
    Ok(TraceDiff::of(spans_a, spans_b, true))
}

/// The first event at which two runs went different ways: it is among those that they do not share.
fn first_divergence(
    (a, b): (RunId, RunId),
    candidates: &[(Tag, KeyBytes)],
    context_events: usize,
    fetch: &mut Fetch<'_>,
) -> Result<Option<Divergence>, Error> {
    for page in candidates.chunks(PAGE_LIMIT) {
        for ((_, key), (one, other)) in page.iter().zip(fetch(page.to_vec())?) {
            let one = one.map(|stored| unpack_event(a, key, &stored)).transpose()?;
            let other = other.map(|stored| unpack_event(b, key, &stored)).transpose()?;
            match (&one, &other) {
                (None, None) => continue,
                (Some(one), Some(other)) if says_same(one, other) => continue,
                _ => {}
            }
            let sequence = event::event_sequence(key).unwrap_or(0);
            let first = sequence.saturating_sub(context_events as u64);
            let before: Keys =
                (first..sequence).map(|n| (Tag::Event, KeyBytes::new(&event_key(n)))).collect();
            let mut context = Vec::with_capacity(before.len());
            for page in before.chunks(PAGE_LIMIT) {
                for ((_, key), (stored, _)) in page.iter().zip(fetch(page.to_vec())?) {
                    context.extend(stored.map(|stored| unpack_event(a, key, &stored)).transpose()?);
                }
            }
            return Ok(Some(parted(context, one, other)));
        }
    }
    Ok(None)
}

/// The diff of two points of one timeline, each with what is "now" for what expires.
pub(super) fn diff_points(
    (a, at_a): (&View, Timestamp),
    (b, at_b): (&View, Timestamp),
    context_events: usize,
) -> Result<Diff, Error> {
    let (earlier, later) = if a.place() <= b.place() { (a, b) } else { (b, a) };
    let mut candidates = later.changed_since(earlier);
    candidates.extend(later.expiring());
    let side = |view: &View| Side { run: view.timeline().run(), version: view.version() };
    let mut fetch = |keys: Keys| {
        let both = keys.iter().map(|(tag, key)| (a.get_as_of(*tag, key, at_a), b.get_as_of(*tag, key, at_b)));
        Ok(both.collect())
    };
    diff_keys((side(a), side(b)), candidates, (events_of(a), events_of(b)), context_events, &mut fetch)
}

/// How many events there were: they are numbered from 0 without a gap.
fn events_of(view: &View) -> u64 {
    let is_there = |sequence: u64| view.get(Tag::Event, &event_key(sequence)).is_some();
    let (mut there, mut reach) = (0, 1);
    while is_there(there + reach - 1) {
        there += reach;
        reach *= 2;
    }
    // The last one is less than `reach` further on.
    while reach > 1 {
        reach /= 2;
        if is_there(there + reach - 1) {
            there += reach;
        }
    }
    there
}

impl Engine {
    /// The diff of two runs that share a past; `None` where they do not, or where only reading both whole tells.
    pub(super) fn diff_apart(
        &self,
        snapshot: &Snapshot<'_>,
        a: RunId,
        b: RunId,
        context_events: usize,
    ) -> Result<Option<Diff>, Error> {
        let (shard, at) = (&self.shards[self.shard_of(a)], snapshot.version());
        let Some(parting) = shard.maintain(move |core| core.parting(a, b, at))? else { return Ok(None) };
        let mut candidates = Keys::new();
        for (run, at) in parting.own {
            for tag in TAGS {
                let mut after = None;
                loop {
                    let (keys, next) =
                        shard.maintain(move |core| core.own_page(run, tag, after.as_ref(), at))?;
                    candidates.extend(keys);
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        let (common, from, to) = (parting.common, parting.from, parting.to);
        let mut place = (from < to).then_some(0);
        while let Some(begin) = place {
            let page = shard.maintain(move |core| core.changed_page(common, from, to, begin))?;
            // Let go meanwhile, with the fork or its parent.
            let Some((keys, next)) = page else { return Ok(None) };
            candidates.extend(keys);
            place = next;
        }
        let mut fetch = |keys: Keys| {
            let values = shard.maintain(move |core| core.both_values((a, b), at, &keys))?;
            snapshot.check()?;
            values.ok_or(Error::UnknownRun { run: a })
        };
        let events = (events_at(snapshot, a)?, events_at(snapshot, b)?);
        let sides = (Side { run: a, version: at }, Side { run: b, version: at });
        diff_keys(sides, candidates, events, context_events, &mut fetch).map(Some)
    }
}

/// How many events a run had at a snapshot's moment.
fn events_at(snapshot: &Snapshot<'_>, run: RunId) -> Result<u64, Error> {
    let (lower, upper) = (Bound::Unbounded, Bound::Unbounded);
    let request = ScanRequest { run, tag: Tag::Event, lower, upper, reverse: true, at: None, limit: 1 };
    let last = snapshot.scan(request)?.0.pop();
    Ok(last.and_then(|(key, _)| event::event_sequence(&key)).map_or(0, |last| last + 1))
}
