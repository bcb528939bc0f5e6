//! A backup is a database of its own, of one moment, taken while the original goes on.

use std::path::Path;
use std::sync::Arc;

use in_mem::{Builder, Database, Durability, Error, OpenError, admin};
use in_mem_wal::{SimDisk, Storage};

use super::{all, fill, quiet};

#[test]
fn it_opens_anywhere_and_holds_what_was_there() {
    for durability in [Durability::buffered(), Durability::Strict] {
        let dir = tempfile::tempdir().expect("a directory");
        let db = quiet(&dir.path().join("db")).durability(durability).open().expect("opens");
        fill(&db, 8);
        db.checkpoint().expect("writes");
        fill(&db, 2);
        let before = all(&db);
        let copy = dir.path().join("copy");
        let report = db.backup(&copy).expect("copies");
        assert!(report.entries > 0 && report.bytes > 0);
        fill(&db, 1);
        let restored = Database::open(&copy).expect("opens");
        assert_eq!(all(&restored), before);
        fill(&restored, 1);
        restored.close().expect("closes");
        assert_eq!(all(&Database::open(&copy).expect("opens")).len(), before.len() + 1);
    }
}

#[test]
fn one_in_memory_can_be_backed_up_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::in_memory().expect("opens");
    fill(&db, 3);
    db.backup(dir.path()).expect("copies");
    assert_eq!(all(&Database::open(dir.path()).expect("opens")), all(&db));
}

#[test]
fn it_never_writes_over_anything() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    let refused = db.backup(dir.path());
    assert!(matches!(refused, Err(Error::Open(OpenError::NotEmpty { .. }))), "{refused:?}");
}

/// A prune, an opening with other shards and a salvage all take what is in the directory for the database's own.
#[test]
fn one_inside_the_database_is_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    fill(&db, 1);
    for inside in [dir.path().join("copy"), dir.path().join("deep/../deeper/copy")] {
        let refused = db.backup(&inside);
        assert!(matches!(refused, Err(Error::Open(OpenError::Inside { .. }))), "{refused:?}");
    }
    assert!(!dir.path().join("copy").exists() && !dir.path().join("deeper").exists());
}

#[test]
fn one_that_never_ended_is_not_taken_for_a_database() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(&dir.path().join("db")).open().expect("opens");
    fill(&db, 1);
    let copy = dir.path().join("copy");
    db.backup(&copy).expect("copies");
    std::fs::remove_file(copy.join("MANIFEST")).expect("is there");
    let refused = Database::open(&copy);
    assert!(matches!(refused, Err(Error::Open(OpenError::ManifestMissing { .. }))), "{refused:?}");
}

fn on_disk(path: &str, disk: &SimDisk) -> Builder {
    quiet(Path::new(path)).storage(Arc::new(disk.clone())).background(false)
}

fn files_below<'d>(disk: &'d SimDisk, path: &'d str) -> impl Iterator<Item = std::path::PathBuf> + 'd {
    disk.files().into_iter().filter(move |file| file.starts_with(path))
}

/// Cut off before its first checkpoint has its name, it must not pass for the beginnings of a new database, which is empty.
#[test]
fn one_that_was_cut_off_anywhere_is_whole_or_refused_by_name() {
    let disk = SimDisk::new(1);
    let db = on_disk("/db", &disk).open().expect("opens");
    fill(&db, 4);
    let before = all(&db);
    db.close().expect("closes");
    let mut refused = 0;
    let ended = (0u64..1_000).find(|&cut_after| {
        let disk = disk.kill();
        let db = on_disk("/db", &disk).open().expect("opens");
        disk.crash_before(disk.ops() + cut_after);
        let made = db.backup("/copy");
        assert!(made.is_ok() || disk.crashed());
        for image in [disk.kill(), disk.crash(cut_after)] {
            let nothing = files_below(&image, "/copy").next().is_none();
            match on_disk("/copy", &image).open() {
                Ok(copy) if nothing && made.is_err() => assert!(all(&copy).is_empty()),
                Ok(copy) => assert_eq!(all(&copy), before, "cut off before operation {cut_after}"),
                Err(Error::Open(OpenError::ManifestMissing { .. })) => {
                    refused += 1;
                    // What is there of it can be looked at, where there is something.
                    let image: Arc<dyn Storage> = Arc::new(image);
                    match admin::check_on(&image, Path::new("/copy")) {
                        Ok(report) => assert!(!report.sound(), "{report:?}"),
                        Err(error) => assert!(matches!(error, OpenError::NotADatabase { .. }), "{error}"),
                    }
                }
                Err(error) => panic!("cut off before operation {cut_after}: {error}"),
            }
        }
        !disk.crashed()
    });
    let ended = ended.expect("made at last");
    assert!(ended > 20 && refused > 20, "{refused} of {ended}");
}

#[test]
fn one_that_found_no_room_is_taken_away_again() {
    let disk = SimDisk::new(1);
    let db = on_disk("/db", &disk).open().expect("opens");
    fill(&db, 40);
    let bytes = |disk: &SimDisk| -> u64 {
        disk.files().iter().filter_map(|file| disk.contents(file)).map(|bytes| bytes.len() as u64).sum()
    };
    let used = bytes(&disk);
    let mut refusals = 0;
    let made = (0u64..1_000).step_by(10).find_map(|room| {
        disk.set_capacity(Some(used + (room << 10)));
        // This disk keeps directories, empty.
        let to = format!("/copy-{room}");
        if db.backup(&to).is_ok() {
            return Some(to);
        }
        refusals += 1;
        assert_eq!(files_below(&disk, &to).collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
        assert_eq!(bytes(&disk), used, "with {room} KiB");
        None
    });
    let made = made.expect("there is room at last");
    assert!(refusals > 10, "{refusals}");
    disk.set_capacity(None);
    assert_eq!(all(&on_disk(&made, &disk.kill()).open().expect("opens")), all(&db));
}
