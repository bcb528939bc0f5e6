//! Opening with another number of shards moves every run to the shard that owns it, and loses nothing.

use in_mem::{Error, HistoryError, admin};

use super::{all, fill, quiet};

#[test]
fn every_run_is_there_and_versions_go_on_growing() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).open().expect("opens");
    fill(&db, 12);
    let mut before = all(&db);
    db.close().expect("closes");
    for shards in [5, 1, 3] {
        let db = quiet(dir.path()).shards(shards).open().expect("opens");
        assert_eq!(all(&db), before);
        let stats = db.stats().expect("stats");
        assert_eq!(stats.shards.len(), shards);
        assert!(stats.notes.iter().any(|note| note.contains("re-routed 12 runs")), "{:?}", stats.notes);
        for (info, ..) in &before {
            let version = db.run(info.id).expect("is there").kv().put("more", shards as i64).expect("puts");
            assert!(version > info.last_version, "{version} after {}", info.last_version);
        }
        before = all(&db);
        db.close().expect("closes");
    }
    let db = quiet(dir.path()).shards(3).open().expect("opens");
    assert_eq!(db.stats().expect("stats").notes, Vec::<String>::new(), "said once");
}

#[test]
fn without_a_number_it_is_what_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    quiet(dir.path()).shards(3).open().expect("opens").close().expect("closes");
    let db = in_mem::Database::open(dir.path()).expect("opens");
    assert_eq!(db.stats().expect("stats").shards.len(), 3);
}

#[test]
fn a_shard_that_lost_its_first_checkpoint_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let db = quiet(dir.path()).keep_history(false).open().expect("opens");
    fill(&db, 4);
    db.close().expect("closes");
    quiet(dir.path()).keep_history(false).shards(1).open().expect("opens").close().expect("closes");
    let checkpoint = dir.path().join("gen-0002/shard-0000/0000000000000000.ckpt");
    std::fs::remove_file(checkpoint).expect("is there");
    let report = admin::check(dir.path()).expect("reads");
    assert!(!report.sound(), "what opening refuses, a check finds: {report:?}");
    let saved = tempfile::tempdir().expect("a directory");
    let report = admin::salvage(dir.path(), saved.path()).expect("saves");
    assert!(
        report.runs == 0 && report.lost.iter().any(|lost| lost.what.contains("there is no checkpoint")),
        "{report:?}"
    );
    let refused = in_mem::Database::open(dir.path());
    assert!(
        matches!(refused, Err(in_mem::Error::Open(in_mem::OpenError::CheckpointLost { .. }))),
        "{refused:?}"
    );
}

/// Nobody goes on with the log of a generation that is kept for its history: that its last records are missing, or cannot be read, looks
/// like its end, and a replay must not pass over them to what the next generation has.
#[test]
fn a_kept_generation_that_lost_its_end_gives_no_shorter_past() {
    type Harm = fn(&std::path::Path);
    let segments = |dir: &std::path::Path| {
        let mut all: Vec<_> =
            std::fs::read_dir(dir).expect("lists").map(|entry| entry.expect("reads").path()).collect();
        all.retain(|path| path.extension().is_some_and(|end| end == "wal"));
        all.sort();
        all
    };
    let harms: [(bool, Harm); 3] = [
        (false, |_| {}),
        (true, |last| std::fs::remove_file(last).expect("is there")),
        (true, |last| {
            // A bit of the last commit's value, in front of what vouches for it.
            let mut bytes = std::fs::read(last).expect("reads");
            let at = bytes.windows(8).rposition(|window| window == b"the last").expect("is there");
            bytes[at] ^= 1;
            std::fs::write(last, bytes).expect("writes");
        }),
    ];
    for (is_harmed, harm) in harms {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |shards| quiet(dir.path()).shards(shards).open().expect("opens");
        let db = open(1);
        let run = db.begin_run("kept").expect("begins");
        let id = run.id();
        for n in 0..200 {
            run.kv().put("k", vec![n; 1_000]).expect("puts");
        }
        run.kv().put("k", "the last").expect("puts");
        db.close().expect("closes");
        drop((run, db));
        let db = open(2);
        db.run(id).expect("there").kv().put("k", "behind").expect("puts");
        assert!(db.run(id).expect("there").verify().expect("reads").mismatch.is_none());
        db.close().expect("closes");
        drop(db);
        let kept = segments(&dir.path().join("gen-0001/shard-0000"));
        assert!(kept.len() > 2, "{kept:?}");
        let has_it = |path: &&std::path::PathBuf| {
            std::fs::read(path).expect("reads").windows(8).any(|window| window == b"the last")
        };
        harm(kept.iter().rev().find(has_it).expect("is there"));
        let db = open(2);
        let run = db.run(id).expect("there");
        match (run.commits(), run.verify()) {
            (Ok(commits), Ok(verified)) if !is_harmed => {
                assert!(commits.len() == 203 && verified.mismatch.is_none(), "{}", commits.len());
            }
            (Err(Error::History(a)), Err(Error::History(b))) if is_harmed => {
                let is_said = |error: &HistoryError| matches!(error, HistoryError::KeptShort { .. });
                assert!(is_said(&a) && is_said(&b), "{a}; {b}");
            }
            other => panic!("{is_harmed}: {:?}", other.0.map(|commits| commits.len())),
        }
    }
}

/// Cut off in the middle of a change of the number of shards, and the manifest damaged: what was whole is saved, not what was begun.
#[test]
fn a_salvage_without_a_manifest_passes_over_a_generation_that_was_being_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let db = quiet(&path).open().expect("opens");
    fill(&db, 4);
    let before = all(&db);
    db.close().expect("closes");
    drop(db);
    std::fs::write(path.join("MANIFEST"), b"damaged").expect("writes");
    for shard in 0..3 {
        let begun = path.join(format!("gen-0002/shard-{shard:04}"));
        std::fs::create_dir_all(&begun).expect("makes");
        std::fs::write(begun.join("0000000000000000.ckpt.part"), b"begun").expect("writes");
    }
    let to = dir.path().join("saved");
    let report = admin::salvage(&path, &to).expect("saves");
    assert_eq!(report.runs, 4, "{report:?}");
    assert_eq!(all(&in_mem::Database::open(&to).expect("opens")), before);
}
