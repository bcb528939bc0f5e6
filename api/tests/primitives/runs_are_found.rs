//! Every way to ask for runs gives what looking at all of them gives; their life has no way back; counts are kept.

use in_mem::{
    Database, Error, Namespace, RunCursor, RunId, RunInfo, RunStatus, RunTotals, Runs, SpanDraft, Timestamp,
    WriteError,
};

use crate::modes;

fn names(runs: &[RunInfo]) -> Vec<String> {
    runs.iter().map(|r| r.meta.name.to_string()).collect()
}

fn fill(db: &Database) {
    let parent = db.begin_run("parent").expect("begins");
    for n in 0..60 {
        let namespace = Namespace::new("acme", format!("app-{}", n % 2), format!("agent-{}", n % 3)).unwrap();
        let begin = if n % 10 == 0 {
            parent.child(format!("run-{n:03}")).unwrap()
        } else {
            db.new_run(format!("run-{n:03}"))
        };
        // Made in no order, some at the same time.
        let at = Timestamp(1_000_000 + (n * 37 % 60) / 2);
        let run = begin
            .namespace(namespace)
            .tag(format!("mod-{}", n % 4))
            .tag("all")
            .metadata(n)
            .created_at(at)
            .begin()
            .expect("begins");
        match n % 5 {
            0 => run.end_at(RunStatus::Completed, None, Timestamp(2_000_000 + n)).unwrap(),
            1 => run.fail("broke").unwrap(),
            2 => run.pause().unwrap(),
            _ => {}
        }
    }
}

fn check(db: &Database) {
    let all = db.runs().list().expect("lists");
    assert_eq!(all.len(), 61);
    assert!(all.windows(2).all(|w| (w[0].meta.created, w[0].id) < (w[1].meta.created, w[1].id)));
    let parent = all.iter().find(|r| &*r.meta.name == "parent").unwrap();
    let has = |r: &RunInfo, tag: &str| r.meta.tags.iter().any(|t| &**t == tag);
    let namespace = Namespace::new("acme", "app-1", "agent-2").unwrap();
    let mut starts: Vec<Timestamp> = all.iter().filter_map(|r| r.meta.started).collect();
    starts.sort();
    let (early, late) = (starts[20], starts[40]);
    assert!(early < late, "the ranges below mean something");
    type Case<'c> = (Runs, Box<dyn Fn(&RunInfo) -> bool + 'c>);
    let runs = || db.runs();
    let cases: Vec<Case<'_>> = vec![
        (runs(), Box::new(|_| true)),
        (runs().tag("mod-1"), Box::new(|r| has(r, "mod-1"))),
        (runs().tag("mod-1").tag("all"), Box::new(|r| has(r, "mod-1"))),
        (runs().tag("mod-1").tag("mod-2"), Box::new(|_| false)),
        (runs().status(RunStatus::Failed), Box::new(|r| r.meta.status == RunStatus::Failed)),
        (
            runs().status(RunStatus::Failed).status(RunStatus::Paused),
            Box::new(|r| matches!(r.meta.status, RunStatus::Failed | RunStatus::Paused)),
        ),
        (runs().namespace(&namespace), Box::new(|r| r.meta.namespace == namespace)),
        (runs().tenant("acme"), Box::new(|r| r.meta.namespace.tenant() == "acme")),
        (runs().name_prefix("run-03"), Box::new(|r| r.meta.name.starts_with("run-03"))),
        (runs().children_of(parent.id), Box::new(|r| r.meta.parent == Some(parent.id))),
        (
            runs().created_from(Timestamp(1_000_005)).created_before(Timestamp(1_000_015)),
            Box::new(|r| (1_000_005..1_000_015).contains(&r.meta.created.0)),
        ),
        (
            runs().ended_from(Timestamp(2_000_010)).ended_before(Timestamp(2_000_040)),
            Box::new(|r| r.meta.ended.is_some_and(|at| (2_000_010..2_000_040).contains(&at.0))),
        ),
        (runs().ended_from(Timestamp(0)), Box::new(|r| r.meta.ended.is_some())),
        (runs().ended_before(Timestamp(i64::MAX)), Box::new(|r| r.meta.ended.is_some())),
        (
            runs().started_from(early).started_before(late).tag("all"),
            Box::new(|r| has(r, "all") && r.meta.started.is_some_and(|at| (early..late).contains(&at))),
        ),
        (
            runs()
                .tag("mod-3")
                .status(RunStatus::Completed)
                .name_prefix("run-0")
                .created_from(Timestamp(1_000_003)),
            Box::new(|r| {
                has(r, "mod-3")
                    && r.meta.status == RunStatus::Completed
                    && r.meta.name.starts_with("run-0")
                    && r.meta.created.0 >= 1_000_003
            }),
        ),
    ];
    for (number, (query, keep)) in cases.iter().enumerate() {
        let expected: Vec<RunInfo> = all.iter().filter(|run| keep(run)).cloned().collect();
        assert_gives(query, &expected, 4, &format!("case {number}"));
    }
}

