//! The event log, beside KV.

use std::hint::black_box;
use std::time::Instant;

use in_mem::Execution;

use super::Figures;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{any, filled, fresh, in_memory};
use crate::timing::{interleaved, median};

pub(super) fn measure(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let db = in_memory(Execution::Inline, 1)?;
    let run = filled(&db, &keys)?;
    let mut random = fastrand::Rng::with_seed(1);
    let [append, put] = interleaved(
        scale.rounds,
        scale.operations,
        [
            &mut || {
                for _ in 0..scale.operations {
                    black_box(run.events().append("note", fresh()).expect("appends"));
                }
            },
            &mut || {
                for _ in 0..scale.operations {
                    run.kv().put(any(&mut random, &keys), fresh()).expect("puts");
                }
            },
        ],
    );
    let events = db.begin_run("events")?;
    for _ in 0..scale.many_keys {
        events.events().append("note", fresh())?;
    }
    let mut rates = Vec::new();
    for _ in 0..scale.long_rounds.min(5) {
        let start = Instant::now();
        let mut count = 0;
        for event in events.events().iter() {
            black_box(event?);
            count += 1;
        }
        if count != scale.many_keys {
            return Err(format!("{count} of {} events were iterated over", scale.many_keys).into());
        }
        rates.push(count as f64 / start.elapsed().as_secs_f64());
    }
    Ok(vec![
        scale
            .judged("events.append/kv-put", append.ratio_to(&put), "ratio", Limit::AtMost(1.5))
            .note(format!("{:.0} ns / {:.0} ns", append.median(), put.median())),
        scale.judged("events.iterated", median(rates), "events/s", Limit::AtLeast(3e6)),
        Figure::shown("events.append", append.median(), "ns"),
    ])
}
