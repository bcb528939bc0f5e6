//! A bundle goes in whole or not at all: wherever a kill, a power cut, a failing operation or a full disk cuts the import off.

use std::sync::{Arc, OnceLock};

use in_mem::{
    Database, Durability, Error, ForkOptions, ManualClock, Run, RunId, RunStatus, Tag, Timestamp, Value,
    WriteError,
};
use in_mem_wal::storage::sim::{FaultKind, OpKind};
use in_mem_wal::{SimDisk, Storage};

const FIRST: RunId = RunId::from_bytes([1; 16]);
const NEIGHBOUR: RunId = RunId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 1, 1]);

const MODES: [Durability; 2] = [Durability::Strict, Durability::buffered()];

fn open_with(disk: &SimDisk, durability: Durability, shards: usize) -> in_mem::Result<Database> {
    open_at(disk, "/db", durability, shards)
}

fn open_at(disk: &SimDisk, path: &str, durability: Durability, shards: usize) -> in_mem::Result<Database> {
    Database::builder()
        .path(path)
        .shards(shards)
        .segment_bytes(8 << 10)
        .durability(durability)
        .clock(Arc::new(ManualClock::new(Timestamp(1_000))))
        .storage(Arc::new(disk.clone()))
        .background(false)
        .hash_seed(7)
        .open()
}

fn open(disk: &SimDisk, durability: Durability) -> in_mem::Result<Database> {
    open_with(disk, durability, 2)
}

/// A run with a child and a fork, in more commits than one turn of an import makes: each run, and what it is.
struct Exported {
    bundle: Vec<u8>,
    runs: Vec<(RunId, [u8; 32], usize)>,
}

fn exported() -> &'static Exported {
    static EXPORTED: OnceLock<Exported> = OnceLock::new();
    EXPORTED.get_or_init(|| {
        let db = open(&SimDisk::new(1), Durability::Strict).expect("opens");
        let run = db.new_run("exported").id(FIRST).begin().expect("begins");
        for n in 0..60 {
            run.kv().put(format!("k{:02}", n % 20), vec![7u8; 200]).expect("puts");
            if n % 10 == 0 {
                run.events().append("n", n).expect("appends");
            }
        }
        let child = run.child("child").expect("there").begin().expect("begins");
        run.transaction(|tx| {
            tx.kv_of(&child).put("from", "parent")?;
            tx.kv().put("to", "child")
        })
        .expect("commits");
        let fork = run.fork(ForkOptions::default().name("fork")).expect("forks");
        fork.kv().delete("k01").expect("deletes");
        for n in 0..60 {
            fork.kv().put(format!("own{n}"), vec![9u8; 200]).expect("puts");
            run.kv().put("k02", n).expect("puts");
        }
        run.end(RunStatus::Completed).expect("ends");
        let runs = [&run, &child, &fork]
            .map(|run| (run.id(), run.digest().expect("reads").content, run.commits().expect("reads").len()));
        Exported { bundle: db.export(FIRST).expect("exports"), runs: runs.into() }
    })
}

/// A database with a run that has nothing to do with it, on the shard that the others come to.
fn made(durability: Durability) -> SimDisk {
    let disk = SimDisk::new(1);
    let db = open(&disk, durability).expect("opens");
    let neighbour =
        db.new_run("neighbour").id(NEIGHBOUR.with_routing(FIRST.routing())).begin().expect("begins");
    neighbour.kv().put("k", 1).expect("puts");
    // Their ids had another life: where the import goes wrong it must not come back.
    let before = db.new_run("deleted").id(FIRST).begin().expect("begins");
    before.kv().put("of another life", 1).expect("puts");
    before.delete().expect("deletes");
    db.close().expect("closes");
    disk.kill()
}

fn neighbour(db: &Database) -> Run {
    db.run(NEIGHBOUR.with_routing(FIRST.routing())).expect("is still there")
}

fn import(db: &Database) -> in_mem::Result<()> {
    // Acknowledged just before, and not synced where the mode does not.
    neighbour(db).kv().put("before", 1)?;
    db.import(&exported().bundle, false).map(|_| ())
}

