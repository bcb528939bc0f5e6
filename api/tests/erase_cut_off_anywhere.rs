//! An erase that is cut off at any of its disk operations loses nothing else, and the next opening finishes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use in_mem::{
    Database, Durability, Error, HistoryError, ManualClock, Point, PruneReport, RetentionPolicy, RunId,
    RunStatus, Timestamp,
};
use in_mem_wal::storage::sim::{FaultKind, Op, OpKind};
use in_mem_wal::{SimDisk, Storage};

const MARKER: &str = "marker-value-3f9c";
const MARKED: RunId = RunId::from_bytes([1; 16]);
const OTHERS: [RunId; 2] = [RunId::from_bytes([2; 16]), RunId::from_bytes([3; 16])];

#[derive(Debug, Clone, Copy)]
struct Settings {
    durability: Durability,
    keep_history: bool,
    history_only: bool,
}

impl Settings {
    fn open(self, disk: &SimDisk) -> in_mem::Result<Database> {
        let builder = Database::builder().path("/db").shards(2).segment_bytes(8 << 10);
        builder
            .durability(self.durability)
            .keep_history(self.keep_history)
            .clock(Arc::new(ManualClock::new(Timestamp(1_000))))
            .storage(Arc::new(disk.clone()))
            .background(false)
            .hash_seed(7)
            .open()
    }

    fn prune(self, db: &Database) -> in_mem::Result<PruneReport> {
        let policy =
            RetentionPolicy { keep_newest: Some(0), history_only: self.history_only, ..Default::default() };
        db.prune(&policy, false)
    }
}

/// A database with the run that is to go and those that stay; one of them has commits together with it.
fn made(settings: Settings) -> (SimDisk, RunId) {
    let disk = SimDisk::new(1);
    let db = settings.open(&disk).expect("opens");
    let marked = db.new_run("marked").id(MARKED).begin().expect("begins");
    let child = marked.child("child").expect("a child").begin().expect("begins");
    for id in OTHERS {
        db.new_run("other").id(id).begin().expect("begins");
    }
    for round in 0..3 {
        for n in 0..4 {
            marked.kv().put("k", format!("{MARKER} {n} {}", "x".repeat(700))).expect("puts");
            for id in OTHERS {
                let other = db.run(id).expect("there");
                other.kv().put(format!("key {n}"), format!("{round} {}", "y".repeat(700))).expect("puts");
                other.events().append("e", n).expect("appends");
            }
        }
        child
            .transaction(|tx| {
                tx.kv().put("mine", round)?;
                tx.kv_of(&marked).put("theirs", MARKER)
            })
            .expect("commits");
        marked.kv().put("theirs", "overwritten").expect("puts");
        if round < 2 {
            db.checkpoint().expect("checkpoints");
        }
    }
    let child = child.id();
    db.close().expect("closes");
    (disk.kill(), child)
}

/// The end of the run that goes: in a log that is being written.
fn ended(settings: Settings, db: &Database) {
    let marked = db.run(MARKED).expect("there");
    marked.kv().put("late", MARKER).expect("puts");
    if settings.history_only {
        // What it is stays: only what it was has the marker.
        for key in ["late", "k", "theirs"] {
            marked.kv().put(key, "new").expect("puts");
        }
    }
    marked.end(RunStatus::Completed).expect("ends");
    db.sync().expect("syncs");
}

/// The operations before a prune, and those of the prune.
fn prune_of(settings: Settings, base: &SimDisk, then: impl Fn(&Database)) -> std::ops::Range<u64> {
    let sound = base.kill();
    let db = settings.open(&sound).expect("opens");
    ended(settings, &db);
    then(&db);
    let first = sound.ops();
    settings.prune(&db).expect("prunes");
    first..sound.ops()
}

/// What a run is, and what it was.
fn seen(settings: Settings, db: &Database, id: RunId, what: &str) -> String {
    let run = db.run(id).unwrap_or_else(|error| panic!("{settings:?}, {what}: {id} is gone: {error}"));
    let now = (run.kv().list("").expect("lists"), run.events().range(..).expect("reads"));
    if !settings.keep_history {
        return format!("{now:?}");
    }
    let verified = run.verify().unwrap_or_else(|error| panic!("{settings:?}, {what}: {id}: {error}"));
    assert!(verified.is_same(), "{settings:?}, {what}: {id}: {verified}");
    format!("{now:?} {:?}", run.commits().expect("reads"))
}

