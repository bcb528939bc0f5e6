//! The simulated disk answers as the real one does, so that what holds on the one holds on the other.

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;

use common::{append, dir, payload};
use in_mem_wal::storage::sim::OpKind;
use in_mem_wal::{Config, DiskStorage, Disposal, File, Lsn, Mode, OpenMode, ShardLog, SimDisk, Storage};

fn content(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("measured") as usize + 1];
    let read = file.read_at(0, &mut bytes).expect("read");
    bytes.truncate(read);
    bytes
}

/// What a disk answers to everything that can be asked of it, in words.
fn answers(storage: &dyn Storage, root: &Path) -> Vec<String> {
    let mut said = Vec::new();
    let mut say = |what: &str, answer: io::Result<String>| {
        said.push(format!("{what}: {:?}", answer.map_err(|error| error.kind())));
    };
    let done = |answer: io::Result<()>| answer.map(|()| String::new());
    let (dir, a, b) = (root.join("in/it"), root.join("in/it/a"), root.join("in/it/b"));
    say("list none", storage.read_dir(&dir).map(|names| format!("{names:?}")));
    say("make in none", storage.open(&a, OpenMode::Truncate).map(|_| String::new()));
    storage.create_dir_all(&dir).expect("made");
    say("make again", done(storage.create_dir_all(&dir)));
    say("open none", storage.open(&a, OpenMode::ReadWrite).map(|_| String::new()));
    say("rename none", done(storage.rename(&a, &b)));
    say("link none", done(storage.link(&a, &b)));
    say("remove none", done(storage.remove(&a)));
    say("is there", storage.exists(&a).map(|is| is.to_string()));
    let file = storage.open(&a, OpenMode::Truncate).expect("made");
    say("is empty", file.is_empty().map(|is| is.to_string()));
    file.write_at(3, b"abcdef").expect("written");
    say("not empty", file.is_empty().map(|is| is.to_string()));
    say("behind a gap", Ok(format!("{:?}", content(&*file))));
    file.set_len(5).expect("cut");
    say("cut", Ok(format!("{:?}", content(&*file))));
    file.set_len(8).expect("made longer");
    say("longer", Ok(format!("{:?}", content(&*file))));
    say("read past it", file.read_at(99, &mut [0; 4]).map(|read| read.to_string()));
    say("map too much", file.map(9).map(|_| String::new()));
    let mut map = file.map(8).expect("mapped");
    map.store(6, b"st");
    say("stored", Ok(format!("{:?}", content(&*file))));
    say("sync", done(file.sync_data()));
    say("sync a part", done(file.sync_range(4, 4)));
    say("sync past it", done(file.sync_range(4, 400)));
    drop(map);
    let reader = storage.open(&a, OpenMode::Read).expect("there");
    assert!(reader.write_at(0, b"x").is_err() && reader.set_len(0).is_err() && reader.map(1).is_err());
    say("unharmed", Ok(format!("{:?}", content(&*reader))));
    say("link", done(storage.link(&a, &b)));
    say("link again", done(storage.link(&a, &b)));
    file.write_at(0, b"both").expect("written");
    let other = storage.open(&b, OpenMode::Read).expect("there");
    say("one file, two names", Ok(format!("{:?}", content(&*other))));
    say("remove one", done(storage.remove(&a)));
    say("rename", done(storage.rename(&b, &a)));
    say("list", storage.read_dir(&dir).map(|names| format!("{names:?}")));
    say("list above", storage.read_dir(&root.join("in")).map(|names| format!("{names:?}")));
    say("sync the directory", done(storage.sync_dir(&dir)));
    say("emptied", storage.open(&a, OpenMode::Truncate).map(|file| format!("{:?}", content(&*file))));
    said
}

#[test]
fn both_answer_alike() {
    let real = tempfile::tempdir().expect("a directory");
    let simulated = answers(&SimDisk::new(1), Path::new("/db"));
    assert_eq!(simulated, answers(&DiskStorage, real.path()));
}

/// Segments may be of another size at each opening: what is used again of a longer one is cut, and its end not read as records.
#[test]
fn a_longer_segment_that_is_used_again_is_cut() {
    let real = tempfile::tempdir().expect("a directory");
    let disk = SimDisk::new(1);
    let cases: [(Arc<dyn Storage>, &Path); 2] =
        [(Arc::new(DiskStorage), real.path()), (Arc::new(disk.clone()), &dir())];
    for (storage, at) in cases {
        let open = |segment_bytes: u64, from: Option<Lsn>| {
            let config = Config { segment_bytes, ..common::config(Mode::Buffered) };
            let mut payloads = Vec::new();
            let log = ShardLog::recover(storage.clone(), at, config, 7, from, &mut |view| {
                payloads.push(view.payload.to_vec());
                Ok(())
            });
            (log.expect("opened").0, payloads)
        };
        let (mut log, _) = open(32 << 10, None);
        for n in 1..=40 {
            append(&mut log, n, 2_000).expect("appended");
        }
        log.close().expect("closed");
        let (mut log, _) = open(16 << 10, None);
        let first_kept = log.sealed_segments().last().expect("some").last_lsn;
        let job = log.release_before(first_kept, Disposal::Recycle(at.join("archive"))).expect("some");
        let released = job.run().expect("released");
        assert!(released.segments > 0);
        log.add_released(released);
        for n in 41..=80 {
            append(&mut log, n, 2_000).expect("appended");
        }
        let newest = at.join(format!("{:016x}.wal", log.position().segment));
        let file = storage.open(&newest, OpenMode::Read).expect("there");
        assert_eq!(file.len().expect("measured"), 16 << 10);
        log.close().expect("closed");
        assert!(
            storage.read_dir(at).expect("listed").iter().all(|name| !name.ends_with(".tmp")),
            "all were used"
        );
        // As from a checkpoint that covers what was let go.
        let (_, payloads) = open(16 << 10, Some(Lsn(first_kept.0 - 1)));
        let kept = payloads.len() as u64;
        assert!(kept > 40, "{kept}");
        assert!((81 - kept..=80).map(|n| payload(n, 2_000)).eq(payloads));
    }
    // The cut is durable as well.
    let cut = disk.crash(3);
    assert!(cut.files().iter().all(|path| cut.contents(path).expect("there").len() <= 32 << 10));
}

#[test]
fn the_machine_stops_before_the_operation_that_was_named() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(&dir()).expect("made");
    let file = disk.open(&dir().join("f.wal"), OpenMode::Truncate).expect("made");
    disk.record_ops();
    disk.crash_before_nth(OpKind::Write, 2);
    file.write_at(0, b"first").expect("written");
    file.sync_data().expect("synced");
    assert!(!disk.crashed());
    file.write_at(0, b"second").expect_err("is too late");
    assert!(disk.crashed());
    file.sync_data().expect_err("nothing works any more");
    assert_eq!(content(&*disk.kill().open(&dir().join("f.wal"), OpenMode::Read).expect("there")), b"first");
    let sites: Vec<_> = disk.recorded_ops().iter().map(|op| op.site()).collect();
    assert_eq!(sites, ["Write wal", "Sync wal", "Write wal", "Sync wal"]);
}
