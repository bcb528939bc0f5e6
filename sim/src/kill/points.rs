//! A process killed at every named point, in every mode; and killed again while what that left is recovered.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use in_mem_wal::{Failpoint, HEADER_BYTES, SEGMENT_HEADER_BYTES};

use super::process::{Doom, play};
use super::story::{Mode, Scene, Story};
use crate::finding::Finding;

/// Processes that are killed side by side: they wait for the disk more than they compute.
const SIDE_BY_SIDE: usize = 3;

/// A kill to be made.
#[derive(Debug, Clone)]
struct Case {
    mode: Mode,
    history: bool,
    story: Story,
    point: Failpoint,
    nth: u32,
    /// Points at which the recoveries behind it are killed.
    again: Vec<(Failpoint, u32)>,
    /// Whether the log's end is torn by hand before they are, and what lies in unused segments too.
    torn: bool,
    spares_torn: bool,
    seed: u64,
}

/// What came of all of them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) kills: u64,
    pub(super) acknowledged: i64,
    at: BTreeMap<&'static str, u64>,
    hits: BTreeMap<&'static str, u64>,
    pub(super) violations: Vec<String>,
}

impl Tally {
    /// A line for each point: how often a process was killed there.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut unreached = Vec::new();
        for point in Failpoint::ALL {
            let kills = self.at.get(point.name()).copied().unwrap_or(0);
            let hits = self.hits.get(point.name()).copied().unwrap_or(0);
            let name = format!("crash.at.{}", point.name());
            findings.push(
                Finding::shown(&name, kills as f64, "kills")
                    .note(format!("passed {hits} times where nothing was killed")),
            );
            if kills == 0 {
                unreached.push(format!("no process was killed at {}", point.name()));
            }
        }
        findings.push(Finding::violations("crash.points-never-reached", &unreached));
        findings
    }
}

/// Cuts the log's end off in the middle of a write, as a power cut would: what is behind the last record was never synced.
fn tear(path: &Path, spares: bool, rng: &mut Rng) -> std::io::Result<()> {
    let mut dirs = vec![path.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let file = entry?.path();
            if file.is_dir() {
                dirs.extend((!file.ends_with("archive")).then_some(file));
            } else if file.extension().is_some_and(|extension| extension == "wal") {
                let mut bytes = std::fs::read(&file)?;
                let end = end_of_records(&bytes);
                let unused = end == SEGMENT_HEADER_BYTES as usize;
                // A segment that is full, or would be an unused one's first record.
                let at = if unused { end + 8 } else { end };
                let sealed = bytes.get(end..end + HEADER_BYTES + 8).is_none();
                if (unused && !spares) || sealed || is_sealed(&bytes, end) {
                    continue;
                }
                let to = (at + rng.usize(8..200)).min(bytes.len());
                bytes[at..to].iter_mut().for_each(|byte| *byte = rng.u8(1..));
                std::fs::write(&file, bytes)?;
            }
        }
    }
    Ok(())
}

/// Where the first record begins that is none.
fn end_of_records(bytes: &[u8]) -> usize {
    let mut at = SEGMENT_HEADER_BYTES as usize;
    while let Some(next) = record_end(bytes, at) {
        at = next;
    }
    at
}

fn record_end(bytes: &[u8], at: usize) -> Option<usize> {
    let head = bytes.get(at..at + HEADER_BYTES)?;
    let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    (head[8] != 0).then_some(at + (HEADER_BYTES + len).next_multiple_of(8))
}

/// Whether the last record before `end` is a seal.
fn is_sealed(bytes: &[u8], end: usize) -> bool {
    const SEAL: u8 = 0x81;
    let (mut at, mut kind) = (SEGMENT_HEADER_BYTES as usize, 0);
    while at < end {
        kind = bytes[at + 8];
        at = record_end(bytes, at).unwrap_or(end);
    }
    kind == SEAL
}

/// Makes one kill and those behind it, and looks.
fn check(case: &Case, tally: &Mutex<Tally>) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    let mut rng = Rng::with_seed(case.seed);
    let dir = tempfile::tempdir().map_err(io)?;
    let mut scene =
        Scene { path: dir.path().join("db"), mode: case.mode, history: case.history, story: Story::Whole };
    let (mut floor, mut backups, mut behind) = (0, Vec::new(), 0);
    let mut note = |said: &super::process::Said, point: Failpoint| {
        let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tally.kills += u64::from(said.killed);
        if said.killed {
            *tally.at.entry(point.name()).or_default() += 1;
        }
        floor = said.number.unwrap_or(floor).max(floor);
        backups.extend(said.backups.iter().cloned());
        // One commit may have been made and not told of.
        behind += 1;
    };
    if case.story == Story::Reopening {
        // Something to be recovered: killed in the middle of its work.
        let said = play(&scene, Doom::At(Failpoint::Appended, rng.u32(20..220)), None).map_err(io)?;
        note(&said, Failpoint::Appended);
        if case.torn {
            tear(&scene.path, case.spares_torn, &mut rng).map_err(io)?;
        }
        scene.story = Story::Reopening;
    }
    let said = play(&scene, Doom::At(case.point, case.nth), None).map_err(io)?;
    if !said.killed && !said.succeeded {
        return Err("the process failed by itself".to_owned());
    }
    note(&said, case.point);
    if case.mode != Mode::InMemory {
        scene.story = Story::Reopening;
        for (turn, (point, nth)) in case.again.iter().enumerate() {
            if turn == 0 && case.torn && case.story == Story::Whole && scene.path.exists() {
                tear(&scene.path, case.spares_torn, &mut rng).map_err(io)?;
            }
            let said = play(&scene, Doom::At(*point, *nth), None).map_err(io)?;
            if !said.killed && !said.succeeded {
                return Err(format!("recovery number {turn} failed by itself"));
            }
            note(&said, *point);
        }
        let found = scene.look()?;
        if found < floor || found > floor + behind {
            return Err(format!("{floor} was acknowledged, {found} is there"));
        }
        // What was recovered once is recovered again.
        let again = scene.look()?;
        if again != found {
            return Err(format!("{found} was there, and {again} when it was opened once more"));
        }
    }
    for (number, path) in &backups {
        match Scene::look_at_backup(path)? {
            Ok(found) if found >= *number => {}
            Ok(found) => return Err(format!("a backup of {number} holds {found}")),
            Err(error) => return Err(format!("a backup that was made does not open: {error}")),
        }
    }
    // Those that were not finished are refused by name, or hold one moment.
    for entry in std::fs::read_dir(dir.path()).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path != scene.path && !backups.iter().any(|(_, made)| *made == path) {
            let _ = Scene::look_at_backup(&path)?;
        }
    }
    tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).acknowledged += floor;
    Ok(())
}

