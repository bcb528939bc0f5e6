//! Queries of the run index.

use std::hint::black_box;

use in_mem::{Database, Execution};

use super::Figures;
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::in_memory;
use crate::timing::interleaved;

/// Runs that the query's tag is on.
const ANSWER: usize = 100;
/// Runs of the small database.
const FEW: usize = 1_000;
/// Time that a thousand times as many runs may add: caches are colder, trees deeper by a level or two.
const GROWTH: f64 = 2.0;

pub(super) fn measure(scale: &Scale) -> Figures {
    let (few, many) = (with_runs(FEW)?, with_runs(scale.many_keys)?);
    let query = |db: &Database| {
        let (page, _) = db.runs().tag("wanted").page(None, ANSWER).expect("lists");
        assert_eq!(black_box(page).len(), ANSWER, "every wanted run is found");
    };
    let operations = 10;
    let [of_many, of_few] = interleaved(
        scale.rounds,
        operations,
        [&mut || (0..operations).for_each(|_| query(&many)), &mut || {
            (0..operations).for_each(|_| query(&few));
        }],
    );
    Ok(vec![
        scale
            .judged("runs.by-tag.1m-runs/1k-runs", of_many.ratio_to(&of_few), "ratio", Limit::AtMost(GROWTH))
            .note(format!("{:.1} us / {:.1} us", of_many.median() / 1e3, of_few.median() / 1e3)),
        Figure::shown("runs.by-tag", of_many.median() / 1e3, "us"),
    ])
}

/// A database of so many runs, some of which are wanted, evenly among the others.
fn with_runs(count: usize) -> in_mem::Result<Database> {
    let db = in_memory(Execution::Inline, 1)?;
    for n in 0..count {
        let wanted = n % (count / ANSWER) == 0;
        db.new_run("run").tag(if wanted { "wanted" } else { "other" }).begin()?;
    }
    Ok(db)
}
