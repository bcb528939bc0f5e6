//! Short measurements of history: what a step adds to a put, how fast a run is replayed, what a fork costs.

use std::time::{Duration, Instant};

use in_mem::{Database, Error, ForkOptions, Result, Value};

fn each(count: u32, mut what: impl FnMut(u32) -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    for i in 0..count {
        what(i)?;
    }
    Ok(begun.elapsed() / count)
}

fn steps() -> Result<()> {
    const COUNT: u32 = 50_000;
    for round in 0..3 {
        let db = Database::in_memory()?;
        let run = db.begin_run("put")?;
        let put = each(COUNT, |i| run.kv().put(format!("key-{i:012}"), vec![7u8; 100]).map(|_| ()))?;
        let run = db.begin_run("step")?;
        let result = "a".repeat(100);
        let step = each(COUNT, |i| run.step("ask", i, || Ok::<_, Error>(result.clone())).map(|_| ()))?;
        let ratio = step.as_nanos() as f64 / put.as_nanos() as f64;
        println!("round {round}: put {put:?}, step {step:?}, ratio {ratio:.2} (at most 2.5)");
    }
    Ok(())
}

fn replay() -> Result<()> {
    const COUNT: u32 = 300_000;
    let dir = tempfile::tempdir().expect("a directory");
    let db = Database::builder().path(dir.path()).shards(1).open()?;
    let run = db.begin_run("replayed")?;
    for i in 0..COUNT {
        run.kv().put(format!("key-{:06}", i % 50_000), Value::from(vec![7u8; 100]))?;
    }
    for round in 0..3 {
        let begun = Instant::now();
        let at = db.replay(run.id())?;
        let took = begun.elapsed();
        let rate = at.commits() as f64 / took.as_secs_f64() / 1e6;
        println!(
            "round {round}: {} commits replayed in {took:?}: {rate:.2} million/s (at least 1)",
            at.commits()
        );
    }
    Ok(())
}

fn forks() -> Result<()> {
    for keys in [10, 1_000_000] {
        let db = Database::builder().durability(in_mem::Durability::InMemory).shards(1).open()?;
        let run = db.begin_run("parent")?;
        for i in 0..keys {
            run.kv().put(format!("key-{i:07}"), i)?;
        }
        let fork = each(1_000, |_| run.fork(ForkOptions::default()).map(|_| ()))?;
        println!("a fork of {keys} keys: {fork:?}");
        let fork = run.fork(ForkOptions::default())?;
        let own = each(200_000, |i| run.kv().get(format!("key-{:07}", i % 10)).map(|_| ()))?;
        let shared = each(200_000, |i| fork.kv().get(format!("key-{:07}", i % 10)).map(|_| ()))?;
        println!("  a get of the parent's own {own:?}, of what a fork shares {shared:?}");
    }
    Ok(())
}

fn main() -> Result<()> {
    steps()?;
    forks()?;
    replay()
}
