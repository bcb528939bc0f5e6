//! Whatever makes one commit of many writes: as many as one may have go in, and are there after a reopening; one more is refused by
//! a typed error that says how much there was and what to do, and changes nothing.

use std::any::Any;
use std::path::Path;

use in_mem::limits::{MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, MAX_VALUE_BYTES};
use in_mem::{
    Database, Error, EventDraft, ForkOptions, KeyBytes, Point, Result, Run, RunId, RunStatus, SpanDraft,
    SpanKind, Tag, Value, WriteError,
};
use in_mem_engine::command::{CommitRequest, Write};
use in_mem_engine::{Condition, ShardTx, event};

const RUN: RunId = RunId::from_bytes([7; 16]);

fn open(path: &Path) -> Database {
    Database::builder().path(path).shards(1).open().expect("opens")
}

/// The last version of the shard, and what the run holds.
fn seen(db: &Database) -> (u64, String) {
    let version = db.stats().expect("counts").shards[0].core.version.0;
    let run = db.run(RUN).expect("there");
    let (digest, info) = (run.digest().expect("reads"), run.info().expect("there"));
    (version, format!("{:?} {:?}", digest.content, (info.kv, info.events, info.state, info.traces)))
}

/// `make` is given how much over the limit it is to write.
fn holds(what: &str, limit: usize, make: impl Fn(&Database, &Run, usize) -> Result<()>) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let run = db.new_run("limits").id(RUN).begin().expect("begins");
    run.kv().put("before", 1).expect("puts");
    let before = seen(&db);
    for over in [1, 2] {
        let refused = make(&db, &run, over).expect_err(what);
        let Error::Write(WriteError::TransactionTooLarge { found, limit: said, .. }) = &refused else {
            panic!("{what}: {refused:?}")
        };
        assert_eq!(*said, limit, "{what}: {refused}");
        // Some are refused at the first write that is one too many.
        assert!((limit + 1..=limit + over).contains(found), "{what}: {refused}");
        assert!(refused.to_string().contains("split it into several"), "{what}: {refused}");
        assert_eq!(seen(&db), before, "{what}: changed by what was refused");
    }
    make(&db, &run, 0).unwrap_or_else(|error| panic!("{what}: {error}"));
    let after = seen(&db);
    assert_eq!(after.0, before.0 + 1, "{what}: one commit");
    assert_ne!(after.1, before.1, "{what}");
    drop(run);
    db.close().expect("closes");
    assert_eq!(seen(&open(dir.path())), after, "{what}: opened again");
}

fn operations(what: &str, make: impl Fn(&Run, usize) -> Result<()>) {
    holds(what, MAX_TRANSACTION_OPS, |_, run, over| make(run, MAX_TRANSACTION_OPS + over));
}

/// `make` is given the values of keys of one byte that come to the limit and more.
fn bytes(what: &str, make: impl Fn(&Run, Vec<Value>) -> Result<()>) {
    holds(what, MAX_TRANSACTION_BYTES, |_, run, over| make(run, values(over)));
}

fn values(over: usize) -> Vec<Value> {
    let (each, key) = (30 << 20, 1);
    let rest = MAX_TRANSACTION_BYTES + over - 2 * (each + key) - key;
    vec![of_size(each), of_size(each), of_size(rest)]
}

/// A value of so many bytes as it is written: more than 65,536.
fn of_size(bytes: usize) -> Value {
    Value::from(vec![1u8; bytes - 6])
}

fn key(n: usize) -> [u8; 4] {
    u32::try_from(n).expect("small").to_be_bytes()
}

#[test]
fn a_value_of_that_size_is_of_that_size() {
    assert_eq!(in_mem_model::codec::encoded_len(&of_size(1 << 20)), 1 << 20);
}

#[test]
fn of_pairs_put_at_once() {
    operations("put_many", |run, n| {
        run.kv().put_many((0..n).map(|n| (key(n), 1)))?;
        Ok(())
    });
    bytes("put_many", |run, values| {
        run.kv().put_many(["a", "b", "c"].into_iter().zip(values))?;
        Ok(())
    });
}

/// Of two pairs with one key the later holds, and the first counts for nothing.
#[test]
fn what_is_overwritten_at_once_does_not_count() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("r").expect("begins");
    let large = of_size(MAX_VALUE_BYTES);
    run.kv().put_many((0..5).map(|_| ("k", large.clone()))).expect("puts");
    run.kv().put_many((0..=MAX_TRANSACTION_OPS).map(|n| (key(n % 9), 1))).expect("puts");
    run.transaction(|tx| {
        for _ in 0..5 {
            tx.kv().put("k", large.clone())?;
        }
        tx.kv().put_many((1..MAX_TRANSACTION_OPS).map(|n| (key(n), 1)))?;
        tx.kv().put("k", 2)
    })
    .expect("commits");
    assert_eq!(run.kv().get("k").expect("reads"), Some(Value::from(2)));
}

