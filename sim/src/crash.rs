//! The whole engine on a simulated disk: worked with at random, cut off at a random operation, recovered from many images of
//! what the disk may hold then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use in_mem::{Clock, Database, Durability, ManualClock, Timestamp, Value, admin};
use in_mem_wal::storage::sim::OpKind;
use in_mem_wal::{SimDisk, Storage};

use crate::chronicle::Chronicle;
use crate::finding::Finding;
use crate::ledger::{Accident, Ledger};
use crate::meanwhile::Meanwhile;
use crate::model::{Change, Model};
use crate::scenes::Scene;
use crate::workload::{Did, Work};

/// Where the database lies on the simulated disk.
pub(crate) const PATH: &str = "/db";
/// Openings of one database in one run, each ended by an accident.
const EPOCHS: usize = 3;
/// Actions in one opening, unless the power goes before.
const ACTIONS: usize = 120;
/// Those of an opening with a scene, which begins behind a few of them.
const ACTIONS_AROUND_A_SCENE: usize = 40;
const ACTIONS_BEFORE_A_SCENE: usize = 12;
/// Images looked at from one moment.
const IMAGES_PER_CRASH: usize = 8;
/// The power goes before one of so many syncs of directories, where it goes before one.
const SYNCS_OF_DIRECTORIES: u64 = 12;
/// Small, so that logs roll over and are let go often.
const SEGMENT_BYTES: u64 = 8 << 10;
/// Where the clock starts, in microseconds since 1970.
const START: i64 = 1_000_000_000_000;

/// How many, and which.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Images to check.
    pub images: u64,
    /// The first seed.
    pub first_seed: u64,
    /// Only this seed, once.
    pub only: Option<u64>,
    /// Threads that run seeds side by side.
    pub threads: usize,
    /// Stops at the first violation.
    pub first: bool,
}

/// What a run of one seed came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Images checked.
    pub images: u64,
    /// Hash over all operations on all disks.
    pub trace: u64,
    /// How often the power went during an opening.
    pub openings_cut: u64,
    /// Backups that were opened.
    pub backups: u64,
    /// Scenes that came to their end.
    pub scenes: u64,
}

impl Outcome {
    fn saw(&mut self, disk: &SimDisk) {
        self.trace = self.trace.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ disk.trace_hash();
    }
}

/// How the databases of one seed are opened.
#[derive(Debug, Clone)]
pub struct Setup {
    seed: u64,
    durability: Durability,
    pub(crate) keep_history: bool,
    pub(crate) segment_bytes: u64,
    /// The clock of all of them.
    pub clock: ManualClock,
}

impl Setup {
    /// What belongs to this seed.
    pub fn new(seed: u64, durability: Durability, keep_history: bool) -> Self {
        Self {
            seed,
            durability,
            keep_history,
            segment_bytes: SEGMENT_BYTES,
            clock: ManualClock::new(Timestamp(START)),
        }
    }

    /// Opens a database on this disk.
    ///
    /// # Errors
    /// What opening it says.
    pub fn open(&self, disk: &SimDisk, path: &str, shards: Option<usize>) -> in_mem::Result<Database> {
        let mut builder = Database::builder()
            .path(path)
            .storage(Arc::new(Meanwhile(disk.clone())))
            .clock(Arc::new(self.clock.clone()))
            .background(false)
            .hash_seed(self.seed)
            .segment_bytes(self.segment_bytes)
            .keep_history(self.keep_history)
            .durability(self.durability);
        if let Some(shards) = shards {
            builder = builder.shards(shards);
        }
        builder.open()
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().0
    }
}

