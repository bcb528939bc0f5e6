//! `log`, `replay`, `at`, `fork`, `diff`, `verify`, `export`, `import bundle` and `prune`: what each says is what the run did.

mod common;

use std::path::Path;

use common::{fails, json_lines, ok};
use in_mem::{Database, RunStatus, SpanDraft, SpanEnd};
use serde_json::{Value, json};

/// A run that changes its plan: the versions of its commits are told by `log`.
fn database(path: &Path) -> String {
    let db = Database::builder().path(path).shards(1).open().expect("opens");
    let run = db.begin_run("journey").expect("begins");
    run.kv().put("plan", "walk").expect("puts");
    run.events().append("message.user", json!({"content": "how far is it?"})).expect("appends");
    run.state().set("leg", 1).expect("sets");
    run.kv().put("plan", "take the bus").expect("puts");
    run.events().append("message.assistant", json!({"content": "far"})).expect("appends");
    run.kv().delete("plan").expect("deletes");
    run.end(RunStatus::Completed).expect("ends");
    let id = run.id().to_string();
    drop(run);
    db.close().expect("closes");
    id
}

/// The versions of a run's commits that touched this key, oldest first.
fn versions(db: &Path, run: &str, key: &str) -> Vec<String> {
    let mut lines = json_lines(&ok(db, &["log", run, "--json"]));
    lines.reverse();
    let touches =
        |line: &Value| line["changes"].as_array().is_some_and(|c| c.iter().any(|c| c["key"] == key));
    lines.iter().filter(|line| touches(line)).map(|line| line["version"].to_string()).collect()
}

#[test]
fn a_run_is_read_back_commit_by_commit() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = dir.path().join("db");
    let run = &database(&db)[..13];
    let log = ok(&db, &["log", run]);
    let newest_first: Vec<_> = log.match_indices("\nversion ").collect();
    assert_eq!(newest_first.len(), 8, "{log}");
    assert!(log.contains("walk → take the bus") && log.contains("running → completed"), "{log}");
    assert!(log.find("take the bus") < log.find("+ key    plan  walk"), "the newest first: {log}");
    assert!(!log.contains('\u{1b}'), "no colours into a pipe");
    assert_eq!(json_lines(&ok(&db, &["log", run, "--json", "--limit", "3"])).len(), 3);
    assert!(ok(&db, &["log", run, "--color", "always"]).contains('\u{1b}'));

    // What an event and a span say, and not the bytes that they are packed in.
    let said: Vec<Value> = json_lines(&ok(&db, &["log", run, "--json"]))
        .into_iter()
        .flat_map(|line| line["changes"].as_array().cloned().unwrap_or_default())
        .collect();
    assert!(said.iter().all(|change| change["value"]["$bytes"].is_null()), "{said:?}");
    let event = said.iter().find(|change| change["tag"] == "event").expect("an event");
    assert!(event["value"]["kind"].as_str().is_some_and(|kind| kind.starts_with("message.")), "{event}");
    assert_eq!(event["value"]["hash"].as_str().map(str::len), Some(64));

    let plans = versions(&db, run, "plan");
    assert_eq!(plans.len(), 3);
    let replay = ok(&db, &["replay", run]);
    assert!(replay.find("walk") < replay.find("take the bus"), "the oldest first: {replay}");
    assert!(replay.contains("0 message.user") && replay.contains("how far is it?"), "{replay}");
    let replayed = |args: &[&str]| json_lines(&ok(&db, &[&["replay", run, "--json"], args].concat()));
    let end = replayed(&[]).pop().expect("an end");
    let verified = json_lines(&ok(&db, &["verify", run, "--json"])).remove(0);
    assert_eq!((&verified["same"], &verified["live"]["exact"]), (&json!(true), &end["exact"]));
    assert!(ok(&db, &["verify", run]).contains("is what its log says"));
    assert_eq!(replayed(&["--at", "event:0"]).len(), 3 + 1);
    assert_eq!(replayed(&["--at", &plans[0]]).pop().expect("an end")["commits"], 2);

    let at = |point: &str| json_lines(&ok(&db, &["at", run, point, "--json"])).remove(0);
    assert_eq!(at(&plans[0])["pairs"], json!([{"key": "plan", "value": "walk"}]));
    assert_eq!(at("event:1")["pairs"], json!([{"key": "plan", "value": "take the bus"}]));
    assert_eq!(at("now")["pairs"], json!([]));
    assert_eq!(
        (at("now")["status"].clone(), at("event:0")["status"].clone()),
        (json!("completed"), json!("running"))
    );
    assert!(ok(&db, &["at", run, "event:1"]).contains("take the bus"));
    for (code, wrong) in [(2, "yesterday"), (1, "event:9"), (1, "span:none"), (1, "1970-01-01T00:00:00Z")] {
        fails(&db, code, &["at", run, wrong]);
    }
}

