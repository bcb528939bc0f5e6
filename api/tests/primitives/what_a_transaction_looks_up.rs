//! What can be read of a run can be read inside a transaction, sees what that wrote, and is a conflict where it changes.

use in_mem::ForkOptions;

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
