//! A full disk refuses commits by name, loses nothing, and is no more than that: once there is room, the database goes on.

use std::sync::Arc;

use in_mem::{Database, Durability, Error};
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

#[test]
fn a_checkpoint_without_room_changes_nothing() {
    let disk = SimDisk::new(1);
    let db = Database::builder()
        .path("/db")
        .shards(1)
        .segment_bytes(64 << 10)
        .storage(Arc::new(disk.clone()))
        .background(false)
        .open()
        .expect("opens");
    let run = db.begin_run("full").expect("begins");
    for i in 0..50 {
        run.kv().put(format!("k{i}"), vec![7u8; 500]).expect("puts");
    }
    disk.set_capacity(Some(1));
    let refused = db.checkpoint();
    assert!(matches!(refused, Err(Error::Checkpoint { .. })), "{refused:?}");
    assert!(db.stats().expect("stats").shards[0].checkpoint_error.is_some());
    run.kv().put("more", 1).expect("goes on");
    disk.set_capacity(None);
    assert!(db.checkpoint().expect("writes")[0].is_some());
    assert!(db.stats().expect("stats").shards[0].checkpoint_error.is_none());
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
