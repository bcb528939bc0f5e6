//! A run whose records lie far apart comes out of the index of its segments, whole, in order and never another's; and what
//! was seen of a log by one read is not looked at by the next.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::meanwhile::Meanwhile;
use common::*;
use in_mem_wal::{
    Config, Disposal, Entry, Fate, HistoryReader, LogError, Mode, Seen, SegmentIndex, ShardLog, SimDisk,
    Storage, erase, remove_set_aside,
};

const RUNS: u64 = 16;

fn opened(disk: &SimDisk) -> ShardLog {
    let config = Config { segment_bytes: 256 << 10, ..config(Mode::Buffered) };
    recover_from(disk, &dir(), config, None).expect("opened").0
}

/// Mostly some hundred bytes, now and then more than is copied, and more than a segment holds.
fn len_of(n: u64) -> usize {
    match n {
        _ if n.is_multiple_of(97) => 6_000,
        _ if n.is_multiple_of(501) => 300_000,
        _ => 300 + (n as usize * 37) % 300,
    }
}

fn append_one(log: &mut ShardLog, n: u64) {
    let (run, payload) = (run_of(n % RUNS), payload(n, len_of(n)));
    let kind = 1 + (n % 100) as u8;
    let (version, timestamp) = (n, 1_000 - n as i64);
    log.append(Entry { kind, skippable: n.is_multiple_of(3), run, version, timestamp, payload: &payload })
        .expect("appended");
}

fn filled(disk: &SimDisk, count: u64) -> ShardLog {
    let mut log = opened(disk);
    (1..=count).for_each(|n| append_one(&mut log, n));
    log.sync().expect("synced");
    log
}

fn read(
    reader: &mut HistoryReader,
    seen: &mut Seen,
    runs: &[u64],
    through: u64,
) -> Result<Vec<u64>, LogError> {
    let mut got = Vec::new();
    let ids: Vec<_> = runs.iter().map(|run| run_of(*run)).collect();
    let extent = reader.runs_again(seen, &ids, through, &mut |record| {
        let n = record.version;
        assert_eq!(record.run, run_of(n % RUNS));
        assert_eq!((record.kind, record.skippable), (1 + (n % 100) as u8, n.is_multiple_of(3)));
        assert_eq!((record.timestamp, record.payload), (1_000 - n as i64, &payload(n, len_of(n))[..]));
        got.push(n);
        Ok(())
    })?;
    assert_eq!(extent.transactions, got.len() as u64);
    assert!(extent.last_version >= through || through == u64::MAX, "{extent:?}");
    Ok(got)
}

fn wanted(runs: &[u64], through: u64) -> Vec<u64> {
    (1..=through).filter(|n| runs.contains(&(n % RUNS))).collect()
}

fn reader(disk: &SimDisk) -> HistoryReader {
    HistoryReader::new(Arc::new(disk.clone()), vec![dir(), PathBuf::from("/db/archive")])
}

#[test]
fn they_come_out_whole_and_in_order() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 2_100);
    assert!(log.sealed_segments().count() > 5);
    for runs in [&[3][..], &[3, 11], &[0, 1, 5], &[99]] {
        for through in [2_100, 1_500, 1_002, 7] {
            let got = read(&mut reader(&disk), &mut Seen::default(), runs, through).expect("readable");
            assert_eq!(got, wanted(runs, through), "{runs:?} through {through}");
        }
    }
}

/// Otherwise the tests here would say nothing of copies.
#[test]
fn a_segment_that_is_gone_bad_does_not_matter_to_what_was_copied() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 1_000);
    let first = log.sealed_segments().next().expect("sealed").clone();
    let before = read(&mut reader(&disk), &mut Seen::default(), &[3], 200).expect("readable");
    let mut bytes = disk.contents(&first.path).expect("there");
    bytes[5_000..].fill(0xa5);
    disk.put(&first.path, bytes);
    assert_eq!(read(&mut reader(&disk), &mut Seen::default(), &[3], 200).expect("readable"), before);
}

