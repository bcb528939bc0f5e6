//! What growing moves, and what entries weigh.

use dashmap::DashMap;
use in_mem::{RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::core::command::{CommitRequest, Write};
use in_mem_shard::core::error::{Condition, WriteError};
use in_mem_shard::core::run_meta::RunMeta;
use in_mem_shard::core::{Log, ShardCore};
use in_mem_shard::index::{IndexConfig, IndexWriter, KeyRef};

use super::Figures;
use crate::counting::counted;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{Key, fresh, key};

const KEYS_PER_RUN: u64 = 10;

/// The most entries that any one put moves. The index is asked itself, since nobody outside can see it.
pub(super) fn growth(scale: &Scale) -> Figures {
    let mut writer = IndexWriter::new(IndexConfig::new(0x1234_5678));
    let run = RunId::generate(Timestamp(1));
    let hash = writer.run_hash(&run);
    for number in 0..scale.growth_keys as u64 {
        let user = key(number);
        let hashed = writer.hashed(hash, KeyRef::new(run, Tag::Kv, &user));
        let version = Version(number + 1);
        writer.install(&hashed, version, Timestamp(1), None, Some(Value::Null));
        writer.publish(version);
        writer.maintain();
    }
    let moved = writer.stats().max_entries_moved;
    Ok(vec![
        Figure::limited("growth.entries-moved-by-one-put", moved as f64, "entries", Limit::AtMost(1024.0))
            .note(format!("up to {} keys", scale.growth_keys)),
    ])
}

/// Bytes of a million entries, values included, beside the same entries in a DashMap: what was asked of the allocator, and
/// the index's slabs, which are mapped past it.
pub(super) fn heap(scale: &Scale) -> Figures {
    let entries = scale.many_keys;
    let (kept, dash) = counted(|| {
        let map: DashMap<Key, Value> = DashMap::new();
        (0..entries as u64).for_each(|n| drop(map.insert(key(n), fresh())));
        map
    });
    drop(kept);
    let (kept, dash_of_runs) = counted(|| {
        // Entries of many runs in one map have to be told apart by their run.
        let map: DashMap<(RunId, Key), Value> = DashMap::new();
        for_each_run_of(entries, |run, keys| {
            keys.for_each(|key| drop(map.insert((run, key), fresh())));
            Ok(())
        })?;
        Ok::<_, WriteError>(map)
    });
    drop(kept?);
    let one_run = core_bytes(|core| {
        let run = RunId::generate(Timestamp(1));
        create(core, run)?;
        (0..entries as u64).try_for_each(|n| put(core, run, &key(n)))
    })?;
    let many_runs = core_bytes(|core| {
        for_each_run_of(entries, |run, keys| {
            create(core, run)?;
            for key in keys {
                put(core, run, &key)?;
            }
            Ok(())
        })
    })?;
    let each = |bytes: i64| bytes as f64 / entries as f64;
    let (dash, dash_of_runs) = (each(dash.live_bytes), each(dash_of_runs.live_bytes));
    let (one_run, many_runs) = (each(one_run), each(many_runs));
    Ok(vec![
        scale
            .judged("heap.one-run/dashmap", one_run / dash, "ratio", Limit::AtMost(1.6))
            .note(format!("{one_run:.0} B / {dash:.0} B an entry")),
        scale
            .judged("heap.runs-of-ten-keys/dashmap", many_runs / dash_of_runs, "ratio", Limit::AtMost(2.5))
            .note(format!("{many_runs:.0} B / {dash_of_runs:.0} B an entry")),
        Figure::shown("heap.one-run", one_run, "B/entry"),
        Figure::shown("heap.runs-of-ten-keys", many_runs, "B/entry"),
    ])
}

/// Runs of ten keys each, so many entries in all.
fn for_each_run_of(
    entries: usize,
    mut each: impl FnMut(RunId, &mut dyn Iterator<Item = Key>) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    (0..entries as u64 / KEYS_PER_RUN).try_for_each(|run| {
        let mut keys = (run * KEYS_PER_RUN..(run + 1) * KEYS_PER_RUN).map(key);
        each(RunId::generate(Timestamp(1)), &mut keys)
    })
}

/// Bytes that a shard's core holds when `fill` is done with it. The core is asked itself: only it knows its slabs. The
/// few small ones that come from the allocator are counted twice.
fn core_bytes(fill: impl FnOnce(&mut ShardCore) -> Result<(), WriteError>) -> Result<i64, WriteError> {
    let (kept, counts) = counted(|| {
        let mut core = ShardCore::new(IndexWriter::new(IndexConfig::new(0x1234_5678)), Log::None);
        fill(&mut core).map(|()| core)
    });
    let slabs = kept?.index_mut().stats().slab_bytes;
    Ok(counts.live_bytes + i64::try_from(slabs).unwrap_or(i64::MAX))
}

fn create(core: &mut ShardCore, run: RunId) -> Result<(), WriteError> {
    let mut request = CommitRequest::new(run);
    request.writes.push((run, Write::CreateRun(Box::new(RunMeta::new(run, "heap")))));
    core.commit(request).map(drop)
}

fn put(core: &mut ShardCore, run: RunId, key: &Key) -> Result<(), WriteError> {
    core.put(run, Tag::Kv, key, fresh(), None, Condition::Any).map(drop)
}