/// Whether all of it is there; otherwise nothing is.
fn is_whole(db: &Database, what: &str) -> bool {
    assert_eq!(neighbour(db).kv().get("k").expect("reads"), Some(Value::from(1)), "{what}");
    let runs = &exported().runs;
    let listed = db.runs().list().expect("lists").len();
    let there = runs.iter().filter(|(id, ..)| db.run(*id).is_ok()).count();
    assert_eq!(listed, there + 1, "{what}");
    assert_eq!(db.runs().count().expect("counts"), listed as u64, "{what}");
    assert!(there == 0 || there == runs.len(), "{what}: {there} of {} runs", runs.len());
    for (id, content, _) in runs.iter().filter(|_| there > 0) {
        let run = db.run(*id).expect("is there");
        assert_eq!(run.digest().expect("reads").content, *content, "{what}: {id}");
        assert!(run.events().verify_chain().expect("reads").is_intact(), "{what}: {id}");
        let verified = run.verify().unwrap_or_else(|error| panic!("{what}: {id}: {error}"));
        assert!(verified.is_same(), "{what}: {id}: {verified}");
    }
    there > 0
}

fn has_note(disk: &SimDisk) -> bool {
    disk.files().iter().any(|path| path.ends_with("db/IMPORTING"))
}

/// Opens what was left: all or nothing; and nothing can be imported again.
fn check(image: &SimDisk, durability: Durability, what: &str) -> bool {
    let db = open(image, durability).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(!has_note(image), "{what}: {:?}", db.stats().expect("counts").notes);
    let whole = is_whole(&db, what);
    if !whole {
        import(&db).unwrap_or_else(|error| panic!("{what}: again: {error}"));
        assert!(is_whole(&db, &format!("{what}: again")));
    }
    db.close().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(is_whole(&open(image, durability).expect("opens"), &format!("{what}: opened again")));
    whole
}

/// The disk's operations before an import, and those of the import.
fn operations(base: &SimDisk, durability: Durability) -> std::ops::Range<u64> {
    let disk = base.kill();
    let db = open(&disk, durability).expect("opens");
    let first = disk.ops();
    import(&db).expect("imports");
    let last = disk.ops();
    assert!(is_whole(&db, "imported") && !has_note(&disk));
    first..last
}

#[test]
fn by_a_kill_or_a_power_cut() {
    for durability in MODES {
        let base = made(durability);
        let import_ops = operations(&base, durability);
        assert!(import_ops.end - import_ops.start > 30, "{import_ops:?}");
        let (mut whole, mut nothing) = (0, 0);
        for at in import_ops.start + 1..=import_ops.end + 1 {
            let disk = base.kill();
            let db = open(&disk, durability).expect("opens");
            assert_eq!(disk.ops(), import_ops.start, "repeats");
            disk.crash_before(at);
            let cut = import(&db);
            for seed in 0..3 {
                let image = if seed == 0 { disk.kill() } else { disk.crash(seed * 1_000 + at) };
                let what = format!("{durability:?}, cut at {} ({seed}): {cut:?}", at - import_ops.start);
                // And once more, while the opening deletes what it finds.
                let again = image.kill();
                again.crash_before(again.ops() + 1 + (at * 7 + seed) % 60);
                drop(open(&again, durability));
                let again = if seed % 2 == 0 { again.kill() } else { again.crash(seed + at) };
                check(&again, durability, &format!("twice, {what}"));
                if has_note(&image) {
                    // What the next opening does by it is done behind all that was committed before.
                    let db = open(&image.kill(), durability).expect("opens");
                    assert_eq!(
                        neighbour(&db).kv().get("before").expect("reads"),
                        Some(Value::from(1)),
                        "{what}"
                    );
                }
                let is_whole = check(&image, durability, &what);
                assert!(is_whole || cut.is_err(), "{what}");
                *if is_whole { &mut whole } else { &mut nothing } += 1;
            }
        }
        assert!(whole > 0 && nothing > whole, "{whole}, {nothing}");
    }
}