fn with_marker(disk: &SimDisk) -> Vec<PathBuf> {
    let has = |path: &PathBuf| {
        let bytes = disk.contents(path).expect("is there");
        bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes())
    };
    disk.files().into_iter().filter(has).collect()
}

/// Whether nothing of it is left; otherwise it is whole.
fn is_erased(settings: Settings, db: &Database, whole: &str, what: &str) -> bool {
    match (db.run(MARKED), settings.history_only) {
        (Err(Error::UnknownRun { .. }), false) => true,
        (Err(error), _) => panic!("{settings:?}, {what}: {error}"),
        (Ok(run), true) if settings.keep_history => match run.at(Point::Now) {
            Err(Error::History(HistoryError::Erased { .. } | HistoryError::Cut { .. })) => true,
            Err(error) => panic!("{settings:?}, {what}: {error}"),
            Ok(_) => {
                assert_eq!(seen(settings, db, MARKED, what), whole);
                false
            }
        },
        (Ok(_), _) => {
            assert_eq!(seen(settings, db, MARKED, what), whole);
            false
        }
    }
}

fn check(settings: Settings, image: &SimDisk, others: &[(RunId, String)], whole: &str, what: &str) -> bool {
    let db = settings.open(image).unwrap_or_else(|error| panic!("{settings:?}, {what}: {error}"));
    let notes = db.stats().expect("counts").notes;
    assert!(!notes.iter().any(|note| note.contains("could not be finished")), "{what}: {notes:?}");
    for (id, before) in others {
        assert_eq!(&seen(settings, &db, *id, what), before, "{settings:?}, {what}");
    }
    let resumed = is_erased(settings, &db, whole, what);
    if resumed {
        assert_eq!(
            with_marker(image),
            Vec::<PathBuf>::new(),
            "{settings:?}, {what}: after opening {notes:?}"
        );
    }
    settings.prune(&db).unwrap_or_else(|error| panic!("{settings:?}, {what}: {error}"));
    assert_eq!(with_marker(image), Vec::<PathBuf>::new(), "{settings:?}, {what}: pruned again");
    assert!(!image.files().iter().any(|path| path.ends_with("ERASING")), "{settings:?}, {what}");
    for (id, before) in others {
        assert_eq!(&seen(settings, &db, *id, what), before, "{settings:?}, {what}: pruned again");
    }
    resumed
}

fn cut_off_everywhere(history_only: bool) {
    for (durability, keep_history) in [
        (Durability::Strict, true),
        (Durability::buffered(), true),
        (Durability::Strict, false),
        (Durability::buffered(), false),
    ] {
        let settings = Settings { durability, keep_history, history_only };
        let (base, child) = made(settings);
        let sound = base.kill();
        let db = settings.open(&sound).expect("opens");
        ended(settings, &db);
        let others = [OTHERS[0], OTHERS[1], child].map(|id| (id, seen(settings, &db, id, "before")));
        let whole = seen(settings, &db, MARKED, "before");
        drop(db);
        // A run of the same without the reads, whose operations are counted.
        let sound = base.kill();
        let db = settings.open(&sound).expect("opens");
        ended(settings, &db);
        let first = sound.ops();
        settings.prune(&db).expect("prunes");
        let last = sound.ops();
        drop(db);
        assert!(last > first + 40, "{}", last - first);
        let (mut before, mut resumed) = (0, 0);
        for at in first + 1..=last + 1 {
            let disk = base.kill();
            let db = settings.open(&disk).expect("opens");
            ended(settings, &db);
            assert_eq!(disk.ops(), first, "repeats");
            disk.crash_before(at);
            let cut = settings.prune(&db);
            for seed in 0..if keep_history { 3 } else { 2 } {
                let image = if seed == 0 { disk.kill() } else { disk.crash(seed * 1_000 + at) };
                let what = format!("cut at {} of {} ({seed}): {cut:?}", at - first, last - first);
                // And once more, while the opening finishes it.
                let again = image.kill();
                again.crash_before(again.ops() + 1 + (at * 7 + seed) % 120);
                drop(settings.open(&again));
                let again = if seed % 2 == 0 { again.kill() } else { again.crash(seed + at) };
                check(settings, &again, &others, &whole, &format!("twice, {what}"));
                if check(settings, &image, &others, &whole, &what) {
                    resumed += 1;
                } else {
                    before += 1;
                }
            }
            drop(db);
        }
        // Without history the past that is erased shows nowhere but in the files.
        assert!(before > 0 && (resumed > before || (history_only && !keep_history)), "{before}, {resumed}");
    }
}

