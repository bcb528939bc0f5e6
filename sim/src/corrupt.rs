//! Damage to files that were synced and closed: found, or without effect; never a wrong value, a loss or a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;
use in_mem::Durability;
use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::SECTOR_BYTES;

use crate::chronicle::Chronicle;
use crate::crash::{PATH, Setup};
use crate::finding::Finding;
use crate::ledger::Ledger;
use crate::model::Model;
use crate::workload::{Did, Work};

mod recycled;

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

/// What of a database is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// A log of one segment.
    Log,
    /// A log of several segments, in which the later ones vouch for the sealed ones.
    Segments,
    /// A checkpoint that nothing else backs.
    Checkpoint,
    /// The archive of a log, which makes up for its only checkpoint, damaged already.
    Archived,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Segments => "segments",
            Self::Checkpoint => "checkpoint",
            Self::Archived => "archived",
        }
    }

    const fn ending(self) -> &'static str {
        match self {
            Self::Log | Self::Segments | Self::Archived => ".wal",
            Self::Checkpoint => ".ckpt",
        }
    }

    /// How much log is written.
    const fn log_bytes(self) -> u64 {
        match self {
            Self::Log | Self::Checkpoint => LOG_BYTES * 9 / 10,
            Self::Segments | Self::Archived => LOG_BYTES * 5 / 2,
        }
    }
}

fn build(target: Target) -> Result<Sound, String> {
    let checkpoint = target == Target::Checkpoint;
    let words = |error: in_mem::Error| error.to_string();
    let mut setup = Setup::new(5, Durability::Strict, true);
    setup.segment_bytes = LOG_BYTES;
    let disk = SimDisk::new(5);
    let db = setup.open(&disk, PATH, Some(1)).map_err(words)?;
    let mut ledger = Ledger::opened(&db, Model::default(), true)?;
    let (mut rng, mut chronicle, mut earlier) = (Rng::with_seed(5), Chronicle::default(), None);
    for _ in 0..ACTIONS {
        let mut work = Work {
            db: &db,
            disk: &disk,
            clock: &setup.clock,
            ledger: &mut ledger,
            chronicle: &mut chronicle,
            faults: false,
            rng: &mut rng,
        };
        if let Did::Failed(error) = work.write()? {
            return Err(words(error));
        }
        let bytes = db.stats().map_err(words)?.shards[0].core.log_bytes;
        if bytes > target.log_bytes() / 2 && earlier.is_none() {
            if checkpoint {
                db.checkpoint().map_err(words)?;
            }
            earlier = Some(disk.kill());
        }
        if bytes > target.log_bytes() {
            break;
        }
    }
    if checkpoint || target == Target::Archived {
        db.checkpoint().map_err(words)?;
    }
    db.close().map_err(words)?;
    if target == Target::Archived {
        let checkpoints =
            disk.files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "ckpt"));
        for path in checkpoints.collect::<Vec<_>>() {
            let mut bytes = disk.contents(&path).unwrap_or_default();
            bytes.iter_mut().take(100).for_each(|byte| *byte ^= 1);
            disk.put(&path, bytes);
        }
        // Else every damage would be found, and nothing be shown.
        let opened = setup.open(&disk.kill(), PATH, None).map_err(words)?;
        ledger.live.compare(&opened, setup.now())?;
    }
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

impl Tally {
    fn add(&mut self, other: Self) {
        self.damages += other.damages;
        self.found += other.found;
        self.harmless += other.harmless;
        self.violations.extend(other.violations);
    }
}

/// One way to damage a file.
#[derive(Debug)]
enum Damage {
    Bit(usize),
    Cut(usize),
    Zeroed(usize),
    Stale(usize),
    Swapped(usize, usize),
    Replaced(PathBuf),
}

fn sector(number: usize) -> std::ops::Range<usize> {
    const BYTES: usize = SECTOR_BYTES as usize;
    number * BYTES..(number + 1) * BYTES
}

