//! One scripted life in which one operation of the disk fails: nothing acknowledged is lost, nothing is acknowledged after a
//! sync that failed, reads go on, and once the disk is well again the database opens.

use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::{FaultKind, OpKind};

use crate::model::{Content, Model};
use crate::scenario::{Plan, Scenario, Violation};
use crate::workload::Workload;

/// Which operation fails, and how.
#[derive(Debug, Clone, Copy)]
pub struct FaultPlan {
    /// Decides the life.
    pub seed: u64,
    /// Whether commits wait for the disk.
    pub strict: bool,
    /// The operation's number, over the whole life.
    pub at: u64,
    /// How it fails.
    pub kind: FaultKind,
    /// Only operations of this kind: the first at or after `at`.
    pub only: Option<OpKind>,
    /// Whether every later one fails, too.
    pub sticky: bool,
}

/// What became of the life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultReport {
    /// Operations of the disk in all: faults behind this one hit nothing.
    pub ops: u64,
    /// Commits that were acknowledged.
    pub acknowledged: u64,
    /// Calls that answered with an error.
    pub errors: u64,
}

/// The number of shards at the first opening, and at the second.
const SHARDS: [usize; 2] = [2, 3];

/// Calls between two openings.
const CALLS: usize = 24;

/// Lives it.
///
/// # Errors
/// The first [`Violation`].
pub fn live_with_fault(plan: FaultPlan) -> Result<FaultReport, Violation> {
    let disk = SimDisk::new(plan.seed);
    disk.fail(plan.at, plan.kind, plan.only, plan.sticky);
    let scenario = Scenario::new(Plan { seed: plan.seed, strict: plan.strict, ..Plan::default() });
    let mut workload = Workload::new(plan.seed);
    let mut report = FaultReport::default();
    let mut model = Model::of(Content::new(), SHARDS[0]);
    for shards in SHARDS {
        let db = match scenario.open(&disk, Some(shards)) {
            Ok(db) => db,
            Err(_) => {
                report.errors += 1;
                break;
            }
        };
        // It was closed well or not at all: in both cases nothing was lost since.
        let content = scenario.content(&db)?;
        scenario.compare(&content, &model, true)?;
        model = Model::of(content, shards);
        for call in 0..CALLS {
            scenario.tick();
            let answer = match call % 8 {
                5 => db.checkpoint().map(|_| true),
                7 => db.sync().map(|()| true),
                3 => db.step().map(|()| false),
                _ => workload.commit(&db, &mut model, || false).map(|()| false),
            };
            match answer {
                Ok(true) => model.synced(),
                Ok(false) => {}
                Err(_) => report.errors += 1,
            }
            // Reads go on, whatever the log says.
            scenario.compare(&scenario.content(&db)?, &model, true)?;
        }
        report.acknowledged += model.shards.iter().map(|shard| shard.acknowledged as u64).sum::<u64>();
        if db.close().is_err() {
            report.errors += 1;
            break;
        }
    }
    report.ops = disk.ops();
    disk.heal();
    let image = disk.crash(plan.seed ^ plan.at);
    let db = scenario.open(&image, None).map_err(|e| scenario.violation(format!("does not open: {e}")))?;
    scenario.compare(&scenario.content(&db)?, &model, plan.strict)?;
    Ok(report)
}