#[test]
fn of_whole_runs() {
    cut_off_everywhere(false);
}

#[test]
fn of_history_only() {
    cut_off_everywhere(true);
}

/// Simulator seed 151: the note of what is to be erased was on the disk before the commits that came before it. A power cut took
/// these, and the next opening found the note and dropped the run: the drop was there, and not what was committed before it.
#[test]
fn no_commit_before_an_erase_is_lost_where_the_erase_is_kept() {
    let settings = Settings { durability: Durability::buffered(), keep_history: true, history_only: false };
    let (base, child) = made(settings);
    // On the same shard, acknowledged before the prune, and not synced.
    let last = |db: &Database| {
        db.run(child).expect("there").kv().put("last", MARKED.to_string()).expect("puts");
    };
    let prune = prune_of(settings, &base, last);
    let (mut erased, mut lost) = (0, 0);
    for at in prune.start + 1..=prune.end {
        let disk = base.kill();
        let db = settings.open(&disk).expect("opens");
        ended(settings, &db);
        last(&db);
        disk.crash_before(at);
        let _ = settings.prune(&db);
        for seed in 0..6 {
            let db = settings.open(&disk.crash(seed)).expect("opens");
            let is_erased = matches!(db.run(MARKED), Err(Error::UnknownRun { .. }));
            let kept = db.run(child).expect("there").kv().exists("last").expect("reads");
            assert!(
                kept || !is_erased,
                "cut at {} ({seed}): erased, and lost what was before",
                at - prune.start
            );
            erased += u32::from(is_erased);
            lost += u32::from(!kept);
        }
    }
    assert!(erased > 0 && lost > 0, "both happen: {erased} erased, {lost} lost");
}

/// Found by `sim --faults`: the note was named, the sync of its directory failed, the prune was refused, and the next opening
/// found the note and erased what nobody knew to be going.
#[test]
fn an_erase_that_is_refused_is_not_carried_out_by_a_later_opening() {
    for (durability, keep_history) in [(Durability::Strict, true), (Durability::buffered(), false)] {
        let settings = Settings { durability, keep_history, history_only: false };
        let (base, _) = made(settings);
        let prune = prune_of(settings, &base, |_| {});
        let (mut refused, mut syncs_of_directories) = (0, 0);
        for at in prune.start + 1..=prune.end {
            let disk = base.kill();
            let db = settings.open(&disk).expect("opens");
            ended(settings, &db);
            disk.record_ops();
            disk.fail(at, FaultKind::Eio, None, false);
            let pruned = settings.prune(&db);
            let failed = disk.recorded_ops().into_iter().find(|op| op.number == at).expect("was reached");
            // It was not refused where nobody knows, nor where it went so far that it is finished later.
            if !matches!(&pruned, Err(error) if !matches!(error, Error::OutcomeUnknown { .. }))
                || db.run(MARKED).is_err()
            {
                continue;
            }
            refused += 1;
            syncs_of_directories += u32::from(failed.kind == OpKind::SyncDir);
            let image = disk.kill();
            disk.crash_before(disk.ops());
            drop(db);
            let db = settings.open(&image).expect("opens");
            let notes = db.stats().expect("counts").notes;
            assert!(db.run(MARKED).is_ok(), "{failed:?} failed: {pruned:?}; then {notes:?}");
        }
        assert!(refused > 3 && syncs_of_directories > 0, "{refused}, {syncs_of_directories}");
    }
}

