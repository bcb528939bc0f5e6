//! A put after idling: a parked thread must not be waked for it.

use std::time::Duration;

use in_mem::Execution;

use super::Figures;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{any, filled, fresh, in_memory};
use crate::timing::{clock_nanos, median, timed};

const IDLE_MS: u64 = 5;

pub(super) fn measure(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let db = in_memory(Execution::Inline, 1)?;
    let run = filled(&db, &keys)?;
    let mut random = fastrand::Rng::with_seed(1);
    let clock = clock_nanos();
    let put = |random: &mut fastrand::Rng| {
        run.kv().put(any(random, &keys), fresh()).expect("puts");
    };
    let hot = median(timed(scale.timed_operations, clock, || put(&mut random)));
    let mut idle = Vec::new();
    for _ in 0..scale.idle_puts {
        std::thread::sleep(Duration::from_millis(IDLE_MS));
        idle.extend(timed(1, clock, || put(&mut random)));
    }
    let idle = median(idle);
    Ok(vec![
        scale
            .judged("idle.put-after-5ms/hot-put", idle / hot, "ratio", Limit::AtMost(10.0))
            .note(format!("{idle:.0} ns / {hot:.0} ns")),
        Figure::shown("idle.put-after-5ms", idle, "ns"),
    ])
}
