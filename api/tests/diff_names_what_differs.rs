//! A diff names every key, cell and event that differs, where inside a value, and the first event that parted two runs.

use in_mem::{Database, ForkOptions, Point, Value, value};

#[test]
fn a_fork_and_its_parent() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::open(dir.path()).expect("opens");
    let run = db.begin_run("parent").expect("begins");
    run.kv().put("same", 1).expect("puts");
    run.kv().put("changed", value!({ "steps": [{ "name": "pay" }, 2], "kept": true })).expect("puts");
    run.kv().put("removed", 1).expect("puts");
    run.state().set("cell", 1).expect("sets");
    for n in 0..5 {
        run.events().append("say", n).expect("appends");
    }
    let before = run.info().expect("there").last_version;
    let fork = run.fork(ForkOptions::default()).expect("forks");
    assert!(db.diff(run.id(), fork.id()).expect("compares").is_empty());
    fork.kv().put("changed", value!({ "steps": [{ "name": "walk" }], "kept": true })).expect("puts");
    fork.kv().delete("removed").expect("deletes");
    fork.kv().put("added", 1).expect("puts");
    fork.state().set("cell", 2).expect("sets");
    run.events().append("say", value!({ "to": "Ann" })).expect("appends");
    fork.events().append("say", value!({ "to": "Bob" })).expect("appends");
    let diff = db.diff(run.id(), fork.id()).expect("compares");
    let keys: Vec<_> =
        diff.kv.iter().map(|d| (d.key.as_str().expect("text"), d.a.is_some(), d.b.is_some())).collect();
    assert_eq!(keys, [("added", false, true), ("changed", true, true), ("removed", true, false)]);
    let parts: Vec<_> = diff.kv[1].parts.iter().map(|part| part.path.as_str()).collect();
    assert_eq!(parts, [".steps[0].name", ".steps[1]"]);
    assert_eq!(diff.kv[1].parts[1].b, None);
    assert_eq!(diff.state.len(), 1);
    let parted = diff.divergence.as_ref().expect("they parted");
    assert_eq!((parted.sequence, parted.context.len(), parted.parts[0].path.as_str()), (5, 3, ".to"));
    let text = diff.to_string();
    for expected in
        ["keys: 1 added, 1 removed, 1 changed", "Ann", "Bob", "same up to number 5", ".steps[0].name"]
    {
        assert!(text.contains(expected), "{text}");
    }
    let json = serde_json::to_value(&diff).expect("serializes");
    assert_eq!(json["divergence"]["sequence"], 5);
    // Two points of one run, read from the log.
    let points = db.diff_at((run.id(), Point::Version(before)), (run.id(), Point::Now)).expect("compares");
    assert!(points.kv.is_empty());
    assert_eq!(points.divergence.expect("one more").a, None);
    let turned = db.diff(fork.id(), run.id()).expect("compares");
    assert_eq!((turned.kv[0].a.clone(), turned.kv[0].b.clone()), (Some(Value::from(1)), None));
}
