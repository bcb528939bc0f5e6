//! Every way to ask for spans gives what looking at all of them gives, before and after reopening.

use crate::modes as common;

use std::sync::Arc;
use std::time::Duration;

use in_mem::{Span, SpanDraft, SpanKind, SpanOrder, SpanStatus, Timestamp, Traces};

const SPANS: i64 = 400;

fn fill(traces: Traces<'_>) {
    for n in 0..SPANS {
        let kind = match n % 4 {
            0 => SpanKind::ModelCall,
            1 => SpanKind::ToolCall,
            2 => SpanKind::Custom("guardrail".into()),
            _ => SpanKind::Agent,
        };
        // Starts come in no order, and children before their parents.
        let start = (n * 7919) % SPANS;
        let mut draft = SpanDraft::new(kind, format!("name-{}", n % 5))
            .id(format!("s{n}"))
            .start(Timestamp(start))
            .end(Timestamp(start + n % 50))
            .tokens(n as u64, 1)
            .cost_usd(0.5);
        if n % 3 != 0 {
            draft = draft.parent(format!("s{}", (n + 3) % SPANS / 3 * 3));
        }
        if n % 7 == 0 {
            draft = draft.failed("broke");
        }
        if n % 11 == 0 {
            draft = draft.tag("eleventh");
        }
        traces.record(&draft).expect("records");
    }
}

fn ids(spans: &[Span]) -> Vec<Arc<str>> {
    spans.iter().map(|s| s.id.clone()).collect()
}

fn check(traces: Traces<'_>) {
    let all = traces.query().list().expect("lists");
    assert_eq!(all.len() as i64, SPANS);
    assert!(all.windows(2).all(|w| (w[0].start, &w[0].id) < (w[1].start, &w[1].id)));
    let of = |keep: &dyn Fn(&Span) -> bool| -> Vec<Arc<str>> {
        all.iter().filter(|s| keep(s)).map(|s| s.id.clone()).collect()
    };
    let query = || traces.query();
    let listed = |spans: in_mem::Spans<'_>| ids(&spans.list().expect("lists"));
    assert_eq!(listed(query().kind(SpanKind::ToolCall)), of(&|s| s.kind == SpanKind::ToolCall));
    assert_eq!(listed(query().kind("guardrail")), of(&|s| s.kind.as_str() == "guardrail"));
    assert_eq!(
        listed(query().kind("agent").kind("tool_call")),
        of(&|s| matches!(s.kind, SpanKind::Agent | SpanKind::ToolCall))
    );
    assert_eq!(listed(query().name("name-3")), of(&|s| &*s.name == "name-3"));
    assert_eq!(listed(query().tag("eleventh")), of(&|s| !s.tags.is_empty()));
    assert_eq!(listed(query().failed()), of(&|s| s.status == SpanStatus::Failed));
    assert_eq!(listed(query().roots()), of(&|s| s.parent.is_none()));
    let between = query().started_from(Timestamp(100)).started_before(Timestamp(200));
    assert_eq!(listed(between.clone()), of(&|s| (100..200).contains(&s.start.0)));
    assert_eq!(listed(query().started_from(Timestamp(200)).started_before(Timestamp(100))), of(&|_| false));
    assert_eq!(
        listed(query().took_at_least(Duration::from_micros(10)).took_at_most(Duration::from_micros(20))),
        of(&|s| (10..=20).contains(&s.duration_micros().unwrap()))
    );
    assert_eq!(
        listed(between.failed().kind("model_call").took_at_least(Duration::from_micros(5))),
        of(&|s| (100..200).contains(&s.start.0)
            && s.status == SpanStatus::Failed
            && s.kind == SpanKind::ModelCall
            && s.duration_micros() >= Some(5))
    );
    assert_eq!(listed(query().name("none such")), of(&|_| false));
    let mut backwards = of(&|s| s.kind == SpanKind::Agent);
    backwards.reverse();
    assert_eq!(listed(query().kind("agent").order(SpanOrder::StartDescending)), backwards);
    let slowest = query().order(SpanOrder::Slowest).list().expect("lists");
    assert_eq!(slowest.len(), all.len());
    assert!(slowest.windows(2).all(|w| w[0].duration_micros() >= w[1].duration_micros()));
    for order in [SpanOrder::Start, SpanOrder::StartDescending, SpanOrder::Slowest] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = query().failed().order(order).page(after, 7).expect("lists");
            assert!(page.len() <= 7);
            paged.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(paged, query().failed().order(order).list().expect("lists"), "{order:?}");
    }
    let totals = query().totals().expect("sums up");
    let models = all.iter().filter(|s| s.kind == SpanKind::ModelCall);
    let found = totals[&SpanKind::ModelCall];
    assert_eq!(found.spans, models.clone().count() as u64);
    assert_eq!(found.input_tokens, models.clone().filter_map(|s| s.input_tokens).sum::<u64>());
    assert_eq!(found.cost_usd, models.clone().filter_map(|s| s.cost_usd).sum::<f64>());
    assert_eq!(found.duration_micros, models.clone().filter_map(|s| s.duration_micros()).sum::<u64>());
    assert_eq!(found.failed, models.filter(|s| s.status == SpanStatus::Failed).count() as u64);
    assert_eq!(query().count().expect("counts") as i64, SPANS);
    assert_eq!(query().tag("eleventh").count().expect("counts"), of(&|s| !s.tags.is_empty()).len() as u64);
    assert_eq!(traces.len().expect("counts") as i64, SPANS);
}

#[test]
fn every_query_gives_what_looking_at_all_spans_gives() {
    common::in_every_mode(|db, reopen| {
        let run = db.begin_run("spans").expect("begins");
        fill(run.traces());
        check(run.traces());
        let db = reopen(db);
        let run = db.run(run.id()).expect("is there");
        check(run.traces());
        // The index is there now: what is written from here on is found as well.
        run.traces().record(&SpanDraft::tool_call("late").tag("new")).expect("records");
        assert_eq!(run.traces().query().tag("new").count().expect("counts"), 1);
        run.transaction(|tx| {
            tx.traces().record(&SpanDraft::tool_call("later").tag("new"))?;
            tx.traces().record(&SpanDraft::new("error", "of it").tag("new").failed("x"))?;
            Ok(())
        })
        .expect("commits");
        assert_eq!(run.traces().query().tag("new").count().expect("counts"), 3);
        assert_eq!(run.traces().query().tag("new").failed().list().expect("lists").len(), 1);
    });
}

#[test]
fn the_index_is_built_over_several_turns() {
    let db = common::in_memory();
    let run = db.begin_run("many").expect("begins");
    let drafts: Vec<_> = (0..10_000)
        .map(|n| SpanDraft::tool_call("t").start(Timestamp(n)).tag(format!("{}", n % 3)))
        .collect();
    run.traces().record_many(&drafts).expect("records");
    assert_eq!(run.traces().query().tag("1").count().expect("counts"), 3_333);
    assert_eq!(run.traces().query().tag("1").list().expect("lists").len(), 3_333);
}
