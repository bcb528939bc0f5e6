//! Commits that wait for the disk, and puts while the disk is at work.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use in_mem::{Database, Durability, Run};

use super::{Error, Figures};
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{any, filled, fresh, key, scratch};
use crate::timing::{Series, clock_nanos, median, nanos, tails, timed};

/// Bytes of a put's record: what the bare loop writes.
const RECORD_BYTES: usize = 192;
/// Size of the file the bare loop writes to, zeroed before.
const FILE_BYTES: usize = 16 << 20;
/// Most puts that are timed beside one checkpoint.
const MOST_PUTS_BESIDE: usize = 4_000_000;
/// Writes under way at a time, over all threads.
const IN_FLIGHT: usize = 64;

/// Strict puts, beside a loop that does nothing but write and sync.
pub(super) fn strict(scale: &Scale) -> Figures {
    let dir = scratch()?;
    let bare = zeroed(&dir.path().join("bare"))?;
    let db =
        Database::builder().path(dir.path().join("db")).durability(Durability::Strict).shards(1).open()?;
    let run = db.begin_run("gates")?;
    let commits = scale.synced_commits;
    let mut offset = 0;
    let [mut one, mut loops, mut pending, mut blocking]: [Series; 4] = Default::default();
    // The first ones open files and make segments.
    (0..IN_FLIGHT as u64).try_for_each(|n| run.kv().put(key(n), fresh()).map(drop))?;
    for _ in 0..scale.long_rounds {
        // One of each in turn: the disk has slow moments, and these meet both.
        let (mut bares, mut puts) = (Vec::new(), Vec::new());
        for n in 0..commits as u64 {
            bares.push(nanos(1, || {
                bare.write_all_at(&[1; RECORD_BYTES], offset).expect("writes");
                bare.sync_data().expect("syncs");
            }));
            offset = (offset + RECORD_BYTES as u64) % (FILE_BYTES - RECORD_BYTES) as u64;
            puts.push(nanos(1, || {
                run.kv().put(key(n), fresh()).expect("puts");
            }));
        }
        loops.push(median(bares));
        one.push(median(puts));
        // Sixteen times as many: they take a fraction of the time each.
        let many = commits * 16;
        pending.push(together(2, many, |_| keep_in_flight(&run, many / 2)));
        blocking.push(together(IN_FLIGHT, many, |thread| {
            for n in 0..many / IN_FLIGHT {
                run.kv().put(key((thread * many + n) as u64), fresh()).expect("puts");
            }
        }));
    }
    db.close()?;
    let rate = |series: &Series| format!("{:.0}/s", 1e9 / series.median());
    Ok(vec![
        scale
            .judged("strict.put/pwrite-fdatasync", one.ratio_to(&loops), "ratio", Limit::AtMost(1.15))
            .note(format!("{:.0} us / {:.0} us", one.median() / 1e3, loops.median() / 1e3)),
        scale
            .judged("strict.64-pending/bare-loop", loops.ratio_to(&pending), "ratio", Limit::AtLeast(30.0))
            .note(format!("{} / {}", rate(&pending), rate(&loops))),
        scale
            .judged("strict.64-threads/bare-loop", loops.ratio_to(&blocking), "ratio", Limit::AtLeast(15.0))
            .note(format!("{} / {}", rate(&blocking), rate(&loops))),
        Figure::shown("strict.put", one.median() / 1e3, "us"),
    ])
}

/// `operations` done by threads that begin at once, each given its number: nanoseconds an operation, from the moment when all
/// are there to the end of the last. Starting a thread takes as long as several commits, and is none.
fn together(threads: usize, operations: usize, work: impl Fn(usize) + Sync) -> f64 {
    let line = Barrier::new(threads + 1);
    let (line, work) = (&line, &work);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    line.wait();
                    work(thread);
                })
            })
            .collect();
        nanos(operations, || {
            line.wait();
            running.into_iter().for_each(|thread| thread.join().expect("no panic"));
        })
    })
}

/// One thread's half of the writes under way.
fn keep_in_flight(run: &Run, commits: usize) {
    let mut under_way = VecDeque::with_capacity(IN_FLIGHT / 2);
    for n in 0..commits as u64 {
        if under_way.len() == IN_FLIGHT / 2
            && let Some(oldest) = under_way.pop_front()
        {
            in_mem::Pending::wait(oldest).expect("puts");
        }
        under_way.push_back(run.kv().put_async(key(n), fresh()).expect("begins"));
    }
    for pending in under_way {
        pending.wait().expect("puts");
    }
}

