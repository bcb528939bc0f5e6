//! The history of a run comes out of sealed segments whole and in order, from the log's directory and the archive,
//! and an index that is missing or damaged is built again.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::meanwhile::Meanwhile;
use common::*;
use in_mem_wal::{
    Config, Disposal, Fate, HistoryReader, LogError, Mode, SegmentIndex, ShardLog, SimDisk, Storage, erase,
};

fn filled(disk: &SimDisk, mode: Mode, count: u64) -> in_mem_wal::ShardLog {
    let (mut log, _, _) = recover(disk, mode).expect("opened");
    for n in 1..=count {
        let len = if n % 17 == 0 { 30_000 } else { (n as usize * 37) % 700 };
        append(&mut log, n, len).expect("appended");
        if n % 9 == 0 {
            log.sync().expect("synced");
        }
    }
    log.sync().expect("synced");
    log
}

fn history(reader: &mut HistoryReader, run: u64, before: u64) -> Vec<(u64, Vec<u8>)> {
    let mut got = Vec::new();
    reader
        .run(&run_of(run), before, &mut |r| {
            got.push((r.version, r.payload.to_vec()));
            Ok(())
        })
        .expect("readable");
    got
}

fn expected(run: u64, count: u64) -> Vec<(u64, Vec<u8>)> {
    (1..=count)
        .filter(|n| n % 7 == run)
        .map(|n| (n, payload(n, if n % 17 == 0 { 30_000 } else { (n as usize * 37) % 700 })))
        .collect()
}

#[test]
fn every_run_comes_out_whole() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let disk = SimDisk::new(1);
        let mut log = filled(&disk, mode, 200);
        let active = log.position().segment;
        let archive = PathBuf::from("/db/archive");
        let middle = log.sealed_segments().nth(20).expect("many").last_lsn;
        let job = log.release_before(middle.next(), Disposal::Archive(archive.clone())).expect("some");
        assert_eq!(job.run().expect("archived").segments, 21);
        // What is in the active segment is not the index's business: compare what began before it.
        let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir(), archive]);
        let mut total = 0;
        for run in 0..7 {
            let got = history(&mut reader, run, active);
            assert_eq!(got, expected(run, 200)[..got.len()]);
            total += got.len();
        }
        assert!(total > 180, "{total}");
        assert!(history(&mut reader, 99, active).is_empty());
    }
}

#[test]
fn a_damaged_index_is_built_again() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, Mode::Buffered, 60);
    let first = log.sealed_segments().next().expect("sealed").clone();
    let second = log.sealed_segments().nth(1).expect("sealed").number;
    let index = SegmentIndex::open_or_build(&disk, &first.path).expect("built");
    assert_eq!(index.end(), first.end);
    assert!(index.runs() == 7 && index.transactions() >= 7);
    let path = first.path.with_extension("idx");
    let sound = disk.contents(&path).expect("there");
    let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir()]);
    let want: Vec<_> = (0..7).map(|run| history(&mut reader, run, second)).collect();
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.put(&path, bytes);
        let run = bit as u64 % 7;
        assert_eq!(history(&mut reader, run, second), want[run as usize], "bit {bit}");
    }
    for len in (0..sound.len()).step_by(37) {
        disk.put(&path, sound[..len].to_vec());
        assert_eq!(history(&mut reader, 1, second), want[1], "length {len}");
    }
}

