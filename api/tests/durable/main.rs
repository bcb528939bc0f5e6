//! What a database in a directory promises: one behaviour a file.

mod another_language;
mod backups;
mod checkpoints;
mod damage;
mod failed_syncs;
mod full_disk;
mod idle_marks;
mod opening;
mod refusals;
mod shard_counts;

use std::path::Path;

use in_mem::{Builder, Database, RunId, RunInfo, Timestamp, Value};

/// Settings that make no checkpoint by themselves, and small segments.
fn quiet(path: &Path) -> Builder {
    Database::builder()
        .path(path)
        .shards(2)
        .segment_bytes(64 << 10)
        .checkpoint_interval(None)
        .checkpoint_log_bytes(None)
}

/// Some runs with a bit of everything, spread evenly over the shards; deletions last, so that what is kept of a run is not all in its entries.
fn fill(db: &Database, runs: usize) {
    for n in 0..runs {
        // An id is random: left to itself, every run may fall on one shard, and the other has nothing to write.
        let id = std::iter::repeat_with(|| RunId::generate(Timestamp::now()))
            .find(|id| db.engine().shard_of(*id) == n % db.engine().shard_count())
            .expect("one of many");
        let run = db.new_run(format!("run {n}")).id(id).begin().expect("begins");
        for i in 0..20 {
            run.kv().put(format!("k{i}"), vec![n as u8; 200]).expect("puts");
        }
        run.events().append("note", n as i64).expect("appends");
        run.state().set("cell", n as i64).expect("sets");
        run.kv().delete("k3").expect("deletes");
    }
}

/// A run with its keys and its events.
type Told = (RunInfo, Vec<(String, Value)>, Vec<(u64, Value)>);

/// Everything that a database tells of its runs.
fn all(db: &Database) -> Vec<Told> {
    let runs = db.runs().with_memories().list().expect("lists");
    let mut all: Vec<_> = runs
        .into_iter()
        .map(|mut info| {
            let run = db.run(info.id).expect("is there");
            let kv = run.kv().list("").expect("lists");
            let kv = kv.into_iter().map(|(key, v)| (String::from_utf8_lossy(&key).into_owned(), v)).collect();
            let events = run.events().range(..).expect("reads");
            // Whoever opens the database anew finds the runs of others left at work.
            info.orphaned = false;
            (info, kv, events.into_iter().map(|e| (e.sequence, e.payload)).collect())
        })
        .collect();
    all.sort_by_key(|(info, ..)| info.id);
    all
}
