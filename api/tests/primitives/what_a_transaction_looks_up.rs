//! What can be read of a run can be read inside a transaction, sees what that wrote, and is a conflict where it changes.

use std::sync::Arc;
use std::time::Duration;

use in_mem::{
    Database, Durability, Error, ForkOptions, ManualClock, SpanDraft, Timestamp, Transaction, WriteError,
};

use crate::modes;

#[test]
fn keys_counts_and_ranges_see_what_the_transaction_wrote() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("looks").expect("begins");
        run.kv().put_many([("a/1", 1), ("a/2", 2), ("b", 3)]).expect("puts");
        let fork = run.fork(ForkOptions::default()).expect("forks");
        for run in [&run, &fork] {
            run.transaction(|tx| {
                tx.kv().put("a/3", 3)?;
                tx.kv().delete("a/1")?;
                assert_eq!(tx.kv().keys("a/")?, ["a/2".into(), "a/3".into()]);
                assert_eq!(tx.kv().count("")?, 3);
                let down: Vec<_> =
                    tx.kv().range_reverse("a/".."b")?.into_iter().map(|(key, _)| key).collect();
                assert_eq!(down, ["a/3".into(), "a/2".into()]);
                Ok(())
            })
            .expect("commits");
        }
    });
}

#[test]
fn a_cell_is_swapped_by_the_version_that_was_read_there() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("swaps").expect("begins");
        let version = run.state().set("cell", 1).expect("sets");
        let mut tries = 0;
        run.transaction(|tx| {
            tries += 1;
            assert_eq!(tx.state().version("none")?, None);
            let read = tx.state().version("cell")?.expect("is there");
            if tries == 1 {
                assert_eq!(read, version);
                run.state().set("cell", 5)?;
            }
            let value = tx.state().read("cell")?.and_then(|value| value.as_i64()).unwrap_or_default();
            tx.state().cas("cell", read, value + 1)
        })
        .expect("commits");
        assert_eq!((tries, run.state().read("cell").unwrap().unwrap().value), (2, 6.into()));
    });
}

#[test]
fn an_event_in_a_range_that_was_read_is_a_conflict() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("reads events").expect("begins");
        run.events().append("note", 0).expect("appends");
        let fork = run.fork(ForkOptions::default()).expect("forks");
        for run in [&run, &fork] {
            let mut seen = Vec::new();
            run.transaction(|tx| {
                let events = tx.events().range(..)?;
                assert_eq!(
                    events.iter().map(|e| e.sequence).collect::<Vec<_>>(),
                    Vec::from_iter(0..events.len() as u64)
                );
                if seen.is_empty() {
                    run.events().append("note", "between")?;
                }
                seen.push(events.len());
                tx.kv().put("events", events.len())?;
                tx.events().append("counted", events.len())
            })
            .expect("commits");
            assert_eq!(seen, [1, 2], "the event between was noticed");
            // One behind the range that was read is none of its business.
            let mut tries = 0;
            run.transaction(|tx| {
                tries += 1;
                assert_eq!(tx.events().range(..2)?.len(), 2);
                assert!(tx.events().range(u64::MAX..)?.is_empty() && tx.events().range(1..1)?.is_empty());
                run.events().append("note", "behind")?;
                tx.kv().put("looked", true)
            })
            .expect("commits");
            assert_eq!(tries, 1);
            assert!(run.events().verify_chain().expect("reads").is_intact());
        }
    });
}

/// The second took the place of the first, and the first was never recorded.
#[test]
fn two_spans_of_one_id_in_a_transaction_are_refused_and_none_is_lost() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("spans").expect("begins");
        let refused = run.transaction(|tx| {
            tx.traces().record(&SpanDraft::tool_call("first").id("s"))?;
            tx.traces().record(&SpanDraft::tool_call("second").id("s"))
        });
        assert!(matches!(refused, Err(Error::DuplicateSpan { .. })), "{refused:?}");
        assert_eq!(run.traces().len().expect("counts"), 0);
    });
}

/// The condition of the second write was forgotten for that of the first.
#[test]
fn a_swap_behind_an_own_write_of_the_cell_is_refused() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("cells").expect("begins");
        let version = run.state().set("cell", 1).expect("sets");
        let refused = run.transaction(|tx| {
            tx.state().set("cell", 2)?;
            tx.state().cas("cell", version, 3)
        });
        let is_refused = matches!(refused, Err(Error::Write(WriteError::ConditionFailed { .. })));
        assert!(is_refused, "{refused:?}");
        run.transaction(|tx| {
            tx.state().cas("cell", version, 4)?;
            tx.state().set("cell", 5)
        })
        .expect("the first write has the condition");
        assert_eq!(run.state().read("cell").unwrap().unwrap().value, 5.into());
    });
}

/// A count that was to end with its minute went on for ever.
#[test]
fn a_count_in_a_transaction_keeps_its_time_to_live() {
    let clock = ManualClock::new(Timestamp(1_000_000));
    modes::in_every_mode_at(&clock, |db, _| {
        let run = db.begin_run("counts").expect("begins");
        run.kv().put_with_ttl("calls", 1, Duration::from_secs(60)).expect("puts");
        let until = run.kv().get_versioned("calls").unwrap().unwrap().expires_at;
        assert!(until.is_some());
        let sum = run.transaction(|tx| {
            tx.kv().increment("calls", 1)?;
            tx.kv().increment("calls", 1)
        });
        assert_eq!(sum.expect("counts"), 3);
        assert_eq!(run.kv().get_versioned("calls").unwrap().unwrap().expires_at, until);
        run.transaction(|tx| {
            tx.kv().put_with_ttl("own", 1, Duration::from_secs(5))?;
            tx.kv().increment("own", 1)
        })
        .expect("counts");
        assert!(run.kv().get_versioned("own").unwrap().unwrap().expires_at.is_some());
    });
}

/// One saw the key and what the other wrote not, the other saw that the key had gone: there is no order of the two.
#[test]
fn what_was_read_and_has_expired_by_the_commit_is_a_conflict() {
    let clock = ManualClock::new(Timestamp(1_000_000));
    let db = Database::builder()
        .durability(Durability::InMemory)
        .background(false)
        .clock(Arc::new(clock.clone()))
        .open()
        .expect("opens");
    let run = db.begin_run("leases").expect("begins");
    let fork = run.fork(ForkOptions::default()).expect("forks");
    for (run, ranged) in [(&run, false), (&run, true), (&fork, false), (&fork, true)] {
        run.kv().put_with_ttl("lease", 1, Duration::from_secs(1)).expect("puts");
        let reads = |tx: &mut Transaction<'_>| match ranged {
            true => Ok(!tx.kv().list("lease")?.is_empty()),
            false => tx.kv().exists("lease"),
        };
        let mut first = run.begin().expect("begins");
        assert!(reads(&mut first).expect("reads"));
        first.kv().put("holder", "first").expect("puts");
        clock.advance(2_000_000);
        run.transaction(|tx| {
            assert!(!reads(tx)?);
            tx.kv().put("taken over", 1)
        })
        .expect("commits");
        let refused = first.commit();
        assert!(matches!(refused, Err(Error::Write(WriteError::Conflict { .. }))), "{refused:?}");
        // What is over is no conflict for who finds it so, whether or not the shard has deleted it.
        run.transaction(|tx| {
            assert!(!reads(tx)?);
            tx.kv().put("holder", "second")
        })
        .expect("commits");
    }
}
