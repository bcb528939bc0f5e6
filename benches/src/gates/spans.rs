//! Spans, beside KV.

use std::hint::black_box;

use in_mem::{Execution, SpanDraft};

use super::Figures;
use crate::figure::Limit;
use crate::scale::Scale;
use crate::subject::{any, filled, fresh, in_memory};
use crate::timing::interleaved;

pub(super) fn measure(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let db = in_memory(Execution::Inline, 1)?;
    let run = filled(&db, &keys)?;
    let mut random = fastrand::Rng::with_seed(1);
    let [record, put] = interleaved(
        scale.rounds,
        scale.operations,
        [
            &mut || {
                for _ in 0..scale.operations {
                    let span = SpanDraft::tool_call("search").output(fresh());
                    black_box(run.traces().record(&span).expect("records"));
                }
            },
            &mut || {
                for _ in 0..scale.operations {
                    run.kv().put(any(&mut random, &keys), fresh()).expect("puts");
                }
            },
        ],
    );
    Ok(vec![
        scale
            .judged("spans.record/kv-put", record.ratio_to(&put), "ratio", Limit::AtMost(2.5))
            .note(format!("{:.0} ns / {:.0} ns", record.median(), put.median())),
    ])
}
