//! Segments used again whose zeroes the disk lost: what is behind the log's end is of another segment, and is taken neither for
//! the log nor for damage to it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fastrand::Rng;
use in_mem::Durability;
use in_mem_wal::SimDisk;
use in_mem_wal::storage::sim::SECTOR_BYTES;

use super::{Tally, records};
use crate::chronicle::Chronicle;
use crate::crash::{PATH, Setup};
use crate::ledger::Ledger;
use crate::model::Model;
use crate::workload::{Did, Work};

const ACTIONS: usize = 2_000;
/// Of the moments at which the log does not end with a sector, every so-many-th is looked at: behind the zeroes that fill its last
/// sector nothing else is ever read.
const STRIDE_ACTIONS: usize = 41;
/// A checkpoint, which lets go of the log before it, after so many actions.
const CHECKPOINT_EVERY_ACTIONS: usize = 50;

/// The segments of the log in the only shard, as they read now.
fn segments(disk: &SimDisk) -> impl Iterator<Item = (PathBuf, Vec<u8>)> + '_ {
    let files = disk.files().into_iter();
    let of_log = |path: &PathBuf| path.starts_with(PATH) && path.extension().is_some_and(|e| e == "wal");
    files.filter(of_log).filter_map(|path| disk.contents(&path).map(|bytes| (path, bytes)))
}

/// Behind some commits, the rest of the segment in which the log ends is that of each segment before it.
pub(super) fn run() -> Result<Tally, String> {
    let words = |error: in_mem::Error| error.to_string();
    let setup = Setup::new(6, Durability::Strict, false);
    let disk = SimDisk::new(6);
    let db = setup.open(&disk, PATH, Some(1)).map_err(words)?;
    let mut ledger = Ledger::opened(&db, Model::default(), true)?;
    let (mut rng, mut chronicle, mut tally) = (Rng::with_seed(6), Chronicle::default(), Tally::default());
    let mut seen: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    for action in 0..ACTIONS {
        let mut work = Work {
            db: &db,
            disk: &disk,
            clock: &setup.clock,
            ledger: &mut ledger,
            chronicle: &mut chronicle,
            faults: false,
            rng: &mut rng,
        };
        if let Did::Failed(error) = work.write()? {
            return Err(words(error));
        }
        if action % CHECKPOINT_EVERY_ACTIONS == CHECKPOINT_EVERY_ACTIONS - 1 {
            db.checkpoint().map_err(words)?;
        }
        seen.extend(segments(&disk));
        let Some((last, bytes)) = segments(&disk).filter(|(_, bytes)| !records(bytes).is_empty()).last()
        else {
            return Err("no segment holds the log's end".to_owned());
        };
        let end = records(&bytes).last().map_or(0, |(_, end)| *end);
        // The sector in which the log ends was written since.
        let lost = end.next_multiple_of(SECTOR_BYTES as usize);
        if (lost != end && action % STRIDE_ACTIONS != 0) || lost >= bytes.len() {
            continue;
        }
        for (path, before) in seen.iter().filter(|(path, _)| **path != last) {
            let (Some(stale), true) = (before.get(lost..), before.len() == bytes.len()) else { continue };
            let image = disk.kill();
            image.put(&last, [&bytes[..lost], stale].concat());
            tally.damages += 1;
            let opened = setup.open(&image, PATH, None).map_err(words);
            match opened.and_then(|db| ledger.live.compare(&db, setup.now())) {
                Ok(()) => tally.harmless += 1,
                Err(what) => tally.violations.push(format!(
                    "{} from byte {lost} on as {} was: {what}",
                    last.display(),
                    path.display()
                )),
            }
        }
    }
    Ok(tally)
}