#[test]
fn of_events_appended_at_once() {
    operations("append_many", |run, n| {
        let draft = EventDraft::new("e", 1);
        run.events().append_many((0..n).map(|_| &draft)).map(|_| ())
    });
    bytes("append_many", |run, values| {
        // An event has flags and a kind, and no key.
        let drafts: Vec<_> = values.into_iter().map(|value| EventDraft::new("", less(&value, 1))).collect();
        run.events().append_many(&drafts).map(|_| ())
    });
}

/// The value, made so many bytes smaller.
fn less(value: &Value, by: usize) -> Value {
    let Value::Bytes(bytes) = value else { panic!("bytes") };
    Value::from(bytes[by..].to_vec())
}

#[test]
fn of_spans_recorded_at_once() {
    operations("record_many", |run, n| {
        let span = |n: usize| SpanDraft::new(SpanKind::Decision, "s").id(n.to_string());
        let spans: Vec<_> = (0..n).map(span).collect();
        run.traces().record_many(&spans).map(|_| ())
    });
}

#[test]
fn of_transactions() {
    operations("puts", |run, n| run.transaction(|tx| (0..n).try_for_each(|n| tx.kv().put(key(n), n as i64))));
    operations("events", |run, n| {
        run.transaction(|tx| (0..n).try_for_each(|n| tx.events().append("e", n as i64)))
    });
    operations("reads and writes", |run, n| {
        run.transaction(|tx| {
            (1..n).try_for_each(|n| tx.kv().get(key(n)).map(|_| ()))?;
            tx.kv().put("k", 1)
        })
    });
    operations("cells and scans", |run, n| {
        run.transaction(|tx| {
            tx.kv().list("")?;
            (1..n).try_for_each(|n| tx.state().set(n.to_string(), 1))
        })
    });
    operations("spans", |run, n| {
        let span = |n: usize| SpanDraft::new(SpanKind::Decision, "s").id(n.to_string());
        run.transaction(|tx| (0..n).try_for_each(|n| tx.traces().record(&span(n)).map(|_| ())))
    });
    bytes("puts", |run, values| {
        run.transaction(|tx| {
            ["a", "b", "c"]
                .into_iter()
                .zip(&values)
                .try_for_each(|(key, value)| tx.kv().put(key, value.clone()))
        })
    });
    bytes("events", |run, values| {
        run.transaction(|tx| values.iter().try_for_each(|value| tx.events().append("", less(value, 1))))
    });
}

/// What has no error of its own inside a transaction is refused when it commits.
#[test]
fn of_transactions_that_change_runs() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("r").expect("begins");
    let end = |puts: usize| {
        run.transaction(|tx| {
            (0..puts).try_for_each(|n| tx.kv().put(key(n), 1))?;
            tx.end_run(RunStatus::Completed);
            Ok(())
        })
    };
    let refused = end(MAX_TRANSACTION_OPS).expect_err("is one too many");
    assert!(matches!(refused, Error::Write(WriteError::TransactionTooLarge { .. })), "{refused:?}");
    assert_eq!((run.status().expect("there"), run.kv().count("").expect("counts")), (RunStatus::Running, 0));
    let begin = |n: usize| {
        db.new_run("whole").begin_with(|tx| (0..n).try_for_each(|n| tx.events().append("e", n as i64)))
    };
    let refused = begin(MAX_TRANSACTION_OPS).expect_err("is one too many");
    assert!(matches!(refused, Error::Write(WriteError::TransactionTooLarge { .. })), "{refused:?}");
    assert_eq!(db.runs().count().expect("counts"), 1);
    begin(MAX_TRANSACTION_OPS - 1).expect("begins");
    let children = |each: usize| {
        run.transaction(|tx| {
            (0..3).try_for_each(|_| tx.begin_run(run.child("child")?.metadata(of_size(each))).map(|_| ()))
        })
    };
    let refused = children(MAX_VALUE_BYTES).expect_err("is too much");
    assert!(matches!(refused, Error::Write(WriteError::TransactionTooLarge { .. })), "{refused:?}");
    assert_eq!(db.runs().count().expect("counts"), 2);
    children(20 << 20).expect("commits");
    end(MAX_TRANSACTION_OPS - 1).expect("ends");
    assert_eq!((run.status().expect("there"), db.runs().count().expect("counts")), (RunStatus::Completed, 5));
}

