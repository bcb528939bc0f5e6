//! One order for the run, one for each stream; nothing lost between appenders, nothing missed by subscribers.

use std::time::Duration;

use in_mem::{Event, EventDraft, Run, Timestamp};

use crate::modes;

const LIMIT: Duration = Duration::from_secs(60);

fn payloads(events: &[Event]) -> Vec<i64> {
    events.iter().map(|e| e.payload.as_i64().expect("a number")).collect()
}

#[test]
fn a_stream_has_an_order_of_its_own() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("streams").expect("begins");
        let (a, b) = (run.events().stream("a"), run.events().stream("b"));
        for n in 0..30 {
            match n % 3 {
                0 => assert_eq!(a.append("x", n).expect("appends"), n as u64),
                1 => assert_eq!(b.append("y", n).expect("appends"), n as u64),
                _ => assert_eq!(run.events().append("z", n).expect("appends"), n as u64),
            }
        }
        run.transaction(|tx| {
            tx.events().append_draft(&EventDraft::new("x", 30).stream("a"))?;
            tx.events().append_draft(&EventDraft::new("x", 31).stream("a"))
        })
        .expect("commits");
        let check = |run: &Run| {
            let (a, b) = (run.events().stream("a"), run.events().stream("b"));
            assert_eq!((a.len().unwrap(), b.len().unwrap()), (12, 10));
            assert!(run.events().stream("none").is_empty().unwrap());
            let of_a = a.range(..).unwrap();
            assert_eq!(payloads(&of_a), [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 31]);
            for (place, event) in of_a.iter().enumerate() {
                assert_eq!(event.stream, Some(("a".into(), place as u64)));
                assert_eq!(a.read(place as u64).unwrap().as_ref(), Some(event));
            }
            assert_eq!(a.read(12).unwrap(), None);
            assert_eq!(payloads(&b.range(3..=5).unwrap()), [10, 13, 16]);
            assert_eq!(payloads(&b.range(8..100).unwrap()), [25, 28]);
            assert_eq!(payloads(&run.events().range(..).unwrap()), (0..32).collect::<Vec<_>>());
            assert_eq!(payloads(&run.events().range_reverse(5..8).unwrap()), [7, 6, 5]);
            assert_eq!(payloads(&run.events().range_reverse(..).unwrap()), (0..32).rev().collect::<Vec<_>>());
            assert_eq!(payloads(&run.events().last(2).unwrap()), [31, 30]);
            assert_eq!(payloads(&run.events().of_kind("z").unwrap())[..3], [2, 5, 8]);
        };
        check(&run);
        let db = reopen(db);
        let run = db.run(run.id()).expect("is there");
        check(&run);
        assert_eq!(run.events().stream("a").append("x", 99).unwrap(), 32);
        assert_eq!(run.events().stream("a").read(12).unwrap().unwrap().sequence, 32);
    });
}

#[test]
fn concurrent_appenders_leave_no_gap() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("appenders").expect("begins");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let run = &run;
                scope.spawn(move || {
                    for n in 0..25 {
                        run.events().stream(format!("{thread}")).append("n", n).expect("appends");
                    }
                });
            }
        });
        let all = run.events().range(..).unwrap();
        assert_eq!(all.len(), 100);
        assert!(all.iter().enumerate().all(|(n, e)| e.sequence == n as u64));
        for thread in 0..4 {
            let events = run.events().stream(format!("{thread}")).range(..).unwrap();
            assert_eq!(payloads(&events), (0..25).collect::<Vec<_>>());
        }
        assert!(run.events().verify_chain().unwrap().is_intact());
    });
}

#[test]
fn a_subscriber_gets_what_is_there_and_what_comes() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("subscribed").expect("begins");
        for n in 0..5 {
            run.events().append("n", n).expect("appends");
        }
        let mut from_three = run.events().subscribe(3).expect("subscribes");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 5..60 {
                    run.events().append("n", n).expect("appends");
                }
            });
            for n in 3..60 {
                let event = from_three.next().expect("goes on").expect("reads");
                assert_eq!((event.sequence, event.payload.as_i64()), (n, Some(n as i64)));
            }
        });
        assert_eq!(from_three.position(), 60);
        assert_eq!(from_three.try_next().unwrap(), None);
        run.events().append("n", 60).expect("appends");
        assert_eq!(from_three.next_within(LIMIT).unwrap().unwrap().sequence, 60);
    });
}

#[test]
fn a_subscription_ends_with_its_run() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("subscribed").expect("begins");
        let mut events = run.events().subscribe(0).expect("subscribes");
        run.delete().expect("deletes");
        assert!(events.next().is_none());
    });
}

#[test]
fn an_event_keeps_the_time_it_is_given() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("times").expect("begins");
        let at = Timestamp(-5);
        run.events().append_draft(&EventDraft::new("old", ()).occurred_at(at)).expect("appends");
        assert_eq!(run.events().read(0).unwrap().unwrap().occurred_at, Some(at));
    });
}
