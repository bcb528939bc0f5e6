//! Every operation of a scripted workload fails in turn: what was acknowledged all the same is there afterwards, and reopening
//! recovers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;
use in_mem::Durability;
use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::{FaultKind, Op, OpKind};

use crate::chronicle::Chronicle;
use crate::crash::{PATH, Setup};
use crate::finding::Finding;
use crate::ledger::{Accident, Ledger};
use crate::model::Model;
use crate::workload::{Did, Work};

/// Actions of a script.
const ACTIONS: usize = 40;
/// Writes that are tried where a shard takes none any more.
const PROBES: usize = 3;
/// Images that are looked at after each fault; the first is that of a killed process.
const IMAGES: u64 = 3;

/// A workload that is repeated with a fault at another place each time.
#[derive(Debug, Clone)]
struct Script {
    seed: u64,
    strict: bool,
    /// Whether there is a database to be recovered, and re-routed, or one to be made.
    existing: bool,
}

/// One fault.
#[derive(Debug, Clone, Copy)]
struct Fault {
    at: u64,
    kind: FaultKind,
    sticky: bool,
    only: Option<OpKind>,
}

impl Script {
    fn setup(&self) -> Setup {
        let buffered = Durability::Buffered { interval: Duration::from_millis(10), bytes: 4 << 10 };
        Setup::new(self.seed, if self.strict { Durability::Strict } else { buffered }, true)
    }

    /// The disk before the script, and what the database on it holds.
    fn begin(&self, setup: &Setup) -> Result<(SimDisk, Model), String> {
        let disk = SimDisk::new(self.seed);
        if !self.existing {
            return Ok((disk, Model::default()));
        }
        let mut ledger = Ledger::default();
        self.act(setup, &disk, 2, &Model::default(), &mut ledger, self.seed ^ 1)?;
        let disk = disk.crash(self.seed);
        let db = setup.open(&disk.kill(), PATH, None).map_err(|error| error.to_string())?;
        let model = ledger.check(&db, Accident::PowerCut, setup.now())?;
        Ok((disk, model))
    }

    /// Opens the database and works with it. Refusals are taken as they come.
    fn act(
        &self,
        setup: &Setup,
        disk: &SimDisk,
        shards: usize,
        live: &Model,
        ledger: &mut Ledger,
        seed: u64,
    ) -> Result<(), String> {
        *ledger = Ledger::unopened(live.clone());
        let Ok(db) = setup.open(disk, PATH, Some(shards)) else { return Ok(()) };
        *ledger = Ledger::opened(&db, live.clone(), self.strict)?;
        ledger.keep_history = setup.keep_history;
        let (mut rng, mut chronicle) = (Rng::with_seed(seed), Chronicle::default());
        let mut work = Work {
            db: &db,
            disk,
            clock: &setup.clock,
            ledger,
            chronicle: &mut chronicle,
            faults: false,
            rng: &mut rng,
        };
        for _ in 0..ACTIONS {
            let did = work.act()?;
            if matches!(did, Did::Failed(_))
                && let Some(run) = work.ledger.stuck()
            {
                if self.strict {
                    work.ledger.live.compare_pairs(&db, setup.now()).map_err(|what| {
                        format!("what is shown is not what was acknowledged, after a failure: {what}")
                    })?;
                }
                for _ in 0..PROBES {
                    if db.run(run).and_then(|run| run.kv().put("probe", 1)).is_ok() {
                        return Err("a commit was acknowledged after its shard's log had failed".to_owned());
                    }
                }
                break;
            }
        }
        Ok(())
    }

    fn shards(&self) -> usize {
        if self.existing { 3 } else { 2 }
    }

    /// The operations of the script when nothing fails.
    fn operations(&self) -> Result<Vec<Op>, String> {
        let setup = self.setup();
        let (disk, live) = self.begin(&setup)?;
        disk.record_ops();
        self.act(&setup, &disk, self.shards(), &live, &mut Ledger::default(), self.seed)?;
        Ok(disk.recorded_ops())
    }

    /// The script with one fault; the violation, in words.
    fn run(&self, fault: Fault) -> Result<(), String> {
        let setup = self.setup();
        let (disk, live) = self.begin(&setup)?;
        disk.fail(fault.at, fault.kind, fault.only, fault.sticky);
        let mut ledger = Ledger::default();
        self.act(&setup, &disk, self.shards(), &live, &mut ledger, self.seed)?;
        for image in 0..IMAGES {
            let (after, accident) = match image {
                0 => (disk.kill(), Accident::Killed),
                seed => (disk.crash(seed), Accident::PowerCut),
            };
            let db = setup
                .open(&after, PATH, None)
                .map_err(|error| format!("image {image} ({accident:?}) does not open: {error}"))?;
            ledger.check(&db, accident, setup.now()).map_err(|what| format!("image {image}: {what}"))?;
        }
        Ok(())
    }
}

/// Runs every script with every fault, or with every `stride`-th; with `first`, until something is found.
pub fn run(stride: usize, first: bool) -> Vec<Finding> {
    let start = Instant::now();
    let mut violations = Vec::new();
    let mut sites = std::collections::BTreeSet::new();
    let mut faults = 0u32;
    for (strict, existing) in [(true, false), (true, true), (false, false), (false, true)] {
        let script = Script { seed: 77, strict, existing };
        let operations = match script.operations() {
            Ok(operations) => operations,
            Err(what) => {
                violations.push(format!("{script:?} without a fault: {what}"));
                continue;
            }
        };
        for operation in operations.iter().step_by(stride) {
            sites.insert(operation.site());
            let any = |kind, sticky| Fault { at: operation.number, kind, sticky, only: None };
            let mut kinds = vec![
                any(FaultKind::Eio, false),
                any(FaultKind::Eio, true),
                any(FaultKind::Enospc, false),
                any(FaultKind::Enospc, true),
            ];
            if matches!(operation.kind, OpKind::Sync | OpKind::SyncDir | OpKind::Rename | OpKind::Link) {
                kinds.push(Fault { only: Some(operation.kind), ..any(FaultKind::Eio, true) });
            }
            for fault in kinds {
                if first && !violations.is_empty() {
                    break;
                }
                faults += 1;
                let done = catch_unwind(AssertUnwindSafe(|| script.run(fault)));
                if let Err(what) = done.unwrap_or_else(|_| Err("panicked".to_owned())) {
                    violations.push(format!(
                        "{script:?}, {fault:?} ({}): {what}; repeat with: cargo xtask sim --faults",
                        operation.site()
                    ));
                }
            }
        }
    }
    for violation in violations.iter().take(20) {
        eprintln!("{violation}");
    }
    vec![
        Finding::at_least("faults.faults", f64::from(faults), 1.0, "faults")
            .note(format!("{:.0} s", start.elapsed().as_secs_f64())),
        Finding::shown("faults.sites", sites.len() as f64, "sites"),
        Finding::violations("faults.violations", &violations),
    ]
}