/// Found by `sim --faults`: where no directory can be synced any more, the removal of the note was as little durable as the note, and
/// a power cut brought it back.
#[test]
fn an_erase_that_is_refused_is_not_carried_out_after_a_power_cut_either() {
    let settings = Settings { durability: Durability::Strict, keep_history: true, history_only: false };
    let (base, _) = made(settings);
    let prune = prune_of(settings, &base, |_| {});
    let mut refused = 0;
    for at in prune.start + 1..=prune.end {
        let disk = base.kill();
        let db = settings.open(&disk).expect("opens");
        ended(settings, &db);
        disk.record_ops();
        disk.fail(at, FaultKind::Eio, Some(OpKind::SyncDir), true);
        let pruned = settings.prune(&db);
        let first = disk.recorded_ops().into_iter().find(|op| op.number >= at && op.kind == OpKind::SyncDir);
        let is_refused = matches!(&pruned, Err(error) if !matches!(error, Error::OutcomeUnknown { .. }));
        if first.is_none_or(|op| op.number != at) || !is_refused || db.run(MARKED).is_err() {
            continue;
        }
        refused += 1;
        let images: Vec<SimDisk> = (1..=16).map(|seed| disk.crash(seed)).collect();
        disk.crash_before(disk.ops());
        drop(db);
        for image in images {
            let db = settings.open(&image).expect("opens");
            assert!(db.run(MARKED).is_ok(), "operation {at} failed: {pruned:?}");
        }
    }
    assert!(refused > 0);
}

/// Found by `sim` (seed 40029426): the disk was full from the sync of the note's directory on, the note could not be taken back, and
/// a plain refusal was given for a prune that the next opening carried out.
#[test]
fn an_erase_whose_note_cannot_be_taken_back_says_that_it_may_follow() {
    let settings = Settings { durability: Durability::Strict, keep_history: true, history_only: false };
    let (base, _) = made(settings);
    let prune = prune_of(settings, &base, |_| {});
    let (mut refused, mut followed) = (0, 0);
    for at in prune.start + 1..=prune.end {
        let disk = base.kill();
        let db = settings.open(&disk).expect("opens");
        ended(settings, &db);
        disk.fail(at, FaultKind::Enospc, None, true);
        let pruned = settings.prune(&db);
        let says = match &pruned {
            Err(Error::History(HistoryError::EraseMayFollow { path, .. })) => Some(path.clone()),
            Err(Error::OutcomeUnknown { .. }) => continue,
            _ => None,
        };
        if db.run(MARKED).is_err() {
            assert!(says.is_none(), "operation {at}: what was begun is no refusal");
            continue;
        }
        disk.heal();
        let is_noted = disk.contents(Path::new("/db/ERASING")).is_some();
        let image = disk.kill();
        disk.crash_before(disk.ops());
        drop(db);
        if let Some(note) = says {
            // As the error says how.
            let without = image.kill();
            if is_noted {
                without.remove(&note).expect("removes");
            }
            assert!(
                settings.open(&without).expect("opens").run(MARKED).is_ok(),
                "operation {at}: {pruned:?}"
            );
            let is_gone = settings.open(&image).expect("opens").run(MARKED).is_err();
            assert!(is_noted || !is_gone, "operation {at}: there was no note");
            followed += u32::from(is_gone);
        } else {
            refused += 1;
            let db = settings.open(&image).expect("opens");
            assert!(db.run(MARKED).is_ok(), "operation {at} failed: {pruned:?}");
        }
    }
    assert!(refused > 0 && followed > 0, "{refused} refused, {followed} followed");
}

/// The note was there, the disk had no room for the segment that the deletion would have gone into, and the next opening, with room,
/// erased what the prune had refused.
#[test]
fn an_erase_that_finds_no_room_is_not_carried_out_by_a_later_opening() {
    let settings = Settings { durability: Durability::Strict, keep_history: true, history_only: false };
    let (base, child) = made(settings);
    let (mut refused, mut noted) = (0, 0);
    // So that at one length or another the record of the deletion is the first that does not fit.
    for (puts, len) in (0..50).flat_map(|puts| [0, 24, 48].map(|len| (puts, len))) {
        let disk = base.kill();
        let db = settings.open(&disk).expect("opens");
        ended(settings, &db);
        for _ in 0..puts {
            db.run(child).expect("there").kv().put("fill", "f".repeat(len)).expect("puts");
        }
        // For the note, and not for a segment.
        let used: usize =
            disk.files().iter().filter_map(|path| disk.contents(path)).map(|file| file.len()).sum();
        disk.set_capacity(Some(used as u64 + 100));
        disk.record_ops();
        let pruned = settings.prune(&db);
        if pruned.is_ok() || db.run(MARKED).is_err() {
            continue;
        }
        refused += 1;
        let is_note = |op: &Op| op.kind == OpKind::Rename && op.path.ends_with("ERASING.tmp");
        noted += u32::from(disk.recorded_ops().iter().any(is_note));
        disk.set_capacity(None);
        let image = disk.kill();
        disk.crash_before(disk.ops());
        drop(db);
        let db = settings.open(&image).expect("opens");
        assert!(db.run(MARKED).is_ok(), "{pruned:?}; then {:?}", db.stats().expect("counts").notes);
    }
    assert!(refused > 0 && noted > 0, "{refused} refused, {noted} when the note was there");
}

