//! One seed: a life of a database with crashes in it.

use std::sync::Arc;

use in_mem::{Database, Durability, Error, ManualClock, Timestamp};
use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::SimRng;

use crate::compare::{matches, read_all};
use crate::model::{Content, Model};
use crate::workload::Workload;

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// Whether commits wait for the disk.
    pub strict: bool,
    /// Commits between two openings.
    pub commits: usize,
    /// How often the database is crashed and opened again.
    pub crashes: usize,
    /// Whether the number of shards changes between openings.
    pub reshard: bool,
    /// Whether the process is killed instead of the power being cut.
    pub kill: bool,
    /// Whether log that a checkpoint covers is kept.
    pub keep_history: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            strict: true,
            commits: 40,
            crashes: 3,
            reshard: true,
            kill: false,
            keep_history: false,
        }
    }
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Commits acknowledged.
    pub commits: u64,
    /// Crash images opened.
    pub images: u64,
    /// Openings that were themselves cut off.
    pub interrupted: u64,
    /// Hash over all operations of all disks: equal for equal seeds.
    pub trace_hash: u64,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of which plan.
    pub seed: u64,
    /// After so many images.
    pub images: u64,
    /// What.
    pub what: String,
}

/// One seed's life.
#[derive(Debug)]
pub struct Scenario {
    plan: Plan,
    rng: SimRng,
    clock: ManualClock,
    report: Report,
}

const ROOT: &str = "/db";

/// Small, so that segments are rolled and let go all the time.
const SEGMENT_BYTES: u64 = 8 << 10;

impl Scenario {
    /// The life that belongs to the plan.
    pub fn new(plan: Plan) -> Self {
        let rng = SimRng::new(plan.seed);
        Self { rng, clock: ManualClock::new(Timestamp(1_000_000)), report: Report::default(), plan }
    }

    /// Opens the database on this disk.
    pub(crate) fn open(&self, disk: &SimDisk, shards: Option<usize>) -> Result<Database, Error> {
        let durability = if self.plan.strict { Durability::Strict } else { Durability::buffered() };
        let builder = Database::builder()
            .path(ROOT)
            .durability(durability)
            .segment_bytes(SEGMENT_BYTES)
            .keep_history(self.plan.keep_history)
            .seed(self.plan.seed)
            .clock(Arc::new(self.clock.clone()))
            .storage(Arc::new(disk.clone()))
            .background(false);
        match shards {
            Some(shards) => builder.shards(shards),
            None => builder,
        }
        .open()
    }

    pub(crate) fn violation(&self, what: String) -> Violation {
        Violation { seed: self.plan.seed, images: self.report.images, what }
    }

    /// Time passes.
    pub(crate) fn tick(&self) {
        self.clock.advance(1_000);
    }

    /// What the database holds.
    pub(crate) fn content(&self, db: &Database) -> Result<Content, Violation> {
        read_all(db).map_err(|e| self.violation(format!("cannot be read: {e}")))
    }

    /// Whether that is what may be there: all that was acknowledged, or all that was synced.
    pub(crate) fn compare(
        &self,
        content: &Content,
        model: &Model,
        all_acknowledged: bool,
    ) -> Result<(), Violation> {
        matches(content, model, |shard| if all_acknowledged { shard.acknowledged } else { shard.synced })
            .map(|_| ())
            .map_err(|what| self.violation(what))
    }

    fn enter(&mut self, disk: &SimDisk) {
        self.report.trace_hash = self.report.trace_hash.rotate_left(7) ^ disk.trace_hash();
    }

    /// Lives it.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn run(mut self) -> Result<Report, Violation> {
        let mut disk = SimDisk::new(self.plan.seed);
        let mut workload = Workload::new(self.plan.seed ^ 0x5eed);
        let mut shards = 1 + self.rng.below(3) as usize;
        let mut model = Model::of(Content::new(), shards);
        let mut db = self.open(&disk, Some(shards)).map_err(|e| self.violation(format!("creation: {e}")))?;
        for _ in 0..self.plan.crashes {
            disk.crash_before(disk.ops() + 1 + self.rng.below(600));
            self.work(&db, &disk, &mut workload, &mut model)?;
            self.enter(&disk);
            let mut image = self.image(&disk);
            drop(db);
            // Any number of openings that are cut off, too.
            if self.plan.reshard && self.rng.below(3) == 0 {
                shards = 1 + self.rng.below(4) as usize;
            }
            while self.rng.below(2) == 0 {
                image.crash_before(image.ops() + 1 + self.rng.below(150));
                // Whatever it answers, nobody has seen it do anything.
                let cut = self.open(&image, Some(shards));
                self.enter(&image);
                let next = self.image(&image);
                drop(cut);
                image = next;
                self.report.interrupted += 1;
            }
            disk = image;
            let (opened, content) = self.recovered(&disk, Some(shards), &model)?;
            model = Model::of(content.clone(), shards);
            // And once more: the same is found.
            drop(opened);
            let (again, once_more) = self.recovered(&disk, None, &model)?;
            if once_more != content {
                return Err(self.violation("opened twice, two contents".to_owned()));
            }
            db = again;
        }
        db.close().map_err(|e| self.violation(format!("close: {e}")))?;
        self.enter(&disk);
        Ok(self.report)
    }

    fn image(&mut self, disk: &SimDisk) -> SimDisk {
        self.report.images += 1;
        let seed = self.rng.next_u64();
        if self.plan.kill { disk.kill() } else { disk.crash(seed) }
    }

    fn recovered(
        &self,
        disk: &SimDisk,
        shards: Option<usize>,
        model: &Model,
    ) -> Result<(Database, Content), Violation> {
        let db = self.open(disk, shards).map_err(|e| self.violation(format!("does not open: {e}")))?;
        let content = self.content(&db)?;
        self.compare(&content, model, self.plan.strict || self.plan.kill)?;
        Ok((db, content))
    }

    /// Works until the disk is gone, or enough is done.
    fn work(
        &mut self,
        db: &Database,
        disk: &SimDisk,
        workload: &mut Workload,
        model: &mut Model,
    ) -> Result<(), Violation> {
        for _ in 0..self.plan.commits {
            self.tick();
            let answer = match workload.below(16) {
                0 => db.checkpoint().map(|_| true),
                1 => db.sync().map(|()| true),
                2 => db.step().map(|()| false),
                _ => workload.commit(db, model, || disk.crashed()).map(|()| false),
            };
            if disk.crashed() {
                return Ok(());
            }
            self.report.commits += 1;
            match answer {
                // A checkpoint syncs the log, though of shards that changed only: the others were synced before.
                Ok(true) => model.synced(),
                Ok(false) => {}
                Err(error) => return Err(self.violation(format!("refused on a sound disk: {error}"))),
            }
            self.compare(&self.content(db)?, model, true)?;
        }
        Ok(())
    }
}
