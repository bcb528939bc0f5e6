//! What a killed process named and did not sync is read by the next opening, and a power cut after that takes it away all the
//! same, unless that opening makes it durable: simulator seeds 20002430 (a manifest; the generation before it was removed),
//! 342 (a manifest; new) and 6684 (a segment).

use std::sync::Arc;

use in_mem::{Database, Durability, ManualClock, RunId, Timestamp, Value};
use in_mem_wal::SimDisk;

const RUNS: [RunId; 4] = [
    RunId::from_bytes([1; 16]),
    RunId::from_bytes([2; 16]),
    RunId::from_bytes([3; 16]),
    RunId::from_bytes([4; 16]),
];
/// Power cuts from each moment.
const CUTS: u64 = 6;

fn open(disk: &SimDisk, shards: Option<usize>, keep_history: bool) -> in_mem::Result<Database> {
    let builder = Database::builder()
        .path("/db")
        .segment_bytes(8 << 10)
        .storage(Arc::new(disk.clone()))
        .clock(Arc::new(ManualClock::new(Timestamp(1_000))))
        .background(false)
        .hash_seed(7)
        .keep_history(keep_history)
        .durability(Durability::Strict);
    match shards {
        Some(shards) => builder.shards(shards).open(),
        None => builder.open(),
    }
}

fn write(db: &Database, key: &str) -> in_mem::Result<()> {
    for id in RUNS {
        let run = match db.run(id) {
            Ok(run) => run,
            Err(_) => db.new_run("a run").id(id).begin()?,
        };
        run.kv().put(key, "x".repeat(300))?;
    }
    Ok(())
}

/// The process is killed at every operation that `work` does on a database made by `before`; it is opened, written to, and the power
/// goes: all that was acknowledged by anyone is there.
fn survives(keep_history: bool, before: impl Fn(&SimDisk), work: impl Fn(&SimDisk) -> in_mem::Result<()>) {
    let start = SimDisk::new(1);
    before(&start);
    let was_there = !start.files().is_empty();
    let whole = start.kill();
    work(&whole).expect("works");
    for at in start.ops() + 1..=whole.ops() {
        let disk = start.kill();
        disk.crash_before(at);
        // It fails, at the latest when the database is dropped.
        let _ = work(&disk);
        let killed = disk.kill();
        let db = open(&killed, Some(2).filter(|_| !was_there), keep_history)
            .unwrap_or_else(|error| panic!("killed at {at}: {error}"));
        write(&db, "after the kill").expect("writes");
        for seed in 0..CUTS {
            let image = killed.crash(seed);
            let again = open(&image, None, keep_history)
                .unwrap_or_else(|error| panic!("killed at {at}, power cut {seed}: {error}"));
            for id in RUNS {
                let run = again.run(id).unwrap_or_else(|error| panic!("killed at {at}: {error}"));
                let kept = |key: &str| run.kv().get(key).expect("reads").is_some();
                assert!(kept("after the kill"), "killed at {at}, power cut {seed}: lost what came after");
                assert!(
                    !was_there || kept("before"),
                    "killed at {at}, power cut {seed}: lost what was there"
                );
            }
        }
        killed.crash_before(killed.ops());
    }
}

fn made(keep_history: bool) -> impl Fn(&SimDisk) {
    move |disk| {
        let db = open(disk, Some(2), keep_history).expect("opens");
        write(&db, "before").expect("writes");
        db.close().expect("closes");
    }
}

#[test]
fn the_first_manifest_stays() {
    survives(true, |_| {}, |disk| open(disk, Some(2), true)?.close());
}

#[test]
fn the_manifest_of_another_number_of_shards_stays() {
    for keep_history in [false, true] {
        survives(keep_history, made(keep_history), |disk| open(disk, Some(3), keep_history)?.close());
    }
}

#[test]
fn a_checkpoint_stays_where_the_log_before_it_goes() {
    for keep_history in [false, true] {
        let work = |disk: &SimDisk| {
            let db = open(disk, None, keep_history)?;
            db.checkpoint()?;
            db.close()
        };
        survives(keep_history, made(keep_history), work);
    }
}

#[test]
fn segments_stay_that_the_log_rolls_into() {
    for keep_history in [false, true] {
        let work = |disk: &SimDisk| {
            let db = open(disk, None, keep_history)?;
            for n in 0..20 {
                db.run(RUNS[0])?.kv().put("more", Value::from(format!("{n} {}", "y".repeat(900))))?;
            }
            db.close()
        };
        survives(keep_history, made(keep_history), work);
    }
}
