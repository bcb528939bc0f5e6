//! Damage to files that were synced and closed: found, or without effect; never a wrong value, a loss or a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;
use in_mem::Durability;
use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::SECTOR_BYTES;

use crate::crash::{PATH, Setup};
use crate::finding::Finding;
use crate::ledger::Ledger;
use crate::model::Model;
use crate::workload::{Did, Work};

/// The log that is damaged.
const LOG_BYTES: u64 = 64 << 10;
/// Most actions that it takes to fill it.
const ACTIONS: usize = 2_000;

/// A database that was closed, and what it holds.
struct Sound {
    setup: Setup,
    disk: SimDisk,
    /// The disk as it was half way.
    earlier: SimDisk,
    model: Model,
}

fn build(checkpoint: bool) -> Result<Sound, String> {
    let words = |error: in_mem::Error| error.to_string();
    let mut setup = Setup::new(5, Durability::Strict, true);
    setup.segment_bytes = LOG_BYTES;
    let disk = SimDisk::new(5);
    let db = setup.open(&disk, PATH, Some(1)).map_err(words)?;
    let mut ledger = Ledger::opened(&db, Model::default(), true)?;
    let (mut rng, mut backups, mut earlier) = (Rng::with_seed(5), Vec::new(), None);
    for _ in 0..ACTIONS {
        let mut work = Work {
            db: &db,
            disk: &disk,
            clock: &setup.clock,
            ledger: &mut ledger,
            backups: &mut backups,
            rng: &mut rng,
        };
        if let Did::Failed(error) = work.write()? {
            return Err(words(error));
        }
        let bytes = db.stats().map_err(words)?.shards[0].core.log_bytes;
        if bytes > LOG_BYTES / 2 && earlier.is_none() {
            if checkpoint {
                db.checkpoint().map_err(words)?;
            }
            earlier = Some(disk.kill());
        }
        if bytes > LOG_BYTES * 9 / 10 {
            break;
        }
    }
    if checkpoint {
        db.checkpoint().map_err(words)?;
    }
    db.close().map_err(words)?;
    if checkpoint {
        // Shards that begin with a checkpoint: nothing else holds what is in it.
        setup.open(&disk, PATH, Some(2)).and_then(|db| db.close()).map_err(words)?;
    }
    Ok(Sound { setup, earlier: earlier.ok_or("the log did not fill")?, model: ledger.live, disk })
}

#[derive(Debug, Default)]
struct Tally {
    damages: u64,
    found: u64,
    harmless: u64,
    violations: Vec<String>,
}

impl Sound {
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let is = |path: &PathBuf| {
            let path = path.to_string_lossy();
            // Of the generation before, only the history is left: opening does not read it.
            path.starts_with(PATH)
                && path.ends_with(ending)
                && !(ending == ".ckpt" && path.contains("gen-0001"))
        };
        self.disk.files().into_iter().filter(is).collect()
    }

    fn try_with(&self, path: &Path, bytes: Vec<u8>, what: &dyn Fn() -> String, tally: &mut Tally) {
        let disk = self.disk.kill();
        disk.put(path, bytes);
        tally.damages += 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let db = self.setup.open(&disk, PATH, None);
            db.map(|db| self.model.compare(&db, self.setup.now()))
        }));
        match outcome {
            Ok(Err(_)) => tally.found += 1,
            Ok(Ok(Ok(()))) => tally.harmless += 1,
            Ok(Ok(Err(difference))) => {
                tally.violations.push(format!("{}, {}: opened, but {difference}", path.display(), what()));
            }
            Err(_) => tally.violations.push(format!("{}, {}: panicked", path.display(), what())),
        }
    }

    fn damage(&self, path: &Path, stride: usize, tally: &mut Tally) {
        let Some(sound) = self.disk.contents(path) else { return };
        for bit in (0..sound.len() * 8).step_by(stride) {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            self.try_with(path, bytes, &|| format!("bit {bit} flipped"), tally);
        }
        for len in (0..sound.len()).step_by(stride) {
            self.try_with(path, sound[..len].to_vec(), &|| format!("cut to {len} bytes"), tally);
        }
        let sector_bytes = SECTOR_BYTES as usize;
        let sectors = sound.len() / sector_bytes;
        let range = |sector: usize| sector * sector_bytes..(sector + 1) * sector_bytes;
        let earlier = self.earlier.contents(path).unwrap_or_default();
        for sector in 0..sectors {
            let mut bytes = sound.clone();
            bytes[range(sector)].fill(0);
            self.try_with(path, bytes, &|| format!("sector {sector} zeroed"), tally);
            if let Some(old) = earlier.get(range(sector)) {
                let mut bytes = sound.clone();
                bytes[range(sector)].copy_from_slice(old);
                self.try_with(path, bytes, &|| format!("sector {sector} stale"), tally);
            }
            for other in (sector + 1..sectors).step_by(stride.min(sectors)) {
                let mut bytes = sound.clone();
                bytes[range(sector)].copy_from_slice(&sound[range(other)]);
                bytes[range(other)].copy_from_slice(&sound[range(sector)]);
                self.try_with(path, bytes, &|| format!("sectors {sector} and {other} swapped"), tally);
            }
        }
        for other in self.disk.files().into_iter().filter(|other| other != path) {
            if let Some(bytes) = self.disk.contents(&other) {
                self.try_with(path, bytes, &|| format!("replaced by {}", other.display()), tally);
            }
        }
    }
}

/// Damages a log and a checkpoint in every way, or in every `stride`-th.
pub fn run(stride: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    // What a panic would print is in the findings.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for (name, checkpoint, ending) in [("log", false, ".wal"), ("checkpoint", true, ".ckpt")] {
        let (start, mut tally) = (Instant::now(), Tally::default());
        match build(checkpoint) {
            Ok(sound) => {
                let files = sound.files(ending);
                if files.is_empty() {
                    tally.violations.push(format!("no {ending} among {:?}", sound.disk.files()));
                }
                files.iter().for_each(|path| sound.damage(path, stride, &mut tally));
                sound.files("MANIFEST").iter().for_each(|path| sound.damage(path, stride, &mut tally));
            }
            Err(what) => tally.violations.push(what),
        }
        for violation in tally.violations.iter().take(10) {
            eprintln!("{violation}");
        }
        let (found, harmless) = (tally.found, tally.harmless);
        findings.push(
            Finding::shown(&format!("corrupt.{name}.damages"), tally.damages as f64, "damages").note(
                format!("{found} found, {harmless} without effect, {:.0} s", start.elapsed().as_secs_f64()),
            ),
        );
        findings.push(Finding::violations(&format!("corrupt.{name}.violations"), &tally.violations));
    }
    std::panic::set_hook(hook);
    findings
}
