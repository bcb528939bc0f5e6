//! Single operations of one thread, beside the same work on a map.

use std::hint::black_box;
use std::time::Duration;

use dashmap::DashMap;
use in_mem::{Execution, Run, Tag, Value};
use in_mem_engine::Condition;

use super::Figures;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{Key, any, buffered, dash, filled, fresh, hash, in_memory, scratch};
use crate::timing::{Series, interleaved};

/// Get, beside DashMap's get and clone of the value.
pub(super) fn get(scale: &Scale) -> Figures {
    let mut figures = Vec::new();
    for (name, size) in [("100k", scale.keys), ("1m", scale.many_keys)] {
        let keys = crate::subject::keys(size);
        let dash = dash(&keys);
        let db = in_memory(Execution::Inline, 1)?;
        let run = filled(&db, &keys)?;
        let (mut ours_random, mut dash_random) = (fastrand::Rng::with_seed(1), fastrand::Rng::with_seed(2));
        let [ours, theirs] = interleaved(
            scale.rounds,
            scale.operations,
            [
                &mut || {
                    for _ in 0..scale.operations {
                        black_box(run.kv().get(any(&mut ours_random, &keys)).expect("reads"));
                    }
                },
                &mut || {
                    for _ in 0..scale.operations {
                        let value: Option<Value> = dash.get(any(&mut dash_random, &keys)).map(|v| v.clone());
                        black_box(value);
                    }
                },
            ],
        );
        figures.push(
            scale
                .judged(&format!("get.{name}/dashmap"), ours.ratio_to(&theirs), "ratio", Limit::AtMost(1.6))
                .note(format!("{:.0} ns / {:.0} ns", ours.median(), theirs.median())),
        );
        figures.push(Figure::shown(format!("get.{name}"), ours.median(), "ns"));
    }
    Ok(figures)
}

/// Put over an existing key, beside DashMap's, in memory and Buffered. Two at a time: each more would cool the caches of
/// the others.
pub(super) fn put(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let dir = scratch()?;
    let mut figures = Vec::new();
    for (name, limit) in [("put.in-memory", 1.2), ("put.buffered", 1.6)] {
        let db = if name == "put.buffered" {
            buffered(dir.path(), Duration::from_millis(100))?
        } else {
            in_memory(Execution::Inline, 1)?
        };
        let run = filled(&db, &keys)?;
        let inline = beside_dash(scale, &keys, &run, |key| *key);
        let [ours, theirs] = &inline;
        figures.push(
            scale
                .judged(&format!("{name}/dashmap"), ours.ratio_to(theirs), "ratio", Limit::AtMost(limit))
                .note(format!("{:.0} ns / {:.0} ns", ours.median(), theirs.median())),
        );
        figures.push(Figure::shown(name, ours.median(), "ns"));
        let [ours, theirs] = beside_dash(scale, &keys, &run, |key| key.to_vec());
        let name = format!("{name}/dashmap-with-keys-on-the-heap");
        figures.push(Figure::shown(name, ours.ratio_to(&theirs), "ratio"));
    }
    Ok(figures)
}

/// Puts into the run and into a DashMap whose keys are made by `own`.
fn beside_dash<K: std::hash::Hash + Eq>(
    scale: &Scale,
    keys: &[Key],
    run: &Run,
    own: impl Fn(&Key) -> K,
) -> [Series; 2] {
    let dash: DashMap<K, Value> = keys.iter().map(|key| (own(key), fresh())).collect();
    let (mut ours_random, mut dash_random) = (fastrand::Rng::with_seed(1), fastrand::Rng::with_seed(2));
    interleaved(
        scale.rounds,
        scale.operations,
        [
            &mut || {
                for _ in 0..scale.operations {
                    run.kv().put(any(&mut ours_random, keys), fresh()).expect("puts");
                }
            },
            &mut || {
                for _ in 0..scale.operations {
                    black_box(dash.insert(own(any(&mut dash_random, keys)), fresh()));
                }
            },
        ],
    )
}

/// What each layer adds to a put.
pub(super) fn layers(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let mut bare = hash(&keys);
    let db = in_memory(Execution::Inline, 1)?;
    let run = filled(&db, &keys)?;
    let (engine, id) = (db.engine().clone(), run.id());
    // Seeds of their own: the same keys in the same order would find the caches warmed by the work before.
    let mut random = [1, 2, 3].map(fastrand::Rng::with_seed);
    let [bare_random, engine_random, kv_random] = &mut random;
    let [a0, a1, b] = interleaved(
        scale.rounds,
        scale.operations,
        [
            &mut || {
                for _ in 0..scale.operations {
                    black_box(bare.insert(*any(bare_random, &keys), fresh()));
                }
            },
            &mut || {
                for _ in 0..scale.operations {
                    let key = any(engine_random, &keys);
                    engine.put(id, Tag::Kv, key, fresh(), None, Condition::Any).expect("puts");
                }
            },
            &mut || {
                for _ in 0..scale.operations {
                    run.kv().put(any(kv_random, &keys), fresh()).expect("puts");
                }
            },
        ],
    );
    let note = format!("{:.0} / {:.0} / {:.0} ns", a0.median(), a1.median(), b.median());
    Ok(vec![
        scale
            .judged("layers.engine-put/hashmap", a1.ratio_to(&a0), "ratio", Limit::AtMost(4.0))
            .note(format!("HashMap / engine / KV: {note}")),
        scale.judged("layers.kv-put/engine-put", b.ratio_to(&a1), "ratio", Limit::AtMost(1.3)),
        scale.judged("layers.kv-put/hashmap", b.ratio_to(&a0), "ratio", Limit::AtMost(5.0)),
    ])
}

/// Taking and giving back a snapshot, beside DashMap's get.
pub(super) fn snapshot(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let dash = dash(&keys);
    let db = in_memory(Execution::Inline, 1)?;
    let run = filled(&db, &keys)?;
    let (engine, id) = (db.engine().clone(), run.id());
    let mut random = fastrand::Rng::with_seed(1);
    let [ours, theirs] = interleaved(
        scale.rounds,
        scale.operations,
        [
            &mut || {
                for _ in 0..scale.operations {
                    black_box(engine.snapshot(id).expect("there is room"));
                }
            },
            &mut || {
                for _ in 0..scale.operations {
                    let value: Option<Value> = dash.get(any(&mut random, &keys)).map(|v| v.clone());
                    black_box(value);
                }
            },
        ],
    );
    Ok(vec![
        scale
            .judged("snapshot/dashmap-get", ours.ratio_to(&theirs), "ratio", Limit::AtMost(1.0))
            .note(format!("{:.0} ns / {:.0} ns", ours.median(), theirs.median())),
    ])
}