#[test]
fn damage_in_an_index_changes_nothing_that_is_read() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 600);
    let first = log.sealed_segments().next().expect("sealed").clone();
    read(&mut reader(&disk), &mut Seen::default(), &[3], 600).expect("readable");
    let index = first.path.with_extension("idx");
    let sound = disk.contents(&index).expect("there");
    assert!(sound.len() > 100_000, "{} bytes hold no copies", sound.len());
    // Every byte of what leads to the copies, and some of the copies.
    let front =
        64 + 4_096 + SegmentIndex::open(&disk, &first.path).expect("sound").transactions() as usize * 4;
    let places = front + (RUNS as usize + 1) * 4;
    for at in (0..places + 200).step_by(3).chain((places..sound.len()).step_by(1_501)) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        disk.put(&index, bytes);
        let got = read(&mut reader(&disk), &mut Seen::default(), &[3, 5], 600).expect("readable");
        assert_eq!(got, wanted(&[3, 5], 600), "byte {at}");
    }
    for len in (0..sound.len()).step_by(4_999) {
        disk.put(&index, sound[..len].to_vec());
        let got = read(&mut reader(&disk), &mut Seen::default(), &[3, 5], 600).expect("readable");
        assert_eq!(got, wanted(&[3, 5], 600), "length {len}");
    }
}

/// An index without copies, as an earlier build wrote it, is as good as any.
#[test]
fn an_index_without_copies_is_read_as_it_is() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 600);
    let first = log.sealed_segments().next().expect("sealed").clone();
    read(&mut reader(&disk), &mut Seen::default(), &[3], 600).expect("readable");
    let index = first.path.with_extension("idx");
    let mut bytes = disk.contents(&index).expect("there");
    let transactions = SegmentIndex::open(&disk, &first.path).expect("sound").transactions();
    bytes.truncate(64 + 4_096 + transactions as usize * 4);
    disk.put(&index, bytes.clone());
    let got = read(&mut reader(&disk), &mut Seen::default(), &[3], 600).expect("readable");
    assert_eq!(got, wanted(&[3], 600));
    assert_eq!(disk.contents(&index).expect("there"), bytes, "it was not built again");
}

#[test]
fn a_read_that_knows_what_was_seen_before_finds_what_a_new_one_finds() {
    let disk = SimDisk::new(1);
    let mut log = opened(&disk);
    let mut seen = Seen::default();
    for n in 1..=1_600 {
        append_one(&mut log, n);
        if n % 400 == 0 {
            log.sync().expect("synced");
            let sealed: Vec<_> = log.sealed_segments().cloned().collect();
            if let [.., last, _] = &sealed[..] {
                let archive = Disposal::Archive(PathBuf::from("/db/archive"));
                let job = log.release_before(last.last_lsn.next(), archive).expect("some");
                assert!(job.run().expect("archived").segments > 0);
            }
        }
        // Also where the log has just gone on in another segment, and where a commit of several segments has just ended.
        if n % 13 == 0 || n % 501 < 3 {
            let runs = [n % RUNS, (n + 5) % RUNS];
            let got = read(&mut reader(&disk), &mut seen, &runs, n).expect("readable");
            assert_eq!(got, wanted(&runs, n), "through {n}");
        }
    }
}

/// The log goes on behind the segment that was the last one listed, in the middle of a commit.
#[test]
fn a_commit_that_goes_on_in_a_segment_not_listed_is_found() {
    let disk = SimDisk::new(1);
    let mut log = filled(&disk, 500);
    let listed = log.position().segment;
    let storage = Meanwhile::new(disk, move |_| {
        (501..=520).for_each(|n| append_one(&mut log, n));
        log.sync().expect("synced");
        assert!(log.position().segment > listed);
    });
    let runs = [501 % RUNS, 502 % RUNS];
    let mut reader = HistoryReader::new(storage, vec![dir()]);
    let got = read(&mut reader, &mut Seen::default(), &runs, u64::MAX).expect("readable");
    assert_eq!(got, wanted(&runs, 520));
}

/// What is not visible yet is in the log and was seen: it is not handed out.
#[test]
fn what_was_seen_is_not_handed_out_before_it_is_asked_for() {
    let disk = SimDisk::new(1);
    let _log = filled(&disk, 100);
    let mut seen = Seen::default();
    for through in [50, 3, 100] {
        let got = read(&mut reader(&disk), &mut seen, &[3], through).expect("readable");
        assert_eq!(got, wanted(&[3], through));
    }
}

