//! A real process on a real disk, killed again and again: while it writes, while it checkpoints, while it recovers.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use in_mem::{Database, Durability, RunId, Value};

use crate::finding::Finding;

/// Small, so that the log rolls over every few dozen commits.
const SEGMENT_BYTES: u64 = 16 << 10;
/// Small, so that a checkpoint is nearly always under way.
const CHECKPOINT_LOG_BYTES: u64 = 32 << 10;
/// Keys that a commit sets to one number, so that half a commit shows.
const KEYS: [&str; 3] = ["a", "b", "c"];
/// Longest that a process works before it is killed, in microseconds.
const WORK_LIMIT_US: u64 = 60_000;
/// Longest that a process recovers before it is killed, in microseconds.
const RECOVERY_LIMIT_US: u64 = 12_000;

fn run_id() -> RunId {
    RunId::from_bytes([7; 16])
}

fn open(path: &Path, strict: bool) -> in_mem::Result<Database> {
    let durability = if strict { Durability::Strict } else { Durability::buffered() };
    Database::builder()
        .path(path)
        .durability(durability)
        .shards(2)
        .segment_bytes(SEGMENT_BYTES)
        .checkpoint_log_bytes(Some(CHECKPOINT_LOG_BYTES))
        .keep_history(false)
        .open()
}

/// Counts up for ever: a commit, then its number on the standard output.
///
/// # Errors
/// What the database says.
pub fn child(path: &Path, strict: bool) -> Result<Infallible, Box<dyn std::error::Error>> {
    let db = open(path, strict)?;
    let run = match db.run(run_id()) {
        Ok(run) => run,
        Err(_) => db.new_run("killed").id(run_id()).begin()?,
    };
    let mut out = std::io::stdout().lock();
    let mut number = run.kv().get_as::<i64>(KEYS[0])?.unwrap_or(0);
    loop {
        number += 1;
        run.transaction(|tx| {
            KEYS.iter().try_for_each(|key| tx.kv().put(key, number))?;
            tx.events().append("counted", number)
        })?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
}

/// What is there: the number, the same under every key, and as many events.
fn look(path: &Path, strict: bool) -> Result<i64, String> {
    let words = |error: in_mem::Error| error.to_string();
    let db = open(path, strict).map_err(|error| format!("it does not open: {error}"))?;
    let Ok(run) = db.run(run_id()) else { return Ok(0) };
    let numbers: Vec<i64> = run
        .kv()
        .get_many(KEYS)
        .map_err(words)?
        .into_iter()
        .map(|value| value.as_ref().and_then(Value::as_i64).unwrap_or(0))
        .collect();
    let events = run.events().len().map_err(words)?;
    if numbers.iter().any(|number| *number != numbers[0]) || events != numbers[0].unsigned_abs() {
        return Err(format!("half a commit: {numbers:?}, {events} events"));
    }
    Ok(numbers[0])
}

/// Starts the process, kills it after so long, gives the last number that it acknowledged.
fn kill(path: &Path, strict: bool, after: Duration, wait_for_first: bool) -> std::io::Result<Option<i64>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("child").arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    if strict {
        command.arg("--strict");
    }
    let mut child = command.spawn()?;
    let Some(out) = child.stdout.take() else { return Ok(None) };
    let mut lines = BufReader::new(out).lines();
    let mut last = if wait_for_first { lines.next().transpose()? } else { None };
    let reader = std::thread::spawn(move || {
        for line in lines {
            // A line that the kill cut short has no number that was acknowledged.
            let Ok(line) = line else { break };
            last = Some(line);
        }
        last
    });
    std::thread::sleep(after);
    // SIGKILL.
    child.kill()?;
    child.wait()?;
    let last = reader.join().unwrap_or(None);
    Ok(last.and_then(|line| line.parse().ok()))
}

/// Kills so many processes.
pub fn run(kills: u32, seed: u64) -> Vec<Finding> {
    let start = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let mut violations = Vec::new();
    let (mut done, mut acknowledged) = (0, 0);
    while done < kills && violations.len() < 10 {
        let strict = rng.bool();
        match series(&mut rng, strict, kills - done) {
            Ok((kills, numbers)) => {
                done += kills;
                acknowledged += numbers;
            }
            Err(what) => {
                eprintln!("{what}");
                violations.push(format!("seed {seed}, strict {strict}, behind kill {done}: {what}"));
                done += 1;
            }
        }
    }
    vec![
        Finding::shown("crash.kills", f64::from(done), "kills")
            .note(format!("{:.0} s", start.elapsed().as_secs_f64())),
        Finding::shown("crash.acknowledged", acknowledged as f64, "commits"),
        Finding::violations("crash.violations", &violations),
    ]
}

/// One database, killed several times.
fn series(rng: &mut Rng, strict: bool, most: u32) -> Result<(u32, i64), String> {
    /// Kills of one database.
    const KILLS: u32 = 12;
    let io = |error: std::io::Error| error.to_string();
    let dir = tempfile::tempdir().map_err(io)?;
    let path = dir.path().join("db");
    let (mut kills, mut floor) = (0, 0);
    while kills < most.min(KILLS) {
        let after = Duration::from_micros(rng.u64(..WORK_LIMIT_US));
        let last = kill(&path, strict, after, true).map_err(io)?;
        kills += 1;
        floor = last.unwrap_or(floor).max(floor);
        // While it recovers, also twice in a row. It may come as far as to write.
        for _ in 0..rng.u32(..3).min(most.saturating_sub(kills)) {
            let after = Duration::from_micros(rng.u64(..RECOVERY_LIMIT_US));
            floor = kill(&path, strict, after, false).map_err(io)?.unwrap_or(floor).max(floor);
            kills += 1;
        }
        if rng.bool() {
            let found = look(&path, strict)?;
            // One commit may have been made and not told of, and one behind each recovery that was killed.
            if found < floor || found > floor + 3 {
                return Err(format!("{floor} was acknowledged, {found} is there"));
            }
            floor = found;
        }
    }
    let found = look(&path, strict)?;
    if found < floor {
        return Err(format!("{floor} was acknowledged, {found} is there"));
    }
    Ok((kills, found))
}
