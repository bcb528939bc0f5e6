//! A fork's spans are its parent's as of its point and its own: every query gives what it gives of a run that recorded them all
//! itself.

use std::time::Duration;

use in_mem::{Database, ForkOptions, Run, SpanDraft, SpanKind, SpanOrder, Timestamp};

fn spans(from: i64, to: i64) -> Vec<SpanDraft> {
    let span = |n: i64| {
        let draft = if n % 2 == 0 {
            SpanDraft::tool_call("search")
        } else {
            SpanDraft::new(SpanKind::Chain, "think")
        };
        let draft = draft.id(format!("s{n}")).start(Timestamp(n * 1_000)).end(Timestamp(n * 1_000 + n * 100));
        let draft = if n % 3 == 0 { draft.tag("third") } else { draft };
        if n > 0 { draft.parent(format!("s{}", n / 2)) } else { draft }
    };
    (from..to).map(span).collect()
}

/// The ids that every kind of query gives, and the totals.
fn asked(run: &Run) -> Vec<Vec<String>> {
    let traces = run.traces();
    let query = || run.traces().query();
    let queries = [
        query(),
        query().kind(SpanKind::ToolCall),
        query().name("think"),
        query().tag("third"),
        query().failed(),
        query().running(),
        query().roots(),
        query().parent("s1"),
        query().started_from(Timestamp(3_000)).started_before(Timestamp(9_000)),
        query().took_at_least(Duration::from_micros(300)).took_at_most(Duration::from_micros(700)),
        query().kind(SpanKind::ToolCall).tag("third").order(SpanOrder::StartDescending),
    ];
    let mut asked: Vec<Vec<String>> = queries
        .iter()
        .map(|query| {
            let listed: Vec<String> =
                query.list().expect("lists").iter().map(|span| span.id.to_string()).collect();
            assert_eq!(query.count().expect("counts"), listed.len() as u64);
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let (page, next) = query.page(after, 2).expect("pages");
                paged.extend(page.iter().map(|span| span.id.to_string()));
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(paged, listed, "page by page");
            listed
        })
        .collect();
    asked.push(traces.children("s2").expect("reads").iter().map(|span| span.id.to_string()).collect());
    asked.push(traces.ancestors("s9").expect("reads").iter().map(|span| span.id.to_string()).collect());
    asked.push(vec![format!("{:?}", query().totals().expect("totals"))]);
    asked
}

#[test]
fn every_query_over_a_fork_gives_what_it_gives_of_a_run_of_its_own() {
    let db = Database::in_memory().expect("opens");
    let (parent, plain) = (db.begin_run("parent").expect("begins"), db.begin_run("plain").expect("begins"));
    parent.traces().record_many(&spans(0, 8)).expect("records");
    let fork = parent.fork(ForkOptions::default()).expect("forks");
    plain.traces().record_many(&spans(0, 8)).expect("records");
    assert_eq!(asked(&fork), asked(&plain), "of what is shared");
    // Neither sees what the other records from here on.
    parent.traces().record_many(&spans(20, 24)).expect("records");
    fork.traces().record_many(&spans(8, 12)).expect("records");
    plain.traces().record_many(&spans(8, 12)).expect("records");
    assert_eq!(asked(&fork), asked(&plain), "of what is shared and its own");
    let fork_of_fork = fork.fork(ForkOptions::default()).expect("forks");
    fork_of_fork.traces().record_many(&spans(12, 14)).expect("records");
    plain.traces().record_many(&spans(12, 14)).expect("records");
    assert_eq!(asked(&fork_of_fork), asked(&plain), "of two that are shared");
    parent.delete().expect("deletes");
    assert_eq!(asked(&fork_of_fork), asked(&plain), "whatever becomes of the parent");
}

/// A fork of the past takes back its parent's span first, and a run that is made again was another before: neither is where the span
/// was recorded.
#[test]
fn what_a_run_knew_at_a_span_is_what_it_knew_when_it_recorded_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open().expect("opens");
    let parent = db.begin_run("parent").expect("begins");
    parent.kv().put("k", 1).expect("puts");
    let then = parent.info().expect("there").last_version;
    parent.traces().record_many(&spans(0, 1)).expect("records");
    let fork = db.fork(parent.id(), then, ForkOptions::default()).expect("forks");
    fork.kv().put("k", 2).expect("puts");
    fork.traces().record_many(&spans(0, 1)).expect("records");
    let known = |run: &in_mem::Run| run.at_span("s0").expect("recorded").kv().get("k").expect("there");
    assert_eq!(known(&fork), 2.into());
    let id = parent.id();
    parent.delete().expect("deletes");
    let again = db.new_run("again").id(id).begin().expect("begins");
    again.kv().put("k", 3).expect("puts");
    assert!(again.at_span("s0").is_err(), "it recorded none yet");
    again.traces().record_many(&spans(0, 1)).expect("records");
    assert_eq!(known(&again), 3.into());
}

/// It counted only what the fork had recorded itself.
#[test]
fn a_fork_has_as_many_spans_as_it_lists() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("parent").expect("begins");
    run.traces().record_many(&spans(0, 5)).expect("records");
    let fork = run.fork(ForkOptions::default()).expect("forks");
    assert_eq!((fork.traces().len().unwrap(), fork.traces().is_empty().unwrap()), (5, false));
    fork.traces().record_many(&spans(5, 8)).expect("records");
    assert_eq!(fork.traces().len().unwrap(), fork.traces().query().list().unwrap().len() as u64);
    assert_eq!(run.traces().len().unwrap(), 5);
}
