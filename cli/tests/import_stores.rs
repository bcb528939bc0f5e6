//! What `import` brings in is counted when it is in, and again after the database was opened anew.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{data, fails, json_lines, ok, on, text};
use in_mem::{Database, RunStatus, SpanStatus};
use in_mem_cli::{
    commands::run_id,
    import::{Format, ImportedRun, SpanStatus as SourceStatus, read_all},
};
use serde_json::Value;

/// What a database holds of imported runs.
#[derive(Debug, PartialEq)]
struct Held {
    runs: u64,
    messages: u64,
    tool_calls: u64,
    events: u64,
    spans: u64,
    statuses: BTreeMap<String, u64>,
}

/// Counts by reading everything, and holds it against what the runs say that they hold.
fn held(db: &Path) -> Held {
    let db = Database::open(db).expect("opens");
    let mut held =
        Held { runs: 0, messages: 0, tool_calls: 0, events: 0, spans: 0, statuses: BTreeMap::new() };
    for info in db.runs().list().expect("lists") {
        let run = db.run(info.id).expect("there");
        let events: Vec<_> = run.events().iter().map(|e| e.expect("sound")).collect();
        assert_eq!(info.events.entries, events.len() as u64);
        assert_eq!(run.events().len().expect("counts"), events.len() as u64);
        assert_eq!(info.kv.entries, run.kv().count("").expect("counts"));
        assert!(run.events().verify_chain().expect("checks").is_intact());
        held.spans += run.traces().query().count().expect("counts");
        assert!(info.meta.status.is_ended(), "{}: nobody works on a recorded run", info.meta.name);
        held.runs += 1;
        held.events += events.len() as u64;
        held.messages += events.iter().filter(|e| e.kind.starts_with("message.")).count() as u64;
        held.tool_calls += events.iter().filter(|e| &*e.kind == "tool.call").count() as u64;
        *held.statuses.entry(info.meta.status.to_string()).or_default() += 1;
    }
    db.close().expect("closes");
    held
}

/// Every run is in the database as the file has it.
fn check_whole(db: &Path, runs: &[ImportedRun]) {
    let db = Database::open(db).expect("opens");
    for imported in runs {
        let run = db.run(run_id(imported)).expect("there");
        let info = run.info().expect("there");
        assert_eq!(*info.meta.name, imported.name);
        assert_eq!(info.meta.started.map(|t| t.0).filter(|_| imported.started.is_some()), imported.started);
        assert_eq!(info.meta.ended.map(|t| t.0).filter(|_| imported.ended.is_some()), imported.ended);
        assert!(imported.tags.iter().all(|tag| info.meta.tags.iter().any(|t| **t == **tag)));
        for (event, source) in run.events().iter().zip(&imported.events) {
            let event = event.expect("sound");
            assert_eq!(
                (&*event.kind, event.payload.to_json()),
                (&*source.kind.text(), source.payload.clone())
            );
            assert_eq!(event.occurred_at.map(|t| t.0), source.at, "times are kept");
        }
        assert_eq!(info.traces.entries, imported.spans.len() as u64);
        for source in &imported.spans {
            let span = run.traces().get(&source.id).expect("reads").expect("there");
            let head = &span.head;
            assert_eq!(
                (head.kind.as_str(), head.parent.as_deref()),
                (source.kind.text(), source.parent.as_deref())
            );
            assert_eq!(
                (span.input.to_json(), span.output.to_json()),
                (source.input.clone(), source.output.clone())
            );
            assert_eq!(source.start.unwrap_or(head.start.0), head.start.0, "times are kept");
            assert_eq!(source.end.or(head.end.map(|t| t.0)), head.end.map(|t| t.0));
            let said = match &source.status {
                SourceStatus::Ok => SpanStatus::Ok,
                SourceStatus::Failed(_) => SpanStatus::Failed,
                SourceStatus::Unset => SpanStatus::Unset,
            };
            assert_eq!(head.status, said, "nothing is ok that nobody said was");
            let open = source.start.is_some() && source.end.is_none() && source.duration.is_none();
            assert_eq!(head.end.is_none(), open);
            if let (Some(took), Some(end)) = (source.duration, head.end) {
                assert_eq!(end.0 - head.start.0, took);
            }
            assert_eq!((head.input_tokens, head.cost_usd), (source.input_tokens, source.cost_usd));
        }
        for (key, value) in &imported.state {
            assert_eq!(run.kv().get(key).expect("reads").map(|v| v.to_json()).as_ref(), Some(value));
        }
    }
}