#[test]
fn by_an_operation_that_fails() {
    for durability in MODES {
        let base = made(durability);
        let import_ops = operations(&base, durability);
        let (mut failed, mut went_on) = (0, 0);
        let faults = [
            (FaultKind::Eio, None, false),
            (FaultKind::Enospc, None, false),
            (FaultKind::Eio, None, true),
            (FaultKind::Eio, Some(OpKind::SyncDir), true),
            (FaultKind::Eio, Some(OpKind::Remove), true),
        ];
        for (kind, only, sticky) in faults {
            for at in import_ops.start + 1..=import_ops.end {
                let disk = base.kill();
                let db = open(&disk, durability).expect("opens");
                disk.fail(at, kind, only, sticky);
                let outcome = import(&db);
                let what = format!(
                    "{durability:?}, {kind:?} of {only:?} at {}, {sticky}: {outcome:?}",
                    at - import_ops.start
                );
                disk.heal();
                let image = disk.kill();
                if outcome.is_ok() {
                    assert!(is_whole(&db, &what), "{what}");
                } else {
                    failed += 1;
                    // Not even where it could not be deleted.
                    assert!(!is_whole(&db, &what), "{what}");
                    match import(&db) {
                        Ok(()) => {
                            went_on += 1;
                            assert!(is_whole(&db, &format!("{what}: again")));
                        }
                        Err(Error::Poisoned { .. } | Error::OutcomeUnknown { .. }) => {}
                        Err(error) => panic!("{what}: again: {error}"),
                    }
                }
                drop(db);
                check(&image, durability, &format!("killed, {what}"));
                check(&disk.kill(), durability, &what);
            }
        }
        assert!(
            failed > 100 && went_on > 50,
            "{durability:?}: {failed} failed, {went_on} of them went in again"
        );
    }
}

#[test]
fn by_a_full_disk() {
    for durability in MODES {
        let base = made(durability);
        let mut refused = 0;
        for room in (0..20).map(|n| n * (4 << 10)) {
            let disk = base.kill();
            let db = open(&disk, durability).expect("opens");
            let used: usize =
                disk.files().iter().filter_map(|path| disk.contents(path)).map(|file| file.len()).sum();
            disk.set_capacity(Some(used as u64 + room));
            let outcome = import(&db);
            let what = format!("{durability:?}, room for {room} bytes: {outcome:?}");
            assert_eq!(is_whole(&db, &what), outcome.is_ok(), "{what}");
            refused += u32::from(outcome.is_err());
            neighbour(&db).kv().get("k").expect("reads");
            disk.set_capacity(None);
            check(&disk.kill(), durability, &format!("killed, {what}"));
            if outcome.is_err() {
                import(&db).unwrap_or_else(|error| panic!("{what}: with room: {error}"));
                assert!(is_whole(&db, &what));
            }
        }
        assert!(refused > 5, "{refused}");
    }
}

/// A database whose import failed at its very end, and could not be taken back.
fn left_behind(durability: Durability) -> (SimDisk, Database) {
    let base = made(durability);
    let disk = base.kill();
    let db = open(&disk, durability).expect("opens");
    disk.record_ops();
    import(&db).expect("imports");
    let last = disk.recorded_ops().iter().rev().find(|op| op.kind == OpKind::Remove).expect("removes").number;
    drop(db);
    let disk = base.kill();
    let db = open(&disk, durability).expect("opens");
    // Its runs cannot be taken out of the file, nor be named in it anew.
    disk.fail(last, FaultKind::Eio, Some(OpKind::Remove), true);
    disk.fail(last, FaultKind::Eio, Some(OpKind::Rename), true);
    import(&db).expect_err("fails");
    assert!(has_note(&disk));
    disk.heal();
    // All of it is there.
    let runs = exported().runs.iter();
    assert!(runs.clone().all(|(run, ..)| db.engine().get(*run, Tag::Run, b"").expect("reads").is_some()));
    (disk, db)
}