#[test]
fn an_index_whose_segment_is_elsewhere_is_removed_with_what_was_set_aside() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 600);
    let (first, second) = {
        let mut sealed = log.sealed_segments();
        (sealed.next().expect("sealed").clone(), sealed.next().expect("sealed").clone())
    };
    SegmentIndex::build(&disk, &first.path).expect("built");
    SegmentIndex::build(&disk, &second.path).expect("built");
    // Built from a segment that was archived meanwhile; and one that was not finished.
    disk.rename(&first.path, &dir().join("away")).expect("renamed");
    disk.put(&second.path.with_extension("idx.tmp"), vec![1; 100]);
    remove_set_aside(&disk, &dir()).expect("removes");
    let names = disk.read_dir(&dir()).expect("lists");
    let is_there = |path: &Path| names.iter().any(|name| **name == *path.file_name().expect("a name"));
    assert!(
        !is_there(&first.path.with_extension("idx")) && !is_there(&second.path.with_extension("idx.tmp"))
    );
    assert!(is_there(&second.path.with_extension("idx")) && is_there(&second.path));
    remove_set_aside(&disk, &dir().join("nowhere")).expect("nothing to remove");
}

/// The copies of an erased run lie in an index that is made anew: a power cut gave the old one back beside the new segment, and
/// nobody looked for it again.
#[test]
fn no_power_cut_keeps_copies_of_what_was_erased() {
    const MARKER: [u8; 60] = [b'M'; 60];
    let gone = run_of(99);
    let disk = SimDisk::new(1);
    let mut log = opened(&disk);
    for n in 1..=600 {
        let (run, payload) = if n % 16 == 1 { (gone, vec![b'M'; 200]) } else { (run_of(1), payload(n, 500)) };
        let entry = Entry { kind: 1, skippable: false, run, version: n, timestamp: 0, payload: &payload };
        log.append(entry).expect("appended");
    }
    log.seal_active().expect("sealed");
    log.sync().expect("synced");
    let archive = PathBuf::from("/db/archive");
    let job = log.release_before(log.last_lsn(), Disposal::Archive(archive.clone())).expect("some");
    job.run().expect("archived");
    let mut reader = HistoryReader::new(Arc::new(disk.clone()), vec![dir(), archive.clone()]);
    let read = reader.runs(&[gone], 600, &mut |_| Ok(())).expect("readable");
    assert_eq!(read.transactions, 38);
    let erase_it = |disk: &SimDisk| {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        remove_set_aside(disk, &dir())?;
        remove_set_aside(disk, &archive)?;
        let mut judge =
            |run: &[u8; 16], _: Option<&[u8]>| Ok(if *run == gone { Fate::Erase } else { Fate::Keep });
        erase(&storage, vec![archive.clone()], false, &mut judge)
    };
    let whole = disk.kill();
    erase_it(&whole).expect("erased");
    for at in disk.ops() + 1..=whole.ops() {
        let cut = disk.kill();
        cut.crash_before(at);
        assert!(erase_it(&cut).is_err());
        for seed in 0..8 {
            let image = cut.crash(seed);
            erase_it(&image).expect("erased");
            let has = |path: &PathBuf| {
                image.contents(path).expect("there").windows(MARKER.len()).any(|window| window == MARKER)
            };
            let left: Vec<_> = image.files().into_iter().filter(has).collect();
            assert_eq!(left, Vec::<PathBuf>::new(), "cut before {at}, seed {seed}");
        }
    }
}

/// What an index says of itself is checked by nothing but its checksum: numbers that are made up cost no memory and no panic.
#[test]
fn an_index_with_forged_numbers_gives_an_error_or_what_is_there() {
    let disk = SimDisk::new(1);
    let log = filled(&disk, 600);
    let segment = log.sealed_segments().next().expect("sealed").clone();
    SegmentIndex::build(&disk, &segment.path).expect("built");
    let path = segment.path.with_extension("idx");
    let sound = disk.contents(&path).expect("there");
    for (place, forged) in [(32, &u64::MAX.to_le_bytes()[..]), (28, &u32::MAX.to_le_bytes()[..])] {
        let mut bytes = sound.clone();
        bytes[place..place + forged.len()].copy_from_slice(forged);
        bytes[12..16].fill(0);
        let crc = crc32fast::hash(&bytes[..64]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        disk.put(&path, bytes);
        for run in 0..RUNS {
            match read(&mut reader(&disk), &mut Seen::default(), &[run], 600) {
                Ok(got) => assert_eq!(got, wanted(&[run], 600)),
                Err(error) => assert!(matches!(error, LogError::Damaged { .. }), "{error}"),
            }
        }
    }
}