/// Imports the set twice; gives what the first import said of all files together.
fn import_twice(set: &str, format: Format) -> Option<(Value, Held)> {
    let files = data(set)?;
    let dir = tempfile::tempdir().expect("a directory");
    let mut args = vec!["import", format.name(), "--json"];
    args.extend(files.iter().map(|file| file.to_str().expect("a name")));
    let total = |out: &str| json_lines(out).pop().expect("a total");
    let first = total(&ok(dir.path(), &args));
    let after = held(dir.path());
    let runs: Vec<ImportedRun> =
        files.iter().flat_map(|file| read_all(file, format)).map(Result::unwrap).collect();
    check_whole(dir.path(), &runs);

    let again = total(&ok(dir.path(), &args));
    assert_eq!((&again["imported"], &again["changed"], &again["faults"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!(again["present"].as_u64(), Some(runs.len() as u64));
    assert_eq!(held(dir.path()), after, "importing twice changes nothing");
    Some((first, after))
}

#[test]
fn tau_bench_is_there_after_reopening() {
    let Some((first, held)) = import_twice("tau-bench", Format::TauBench) else { return };
    assert_eq!((first["imported"].as_u64(), first["messages"].as_u64()), (Some(200), Some(5308)));
    assert_eq!(first["tool_calls"].as_u64(), Some(1164));
    assert_eq!((held.runs, held.messages, held.tool_calls, held.spans), (200, 5308, 1164, 200 + 1164));
    assert_eq!(held.statuses["completed"], 84);
    assert_eq!(held.statuses["failed"], 116);
}

#[test]
fn swe_agent_is_there_after_reopening() {
    let Some((first, held)) = import_twice("swe-agent", Format::SweAgent) else { return };
    assert_eq!(first["imported"].as_u64(), Some(22));
    assert_eq!((held.runs, held.events, held.spans), (22, 3 * 227 + 12, 22 + 2 * 227 + 5));
}

#[test]
fn langfuse_is_there_after_reopening() {
    let Some((first, held)) = import_twice("langfuse-traces", Format::Langfuse) else { return };
    // Two of the twenty files are the same trace.
    assert_eq!((first["imported"].as_u64(), first["present"].as_u64()), (Some(19), Some(1)));
    assert_eq!((held.runs, held.messages), (19, 68));
}

const TRACE: &str = r#"{"trace":{"id":"t1","name":"first","output":"OUT"},"observations":[]}"#;

#[test]
fn a_changed_source_is_told_and_a_broken_file_is_named_and_the_others_go_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = dir.path().join("db");
    let file = |name: &str, words: &str| {
        let path = dir.path().join(name);
        fs::write(&path, words).expect("writes");
        path.to_str().expect("a name").to_owned()
    };
    let (good, broken) = (file("good.json", TRACE), file("broken.json", &TRACE[..30]));
    let not_utf8 = dir.path().join("latin1.json");
    fs::write(&not_utf8, b"{\"trace\": \"caf\xe9\"}").expect("writes");
    let not_utf8 = not_utf8.to_str().expect("a name").to_owned();
    let missing = dir.path().join("missing.json").to_str().expect("a name").to_owned();
    let out = on(&db, &["import", "langfuse", &broken, &not_utf8, &missing, &good]);
    assert_eq!(out.status.code(), Some(1), "a fault is an exit code");
    let said = text(&out.stderr);
    assert!(said.contains("broken.json:1:30: is not JSON"), "{said}");
    assert!(said.contains("latin1.json:1:15: is not UTF-8"), "{said}");
    assert!(said.contains("missing.json: cannot be read"), "{said}");
    assert_eq!(held(&db).runs, 1);

    let changed = file("good.json", &TRACE.replace("OUT", "another"));
    let out = on(&db, &["import", "langfuse", &changed]);
    assert_eq!(out.status.code(), Some(0));
    assert!(text(&out.stderr).contains("has changed since it was imported"), "{}", text(&out.stderr));
    let run = json_lines(&ok(&db, &["runs", "--json"])).remove(0);
    let id = run["id"].as_str().expect("an id");
    assert_eq!(ok(&db, &["get", id, "output"]), "OUT\n", "what was imported stays as it was");
}

#[test]
fn what_was_imported_is_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = dir.path().join("db");
    let traj = dir.path().join("a.traj");
    fs::write(
        &traj,
        r#"{"trajectory":[{"thought":"look","action":"ls","observation":"a\u001b[2J"}],"history":[],
            "info":{"exit_status":"submitted"}}"#,
    )
    .expect("writes");
    ok(&db, &["import", "swe-agent", traj.to_str().expect("a name")]);
    let runs = ok(&db, &["runs"]);
    assert!(
        runs.lines().next().is_some_and(|l| l.starts_with("RUN")) && runs.contains("completed"),
        "{runs}"
    );
    let short = runs.lines().nth(1).and_then(|l| l.split_whitespace().next()).expect("a run").to_owned();
    let shown = ok(&db, &["show", &short]);
    assert!(shown.contains("exit:submitted") && shown.contains("3 events"), "{shown}");
    let events = ok(&db, &["events", &short]);
    assert_eq!(events.lines().count(), 3, "{events}");
    assert!(!events.contains('\u{1b}'), "nothing from outside steers the terminal");
    let one = ok(&db, &["events", &short, "--kind", "step.action", "--json"]);
    assert_eq!(json_lines(&one)[0]["kind"], "step.action");
    let stats = json_lines(&ok(&db, &["stats", "--kinds", "--json"])).remove(0);
    assert_eq!((&stats["runs"]["completed"], &stats["kinds"]["step.action"]), (&1.into(), &1.into()));
    let refused = fails(&db, 1, &["put", &short, "late", "1"]);
    assert!(refused.contains("is completed: an ended run is not written any more"), "{refused}");
    assert_eq!(ok(&db, &["runs", "--status", "failed"]), "no run is like that\n");
    assert_eq!(Database::open(&db).expect("opens").runs().status(RunStatus::Completed).count().unwrap(), 1);
}
