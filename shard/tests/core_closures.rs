//! Closures that run on the shard itself: they see their own writes, and all of these are committed or none.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, Value};
use in_mem_shard::core::command::{CommitRequest, ScanRequest, ShardClosure, Write};
use in_mem_shard::core::error::{Condition, WriteError};
use in_mem_shard::core::run_meta::RunMeta;
use in_mem_shard::core::transaction::ShardTx;
use in_mem_shard::core::{Log, ShardCore, event};
use in_mem_shard::index::{IndexConfig, IndexWriter};
use in_mem_wal::{Config, Mode, ShardLog, SimDisk};

const RUN: RunId = RunId::from_bytes([3; 16]);

fn core() -> ShardCore {
    let mut core = ShardCore::new(IndexWriter::new(IndexConfig::new(1)), Log::None);
    core.set_now(Timestamp(7));
    let mut request = CommitRequest::new(RUN);
    request.writes.push((RUN, Write::CreateRun(Box::new(RunMeta::new(RUN, "closures")))));
    core.commit(request).expect("begins");
    core
}

fn closure(body: impl FnOnce(&mut ShardTx<'_>) -> Result<i64, String> + Send + 'static) -> ShardClosure {
    Box::new(|tx| match body(tx) {
        Ok(result) => Ok(Box::new(result)),
        Err(refused) => Err(Box::new(refused)),
    })
}

fn get(core: &ShardCore, key: &str) -> Option<Value> {
    core.get(&Key { run: RUN, tag: Tag::Kv, user: KeyBytes::from(key.as_bytes()) }).map(|found| found.value)
}

#[test]
fn a_closure_sees_its_own_writes_and_they_are_committed_together() {
    let mut core = core();
    let before = core.version();
    let body = |tx: &mut ShardTx<'_>| {
        assert_eq!((tx.run(), tx.now()), (RUN, Timestamp(7)));
        // Past the number from which an index over the writes pays.
        for n in 0..40_u8 {
            tx.put(Tag::Kv, &[b'k', n], Value::from(i64::from(n)));
        }
        tx.put(Tag::Kv, b"gone", Value::from(1));
        tx.delete(Tag::Kv, b"gone");
        tx.put(Tag::Kv, b"k\x05", Value::from("twice"));
        assert_eq!(tx.get(Tag::Kv, b"k\x05"), Some(Value::from("twice")), "the last of its own");
        assert_eq!(tx.get(Tag::Kv, b"k\x27"), Some(Value::from(39)));
        assert_eq!(tx.get(Tag::Kv, b"gone"), None);
        assert_eq!(tx.get_versioned(Tag::Kv, b"k\x05"), None, "not committed yet");
        let request = ScanRequest {
            run: RUN,
            tag: Tag::Kv,
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            reverse: false,
            at: None,
            limit: 10,
        };
        assert_eq!(tx.scan(&request).entries, [], "nor listed");
        let mut event = Vec::new();
        event::pack_body("noted", None, None, &Value::from(1), &mut event);
        tx.append(event);
        Ok(41)
    };
    let (committed, result) = core.execute_closure(RUN, closure(body)).expect("runs");
    assert_eq!(*result.expect("agrees").downcast::<i64>().expect("its own"), 41);
    assert_eq!(committed.version.0, before.0 + 1, "one commit");
    assert_eq!(committed.sequences, [0]);
    assert_eq!(get(&core, "k\x05"), Some(Value::from("twice")));
    assert_eq!(get(&core, "k\x27"), Some(Value::from(39)));
    assert_eq!(get(&core, "gone"), None);
    let versions: Vec<_> = ["k\x00", "k\x27"]
        .iter()
        .map(|key| {
            let key = Key { run: RUN, tag: Tag::Kv, user: KeyBytes::from(key.as_bytes()) };
            core.get(&key).expect("is there").version
        })
        .collect();
    assert_eq!(versions, [committed.version; 2]);
}

#[test]
fn a_closure_that_refuses_or_panics_has_written_nothing() {
    let mut core = core();
    let before = core.version();
    let refuses = |tx: &mut ShardTx<'_>| {
        tx.put(Tag::Kv, b"a", Value::from(1));
        Err("no".to_owned())
    };
    let (_, result) = core.execute_closure(RUN, closure(refuses)).expect("runs");
    assert_eq!(*result.expect_err("refuses").downcast::<String>().expect("its own"), "no");
    type Closure = fn(&mut ShardTx<'_>) -> Result<i64, String>;
    let said: [(Closure, &str); 3] = [
        (|_| panic!("plain"), "plain"),
        (|tx| panic!("of run {}", tx.run()), "of run "),
        (|_| std::panic::panic_any(17), "no message"),
    ];
    for (body, said) in said {
        let panics = move |tx: &mut ShardTx<'_>| {
            tx.put(Tag::Kv, b"a", Value::from(1));
            body(tx)
        };
        let error = core.execute_closure(RUN, closure(panics)).map(|_| ()).expect_err("is told");
        assert!(
            matches!(&error, WriteError::Panicked { run, message } if *run == RUN && message.contains(said)),
            "{error}"
        );
    }
    assert_eq!((core.version(), get(&core, "a")), (before, None));
}

#[test]
fn what_a_closure_may_not_write_is_refused_whole() {
    let mut core = core();
    let before = core.version();
    let body = |tx: &mut ShardTx<'_>| {
        tx.put(Tag::Kv, b"a", Value::from(1));
        tx.put(Tag::Kv, &vec![b'k'; in_mem_model::limits::MAX_KEY_BYTES + 1], Value::from(1));
        Ok(0)
    };
    core.execute_closure(RUN, closure(body)).map(|_| ()).expect_err("is refused");
    assert_eq!((core.version(), get(&core, "a")), (before, None));
}

/// It read what was published, and wrote over commits that waited for the disk.
#[test]
fn a_closure_reads_what_is_installed_and_not_yet_on_the_disk() {
    let config = Config { segment_bytes: 1 << 20, mode: Mode::Strict, shard: 0, create: true };
    let storage = Arc::new(SimDisk::new(1));
    let (log, _) = ShardLog::recover(storage, Path::new("/log"), config, 1, None, &mut |_| Ok(())).unwrap();
    let mut core = ShardCore::new(IndexWriter::new(IndexConfig::new(1)), Log::Wal(log));
    let mut request = CommitRequest::new(RUN);
    request.writes.push((RUN, Write::CreateRun(Box::new(RunMeta::new(RUN, "strict")))));
    core.commit(request).expect("begins");
    core.put(RUN, Tag::Kv, b"k", Value::from(1), None, Condition::Any).expect("puts");
    assert_eq!(get(&core, "k"), None, "not published");
    let body = |tx: &mut ShardTx<'_>| {
        assert_eq!(tx.get_versioned(Tag::Kv, b"k").map(|found| found.value), tx.get(Tag::Kv, b"k"));
        let request = ScanRequest {
            run: RUN,
            tag: Tag::Kv,
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            reverse: false,
            at: None,
            limit: 10,
        };
        Ok(tx.scan(&request).entries.len() as i64)
    };
    let (_, result) = core.execute_closure(RUN, closure(body)).expect("runs");
    assert_eq!(*result.expect("agrees").downcast::<i64>().expect("its own"), 1);
}
