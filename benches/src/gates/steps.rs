//! Durable steps, beside KV.

use std::hint::black_box;

use in_mem::{Error, Execution};

use super::Figures;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{any, filled, fresh, in_memory, key};
use crate::timing::interleaved;

pub(super) fn measure(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let db = in_memory(Execution::Inline, 1)?;
    let run = filled(&db, &keys)?;
    let (taking, putting) = (db.begin_run("steps")?, db.begin_run("puts")?);
    let (mut number, mut new) = (0u64, 0u64);
    let mut random = fastrand::Rng::with_seed(1);
    let result = "a".repeat(100);
    let [step, put, put_new] = interleaved(
        scale.rounds,
        scale.operations,
        [
            &mut || {
                for _ in 0..scale.operations {
                    number += 1;
                    let taken = taking.step("ask", number, || Ok::<_, Error>(result.clone()));
                    black_box(taken.expect("records"));
                }
            },
            &mut || {
                for _ in 0..scale.operations {
                    run.kv().put(any(&mut random, &keys), fresh()).expect("puts");
                }
            },
            &mut || {
                for _ in 0..scale.operations {
                    new += 1;
                    putting.kv().put(key(new), fresh()).expect("puts");
                }
            },
        ],
    );
    Ok(vec![
        scale
            .judged("steps.step/kv-put", step.ratio_to(&put_new), "ratio", Limit::AtMost(2.5))
            .note(format!("{:.0} ns / {:.0} ns", step.median(), put_new.median())),
        Figure::shown("steps.step/kv-overwrite", step.ratio_to(&put), "ratio"),
    ])
}