/// Where what the file's records and those of `later` segments say was synced ends, in bytes: damage before that has to be found.
///
/// A clean close syncs the log first and then writes a mark that fills the sector and the footer, both under one sync: the
/// footer vouches for all before the mark, and nothing for these two. Without them the log ends where its last commit does,
/// as it would if the process had been killed before their sync.
fn vouched(path: &Path, sound: &[u8], later: &[Vec<u8>]) -> usize {
    if path.extension().is_none_or(|extension| extension != "wal") {
        return sound.len();
    }
    let own = records(sound);
    let all = own.iter().copied().chain(later.iter().flat_map(|segment| records(segment)));
    let synced = all.filter_map(|(head, _)| synced_before(head)).max().unwrap_or(0);
    // A segment whose records vouch for none of its own holds at least its header, which is synced before it has a name.
    let header = in_mem_wal::SEGMENT_HEADER_BYTES as usize;
    own.iter().rfind(|(head, _)| number_of(head) <= synced).map_or(header, |(_, end)| *end)
}

fn u32_at(head: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

/// The number of the record with this header.
fn number_of(head: &[u8]) -> u64 {
    u64::from(u32_at(head, 16)) | u64::from(u32_at(head, 20)) << 32
}

/// The number of the last record of which this one says that it was synced, if it says so of any.
fn synced_before(head: &[u8]) -> Option<u64> {
    let distance = u32_at(head, 28);
    (distance != u32::MAX).then(|| number_of(head).saturating_sub(u64::from(distance)))
}

/// The records of a sound segment: each one's header, and where it ends.
fn records(segment: &[u8]) -> Vec<(&[u8], usize)> {
    let (mut records, mut at) = (Vec::new(), in_mem_wal::SEGMENT_HEADER_BYTES as usize);
    while let Some(head) = segment.get(at..at + in_mem_wal::HEADER_BYTES).filter(|head| head[8] != 0) {
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        at += (in_mem_wal::HEADER_BYTES + len as usize).next_multiple_of(8);
        records.push((head, at));
    }
    records
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

    /// The file's bytes after this damage; `None` where it changes nothing, or there is nothing to do it with.
    fn damaged(&self, path: &Path, sound: &[u8], damage: &Damage) -> Option<Vec<u8>> {
        let mut bytes = sound.to_vec();
        match damage {
            Damage::Bit(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            Damage::Cut(len) => bytes.truncate(*len),
            Damage::Zeroed(at) => bytes[sector(*at)].fill(0),
            Damage::Stale(at) => {
                let earlier = self.earlier.contents(path)?;
                bytes[sector(*at)].copy_from_slice(earlier.get(sector(*at))?);
            }
            Damage::Swapped(a, b) => {
                bytes[sector(*a)].copy_from_slice(&sound[sector(*b)]);
                bytes[sector(*b)].copy_from_slice(&sound[sector(*a)]);
            }
            Damage::Replaced(by) => bytes = self.disk.contents(by)?,
        }
        (bytes != sound).then_some(bytes)
    }

    fn try_with(&self, path: &Path, sound: &[u8], vouched: usize, damage: &Damage, tally: &mut Tally) {
        let Some(bytes) = self.damaged(path, sound, damage) else { return };
        let first = bytes.iter().zip(sound).position(|(a, b)| a != b).unwrap_or(bytes.len());
        let disk = self.disk.kill();
        disk.put(path, bytes);
        tally.damages += 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let db = self.setup.open(&disk, PATH, None);
            db.map(|db| self.model.compare(&db, self.setup.now()))
        }));
        let wrong = match outcome {
            Ok(Err(_)) => {
                tally.found += 1;
                return;
            }
            Ok(Ok(Ok(()))) if first >= vouched => {
                tally.harmless += 1;
                return;
            }
            Ok(Ok(Ok(()))) => "not found, though it is of what was synced".to_owned(),
            Ok(Ok(Err(difference))) => format!("opened, but {difference}"),
            Err(_) => "panicked".to_owned(),
        };
        tally.violations.push(format!("{}, {damage:?}: {wrong}", path.display()));
    }

    /// Every damage, or every `stride`-th, over as many threads as there are cores.
    fn damage(&self, path: &Path, stride: usize, tally: &mut Tally) {
        let Some(sound) = self.disk.contents(path) else { return };
        let later: Vec<Vec<u8>> = self
            .files(".wal")
            .iter()
            .filter(|other| is_after(other, path))
            .filter_map(|other| self.disk.contents(other))
            .collect();
        let vouched = vouched(path, &sound, &later);
        let sectors = sound.len() / SECTOR_BYTES as usize;
        let mut damages: Vec<Damage> = (0..sound.len() * 8).step_by(stride).map(Damage::Bit).collect();
        damages.extend((0..sound.len()).step_by(stride).map(Damage::Cut));
        for at in 0..sectors {
            damages.extend([Damage::Zeroed(at), Damage::Stale(at)]);
            damages.extend(swaps(at, sectors, stride));
        }
        let others = self.disk.files().into_iter().filter(|other| other != path);
        damages.extend(others.map(Damage::Replaced));
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let tallies: Vec<Tally> = std::thread::scope(|scope| {
            let workers: Vec<_> = damages
                .chunks(damages.len().div_ceil(threads).max(1))
                .map(|some| {
                    let sound = &sound;
                    scope.spawn(move || {
                        let mut tally = Tally::default();
                        some.iter()
                            .for_each(|damage| self.try_with(path, sound, vouched, damage, &mut tally));
                        tally
                    })
                })
                .collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
        });
        tallies.into_iter().for_each(|some| tally.add(some));
    }
}

