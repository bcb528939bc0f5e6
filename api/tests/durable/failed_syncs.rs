//! After a sync that failed: what was answered with an error is not told of, what was there before is read as it was, and reopening
//! decides.

use std::sync::Arc;

use in_mem::{Database, Durability, Error, EventDraft, ForkOptions, Run, RunStatus, SpanDraft, Value};
use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::{FaultKind, OpKind};

fn open(disk: &SimDisk) -> Database {
    Database::builder()
        .path("/db")
        .shards(1)
        .durability(Durability::Strict)
        .segment_bytes(64 << 10)
        .storage(Arc::new(disk.clone()))
        .background(false)
        .checkpoint_interval(None)
        .checkpoint_log_bytes(None)
        .open()
        .expect("opens")
}

fn fail_syncs(disk: &SimDisk) {
    disk.fail(disk.ops() + 1, FaultKind::Eio, Some(OpKind::Sync), true);
}

/// Everything that a run tells of itself.
fn told(run: &Run) -> impl PartialEq + std::fmt::Debug + use<> {
    let events = run.events().range(..).expect("reads");
    let noted = run.events().stream("noted").range(..).expect("reads");
    (
        run.kv().list("").expect("lists"),
        run.state().list("").expect("lists"),
        events.into_iter().map(|event| (event.sequence, event.payload)).collect::<Vec<_>>(),
        noted.into_iter().map(|event| event.payload).collect::<Vec<_>>(),
        run.traces().query().list().expect("lists").len(),
        run.events().head().expect("has one"),
        run.info().expect("is there"),
    )
}

fn fill(run: &Run, from: i64) {
    for n in from..from + 5 {
        run.kv().put(format!("key {n}"), n).expect("puts");
        run.state().set("cell", n).expect("sets");
        run.events().append_draft(&EventDraft::new("n", n).stream("noted")).expect("appends");
    }
    run.traces().record(&SpanDraft::tool_call("look up")).expect("records");
}

#[test]
fn a_run_reads_as_before_what_could_not_be_synced() {
    let disk = SimDisk::new(1);
    let db = open(&disk);
    let run = db.begin_run("plain").expect("begins");
    fill(&run, 0);
    let before = told(&run);
    fail_syncs(&disk);
    let failed = run.transaction(|tx| {
        tx.kv().put("key 1", "never")?;
        tx.kv().delete("key 2")?;
        tx.state().set("cell", "never")?;
        tx.events().append("n", "never")
    });
    assert!(matches!(failed, Err(Error::OutcomeUnknown { .. })), "{failed:?}");
    assert_eq!(told(&run), before);
    assert!(matches!(run.kv().put("key 1", 1), Err(Error::Poisoned { .. })));
    assert_eq!(told(&run), before);
    assert_eq!(db.runs().count().expect("counts"), 1);
    // Whoever looks is told why it takes no more, and opening it anew takes more again.
    let why = db.stats().expect("stats").shards[0].core.poisoned.clone().expect("a reason");
    assert!(why.contains("sync") && why.contains("/db/gen-0001/shard-0000/"), "{why}");
    let id = run.id();
    let again = open(&disk.kill());
    assert_eq!(again.stats().expect("stats").shards[0].core.poisoned, None);
    again.run(id).expect("is there").kv().put("key 1", 1).expect("goes on");
}

#[test]
fn a_run_that_was_begun_by_a_failed_sync_is_not_known() {
    let disk = SimDisk::new(1);
    let db = open(&disk);
    db.begin_run("known").expect("begins");
    fail_syncs(&disk);
    assert!(matches!(db.begin_run("never"), Err(Error::OutcomeUnknown { .. })));
    let names: Vec<_> = db.runs().list().expect("lists").into_iter().map(|info| info.meta.name).collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_status_that_could_not_be_synced_is_taken_back() {
    let disk = SimDisk::new(1);
    let db = open(&disk);
    let run = db.begin_run("at work").expect("begins");
    fail_syncs(&disk);
    assert!(matches!(run.end(RunStatus::Completed), Err(Error::OutcomeUnknown { .. })));
    assert_eq!(run.status().expect("is there"), RunStatus::Running);
    assert_eq!(db.runs().status(RunStatus::Completed).count().expect("counts"), 0);
}

/// What a fork shares with its parent was let go when the fork was deleted, before anybody knew whether it was: the fork was there
/// again, and had lost all that it had not written itself.
#[test]
fn a_fork_whose_deletion_could_not_be_synced_keeps_what_it_shares() {
    let disk = SimDisk::new(1);
    let db = open(&disk);
    let parent = db.begin_run("parent").expect("begins");
    fill(&parent, 0);
    let fork = parent.fork(ForkOptions::default()).expect("forks");
    fork.kv().put("own", 1).expect("puts");
    fork.events().append("n", "own").expect("appends");
    // What the fork shares is no longer what the parent has.
    fill(&parent, 3);
    let (of_parent, of_fork) = (told(&parent), told(&fork));
    fail_syncs(&disk);
    assert!(matches!(fork.delete(), Err(Error::OutcomeUnknown { .. })));
    assert_eq!(told(&fork), of_fork);
    assert_eq!(told(&parent), of_parent);
    assert_eq!(fork.kv().get("key 4").expect("reads"), Some(Value::from(4)));
    // Reopened, it is there whole, or it is gone.
    let (fork, parent) = (fork.id(), parent.id());
    drop(db);
    let db = open(&disk.crash(3));
    assert_eq!(db.run(parent).expect("is there").kv().list("").expect("lists").len(), 8);
    if let Ok(fork) = db.run(fork) {
        assert_eq!(fork.kv().list("").expect("lists").len(), 6);
    }
}

#[test]
fn a_forks_events_that_could_not_be_synced_leave_its_chain_where_it_was() {
    let disk = SimDisk::new(1);
    let db = open(&disk);
    let parent = db.begin_run("parent").expect("begins");
    fill(&parent, 0);
    let fork = parent.fork(ForkOptions::default()).expect("forks");
    let shared = told(&fork);
    fail_syncs(&disk);
    assert!(matches!(fork.events().append("n", "never"), Err(Error::OutcomeUnknown { .. })));
    assert_eq!(told(&fork), shared, "its chain ends where the parent's did");
}
