//! Spans are begun, ended and put together as a tree, in whatever order they come.

use crate::modes as common;

use in_mem::{
    Error, Object, Span, SpanDraft, SpanEnd, SpanKind, SpanStatus, Timestamp, Value, WriteError, value,
};

fn ids(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|s| &*s.id).collect()
}

fn span(id: &str, parent: Option<&str>, start: i64) -> SpanDraft {
    let draft = SpanDraft::new(SpanKind::Chain, id).id(id).start(Timestamp(start)).end(Timestamp(start + 1));
    match parent {
        Some(parent) => draft.parent(parent),
        None => draft,
    }
}

#[test]
fn a_child_may_come_before_its_parent() {
    common::in_every_mode(|db, reopen| {
        let run = db.begin_run("tree").expect("begins");
        let drafts = [
            span("leaf", Some("twig"), 3),
            span("twig", Some("root"), 2),
            span("other", Some("root"), 4),
            span("root", None, 1),
            span("lost", Some("never recorded"), 5),
        ];
        run.traces().record_many(&drafts).expect("records");
        let db = reopen(db);
        let traces = db.run(run.id()).expect("is there");
        let traces = traces.traces();
        assert_eq!(ids(&traces.children("root").unwrap()), ["twig", "other"]);
        assert_eq!(ids(&traces.ancestors("leaf").unwrap()), ["twig", "root"]);
        assert_eq!(ids(&traces.ancestors("lost").unwrap()), [""; 0]);
        let tree = traces.tree().unwrap();
        let shape: Vec<_> = tree.nodes.iter().map(|n| (&*n.span.id, n.depth)).collect();
        assert_eq!(shape, [("root", 0), ("twig", 1), ("leaf", 2), ("other", 1), ("lost", 0)]);
        assert_eq!(tree.roots().count(), 2);
        let root = tree.get("root").unwrap();
        assert_eq!(tree.children(root).count(), 2);
    });
}

#[test]
fn parents_in_a_circle_end_somewhere() {
    common::in_every_mode(|db, _| {
        let run = db.begin_run("circle").expect("begins");
        for (id, parent) in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "d")] {
            run.traces().record(&span(id, Some(parent), 0)).expect("records");
        }
        assert_eq!(ids(&run.traces().ancestors("a").unwrap()), ["b", "c"]);
        let tree = run.traces().tree().unwrap();
        assert_eq!(tree.nodes.len(), 4);
    });
}

#[test]
fn a_tree_of_any_depth_is_put_together() {
    common::in_every_mode(|db, _| {
        let run = db.begin_run("deep").expect("begins");
        let drafts: Vec<_> = (0..20_000)
            .map(|n| {
                let parent = (n > 0).then(|| format!("{}", n - 1));
                span(&n.to_string(), parent.as_deref(), n)
            })
            .collect();
        run.traces().record_many(&drafts).expect("records");
        assert_eq!(run.traces().tree().unwrap().nodes.last().unwrap().depth, 19_999);
    });
}

#[test]
fn a_span_is_begun_and_ended_once() {
    common::in_every_mode(|db, _| {
        let run = db.begin_run("ends").expect("begins");
        let traces = run.traces();
        let draft = SpanDraft::model_call("m-1").input("q").attribute("kept", 1).attribute("changed", 1);
        let id = traces.start_span(&draft).expect("begins");
        let begun = traces.get(&*id).unwrap().unwrap();
        assert_eq!((begun.end, begun.status, begun.duration_micros()), (None, SpanStatus::Unset, None));
        assert_eq!(traces.query().running().count().unwrap(), 1);
        let end = SpanEnd::ok().output("a").tokens(10, 20).cost_usd(0.5).attribute("changed", 2).tag("t");
        traces.end_span(&*id, end).expect("ends");
        let ended = traces.get(&*id).unwrap().unwrap();
        assert!(ended.end.is_some());
        assert_eq!((ended.input.as_str(), ended.output.as_str()), (Some("q"), Some("a")));
        assert_eq!(
            (ended.input_tokens, ended.output_tokens, ended.cost_usd),
            (Some(10), Some(20), Some(0.5))
        );
        assert_eq!(ended.attributes.get("kept").unwrap().as_i64(), Some(1));
        assert_eq!(ended.attributes.get("changed").unwrap().as_i64(), Some(2));
        assert_eq!(ended.model.as_deref(), Some("m-1"));
        assert_eq!(traces.query().running().count().unwrap(), 0);
        assert_eq!(traces.query().tag("t").count().unwrap(), 1);
        let again = traces.end_span(&*id, SpanEnd::ok());
        assert!(matches!(again, Err(Error::SpanEnded { .. })), "{again:?}");
        let unknown = traces.end_span("none", SpanEnd::ok());
        assert!(matches!(unknown, Err(Error::UnknownSpan { .. })), "{unknown:?}");
        traces.record(&SpanDraft::tool_call("x").id("taken")).expect("records");
        let taken = traces.record(&SpanDraft::tool_call("y").id("taken"));
        assert!(matches!(taken, Err(Error::Write(WriteError::ConditionFailed { .. }))), "{taken:?}");
        assert_eq!(&*traces.get("taken").unwrap().unwrap().name, "x");
    });
}

