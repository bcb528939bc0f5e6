//! The slowest hundredth, beside the mean.

use std::hint::black_box;

use in_mem::Execution;

use super::Figures;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{any, filled, fresh, in_memory};
use crate::timing::{clock_nanos, tails, timed};

pub(super) fn measure(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let db = in_memory(Execution::Inline, 1)?;
    let run = filled(&db, &keys)?;
    let mut random = fastrand::Rng::with_seed(1);
    let clock = clock_nanos();
    let mut figures = Vec::new();
    let mut judge = |name: &str, samples: Vec<f64>| {
        let (p99, mean) = tails(&samples);
        figures.push(
            scale
                .judged(&format!("tail.{name}.p99/mean"), p99.ratio_to(&mean), "ratio", Limit::AtMost(20.0))
                .note(format!("{:.0} ns / {:.0} ns", p99.median(), mean.median())),
        );
        let mut sorted = samples;
        sorted.sort_by(f64::total_cmp);
        figures.push(Figure::shown(
            format!("tail.{name}.p99.9"),
            sorted[(sorted.len() * 999 / 1000).min(sorted.len() - 1)],
            "ns",
        ));
    };
    let count = scale.timed_operations;
    judge(
        "put",
        timed(count, clock, || {
            black_box(run.kv().put(any(&mut random, &keys), fresh()).expect("puts"));
        }),
    );
    judge(
        "get",
        timed(count, clock, || {
            black_box(run.kv().get(any(&mut random, &keys)).expect("reads"));
        }),
    );
    judge(
        "commit",
        timed(count, clock, || {
            run.transaction(|tx| {
                let value = tx.kv().get(any(&mut random, &keys))?;
                black_box(value);
                tx.kv().put(any(&mut random, &keys), fresh())
            })
            .expect("commits");
        }),
    );
    Ok(figures)
}
