//! A database stays where it was opened, wherever the path that it was opened by leads to later. One test, since the working
//! directory is the whole process's.

use std::path::Path;

use in_mem::{Database, Durability, RunId, value};

const SEGMENT_BYTES: u64 = 64 << 10;
const KEYS: u64 = 64;

/// Two releases of a program, each with its data, and the link that says which is at work.
fn turn(link: &Path, to: &Path) {
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(to, link).expect("linked");
}

fn open(path: &Path) -> Database {
    let strict = Database::builder().path(path).durability(Durability::Strict);
    strict.shards(1).segment_bytes(SEGMENT_BYTES).open().expect("opens")
}

/// More than a segment, so that the log goes on in files that are made by now.
fn fill(db: &Database, run: RunId, text: &str) {
    let run = db.run(run).expect("there");
    let long = text.repeat(4 << 10);
    for key in 0..KEYS {
        run.kv().put(format!("key {key}"), value!(long.clone())).expect("put");
    }
}

fn assert_filled(path: &Path, run: RunId, text: &str) {
    let db = open(path);
    let run = db.run(run).expect("there");
    for key in 0..KEYS {
        let found = run.kv().get(format!("key {key}")).expect("reads").expect("acknowledged");
        assert_eq!(found, value!(text.repeat(4 << 10)), "{key}");
    }
    db.close().expect("closes");
}

#[test]
fn writes_to_no_other_database_once_its_path_leads_elsewhere() {
    let temp = tempfile::tempdir().expect("a directory");
    stays_where_it_is(&temp.path().join("relative"), Path::new("data"), |to| {
        std::env::set_current_dir(to).expect("goes there");
    });
    let link = temp.path().join("current");
    stays_where_it_is(&temp.path().join("linked"), &link.join("data"), |to| turn(&link, to));
}

fn stays_where_it_is(base: &Path, path: &Path, lead_to: impl Fn(&Path)) {
    let (one, two) = (base.join("one"), base.join("two"));
    for project in [&one, &two] {
        std::fs::create_dir_all(project).expect("made");
    }
    lead_to(&one);
    let first = open(path);
    let first_run = first.begin_run("first").expect("begins").id();
    lead_to(&two);
    let second = open(path);
    let second_run = second.begin_run("second").expect("begins").id();

    fill(&second, second_run, "b");
    fill(&first, first_run, "a");
    first.checkpoint().expect("written");
    first.replay(first_run).expect("its own log");
    first.close().expect("closes");
    second.close().expect("closes");
    drop((first, second));

    assert_filled(&two.join("data"), second_run, "b");
    assert_filled(&one.join("data"), first_run, "a");
}
