//! What a run's past costs: replaying it, forking it, comparing what came of it.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use in_mem::{Database, Durability, Execution, ForkOptions, Run, RunId};

use super::{Error, Figures};
use crate::counting::counted;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{fresh, in_memory, key, scratch};
use crate::timing::{Series, median, nanos};

/// Of how many commits of a log one is the replayed run's.
const ONE_IN: u64 = 1_000;
/// Runs whose commits are the rest of the log.
const OTHER_RUNS: u64 = 100;
/// Keys that a fork and its parent each write since they parted.
const CHANGES: u64 = 5;
/// Forks, or diffs, timed together.
const TOGETHER: usize = 20;

/// Replays of a run in a log of its own, and in one that is a thousand times as long.
pub(super) fn replay(scale: &Scale) -> Figures {
    let own = scale.many_keys as u64 / 100;
    let dir = scratch()?;
    let (alone, one) = logged(&dir.path().join("alone"), own, 1)?;
    let (among, other) = logged(&dir.path().join("among"), own, ONE_IN)?;
    let [mut short, mut long]: [Series; 2] = Default::default();
    // The first replay of a log makes the indexes of segments that have none yet.
    for db in [(&alone, one), (&among, other)] {
        replayed(db.0, db.1, own)?;
    }
    for _ in 0..scale.long_rounds {
        for (db, run, series) in [(&alone, one, &mut short), (&among, other, &mut long)] {
            let start = Instant::now();
            replayed(db, run, own)?;
            series.push(start.elapsed().as_nanos() as f64);
        }
    }
    among.close()?;
    alone.close()?;
    // A run that is long enough for a rate.
    let (whole, many) = (dir.path().join("whole"), scale.many_keys as u64);
    let (db, run) = logged(&whole, many, 1)?;
    let mut rates = Vec::new();
    for _ in 0..scale.long_rounds.min(3) {
        let start = Instant::now();
        replayed(&db, run, many)?;
        rates.push(many as f64 / start.elapsed().as_secs_f64());
    }
    db.close()?;
    Ok(vec![
        scale
            .judged("replay.10k-of-10m/alone", long.ratio_to(&short), "ratio", Limit::AtMost(1.5))
            .note(format!("{:.1} ms / {:.1} ms", long.median() / 1e6, short.median() / 1e6)),
        scale.judged("replay.commits-per-second", median(rates), "1/s", Limit::AtLeast(1e6)),
    ])
}

/// A log in which one commit in `one_in` is a run's, evenly spread.
fn logged(path: &Path, own: u64, one_in: u64) -> Result<(Database, RunId), Error> {
    let durability = Durability::Buffered { interval: Duration::from_secs(3600), bytes: u64::MAX };
    let db = Database::builder().path(path).durability(durability).shards(1).open()?;
    let run = db.begin_run("gates")?;
    let others: Vec<Run> = (0..if one_in > 1 { OTHER_RUNS } else { 0 })
        .map(|_| db.begin_run("other"))
        .collect::<Result<_, _>>()?;
    for n in 0..own {
        run.kv().put(key(n), fresh())?;
        for (m, other) in (1..one_in).zip(others.iter().cycle()) {
            // Few keys and small values: the log is what is to be long.
            other.kv().put((m % 1_000).to_be_bytes(), n as i64)?;
        }
    }
    db.sync()?;
    Ok((db, run.id()))
}

fn replayed(db: &Database, run: RunId, own: u64) -> Result<(), Error> {
    let at = db.replay(run)?;
    // Its beginning is a commit, too.
    if at.commits() as u64 != own + 1 {
        return Err(format!("{} commits were replayed of {own}", at.commits()).into());
    }
    drop(black_box(at));
    Ok(())
}

/// A database with a run that holds so many keys.
fn holding(keys: u64) -> Result<(Database, Run), Error> {
    let db = in_memory(Execution::default(), 1)?;
    let run = db.begin_run("gates")?;
    (0..keys).try_for_each(|n| run.kv().put(key(n), fresh()).map(drop))?;
    Ok((db, run))
}