fn zeroed(path: &std::path::Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    Ok(file)
}

/// Buffered puts while syncs run behind them, beside puts with none.
pub(super) fn buffered(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let clock = clock_nanos();
    let dir = scratch()?;
    let open = |name: &str, interval| -> in_mem::Result<(Database, Run)> {
        let db = crate::subject::buffered(&dir.path().join(name), interval)?;
        let run = filled(&db, &keys)?;
        Ok((db, run))
    };
    let (quiet, quiet_run) = open("quiet", Duration::from_secs(3600))?;
    let (synced, synced_run) = open("synced", Duration::from_millis(10))?;
    quiet.sync()?;
    let mut random = fastrand::Rng::with_seed(1);
    let [mut with, mut without]: [Series; 2] = Default::default();
    for _ in 0..scale.long_rounds {
        for (run, series) in [(&quiet_run, &mut without), (&synced_run, &mut with)] {
            let samples = timed(scale.timed_operations / 4, clock, || {
                run.kv().put(any(&mut random, &keys), fresh()).expect("puts");
            });
            series.push(tails(&samples).0.median());
        }
        // What the quiet one left unsynced is written outside what is timed.
        quiet.sync()?;
    }
    let syncs: u64 = synced.stats()?.shards.iter().map(|shard| shard.syncs).sum();
    Ok(vec![
        scale
            .judged(
                "buffered.put-p99.with/without-syncs",
                with.ratio_to(&without),
                "ratio",
                Limit::AtMost(5.0),
            )
            .note(format!("{:.0} ns / {:.0} ns, {syncs} syncs", with.median(), without.median())),
    ])
}

/// Puts while a checkpoint of all keys is written, beside the same puts with none. Everything as it is by default, but that
/// checkpoints are written when they are asked for.
pub(super) fn checkpoint(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.many_keys);
    let clock = clock_nanos();
    let dir = scratch()?;
    let db = Database::builder()
        .path(dir.path())
        .shards(1)
        .checkpoint_interval(None)
        .checkpoint_log_bytes(None)
        .open()?;
    let run = filled(&db, &keys)?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut put = || {
        run.kv().put(any(&mut random, &keys), fresh()).expect("puts");
    };
    let [mut with, mut without, mut took]: [Series; 3] = Default::default();
    // Made once: memory that comes and goes beside the puts would give the system pages back that they then ask for.
    let [mut quiet, mut beside] = [(); 2].map(|()| Vec::with_capacity(MOST_PUTS_BESIDE));
    let mut puts = 0;
    // The first round is not counted: its puts are the first to overwrite.
    for round in 0..=scale.long_rounds {
        // What the checkpoint before held for its sake is let go by the puts behind it, which are neither with nor without.
        (0..beside.len()).for_each(|_| put());
        quiet.clear();
        beside.clear();
        quiet.extend((0..scale.timed_operations).map(|_| (nanos(1, &mut put) - clock).max(1.0)));
        let (written, seconds) = std::thread::scope(|scope| {
            let checkpoint = scope.spawn(|| {
                let start = Instant::now();
                (db.checkpoint(), start.elapsed().as_secs_f64())
            });
            while !checkpoint.is_finished() && beside.len() < MOST_PUTS_BESIDE {
                beside.push((nanos(1, &mut put) - clock).max(1.0));
            }
            checkpoint.join().expect("no panic")
        });
        let entries: u64 = written?.iter().flatten().map(|stats| stats.entries).sum();
        if entries < keys.len() as u64 {
            return Err(format!("a checkpoint of {} keys has {entries} entries", keys.len()).into());
        }
        if round > 0 {
            // Of all of them, whatever the checkpoint was at: a median of parts would leave a short bad phase out.
            with.push(p99_of(&mut beside));
            without.push(p99_of(&mut quiet));
            took.push(seconds);
            puts += beside.len();
        }
    }
    db.close()?;
    let ratio = with.ratio_to(&without);
    Ok(vec![scale.judged("checkpoint.put-p99.with/without", ratio, "ratio", Limit::AtMost(3.0)).note(
        format!(
            "{:.0} ns / {:.0} ns; {puts} puts beside {} checkpoints of {:.2} s",
            with.median(),
            without.median(),
            scale.long_rounds,
            took.median()
        ),
    )])
}

/// In place, so that it asks for no memory.
fn p99_of(samples: &mut [f64]) -> f64 {
    let at = (samples.len() * 99 / 100).min(samples.len() - 1);
    *samples.select_nth_unstable_by(at, f64::total_cmp).1
}