/// Kills a process `each` times at every point in every mode that comes there; 0: once in one mode.
pub(super) fn run(each: u32, seed: u64) -> Tally {
    let mut rng = Rng::with_seed(seed);
    let tally = Mutex::new(Tally::default());
    let cases = match plan(each, &mut rng, &tally) {
        Ok(cases) => cases,
        Err(what) => {
            let mut tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            tally.violations.push(what);
            return tally;
        }
    };
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                // Relaxed: only tells the threads apart.
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(what) = check(case, &tally) {
                        eprintln!("{case:?}: {what}");
                        let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        tally.violations.push(format!("{case:?}: {what}"));
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Counts how often each story comes to each point, and picks moments.
fn plan(each: u32, rng: &mut Rng, tally: &Mutex<Tally>) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    let mut planned: BTreeMap<Failpoint, u32> = BTreeMap::new();
    let settings = [
        (Mode::Strict, true, Story::Whole, false),
        (Mode::Strict, false, Story::Whole, false),
        (Mode::Strict, true, Story::Reopening, true),
        (Mode::Buffered, true, Story::Whole, false),
        (Mode::Buffered, false, Story::Whole, false),
        (Mode::Buffered, false, Story::Reopening, true),
        (Mode::Buffered, false, Story::Reopening, false),
        (Mode::InMemory, false, Story::Whole, false),
    ];
    for (mode, history, story, torn) in settings {
        for spares_torn in if torn { &[false, true][..] } else { &[false] } {
            let counts = count(mode, history, story, torn, *spares_torn, tally)?;
            for (point, count) in counts {
                let kills = if each > 0 { each } else { u32::from(!planned.contains_key(&point)) };
                for kill in 0..kills.min(count) {
                    *planned.entry(point).or_default() += 1;
                    // The first, the last, and some between.
                    let nth = match kill {
                        0 => 1,
                        1 => count,
                        _ => rng.u32(1..=count),
                    };
                    let again =
                        (0..rng.usize(0..3)).map(|_| (RECOVERY[rng.usize(..RECOVERY.len())], 1)).collect();
                    cases.push(Case {
                        mode,
                        history,
                        story,
                        point,
                        nth,
                        again,
                        torn: torn || rng.bool(),
                        spares_torn: *spares_torn || rng.bool(),
                        seed: rng.u64(..),
                    });
                }
            }
        }
    }
    Ok(cases)
}

/// Points that a recovery may come to.
const RECOVERY: &[Failpoint] = &[
    Failpoint::RecoverRead,
    Failpoint::RecoverLeftovers,
    Failpoint::RecoverHardened,
    Failpoint::RecoverTailCopied,
    Failpoint::RecoverLaterRemoved,
    Failpoint::RecoverLaterAside,
    Failpoint::RecoverCut,
    Failpoint::RecoverDeclared,
    Failpoint::RecoverDone,
    Failpoint::RecoverLoaded,
    Failpoint::ReplaceWritten,
    Failpoint::ReplaceRenamed,
    Failpoint::SpareHeaded,
    Failpoint::SpareSynced,
    Failpoint::SpareRenamed,
    Failpoint::Appended,
    Failpoint::SyncBegin,
];

fn count(
    mode: Mode,
    history: bool,
    story: Story,
    torn: bool,
    spares_torn: bool,
    tally: &Mutex<Tally>,
) -> Result<Vec<(Failpoint, u32)>, String> {
    let io = |error: std::io::Error| error.to_string();
    let dir = tempfile::tempdir().map_err(io)?;
    let mut scene = Scene { path: dir.path().join("db"), mode, history, story: Story::Whole };
    if story == Story::Reopening {
        play(&scene, Doom::At(Failpoint::Appended, 100), None).map_err(io)?;
        if torn {
            tear(&scene.path, spares_torn, &mut Rng::with_seed(1)).map_err(io)?;
        }
        scene.story = story;
    }
    let said = play(&scene, Doom::Count, None).map_err(io)?;
    if !said.succeeded {
        return Err(format!("{mode:?}, {story:?}: it failed without being killed"));
    }
    let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut counts = Vec::new();
    for point in Failpoint::ALL {
        let hits = said.hits.get(point.name()).copied().unwrap_or(0);
        *tally.hits.entry(point.name()).or_default() += u64::from(hits);
        if hits > 0 {
            counts.push((*point, hits));
        }
    }
    Ok(counts)
}