/// The query gives these runs (which are in the order of their creation), whole and in pages, in every order, and their totals.
fn assert_gives(query: &Runs, expected: &[RunInfo], page: usize, case: &str) {
    let forwards = names(expected);
    let mut backwards = forwards.clone();
    backwards.reverse();
    let mut by_name = forwards.clone();
    by_name.sort();
    for (query, expected) in [
        (query.clone(), &forwards),
        (query.clone().newest_first(), &backwards),
        (query.clone().by_name(), &by_name),
    ] {
        assert_eq!(&names(&query.list().unwrap()), expected, "{case}");
        let (mut paged, mut after): (Vec<String>, Option<RunCursor>) = (Vec::new(), None);
        loop {
            let (some, next) = query.page(after, page).unwrap();
            assert!(some.len() == page || next.is_none(), "{case}: a page that others follow is full");
            paged.extend(names(&some));
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(&paged, expected, "{case}");
    }
    let mut totals = RunTotals::default();
    for run in expected {
        totals.runs += 1;
        *totals.by_status.entry(run.meta.status).or_default() += 1;
        totals.kv += run.kv;
        totals.events += run.events;
        totals.state += run.state;
        totals.traces += run.traces;
    }
    assert_eq!(query.totals().unwrap(), totals, "{case}");
    assert_eq!(query.count().unwrap(), totals.runs, "{case}");
}

/// More runs than one turn looks at, and than one turn sorts; names of their own, and few that are meant.
#[test]
fn a_query_goes_on_where_a_turn_ended() {
    let db = modes::in_memory();
    for n in 0..3_000_i64 {
        let (name, at) = (format!("run-{:04}", n * 7 % 3_000), Timestamp(1_000 + n / 3));
        let tags = ["all".to_owned(), format!("mod-{}", n % 1_400)];
        let run = db.new_run(name).tags(tags).created_at(at).begin().expect("begins");
        run.kv().put("n", n).unwrap();
        match n % 3 {
            0 => run.end_at(RunStatus::Completed, None, Timestamp(5_000 + n)).unwrap(),
            1 => run.pause().unwrap(),
            _ => {}
        }
    }
    let mut all = db.runs().list().expect("lists");
    assert_eq!(all.len(), 3_000);
    all.sort_by_key(|run| (run.meta.created, run.id));
    let late = Timestamp(5_000 + 2_990);
    type Case<'c> = (Runs, Box<dyn Fn(&RunInfo) -> bool + 'c>);
    let runs = || db.runs();
    let cases: Vec<Case<'_>> = vec![
        (runs(), Box::new(|_| true)),
        (runs().tag("all"), Box::new(|_| true)),
        (runs().tag("mod-3"), Box::new(|r| r.meta.tags.contains(&"mod-3".into()))),
        (runs().name_prefix("run-2"), Box::new(|r| r.meta.name.starts_with("run-2"))),
        (runs().name_prefix("run-123"), Box::new(|r| r.meta.name.starts_with("run-123"))),
        (
            runs().status(RunStatus::Paused).status(RunStatus::Completed),
            Box::new(|r| r.meta.status != RunStatus::Running),
        ),
        // None of what the first turns look at is meant.
        (runs().ended_from(late), Box::new(|r| r.meta.ended.is_some_and(|at| at >= late))),
        (
            runs().tag("all").name_prefix("run-29").status(RunStatus::Paused),
            Box::new(|r| r.meta.name.starts_with("run-29") && r.meta.status == RunStatus::Paused),
        ),
        (runs().tag("none"), Box::new(|_| false)),
    ];
    for (number, (query, keep)) in cases.iter().enumerate() {
        let expected: Vec<RunInfo> = all.iter().filter(|run| keep(run)).cloned().collect();
        assert_gives(query, &expected, 200, &format!("case {number}"));
    }
}

#[test]
fn every_query_gives_what_looking_at_all_runs_gives() {
    modes::in_every_mode(|db, reopen| {
        fill(&db);
        check(&db);
        let db = reopen(db);
        check(&db);
    });
}

#[test]
fn what_changes_of_a_run_is_found_as_it_is_now() {
    modes::in_every_mode(|db, reopen| {
        let run = db.new_run("before").tag("old").begin().unwrap();
        run.rename("after").unwrap();
        run.set_tags(["new", "newer"]).unwrap();
        run.set_metadata(in_mem::value!({ "k": 1 })).unwrap();
        let check = |db: &Database| {
            assert_eq!(db.runs().name_prefix("before").count().unwrap(), 0);
            assert_eq!(db.runs().tag("old").count().unwrap(), 0);
            let found = db.runs().name_prefix("aft").tag("newer").list().unwrap();
            assert_eq!(found[0].meta.metadata["k"].as_i64(), Some(1));
        };
        check(&db);
        let db = reopen(db);
        check(&db);
        let run = db.resume(run.id()).unwrap();
        let too_long = run.rename("n".repeat(in_mem::limits::MAX_RUN_NAME_BYTES + 1));
        assert!(matches!(too_long, Err(Error::TooLong { .. })), "{too_long:?}");
        run.end(RunStatus::Completed).unwrap();
        let refused = run.rename("too late");
        assert!(matches!(refused, Err(Error::Write(WriteError::RunEnded { .. }))), "{refused:?}");
    });
}

