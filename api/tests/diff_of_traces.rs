//! Traces are laid beside each other by what they did, not by the ids of their spans.

use in_mem::{Database, Run, SpanDraft, SpanEnd, SpanKind, value};

/// An agent's span with these calls below it; each with its tokens, or a tool's with its output.
fn trace(run: &Run, calls: &[(&str, u64)]) {
    let traces = run.traces();
    traces
        .start_span(&SpanDraft::new(SpanKind::Agent, "agent").id(format!("{}-top", run.id())))
        .expect("starts");
    for (n, (name, tokens)) in calls.iter().enumerate() {
        let id = format!("{}-{n}", run.id());
        let kind = if *name == "model" { SpanKind::ModelCall } else { SpanKind::ToolCall };
        let draft = SpanDraft::new(kind, *name).id(&*id).parent(format!("{}-top", run.id()));
        traces.start_span(&draft).expect("starts");
        let end = SpanEnd::ok().output(value!({ "says": (*tokens as i64) }));
        traces.end_span(&id, end.tokens(*tokens, 1)).expect("ends");
    }
    traces.end_span(format!("{}-top", run.id()), SpanEnd::ok()).expect("ends");
}

#[test]
fn two_runs_that_never_shared_a_past() {
    let db = Database::in_memory().expect("opens");
    let (a, b) = (db.begin_run("a").expect("begins"), db.begin_run("b").expect("begins"));
    trace(&a, &[("model", 10), ("search", 1), ("model", 20), ("book", 1), ("model", 5)]);
    trace(&b, &[("model", 10), ("model", 21), ("book", 1), ("model", 5), ("model", 7)]);
    let diff = db.diff(a.id(), b.id()).expect("compares");
    let rows: Vec<_> = diff
        .traces
        .spans
        .iter()
        .map(|s| (s.depth, &*s.name, s.a.is_some(), s.b.is_some(), s.parts.len()))
        .collect();
    assert_eq!(
        rows,
        [
            (0, "agent", true, true, 0),
            (1, "model", true, true, 0),
            (1, "search", true, false, 0),
            (1, "model", true, true, 2),
            (1, "book", true, true, 0),
            (1, "model", true, true, 0),
            (1, "model", false, true, 0),
        ]
    );
    let changed = &diff.traces.spans[3];
    let paths: Vec<_> = changed.parts.iter().map(|part| part.path.as_str()).collect();
    assert_eq!(paths, [".input_tokens", ".output.says"]);
    let top = &diff.traces.spans[0];
    let total =
        |side: &Option<in_mem::SpanSide>| side.as_ref().map(|s| (s.total.spans, s.total.input_tokens));
    assert_eq!((total(&top.a), total(&top.b)), (Some((6, 37)), Some((6, 44))));
    assert_eq!((diff.traces.totals.0.input_tokens, diff.traces.totals.1.input_tokens), (37, 44));
    assert_eq!(diff.traces.counts(), (1, 1, 1));
    let text = diff.to_string();
    assert!(
        text.contains("traces: 1 added, 1 removed, 1 changed") && text.contains("20+1 tokens | 21+1"),
        "{text}"
    );
    let json = serde_json::to_value(&diff).expect("serializes");
    assert_eq!(json["traces"]["spans"][2]["a"]["output"]["says"], 1, "a span is an object: {json}");
}

#[test]
fn the_same_trace_under_other_ids_and_times_is_no_difference() {
    let db = Database::in_memory().expect("opens");
    let (a, b) = (db.begin_run("a").expect("begins"), db.begin_run("b").expect("begins"));
    for run in [&a, &b] {
        trace(run, &[("model", 10), ("search", 1)]);
    }
    let diff = db.diff(a.id(), b.id()).expect("compares");
    assert!(diff.is_empty() && diff.traces.spans.len() == 3, "{diff}");
}

#[test]
fn of_a_fork_only_what_it_does_not_share_is_listed() {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("parent").expect("begins");
    let traces = run.traces();
    traces.start_span(&SpanDraft::new(SpanKind::Agent, "agent").id("top")).expect("starts");
    for n in 0..50 {
        let id = format!("shared-{n}");
        traces
            .start_span(&SpanDraft::new(SpanKind::ToolCall, "step").id(&*id).parent("top"))
            .expect("starts");
    }
    let fork = run.fork(Default::default()).expect("forks");
    for (run, name) in [(&run, "left"), (&fork, "right")] {
        run.traces().end_span("shared-7", SpanEnd::ok().output(name)).expect("ends");
        let draft = SpanDraft::new(SpanKind::ToolCall, name).id(name).parent("shared-9");
        run.traces().start_span(&draft).expect("starts");
    }
    let diff = db.diff(run.id(), fork.id()).expect("compares");
    let rows: Vec<_> = diff.traces.spans.iter().map(|s| (s.depth, &*s.name, s.is_same())).collect();
    let expected =
        [(0, "agent", true), (1, "step", false), (1, "step", true), (2, "left", false), (2, "right", false)];
    assert_eq!(rows, expected);
    assert!(diff.traces.unshared_only);
    assert_eq!(diff.traces.leads_to_difference(), [true; 5]);
}

#[test]
fn two_traces_with_one_root_each_correspond_whatever_the_roots_are_called() {
    let db = Database::in_memory().expect("opens");
    let rooted = |name: &str, kind: SpanKind| {
        let run = db.begin_run(name).expect("begins");
        run.traces().start_span(&SpanDraft::new(kind, name).id("top")).expect("starts");
        run.traces()
            .start_span(&SpanDraft::new(SpanKind::ToolCall, "search").id("call").parent("top"))
            .expect("starts");
        run
    };
    let (a, b) = (rooted("trial 1", SpanKind::Agent), rooted("trial 2", SpanKind::Agent));
    let diff = db.diff(a.id(), b.id()).expect("compares");
    assert_eq!(diff.traces.counts(), (0, 0, 1), "{diff}");
    let [root, call] = &diff.traces.spans[..] else { panic!("{diff}") };
    assert_eq!((root.parts.len(), &*root.parts[0].path, &*root.name), (1, ".name", "trial 1"));
    assert!(call.is_same() && call.depth == 1, "{diff}");
    // Of another kind, it is another thing.
    let c = rooted("trial 3", SpanKind::Custom("pipeline".into()));
    assert_eq!(db.diff(a.id(), c.id()).expect("compares").traces.counts(), (2, 2, 0));
}
