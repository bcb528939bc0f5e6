//! What a transaction writes to all primitives, of a run and its children, is there as a whole or not at all.

use std::time::Duration;

use in_mem::{Error, Run, RunStatus, SpanDraft, SpanEnd, WriteError};

use crate::modes;

/// What the run holds, to be compared before and after.
fn contents(run: &Run) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        run.kv().list("").unwrap(),
        run.events().range(..).unwrap(),
        run.state().list("").unwrap(),
        run.traces().query().list().unwrap(),
        run.status().unwrap(),
    )
}

#[test]
fn all_primitives_of_a_lineage_are_written_together() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("parent").expect("begins");
        let open = run.traces().start_span(&SpanDraft::tool_call("open").id("open")).expect("begins");
        let child = run.child("child").unwrap();
        let child = run
            .transaction(move |tx| {
                tx.kv().put("k", 1)?;
                assert_eq!(tx.kv().increment("k", 4)?, 5);
                assert!(!tx.kv().put_if_absent("k", 9)?);
                tx.kv().put_as("point", &(1, 2))?;
                assert_eq!(tx.kv().get_as::<(i32, i32)>("point")?, Some((1, 2)));
                tx.events().append("e", 1)?;
                tx.state().set("s", 1)?;
                tx.traces().end(&open, SpanEnd::ok().output("done"))?;
                assert_eq!(tx.traces().get(&open)?.unwrap().output.as_str(), Some("done"));
                tx.traces().record(&SpanDraft::tool_call("t").id("t").parent(open.clone()))?;
                let child = tx.begin_run(child.clone())?;
                tx.kv_of(&child).put("from", "parent")?;
                tx.events_of(&child).append("born", 1)?;
                tx.state_of(&child).set("s", 2)?;
                tx.traces_of(&child).record(&SpanDraft::tool_call("t"))?;
                Ok(child)
            })
            .expect("commits");
        assert_eq!(child.info().unwrap().meta.parent, Some(run.id()));
        let before = (contents(&run), contents(&child));
        assert_eq!(child.kv().get("from").unwrap().unwrap().as_str(), Some("parent"));
        assert_eq!(run.traces().children("open").unwrap().len(), 1);
        let db = reopen(db);
        let (run, child) = (db.run(run.id()).unwrap(), db.run(child.id()).unwrap());
        assert_eq!((contents(&run), contents(&child)), before);
    });
}

#[test]
fn what_is_given_up_leaves_nothing() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("given up").expect("begins");
        run.kv().put("k", 1).unwrap();
        let version = run.state().set("s", 1).unwrap();
        run.state().set("s", 2).unwrap();
        run.traces().record(&SpanDraft::tool_call("t").id("t")).unwrap();
        let before = contents(&run);
        let fill = |tx: &mut in_mem::Transaction<'_>| {
            tx.kv().put("k", 2)?;
            tx.kv().delete("k")?;
            tx.events().append("e", 1)?;
            tx.traces().record(&SpanDraft::tool_call("u"))?;
            let child = run.child("never")?;
            tx.begin_run(child)?;
            tx.end_run(RunStatus::Completed);
            Ok::<_, Error>(())
        };
        let aborted = run.transaction(|tx| {
            fill(tx)?;
            tx.abort::<()>("no")
        });
        assert!(matches!(aborted, Err(Error::Aborted { .. })), "{aborted:?}");
        // The last write of each of these is refused by the shard, behind all that could be written.
        let old_version = run.transaction(|tx| {
            fill(tx)?;
            tx.state().cas("s", version, 3)
        });
        assert!(
            matches!(old_version, Err(Error::Write(WriteError::ConditionFailed { .. }))),
            "{old_version:?}"
        );
        let taken = run.transaction(|tx| {
            fill(tx)?;
            tx.traces().record(&SpanDraft::tool_call("t").id("t"))
        });
        assert!(matches!(taken, Err(Error::Write(WriteError::ConditionFailed { .. }))), "{taken:?}");
        let stranger = db.begin_run("stranger").unwrap();
        let elsewhere = run.transaction(|tx| {
            fill(tx)?;
            tx.kv_of(&stranger).put("k", 1)
        });
        if stranger.id().routing() != run.id().routing() {
            assert!(matches!(elsewhere, Err(Error::Write(WriteError::OtherLineage { .. }))), "{elsewhere:?}");
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run.transaction(|tx| {
                fill(tx)?;
                panic!("on purpose");
                #[allow(unreachable_code, reason = "gives the closure its type")]
                Ok(())
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(contents(&run), before);
        let db = reopen(db);
        assert_eq!(contents(&db.run(run.id()).unwrap()), before);
        assert_eq!(db.runs().name_prefix("never").count().unwrap(), 0);
    });
}

#[test]
fn a_counter_loses_no_increment_in_transactions() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("count").expect("begins");
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        run.transaction(|tx| tx.kv().increment("n", 1)).expect("commits");
                        run.kv().increment("n", 1).expect("counts");
                    }
                });
            }
        });
        assert_eq!(run.kv().get("n").unwrap().unwrap().as_i64(), Some(120));
    });
}

