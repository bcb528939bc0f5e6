//! Measures the log: append, recovery, and Strict syncs against a bare loop. Short; prints one line per figure.
//!
//! `cargo run --release -p in-mem-wal --example measure -- DIR`

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use in_mem_wal::{Config, DiskStorage, Entry, Mode, ShardLog};

fn entry(n: u64, payload: &[u8]) -> Entry<'_> {
    Entry { kind: 1, skippable: false, run: [7; 16], version: n, timestamp: n as i64, payload }
}

fn open(dir: &Path, mode: Mode, bytes: u64) -> Result<(ShardLog, u64, f64), Box<dyn std::error::Error>> {
    let config = Config { mode, segment_bytes: bytes, ..Config::default() };
    let (mut count, mut sum) = (0u64, 0u64);
    let start = Instant::now();
    let (log, _) = ShardLog::recover(Arc::new(DiskStorage), dir, config, 9, None, &mut |r| {
        count += 1;
        sum = sum.wrapping_add(r.version ^ r.payload.len() as u64);
        Ok(())
    })?;
    std::hint::black_box(sum);
    Ok((log, count, start.elapsed().as_secs_f64()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args().nth(1).ok_or("usage: measure DIR")?;
    let base = Path::new(&base);
    let payload = [0x5a; 120];

    // Append: 5 rounds of 200,000 in a 64 MiB segment, no sync meanwhile.
    let dir = base.join("buffered");
    let (mut log, _, _) = open(&dir, Mode::Buffered, 64 << 20)?;
    let mut best = f64::MAX;
    let mut n = 0;
    for _ in 0..10 {
        if let Some(job) = log.spare_job() {
            log.add_spare(job.run()?);
        }
        let start = Instant::now();
        for _ in 0..100_000 {
            n += 1;
            log.append(entry(n, &payload))?;
        }
        let ns = start.elapsed().as_nanos() as f64 / 100_000.0;
        best = best.min(ns);
        print!("{ns:.1} ");
    }
    println!("\nbuffered append, 120 B: best {best:.1} ns");
    let start = Instant::now();
    log.sync()?;
    println!("sync of {n} records: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    for pause in 0..3 {
        let start = Instant::now();
        for _ in 0..20_000 {
            n += 1;
            log.append(entry(n, &payload))?;
        }
        let ns = start.elapsed().as_nanos() as f64 / 20_000.0;
        let start = Instant::now();
        log.sync()?;
        println!(
            "after sync {pause}: {ns:.1} ns an append, sync {:.2} ms",
            start.elapsed().as_secs_f64() * 1e3
        );
    }
    log.close()?;
    for _ in 0..3 {
        let (_, count, s) = open(&dir, Mode::Buffered, 64 << 20)?;
        println!("recovery: {count} records in {:.1} ms, {:.2} M/s", s * 1e3, count as f64 / s / 1e6);
    }

    // Strict against a bare loop, interleaved.
    let (mut log, _, _) = open(&base.join("strict"), Mode::Strict, 16 << 20)?;
    let bare =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(base.join("bare"))?;
    bare.write_all_at(&vec![0; 16 << 20], 0)?;
    bare.sync_data()?;
    let (mut ours, mut theirs, mut at) = (Vec::new(), Vec::new(), 0);
    for _ in 0..2_000 {
        let start = Instant::now();
        n += 1;
        log.append(entry(n, &payload))?;
        log.sync()?;
        ours.push(start.elapsed().as_nanos() as u64);
        let start = Instant::now();
        bare.write_all_at(&[1; 184], at)?;
        bare.sync_data()?;
        theirs.push(start.elapsed().as_nanos() as u64);
        at += 184;
    }
    ours.sort_unstable();
    theirs.sort_unstable();
    let (a, b) = (ours[1_000] as f64 / 1e3, theirs[1_000] as f64 / 1e3);
    println!(
        "strict append + sync: median {a:.1} us; bare pwrite + fdatasync: {b:.1} us; ratio {:.3}",
        a / b
    );
    Ok(())
}
