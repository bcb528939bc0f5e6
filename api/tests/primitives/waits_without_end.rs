//! "As long as it takes" is written `Duration::MAX`, and "as much as there is" `usize::MAX`: neither may end in a panic.

use std::time::Duration;

use in_mem::{Error, SpanDraft, limits};

use crate::modes;

#[test]
fn a_wait_for_ever_is_a_wait_and_no_panic() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("patient").expect("begins");
        let mut events = run.events().subscribe(0).expect("subscribes");
        let mut changes = run.kv().watch("", 8).expect("watches");
        run.events().append("note", 1).expect("appends");
        assert_eq!(
            run.kv().put_async("k", 1).expect("begins").wait_timeout(Duration::MAX).expect("puts").0,
            3
        );
        assert_eq!(events.next_within(Duration::MAX).expect("reads").expect("one is there").sequence, 0);
        assert_eq!(changes.next_within(Duration::MAX).expect("reads").expect("one is there").key, "k".into());
        run.transaction_within(Duration::MAX, |tx| tx.kv().put("k", 2)).expect("commits");
        run.kv().put_with_ttl("kept", 1, Duration::MAX).expect("puts");
        assert!(run.kv().exists("kept").expect("reads"));
        run.traces().record(&SpanDraft::tool_call("long").took(Duration::MAX)).expect("records");
    });
}

#[test]
fn a_capacity_that_nobody_could_mean_is_refused_and_no_panic() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("watched").expect("begins");
        for capacity in [limits::MAX_WATCH_CAPACITY + 1, usize::MAX] {
            let refused = run.kv().watch("", capacity);
            assert!(
                matches!(refused, Err(Error::TooLong { limit: limits::MAX_WATCH_CAPACITY, .. })),
                "{refused:?}"
            );
        }
        let mut watch = run.kv().watch("", limits::MAX_WATCH_CAPACITY).expect("as much as is allowed");
        run.kv().put("k", 1).expect("puts");
        assert!(watch.try_next().expect("reads").is_some());
    });
}

#[test]
fn a_page_of_none_is_empty() {
    modes::in_every_mode(|db, _| {
        let run = db.begin_run("paged").expect("begins");
        run.kv().put("k", 1).expect("puts");
        run.traces().record(&SpanDraft::tool_call("t")).expect("records");
        let page = run.kv().page("", None, 0).expect("pages");
        assert!(page.entries.is_empty() && page.next.is_none(), "{page:?}");
        assert!(run.traces().query().page(None, 0).expect("pages").0.is_empty());
        assert!(db.runs().page(None, 0).expect("pages").0.is_empty());
        let fork = run.fork(in_mem::ForkOptions::default()).expect("forks");
        assert!(fork.kv().page("", None, 0).expect("pages").entries.is_empty());
    });
}
