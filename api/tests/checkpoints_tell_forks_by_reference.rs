//! A checkpoint says of a fork what it goes on from, and holds what forks read of a run once: so a fork costs the same, on the disk
//! and in memory, also behind a checkpoint, a reopening, another number of shards, a backup and a salvage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use in_mem::{Database, ForkOptions, Point, Run, RunId, Value, admin};

/// All that a run shows.
#[derive(Debug, Clone, PartialEq, Default)]
struct Seen {
    kv: Vec<(Vec<u8>, Value)>,
    cells: Vec<(Vec<u8>, Value)>,
    events: Vec<(u64, Value)>,
    stream: Vec<u64>,
    head: (u64, [u8; 32]),
    spans: usize,
}

fn see(db: &Database, id: RunId) -> Seen {
    let run = db.run(id).expect("there");
    let head = run.events().head().expect("there");
    let kv = run.kv().list("").expect("lists");
    for (key, value) in &kv {
        assert_eq!(run.kv().get(key).expect("reads").as_ref(), Some(value));
    }
    let stream: Vec<u64> =
        run.events().stream("s").range(..).expect("reads").into_iter().map(|event| event.sequence).collect();
    assert_eq!(run.events().stream("s").len().expect("there"), stream.len() as u64);
    Seen {
        kv: kv.into_iter().map(|(key, value)| (key.to_vec(), value)).collect(),
        cells: run
            .state()
            .list("")
            .expect("lists")
            .into_iter()
            .map(|(key, cell)| (key.to_vec(), cell.value))
            .collect(),
        events: run
            .events()
            .range(..)
            .expect("reads")
            .into_iter()
            .map(|event| (event.sequence, event.payload))
            .collect(),
        stream,
        head: (head.len, head.hash),
        spans: run.traces().tree().expect("reads").nodes.len(),
    }
}

fn see_all(db: &Database) -> BTreeMap<RunId, Seen> {
    db.runs().list().expect("lists").into_iter().map(|run| (run.id, see(db, run.id))).collect()
}

fn open(path: &Path, shards: usize) -> Database {
    let builder = Database::builder().path(path).shards(shards).checkpoint_interval(None);
    builder.segment_bytes(256 << 10).open().expect("opens")
}

fn entries(db: &Database) -> u64 {
    db.stats().expect("there").shards.iter().map(|shard| shard.core.entries).sum()
}

fn checkpoint_bytes(db: &Database) -> u64 {
    db.checkpoint().expect("writes").into_iter().flatten().map(|checkpoint| checkpoint.bytes).sum()
}

fn fill(run: &Run, keys: usize) {
    for n in 0..keys {
        run.kv().put(format!("key-{n:05}"), format!("value {n}")).expect("puts");
    }
}

#[test]
fn a_hundred_forks_of_a_large_run_cost_what_a_hundred_forks_of_a_small_one_do() {
    let cost = |keys: usize| {
        let dir = tempfile::tempdir().expect("a directory");
        let db = open(dir.path(), 1);
        let run = db.begin_run("parent").expect("begins");
        fill(&run, keys);
        let alone = (checkpoint_bytes(&db), entries(&db));
        for _ in 0..100 {
            let fork = run.fork(ForkOptions::default().name("fork")).expect("forks");
            fork.kv().put("mine", 1).expect("puts");
        }
        let with_forks = checkpoint_bytes(&db);
        let seen = see_all(&db);
        drop(run);
        db.close().expect("closes");
        let db = open(dir.path(), 1);
        let reopened = entries(&db);
        assert_eq!(see_all(&db), seen);
        // A checkpoint of what was loaded is no larger.
        db.begin_run("another").expect("begins");
        assert!(checkpoint_bytes(&db) < with_forks + 1_000);
        (with_forks - alone.0, reopened - alone.1)
    };
    let (small, large) = (cost(10), cost(10_000));
    println!("bytes and entries of 100 forks: {small:?} of 10 keys, {large:?} of 10,000");
    assert_eq!(small.1, large.1, "entries in memory");
    // Larger versions take more bytes each.
    assert!(large.0 < small.0 + 100 * 20, "{} bytes of a checkpoint, {} for a small run", large.0, small.0);
}