#[test]
fn damage_in_the_segment_is_an_error_and_never_another_value() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, Mode::Buffered, 40);
    let first = log.sealed_segments().next().expect("sealed").clone();
    SegmentIndex::build(&disk, &first.path).expect("built");
    let sound = disk.contents(&first.path).expect("there");
    let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir()]);
    let want = history(&mut reader, 1, first.number + 1);
    for bit in (4096 * 8..first.end as usize * 8).step_by(11) {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.put(&first.path, bytes);
        reader.forget();
        let mut got = Vec::new();
        let result = reader.run(&run_of(1), first.number + 1, &mut |r| {
            got.push((r.version, r.payload.to_vec()));
            Ok(())
        });
        match result {
            Ok(_) => assert_eq!(got, want),
            Err(LogError::Damaged { .. }) => assert_eq!(got, want[..got.len()]),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Found by the simulator: a segment was sealed and its index made before any of it was synced; a power cut took the end of its
/// records, and the index went on listing them, and none of those that came in their place.
#[test]
fn a_stale_index_does_not_outlive_the_tail_that_a_power_cut_took() {
    const BEFORE: u64 = 30;
    let mut indexed = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
        for n in 1..=BEFORE {
            append(&mut log, n, 600).expect("appended");
        }
        let segments: Vec<_> = log.sealed_segments().cloned().collect();
        for segment in &segments {
            SegmentIndex::open_or_build(&disk, &segment.path).expect("built");
        }
        let image = disk.crash(seed);
        let (mut log, report, got) = recover(&image, Mode::Buffered).expect("recovers");
        let end = log.position().segment;
        let ended_in = report.torn.map_or_else(|| dir().join(format!("{end:016x}.wal")), |torn| torn.file);
        indexed += u32::from(segments.iter().any(|segment| segment.path == ended_in));
        // Others, of other lengths, until the segment in which it goes on is sealed too.
        let mut expected: Vec<_> = got.iter().map(|got| (got.version, got.payload.clone())).collect();
        let mut n = got.len() as u64;
        while log.position().segment == end {
            n += 1;
            append(&mut log, n, 450).expect("appended");
            expected.push((n, payload(n, 450)));
        }
        log.sync().expect("synced");
        let active = log.position().segment;
        let mut reader = HistoryReader::new(Arc::new(image), vec![dir()]);
        for run in 0..7 {
            let got = history(&mut reader, run, active);
            let of_run: Vec<_> = expected.iter().filter(|(n, _)| n % 7 == run).cloned().collect();
            assert_eq!(got, of_run[..got.len()], "seed {seed}, run {run}");
            // The last of all may be in the active segment.
            assert!(
                got.len() + 1 >= of_run.len(),
                "seed {seed}, run {run}: {} of {}",
                got.len(),
                of_run.len()
            );
        }
    }
    assert!(indexed > 10, "of 60, {indexed} logs ended in a segment that had an index");
}

#[derive(Debug, Clone)]
enum Change {
    Gone(PathBuf),
    Moved(PathBuf, PathBuf),
}

impl Change {
    fn make(self, disk: &SimDisk) {
        match self {
            Self::Gone(path) => disk.take(&path),
            Self::Moved(from, to) => {
                disk.put(&to, disk.contents(&from).expect("is there"));
                disk.take(&from);
            }
        }
    }
}

/// Found by the program that kills processes: a replay failed with "there is no log" where a spare segment was used again,
/// or a segment archived, between the list of segments and the look at them.
#[test]
fn a_segment_that_goes_while_a_run_is_read_is_looked_for_again() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, Mode::Buffered, 60);
    let spare = log.spare_job().expect("wanted").run().expect("made");
    let names = || disk.files().into_iter().filter(|p| p.extension().is_some_and(|e| e == "wal"));
    let (oldest, newest) = (names().next().expect("one"), names().next_back().expect("one"));
    log.add_spare(spare);
    let archive = PathBuf::from("/db/archive");
    let archived = archive.join(oldest.file_name().expect("a name"));
    let before = disk.kill();
    for changes in [
        vec![Change::Gone(newest.clone())],
        vec![Change::Moved(oldest.clone(), archived.clone())],
        vec![Change::Gone(newest), Change::Moved(oldest, archived)],
    ] {
        let disk = before.kill();
        disk.create_dir_all(&archive).expect("made");
        let counted = changes.clone();
        let storage = Meanwhile::new(disk.kill(), |disk| changes.into_iter().for_each(|c| c.make(disk)));
        let mut reader = HistoryReader::new(storage, vec![dir(), archive.clone()]);
        let mut got = Vec::new();
        let extent = reader.runs(&[run_of(3)], u64::MAX, &mut |r| {
            got.push((r.version, r.payload.to_vec()));
            Ok(())
        });
        assert_eq!(extent.expect("readable").first_lsn, 1);
        assert_eq!(got, expected(3, 60));
        // And what an erase would take, as a dry run says it: found as a prune that failed under load.
        let mut judge =
            |run: &[u8; 16], _: Option<&[u8]>| Ok(if *run == run_of(3) { Fate::Erase } else { Fate::Keep });
        let whole = erase(&(Arc::new(disk.kill()) as Arc<dyn Storage>), vec![dir()], true, &mut judge);
        let storage = Meanwhile::new(disk, |disk| counted.into_iter().for_each(|c| c.make(disk)));
        let storage: Arc<dyn Storage> = storage;
        let dry = erase(&storage, vec![dir(), archive.clone()], true, &mut judge).expect("counts");
        assert_eq!(dry.records, whole.expect("counts").records);
    }
}

