//! The three sets of real runs go in whole: every count is made twice, by the import and straight from the files' JSON.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use in_mem_cli::import::{EventKind, Format, ImportedRun, ImportedStatus, SpanKind, SpanStatus, read_all};
use serde_json::Value;

/// The files of a set in order, or `None`, said out loud, where the data is not there.
fn files(set: &str) -> Option<Vec<PathBuf>> {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
    if !data.is_dir() {
        eprintln!("skipped: ../shared/data is not there");
        return None;
    }
    let mut files: Vec<PathBuf> = fs::read_dir(data.join(set)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    Some(files)
}

fn import(files: &[PathBuf], format: Format) -> Vec<ImportedRun> {
    files.iter().flat_map(|file| read_all(file, format)).map(Result::unwrap).collect()
}

fn raw(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn count(value: &Value, field: &str) -> usize {
    value.get(field).and_then(Value::as_array).map_or(0, Vec::len)
}

/// Messages in the model calls of the Langfuse set, those that a later call repeats counted once. 68 are those of the 19
/// different traces, and 3 those of the one that is there twice.
const MESSAGES_IN_TWENTY_TRACES: usize = 68 + 3;

/// What must hold of every run, whatever its format.
fn check_run(run: &ImportedRun) {
    let mut known = HashSet::new();
    for span in &run.spans {
        assert!(
            span.parent.as_ref().is_none_or(|p| known.contains(p)),
            "{}: {} before its parent",
            run.name,
            span.id
        );
        assert!(known.insert(span.id.clone()), "{}: span id {} twice", run.name, span.id);
    }
    let mut keys = HashSet::new();
    assert!(run.state.iter().all(|(key, _)| keys.insert(key)), "{}: a key twice", run.name);
    let times: Vec<i64> = run.events.iter().filter_map(|e| e.at).collect();
    assert!(times.is_sorted(), "{}: events out of order", run.name);
    for at in times {
        assert!(
            run.started.unwrap() <= at && at <= run.ended.unwrap(),
            "{}: an event outside the run",
            run.name
        );
    }
}

fn unique_ids(runs: &[ImportedRun]) -> usize {
    runs.iter().map(ImportedRun::run_id).collect::<HashSet<_>>().len()
}

#[test]
fn tau_bench_goes_in_whole() {
    let Some(files) = files("tau-bench") else { return };
    let runs = import(&files, Format::TauBench);
    runs.iter().for_each(check_run);
    let source = raw(&files[0]);
    let source = source.as_array().unwrap();

    let messages: usize = source.iter().map(|r| count(r, "traj")).sum();
    let calls: usize =
        source.iter().flat_map(|r| r["traj"].as_array().unwrap()).map(|m| count(m, "tool_calls")).sum();
    assert_eq!((source.len(), messages, calls), (200, 5308, 1164));

    assert_eq!(runs.len(), 200);
    assert_eq!(unique_ids(&runs), 200);
    assert_eq!(runs.iter().map(ImportedRun::message_count).sum::<usize>(), 5308);
    assert_eq!(runs.iter().map(ImportedRun::tool_call_count).sum::<usize>(), 1164);
    assert_eq!(runs.iter().flat_map(|r| &r.events).filter(|e| e.kind == EventKind::ToolCall).count(), 1164);
    assert!(runs.iter().all(|r| r.warnings.is_empty()), "every call of this set has its answer");

    let passed = source.iter().filter(|r| r["reward"] == 1.0).count();
    assert_eq!(passed, 84);
    assert_eq!(runs.iter().filter(|r| r.status == ImportedStatus::Completed).count(), passed);
    assert_eq!(runs.iter().filter(|r| r.tags.iter().any(|t| t == "outcome:unjudged")).count(), 5);

    for (run, source) in runs.iter().zip(source) {
        let messages: Vec<&Value> =
            run.events.iter().filter(|e| e.kind.is_message()).map(|e| &e.payload).collect();
        assert_eq!(
            messages,
            source["traj"].as_array().unwrap().iter().collect::<Vec<_>>(),
            "kept as they are"
        );
        assert!(run.tags.contains(&format!("task:{:02}", source["task_id"].as_u64().unwrap())));
        assert!(run.tags.contains(&format!("trial:{}", source["trial"])));
        // Ids are used again inside a run, so each answer is checked against the calls in order.
        let mut answers: HashMap<&str, Vec<&Value>> = HashMap::new();
        for message in source["traj"].as_array().unwrap().iter().filter(|m| m["role"] == "tool") {
            answers.entry(message["tool_call_id"].as_str().unwrap()).or_default().push(&message["content"]);
        }
        for span in run.spans.iter().filter(|s| s.kind == SpanKind::ToolCall) {
            let id = span.attributes["gen_ai.tool.call.id"].as_str().unwrap();
            assert_eq!(&span.output, answers.get_mut(id).unwrap().remove(0));
        }
    }
}

#[test]
fn the_tools_called_most_in_tau_bench_are_those_of_the_file() {
    let Some(files) = files("tau-bench") else { return };
    let mut imported: BTreeMap<String, usize> = BTreeMap::new();
    for span in import(&files, Format::TauBench).iter().flat_map(|r| &r.spans) {
        if span.kind == SpanKind::ToolCall {
            *imported.entry(span.name.clone()).or_default() += 1;
        }
    }
    let mut direct: BTreeMap<String, usize> = BTreeMap::new();
    for run in raw(&files[0]).as_array().unwrap() {
        for call in
            run["traj"].as_array().unwrap().iter().filter_map(|m| m["tool_calls"].as_array()).flatten()
        {
            *direct.entry(call["function"]["name"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(imported, direct);
}

#[test]
fn swe_agent_goes_in_whole() {
    let Some(files) = files("swe-agent") else { return };
    let runs = import(&files, Format::SweAgent);
    runs.iter().for_each(check_run);
    let sources: Vec<Value> = files.iter().map(|f| raw(f)).collect();

    let steps: usize = sources.iter().map(|s| count(s, "trajectory")).sum();
    let history: usize = sources.iter().map(|s| count(s, "history")).sum();
    let no_steps: Vec<&Value> = sources.iter().filter(|s| s.get("trajectory").is_none()).collect();
    let lone_messages: usize = no_steps.iter().map(|s| count(s, "history")).sum();
    let lone_calls: usize =
        no_steps.iter().flat_map(|s| s["history"].as_array().unwrap()).map(|m| count(m, "tool_calls")).sum();
    assert_eq!((sources.len(), steps, history, lone_messages, lone_calls), (22, 227, 489, 12, 5));

    let of_kind = |kind: EventKind| runs.iter().flat_map(|r| &r.events).filter(|e| e.kind == kind).count();
    assert_eq!(runs.len(), 22);
    assert_eq!(unique_ids(&runs), 22);
    assert_eq!(of_kind(EventKind::Thought), 227);
    assert_eq!(of_kind(EventKind::Action), 227);
    assert_eq!(of_kind(EventKind::Observation), 227);
    assert_eq!(runs.iter().map(|r| r.events.len()).sum::<usize>(), 3 * 227 + 12);
    assert_eq!(runs.iter().map(ImportedRun::tool_call_count).sum::<usize>(), 227 + 5);
    assert_eq!(runs.iter().map(|r| r.spans.len()).sum::<usize>(), 22 + 2 * 227 + 5);
    let kept = runs.iter().flat_map(|r| &r.state).filter(|(key, _)| key.starts_with("history/")).count();
    assert_eq!(kept, 489);

    let timed = sources.iter().filter_map(|s| s["trajectory"].as_array()).flatten();
    let timed = timed.filter(|step| step.get("execution_time").is_some()).count();
    assert_eq!(timed, 40);
    assert_eq!(runs.iter().flat_map(|r| &r.spans).filter(|s| s.duration.is_some()).count(), timed);

    // A step's state is an object, be it one in the file or JSON text there.
    let states = runs.iter().flat_map(|r| &r.spans).filter_map(|s| s.attributes.get("state"));
    assert_eq!(states.clone().count(), 227);
    assert!(states.clone().all(Value::is_object));

    assert_eq!(runs.iter().filter(|r| r.status == ImportedStatus::Completed).count(), 21);
    assert_eq!(runs.iter().filter(|r| r.status == ImportedStatus::Unknown).count(), 1);
    let cost: f64 = runs.iter().flat_map(|r| &r.spans).filter_map(|s| s.cost_usd).sum();
    let direct: f64 = sources.iter().filter_map(|s| s["info"]["model_stats"]["instance_cost"].as_f64()).sum();
    assert_eq!(cost, direct);
}

#[test]
fn langfuse_goes_in_whole() {
    let Some(files) = files("langfuse-traces") else { return };
    let runs = import(&files, Format::Langfuse);
    runs.iter().for_each(check_run);
    let sources: Vec<Value> = files.iter().map(|f| raw(f)).collect();

    let observations: Vec<&Value> =
        sources.iter().flat_map(|s| s["observations"].as_array().unwrap()).collect();
    let of_type = |kind: &str| observations.iter().filter(|o| o["type"] == kind).count();
    assert_eq!((sources.len(), observations.len()), (20, 138));
    assert_eq!((of_type("GENERATION"), of_type("TOOL"), of_type("AGENT"), of_type("CHAIN")), (42, 11, 6, 1));

    let spans = || runs.iter().flat_map(|r| &r.spans);
    let of_kind = |kind: SpanKind| spans().filter(|s| s.kind == kind).count();
    assert_eq!(runs.len(), 20);
    // Two files are the same trace, exported twice with its observations in another order: one run, and found to be one.
    assert_eq!(unique_ids(&runs), 19);
    assert_eq!(runs.iter().map(|r| &r.content_digest).collect::<HashSet<_>>().len(), 19);
    assert_eq!(spans().count(), 138);
    assert_eq!(of_kind(SpanKind::ModelCall), 42);
    assert_eq!(of_kind(SpanKind::ToolCall), 11);
    assert_eq!(of_kind(SpanKind::Agent), 6);
    assert_eq!(of_kind(SpanKind::Chain), 1);
    assert_eq!(of_kind(SpanKind::Custom("span".to_owned())), 78);
    assert_eq!(spans().filter(|s| matches!(s.status, SpanStatus::Failed(_))).count(), 0);
    assert_eq!(runs.iter().flat_map(|r| &r.events).filter(|e| e.kind == EventKind::ToolCall).count(), 11);

    // What the traces were given and gave, one event each; and a result for every tool that gave one.
    let of_event = |kind: EventKind| runs.iter().flat_map(|r| &r.events).filter(|e| e.kind == kind).count();
    let given = |field: &str| sources.iter().filter(|s| !s["trace"][field].is_null()).count();
    assert_eq!((of_event(EventKind::RunInput), given("input")), (17, 17));
    assert_eq!((of_event(EventKind::RunOutput), given("output")), (17, 17));
    let answered = observations.iter().filter(|o| o["type"] == "TOOL" && !o["output"].is_null()).count();
    assert_eq!(of_event(EventKind::ToolResult), answered);
    assert_eq!(runs.iter().map(ImportedRun::message_count).sum::<usize>(), MESSAGES_IN_TWENTY_TRACES);
    // No message is counted twice though every model call repeats those before it: each is said in its conversation.
    let koog = runs.iter().find(|r| r.metadata["source.file"] == "koog-2025-08-26.trace.json").unwrap();
    assert_eq!(koog.message_count(), 9);

    let sum =
        |field: &str| -> u64 { observations.iter().filter_map(|o| o["usageDetails"][field].as_u64()).sum() };
    assert_eq!(spans().filter_map(|s| s.input_tokens).sum::<u64>(), sum("input"));
    assert_eq!(spans().filter_map(|s| s.output_tokens).sum::<u64>(), sum("output"));

    // One parent of the whole set is missing in its file; every other link holds.
    let linked = observations.iter().filter(|o| o["parentObservationId"].is_string()).count();
    assert_eq!(linked, 119);
    assert_eq!(spans().filter(|s| s.parent.is_some()).count(), 118);
    assert_eq!(runs.iter().map(|r| r.warnings.len()).sum::<usize>(), 1);

    // Every observation has both times, to the millisecond in the source and so in the span.
    assert!(spans().all(|s| s.start.is_some_and(|t| t % 1_000 == 0) && s.end >= s.start));
    let gemini =
        runs.iter().find(|r| r.metadata["source.file"] == "google-gemini-2025-08-01.trace.json").unwrap();
    assert_eq!(gemini.spans[0].start, Some(1_754_054_520_147_000), "2025-08-01T13:22:00.147Z");
}

/// Every scalar of the file must be found again somewhere in the run: a field that the import forgets is found here.
#[test]
fn no_text_of_a_langfuse_or_swe_agent_file_is_lost() {
    for (set, format) in [("langfuse-traces", Format::Langfuse), ("swe-agent", Format::SweAgent)] {
        let Some(files) = files(set) else { return };
        for file in files {
            let run = read_all(&file, format).remove(0).unwrap();
            let mut kept = HashSet::new();
            let mut keep = |value: &Value| texts(value, &mut kept);
            run.events.iter().for_each(|e| keep(&e.payload));
            run.state.iter().for_each(|(_, v)| keep(v));
            keep(&Value::Object(run.metadata.clone()));
            for span in &run.spans {
                [&span.input, &span.output].into_iter().for_each(&mut keep);
                keep(&Value::Object(span.attributes.clone()));
                keep(&serde_json::json!([span.id, span.parent, span.name, span.model, span.kind.text()]));
            }
            run.tags.iter().for_each(|t| keep(&Value::String(t.clone())));
            let mut given = HashSet::new();
            texts(&raw(&file), &mut given);
            let lost: Vec<&String> = given.difference(&kept).filter(|t| !is_time_or_type(t)).collect();
            assert!(lost.is_empty(), "{}: {} texts lost, such as {:?}", file.display(), lost.len(), lost[0]);
        }
    }
}

/// Times become numbers and observation types become kinds; these are checked by value above.
fn is_time_or_type(text: &str) -> bool {
    let looks_like_time = text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    looks_like_time || ["GENERATION", "SPAN", "TOOL", "AGENT", "CHAIN", "DEFAULT"].contains(&text)
}

/// All texts inside a value; text that is JSON counts by what is in it.
fn texts(value: &Value, into: &mut HashSet<String>) {
    match value {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_) | Value::String(_))) => texts(&inner, into),
            _ => drop(into.insert(text.clone())),
        },
        Value::Array(items) => items.iter().for_each(|v| texts(v, into)),
        Value::Object(fields) => fields.values().for_each(|v| texts(v, into)),
        Value::Number(n) => drop(into.insert(n.to_string())),
        _ => {}
    }
}

#[test]
fn ids_do_not_depend_on_where_or_when_a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for (set, format) in [
        ("tau-bench", Format::TauBench),
        ("swe-agent", Format::SweAgent),
        ("langfuse-traces", Format::Langfuse),
    ] {
        let Some(files) = files(set) else { return };
        let copy = dir.path().join(files[0].file_name().unwrap());
        // Other white space, same content.
        fs::write(&copy, serde_json::to_string_pretty(&raw(&files[0])).unwrap()).unwrap();
        let ids = |file: &Path| {
            import(&[file.to_owned()], format).iter().map(ImportedRun::run_id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&files[0]), ids(&copy));
        assert_eq!(ids(&files[0]), ids(&files[0]));
    }
}