#[test]
fn a_fork_goes_its_own_way_and_diff_says_where() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = dir.path().join("db");
    let run = database(&db);
    let made =
        json_lines(&ok(&db, &["fork", &run, "--at", "event:0", "--name", "by boat", "--json"])).remove(0);
    let fork = made["run"].as_str().expect("an id").to_owned();
    assert_eq!(made["forked_from"]["run"], json!(run));
    assert_eq!(ok(&db, &["get", &fork, "plan"]), "walk\n");
    ok(&db, &["put", &fork, "plan", "sail"]);
    fails(&db, 1, &["get", &run, "plan"]);
    let diff = ok(&db, &["diff", &run, &fork]);
    for expected in [
        "the first is the same, then",
        "  - 1  message.assistant  far",
        "+ the run ends here",
        "+ plan  sail",
    ] {
        assert!(diff.contains(expected), "{expected}: {diff}");
    }
    let data = json_lines(&ok(&db, &["diff", &run, &fork, "--json"])).remove(0);
    assert_eq!((&data["divergence"]["sequence"], &data["kv"][0]["b"]), (&json!(1), &json!("sail")));
    assert!(ok(&db, &["diff", &run, &run]).contains("no difference"));
    let points = ok(&db, &["diff", &format!("{run}@event:0"), &format!("{run}@event:1")]);
    assert!(points.contains("~ plan") && points.contains("- \"walk\""), "{points}");
    fails(&db, 2, &["diff", &run, &format!("{run}@never")]);
}

#[test]
fn a_bundle_goes_out_and_comes_in_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let (db, other, file) = (dir.path().join("db"), dir.path().join("other"), dir.path().join("run.bundle"));
    let run = database(&db);
    let file = file.to_str().expect("a name");
    assert!(ok(&db, &["export", &run, file]).contains("1 run with 8 commits"));
    assert!(fails(&db, 1, &["export", &run, file]).contains("--force"));
    ok(&db, &["export", &run, file, "--force"]);
    assert!(ok(&other, &["import", "bundle", file, "--dry-run"]).contains("would come in"));
    assert!(!other.exists(), "a dry run makes nothing");
    assert!(ok(&other, &["import", "bundle", file]).contains("journey"));
    assert_eq!(json_lines(&ok(&other, &["log", &run, "--json"])).len(), 8);
    let content = |db| json_lines(&ok(db, &["verify", &run, "--json"])).remove(0)["live"]["content"].clone();
    assert_eq!(content(&db), content(&other));
    let said = fails(&other, 1, &["import", "bundle", file]);
    assert!(said.contains("is there already") && said.contains("--new-ids"), "it says what to do: {said}");
    let again = json_lines(&ok(&other, &["import", "bundle", file, "--new-ids", "--json"])).remove(0);
    assert_ne!(again["runs"][0]["here"], json!(run));
    let mut bytes = std::fs::read(file).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).expect("writes");
    fails(&other, 1, &["import", "bundle", file, "--new-ids"]);
    assert_eq!(json_lines(&ok(&other, &["runs", "--json"])).len(), 2);
}

#[test]
fn a_prune_says_what_goes_before_it_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = dir.path().join("db");
    let run = database(&db);
    fails(&db, 2, &["prune"]);
    fails(&db, 2, &["prune", "--older-than", "a while"]);
    assert!(ok(&db, &["prune", "--older-than", "30d"]).starts_with("0 runs gone"));
    let dry = json_lines(&ok(&db, &["prune", "--keep-newest", "0", "--dry-run", "--json"])).remove(0);
    assert_eq!((&dry["dry_run"], &dry["runs"][0]["id"]), (&json!(true), &json!(run)));
    assert!(ok(&db, &["prune", "--keep-newest", "0", "--dry-run"]).contains("1 run would go"));
    ok(&db, &["show", &run]);
    let done = json_lines(&ok(&db, &["prune", "--keep-newest", "0", "--json"])).remove(0);
    assert_eq!((&done["dry_run"], &done["bytes"]), (&json!(false), &dry["bytes"]));
    fails(&db, 1, &["show", &run]);
}

#[test]
fn what_a_run_knew_when_it_made_a_call() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let db = Database::builder().path(&path).shards(1).open().expect("opens");
    let run = db.begin_run("caller").expect("begins");
    run.kv().put("fare", 12).expect("puts");
    run.traces()
        .start_span(&SpanDraft::new(in_mem::SpanKind::ToolCall, "book").id("call-1"))
        .expect("starts");
    run.kv().put("fare", 15).expect("puts");
    run.traces().end_span("call-1", SpanEnd::ok()).expect("ends");
    let id = run.id().to_string();
    drop(run);
    db.close().expect("closes");
    let then = json_lines(&ok(&path, &["at", &id, "span:call-1", "--json"])).remove(0);
    assert_eq!(then["pairs"], json!([{"key": "fare", "value": 12}]));
    assert_eq!(then["open_spans"].as_array().map(Vec::len), Some(1));
    assert!(ok(&path, &["at", &id, "span:call-1"]).contains("At work on"));
    let log = ok(&path, &["log", &id]);
    assert!(
        log.contains("+ span   call-1  tool_call book, running") && log.contains("~ span   call-1"),
        "{log}"
    );
    let fork = json_lines(&ok(&path, &["fork", &id, "--at", "span:call-1", "--json"])).remove(0);
    assert_eq!(ok(&path, &["get", fork["run"].as_str().expect("an id"), "fare"]), "12\n");
}
