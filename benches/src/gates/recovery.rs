//! What the log weighs, and how fast it is read back.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use in_mem::{Tag, Value};

use super::{Error, Figures};
use crate::figure::{Figure, Limit};
use crate::scale::Scale;
use crate::subject::{Key, buffered, fresh, key, scratch};
use crate::timing::median;

const KEY_AND_VALUE_BYTES: f64 = 16.0 + 100.0;
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of log a put, beside the bytes put.
pub(super) fn log_bytes(scale: &Scale) -> Figures {
    let dir = scratch()?;
    let db = buffered(dir.path(), SYNC_INTERVAL)?;
    let run = db.begin_run("gates")?;
    db.sync()?;
    let before = written(dir.path())?;
    // Spread over the time in which syncs run, so that what these write to the log is weighed too.
    for n in 0..scale.keys as u64 {
        run.kv().put(key(n), fresh())?;
    }
    db.close()?;
    let each = (written(dir.path())? - before) as f64 / scale.keys as f64;
    Ok(vec![
        Figure::limited(
            "log.bytes-per-put/key-and-value-bytes",
            each / KEY_AND_VALUE_BYTES,
            "ratio",
            Limit::AtMost(1.7),
        )
        .note(format!("{each:.1} B / {KEY_AND_VALUE_BYTES} B")),
    ])
}

/// Bytes of all files up to the last that is not zero: segments are zeroed ahead of what is written to them.
fn written(path: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            written(&entry.path())?
        } else {
            fs::read(entry.path())?.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
        };
    }
    Ok(bytes)
}

/// Opening a database of a million commits, beside putting the same entries into a HashMap.
pub(super) fn recovery(scale: &Scale) -> Figures {
    let dir = scratch()?;
    let commits = scale.many_keys;
    let id = {
        let db = buffered(dir.path(), SYNC_INTERVAL)?;
        let run = db.begin_run("gates")?;
        for n in 0..commits as u64 {
            run.kv().put(key(n), fresh())?;
        }
        db.close()?;
        run.id()
    };
    let (mut opened, mut inserted) = (Vec::new(), Vec::new());
    for _ in 0..scale.long_rounds.min(3) {
        let start = Instant::now();
        let db = buffered(dir.path(), SYNC_INTERVAL)?;
        opened.push(start.elapsed().as_secs_f64());
        let last = db.engine().get(id, Tag::Kv, &key(commits as u64 - 1))?;
        if last.is_none() {
            return Err("a put that was acknowledged is not there after reopening".into());
        }
        drop(db);
        let start = Instant::now();
        let mut map: HashMap<Key, Value> = HashMap::new();
        for n in 0..commits as u64 {
            map.insert(key(n), fresh());
        }
        inserted.push(start.elapsed().as_secs_f64());
        drop(std::hint::black_box(map));
    }
    let (opened, inserted) = (median(opened), median(inserted));
    Ok(vec![
        scale.judged(
            "recovery.commits-per-second-and-shard",
            commits as f64 / opened,
            "1/s",
            Limit::AtLeast(1e6),
        ),
        scale
            .judged("recovery/hashmap-inserts", opened / inserted, "ratio", Limit::AtMost(3.0))
            .note(format!("{opened:.2} s / {inserted:.2} s for {commits}")),
    ])
}