#[test]
fn a_guard_ends_its_span() {
    common::in_every_mode(|db, _| {
        let run = db.begin_run("guards").expect("begins");
        let mut outer =
            run.traces().span(SpanDraft::new(SpanKind::Agent, "outer").id("outer")).expect("begins");
        outer.child(SpanDraft::tool_call("good").id("good")).unwrap().finish().expect("ends");
        outer.child(SpanDraft::tool_call("bad").id("bad")).unwrap().fail("no network").expect("ends");
        drop(outer.child(SpanDraft::tool_call("dropped").id("dropped")).unwrap());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = outer.child(SpanDraft::tool_call("panicked").id("panicked")).unwrap();
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        outer.output(3);
        outer.finish().expect("ends");
        let status = |id: &str| run.traces().get(id).unwrap().unwrap();
        assert_eq!(status("outer").status, SpanStatus::Ok);
        assert_eq!(status("outer").output.as_i64(), Some(3));
        assert_eq!(status("good").status, SpanStatus::Ok);
        assert_eq!(status("bad").message.as_deref(), Some("no network"));
        assert_eq!(status("dropped").status, SpanStatus::Unset);
        assert_eq!(status("panicked").status, SpanStatus::Failed);
        for id in ["outer", "good", "bad", "dropped", "panicked"] {
            assert!(status(id).end.is_some(), "{id}");
        }
        assert_eq!(run.traces().children("outer").unwrap().len(), 4);
    });
}

#[test]
fn times_of_an_import_are_kept() {
    common::in_every_mode(|db, _| {
        let run = db.begin_run("import").expect("begins");
        let took = std::time::Duration::from_micros(30);
        let get = |draft: SpanDraft| {
            let id = run.traces().record(&draft).expect("records");
            let span = run.traces().get(&*id).unwrap().unwrap();
            (span.start.0, span.end.unwrap().0)
        };
        let draft = || SpanDraft::tool_call("t");
        assert_eq!(get(draft().start(Timestamp(10)).end(Timestamp(25))), (10, 25));
        assert_eq!(get(draft().start(Timestamp(10)).took(took)), (10, 40));
        assert_eq!(get(draft().end(Timestamp(100)).took(took)), (70, 100));
        assert_eq!(get(draft().end(Timestamp(100))), (100, 100));
        let (start, end) = get(draft().took(took));
        assert_eq!(end - start, 30);
    });
}

#[test]
fn the_conventions_of_opentelemetry_are_spoken() {
    common::in_every_mode(|db, _| {
        let run = db.begin_run("otel").expect("begins");
        let value = value!({
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "search",
            "gen_ai.tool.call.arguments": { "q": "shards" },
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": "many",
            "gen_ai.something.new": true,
        });
        let in_mem::Value::Object(attributes) = value else { panic!("an object") };
        let id =
            run.traces().record(&SpanDraft::from_otel("execute_tool search", &attributes)).expect("records");
        let span = run.traces().get(&*id).unwrap().unwrap();
        assert_eq!((span.kind.clone(), &*span.name), (SpanKind::ToolCall, "search"));
        assert_eq!(span.input_tokens, Some(12));
        assert_eq!(span.input["q"].as_str(), Some("shards"));
        assert_eq!(
            span.attributes.len(),
            2,
            "what is not known, or not what it should be, is kept: {span:?}"
        );
        let back: Object = in_mem::otel_attributes(&span);
        assert_eq!(back, attributes);
        // Another name of a kind that has several is kept, too.
        let value = value!({ "gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e-1" });
        let in_mem::Value::Object(attributes) = value else { panic!("an object") };
        let id = run.traces().record(&SpanDraft::from_otel("embeddings e-1", &attributes)).expect("records");
        let span = run.traces().get(&*id).unwrap().unwrap();
        assert_eq!(span.kind, SpanKind::ModelCall);
        assert_eq!(in_mem::otel_attributes(&span), attributes);
    });
}

/// An attribute lies one level deeper in the span than where it was checked: the span was stored, and could never be read.
#[test]
fn attributes_that_could_not_be_read_back_are_refused() {
    common::in_every_mode(|db, _| {
        let run = db.begin_run("deep").expect("begins");
        let nested = |levels: usize| (0..levels).fold(Value::from(1), |inner, _| Value::array([inner]));
        let deepest = in_mem::limits::MAX_DEPTH - 1;
        let draft = |levels| SpanDraft::tool_call("t").attribute("a", nested(levels));
        let id = run.traces().record(&draft(deepest)).expect("records");
        assert!(run.traces().get(&id).expect("reads").is_some());
        assert!(matches!(run.traces().record(&draft(deepest + 1)), Err(Error::Value(_))));
        let open = run.traces().start_span(&SpanDraft::tool_call("open")).expect("begins");
        let end = |levels| SpanEnd::ok().attribute("a", nested(levels));
        assert!(matches!(run.traces().end_span(&open, end(deepest + 1)), Err(Error::Value(_))));
        run.traces().end_span(&open, end(deepest)).expect("ends");
        assert_eq!(run.traces().query().list().expect("all can be read").len(), 2);
    });
}

/// One such span made the sum of all of them no number.
#[test]
fn a_cost_that_is_no_number_is_refused() {
    common::in_every_mode(|db, _| {
        let run = db.begin_run("costs").expect("begins");
        run.traces().record(&SpanDraft::tool_call("t").cost_usd(0.5)).expect("records");
        let open = run.traces().start_span(&SpanDraft::tool_call("open")).expect("begins");
        for cost in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refused = run.traces().record(&SpanDraft::tool_call("t").cost_usd(cost));
            assert!(matches!(refused, Err(Error::Cost { .. })), "{refused:?}");
            let refused = run.traces().end_span(&open, SpanEnd::ok().cost_usd(cost));
            assert!(matches!(refused, Err(Error::Cost { .. })), "{refused:?}");
        }
        run.traces().end_span(&open, SpanEnd::ok().cost_usd(0.25)).expect("ends");
        let totals = run.traces().query().totals().expect("reads");
        assert_eq!(totals[&SpanKind::ToolCall].cost_usd, 0.75);
    });
}