#[test]
fn a_life_has_no_way_back() {
    modes::in_every_mode(|db, _| {
        for from in RunStatus::ALL {
            for to in RunStatus::ALL {
                let run = db.new_run("life").not_started().begin().unwrap();
                let path: &[RunStatus] = match from {
                    RunStatus::Created => &[],
                    RunStatus::Running => &[RunStatus::Running],
                    RunStatus::Paused => &[RunStatus::Running, RunStatus::Paused],
                    RunStatus::Archived => &[RunStatus::Running, RunStatus::Completed, RunStatus::Archived],
                    ref ended => &[RunStatus::Running, *ended],
                };
                for status in path {
                    run.end(*status).unwrap();
                }
                let changed = run.end(to);
                assert_eq!(changed.is_ok(), from.may_become(to), "{from} -> {to}: {changed:?}");
                if let Err(error) = changed {
                    assert!(matches!(error, Error::Write(WriteError::InvalidStatus { .. })), "{error}");
                    assert_eq!(run.status().unwrap(), from);
                }
                let meta = run.info().unwrap().meta;
                assert_eq!(meta.ended.is_some(), meta.status.is_ended());
            }
        }
    });
}

#[test]
fn counts_and_bytes_follow_what_a_run_holds() {
    modes::in_every_mode(|db, reopen| {
        let run = db.begin_run("counted").unwrap();
        for n in 0..20 {
            run.kv().put(format!("k{n:02}"), n).unwrap();
            run.events().append("e", n).unwrap();
            run.state().set(format!("c{}", n % 5), n).unwrap();
            run.traces().record(&SpanDraft::tool_call("t")).unwrap();
        }
        for n in 0..10 {
            run.kv().delete(format!("k{n:02}")).unwrap();
        }
        run.kv().put("k10", "longer than it was").unwrap();
        let info = run.info().unwrap();
        let entries = |i: &RunInfo| (i.kv.entries, i.events.entries, i.state.entries, i.traces.entries);
        assert_eq!(entries(&info), (10, 20, 5, 20));
        assert_eq!(run.kv().count("").unwrap(), 10);
        assert_eq!(run.kv().count("k1").unwrap(), 10);
        assert_eq!(run.kv().count_range("k12".."k15").unwrap(), 3);
        assert!(info.kv.bytes > 10 * 4 && info.kv.bytes < 200, "{}", info.kv.bytes);
        let db = reopen(db);
        let again = db.run(run.id()).unwrap().info().unwrap();
        assert_eq!(
            (again.kv, again.events, again.state, again.traces),
            (info.kv, info.events, info.state, info.traces)
        );
        assert_eq!((again.last_version, again.meta), (info.last_version, info.meta));
        db.run(run.id()).unwrap().delete().unwrap();
        assert!(matches!(db.run(run.id()), Err(Error::UnknownRun { .. })));
        let db = reopen(db);
        assert_eq!(db.runs().count().unwrap(), 0);
    });
}

#[test]
fn a_memory_outlives_runs_and_is_not_listed_with_them() {
    modes::in_every_mode(|db, reopen| {
        let namespace = Namespace::new("acme", "support", "ada").unwrap();
        db.memory(&namespace).unwrap().kv().put("knows", 1).unwrap();
        db.memory(&namespace).unwrap().events().append("learned", 1).unwrap();
        let db = reopen(db);
        let memory = db.memory(&namespace).unwrap();
        assert_eq!(memory.kv().get("knows").unwrap().unwrap().as_i64(), Some(1));
        memory.traces().record(&SpanDraft::tool_call("t")).unwrap();
        assert_eq!(db.runs().count().unwrap(), 0);
        assert_eq!(db.runs().orphaned().count().unwrap(), 0);
        assert_eq!(db.runs().with_memories().namespace(&namespace).count().unwrap(), 1);
        let other = db.memory(&Namespace::new("acme", "support", "bob").unwrap()).unwrap();
        assert_eq!(other.kv().get("knows").unwrap(), None);
    });
}

/// It was taken for the last one of the page before and left out.
#[test]
fn a_run_made_again_behind_the_cursor_under_its_id_is_listed() {
    let db = modes::in_memory();
    let begin = |n: u8, at| {
        let run = db.new_run("r").id(RunId::from_bytes([n; 16])).created_at(Timestamp(at));
        run.begin().expect("begins")
    };
    let first = begin(1, 10);
    begin(2, 20);
    let (page, next) = db.runs().page(None, 1).expect("lists");
    assert_eq!(page[0].id, first.id());
    first.delete().expect("deletes");
    begin(1, 30);
    let (page, _) = db.runs().page(next, 10).expect("lists");
    assert_eq!(page.iter().map(|run| run.meta.created.0).collect::<Vec<_>>(), [20, 30]);
}