#[test]
fn what_could_not_be_deleted_is_seen_by_nobody() {
    for durability in MODES {
        let (disk, db) = left_behind(durability);
        assert!(!is_whole(&db, "left"));
        let fork = in_mem_engine::ForkSettings::default();
        for refused in [
            db.run(FIRST).map(|_| ()),
            db.export(FIRST).map(|_| ()),
            db.fork(FIRST, in_mem::Point::Now, ForkOptions::default()).map(|_| ()),
            db.engine().fork(FIRST, in_mem::Point::Now, fork).map(|_| ()),
            db.engine().put(FIRST, Tag::Kv, b"k", Value::Null, None, in_mem::Condition::Any).map(|_| ()),
        ] {
            assert!(matches!(refused, Err(Error::UnknownRun { run }) if run == FIRST), "{refused:?}");
        }
        let taken = db.new_run("other").id(FIRST).begin();
        assert!(matches!(taken, Err(Error::Write(WriteError::RunArriving { run: FIRST }))), "{taken:?}");
        assert_eq!(db.stats().expect("counts").shards.iter().map(|shard| shard.core.runs).sum::<u64>(), 1);
        assert!(db.engine().chain(FIRST).expect("asks").is_none());
        assert!(db.engine().delete(FIRST, Tag::Kv, b"k01", in_mem::Condition::Any).is_err());
        // Neither a checkpoint nor another number of shards makes it more than it is.
        db.checkpoint().expect("checkpoints");
        db.backup("/copy").expect("backs up");
        let image = disk.kill();
        check(&image.kill(), durability, "behind a checkpoint");
        in_mem::admin::salvage_on(
            &(Arc::new(image.clone()) as Arc<dyn Storage>),
            "/db".as_ref(),
            "/saved".as_ref(),
        )
        .expect("salvages");
        assert!(!is_whole(&open_at(&image, "/saved", durability, 2).expect("opens"), "salvaged"));
        let copy = open_at(&image, "/copy", durability, 2).expect("opens");
        assert!(!is_whole(&copy, "a backup"));
        copy.import(&exported().bundle, false).expect("imports");
        assert!(is_whole(&copy, "a backup"));
        let resharded = open_with(&image, durability, 3).expect("opens");
        assert!(!is_whole(&resharded, "on other shards") && !has_note(&image));
        resharded.import(&exported().bundle, false).expect("imports");
        assert!(is_whole(&resharded, "on other shards"));
    }
}

/// The next import in the same process deletes it first.
#[test]
fn what_could_not_be_deleted_makes_room_for_the_next_import() {
    let (disk, db) = left_behind(Durability::Strict);
    import(&db).expect("imports");
    assert!(is_whole(&db, "again") && !has_note(&disk));
    db.close().expect("closes");
    assert!(is_whole(&open(&disk, Durability::Strict).expect("opens"), "opened again"));
}

/// An opening that cannot delete it is refused, or opens all the same and hides it.
#[test]
fn an_opening_that_cannot_delete_it_hides_it() {
    for durability in MODES {
        let (disk, db) = left_behind(durability);
        let left = disk.kill();
        drop(db);
        let sound = left.kill();
        drop(open(&sound, durability).expect("opens"));
        let mut hidden = 0;
        for at in left.ops() + 1..=sound.ops() {
            for sticky in [false, true] {
                let image = left.kill();
                image.fail(at, FaultKind::Eio, None, sticky);
                let what = format!("{durability:?}, at {}, {sticky}", at - left.ops());
                if let Ok(db) = open(&image, durability) {
                    assert!(!is_whole(&db, &what));
                    let notes = db.stats().expect("counts").notes;
                    hidden += u32::from(notes.iter().any(|note| note.contains("hidden, and could not be")));
                }
                image.heal();
                check(&image.kill(), durability, &what);
            }
        }
        assert!(hidden > 5, "{hidden}");
    }
}

/// The copy is of one moment, in which the import may be under way.
#[test]
fn beside_others_it_is_seen_whole_or_not_at_all() {
    let disk = SimDisk::new(3);
    let db = open(&disk, Durability::buffered()).expect("opens");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..10 {
                db.import(&exported().bundle, false).expect("imports");
                for (id, ..) in exported().runs.iter().rev() {
                    db.run(*id).expect("there").delete().expect("deletes");
                }
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut copies = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            copies += 1;
            let path = format!("/copy-{copies}");
            db.backup(&path).expect("backs up");
            let copy = open_at(&disk, &path, Durability::buffered(), 2).expect("opens");
            // Between two deletions there may be some of the runs, but none in part.
            for (id, content, _) in &exported().runs {
                if let Ok(run) = copy.run(*id) {
                    assert_eq!(run.digest().expect("reads").content, *content, "copy {copies}: {id}");
                }
            }
        }
        assert!(copies > 0);
    });
}
