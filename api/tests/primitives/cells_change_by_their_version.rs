//! Versions of cells only grow, and whoever changes a cell by its version loses nothing.

use in_mem::{Error, Run, Value, Version, WriteError};

use crate::modes;

fn version(run: &Run, cell: &str) -> Version {
    run.state().read(cell).unwrap().unwrap().version
}

#[test]
fn versions_grow_also_across_a_delete() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("cells").expect("begins");
        let cells = run.state();
        let first = cells.init("c", 1).unwrap();
        assert_eq!(version(&run, "c"), first);
        let again = cells.init("c", 1);
        assert!(matches!(again, Err(Error::Write(WriteError::ConditionFailed { .. }))), "{again:?}");
        let second = cells.cas("c", first, 2).unwrap();
        assert!(second > first);
        let stale = cells.cas("c", first, 9);
        let Err(Error::Write(WriteError::ConditionFailed { found, .. })) = stale else { panic!("{stale:?}") };
        assert_eq!(found, Some(second));
        assert!(cells.delete("c").unwrap());
        assert!(!cells.exists("c").unwrap());
        assert!(matches!(cells.cas("c", second, 9), Err(Error::Write(WriteError::ConditionFailed { .. }))));
        let third = cells.init("c", 1).unwrap();
        assert!(third > second, "the value is what it was first, the version is not");
        assert!(cells.cas("c", first, 9).is_err());
        let db = reopen(db);
        let run = db.run(run.id()).unwrap();
        assert_eq!(version(&run, "c"), third);
        assert!(run.state().set("c", 5).unwrap() > third);
    });
}

#[test]
fn cells_are_listed_by_name() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("cells").expect("begins");
        for cell in ["lock/b", "lock/a", "queue", "lock"] {
            run.state().set(cell, cell).unwrap();
        }
        run.kv().put("lock/c", 1).unwrap();
        let names = |prefix: &str| -> Vec<String> {
            run.state().list(prefix).unwrap().iter().map(|(k, _)| k.as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names("lock/"), ["lock/a", "lock/b"]);
        assert_eq!(names(""), ["lock", "lock/a", "lock/b", "queue"]);
    });
}

#[test]
fn a_transition_sees_what_it_changes() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("cells").expect("begins");
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let run = &run;
                scope.spawn(move || {
                    for n in 0..15 {
                        run.state()
                            .transition("log", |log| {
                                let mut items: Vec<Value> =
                                    log.and_then(Value::as_array).unwrap_or_default().to_vec();
                                items.push(Value::from(thread * 100 + n));
                                Ok(Value::array(items))
                            })
                            .expect("changes");
                    }
                });
            }
        });
        let log = run.state().read("log").unwrap().unwrap().value;
        let items: Vec<i64> = log.as_array().unwrap().iter().filter_map(Value::as_i64).collect();
        assert_eq!(items.len(), 45);
        for thread in 0..3 {
            let own: Vec<i64> = items.iter().copied().filter(|i| i / 100 == thread).collect();
            assert_eq!(own, (0..15).map(|n| thread * 100 + n).collect::<Vec<_>>());
        }
        let kept = run.state().transition("log", |_| Err::<i64, _>(Error::Aborted { reason: "no".into() }));
        assert!(kept.is_err());
        assert_eq!(run.state().read("log").unwrap().unwrap().value, log);
    });
}
