//! What queries say of the imported data sets is what counting the files' JSON by hand gives.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::{data, ok};
use in_mem::{Database, SpanKind, SpanStatus};
use serde_json::Value;

fn raw(file: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("reads")).expect("is JSON")
}

fn list<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value[field].as_array().into_iter().flatten()
}

/// Imports one set by the command, and opens what it made.
fn imported(format: &str, files: &[PathBuf]) -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let mut args = vec!["import", format];
    args.extend(files.iter().map(|file| file.to_str().expect("text")));
    ok(&path, &args);
    let db = Database::open(&path).expect("opens");
    (dir, db)
}

#[test]
fn tau_bench() {
    let Some(files) = data("tau-bench") else { return };
    let (_dir, db) = imported("tau-bench", &files);
    let sources: Vec<Value> =
        files.iter().flat_map(|f| raw(f).as_array().cloned().expect("a list")).collect();

    // The tools called most.
    let mut called: BTreeMap<String, u64> = BTreeMap::new();
    for call in
        sources.iter().flat_map(|run| list(run, "traj")).flat_map(|message| list(message, "tool_calls"))
    {
        *called.entry(call["function"]["name"].as_str().expect("a name").to_owned()).or_default() += 1;
    }
    let runs = db.runs().list().expect("lists");
    assert_eq!(runs.len(), sources.len());
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for info in &runs {
        let run = db.run(info.id).expect("there");
        for span in run.traces().query().kind(SpanKind::ToolCall).list().expect("lists") {
            *found.entry(span.name.to_string()).or_default() += 1;
        }
    }
    assert!(called.len() > 5 && called == found, "{called:?} in the files, {found:?} in the database");
    for (tool, calls) in &called {
        let of_tool = |id| db.run(id).expect("there").traces().query().name(&**tool).count().expect("counts");
        assert_eq!(runs.iter().map(|info| of_tool(info.id)).sum::<u64>(), *calls, "{tool}");
    }

    // The runs of each task, and of each trial.
    for field in ["task_id", "trial"] {
        let mut of: BTreeMap<u64, u64> = BTreeMap::new();
        for source in &sources {
            *of.entry(source[field].as_u64().expect("a number")).or_default() += 1;
        }
        for (number, expected) in of {
            let tag = if field == "trial" { format!("trial:{number}") } else { format!("task:{number:02}") };
            assert_eq!(db.runs().tag(&tag).count().expect("counts"), expected, "{tag}");
            assert_eq!(db.runs().tag(&tag).list().expect("lists").len() as u64, expected, "{tag}");
        }
    }

    // Those that reached the goal, and what they say: by status, by event type.
    let passed = sources.iter().filter(|run| run["reward"] == 1.0).count() as u64;
    assert_eq!(db.runs().status(in_mem::RunStatus::Completed).count().expect("counts"), passed);
    for role in ["user", "assistant", "tool", "system"] {
        let said = sources.iter().flat_map(|run| list(run, "traj")).filter(|m| m["role"] == role).count();
        let of_kind = |id| db.run(id).expect("there").events().of_kind(format!("message.{role}"));
        let found: usize = runs.iter().map(|info| of_kind(info.id).expect("reads").len()).sum();
        assert_eq!(found, said, "{role}");
    }
}

#[test]
fn swe_agent() {
    let Some(files) = data("swe-agent") else { return };
    let (_dir, db) = imported("swe-agent", &files);
    let sources: Vec<Value> = files.iter().map(|file| raw(file)).collect();
    let steps: u64 = sources.iter().map(|source| list(source, "trajectory").count() as u64).sum();
    let runs = db.runs().list().expect("lists");
    let (mut thoughts, mut calls, mut slow, mut cost) = (0, 0, 0, 0.0);
    for info in &runs {
        let run = db.run(info.id).expect("there");
        thoughts += run.events().of_kind("step.thought").expect("reads").len() as u64;
        calls += run.traces().query().kind(SpanKind::ToolCall).count().expect("counts");
        let second = std::time::Duration::from_secs(1);
        slow += run.traces().query().kind(SpanKind::ToolCall).took_at_least(second).count().expect("counts");
        cost += run.traces().query().totals().expect("sums up").values().map(|t| t.cost_usd).sum::<f64>();
    }
    let of_messages = |source: &Value| -> u64 {
        let alone = source.get("trajectory").is_none();
        let calls = list(source, "history").map(|message| list(message, "tool_calls").count() as u64);
        if alone { calls.sum() } else { 0 }
    };
    assert_eq!(runs.len(), sources.len());
    assert_eq!(thoughts, steps);
    assert_eq!(calls, steps + sources.iter().map(of_messages).sum::<u64>());
    let took = sources.iter().flat_map(|source| list(source, "trajectory"));
    let took = took.filter_map(|step| step["execution_time"].as_f64()).filter(|s| *s >= 1.0).count() as u64;
    assert_eq!(slow, took, "calls that took at least a second");
    let spent: f64 = sources.iter().filter_map(|s| s["info"]["model_stats"]["instance_cost"].as_f64()).sum();
    assert!((cost - spent).abs() < 1e-9, "{cost} of {spent} dollars");
}

#[test]
fn langfuse() {
    let Some(files) = data("langfuse-traces") else { return };
    let (_dir, db) = imported("langfuse", &files);
    // A trace that is in two files is one run.
    let sources: BTreeMap<String, Value> = files
        .iter()
        .map(|file| raw(file))
        .map(|source| (source["trace"]["id"].as_str().expect("an id").to_owned(), source))
        .collect();
    let observations = || sources.values().flat_map(|source| list(source, "observations"));
    let runs = db.runs().list().expect("lists");
    assert_eq!(runs.len(), sources.len());
    let traces: Vec<in_mem::Run> = runs.iter().map(|info| db.run(info.id).expect("there")).collect();
    let counted = |query: &dyn Fn(&in_mem::Run) -> u64| traces.iter().map(query).sum::<u64>();
    let of_type = |kind: &str| observations().filter(|o| o["type"] == kind).count() as u64;
    for (kind, name) in [
        (SpanKind::ModelCall, "GENERATION"),
        (SpanKind::ToolCall, "TOOL"),
        (SpanKind::Agent, "AGENT"),
        (SpanKind::Chain, "CHAIN"),
    ] {
        let found = counted(&|run| run.traces().query().kind(kind.clone()).count().expect("counts"));
        assert_eq!(found, of_type(name), "{name}");
    }
    // The failed spans, and the tokens of models.
    let failed = observations().filter(|o| o["level"] == "ERROR").count() as u64;
    let query = |run: &in_mem::Run| run.traces().query().status(SpanStatus::Failed).count().expect("counts");
    assert_eq!(counted(&query), failed);
    for (field, of) in [("input", 0), ("output", 1)] {
        let used: u64 = observations().filter_map(|o| o["usageDetails"][field].as_u64()).sum();
        let found = counted(&|run| {
            let totals = run.traces().query().totals().expect("sums up");
            totals.values().map(|t| [t.input_tokens, t.output_tokens][of]).sum()
        });
        assert_eq!(found, used, "{field} tokens");
    }
}
