//! What is asked wrongly, or cannot be done: an exit code, words that say what to do, and a database left as it was.

mod common;

use std::{fs, path::Path};

use common::{fails, in_mem, json_lines, ok, text};
use in_mem::{Database, RunStatus, limits};

/// A database with one run that is at work and one that has ended; gives their ids.
fn database(path: &Path) -> (String, String) {
    let db = Database::open(path).expect("opens");
    let live = db.begin_run("live").expect("begins").id();
    let ended = db.begin_run("ended").expect("begins");
    ended.kv().put("a", 1).expect("puts");
    ended.end(RunStatus::Completed).expect("ends");
    let ids = (live.to_string(), ended.id().to_string());
    drop(ended);
    db.close().expect("closes");
    ids
}

#[test]
fn a_directory_that_is_missing_or_empty_is_told_and_not_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing");
    for args in [
        &["runs"][..],
        &["stats"],
        &["show", "00"],
        &["get", "00", "k"],
        &["put", "00", "k", "1"],
        &["events", "00"],
    ] {
        let said = fails(&missing, 1, args);
        assert!(said.contains("there is no database at") && said.contains("missing"), "{said}");
        assert!(said.contains("in-mem import"), "it says what to do: {said}");
        assert!(!missing.exists());
        let said = fails(dir.path(), 1, args);
        assert!(said.contains("is empty: there is no database in it"), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("reads").count(), 0, "nothing was made");
}

#[test]
fn a_file_instead_of_a_directory_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, "words").expect("writes");
    let said = fails(&file, 1, &["runs"]);
    assert!(said.contains("file is not a directory"), "{said}");
    let trace = dir.path().join("t.json");
    fs::write(&trace, r#"{"trace":{"id":"t"},"observations":[]}"#).expect("writes");
    let said = fails(&file, 1, &["import", "langfuse", trace.to_str().expect("a name")]);
    assert!(said.contains("file is not a directory"), "{said}");
    assert_eq!(fs::read_to_string(&file).expect("reads"), "words");
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("thesis.txt"), "words").expect("writes");
    for args in [&["runs"][..], &["put", "00", "k", "1"]] {
        let said = fails(dir.path(), 1, args);
        assert!(said.contains("thesis.txt") && said.contains("no database"), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("reads").count(), 1, "nothing was added");
}

#[cfg(unix)]
#[test]
fn a_directory_without_permission_is_told() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().expect("a directory");
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).expect("makes");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("closes");
    if fs::read_dir(&closed).is_ok() {
        eprintln!("skipped: nothing is closed to the user who runs this test (root?)");
        return;
    }
    let said = fails(&closed, 1, &["runs"]);
    assert!(said.contains("closed") && said.to_lowercase().contains("permission"), "{said}");
}

#[test]
fn a_second_process_is_told_who_has_the_database() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path()).expect("opens");
    let run = db.begin_run("r").expect("begins");
    for args in [&["runs"][..], &["put", "00", "k", "1"]] {
        let said = fails(dir.path(), 1, args);
        assert!(said.contains(&format!("in use by process {}", std::process::id())), "{said}");
    }
    run.kv().put("still", "open").expect("the first is not disturbed");
    drop(run);
    db.close().expect("closes");
    assert_eq!(json_lines(&ok(dir.path(), &["runs", "--json"])).len(), 1);
}

#[test]
fn runs_and_keys_that_are_not_there_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, ended) = database(dir.path());
    let unknown = "ffffffff-ffff-7fff-bfff-ffffffffffff";
    for args in
        [&["show", unknown][..], &["get", unknown, "k"], &["put", unknown, "k", "1"], &["events", unknown]]
    {
        let said = fails(dir.path(), 1, args);
        assert!(said.contains(unknown) && said.contains("is not known here"), "{said}");
    }
    assert!(fails(dir.path(), 1, &["show", "ffff"]).contains("no run's id begins with `ffff`"));
    assert!(fails(dir.path(), 1, &["show", "0"]).contains("2 runs' ids begin with `0`"));
    assert!(fails(dir.path(), 2, &["show", "the second one"]).contains("is not the beginning of a run's id"));
    let said = fails(dir.path(), 1, &["get", &ended, "b"]);
    assert!(said.contains("has no key `b`; it has a"), "{said}");
}

#[test]
fn what_is_too_large_is_refused_and_an_ended_run_is_not_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let (live, ended) = database(dir.path());
    let longest = "k".repeat(limits::MAX_KEY_BYTES);
    ok(dir.path(), &["put", &live, &longest, "1"]);
    let said = fails(dir.path(), 1, &["put", &live, &format!("{longest}k"), "1"]);
    assert!(said.contains(&limits::MAX_KEY_BYTES.to_string()), "{said}");
    let deep = format!("{}1{}", "[".repeat(limits::MAX_DEPTH + 1), "]".repeat(limits::MAX_DEPTH + 1));
    let said = fails(dir.path(), 1, &["put", &live, "deep", &deep]);
    assert!(said.contains(&limits::MAX_DEPTH.to_string()), "{said}");
    let said = fails(dir.path(), 1, &["put", &ended, "late", "1"]);
    assert!(said.contains("is completed: an ended run is not written any more"), "{said}");
    assert_eq!(ok(dir.path(), &["get", &ended, "a"]), "1\n");
    let page = json_lines(&ok(dir.path(), &["show", &live, "--json"])).remove(0);
    assert_eq!(page["pairs"].as_array().expect("a list").len(), 1, "what was refused left nothing");
}

