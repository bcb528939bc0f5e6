//! What growing moves, and what entries weigh.

use dashmap::DashMap;
use in_mem::{Execution, RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::index::{IndexConfig, IndexWriter, KeyRef};

use super::Figures;
use crate::counting::counted;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{Key, fresh, in_memory, key};

const KEYS_PER_RUN: usize = 10;

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

/// Heap bytes, as asked of the allocator, values included, beside the same entries in a DashMap.
pub(super) fn heap(scale: &Scale) -> Figures {
    let entries = scale.many_keys;
    let (kept, dash) = counted(|| {
        let map: DashMap<Key, Value> = DashMap::new();
        (0..entries as u64).for_each(|n| drop(map.insert(key(n), fresh())));
        map
    });
    drop(kept);
    let (kept, one_run) = counted(|| -> in_mem::Result<_> {
        let db = in_memory(Execution::Inline, 1)?;
        let run = db.begin_run("heap")?;
        (0..entries as u64).try_for_each(|n| run.kv().put(key(n), fresh()).map(drop))?;
        Ok((db, run))
    });
    drop(kept?);
    let (kept, dash_of_runs) = counted(|| {
        // Entries of many runs in one map have to be told apart by their run.
        let map: DashMap<(RunId, Key), Value> = DashMap::new();
        for run in 0..entries / KEYS_PER_RUN {
            let id = RunId::generate(Timestamp(1));
            for n in 0..KEYS_PER_RUN {
                map.insert((id, key((run * KEYS_PER_RUN + n) as u64)), fresh());
            }
        }
        map
    });
    drop(kept);
    let (kept, many_runs) = counted(|| -> in_mem::Result<_> {
        let db = in_memory(Execution::Inline, 1)?;
        for run in 0..entries / KEYS_PER_RUN {
            let begun = db.begin_run("heap")?;
            for n in 0..KEYS_PER_RUN {
                begun.kv().put(key((run * KEYS_PER_RUN + n) as u64), fresh())?;
            }
        }
        Ok(db)
    });
    drop(kept?);
    let each = |counts: crate::counting::Counts| counts.live_bytes as f64 / entries as f64;
    let (dash, one_run, dash_of_runs, many_runs) =
        (each(dash), each(one_run), each(dash_of_runs), each(many_runs));
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
