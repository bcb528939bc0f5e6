//! A prune takes away exactly what its dry run said, never a run that is at work, and never what a fork reads.

use std::sync::Arc;

use in_mem::{Database, Durability, ForkOptions, ManualClock, RetentionPolicy, RunStatus, Timestamp};

#[test]
fn by_age_count_bytes_and_status() {
    let clock = ManualClock::new(Timestamp(1_000));
    let builder = Database::builder().durability(Durability::InMemory).shards(2);
    let db = builder.clock(Arc::new(clock.clone())).open().expect("opens");
    let mut ids = Vec::new();
    for n in 0..10 {
        clock.advance(1_000);
        let run = db.begin_run(format!("run {n}")).expect("begins");
        run.kv().put("k", vec![1u8; 1_000]).expect("puts");
        run.end(if n % 2 == 0 { RunStatus::Completed } else { RunStatus::Failed }).expect("ends");
        ids.push(run.id());
    }
    let working = db.begin_run("at work").expect("begins");
    let pruned = |policy: RetentionPolicy| {
        let report = db.prune(&policy, true).expect("says");
        assert!(report.dry_run);
        assert_eq!(report.bytes, report.runs.iter().map(|run| run.bytes).sum::<u64>());
        report
            .runs
            .iter()
            .map(|run| ids.iter().position(|id| *id == run.id).expect("ended"))
            .collect::<Vec<_>>()
    };
    let none = RetentionPolicy::default();
    assert_eq!(pruned(none.clone()), [0usize; 0]);
    assert_eq!(pruned(RetentionPolicy { ended_before: Some(Timestamp(4_000)), ..none.clone() }), [0, 1]);
    assert_eq!(pruned(RetentionPolicy { keep_newest: Some(7), ..none.clone() }), [0, 1, 2]);
    assert_eq!(pruned(RetentionPolicy { keep_bytes: Some(8_100), ..none.clone() }), [0, 1]);
    let failed = RetentionPolicy { keep_newest: Some(2), status: vec![RunStatus::Failed], ..none.clone() };
    assert_eq!(pruned(failed.clone()), [1, 3, 5]);
    let running = RetentionPolicy { keep_newest: Some(0), status: vec![RunStatus::Running], ..none.clone() };
    assert_eq!(pruned(running), [0usize; 0]);
    assert_eq!(db.runs().count().expect("counts"), 11, "a dry run does nothing");

    let fork = db.fork(ids[1], in_mem::Point::Now, ForkOptions::default()).expect("forks");
    let report = db.prune(&failed, false).expect("prunes");
    assert_eq!(report.runs.len(), 3);
    assert_eq!(report.runs[0].forks, [fork.id()]);
    assert_eq!(db.runs().count().expect("counts"), 9);
    assert!(db.run(ids[1]).is_err());
    assert!(fork.kv().exists("k").expect("reads"), "a fork keeps what it shares");
    assert!(working.kv().put("k", 1).is_ok());
}