#[test]
fn of_closures_on_the_shard() {
    type Work = Box<dyn Fn(&mut ShardTx<'_>) + Send>;
    let execute = |db: &Database, work: Work| {
        let closure =
            move |tx: &mut ShardTx<'_>| -> std::result::Result<Box<dyn Any + Send>, Box<dyn Any + Send>> {
                work(tx);
                Ok(Box::new(()))
            };
        db.engine().execute(RUN, Box::new(closure)).map(|done| assert!(done.is_ok()))
    };
    holds("puts on the shard", MAX_TRANSACTION_OPS, |db, _, over| {
        let puts = move |tx: &mut ShardTx<'_>| {
            (0..MAX_TRANSACTION_OPS + over).for_each(|n| tx.put(Tag::Kv, &key(n), Value::from(1)));
        };
        execute(db, Box::new(puts))
    });
    holds("events on the shard", MAX_TRANSACTION_OPS, |db, _, over| {
        let mut body = Vec::new();
        event::pack_body("e", None, None, &Value::Null, &mut body);
        let appends = move |tx: &mut ShardTx<'_>| {
            (0..MAX_TRANSACTION_OPS + over).for_each(|_| tx.append(body.clone()));
        };
        execute(db, Box::new(appends))
    });
    holds("bytes on the shard", MAX_TRANSACTION_BYTES, |db, _, over| {
        let values = values(over);
        let puts = move |tx: &mut ShardTx<'_>| {
            for (n, value) in (0..).zip(&values) {
                tx.put(Tag::Kv, &[n], value.clone());
            }
        };
        execute(db, Box::new(puts))
    });
}

/// A request that nobody looked at on its way to the shard.
#[test]
fn of_requests_made_by_hand() {
    let put = |key: &[u8], value| {
        let (key, condition) = (KeyBytes::new(key), Condition::Any);
        (RUN, Write::Put { tag: Tag::Kv, key, value, expires_at: None, condition })
    };
    let commit = |db: &Database, writes| {
        db.engine().commit(CommitRequest { writes, ..CommitRequest::new(RUN) }).map(|_| ())
    };
    holds("writes", MAX_TRANSACTION_OPS, |db, _, over| {
        commit(db, (0..MAX_TRANSACTION_OPS + over).map(|n| put(&key(n), Value::Null)).collect())
    });
    holds("bytes", MAX_TRANSACTION_BYTES, |db, _, over| {
        commit(db, (0..).zip(values(over)).map(|(n, value)| put(&[n], value)).collect())
    });
}

#[test]
fn of_a_put_with_an_event() {
    holds("put_and_append", MAX_TRANSACTION_BYTES, |db, _, over| {
        let (key, value) = (b"k", of_size(MAX_VALUE_BYTES));
        let mut body = Vec::new();
        let rest = MAX_TRANSACTION_BYTES + over - key.len() - MAX_VALUE_BYTES;
        event::pack_body("", None, None, &of_size(rest - 2), &mut body);
        assert_eq!(body.len(), rest);
        db.engine().put_and_append(RUN, Tag::Kv, key, value, Condition::Any, &body).map(|_| ())
    });
}

/// Nobody could split one: what it takes back is what others have written since, in any number of commits.
#[test]
fn a_fork_of_the_past_takes_back_more_than_a_commit_may_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let run = db.begin_run("r").expect("begins");
    let before = run.kv().put("k", 1).expect("puts");
    for half in 0..2 {
        run.kv().put_many((0..MAX_TRANSACTION_OPS).map(|n| (key(n + half), 1))).expect("puts");
    }
    let fork = db.fork(run.id(), Point::Version(before), ForkOptions::default()).expect("forks").id();
    let bundle = db.export(fork).expect("exports");
    db.close().expect("closes");
    let db = open(dir.path());
    let kept = |db: &Database, fork| db.run(fork).expect("there").kv().list("").expect("lists");
    assert_eq!(kept(&db, fork), [(KeyBytes::from(&b"k"[..]), Value::from(1))]);
    let there = Database::in_memory().expect("opens");
    there.import(&bundle, false).expect("imports");
    assert_eq!(kept(&there, fork), kept(&db, fork));
}

/// What was committed here can be taken in there, whatever this wrote beside what was asked for.
#[test]
fn the_largest_commits_travel() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = open(dir.path());
    let run = db.begin_run("r").expect("begins");
    let drafts: Vec<_> =
        (0..MAX_TRANSACTION_OPS).map(|n| EventDraft::new("e", n as i64).stream("s")).collect();
    run.events().append_many(&drafts).expect("appends");
    let drafts: Vec<_> =
        values(0).into_iter().map(|value| EventDraft::new("", less(&value, 3)).stream("s")).collect();
    run.events().append_many(&drafts).expect("appends");
    let there = Database::in_memory().expect("opens");
    there.import(&db.export(run.id()).expect("exports"), false).expect("imports");
    let head = |run: &Run| run.events().head().expect("reads");
    assert_eq!(head(&there.run(run.id()).expect("there")), head(&run));
}
