//! What is opened, and what is refused by name.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use in_mem::{Database, Durability, Error, OpenError};
use in_mem_wal::{DiskStorage, File, LogError, Manifest, OpenMode, SimDisk, Storage};

use super::{all, fill, quiet};

#[test]
fn a_missing_directory_is_made_with_its_parents() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a/b/c");
    Database::open(&path).expect("opens").close().expect("closes");
    assert!(path.join("MANIFEST").is_file());
}

#[test]
fn a_file_is_no_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    fs::write(&path, "text").expect("writes");
    for path in [path.clone(), path.join("below")] {
        let refused = Database::open(&path);
        assert!(matches!(refused, Err(Error::Open(OpenError::NotADirectory { .. }))), "{refused:?}");
    }
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("notes.txt"), "text").expect("writes");
    let refused = Database::open(dir.path()).expect_err("is refused");
    assert!(
        matches!(&refused, Error::Open(OpenError::NotADatabase { example, .. }) if example == "notes.txt")
    );
    assert!(refused.to_string().contains("notes.txt"), "{refused}");
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1, "nothing was written");
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    let refused = quiet(dir.path()).open().expect_err("is refused");
    let me = std::process::id();
    assert!(
        matches!(refused, Error::Open(OpenError::Locked { pid: Some(pid), .. }) if pid == me),
        "{refused}"
    );
    assert!(refused.to_string().contains(&me.to_string()));
    assert!(matches!(in_mem::admin::check(dir.path()), Err(OpenError::Locked { .. })));
    db.close().expect("closes");
    quiet(dir.path()).open().expect("opens");
}

#[test]
fn another_routing_and_a_newer_format_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    quiet(dir.path()).open().expect("opens").close().expect("closes");
    let disk = DiskStorage;
    let manifest = Manifest::read(&disk, dir.path()).expect("reads").expect("is there");
    let other = Manifest { routing_hash: "other-v9".to_owned(), ..manifest.clone() };
    other.write(&disk, dir.path()).expect("writes");
    let refused = Database::open(dir.path());
    assert!(matches!(&refused, Err(Error::Open(OpenError::Routing { found, .. })) if found == "other-v9"));
    manifest.write(&disk, dir.path()).expect("writes");
    let path = dir.path().join("MANIFEST");
    let mut bytes = fs::read(&path).expect("reads");
    bytes[8] += 1;
    fs::write(&path, bytes).expect("writes");
    let refused = Database::open(dir.path()).expect_err("is refused");
    let Error::Open(OpenError::Log(log)) = &refused else { panic!("{refused}") };
    assert!(matches!(**log, LogError::NewerFormat { .. }), "{log}");
}

#[test]
fn memory_only_has_no_path() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = quiet(dir.path()).durability(Durability::InMemory).open();
    assert!(matches!(refused, Err(Error::Open(OpenError::Setting { setting: "durability", .. }))));
}

/// The thread that goes by them would do nothing else.
#[test]
fn intervals_of_no_length_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let none = std::time::Duration::ZERO;
    let refused = quiet(&path).checkpoint_interval(Some(none)).open();
    assert!(matches!(refused, Err(Error::Open(OpenError::Setting { setting: "checkpoint_interval", .. }))));
    let refused = quiet(&path).retention_interval(none).open();
    assert!(matches!(refused, Err(Error::Open(OpenError::Setting { setting: "retention_interval", .. }))));
    assert!(!path.exists(), "nothing was made");
}

#[test]
fn a_database_whose_manifest_is_gone_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    fill(&db, 1);
    db.close().expect("closes");
    fs::remove_file(dir.path().join("MANIFEST")).expect("is there");
    let refused = quiet(dir.path()).open();
    assert!(matches!(refused, Err(Error::Open(OpenError::ManifestMissing { .. }))), "{refused:?}");
}

#[test]
fn a_log_that_is_gone_is_missed() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    fill(&db, 1);
    db.close().expect("closes");
    fs::remove_dir_all(dir.path().join("gen-0001/shard-0001")).expect("is there");
    assert!(matches!(quiet(dir.path()).open(), Err(Error::Open(OpenError::Log(_)))));
}

/// A storage that lets nobody write.
#[derive(Debug)]
struct ReadOnly(SimDisk);

impl ReadOnly {
    fn refuse<T>() -> std::io::Result<T> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }
}

impl Storage for ReadOnly {
    fn create_dir_all(&self, _: &Path) -> std::io::Result<()> {
        Self::refuse()
    }
    fn read_dir(&self, path: &Path) -> std::io::Result<Vec<String>> {
        self.0.read_dir(path)
    }
    fn exists(&self, path: &Path) -> std::io::Result<bool> {
        self.0.exists(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn File>> {
        if mode == OpenMode::Read { self.0.open(path, mode) } else { Self::refuse() }
    }
    fn rename(&self, _: &Path, _: &Path) -> std::io::Result<()> {
        Self::refuse()
    }
    fn remove(&self, _: &Path) -> std::io::Result<()> {
        Self::refuse()
    }
    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Self::refuse()
    }
}

#[test]
fn what_is_not_allowed_is_said() {
    let storage = Arc::new(ReadOnly(SimDisk::new(1)));
    let refused = Database::builder().path("/db").storage(storage).background(false).open();
    let error = refused.expect_err("is refused");
    assert!(matches!(error, Error::Open(OpenError::Permission { .. })), "{error}");
    assert!(error.to_string().contains("make the directory /db"), "{error}");
}

#[test]
fn a_creation_that_was_cut_off_anywhere_is_completed() {
    let open = |disk: &SimDisk| {
        Database::builder()
            .path("/db")
            .shards(2)
            .segment_bytes(8 << 10)
            .storage(Arc::new(disk.clone()))
            .background(false)
            .open()
    };
    let sound = SimDisk::new(1);
    open(&sound).expect("opens").close().expect("closes");
    for at in 1..sound.ops() {
        for seed in 0..4 {
            let disk = SimDisk::new(1);
            disk.crash_before(at);
            let cut = open(&disk);
            let image = disk.crash(seed);
            drop(cut);
            let db = open(&image).unwrap_or_else(|error| panic!("cut at {at}: {error}"));
            fill(&db, 1);
            let before = all(&db);
            db.close().expect("closes");
            assert_eq!(all(&open(&image).expect("opens")), before);
        }
    }
}