/// A prune that failed half way is finished by the next one, or by an opening; a run that was made under the id meanwhile is not
/// what was to go.
#[test]
fn a_run_made_anew_under_the_id_of_one_that_was_half_erased_stays() {
    let settings = Settings { durability: Durability::Strict, keep_history: true, history_only: false };
    let (disk, _) = made(settings);
    let mut anew = 0;
    for at in prune_of(settings, &disk, |_| {}) {
        for reopens in [false, true] {
            let disk = disk.kill();
            let mut db = settings.open(&disk).expect("opens");
            ended(settings, &db);
            disk.fail(at + 1, FaultKind::Eio, None, false);
            let failed = settings.prune(&db).is_err();
            disk.heal();
            let Ok(run) = db.new_run("anew").id(MARKED).begin() else { continue };
            run.kv().put("k", 1).expect("puts");
            anew += u64::from(failed);
            if reopens {
                db.close().expect("closes");
                db = settings.open(&disk).expect("opens");
            }
            settings.prune(&db).expect("prunes");
            let run = db.run(MARKED).unwrap_or_else(|error| panic!("a fault at {at}: {error}"));
            assert!(run.kv().exists("k").expect("reads"), "a fault at {at}");
        }
    }
    assert!(anew > 20, "{anew}");
}

/// Found by the simulator (seed 60004518): the newer part of a run's past was erased, the older one, from before another number of shards,
/// was not; the run's id was used again, and its earlier life was shown as it had been halfway.
#[test]
fn a_past_that_is_half_erased_is_not_taken_for_a_whole_one() {
    let open = |disk: &SimDisk, shards| {
        let builder = Database::builder().path("/db").shards(shards).segment_bytes(8 << 10).background(false);
        builder.durability(Durability::Strict).storage(Arc::new(disk.clone())).hash_seed(7).open()
    };
    let base = SimDisk::new(1);
    let mut was = Vec::new();
    for shards in [1, 2, 3] {
        let db = open(&base, shards).expect("opens");
        let run = match db.run(MARKED) {
            Ok(run) => run,
            Err(_) => db.new_run("marked").id(MARKED).begin().expect("begins"),
        };
        for n in 0..6 {
            let version = run.kv().put("k", format!("{shards} {n} {}", "x".repeat(2_000))).expect("puts");
            was.push((version, run.kv().get("k").expect("reads")));
        }
        db.checkpoint().expect("checkpoints");
        db.close().expect("closes");
    }
    let policy = RetentionPolicy { keep_newest: Some(0), ..RetentionPolicy::default() };
    let ended = |disk: &SimDisk| {
        let db = open(disk, 3).expect("opens");
        db.run(MARKED).expect("there").end(RunStatus::Completed).expect("ends");
        db
    };
    let sound = base.kill();
    let db = ended(&sound);
    let first = sound.ops();
    db.prune(&policy, false).expect("prunes");
    let (mut halves, mut wholes) = (0, 0);
    for at in 1..=sound.ops() - first {
        let disk = base.kill();
        let db = ended(&disk);
        disk.fail(disk.ops() + at, FaultKind::Eio, None, false);
        let pruned = db.prune(&policy, false);
        disk.heal();
        if db.run(MARKED).is_ok() {
            continue;
        }
        let Ok(again) = db.new_run("again").id(MARKED).begin() else { continue };
        let mut shown = 0;
        for (version, was) in &was {
            match again.at(Point::Version(*version)) {
                Ok(then) => {
                    assert_eq!(&then.kv().get("k"), was, "operation {at} ({pruned:?}), version {version}");
                    shown += 1;
                }
                Err(Error::History(_)) => {}
                Err(error) => panic!("operation {at}, version {version}: {error}"),
            }
        }
        halves += u32::from(shown < was.len());
        wholes += u32::from(shown == was.len());
    }
    assert!(halves > 3 && wholes > 0, "{halves} cut off behind its beginning, {wholes} before");
}