#[test]
fn a_value_in_a_file_that_is_too_large_is_named_and_the_rest_goes_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, output: &str| {
        let path = dir.path().join(name);
        let trace = serde_json::json!({"trace": {"id": name, "output": output}, "observations": []});
        fs::write(&path, trace.to_string()).expect("writes");
        path.to_str().expect("a name").to_owned()
    };
    let large = file("large.json", &"x".repeat(limits::MAX_VALUE_BYTES + 1));
    let small = file("small.json", "x");
    let db = dir.path().join("db");
    let said = fails(&db, 1, &["import", "langfuse", &large, &small]);
    assert!(said.contains("large.json") && said.contains("cannot be stored"), "{said}");
    assert_eq!(json_lines(&ok(&db, &["runs", "--json"])).len(), 1);
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_text_are_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let dir = tempfile::tempdir().expect("a directory");
    let (live, _) = database(dir.path());
    let not_text = OsStr::from_bytes(b"caf\xe9");
    let out =
        in_mem().args(["put", &live, "k"]).arg(not_text).arg("--db").arg(dir.path()).output().expect("runs");
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).to_lowercase().contains("utf-8"), "{}", text(&out.stderr));
}

#[test]
fn what_is_asked_wrongly_is_exit_code_two_and_says_what_can_be_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = fails(dir.path(), 2, &["runs", "--status", "done"]);
    assert!(said.contains("completed") && said.contains("cancelled"), "{said}");
    fails(dir.path(), 2, &["runs", "--limit", "0"]);
    fails(dir.path(), 2, &["import", "csv", "x"]);
    fails(dir.path(), 2, &["show"]);
    fails(dir.path(), 2, &["runs", "--durability", "none"]);
}

#[test]
fn a_salvage_that_is_refused_makes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let damaged = dir.path().join("damaged");
    database(&damaged);
    let to = dir.path().join("to");
    let name = |path: &Path| path.to_str().expect("a name").to_owned();
    let said = fails(&damaged, 1, &["salvage", &name(&dir.path().join("missing")), &name(&to)]);
    assert!(said.contains("there is no database at") && said.contains("missing"), "{said}");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).expect("makes");
    let said = fails(&damaged, 1, &["salvage", &name(&empty), &name(&to)]);
    assert!(said.contains("no database"), "{said}");
    assert!(!to.exists(), "nothing was made");
    // What is damaged stays as it is: nothing is written into it, by whatever name.
    let before = fs::read_dir(&damaged).expect("reads").count();
    for inside in [damaged.join("saved"), damaged.join("a/b"), empty.join("../damaged/saved")] {
        let said = fails(&damaged, 1, &["salvage", &name(&damaged), &name(&inside)]);
        assert!(said.contains("name a directory outside of it"), "{said}");
    }
    assert_eq!(fs::read_dir(&damaged).expect("reads").count(), before, "nothing was added");
    ok(&damaged, &["salvage", &name(&damaged), &name(&to)]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_no_text_is_written_as_json_all_the_same() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let dir = tempfile::tempdir().expect("a directory");
    let name = |last: &[u8]| dir.path().join(OsStr::from_bytes(last));
    let (db, copy, saved, bundle) = (name(b"d\xffb"), name(b"c\xff"), name(b"s\xff"), name(b"b\xff"));
    let (_, ended) = database(&db);
    let words =
        |args: &[&OsStr]| -> Vec<std::ffi::OsString> { args.iter().map(|a| (*a).to_owned()).collect() };
    let (json, new_ids) = (OsStr::new("--json"), OsStr::new("--new-ids"));
    for args in [
        words(&["stats".as_ref(), json]),
        words(&["check".as_ref(), json]),
        words(&["backup".as_ref(), copy.as_ref(), json]),
        words(&["salvage".as_ref(), db.as_ref(), saved.as_ref(), json]),
        words(&["export".as_ref(), ended.as_ref(), bundle.as_ref(), json]),
        words(&["import".as_ref(), "bundle".as_ref(), bundle.as_ref(), new_ids, json]),
    ] {
        let out = in_mem().args(&args).arg("--db").arg(&db).output().expect("runs");
        assert_eq!(out.status.code(), Some(0), "{args:?}: {}", text(&out.stderr));
        assert_eq!(json_lines(&text(&out.stdout)).len(), 1, "{args:?}");
    }
    let trace = name(b"t\xff");
    fs::write(&trace, r#"{"trace":{"id":"t"},"observations":[]}"#).expect("writes");
    let out = in_mem()
        .args(["import", "langfuse", "--json"])
        .arg(&trace)
        .arg("--db")
        .arg(&db)
        .output()
        .expect("runs");
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(json_lines(&text(&out.stdout)).iter().any(|line| line["type"] == "run"));
    // A file that cannot be read is named in the JSON, too.
    let out = in_mem()
        .args(["import", "langfuse", "--json"])
        .arg(&bundle)
        .arg("--db")
        .arg(&db)
        .output()
        .expect("runs");
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert!(!json_lines(&text(&out.stdout)).is_empty());
}

#[test]
fn without_a_command_it_shows_what_there_is_wherever_the_database_is() {
    for db in [None, Some("somewhere")] {
        let mut command = in_mem();
        command.envs(db.map(|db| ("IN_MEM_DB", db)));
        let out = command.output().expect("runs");
        assert_eq!(out.status.code(), Some(2));
        let said = text(&out.stderr);
        assert!(said.contains("First steps:") && !said.contains("demo-agent"), "{said}");
    }
}
