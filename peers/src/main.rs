//! in-mem beside other embedded engines, in one run: 100 k keys of 16 bytes, values of 100 bytes, one thread, one
//! operation a call. Prints one JSON object a line: `name`, `value`, `unit`, `limit`, `pass`. `cargo xtask peers` shows a table.

mod engines;

use std::hint::black_box;
use std::time::Instant;

use engines::{Engine, Key, Mode, Result};

/// How much is measured.
struct Scale {
    keys: u64,
    gets: usize,
    puts: usize,
    synced_puts: usize,
    rounds: usize,
}

const FULL: Scale = Scale { keys: 100_000, gets: 20_000, puts: 10_000, synced_puts: 100, rounds: 9 };
const SMOKE: Scale = Scale { keys: 1_000, gets: 500, puts: 500, synced_puts: 5, rounds: 3 };

fn key(number: u64) -> Key {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn nanos(count: usize, mut operation: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..count {
        operation()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}

/// All engines of a mode, each round one behind the other.
fn measure(mode: Mode, scale: &Scale) -> Result<()> {
    // On the disk that the repository lies on: where temporary files go may be memory.
    std::fs::create_dir_all("target")?;
    let dir = tempfile::Builder::new().prefix("peers-").tempdir_in("target")?;
    let mut subjects: Vec<(&str, Box<dyn Engine>)> = Vec::new();
    for (name, open) in engines::ENGINES {
        let path = dir.path().join(name);
        std::fs::create_dir_all(&path)?;
        let Some(mut engine) = open(&path, mode)? else { continue };
        engine.fill(&mut (0..scale.keys).map(key))?;
        eprintln!("{name}: {} keys, {}", scale.keys, mode.name());
        subjects.push((name, engine));
    }
    let puts = if mode == Mode::Synced { scale.synced_puts } else { scale.puts };
    let mut figures = vec![(Vec::new(), Vec::new()); subjects.len()];
    let mut random = fastrand::Rng::with_seed(7);
    // One round more than is counted, to warm up.
    for round in 0..=scale.rounds {
        for ((_, engine), (gets, puts_taken)) in subjects.iter_mut().zip(&mut figures) {
            let get = nanos(scale.gets, || {
                let found = engine.get(&key(random.u64(..scale.keys)))?;
                if black_box(found) != engines::VALUE_BYTES {
                    return Err("a value that was put was not found".into());
                }
                Ok(())
            })?;
            let put = nanos(puts, || engine.put(&key(random.u64(..scale.keys))))?;
            if round > 0 {
                gets.push(get);
                puts_taken.push(put);
            }
        }
    }
    for ((name, _), (gets, puts)) in subjects.iter().zip(figures) {
        for (operation, figures) in [("get", gets), ("put", puts)] {
            let line = serde_json::json!({
                "name": format!("peers.{}.{operation}.{name}", mode.name()),
                "value": median(figures),
                "unit": "ns",
                "limit": null,
                "pass": true,
            });
            println!("{line}");
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let scale = if std::env::args().any(|argument| argument == "--smoke") { SMOKE } else { FULL };
    for mode in [Mode::Memory, Mode::NotSynced, Mode::Synced] {
        measure(mode, &scale)?;
    }
    Ok(())
}
