//! What an agent did, as a tree of spans: where the time and the money went, and what failed.

use std::time::Duration;

use in_mem::{Database, SpanDraft, SpanKind, SpanOrder, otel_attributes};

pub(crate) fn main() -> in_mem::Result<()> {
    let db = Database::in_memory()?;
    let run = db.begin_run("write a report")?;

    let agent = run.traces().span(SpanDraft::new(SpanKind::Agent, "writer"))?;
    for chapter in ["summary", "figures", "outlook"] {
        let step = agent.child(SpanDraft::new(SpanKind::Chain, chapter).tag("chapter"))?;
        // What is over already is recorded in one go, with the time it took.
        run.traces().record(
            &SpanDraft::new(SpanKind::Retrieval, "library")
                .parent(step.id())
                .input(format!("sources for {chapter}"))
                .output(3)
                .took(Duration::from_millis(40)),
        )?;
        let mut call =
            step.child(SpanDraft::model_call("example-model").input(format!("write the {chapter}")))?;
        if chapter == "figures" {
            call.fail("the model refused to draw")?;
            step.fail("no figures")?;
            continue;
        }
        call.output(format!("the {chapter}, in three pages"));
        call.tokens(1_200, 800);
        call.cost_usd(0.01);
        call.finish()?;
        step.finish()?;
    }
    run.traces().record_decision("publish", ["now", "later"].map(String::from).to_vec(), "later")?;
    agent.finish()?;

    for node in run.traces().tree()?.nodes {
        let took = Duration::from_micros(node.span.duration_micros().unwrap_or(0));
        println!(
            "{}{} {} [{}] {took:?}",
            "  ".repeat(node.depth),
            node.span.kind,
            node.span.name,
            node.span.status
        );
    }
    for (kind, totals) in run.traces().query().totals()? {
        println!("{kind}: {} spans, {} failed, {:.2} USD", totals.spans, totals.failed, totals.cost_usd);
    }
    let failed = run.traces().query().failed().kind(SpanKind::ModelCall).first()?.expect("one failed");
    let chain: Vec<_> = run.traces().ancestors(&*failed.id)?.iter().map(|s| s.name.to_string()).collect();
    println!("`{}` failed, in {}", failed.name, chain.join(" in "));
    println!("as OpenTelemetry calls it: {:?}", otel_attributes(&failed));

    assert_eq!(chain, ["figures", "writer"]);
    let slowest =
        run.traces().query().kind("retrieval").order(SpanOrder::Slowest).first()?.expect("there are some");
    assert!(slowest.duration_micros() >= Some(40_000));
    assert_eq!(run.traces().query().tag("chapter").count()?, 3);
    Ok(())
}