/// Runs one seed: the violation, in words, where there is one.
///
/// # Errors
/// The violation.
pub fn run_seed(seed: u64) -> Result<Outcome, String> {
    let mut rng = Rng::with_seed(seed ^ 0x5EED_0F51);
    if rng.u8(..16) == 0 {
        return in_memory(seed, &mut rng);
    }
    let scene = Scene::of(&mut rng);
    let strict = rng.bool();
    let durability = if strict {
        Durability::Strict
    } else {
        Durability::Buffered { interval: Duration::from_millis(10), bytes: 4 << 10 }
    };
    let keep_history = match scene {
        Some(scene) => scene.keeps_history(&mut rng),
        None => rng.bool(),
    };
    let setup = Setup::new(seed, durability, keep_history);
    let mut outcome = Outcome::default();
    let mut disk = SimDisk::new(seed);
    let mut live = Model::default();
    // What holds where an opening does not come to its end.
    let mut unopened = Ledger::default();
    let mut chronicle = Chronicle::default();
    for epoch in 0..EPOCHS {
        // A scene is mostly played, and cut off as often by itself.
        match rng.u8(if scene.is_some() { 1..11 } else { 0..8 }) {
            // Where names are not durable yet.
            0 | 1 => disk.crash_before_nth(OpKind::SyncDir, rng.u64(1..=SYNCS_OF_DIRECTORIES)),
            // Among the first operations: recovery, and a log's first records.
            2..=4 if scene.is_none() => disk.crash_before(disk.ops() + 1 + rng.u64(..60)),
            2 => disk.crash_before(disk.ops() + 1 + rng.u64(..60)),
            8.. => {}
            _ => disk.crash_before(disk.ops() + 1 + rng.u64(..600)),
        }
        let shards = rng.usize(1..4);
        let ledger =
            work(&setup, &disk, shards, &live, strict, scene, &mut chronicle, &mut rng, &mut outcome)
                .map(|ledger| ledger.unwrap_or(unopened))
                .map_err(|what| format!("opening {epoch}: {what}"))?;
        outcome.saw(&disk);
        let mut next = None;
        let goes_on = if rng.u8(..3) == 0 { 0 } else { rng.usize(1..IMAGES_PER_CRASH) };
        for image in 0..IMAGES_PER_CRASH {
            let accident = if image == 0 { Accident::Killed } else { Accident::PowerCut };
            let after = if image == 0 { disk.kill() } else { disk.crash(rng.u64(..)) };
            let (before, untouched) = (after.kill(), after.kill());
            let (recovered, accident) =
                check_image(&setup, &after, &ledger, accident, &mut rng, &mut outcome)
                    .map_err(|what| format!("opening {epoch}, image {image} ({accident:?}): {what}"))?;
            for (path, expected) in chronicle.backups.iter().skip(image) {
                let backup =
                    setup.open(&untouched, path, None).map_err(|error| format!("{path}: {error}"))?;
                expected.compare(&backup, setup.now()).map_err(|what| format!("{path}: {what}"))?;
                outcome.backups += 1;
            }
            // From a kill too: what the next opening sees then is not all on the disk, and the power may go after it.
            let as_it_was = (accident == Accident::PowerCut) == (image > 0);
            if as_it_was && (next.is_none() || image == goes_on) {
                next = Some((before, recovered, accident));
            }
        }
        let accident;
        (disk, live, accident) = next.ok_or("no image to go on from")?;
        if accident == Accident::PowerCut {
            chronicle.power_cut();
        }
        unopened = match accident {
            Accident::Killed => Ledger::killed(live.clone(), ledger),
            Accident::PowerCut => Ledger::unopened(live.clone()),
        };
        setup.clock.advance(2 * rng.i64(0..100));
    }
    Ok(outcome)
}

/// Opens the database and works with it until the power goes; `None`: it went before the database was open.
#[allow(clippy::too_many_arguments, reason = "all of one run's state")]
fn work(
    setup: &Setup,
    disk: &SimDisk,
    shards: usize,
    live: &Model,
    strict: bool,
    scene: Option<Scene>,
    chronicle: &mut Chronicle,
    rng: &mut Rng,
    outcome: &mut Outcome,
) -> Result<Option<Ledger>, String> {
    let db = match setup.open(disk, PATH, Some(shards)) {
        Ok(db) if !disk.crashed() => db,
        Err(error) if !disk.crashed() => return Err(format!("it does not open: {error}")),
        _ => {
            outcome.openings_cut += 1;
            return Ok(None);
        }
    };
    live.compare(&db, setup.now()).map_err(|what| format!("opened again: {what}"))?;
    let mut ledger = Ledger::opened(&db, live.clone(), strict)?;
    ledger.keep_history = setup.keep_history;
    chronicle.opened(live);
    let mut work = Work {
        db: &db,
        disk,
        clock: &setup.clock,
        ledger: &mut ledger,
        chronicle,
        faults: true,
        rng: &mut *rng,
    };
    let actions = if scene.is_some() { ACTIONS_AROUND_A_SCENE } else { ACTIONS };
    let scene = scene.map(|scene| (work.rng.usize(..ACTIONS_BEFORE_A_SCENE), scene));
    for number in 0..actions {
        let scene = scene.filter(|(at, _)| *at == number).map(|(_, scene)| scene);
        let did = match scene {
            Some(scene) => scene.play(&mut work)?,
            None => work.act()?,
        };
        match did {
            Did::Well => outcome.scenes += u64::from(scene.is_some()),
            Did::MachineGone => return Ok(Some(ledger)),
            Did::LogFailed => {
                disk.crash_before(disk.ops());
                return Ok(Some(ledger));
            }
            Did::Failed(error) => return Err(format!("refused for no reason: {error}")),
        }
    }
    ledger.live.compare(&db, setup.now()).map_err(|what| format!("while it is open: {what}"))?;
    if rng.bool() {
        match db.close() {
            _ if disk.crashed() => {}
            Ok(()) => ledger.synced(),
            Err(error) => return Err(format!("closing: {error}")),
        }
    }
    // The power goes here, before a handle that is dropped closes the database.
    disk.crash_before(disk.ops());
    Ok(Some(ledger))
}

