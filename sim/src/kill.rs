//! A real process on a real disk, killed again and again: at random moments while it writes, checkpoints and recovers, and at
//! every named point ([`in_mem_wal::Failpoint`]) by itself.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::finding::Finding;

mod points;
mod process;
mod story;

pub use process::{Doom, doom, tell_hits};
pub use story::{Mode, Scene, Story};

/// Longest that a process works before it is killed, in microseconds.
const WORK_LIMIT_US: u64 = 60_000;
/// Longest that a process recovers before it is killed, in microseconds.
const RECOVERY_LIMIT_US: u64 = 12_000;

/// Kills so many processes at random moments, and each so often at every named point; 0: at every point once.
pub fn run(kills: u32, each: u32, seed: u64) -> Vec<Finding> {
    let start = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let mut violations = Vec::new();
    let (mut done, mut acknowledged) = (0, 0);
    while done < kills && violations.len() < 10 {
        let mode = if rng.bool() { Mode::Strict } else { Mode::Buffered };
        match series(&mut rng, mode, kills - done) {
            Ok((kills, numbers)) => {
                done += kills;
                acknowledged += numbers;
            }
            Err(what) => {
                eprintln!("{what}");
                violations.push(format!("seed {seed}, {mode:?}, behind kill {done}: {what}"));
                done += 1;
            }
        }
    }
    let at_random = start.elapsed().as_secs_f64();
    let mut tally = if cfg!(feature = "failpoints") {
        points::run(each, seed)
    } else {
        violations
            .push("built without the feature failpoints: nothing was killed at a named point".to_owned());
        points::Tally::default()
    };
    violations.append(&mut tally.violations);
    let mut findings = tally.findings();
    let at_points = start.elapsed().as_secs_f64() - at_random;
    findings.extend([
        Finding::at_least("crash.kills.random", f64::from(done), f64::from(kills), "kills")
            .note(format!("{at_random:.0} s")),
        Finding::shown("crash.kills.at-points", tally.kills as f64, "kills")
            .note(format!("{at_points:.0} s")),
        Finding::shown("crash.acknowledged", (acknowledged + tally.acknowledged) as f64, "commits"),
        Finding::violations("crash.violations", &violations),
    ]);
    findings
}

/// One database, killed several times at random.
fn series(rng: &mut Rng, mode: Mode, most: u32) -> Result<(u32, i64), String> {
    /// Kills of one database.
    const KILLS: u32 = 12;
    let io = |error: std::io::Error| error.to_string();
    let dir = tempfile::tempdir().map_err(io)?;
    let scene = Scene { path: dir.path().join("db"), mode, history: rng.bool(), story: Story::Counting };
    let (mut kills, mut floor) = (0, 0);
    let kill = |after: Duration, wait_for_first: bool| {
        process::play(&scene, Doom::None, Some((after, wait_for_first))).map(|said| said.number)
    };
    while kills < most.min(KILLS) {
        let last = kill(Duration::from_micros(rng.u64(..WORK_LIMIT_US)), true).map_err(io)?;
        kills += 1;
        floor = last.unwrap_or(floor).max(floor);
        // While it recovers, also twice in a row. It may come as far as to write.
        for _ in 0..rng.u32(..3).min(most.saturating_sub(kills)) {
            let after = Duration::from_micros(rng.u64(..RECOVERY_LIMIT_US));
            floor = kill(after, false).map_err(io)?.unwrap_or(floor).max(floor);
            kills += 1;
        }
        if rng.bool() {
            let found = scene.look()?;
            // One commit may have been made and not told of, and one behind each recovery that was killed.
            if found < floor || found > floor + 3 {
                return Err(format!("{floor} was acknowledged, {found} is there"));
            }
            floor = found;
        }
    }
    let found = scene.look()?;
    if found < floor {
        return Err(format!("{floor} was acknowledged, {found} is there"));
    }
    Ok((kills, found))
}

/// In the process that is killed.
///
/// # Errors
/// What the database says.
pub fn child(scene: &Scene, fate: Doom) -> Result<(), Box<dyn std::error::Error>> {
    doom(fate);
    scene.play()?;
    if fate == Doom::Count {
        tell_hits();
    }
    Ok(())
}

/// The point of this name.
pub fn point(name: &str) -> Option<in_mem_wal::Failpoint> {
    in_mem_wal::Failpoint::ALL.iter().copied().find(|point| point.name() == name)
}
