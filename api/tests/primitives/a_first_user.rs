//! What a first user does: write, read, end, reopen.

use in_mem::{Database, Error, RunStatus, SpanDraft, Value, WriteError};

use crate::modes;

#[test]
fn what_is_written_is_read_and_survives_reopening() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("first").expect("begins");
        run.kv().put("a", 1).expect("puts");
        run.kv().put("b", "two").expect("puts");
        run.kv().put("c", vec![3u8; 100]).expect("puts");
        assert!(run.kv().delete("a").expect("deletes"));
        assert!(!run.kv().delete("a").expect("deletes"));
        assert_eq!(run.events().append("note", "hello").expect("appends"), 0);
        assert_eq!(run.events().append("note", 2).expect("appends"), 1);
        assert_eq!(run.kv().increment("n", 5).expect("counts"), 5);
        assert_eq!(
            run.kv().put_async("d", 4).expect("begins").wait().expect("puts").0,
            db.run(run.id()).unwrap().kv().get_versioned("d").unwrap().unwrap().version.0
        );
        let child = run.child("child").expect("a parent").begin().expect("begins");
        run.transaction(|tx| {
            let b = tx.kv().get("b")?;
            tx.kv().put("seen", b.is_some())?;
            tx.kv_of(&child).put("from", "parent")?;
            tx.events().append("tx", 1)?;
            tx.state().set("cell", 7)?;
            Ok(())
        })
        .expect("commits");
        run.end(RunStatus::Completed).expect("ends");
        let refused = run.kv().put("late", 1);
        assert!(matches!(refused, Err(Error::Write(WriteError::RunEnded { .. }))), "{refused:?}");
        let check = |db: &Database| {
            let run = db.run(run.id()).expect("is there");
            assert_eq!(run.kv().get("a").expect("reads"), None);
            assert_eq!(run.kv().get("b").expect("reads"), Some(Value::from("two")));
            assert_eq!(run.kv().get("seen").expect("reads"), Some(Value::from(true)));
            assert_eq!(db.run(child.id()).unwrap().kv().get("from").unwrap(), Some(Value::from("parent")));
            let keys: Vec<_> =
                run.kv().keys("").expect("lists").iter().map(|k| k.as_str().unwrap().to_owned()).collect();
            assert_eq!(keys, ["b", "c", "d", "n", "seen"]);
            assert_eq!(run.events().len().expect("counts"), 3);
            let kinds: Vec<_> = run.events().range(..).unwrap().iter().map(|e| e.kind.to_string()).collect();
            assert_eq!(kinds, ["note", "note", "tx"]);
            assert_eq!(run.status().expect("is there"), RunStatus::Completed);
            assert_eq!(run.state().read("cell").unwrap().unwrap().value, Value::from(7));
            assert_eq!(db.runs().list().unwrap().len(), 2);
            assert_eq!(db.runs().status(RunStatus::Completed).count().unwrap(), 1);
            let info = run.info().unwrap();
            assert_eq!(
                (info.kv.entries, info.events.entries, info.state.entries, info.children),
                (5, 3, 1, 1)
            );
        };
        check(&db);
        let db = reopen(db);
        check(&db);
        // In memory the database was not closed.
        if matches!(run.kv().get("b"), Err(Error::Closed)) {
            assert_eq!(db.runs().orphaned().list().unwrap().len(), 1);
            db.resume(child.id()).expect("resumes").kv().put("on", 1).expect("goes on");
        }
        assert_eq!(db.runs().orphaned().list().unwrap().len(), 0);
    });
}

#[test]
fn transitions_of_many_threads_lose_nothing() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("count").expect("begins");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        run.state()
                            .transition("n", |n| Ok(n.and_then(Value::as_i64).unwrap_or(0) + 1))
                            .expect("counts");
                        run.transaction(|tx| {
                            let n = tx.kv().get("n")?.and_then(|v| v.as_i64()).unwrap_or(0);
                            tx.kv().put("n", n + 1)
                        })
                        .expect("commits");
                    }
                });
            }
        });
        assert_eq!(run.state().read("n").unwrap().unwrap().value, Value::from(200));
        assert_eq!(run.kv().get("n").unwrap(), Some(Value::from(200)));
    });
}

/// Keys may be empty, and so may all that is kept as one: names of cells, ids of spans, kinds and streams of events.
#[test]
fn a_name_may_be_empty() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("").expect("begins");
        run.kv().put("", 1).expect("puts");
        run.state().set("", 2).expect("sets");
        run.traces().record(&SpanDraft::tool_call("").id("")).expect("records");
        run.events().stream("").append("", 3).expect("appends");
        let db = reopen(db);
        let run = db.run(run.id()).expect("there");
        assert_eq!(run.kv().get("").unwrap(), Some(1.into()));
        assert_eq!(run.state().read("").unwrap().unwrap().value, 2.into());
        assert_eq!(&*run.traces().get("").unwrap().unwrap().name, "");
        assert!(run.traces().record(&SpanDraft::tool_call("").id("")).is_err(), "an id is unique");
        let event = run.events().stream("").read(0).unwrap().unwrap();
        assert_eq!((&*event.kind, event.payload, event.stream.unwrap().1), ("", 3.into(), 0));
        assert_eq!(run.events().of_kind("").unwrap().len(), 1);
        assert_eq!(run.info().unwrap().meta.name.len(), 0);
    });
}