/// A sector's partners: all behind it where there are few, else its neighbour and some at random, so that a large file takes
/// no square of its size.
fn swaps(at: usize, sectors: usize, stride: usize) -> Vec<Damage> {
    /// Partners of each sector of a large file.
    const PARTNERS: usize = 64;
    let left = sectors - at - 1;
    if stride == 1 && left <= 2 * PARTNERS {
        return (at + 1..sectors).map(|other| Damage::Swapped(at, other)).collect();
    }
    let mut rng = Rng::with_seed(at as u64);
    let wanted = if stride == 1 { PARTNERS } else { 1 };
    let mut partners: Vec<usize> = (0..wanted.min(left)).map(|_| rng.usize(at + 1..sectors)).collect();
    partners.extend((left > 0).then_some(at + 1));
    partners.sort_unstable();
    partners.dedup();
    partners.into_iter().map(|other| Damage::Swapped(at, other)).collect()
}

/// Whether a segment comes after another one of the same log, be they archived or not.
fn is_after(segment: &Path, other: &Path) -> bool {
    let shard =
        |path: &Path| path.ancestors().skip(1).find(|dir| !dir.ends_with("archive")).map(Path::to_owned);
    shard(segment) == shard(other) && segment.file_name() > other.file_name()
}

/// Bits and lengths of the log of several segments are damaged more sparsely by this; its sectors, all of them.
const SEGMENTS_STRIDE: usize = 37;

/// Damages a log, a longer log, a checkpoint and the archive behind a damaged one in every way, or in every `stride`-th.
pub fn run(stride: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    // What a panic would print is in the findings.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for target in [Target::Log, Target::Segments, Target::Checkpoint, Target::Archived] {
        let (name, ending) = (target.name(), target.ending());
        let is_long = matches!(target, Target::Segments | Target::Archived);
        let stride = if is_long { stride * SEGMENTS_STRIDE } else { stride };
        let (start, mut tally) = (Instant::now(), Tally::default());
        match build(target) {
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
        told(name, start, &tally, &mut findings);
    }
    let start = Instant::now();
    let tally = recycled::run().unwrap_or_else(|what| Tally { violations: vec![what], ..Tally::default() });
    told("recycled", start, &tally, &mut findings);
    std::panic::set_hook(hook);
    findings
}

fn told(name: &str, start: Instant, tally: &Tally, findings: &mut Vec<Finding>) {
    for violation in tally.violations.iter().take(10) {
        eprintln!("{violation}");
    }
    let (found, harmless) = (tally.found, tally.harmless);
    findings.push(
        Finding::at_least(&format!("corrupt.{name}.damages"), tally.damages as f64, 1.0, "damages").note(
            format!("{found} found, {harmless} without effect, {:.0} s", start.elapsed().as_secs_f64()),
        ),
    );
    findings.push(Finding::violations(&format!("corrupt.{name}.violations"), &tally.violations));
}