/// What a checkpoint lets go without an archive is missing at the front, where it shows; never in the middle.
#[test]
fn segments_let_go_while_a_run_is_read_leave_no_gap() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, Mode::Buffered, 60);
    let sealed: Vec<_> = log.sealed_segments().cloned().collect();
    let job =
        log.release_before(sealed[1].last_lsn.next(), Disposal::Recycle("/db/archive".into())).expect("some");
    drop(job);
    let gone: Vec<_> = sealed[..2].iter().map(|segment| segment.path.clone()).collect();
    let storage = Meanwhile::new(disk, move |disk| gone.iter().for_each(|path| disk.take(path)));
    let mut reader = HistoryReader::new(storage, vec![dir()]);
    let extent = reader.runs(&[run_of(3)], u64::MAX, &mut |_| Ok(())).expect("readable");
    assert_eq!(extent.first_lsn, sealed[2].first_lsn.0);
}

/// What a reader of some runs gets, and the error that it ended with.
fn read_runs(disk: &SimDisk, dirs: Vec<PathBuf>, through: u64) -> Result<u64, LogError> {
    let mut reader = HistoryReader::new(Arc::new(disk.clone()), dirs);
    let runs: Vec<_> = (0..7).map(run_of).collect();
    let mut transactions = 0;
    reader.runs(&runs, through, &mut |_| {
        transactions += 1;
        Ok(())
    })?;
    Ok(transactions)
}

/// A segment that is gone from the middle, or that can be read to some damage only, was passed over in silence: its index, built
/// anew, listed what came before the damage, and nobody asked where the next segment says that the log goes on.
#[test]
fn a_gap_between_segments_is_named() {
    for mode in [Mode::Buffered, Mode::Strict] {
        let disk = SimDisk::new(1);
        let log = filled(&disk, mode, 200);
        assert_eq!(read_runs(&disk, vec![dir()], 200).expect("whole"), 200);
        let sealed: Vec<_> = log.sealed_segments().cloned().collect();
        for segment in [&sealed[3], &sealed[sealed.len() - 1]] {
            let index = segment.path.with_extension("idx");
            let sound = disk.contents(&segment.path).expect("there");
            disk.take(&segment.path);
            let gone = read_runs(&disk, vec![dir()], 200);
            assert!(matches!(&gone, Err(LogError::Damaged { .. } | LogError::Missing { .. })), "{gone:?}");
            // Cut short inside its records, and no index that was made before.
            let mut bytes = sound.clone();
            let half = (4096 + (segment.end as usize - 4096) / 2) & !511;
            bytes[half..].fill(0);
            disk.put(&segment.path, bytes);
            disk.take(&index);
            let cut = read_runs(&disk, vec![dir()], 200);
            assert!(matches!(&cut, Err(LogError::Damaged { file, .. }) if *file == segment.path), "{cut:?}");
            let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir()]);
            let by_run = reader.run(&run_of(1), u64::MAX, &mut |_| Ok(()));
            assert!(matches!(by_run, Err(LogError::Damaged { .. })), "{by_run:?}");
            disk.put(&segment.path, sound);
            disk.take(&index);
        }
        assert_eq!(read_runs(&disk, vec![dir()], 200).expect("whole"), 200);
    }
}

