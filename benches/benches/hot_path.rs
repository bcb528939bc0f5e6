//! The hot path by Criterion, for who changes it: `cargo bench --package in-mem-benches`. What has to hold is in the gates.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use in_mem::{Database, Run, Value};
// For its allocator, so that figures here and in the gates are taken on the same one.
use in_mem_benches as _;

const KEYS: u64 = 100_000;

fn fresh() -> Value {
    Value::Bytes(Arc::from([7_u8; 100]))
}

fn filled() -> Run {
    let db = Database::in_memory().expect("opens");
    let run = db.begin_run("hot path").expect("begins");
    for key in 0..KEYS {
        run.kv().put(u128::from(key).to_be_bytes(), fresh()).expect("puts");
    }
    run
}

fn hot_path(criterion: &mut Criterion) {
    let run = filled();
    let mut random = fastrand::Rng::with_seed(1);
    let mut key = || u128::from(random.u64(..KEYS)).to_be_bytes();
    criterion.bench_function("get", |bench| {
        bench.iter_batched(&mut key, |key| run.kv().get(key).expect("reads"), BatchSize::SmallInput);
    });
    criterion.bench_function("put", |bench| {
        bench.iter_batched(&mut key, |key| run.kv().put(key, fresh()).expect("puts"), BatchSize::SmallInput);
    });
    criterion.bench_function("event append", |bench| {
        bench.iter(|| run.events().append("note", black_box(7)).expect("appends"));
    });
    criterion.bench_function("transaction of a get and a put", |bench| {
        bench.iter_batched(
            &mut key,
            |key| {
                run.transaction(|tx| {
                    black_box(tx.kv().get(key)?);
                    tx.kv().put(key, fresh())
                })
                .expect("commits");
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
