//! A transaction, beside its operations one by one.

use std::hint::black_box;

use in_mem::Execution;

use super::Figures;
use crate::figure::Limit;
use crate::scale::Scale;
use crate::subject::{any, filled, fresh, in_memory};
use crate::timing::interleaved;

pub(super) fn measure(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let db = in_memory(Execution::Inline, 1)?;
    let run = filled(&db, &keys)?;
    let operations = scale.operations / 4;
    let (mut random, mut single_random) = (fastrand::Rng::with_seed(1), fastrand::Rng::with_seed(2));
    let [transaction, singles] = interleaved(
        scale.rounds,
        operations,
        [
            &mut || {
                for _ in 0..operations {
                    run.transaction(|tx| {
                        black_box(tx.kv().get(any(&mut random, &keys))?);
                        black_box(tx.kv().get(any(&mut random, &keys))?);
                        tx.kv().put(any(&mut random, &keys), fresh())?;
                        tx.kv().put(any(&mut random, &keys), fresh())
                    })
                    .expect("commits");
                }
            },
            &mut || {
                for _ in 0..operations {
                    black_box(run.kv().get(any(&mut single_random, &keys)).expect("reads"));
                    black_box(run.kv().get(any(&mut single_random, &keys)).expect("reads"));
                    run.kv().put(any(&mut single_random, &keys), fresh()).expect("puts");
                    run.kv().put(any(&mut single_random, &keys), fresh()).expect("puts");
                }
            },
        ],
    );
    Ok(vec![
        scale
            .judged(
                "transaction.2-gets-2-puts/singles",
                transaction.ratio_to(&singles),
                "ratio",
                Limit::AtMost(1.2),
            )
            .note(format!("{:.0} ns / {:.0} ns", transaction.median(), singles.median())),
    ])
}
