//! What the primitives cost beside a put, measured in this process: `cargo run --release --example measure_primitives`.
//! Numbers in one run compare with each other; between machines only the ratios do.

use std::hint::black_box;
use std::time::{Duration, Instant};

use in_mem::{Database, Durability, SpanDraft, Timestamp, Value};

const OPS: u64 = 200_000;
const ROUNDS: usize = 5;
const EVENTS: u64 = 1_000_000;
const RUNS: usize = 1_000_000;

/// The best of several rounds, in nanoseconds an operation.
fn best(mut round: impl FnMut(u64)) -> f64 {
    (0..ROUNDS as u64)
        .map(|n| {
            let start = Instant::now();
            round(n);
            start.elapsed().as_nanos() as f64 / OPS as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn measure(name: &str, durability: Durability) -> in_mem::Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let open = || match durability {
        Durability::InMemory => Database::builder().durability(durability).shards(1).open(),
        _ => Database::builder().durability(durability).path(dir.path()).shards(1).open(),
    };
    let db = open()?;
    let run = db.begin_run("measure")?;
    let value = Value::from(vec![7u8; 100]);
    let input = Value::from("a question of some fifty bytes, as a tool gets it.");
    let output = Value::from("an answer of about fifty bytes, as a tool gives it");
    // New keys, as events and spans are new keys too.
    let put = best(|round| {
        for n in 0..OPS {
            run.kv().put((round << 32 | n).to_be_bytes(), value.clone()).expect("puts");
        }
    });
    let append = best(|_| {
        for _ in 0..OPS {
            run.events().append("tool_call", input.clone()).expect("appends");
        }
    });
    let record = best(|_| {
        for _ in 0..OPS {
            let span = SpanDraft::tool_call("search").input(input.clone()).output(output.clone());
            run.traces().record(&span).expect("records");
        }
    });
    let first = Instant::now();
    let spans = run.traces().query().name("search").count()?;
    let first = first.elapsed();
    let indexed = best(|_| {
        for _ in 0..OPS / 10 {
            let span = SpanDraft::tool_call("search").input(input.clone()).output(output.clone());
            run.traces().record(&span).expect("records");
        }
    }) * 10.0;
    println!(
        "{name}: new key put {put:.0} ns; event append {append:.0} ns ({:.2}); span record {record:.0} ns ({:.2})",
        append / put,
        record / put
    );
    println!(
        "  first query over {spans} spans (builds the index) {first:.2?}; span record with the index {indexed:.0} ns ({:.2})",
        indexed / put
    );
    let watched = db.begin_run("watched")?;
    let _watch = watched.kv().watch("", 16)?;
    let beside = best(|round| {
        for n in 0..OPS {
            run.kv().put((1 << 60 | round << 32 | n).to_be_bytes(), value.clone()).expect("puts");
        }
    });
    println!("  put beside a watch on another run {beside:.0} ns ({:.2})", beside / put);
    db.close()
}

fn iterate() -> in_mem::Result<()> {
    let db = Database::builder().durability(Durability::InMemory).shards(1).open()?;
    let run = db.begin_run("events")?;
    for n in 0..EVENTS {
        run.events().append("tool_call", n as i64)?;
    }
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut sum = 0;
        for event in run.events().iter() {
            sum += event?.payload.as_i64().unwrap_or(0);
        }
        black_box(sum);
        fastest = fastest.min(start.elapsed());
    }
    println!("iterating {EVENTS} events: {:.2} million/s", EVENTS as f64 / fastest.as_secs_f64() / 1e6);
    let start = Instant::now();
    assert!(run.events().verify_chain()?.is_intact());
    println!("verifying their chain: {:.2?}", start.elapsed());
    Ok(())
}

fn runs() -> in_mem::Result<()> {
    let db = Database::builder().durability(Durability::InMemory).shards(1).open()?;
    let start = Instant::now();
    for n in 0..RUNS {
        let mut run = db.new_run(format!("run-{n}")).created_at(Timestamp(n as i64 + 1));
        for (tag, of) in [("ten", 100_000), ("thousand", 1_000), ("hundred-thousand", 10)] {
            if n % of == 0 {
                run = run.tag(tag);
            }
        }
        run.begin()?;
    }
    println!("beginning {RUNS} runs: {:.2?}", start.elapsed());
    for tag in ["ten", "thousand", "hundred-thousand"] {
        let start = Instant::now();
        let found = db.runs().tag(tag).list()?.len();
        let all = start.elapsed();
        let start = Instant::now();
        let (page, _) = db.runs().tag(tag).page(None, 10)?;
        let page_took = start.elapsed();
        println!(
            "runs by tag among {RUNS}: {found} in {all:.2?} ({:.0} ns each); a page of {} in {page_took:.2?}",
            all.as_nanos() as f64 / found as f64,
            page.len()
        );
    }
    Ok(())
}

fn main() -> in_mem::Result<()> {
    measure("in memory", Durability::InMemory)?;
    measure("buffered", Durability::buffered())?;
    iterate()?;
    runs()
}
