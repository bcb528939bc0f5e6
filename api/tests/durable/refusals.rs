//! A refused opening changes nothing, and its words can be pasted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use in_mem::{Error, OpenError};
use in_mem_wal::LogError;

use super::{fill, quiet};

/// Every file with its content and the time of its last change.
fn files(path: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![path.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("lists") {
            let entry = entry.expect("an entry");
            let (path, meta) = (entry.path(), entry.metadata().expect("is there"));
            if meta.is_dir() {
                dirs.push(path);
            } else {
                files.insert(
                    path.clone(),
                    (fs::read(&path).expect("reads"), meta.modified().expect("a time")),
                );
            }
        }
    }
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("is there").is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
        }
    }
}

/// What a killed process leaves, made to look as if it was long ago.
fn killed(dir: &Path) -> PathBuf {
    let (path, left) = (dir.join("db"), dir.join("left"));
    let db = quiet(&path).open().expect("opens");
    fill(&db, 6);
    copy(&path, &left);
    fs::write(left.join("LOCK"), "1").expect("writes");
    for path in files(&left).keys() {
        let long_ago = SystemTime::now() - Duration::from_secs(10_000);
        fs::File::options().write(true).open(path).expect("opens").set_modified(long_ago).expect("sets");
    }
    left
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("reads");
    change(&mut bytes);
    fs::write(path, bytes).expect("writes");
}

fn segment(db: &Path, shard: usize) -> PathBuf {
    db.join(format!("gen-0001/shard-000{shard}/0000000000000001.wal"))
}

#[test]
fn a_shard_that_is_refused_leaves_the_others_and_the_lock_as_they_were() {
    for refused in [0, 1] {
        let dir = tempfile::tempdir().expect("a directory");
        let db = killed(dir.path());
        // Another shard's log would be ended and synced here, and the lock say who has it.
        change(&segment(&db, refused), |bytes| bytes[8] += 1);
        let before = files(&db);
        let error = quiet(&db).open().expect_err("is refused");
        assert!(
            matches!(&error, Error::Open(OpenError::Log(log)) if matches!(**log, LogError::NewerFormat { .. }))
        );
        assert!(files(&db) == before, "shard {refused} was refused, and something was changed");
        change(&segment(&db, refused), |bytes| bytes[8] -= 1);
        quiet(&db).open().expect("opens").close().expect("closes");
        let lock = fs::read_to_string(db.join("LOCK")).expect("reads");
        assert_eq!(lock, std::process::id().to_string(), "who has it says so");
    }
}

#[test]
fn a_checkpoint_of_a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    fill(&db, 2);
    db.checkpoint().expect("writes");
    db.close().expect("closes");
    let is_checkpoint = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "ckpt");
    let path = files(dir.path()).into_keys().find(is_checkpoint).expect("a checkpoint");
    change(&path, |bytes| bytes[8] = 99);
    let before = files(dir.path());
    let error = quiet(dir.path()).open().expect_err("is refused");
    let Error::Open(OpenError::Log(log)) = &error else { panic!("{error}") };
    assert!(matches!(&**log, LogError::NewerFormat { file, .. } if *file == path), "{log}");
    assert!(error.to_string().contains("newer in-mem"), "{error}");
    assert!(files(dir.path()) == before);
}

#[test]
fn a_refusal_says_the_whole_command_that_saves_what_can_be_read() {
    for (name, told) in [("db", "{}/db"), ("my db", "'{}/my db'")] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        let db = quiet(&path).shards(1).open().expect("opens");
        fill(&db, 8);
        db.close().expect("closes");
        let command = format!("in-mem salvage {} TO", told.replace("{}", &dir.path().display().to_string()));
        let sound = fs::read(segment(&path, 0)).expect("reads");
        change(&segment(&path, 0), |bytes| bytes[20_000] ^= 1);
        let error = quiet(&path).open().expect_err("is refused").to_string();
        assert!(error.contains(&command), "{error}");
        fs::write(segment(&path, 0), sound).expect("writes");
        fs::remove_file(path.join("MANIFEST")).expect("is there");
        let error = quiet(&path).open().expect_err("is refused").to_string();
        assert!(error.contains(&command), "{error}");
    }
}

/// A bug: a commit of a kind that only a newer version knows was applied as if this one had written it, and one that may be passed over
/// was not.
#[test]
fn commits_of_a_kind_that_is_not_known_are_skipped_only_if_they_may_be() {
    const SKIPPABLE: u8 = 4;
    for skippable in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, to) = (dir.path().join("db"), dir.path().join("to"));
        let db = quiet(&path).shards(1).open().expect("opens");
        let run = db.begin_run("r").expect("begins");
        run.kv().put("known", 1).expect("puts");
        run.kv().put("unknown", 2).expect("puts");
        let id = run.id();
        db.sync().expect("syncs");
        copy(&path, &to);
        let mut at = 0;
        change(&segment(&to, 0), |bytes| {
            let needle = b"unknown";
            let key = bytes.windows(needle.len()).position(|some| some == needle).expect("is there");
            // Verb and length of the key lie between it and the record's header.
            at = key - 2 - in_mem_wal::HEADER_BYTES;
            let record = &mut bytes[at..];
            let size = (in_mem_wal::HEADER_BYTES + usize::from(record[4])).next_multiple_of(8);
            record[8] = 3;
            record[9] = if skippable { SKIPPABLE } else { 0 };
            let crc = crc32fast::hash(&record[4..size]);
            record[..4].copy_from_slice(&crc.to_le_bytes());
        });
        let before = files(&to);
        let report = in_mem::admin::check(&to).expect("reads");
        assert_eq!(report.sound(), skippable, "{report:?}");
        if skippable {
            let db = quiet(&to).shards(1).open().expect("opens");
            let run = db.run(id).expect("is there");
            assert_eq!(
                (run.kv().get("known").expect("reads"), run.kv().count("").expect("counts")),
                (Some(1.into()), 1)
            );
            assert!(run.verify().expect("verifies").is_same());
            // Its version was given once: whoever knows the record finds it once.
            run.kv().put("after", 3).expect("puts");
            assert_eq!(db.stats().expect("stats").shards[0].core.version, 4.into());
            continue;
        }
        let error = quiet(&to).shards(1).open().expect_err("is refused");
        let Error::Open(OpenError::Replay { file, offset, .. }) = &error else { panic!("{error}") };
        assert_eq!((file, *offset), (&segment(&to, 0), at as u64));
        let text = error.to_string();
        assert!(
            text.contains("kind 0x03") && text.contains("a newer in-mem") && text.contains("in-mem salvage"),
            "{text}"
        );
        assert!(files(&to) == before);
        let saved = in_mem::admin::salvage(&to, &dir.path().join("saved")).expect("saves");
        let [lost] = &saved.lost[..] else { panic!("{saved:?}") };
        assert_eq!((&lost.file, lost.offset), (&segment(&to, 0), at as u64));
    }
}
