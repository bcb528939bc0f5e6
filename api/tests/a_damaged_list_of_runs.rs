//! The files that name runs (whose erasing or import is under way, whose past is kept for forks) are not acted on where a bit of them is
//! another: it might be another run that goes, or more of one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use in_mem::{
    Database, Durability, Error, ForkOptions, OpenError, PruneReport, RetentionPolicy, RunId, RunStatus,
};
use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::{Op, OpKind};

const RUN: RunId = RunId::from_bytes([1; 16]);

fn open(disk: &SimDisk) -> in_mem::Result<Database> {
    let builder = Database::builder().path("/db").shards(1).segment_bytes(8 << 10).background(false);
    builder.durability(Durability::Strict).storage(Arc::new(disk.clone())).hash_seed(7).open()
}

fn prune(db: &Database, history_only: bool) -> in_mem::Result<PruneReport> {
    db.prune(&RetentionPolicy { keep_newest: Some(0), history_only, ..RetentionPolicy::default() }, false)
}

/// A database with a run that has ended.
fn made() -> SimDisk {
    let disk = SimDisk::new(1);
    let db = open(&disk).expect("opens");
    let run = db.new_run("run").id(RUN).begin().expect("begins");
    run.kv().put("k", 1).expect("puts");
    run.end(RunStatus::Completed).expect("ends");
    db.close().expect("closes");
    disk.kill()
}

/// The disk as it is when `act` has just given this file its name.
fn cut_off_behind(file: &str, base: &SimDisk, act: impl Fn(&Database)) -> SimDisk {
    let named = |disk: &SimDisk| {
        let is_it = |op: &Op| op.kind == OpKind::Rename && op.path.ends_with(format!("{file}.tmp"));
        disk.recorded_ops().iter().find(|op| is_it(op)).map(|op| op.number)
    };
    let whole = base.kill();
    let db = open(&whole).expect("opens");
    whole.record_ops();
    act(&db);
    let at = named(&whole).expect("is written");
    let cut = base.kill();
    let db = open(&cut).expect("opens");
    // Behind the sync of the directory.
    cut.crash_before(at + 2);
    act(&db);
    drop(db);
    cut.kill()
}

/// Each image in which one bit of the file is another, or its end is missing.
fn damaged<'d>(disk: &'d SimDisk, path: &'d Path) -> impl Iterator<Item = (String, SimDisk)> + 'd {
    let bytes = disk.contents(path).expect("there");
    let lengths = 0..bytes.len();
    let with = |bytes: Vec<u8>| {
        let image = disk.kill();
        image.put(path, bytes);
        image
    };
    let all = bytes.clone();
    let flipped = (0..bytes.len() * 8).map(move |bit| {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        (format!("bit {bit}"), with(bytes))
    });
    flipped.chain(lengths.map(move |len| (format!("{len} bytes"), with(all[..len].to_vec()))))
}

fn names(error: &Error, file: &Path) -> bool {
    matches!(error, Error::Open(OpenError::RunList { path, .. }) if path == file)
}

#[test]
fn of_what_is_to_be_erased_deletes_nothing() {
    let path = PathBuf::from("/db/ERASING");
    let disk = cut_off_behind("ERASING", &made(), |db| drop(prune(db, true)));
    assert!(open(&disk.kill()).expect("opens").run(RUN).is_ok(), "only its past was to go");
    for (what, image) in damaged(&disk, &path) {
        let db = open(&image).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(db.run(RUN).expect("there").kv().get("k").expect("reads"), Some(1.into()), "{what}");
        let notes = db.stats().expect("counts").notes;
        assert!(notes.iter().any(|note| note.contains("/db/ERASING is damaged")), "{what}: {notes:?}");
        let refused = prune(&db, true).expect_err("nobody knows what the other one did");
        assert!(names(&refused, &path), "{what}: {refused}");
    }
}

#[test]
fn of_what_is_kept_for_forks_releases_nothing() {
    let path = PathBuf::from("/db/HELD");
    let disk = made();
    let db = open(&disk).expect("opens");
    let fork = db.run(RUN).expect("there").fork(ForkOptions::default()).expect("forks").id();
    prune(&db, false).expect("prunes");
    drop(db);
    for (what, image) in damaged(&disk, &path) {
        let db = open(&image).unwrap_or_else(|error| panic!("{what}: {error}"));
        let refused = prune(&db, false).expect_err("nobody knows what is held");
        assert!(names(&refused, &path), "{what}: {refused}");
        assert_eq!(db.run(fork).expect("there").kv().get("k").expect("reads"), Some(1.into()), "{what}");
    }
}

#[test]
fn of_what_is_imported_shows_nothing_in_part() {
    let path = PathBuf::from("/db/IMPORTING");
    let bundle = open(&made()).expect("opens").export(RUN).expect("exports");
    let empty = SimDisk::new(2);
    open(&empty).expect("opens").close().expect("closes");
    let disk = cut_off_behind("IMPORTING", &empty, |db| drop(db.import(&bundle, false)));
    for (what, image) in damaged(&disk, &path) {
        let refused = open(&image).map(drop).expect_err("half an import may be there");
        assert!(names(&refused, &path) && refused.to_string().contains("remove it"), "{what}: {refused}");
    }
    assert_eq!(open(&disk).expect("opens").runs().count().expect("counts"), 0);
}