/// A family: forks of now and of the past, of forks, of runs that were changed, deleted, and made again since.
fn family(db: &Database) -> RunId {
    let run = db.begin_run("root").expect("begins");
    let root = run.id();
    let note = |run: &Run, n: i64| run.events().stream("s").append("n", n).expect("appends");
    fill(&run, 40);
    run.state().set("cell", 1).expect("sets");
    note(&run, 0);
    run.events().append("other", 1).expect("appends");
    run.traces().record(&in_mem::SpanDraft::tool_call("search")).expect("records");
    let then = run.info().expect("there").last_version;
    let first = run.fork(ForkOptions::default().name("first")).expect("forks");
    run.kv().put("key-00001", "second").expect("puts");
    run.kv().delete("key-00002").expect("deletes");
    run.state().set("cell", 2).expect("sets");
    note(&run, 2);
    let second = run.fork(ForkOptions::default().name("second")).expect("forks");
    run.kv().put("key-00002", "again").expect("puts");
    run.kv().delete("key-00001").expect("deletes");
    run.kv().put("key-new", 1).expect("puts");
    db.fork(root, Point::Version(then), ForkOptions::default().name("past")).expect("forks");
    db.fork(root, Point::Event(0), ForkOptions::default().name("event")).expect("forks");
    first.kv().delete("key-00003").expect("deletes");
    note(&first, 3);
    let between = first.fork(ForkOptions::default().name("between")).expect("forks");
    note(&first, 4);
    first.kv().put("key-00004", "first").expect("puts");
    between.kv().put("key-00005", "between").expect("puts");
    let last = between.fork(ForkOptions::default().name("last")).expect("forks");
    note(&last, 5);
    // Its parent's parent is still there, its parent is not.
    between.delete().expect("deletes");
    second.kv().put("key-00006", "second").expect("puts");
    let gone = db.begin_run("gone").expect("begins");
    fill(&gone, 20);
    note(&gone, 6);
    let orphan = gone.fork(ForkOptions::default().name("orphan")).expect("forks");
    note(&orphan, 7);
    // Dropped, and another run made under its id, with forks of its own.
    let id = gone.id();
    gone.delete().expect("deletes");
    let again = db.new_run("again").id(id).begin().expect("begins");
    again.kv().put("key-00001", "another").expect("puts");
    note(&again, 8);
    again.fork(ForkOptions::default().name("of another")).expect("forks");
    again.kv().put("key-00001", "changed").expect("puts");
    let mut deep = db.begin_run("depth 0").expect("begins");
    for depth in 1..=64 {
        deep.kv().put(format!("at-{depth}"), depth).expect("puts");
        deep.kv().put("each", depth).expect("puts");
        let next = deep.fork(ForkOptions::default().name(format!("depth {depth}"))).expect("forks");
        if depth % 5 == 4 {
            deep.delete().expect("deletes");
        } else {
            deep.kv().put("each", "later").expect("puts");
        }
        deep = next;
    }
    root
}