#[test]
fn a_page_that_was_scanned_has_no_phantoms() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("phantoms").expect("begins");
        run.kv().put("a/1", 1).unwrap();
        let mut tx = run.begin().unwrap();
        assert_eq!(tx.kv().list("a/").unwrap().len(), 1);
        tx.kv().put("count", 1).unwrap();
        run.kv().put("a/2", 1).unwrap();
        let refused = tx.commit();
        assert!(matches!(refused, Err(Error::Write(WriteError::Conflict { .. }))), "{refused:?}");
        assert_eq!(run.kv().get("count").unwrap(), None);
    });
}

#[test]
fn another_lineage_does_not_read_as_empty() {
    let db = in_mem::Database::builder().shards(2).open().expect("opens");
    let run = db.begin_run("here").expect("begins");
    let other = (0..)
        .map(|_| db.begin_run("elsewhere").expect("begins"))
        .find(|other| in_mem_engine::shard_of(other.id(), 2) != in_mem_engine::shard_of(run.id(), 2))
        .expect("runs are spread");
    other.kv().put("k", 1).expect("puts");
    let refused = |error| matches!(error, Error::Write(WriteError::OtherLineage { .. }));
    assert!(refused(run.transaction(|tx| tx.kv_of(&other).get("k")).expect_err("not shown by the snapshot")));
    assert!(refused(run.transaction(|tx| tx.kv_of(&other).list("")).expect_err("not shown by the snapshot")));
}

#[test]
fn a_transaction_does_to_pairs_what_the_run_does() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("pairs").expect("begins");
        run.kv().put("old", 1).unwrap();
        run.transaction(|tx| {
            tx.kv().put_many([("a", 1), ("b", 2), ("a", 3)])?;
            tx.kv().put_with_ttl("gone", 4, Duration::ZERO)?;
            tx.kv().put_with_ttl("kept", 5, Duration::from_secs(1 << 20))?;
            let found = tx.kv().get_many(["a", "none", "old", "b"])?;
            assert_eq!(found, [Some(3.into()), None, Some(1.into()), Some(2.into())]);
            Ok(())
        })
        .expect("commits");
        let check = |run: &Run| {
            let found = run.kv().get_many(["a", "b", "gone", "kept", "old"]).unwrap();
            assert_eq!(found, [Some(3.into()), Some(2.into()), None, Some(5.into()), Some(1.into())]);
            let (kept, old) =
                (run.kv().get_versioned("kept").unwrap(), run.kv().get_versioned("old").unwrap());
            assert!(kept.unwrap().expires_at.is_some() && old.unwrap().expires_at.is_none());
        };
        check(&run);
        // What was read as several keys is validated as if it was read one by one.
        let mut tx = run.begin().unwrap();
        tx.kv().get_many(["a", "b"]).unwrap();
        tx.kv().put("sum", 5).unwrap();
        run.kv().put("b", 2).unwrap();
        let refused = tx.commit();
        assert!(matches!(refused, Err(Error::Write(WriteError::Conflict { .. }))), "{refused:?}");
        let db = reopen(db);
        check(&db.run(run.id()).unwrap());
    });
}

#[test]
fn a_transaction_does_to_cells_what_the_run_does() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("cells").expect("begins");
        run.state().init("c/1", 1).unwrap();
        let taken = run.transaction(|tx| {
            tx.state().init("c/2", 2)?;
            tx.state().init("c/1", 2)
        });
        assert!(
            matches!(taken, Err(Error::Write(WriteError::ConditionFailed { found: Some(_), .. }))),
            "{taken:?}"
        );
        assert!(!run.state().exists("c/2").unwrap(), "all or nothing");
        let add = |now: Option<&in_mem::Value>| Ok(now.and_then(in_mem::Value::as_i64).unwrap_or(0) + 10);
        run.transaction(|tx| {
            tx.state().init("c/2", 2)?;
            assert!(tx.state().init("c/2", 3).is_err(), "its own is there, too");
            assert_eq!(tx.state().transition("c/1", add)?, 11.into());
            assert_eq!(tx.state().transition("c/3", add)?, 10.into());
            assert!(tx.state().exists("c/3")? && !tx.state().exists("d")?);
            let listed: Vec<_> = tx.state().list("c/")?.into_iter().map(|(_, value)| value).collect();
            assert_eq!(listed, [11.into(), 2.into(), 10.into()]);
            Ok(())
        })
        .expect("commits");
        // Another writer of what was read, or of what was found missing, is a conflict.
        type InTx<'c> = &'c dyn Fn(&mut in_mem::Transaction<'_>) -> in_mem::Result<()>;
        let writes: [InTx<'_>; 3] =
            [&|tx| tx.state().init("new", 1), &|tx| tx.state().transition("new", add).map(drop), &|tx| {
                tx.state().list("n").and_then(|_| tx.state().set("other", 1))
            }];
        for write in writes {
            let mut tx = run.begin().unwrap();
            write(&mut tx).unwrap();
            run.state().set("new", 5).unwrap();
            let refused = tx.commit();
            assert!(matches!(refused, Err(Error::Write(WriteError::Conflict { .. }))), "{refused:?}");
            assert!(run.state().delete("new").unwrap());
        }
        let db = reopen(db);
        let cells = db.run(run.id()).unwrap().state().list("").unwrap();
        let values: Vec<_> = cells.into_iter().map(|(_, found)| found.value).collect();
        assert_eq!(values, [11.into(), 2.into(), 10.into()]);
    });
}