#[test]
fn an_index_of_a_newer_format_is_refused_by_name_and_not_written_over() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, Mode::Buffered, 60);
    let first = log.sealed_segments().next().expect("sealed").clone();
    SegmentIndex::build(&disk, &first.path).expect("built");
    let path = first.path.with_extension("idx");
    let mut bytes = disk.contents(&path).expect("there");
    bytes[8] += 1;
    bytes[12..16].fill(0);
    let crc = crc32fast::hash(&bytes[..64]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.put(&path, bytes.clone());
    for refused in [SegmentIndex::open_or_build(&disk, &first.path), SegmentIndex::open(&disk, &first.path)] {
        let error = refused.expect_err("is refused");
        assert!(
            matches!(&error, LogError::NewerFormat { file, found: 2, supported: 1 } if *file == path),
            "{error}"
        );
    }
    assert!(matches!(read_runs(&disk, vec![dir()], 60), Err(LogError::NewerFormat { .. })));
    assert_eq!(disk.contents(&path), Some(bytes));
}

/// A transaction in several records that a power cut took the end of; then another run was erased from its segment. The next
/// segment says where the log went on as it was before.
#[test]
fn a_torn_segment_that_is_written_anew_is_no_gap() {
    let disk = SimDisk::new(1);
    let (mut log, _, _) = recover(&disk, Mode::Buffered).expect("opened");
    for n in 1..=5 {
        append(&mut log, n, 200).expect("appended");
    }
    log.sync().expect("synced");
    let begun_in = log.position().segment;
    append(&mut log, 6, 30_000).expect("appended");
    let last = log.position().segment;
    drop(log);
    for number in begun_in..=last {
        let path = dir().join(format!("{number:016x}.wal"));
        let mut bytes = disk.contents(&path).expect("there");
        if number == begun_in {
            // Its seal is torn.
            let seal = bytes.len() - 72;
            bytes[seal..seal + 8].fill(1);
        } else {
            bytes[4096..].fill(0);
        }
        disk.put(&path, bytes);
    }
    let (mut log, report, got) = recover(&disk, Mode::Buffered).expect("opened");
    assert!(report.discarded_incomplete && got.len() == 5, "{report:?}");
    for n in 6..=9 {
        append(&mut log, n, 200).expect("appended");
    }
    log.seal_active().expect("sealed");
    log.sync().expect("synced");
    let archive = PathBuf::from("/db/archive");
    let job = log.release_before(log.last_lsn(), Disposal::Archive(archive.clone())).expect("some");
    job.run().expect("archived");
    let of_run = |run: u64| {
        let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir(), archive.clone()]);
        let mut versions = Vec::new();
        let read = reader.runs(&[run_of(run)], 9, &mut |view| {
            versions.push(view.version);
            Ok(())
        });
        read.map(|_| versions)
    };
    assert_eq!(of_run(6).expect("readable"), [6]);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut judge =
        |run: &[u8; 16], _: Option<&[u8]>| Ok(if *run == run_of(2) { Fate::Erase } else { Fate::Keep });
    erase(&storage, vec![archive.clone()], false, &mut judge).expect("erased");
    assert_eq!(of_run(6).expect("readable"), [6]);
    assert_eq!(of_run(2).expect("readable"), [] as [u64; 0]);
}

