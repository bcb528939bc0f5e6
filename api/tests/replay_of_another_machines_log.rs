//! The same bytes give the same states: a database that was made once, with three shards and pinned threads, and is kept as it
//! was, is replayed to the digests it was kept with, however many shards there are now and whoever runs them.
//!
//! Made by `cargo test -p in-mem --test replay_of_another_machines_log -- --ignored`, which is not to be done again: what it is for is
//! that bytes of another time and place stay what they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use in_mem::{
    Database, Digest, Durability, Execution, ForkOptions, Point, RunId, RunStatus, SpanDraft, Timestamp,
    Version, value,
};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/three-shards")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("has a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copies");
        }
    }
}

/// The digests behind every commit of a run.
fn digests(db: &Database, run: RunId) -> Vec<(Version, Digest)> {
    let at = db.replay(run).expect("replays");
    at.every().map(|at| (at.version(), at.digest())).collect()
}

type Digests = BTreeMap<RunId, Vec<(Version, Digest)>>;

fn all_digests(db: &Database) -> Digests {
    let runs = db.runs().list().expect("lists");
    runs.iter().map(|run| (run.id, digests(db, run.id))).collect()
}

fn write(digests: &Digests) -> String {
    let hex = |bytes: &[u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines = digests.iter().flat_map(|(run, all)| all.iter().map(move |at| (run, at)));
    lines.map(|(run, (at, digest))| format!("{run} {at} {}\n", hex(&digest.exact))).collect()
}

fn expected() -> String {
    fs::read_to_string(fixture().join("digests.txt")).expect("the digests are kept")
}

#[test]
fn a_log_from_elsewhere_gives_the_same_states_under_any_shards_and_threads() {
    for shards in [1, 2, 3, 5] {
        for execution in [Execution::Inline, Execution::Pinned] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("db");
            copy(&fixture().join("db"), &path);
            for _ in 0..2 {
                let builder = Database::builder().path(&path).shards(shards).execution(execution);
                let db = builder.open().expect("opens what another machine wrote");
                assert_eq!(write(&all_digests(&db)), expected(), "{shards} shards, {execution:?}");
                for run in db.runs().list().expect("lists") {
                    let run = db.run(run.id).expect("there");
                    assert!(run.verify().expect("replays").is_same(), "{shards} shards, {execution:?}");
                }
                // Also from checkpoints, the log behind them in the archive.
                db.checkpoint().expect("writes");
                db.close().expect("closes");
            }
        }
    }
}

#[test]
#[ignore = "makes the fixture anew"]
fn make() {
    let _ = fs::remove_dir_all(fixture());
    let path = fixture().join("db");
    fs::create_dir_all(&path).expect("makes");
    let db = Database::builder()
        .path(&path)
        .shards(3)
        .execution(Execution::Pinned)
        .durability(Durability::default())
        .segment_bytes(8 << 10)
        .checkpoint_interval(None)
        .open()
        .expect("opens");
    // Two on each shard.
    let begin = |n: usize| {
        let id = (0..=u16::MAX)
            .map(|routing| RunId::generate(Timestamp(1)).with_routing(routing))
            .find(|id| db.engine().shard_of(*id) == n % 3)
            .expect("some routing leads there");
        db.new_run(format!("run-{n}")).id(id).begin().expect("begins")
    };
    let runs: Vec<_> = (0..6).map(begin).collect();
    for round in 0..8_i64 {
        for run in &runs {
            run.transaction(|tx| {
                tx.kv()
                    .put(format!("key-{}", round % 5), value!({ "round": round, "list": [1, 2.5, null] }))?;
                tx.state().set("step", round)?;
                tx.events().append("step", value!({ "number": round }))
            })
            .expect("commits");
            run.traces().record(&SpanDraft::tool_call("search").tokens(3, 4)).expect("records");
            if round % 4 == 3 {
                run.kv().delete("key-1").expect("deletes");
            }
        }
        if round == 5 {
            db.checkpoint().expect("writes");
        }
    }
    let fork = runs[0].fork(ForkOptions::default().name("of now")).expect("forks");
    fork.kv().put("key-2", "its own").expect("puts");
    fork.kv().delete("key-3").expect("deletes");
    let past = db.fork(runs[1].id(), Point::Event(5), ForkOptions::default().name("of then")).expect("forks");
    past.events().append("step", "another way").expect("appends");
    runs[2].end(RunStatus::Completed).expect("ends");
    let kept = write(&all_digests(&db));
    db.close().expect("closes");
    fs::write(fixture().join("digests.txt"), kept).expect("writes");
}
