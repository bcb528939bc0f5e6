//! The two ways to run a shard, side by side: in the caller's thread where it is idle, or always in its own.

use std::time::Duration;

use in_mem::{Database, Execution, Run, RunId, Timestamp};

use crate::figure::Figure;
use crate::gates::Error;
use crate::scale::Scale;
use crate::subject::{Key, any, fresh, in_memory};
use crate::timing::{Series, clock_nanos, median, nanos, timed};

const IDLE_MS: u64 = 5;
const CLIENTS: [usize; 3] = [1, 2, 4];

const MODES: [(&str, Execution); 2] = [("inline", Execution::Inline), ("pinned", Execution::Pinned)];

/// Puts in memory: hot, after idling, and by 1 to 4 clients on one shard and on several.
///
/// # Errors
/// What the database said.
pub fn run(scale: &Scale) -> Result<Vec<Figure>, Error> {
    let keys = crate::subject::keys(scale.keys.min(10_000));
    let mut figures = Vec::new();
    let clock = clock_nanos();
    for (name, execution) in MODES {
        let db = in_memory(execution, 1)?;
        let run = crate::subject::filled(&db, &keys)?;
        let mut random = fastrand::Rng::with_seed(1);
        let mut put = || {
            run.kv().put(any(&mut random, &keys), fresh()).expect("puts");
        };
        let hot = timed(scale.timed_operations / 4, clock, &mut put);
        let mut idle = Vec::new();
        for _ in 0..scale.idle_puts {
            std::thread::sleep(Duration::from_millis(IDLE_MS));
            idle.extend(timed(1, clock, &mut put));
        }
        figures.push(Figure::shown(format!("ablation.hot-put.{name}"), median(hot), "ns"));
        figures.push(Figure::shown(format!("ablation.put-after-5ms.{name}"), median(idle), "ns"));
    }
    // Both modes in each round, so that what else the machine does meets both.
    for shards in [1, 4] {
        let databases = MODES.map(|(name, execution)| in_memory(execution, shards).map(|db| (name, db)));
        let mut subjects = Vec::new();
        for opened in databases {
            let (name, db) = opened?;
            let runs = spread(&db, *CLIENTS.iter().max().unwrap_or(&1))?;
            for run in &runs {
                keys.iter().try_for_each(|key| run.kv().put(key, fresh()).map(drop))?;
            }
            subjects.push((name, runs));
        }
        for clients in CLIENTS {
            let mut series = vec![Series::default(); subjects.len()];
            for _ in 0..scale.long_rounds {
                for ((_, runs), series) in subjects.iter().zip(&mut series) {
                    series.push(rate(&runs[..clients], &keys, scale.operations));
                }
            }
            for ((name, _), series) in subjects.iter().zip(&series) {
                let name = format!("ablation.{clients}-clients-on-{shards}-shards.{name}");
                figures.push(Figure::shown(name, series.median(), "puts/s"));
            }
        }
    }
    Ok(figures)
}

/// Runs that lie on as many shards as there are, in turn.
fn spread(db: &Database, count: usize) -> in_mem::Result<Vec<Run>> {
    let shards = db.engine().shard_count();
    (0..count)
        .map(|n| {
            let id = (0..=u16::MAX)
                .map(|routing| RunId::generate(Timestamp(1)).with_routing(routing))
                .find(|id| db.engine().shard_of(*id) == n % shards)
                .unwrap_or_else(|| RunId::generate(Timestamp(1)));
            db.new_run("ablation").id(id).begin()
        })
        .collect()
}

/// Puts a second, of one client for each run.
fn rate(runs: &[Run], keys: &[Key], operations: usize) -> f64 {
    let each = nanos(1, || {
        std::thread::scope(|scope| {
            for (client, run) in runs.iter().enumerate() {
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(client as u64);
                    for _ in 0..operations {
                        run.kv().put(any(&mut random, keys), fresh()).expect("puts");
                    }
                });
            }
        });
    });
    (runs.len() * operations) as f64 * 1e9 / each
}