#[test]
fn a_family_of_forks_is_the_same_behind_every_way_of_writing_it_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let mut db = open(&path, 2);
    let root = family(&db);
    let seen = see_all(&db);
    assert_eq!(seen.iter().filter(|(_, run)| run.kv.iter().any(|(key, _)| key == b"at-1")).count(), 64 - 12);
    let held = entries(&db);
    for shards in [2, 1, 3] {
        db.checkpoint().expect("writes");
        db.close().expect("closes");
        db = open(&path, shards);
        assert_eq!(see_all(&db), seen, "{shards} shards");
        assert!(entries(&db) <= held, "{} entries, {held} before", entries(&db));
        // What parts them is known as it was: by what changed, and not by what is there.
        for run in seen.keys() {
            db.diff(*run, root).expect("tells");
        }
        db.begin_run("so that there is something to write").expect("begins").delete().expect("deletes");
    }
    // A copy, and what is saved of it.
    let copy = dir.path().join("copy");
    db.backup(&copy).expect("copies");
    db.checkpoint().expect("writes");
    db.close().expect("closes");
    let saved = dir.path().join("saved");
    admin::salvage(&copy, &saved).expect("saves");
    for path in [&copy, &saved] {
        let db = open(path, 3);
        assert_eq!(see_all(&db), seen, "{path:?}");
    }
    assert!(admin::check(&path).expect("reads").sound());
    // Each goes on as if nothing had been.
    let db = open(&path, 3);
    for (id, was) in &seen {
        let run = db.run(*id).expect("there");
        assert_eq!(run.events().stream("s").append("n", -1).expect("appends"), was.head.0);
        assert!(run.events().verify_chain().expect("reads").is_intact());
        run.kv().put("key-00001", "mine").expect("puts");
        let now = see(&db, *id);
        assert_eq!(now.stream.len(), was.stream.len() + 1);
        assert_eq!(now.kv.iter().filter(|(key, _)| key == b"key-00001").count(), 1);
    }
    for run in db.runs().list().expect("lists") {
        db.run(run.id).expect("there").delete().expect("deletes");
    }
    // Commits enough for the shards to free whatever nobody needs.
    for n in 0..8 {
        let other = db.begin_run(format!("other {n}")).expect("begins");
        for n in 0..10_000 {
            other.kv().put("x", n).expect("puts");
        }
    }
    assert!(entries(&db) < 1_000, "{} entries are held, though nobody needs them", entries(&db));
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_and_forks_are_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    // Segments so large that all of the log is still there.
    let open =
        || Database::builder().path(dir.path()).shards(1).checkpoint_interval(None).open().expect("opens");
    let db = open();
    family(&db);
    db.checkpoint().expect("writes");
    let older: Vec<(PathBuf, Vec<u8>)> = checkpoints(dir.path())
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("reads")))
        .collect();
    let forked = db.runs().list().expect("lists");
    for run in &forked {
        let fork = db.run(run.id).expect("there").fork(ForkOptions::default());
        // At the limit of depth there is none.
        if let Ok(fork) = fork {
            fork.kv().delete("key-00007").expect("deletes");
        }
    }
    db.checkpoint().expect("writes");
    let seen = see_all(&db);
    db.close().expect("closes");
    let newest = checkpoints(dir.path()).pop().expect("there");
    let mut bytes = fs::read(&newest).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).expect("writes");
    older.into_iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("writes"));
    let db = open();
    let notes = db.stats().expect("there").notes;
    assert!(notes.iter().any(|note| note.contains("nothing is lost")), "{notes:?}");
    assert_eq!(see_all(&db), seen);
}

fn checkpoints(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(path.join("gen-0001/shard-0000"))
        .expect("lists")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "ckpt"))
        .collect();
    found.sort();
    found
}

/// A backup that a version made which wrote a fork's state whole: `then` and `now` are forks of an imported run, `deep` one of `now`.
#[test]
fn a_checkpoint_that_holds_forks_as_copies_still_opens() {
    let dir = tempfile::tempdir().expect("a directory");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/forks-as-copies");
    copy(&from, dir.path());
    for round in 0..2 {
        let db = Database::builder().path(dir.path()).open().expect("opens what an earlier version wrote");
        let runs = db.runs().list().expect("lists");
        let named = |name: &str| {
            db.run(runs.iter().find(|run| &*run.meta.name == name).expect("there").id).expect("there")
        };
        let get = |name: &str, key: &str| named(name).kv().get(key).expect("reads");
        assert_eq!(get("now", "k"), Some(Value::from(3)), "{round}");
        assert_eq!(get("deep", "k"), None);
        for name in ["now", "deep"] {
            assert_eq!(get(name, "messages"), Some(Value::from(3)));
            assert_eq!(named(name).events().len().expect("there"), 3);
            assert!(named(name).events().verify_chain().expect("reads").is_intact());
        }
        assert_eq!(runs.len(), 4);
        drop(runs);
        db.begin_run("new").expect("begins").delete().expect("deletes");
        db.checkpoint().expect("writes");
        db.close().expect("closes");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("has a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copies");
        }
    }
}