/// Recovers an image, sometimes cut off and begun again, and holds it against the ledger. Gives what it holds, and the worst that
/// happened to it.
fn check_image(
    setup: &Setup,
    image: &SimDisk,
    ledger: &Ledger,
    accident: Accident,
    rng: &mut Rng,
    outcome: &mut Outcome,
) -> Result<(Model, Accident), String> {
    outcome.images += 1;
    let mut image = image.clone();
    let mut accident = accident;
    // The power goes again while it recovers, once or twice.
    for _ in 0..[0, 0, 1, 2][rng.usize(..4)] {
        image.crash_before(image.ops() + 1 + rng.u64(..60));
        let opened = setup.open(&image, PATH, None);
        if !image.crashed() {
            if let Err(error) = opened {
                return Err(format!("it does not open: {error}"));
            }
            image.crash_before(image.ops());
        }
        drop(opened);
        outcome.saw(&image);
        outcome.openings_cut += 1;
        image = if rng.bool() {
            image.kill()
        } else {
            accident = Accident::PowerCut;
            image.crash(rng.u64(..))
        };
    }
    let db = setup.open(&image, PATH, None).map_err(|error| format!("it does not open: {error}"))?;
    let model = ledger.check(&db, accident, setup.now())?;
    // Again, after the power went at once: recovery kept all that it showed.
    let again = if rng.bool() { image.crash(rng.u64(..)) } else { image.kill() };
    image.crash_before(image.ops());
    drop(db);
    outcome.saw(&image);
    let db = setup.open(&again, PATH, None).map_err(|error| format!("it does not open twice: {error}"))?;
    model.compare(&db, setup.now()).map_err(|what| format!("recovered twice: {what}"))?;
    let run = db.begin_run_with_id(rng)?;
    db.run(run).and_then(|run| run.kv().put("goes on", 1)).map_err(|error| format!("goes on: {error}"))?;
    let mut expected = model.clone();
    let (name, whole) = ("after".to_owned(), setup.keep_history);
    expected.apply(&Change::Begin { run, name, parent: None, life: u64::MAX, whole });
    expected.apply(&Change::Put { run, key: b"goes on".to_vec(), value: Value::from(1), expires: None });
    // Closed, or the power goes behind a sync, and takes what this and earlier openings only believed to be on the disk.
    let last = if rng.bool() {
        db.sync().map_err(|error| format!("syncs: {error}"))?;
        let cut = again.crash(rng.u64(..));
        again.crash_before(again.ops());
        cut
    } else {
        again.clone()
    };
    drop(db);
    outcome.saw(&again);
    let db = setup.open(&last, PATH, None).map_err(|error| format!("does not open a third time: {error}"))?;
    expected
        .compare(&db, setup.now())
        .map_err(|what| format!("a commit after recovery was not kept: {what}"))?;
    drop(db);
    outcome.saw(&last);
    // Whoever does not open it but looks, at what it is and at the past that it keeps, finds it as sound.
    let storage: Arc<dyn Storage> = Arc::new(last.kill());
    let looked = admin::check_on(&storage, Path::new(PATH)).map_err(|error| format!("check: {error}"))?;
    let faults = looked.problems.iter().chain(&looked.history);
    if let Some(fault) = faults.into_iter().find(|problem| problem.serious) {
        return Err(format!("it opens, and a check calls it damaged: {fault:?}"));
    }
    Ok((model, accident))
}