/// Forks of a run of many keys, beside forks of one of ten.
pub(super) fn fork(scale: &Scale) -> Figures {
    let many = scale.many_keys as u64;
    let ((few_db, few), (_db, large)) = (holding(10)?, holding(many)?);
    let [mut small, mut big]: [Series; 2] = Default::default();
    let forked = |run: &Run| run.fork(ForkOptions::default()).expect("forks");
    for round in 0..=scale.rounds {
        for (run, series) in [(&few, &mut small), (&large, &mut big)] {
            let each = nanos(TOGETHER, || (0..TOGETHER).for_each(|_| drop(black_box(forked(run)))));
            if round > 0 {
                series.push(each);
            }
        }
    }
    drop(few_db);
    let bytes = |run: &Run| {
        let ((), counts) = counted(|| (0..TOGETHER).for_each(|_| drop(forked(run))));
        counts.live_bytes as f64 / TOGETHER as f64
    };
    let ((_few_db, few), (_db, large)) = (holding(10)?, holding(many)?);
    let (bytes_small, bytes_big) = (bytes(&few), bytes(&large));
    let (log_small, log_big) = (fork_log_bytes(10)?, fork_log_bytes(scale.keys as u64)?);
    Ok(vec![
        scale
            .judged("fork.1m-keys/10-keys", big.ratio_to(&small), "ratio", Limit::AtMost(2.0))
            .note(format!("{:.1} us / {:.1} us", big.median() / 1e3, small.median() / 1e3)),
        scale
            .judged("fork.heap.1m-keys/10-keys", bytes_big / bytes_small, "ratio", Limit::AtMost(2.0))
            .note(format!("{bytes_big:.0} B / {bytes_small:.0} B")),
        Figure::limited("fork.log.many-keys/10-keys", log_big / log_small, "ratio", Limit::AtMost(1.1))
            .note(format!("{log_big:.0} B / {log_small:.0} B")),
    ])
}

/// Bytes of log that a fork of a run of so many keys takes.
fn fork_log_bytes(keys: u64) -> Result<f64, Error> {
    let dir = scratch()?;
    let (db, run) = logged(dir.path(), keys, 1)?;
    let run = db.run(run)?;
    let bytes =
        || -> Result<u64, Error> { Ok(db.stats()?.shards.iter().map(|shard| shard.core.log_bytes).sum()) };
    let before = bytes()?;
    for _ in 0..TOGETHER {
        run.fork(ForkOptions::default())?;
    }
    Ok((bytes()? - before) as f64 / TOGETHER as f64)
}

/// Diffs of a fork with ten changes and its parent of many keys, beside one of a thousand.
pub(super) fn diff(scale: &Scale) -> Figures {
    let apart = |keys: u64| -> Result<(Database, Run, Run), Error> {
        let (db, run) = holding(keys)?;
        let fork = run.fork(ForkOptions::default())?;
        for n in 0..CHANGES {
            fork.kv().put(key(n), n as i64)?;
            run.kv().put(key(CHANGES + n), n as i64)?;
        }
        Ok((db, run, fork))
    };
    let (small, big) = (apart(1_000)?, apart(scale.many_keys as u64)?);
    let [mut of_small, mut of_big]: [Series; 2] = Default::default();
    for round in 0..=scale.rounds {
        for ((db, run, fork), series) in [(&small, &mut of_small), (&big, &mut of_big)] {
            let each = nanos(TOGETHER, || {
                for _ in 0..TOGETHER {
                    let diff = db.diff(run.id(), fork.id()).expect("compares");
                    assert_eq!(diff.kv.len() as u64, 2 * CHANGES, "what was changed, and nothing else");
                }
            });
            if round > 0 {
                series.push(each);
            }
        }
    }
    Ok(vec![
        scale
            .judged("diff.fork-of-1m/of-1k", of_big.ratio_to(&of_small), "ratio", Limit::AtMost(2.0))
            .note(format!("{:.1} us / {:.1} us", of_big.median() / 1e3, of_small.median() / 1e3)),
    ])
}
