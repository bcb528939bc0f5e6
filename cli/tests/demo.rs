//! The demo itself: the agent is killed, nothing is missing, it goes on to the end, and nothing is left behind.

mod common;

use std::{fs, path::Path};

use common::{in_mem, json_lines, ok, text};

fn left_in(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .expect("reads")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into())
        .collect()
}

#[test]
fn the_demo_loses_nothing_and_leaves_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = in_mem()
        .args(["demo", "--json", "--tree"])
        .arg(tree)
        .env("TMPDIR", temp.path())
        .output()
        .expect("runs");
    assert_eq!(out.status.code(), Some(0), "{}{}", text(&out.stdout), text(&out.stderr));
    let stages = json_lines(&text(&out.stdout));
    let names: Vec<&str> = stages.iter().filter_map(|s| s["stage"].as_str()).collect();
    assert_eq!(names, ["begins", "killed", "recovered", "goes_on", "finished", "ends"]);
    let (recovered, finished, ends) = (&stages[2], &stages[4], &stages[5]);
    let count = |value: &serde_json::Value, key: &str| value[key].as_u64().expect("a number");
    let acknowledged = count(&recovered["acknowledged"], "steps");
    let total = count(ends, "steps");
    assert!(acknowledged >= total / 2, "killed half-way");
    assert!(count(&recovered["recovered"], "steps") >= acknowledged);
    assert!(count(&recovered["recovered"], "steps") < total, "killed before the end");
    assert_eq!(finished["as_if_never_killed"], true);
    assert_eq!((&ends["status"], &ends["notes"]), (&"completed".into(), &total.into()));
    assert!(ends["faults"].as_array().expect("a list").is_empty());
    assert_eq!(left_in(temp.path()), Vec::<String>::new(), "nothing is left behind");
}

#[test]
fn an_empty_folder_gets_a_sample_and_a_database_that_is_named_is_kept() {
    let temp = tempfile::tempdir().expect("a directory");
    let (empty, db) = (temp.path().join("empty"), temp.path().join("kept"));
    let scratch = temp.path().join("scratch");
    for dir in [&empty, &scratch] {
        fs::create_dir(dir).expect("makes");
    }
    let out = in_mem()
        .arg("demo")
        .current_dir(&empty)
        .env("TMPDIR", &scratch)
        .arg("--db")
        .arg(&db)
        .output()
        .expect("runs");
    let told = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{told}{}", text(&out.stderr));
    assert!(
        told.contains("small sample project") && told.contains("Nothing that was acknowledged is missing")
    );
    assert!(!told.contains('\u{1b}'), "no colours into a pipe");
    assert!(left_in(&scratch).is_empty() && left_in(&empty).is_empty());
    let runs = json_lines(&ok(&db, &["runs", "--json"]));
    assert_eq!((runs.len(), &runs[0]["status"]), (1, &"completed".into()));
}

#[test]
fn a_tree_that_is_not_there_is_named() {
    let out = in_mem().args(["demo", "--tree", "/nowhere/at/all"]).output().expect("runs");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("/nowhere/at/all"), "{}", text(&out.stderr));
}
