//! Opening with another number of shards: every run goes to the shard that owns it now.
//!
//! The new shards are written whole beside the old ones, made durable, read back, and only then named by the manifest, which
//! is replaced atomically. A crash before that leaves the old generation as it was, and some files that the next opening
//! removes; a crash after it leaves the new one, and the old files likewise.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use in_mem_model::{Timestamp, Version};
use in_mem_shard::core::{RunMark, ShardCore};
use in_mem_wal::failpoint::{Failpoint, hit};
use in_mem_wal::{Manifest, Storage};

use super::directory::Directory;
use super::recovery::{Recovered, recover_generation};
use crate::checkpoint::{FORKS_A_PAGE, Push, Stop, fork_items, write_rows};
use crate::config::Config;
use crate::error::OpenError;
use crate::history::note_kept_end;
use crate::image::ImageWriter;

/// How many runs are looked at a time.
const RUNS_A_PAGE: usize = 1_024;

pub(super) fn reshard(
    directory: &mut Directory,
    old: Vec<Recovered>,
    shards: usize,
    storage: &Arc<dyn Storage>,
    config: &Config,
    notes: &mut Vec<String>,
) -> Result<Vec<Recovered>, OpenError> {
    hit(Failpoint::ReshardBegin);
    let before = old.len();
    let manifest = directory.next_generation(shards, config.keep_history);
    let written = write_generation(directory, &manifest, old, storage, config);
    if written.is_err() {
        // It does not count, and may have taken all the room that the log needs: the next opening recovers before it tidies up.
        // Best effort, behind an error that says more.
        let _ = directory.remove_other_generations(&**storage);
    }
    let (runs, recovered) = written?;
    directory.manifest = manifest;
    directory.write_manifest(&**storage)?;
    hit(Failpoint::ReshardNamed);
    directory.remove_other_generations(&**storage)?;
    hit(Failpoint::ReshardDone);
    notes.push(format!("re-routed {runs} runs from {before} shards to {shards}"));
    Ok(recovered)
}

/// Writes the generation that `manifest` will name, and reads it back. Gives the number of runs, and the shards.
fn write_generation(
    directory: &Directory,
    manifest: &Manifest,
    mut old: Vec<Recovered>,
    storage: &Arc<dyn Storage>,
    config: &Config,
) -> Result<(u64, Vec<Recovered>), OpenError> {
    // Versions are counted by shard: to grow further for every run, each new shard goes on from the highest.
    let version = old.iter().map(|shard| shard.core.version()).max().unwrap_or_default();
    let now = old.iter().map(|shard| shard.core.now()).max().unwrap_or(Timestamp(0));
    let forks = old.iter().any(|shard| shard.core.has_forks());
    let moments = vec![(version, now); usize::from(manifest.shard_count)];
    let mut image = ImageWriter::create(storage.clone(), &directory.path, manifest, &moments, forks)?;
    let ends: Vec<Version> = old.iter().map(|shard| shard.core.version()).collect();
    let mut runs = 0;
    for (shard, recovered) in old.iter_mut().enumerate() {
        runs += write_core(&mut recovered.core, shard, &mut |run, item| image.push(run, item))?;
    }
    drop(old);
    if in_mem_wal::planted::is_planted("engine_manifest_before_shards") {
        manifest.write(&**storage, &directory.path)?;
    }
    hit(Failpoint::ReshardWritten);
    image.finish()?;
    hit(Failpoint::ReshardImage);
    // Read back before it counts.
    let recovered = recover_generation(directory, manifest, storage, config)?;
    if config.keep_history {
        for (dir, end) in directory.shard_dirs().iter().zip(ends) {
            note_kept_end(&**storage, dir, end)?;
        }
    }
    hit(Failpoint::ReshardReadBack);
    Ok((runs, recovered))
}

/// Tells everything that a core holds, which nobody else uses. Gives the number of runs.
pub(crate) fn write_core(core: &mut ShardCore, shard: usize, push: &mut Push<'_>) -> Result<u64, OpenError> {
    let failed = |reason: String| OpenError::Thread { shard, reason };
    if core.has_forks() {
        let at = core.version();
        let all = std::cell::RefCell::new(&mut *core);
        let mut forks = |after| Ok(all.borrow().checkpoint_forks(after, FORKS_A_PAGE, at));
        let mut retained = |from| Ok(all.borrow_mut().checkpoint_retained(from, at));
        fork_items::<OpenError>(&mut forks, &mut retained, push)??;
    }
    let pin = core.index_mut().reader().pin().map_err(|error| failed(error.to_string()))?;
    write_rows(&pin, &AtomicBool::new(false), push).map_err(|stop| match stop {
        Stop::Asked => failed("given up".to_owned()),
        Stop::Read(reason) => failed(reason),
        Stop::Write(error) => error.into(),
    })?;
    let mut scratch = Vec::new();
    let (mut after, mut runs) = (None, 0);
    loop {
        let (marks, next) = core.checkpoint_runs(after, RUNS_A_PAGE);
        runs += marks.len() as u64;
        for (run, last_version) in marks {
            debug_assert!(last_version > Version(0));
            scratch.clear();
            RunMark { run, last_version }.encode(&mut scratch);
            push(run, &scratch)?;
        }
        after = next;
        if after.is_none() {
            return Ok(runs);
        }
    }
}
