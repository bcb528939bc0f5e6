//! Allocations of the hot path, on every thread involved: none.

use std::hint::black_box;

use in_mem::{Execution, Tag, Value};
use in_mem_engine::Condition;

use super::Figures;
use crate::counting::counted;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{Key, filled, fresh, in_memory};

pub(super) fn measure(scale: &Scale) -> Figures {
    let mut figures = vec![counter_counts()];
    for (name, execution) in [("inline", Execution::Inline), ("pinned", Execution::Pinned)] {
        let keys = crate::subject::keys(scale.keys.min(scale.operations));
        let db = in_memory(execution, 1)?;
        let run = filled(&db, &keys)?;
        let (engine, id) = (db.engine().clone(), run.id());
        let mut count = |operation: &str, work: &mut dyn FnMut(&Key, Value)| {
            // Values are made before and counted with nobody: a moved value is the caller's. Twice round first: buffers
            // and free lists that grow once are then grown.
            for _ in 0..2 {
                keys.iter().for_each(|key| work(key, fresh()));
            }
            let values: Vec<Value> = keys.iter().map(|_| fresh()).collect();
            let ((), counts) = counted(|| {
                for (key, value) in keys.iter().zip(values) {
                    work(key, value);
                }
            });
            let name = format!("allocations.{operation}.{name}");
            figures.push(
                Figure::limited(name, counts.allocations as f64, "allocations", Limit::AtMost(0.0))
                    .note(format!("in {} operations", keys.len())),
            );
        };
        count("get", &mut |key, _| {
            black_box(run.kv().get(key).expect("reads"));
        });
        count("overwrite", &mut |key, value| {
            run.kv().put(key, value).expect("puts");
        });
        let mut versions: std::collections::HashMap<Key, in_mem::Version> =
            keys.iter().map(|key| Ok((*key, run.kv().put(key, fresh())?))).collect::<in_mem::Result<_>>()?;
        count("cas", &mut |key, value| {
            let version = versions.get_mut(key).expect("was put");
            let expected = Condition::Version(*version);
            *version = engine.put(id, Tag::Kv, key, value, None, expected).expect("nobody else writes");
        });
        count("snapshot", &mut |_, _| {
            black_box(engine.snapshot(id).expect("there is room"));
        });
    }
    Ok(figures)
}

/// A zero says something only where a one would have been counted.
fn counter_counts() -> Figure {
    let (kept, counts) = counted(|| black_box(Box::new(7_u64)));
    drop(kept);
    Figure::check("allocations.counter-counts", counts.allocations == 1 && counts.live_bytes == 8)
}