/// Two that read a log for the first time made one index under one temporary name.
#[test]
fn several_may_be_the_first_to_read() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().expect("a directory");
        let storage: Arc<dyn Storage> = Arc::new(in_mem_wal::DiskStorage);
        let config = Config { segment_bytes: 64 << 10, ..config(Mode::Buffered) };
        let log = ShardLog::recover(storage.clone(), dir.path(), config, SEED, None, &mut |_| Ok(()));
        let (mut log, _) = log.expect("opened");
        for n in 1..=600 {
            append(&mut log, n, 200).expect("appended");
        }
        log.sync().expect("synced");
        let all_ready = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for run in 0..3 {
                let (storage, dir, all_ready) = (storage.clone(), dir.path().to_path_buf(), &all_ready);
                scope.spawn(move || {
                    all_ready.wait();
                    let mut reader = HistoryReader::new(storage, vec![dir]);
                    let extent = reader.runs(&[run_of(run)], u64::MAX, &mut |_| Ok(())).expect("readable");
                    assert_eq!(extent.transactions, (1..=600).filter(|n| n % 7 == run).count() as u64);
                });
            }
        });
    }
}

/// Where log was let go without an archive, older archived segments are not what it goes on from; the note of that is there before
/// any of it goes.
#[test]
fn a_history_begins_behind_what_was_let_go() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, Mode::Buffered, 200);
    let archive = PathBuf::from("/db/archive");
    let ends: Vec<_> = log.sealed_segments().map(|segment| segment.last_lsn.next()).collect();
    let run = |job: Option<in_mem_wal::ReleaseJob>| job.expect("some").run().expect("released");
    run(log.release_before(ends[5], Disposal::Archive(archive.clone())));
    let first_left = |disk: &SimDisk| {
        let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir(), archive.clone()]);
        reader.runs(&[run_of(3)], u64::MAX, &mut |_| Ok(())).map(|extent| extent.first_lsn)
    };
    assert_eq!(first_left(&disk.kill()).expect("whole"), 1);
    // The power goes anywhere while it is let go.
    let job = log.release_before(ends[9], Disposal::Recycle(archive.clone())).expect("some");
    let from = disk.ops();
    job.run().expect("released");
    let through = disk.ops();
    assert_eq!(first_left(&disk).expect("the rest"), ends[9].0);
    for at in from + 1..=through {
        let disk = SimDisk::new(1);
        let mut log = filled(&disk, Mode::Buffered, 200);
        run(log.release_before(ends[5], Disposal::Archive(archive.clone())));
        assert_eq!(disk.ops(), from, "repeats");
        disk.crash_before(at);
        let job = log.release_before(ends[9], Disposal::Recycle(archive.clone())).expect("some");
        drop(job.run());
        for seed in 0..4 {
            let first = first_left(&disk.crash(seed)).expect("no damage");
            assert!(first == 1 || first == ends[9].0, "cut before {at}, seed {seed}: begins at {first}");
        }
    }
    // What is archived from then on is a history again.
    run(log.release_before(ends[12], Disposal::Archive(archive.clone())));
    assert_eq!(first_left(&disk).expect("the rest"), ends[9].0);
}

/// Where older segments lie in the archive, and more are let go without one while a run is read, that is no damage: the read
/// begins behind them.
#[test]
fn a_gap_that_is_made_while_a_run_is_read_is_no_damage() {
    for listings in 1..=4 {
        let disk = SimDisk::new(1);
        let mut log = filled(&disk, Mode::Buffered, 200);
        let archive = PathBuf::from("/db/archive");
        let ends: Vec<_> = log.sealed_segments().map(|segment| segment.last_lsn.next()).collect();
        let job = log.release_before(ends[5], Disposal::Archive(archive.clone())).expect("some");
        job.run().expect("released");
        let job = log.release_before(ends[9], Disposal::Recycle(archive.clone())).expect("some");
        let storage = Meanwhile::after(listings, disk, |_| drop(job.run().expect("released")));
        let mut reader = HistoryReader::new(storage, vec![dir(), archive]);
        let extent = reader.runs(&[run_of(3)], u64::MAX, &mut |_| Ok(()));
        let first = extent.map(|extent| extent.first_lsn);
        assert!(matches!(first, Ok(first) if first == ends[9].0), "behind listing {listings}: {first:?}");
    }
}
