//! A snapshot that held too much is taken away. Whoever reads or commits by it is told so, and never gets a wrong answer.

use std::ops::Bound;

use in_mem::{Database, Error, Run, RunStatus, SnapshotError, Transaction, Value};
use in_mem_engine::command::{CommitRequest, ScanRequest, Write};
use in_mem_engine::{Condition, Config, Engine, RunMeta};
use in_mem_model::{RunId, Tag};

const LIMIT_BYTES: usize = 10_000;
const LARGE: usize = 100;

fn large() -> Value {
    Value::from(vec![1u8; 1_000])
}

/// Deletes what the transaction has read, and overwrites so much that its snapshot expires and the deletion is taken out.
fn delete_and_expire(run: &Run) {
    run.kv().delete("read/a").expect("deletes");
    for round in 0..20 {
        for i in 0..LARGE {
            run.kv().put(format!("large/{i}"), large()).unwrap_or_else(|e| panic!("round {round}: {e}"));
        }
    }
}

fn commits_by_an_expired_snapshot(read: fn(&mut Transaction<'_>) -> in_mem::Result<()>) {
    let db = Database::builder()
        .shards(1)
        .snapshot_limit_bytes(LIMIT_BYTES)
        .background(false)
        .open()
        .expect("opens");
    let run = db.begin_run("r").expect("begins");
    run.kv().put("read/a", 1).expect("puts");
    for i in 0..LARGE {
        run.kv().put(format!("large/{i}"), large()).expect("puts");
    }
    let outcome = run.transaction(|tx| {
        read(tx)?;
        delete_and_expire(&run);
        tx.kv().put("written", 1)
    });
    assert!(matches!(outcome, Err(Error::Snapshot(SnapshotError::Expired { .. }))), "{outcome:?}");
    assert!(!run.kv().exists("written").expect("reads"), "committed, although what it read was deleted");
    run.end(RunStatus::Completed).expect("ends");
}

#[test]
fn a_deletion_of_a_key_read_is_not_missed() {
    commits_by_an_expired_snapshot(|tx| {
        assert!(tx.kv().exists("read/a")?);
        Ok(())
    });
}

#[test]
fn a_deletion_in_a_range_read_is_not_missed() {
    commits_by_an_expired_snapshot(|tx| {
        assert_eq!(tx.kv().list("read/")?.len(), 1);
        Ok(())
    });
}

#[test]
fn a_count_is_not_of_less_than_there_was() {
    let config =
        Config { shards: Some(1), snapshot_limit_bytes: LIMIT_BYTES, background: false, ..Config::default() };
    let engine = Engine::in_memory(config).expect("opens");
    let run = RunId::generate(engine.now());
    let mut request = CommitRequest::new(run);
    request.writes.push((run, Write::CreateRun(Box::new(RunMeta::new(run, "r")))));
    engine.commit(request).expect("begins");
    let put_all = || {
        for i in 0..LARGE {
            let key = format!("large/{i}");
            engine.put(run, Tag::Kv, key.as_bytes(), large(), None, Condition::Any).expect("puts");
        }
    };
    put_all();
    let snapshot = engine.snapshot(run).expect("taken");
    let count = || {
        snapshot.count(ScanRequest {
            run,
            tag: Tag::Kv,
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            reverse: false,
            at: None,
            limit: usize::MAX,
        })
    };
    assert_eq!(count().expect("counts"), LARGE as u64);
    for _ in 0..20 {
        put_all();
    }
    let outcome = count();
    assert!(
        matches!(outcome, Err(in_mem_engine::Error::Snapshot(SnapshotError::Expired { .. }))),
        "{outcome:?}"
    );
}
