//! Figures of durability on this machine: `cargo run --release -p in-mem --example durability_figures [NAME...]`, names: recovery,
//! checkpoint, strict.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use in_mem::{Database, Durability, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    let dir = tempfile::tempdir_in(".")?;
    if wanted("recovery") {
        recovery(dir.path())?;
    }
    if wanted("checkpoint") {
        checkpoint(dir.path())?;
    }
    if wanted("strict") {
        strict(dir.path())?;
    }
    Ok(())
}

fn key(i: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[8..].copy_from_slice(&(i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_be_bytes());
    key
}

/// What this thread has spent on a core: one shard is recovered on the thread that opens, and on a busy machine the
/// clock tells more of the others.
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn recovery(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const PUTS: u64 = 1_000_000;
    let path = dir.join("recovery");
    let open = || {
        Database::builder()
            .path(&path)
            .shards(1)
            .checkpoint_interval(None)
            .checkpoint_log_bytes(None)
            .keep_history(false)
            .open()
    };
    let db = open()?;
    let run = db.begin_run("recovery")?;
    let value = Value::from(vec![7u8; 100]);
    for i in 0..PUTS {
        run.kv().put(key(i), value.clone())?;
    }
    let log_bytes = db.stats()?.shards[0].core.log_bytes;
    println!("log bytes a put / 116: {:.2}", log_bytes as f64 / PUTS as f64 / 116.0);
    db.close()?;
    drop((run, db));
    let map_start = Instant::now();
    let mut map: HashMap<Box<[u8]>, Box<[u8]>> = HashMap::new();
    for i in 0..PUTS {
        map.insert(key(i).into(), vec![7u8; 100].into());
    }
    let map_time = map_start.elapsed();
    drop(map);
    for _ in 0..3 {
        let (start, cpu) = (Instant::now(), cpu_nanos());
        let db = open()?;
        let time = start.elapsed();
        println!("of which on a core: {} ms", (cpu_nanos() - cpu) / 1_000_000);
        println!(
            "recovery of {PUTS} puts from the log: {time:?}, {:.2} M/s; / HashMap insert {:.2}",
            PUTS as f64 / time.as_secs_f64() / 1e6,
            time.as_secs_f64() / map_time.as_secs_f64()
        );
        db.close()?;
    }
    let db = open()?;
    let start = Instant::now();
    let done = db.checkpoint()?;
    println!("checkpoint: {:?} {:?}", start.elapsed(), done[0]);
    db.close()?;
    drop(db);
    let start = Instant::now();
    let db = open()?;
    println!("recovery from the checkpoint: {:?}", start.elapsed());
    db.close()?;
    Ok(())
}

fn percentile(sorted: &[u64], p: f64) -> u64 {
    sorted[((sorted.len() - 1) as f64 * p) as usize]
}

fn checkpoint(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const KEYS: u64 = 1_000_000;
    for keep in [false, true] {
        let path = dir.join(format!("checkpoint-{keep}"));
        let db = Database::builder()
            .path(&path)
            .shards(1)
            .checkpoint_interval(None)
            .checkpoint_log_bytes(None)
            .keep_history(keep)
            .open()?;
        let run = db.begin_run("checkpoint")?;
        let value = Value::from(vec![7u8; 100]);
        for i in 0..KEYS {
            run.kv().put(key(i), value.clone())?;
        }
        let mut next = 0u64;
        let mut puts = |until: &dyn Fn(usize) -> bool| -> Vec<u64> {
            let mut nanos = Vec::new();
            while until(nanos.len()) {
                let start = Instant::now();
                run.kv().put(key(next % KEYS), value.clone()).expect("puts");
                nanos.push(start.elapsed().as_nanos() as u64);
                next = next.wrapping_add(7919);
            }
            nanos.sort_unstable();
            nanos
        };
        let tell = |what: &str, nanos: &[u64]| {
            println!(
                "{what}: {} puts, p50 {} p99 {} p99.9 {} max {} ns",
                nanos.len(),
                percentile(nanos, 0.5),
                percentile(nanos, 0.99),
                percentile(nanos, 0.999),
                nanos[nanos.len() - 1]
            );
        };
        let without = puts(&|n| n < 1_000_000);
        tell("without a checkpoint", &without);
        let with = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let start = Instant::now();
                let done = db.checkpoint();
                (start.elapsed(), done.map(|d| d[0]))
            });
            let with = puts(&|_| !worker.is_finished());
            println!("checkpoint: {:?}", worker.join().expect("no panic"));
            with
        });
        tell("while one is written", &with);
        println!(
            "p99 with / without: {:.2}",
            percentile(&with, 0.99) as f64 / percentile(&without, 0.99) as f64
        );
        db.close()?;
    }
    Ok(())
}

fn bare_loop(dir: &Path) -> Result<f64, Box<dyn std::error::Error>> {
    let file = std::fs::File::create(dir.join("bare"))?;
    let zeroes = vec![0u8; 1 << 20];
    for i in 0..16 {
        file.write_all_at(&zeroes, i << 20)?;
    }
    file.sync_all()?;
    let (start, mut count) = (Instant::now(), 0u64);
    while start.elapsed() < Duration::from_secs(2) {
        file.write_all_at(&[7; 200], count % 80_000 * 200)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn strict(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let bare = bare_loop(dir)?;
    println!("bare pwrite + fdatasync: {bare:.0}/s");
    let db = Database::builder()
        .path(dir.join("strict"))
        .shards(1)
        .durability(Durability::Strict)
        .checkpoint_interval(None)
        .checkpoint_log_bytes(None)
        .open()?;
    let run = db.begin_run("strict")?;
    let value = Value::from(vec![7u8; 100]);
    let (start, mut count) = (Instant::now(), 0u64);
    while start.elapsed() < Duration::from_secs(2) {
        run.kv().put(key(count), value.clone())?;
        count += 1;
    }
    let one = count as f64 / start.elapsed().as_secs_f64();
    println!("Strict, one client: {one:.0}/s; bare / it {:.2}", bare / one);
    let total = std::sync::atomic::AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..2u64 {
            let (run, value, total) = (&run, &value, &total);
            scope.spawn(move || {
                let mut pending = std::collections::VecDeque::new();
                let mut count = 0;
                while start.elapsed() < Duration::from_secs(2) {
                    while pending.len() < 32 {
                        pending.push_back(
                            run.kv().put_async(key(thread << 32 | count), value.clone()).expect("sent"),
                        );
                        count += 1;
                    }
                    pending.pop_front().expect("some").wait().expect("put");
                }
                for p in pending {
                    p.wait().expect("put");
                }
                total.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            });
        }
    });
    let in_flight = total.load(std::sync::atomic::Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    let bare = bare_loop(dir)?;
    println!("Strict, 64 in flight from 2 threads: {in_flight:.0}/s; / bare {:.1}", in_flight / bare);
    let total = std::sync::atomic::AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..64u64 {
            let (run, value, total) = (&run, &value, &total);
            scope.spawn(move || {
                let mut count = 0;
                while start.elapsed() < Duration::from_secs(2) {
                    run.kv().put(key(thread << 32 | count), value.clone()).expect("put");
                    count += 1;
                }
                total.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            });
        }
    });
    let blocking = total.load(std::sync::atomic::Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    let bare = bare_loop(dir)?;
    println!("Strict, 64 blocking threads: {blocking:.0}/s; / bare {:.1}", blocking / bare);
    db.close()?;
    Ok(())
}
