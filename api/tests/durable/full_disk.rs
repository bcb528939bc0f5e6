//! A full disk refuses commits by name, loses nothing, and is no more than that: once there is room, the database goes on.

use std::sync::Arc;

use in_mem::{Database, Durability, Error, Run};
use in_mem_wal::SimDisk;

use super::all;

#[test]
fn commits_are_refused_until_there_is_room() {
    for durability in [Durability::buffered(), Durability::Strict] {
        let disk = SimDisk::new(1);
        let open = |disk: &SimDisk| {
            Database::builder()
                .path("/db")
                .shards(1)
                .durability(durability)
                .segment_bytes(8 << 10)
                .storage(Arc::new(disk.clone()))
                .background(false)
                .open()
                .expect("opens")
        };
        let db = open(&disk);
        let run = db.begin_run("full").expect("begins");
        disk.set_capacity(Some(64 << 10));
        let mut acknowledged = 0i64;
        let refused = loop {
            match run.kv().put(format!("k{acknowledged}"), vec![7u8; 500]) {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
        assert!(refused.to_string().contains("free some space"), "{refused}");
        assert!(acknowledged > 20);
        assert_eq!(run.kv().count("k").expect("reads"), acknowledged as u64, "reads go on");
        assert_eq!(db.stats().expect("stats").shards[0].core.poisoned, None);
        // A process that is killed now loses nothing either.
        let killed = disk.kill();
        killed.set_capacity(None);
        assert_eq!(all(&open(&killed)), all(&db));
        disk.set_capacity(None);
        run.kv().put("more", 1).expect("there is room");
        let after = all(&db);
        db.close().expect("closes");
        assert_eq!(all(&open(&disk)), after);
    }
}

/// A database with a run of so many values of so many bytes, and its disk.
fn filled(values: usize, bytes: usize) -> (SimDisk, Database, Run) {
    let disk = SimDisk::new(1);
    let builder = Database::builder().path("/db").shards(1).segment_bytes(64 << 10).background(false);
    let db = builder.storage(Arc::new(disk.clone())).open().expect("opens");
    let run = db.begin_run("full").expect("begins");
    for i in 0..values {
        run.kv().put(format!("k{i}"), vec![7u8; bytes]).expect("puts");
    }
    (disk, db, run)
}

#[test]
fn a_checkpoint_without_room_changes_nothing() {
    let (disk, db, run) = filled(50, 500);
    disk.set_capacity(Some(1));
    let refused = db.checkpoint();
    assert!(matches!(refused, Err(Error::Checkpoint { .. })), "{refused:?}");
    assert!(db.stats().expect("stats").shards[0].checkpoint_error.is_some());
    run.kv().put("more", 1).expect("goes on");
    disk.set_capacity(None);
    assert!(db.checkpoint().expect("writes")[0].is_some());
    assert!(db.stats().expect("stats").shards[0].checkpoint_error.is_none());
}

/// Bytes of all files, and the names of those that count for nothing.
fn used_and_unfinished(disk: &SimDisk) -> (u64, Vec<std::path::PathBuf>) {
    let files = disk.files();
    let used = files.iter().filter_map(|file| disk.contents(file)).map(|bytes| bytes.len() as u64).sum();
    let ends = |file: &std::path::PathBuf| file.extension().is_some_and(|end| end == "part" || end == "tmp");
    (used, files.into_iter().filter(ends).collect())
}

/// What it had written is the room that the log needs; and each try at another moment would take more under another name.
#[test]
fn a_checkpoint_that_found_too_little_room_gives_back_what_it_took() {
    let (disk, db, run) = filled(300, 1_000);
    disk.set_capacity(Some(used_and_unfinished(&disk).0 + (200 << 10)));
    let refused = db.checkpoint();
    assert!(matches!(refused, Err(Error::Checkpoint { .. })), "{refused:?}");
    assert_eq!(used_and_unfinished(&disk).1, Vec::<std::path::PathBuf>::new());
    for i in 0..150 {
        run.kv().put(format!("more{i}"), vec![7u8; 1_000]).expect("there is room for the log");
    }
}

/// The next opening, with the shards that there are, must find the room that it had.
#[test]
fn a_change_of_shards_that_found_too_little_room_gives_back_what_it_took() {
    let disk = SimDisk::new(1);
    let builder = |shards| {
        Database::builder()
            .path("/db")
            .shards(shards)
            .segment_bytes(64 << 10)
            .storage(Arc::new(disk.clone()))
            .background(false)
    };
    let db = builder(1).open().expect("opens");
    for n in 0..6 {
        let run = db.begin_run(format!("run {n}")).expect("begins");
        for i in 0..50 {
            run.kv().put(format!("k{i}"), vec![7u8; 1_000]).expect("puts");
        }
    }
    let before = all(&db);
    db.close().expect("closes");
    drop(db);
    // From what no shard's image fits into to what all of them fit into, but no log.
    let used = used_and_unfinished(&disk).0;
    let mut refusals = 0;
    for room in (40u64..).step_by(40) {
        disk.set_capacity(Some(used + (room << 10)));
        match builder(3).open() {
            Err(refused) => assert!(refused.to_string().contains("free some space"), "{refused}"),
            Ok(db) => {
                assert_eq!(all(&db), before);
                break;
            }
        }
        refusals += 1;
        let left: Vec<_> = disk.files().into_iter().filter(|file| file.starts_with("/db/gen-0002")).collect();
        assert_eq!(left, Vec::<std::path::PathBuf>::new(), "with {room} KiB");
        assert_eq!(all(&builder(1).open().expect("opens as it was")), before, "with {room} KiB");
    }
    assert!(refusals > 3, "{refusals}");
}

/// A small file system of its own. Mounting one takes a privileged user: elsewhere `IN_MEM_SMALL_DISK` may name a directory on
/// a file system of at most 64 MiB.
struct SmallDisk {
    dir: tempfile::TempDir,
    mounted: bool,
}

impl SmallDisk {
    fn find() -> Option<Self> {
        if let Some(root) = std::env::var_os("IN_MEM_SMALL_DISK") {
            return Some(Self { dir: tempfile::tempdir_in(root).expect("a directory"), mounted: false });
        }
        let dir = tempfile::tempdir().expect("a directory");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(dir.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self { dir, mounted: true })
    }

    /// Takes all the room there is left; gives the file that does.
    fn fill(&self) -> std::path::PathBuf {
        use std::io::Write;
        let ballast = self.dir.path().join("ballast");
        let mut bytes = 64 << 20;
        while bytes > 0 {
            let mut file = std::fs::File::options().create(true).append(true).open(&ballast).expect("opens");
            if file.write_all(&vec![1; bytes]).is_err() {
                bytes /= 2;
            }
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: a failing test may still have files open.
            let _ = std::process::Command::new("umount").arg("-l").arg(self.dir.path()).output();
        }
    }
}

/// On a real file system that is really full: a store into the mapped log would end the process with SIGBUS where it needed
/// room.
#[test]
fn a_real_full_disk_raises_no_signal() {
    let Some(disk) = SmallDisk::find() else {
        println!(
            "skipped: no tmpfs may be mounted here, and IN_MEM_SMALL_DISK names no directory on a small disk"
        );
        return;
    };
    for (name, durability) in [("buffered", Durability::buffered()), ("strict", Durability::Strict)] {
        let path = disk.dir.path().join(name);
        let ballast = disk.dir.path().join("ballast");
        std::fs::write(&ballast, vec![1; 4 << 20]).expect("room");
        let open = || {
            Database::builder()
                .path(&path)
                .shards(1)
                .durability(durability)
                .segment_bytes(1 << 20)
                .open()
                .expect("opens")
        };
        let db = open();
        let run = db.begin_run("full").expect("begins");
        let mut acknowledged = 0usize;
        let mut fill = |most: usize| loop {
            match run.kv().put(format!("k{acknowledged}"), vec![7u8; 1_000]) {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
            assert!(acknowledged < most, "the file system is not small");
        };
        let refused = fill(1_000_000);
        assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
        // There is room again: the same database goes on, until it is full once more.
        std::fs::remove_file(&ballast).expect("removes");
        let refused = fill(1_000_000);
        assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
        assert!(acknowledged > 4_000, "{acknowledged}");
        assert_eq!(db.stats().expect("stats").shards[0].core.poisoned, None);
        let id = run.id();
        db.close().expect("closes");
        drop((run, db));
        let db = open();
        assert_eq!(db.run(id).expect("is there").kv().count("k").expect("reads"), acknowledged as u64);
        db.close().expect("closes");
        drop(db);
        std::fs::remove_dir_all(&path).expect("removes");
    }
}

/// What some ways to copy a directory make of a file: its zeroes have no room on the disk.
fn leave_zeroes_out(path: &std::path::Path) {
    use std::os::unix::fs::FileExt;
    let bytes = std::fs::read(path).expect("reads");
    std::fs::remove_file(path).expect("removes");
    let sparse = std::fs::File::create(path).expect("creates");
    sparse.set_len(bytes.len() as u64).expect("no room is needed");
    for (place, page) in (0u64..).zip(bytes.chunks(4 << 10)) {
        if page.iter().any(|byte| *byte != 0) {
            sparse.write_all_at(page, place * (4 << 10)).expect("writes");
        }
    }
}

/// A store into the mapped log that finds no room there ends the process with SIGBUS.
#[test]
fn a_copy_that_left_zeroes_out_raises_no_signal() {
    let Some(disk) = SmallDisk::find() else {
        println!("skipped: as above");
        return;
    };
    let path = disk.dir.path().join("copied");
    let open = || Database::builder().path(&path).shards(1).segment_bytes(2 << 20).open();
    let db = open().expect("opens");
    let run = db.begin_run("copied").expect("begins");
    run.kv().put("before", 1).expect("puts");
    let id = run.id();
    db.close().expect("closes");
    drop((run, db));
    leave_zeroes_out(&path.join("gen-0001/shard-0000/0000000000000001.wal"));
    let ballast = disk.fill();
    let refused = open().and_then(|db| {
        let run = db.run(id)?;
        (0..1_000).try_for_each(|i| run.kv().put(format!("k{i}"), vec![7u8; 1_000]).map(|_| ()))
    });
    let refused = refused.expect_err("there is no room");
    assert!(refused.to_string().contains("space"), "{refused}");
    std::fs::remove_file(&ballast).expect("removes");
    let db = open().expect("opens");
    let run = db.run(id).expect("is there");
    assert_eq!(run.kv().get("before").expect("reads"), Some(1.into()));
    (0..1_000).try_for_each(|i| run.kv().put(format!("k{i}"), vec![7u8; 1_000]).map(|_| ())).expect("puts");
    db.close().expect("closes");
}

/// All that an opening needs was there before.
#[test]
fn a_database_on_a_disk_that_is_full_is_opened() {
    let Some(disk) = SmallDisk::find() else {
        println!("skipped: as above");
        return;
    };
    for (name, durability) in [("buffered", Durability::buffered()), ("strict", Durability::Strict)] {
        let path = disk.dir.path().join(name);
        let open =
            || Database::builder().path(&path).shards(1).durability(durability).segment_bytes(1 << 20).open();
        let db = open().expect("opens");
        let run = db.begin_run("there").expect("begins");
        run.kv().put("before", 1).expect("puts");
        let id = run.id();
        db.close().expect("closes");
        drop((run, db));
        // As where it was made by a process that was killed before it had opened the database.
        std::fs::write(path.join("LOCK"), "").expect("empties");
        let ballast = disk.fill();
        let db = open().expect("nothing needs room");
        let run = db.run(id).expect("is there");
        assert_eq!(run.kv().get("before").expect("reads"), Some(1.into()));
        run.kv().put("more", 1).expect("there is room in the segment");
        db.close().expect("closes");
        std::fs::remove_file(&ballast).expect("removes");
    }
}