trait BeginWithId {
    fn begin_run_with_id(&self, rng: &mut Rng) -> Result<in_mem::RunId, String>;
}

impl BeginWithId for Database {
    /// Begins a run whose id repeats.
    fn begin_run_with_id(&self, rng: &mut Rng) -> Result<in_mem::RunId, String> {
        let mut bytes = [0; 16];
        rng.fill(&mut bytes);
        let id = in_mem::RunId::from_bytes(bytes);
        self.new_run("after").id(id).begin().map_err(|error| format!("begins: {error}"))?;
        Ok(id)
    }
}

/// Without a disk there is nothing to recover; what is there while it is open has to be right all the same.
fn in_memory(seed: u64, rng: &mut Rng) -> Result<Outcome, String> {
    let clock = ManualClock::new(Timestamp(START));
    let db = Database::builder()
        .durability(Durability::InMemory)
        .clock(Arc::new(clock.clone()))
        .background(false)
        .hash_seed(seed)
        .shards(rng.usize(1..4))
        // A backup is all that is written.
        .storage(Arc::new(SimDisk::new(seed)))
        .open()
        .map_err(|error| error.to_string())?;
    let disk = SimDisk::new(seed);
    let mut ledger = Ledger::opened(&db, Model::default(), false)?;
    let mut chronicle = Chronicle::default();
    let mut work = Work {
        db: &db,
        disk: &disk,
        clock: &clock,
        ledger: &mut ledger,
        chronicle: &mut chronicle,
        faults: false,
        rng,
    };
    for _ in 0..ACTIONS {
        if let Did::Failed(error) = work.act()? {
            return Err(format!("in memory: {error}"));
        }
    }
    ledger.live.compare(&db, clock.now().0)?;
    Ok(Outcome::default())
}

/// Runs a seed twice: also a panic, or a run that differs from its repetition, is a violation.
fn run_twice(seed: u64) -> Result<Outcome, String> {
    let once = || {
        catch_unwind(AssertUnwindSafe(|| run_seed(seed))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panicked: {}", text.unwrap_or_default()))
        })
    };
    let first = once()?;
    let second = once()?;
    if first != second {
        return Err(format!("two runs of one seed differ: {first:?}, {second:?}"));
    }
    Ok(first)
}

/// Runs seeds until so many images were checked.
pub fn run(plan: &Plan) -> Vec<Finding> {
    let start = Instant::now();
    let (next, images) = (AtomicU64::new(plan.only.unwrap_or(plan.first_seed)), AtomicU64::new(0));
    let [cut, backups, seeds, scenes] = [const { AtomicU64::new(0) }; 4];
    let violations = Mutex::new(Vec::new());
    let worker = || {
        while images.load(Ordering::Relaxed) < plan.images {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if plan.only.is_some_and(|only| only != seed) {
                return;
            }
            seeds.fetch_add(1, Ordering::Relaxed);
            match run_twice(seed) {
                Ok(outcome) => {
                    images.fetch_add(outcome.images, Ordering::Relaxed);
                    cut.fetch_add(outcome.openings_cut, Ordering::Relaxed);
                    backups.fetch_add(outcome.backups, Ordering::Relaxed);
                    scenes.fetch_add(outcome.scenes, Ordering::Relaxed);
                }
                Err(what) => {
                    let text = format!("seed {seed}: {what}; repeat with: cargo xtask sim --seed {seed}");
                    eprintln!("{text}");
                    let mut violations = violations.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    violations.push(text);
                    if plan.first || violations.len() >= 10 {
                        return;
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            scope.spawn(worker);
        }
    });
    let violations = violations.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seconds = start.elapsed().as_secs_f64();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    // One seed has as many as it has.
    let asked = if plan.only.is_some() { 0.0 } else { plan.images as f64 };
    vec![
        Finding::at_least("sim.images", count(&images), asked, "images")
            .note(format!("{} seeds, each twice, {seconds:.0} s", count(&seeds))),
        Finding::shown("sim.images_per_second", count(&images) / seconds, "images/s"),
        Finding::shown("sim.openings_cut_off", count(&cut), "openings"),
        Finding::shown("sim.backups_opened", count(&backups), "backups"),
        Finding::shown("sim.scenes_played", count(&scenes), "scenes"),
        Finding::violations("sim.violations", &violations),
    ]
}
