//! Writes that are begun before the last one is done.

use std::collections::VecDeque;

use in_mem::{Execution, Run};

use super::Figures;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{Key, any, filled, fresh, in_memory};
use crate::timing::interleaved;

/// Writes under way at most.
const IN_FLIGHT: usize = 256;

pub(super) fn measure(scale: &Scale) -> Figures {
    let keys = crate::subject::keys(scale.keys);
    let (inline, pinned) = (in_memory(Execution::Inline, 1)?, in_memory(Execution::Pinned, 1)?);
    let (inline_run, pinned_run) = (filled(&inline, &keys)?, filled(&pinned, &keys)?);
    let mut random = [1, 2, 3].map(fastrand::Rng::with_seed);
    let [pipelined_random, pinned_random, inline_random] = &mut random;
    let [pipelined, blocking, here] = interleaved(
        scale.long_rounds,
        scale.operations,
        [
            &mut || pipelined(&pinned_run, &keys, pipelined_random, scale.operations),
            &mut || blocking(&pinned_run, &keys, pinned_random, scale.operations),
            &mut || self::blocking(&inline_run, &keys, inline_random, scale.operations),
        ],
    );
    // Rates, so the other way round than times.
    Ok(vec![
        scale
            .judged(
                "pipeline.pinned-pipelined/pinned-blocking",
                blocking.ratio_to(&pipelined),
                "ratio",
                Limit::AtLeast(2.0),
            )
            .note(format!("{:.0} ns / {:.0} ns a put", pipelined.median(), blocking.median())),
        scale
            .judged(
                "pipeline.pinned-pipelined/inline-blocking",
                here.ratio_to(&pipelined),
                "ratio",
                Limit::AtLeast(1.0),
            )
            .note(format!("{:.0} ns / {:.0} ns a put", pipelined.median(), here.median())),
        Figure::shown("pipeline.pinned-pipelined", 1e9 / pipelined.median(), "puts/s"),
    ])
}

fn blocking(run: &Run, keys: &[Key], random: &mut fastrand::Rng, operations: usize) {
    for _ in 0..operations {
        run.kv().put(any(random, keys), fresh()).expect("puts");
    }
}

fn pipelined(run: &Run, keys: &[Key], random: &mut fastrand::Rng, operations: usize) {
    let mut under_way = VecDeque::with_capacity(IN_FLIGHT);
    for _ in 0..operations {
        if under_way.len() == IN_FLIGHT {
            // Half of them at once: to wait for every single one would be to wake for every single one.
            for pending in under_way.drain(..IN_FLIGHT / 2) {
                in_mem::Pending::wait(pending).expect("puts");
            }
        }
        under_way.push_back(run.kv().put_async(any(random, keys), fresh()).expect("begins"));
    }
    for pending in under_way {
        pending.wait().expect("puts");
    }
}
