//! Named places between the steps of what must survive a kill: `cargo xtask crash` ends the process at each of them.
//!
//! Without the feature `failpoints`, which only that program turns on, [`hit`] is nothing. This is the one list of names: a
//! point that is listed and never reached fails the program.

macro_rules! failpoints {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A place at which a process may be killed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Failpoint {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Failpoint {
            /// All of them.
            pub const ALL: &[Failpoint] = &[$(Failpoint::$point,)+];

            /// Its name, as reports give it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Failpoint::$point => $name,)+
                }
            }
        }
    };
}

failpoints! {
    /// A record is about to be put into the log.
    Append = "wal.append",
    /// A record is in the log (Buffered) or in the batch (Strict).
    Appended = "wal.appended",
    /// Between two records of one transaction.
    Split = "wal.split",
    /// A full segment is sealed, the next one not begun.
    RollSealed = "wal.roll-sealed",
    /// The next segment has its start record.
    RollStarted = "wal.roll-started",
    /// A sync is about to write and sync.
    SyncBegin = "wal.sync-begin",
    /// Strict: a batch is written and not synced.
    SyncWritten = "wal.sync-written",
    /// All is synced, and nobody has been told.
    SyncEnd = "wal.sync-end",
    /// The clean-close footer is written and not synced.
    CloseFooter = "wal.close-footer",
    /// A new segment has its temporary file.
    SpareCreated = "spare.created",
    /// A recycled segment has a temporary name again.
    SpareRecycled = "spare.recycled",
    /// A new segment is zeroed and has no header.
    SpareZeroed = "spare.zeroed",
    /// A new segment has its header, not synced.
    SpareHeaded = "spare.headed",
    /// A new segment is synced and has no name.
    SpareSynced = "spare.synced",
    /// A new segment has its name, which is not durable.
    SpareRenamed = "spare.renamed",
    /// A new segment is ready.
    SpareReady = "spare.ready",
    /// A segment's index by run is in the archive, the segment not.
    ArchiveIndex = "release.index-archived",
    /// A segment is in the archive and, where it could be linked, still in the log; neither directory is synced.
    ArchiveRenamed = "release.archived",
    /// A segment is in the archive and no more in the log; the archive is synced, the log's directory is not.
    ArchiveSynced = "release.archive-synced",
    /// A segment has a temporary name, to be used again.
    RecycleAside = "release.set-aside",
    /// A segment that nobody needs is removed.
    ReleaseRemoved = "release.removed",
    /// A segment is out of the log, durably.
    Released = "release.done",
    /// A small file that takes another's place (manifest, index, torn tail) is written under its temporary name.
    ReplaceWritten = "replace.written",
    /// It is synced.
    ReplaceSynced = "replace.synced",
    /// It has its name, which is not durable.
    ReplaceRenamed = "replace.renamed",
    /// It is there.
    Replaced = "replace.done",
    /// A manifest is about to be written.
    ManifestBegin = "manifest.begin",
    /// A manifest counts.
    ManifestWritten = "manifest.written",
    /// A checkpoint has its temporary file and header.
    CheckpointCreated = "checkpoint.created",
    /// A checkpoint got a block.
    CheckpointBlock = "checkpoint.block",
    /// The log is durable through what the checkpoint covers.
    CheckpointLogSynced = "checkpoint.log-synced",
    /// A checkpoint is whole, not synced.
    CheckpointWritten = "checkpoint.written",
    /// A checkpoint is synced and has no name.
    CheckpointSynced = "checkpoint.synced",
    /// A checkpoint has its name, which is not durable.
    CheckpointRenamed = "checkpoint.renamed",
    /// A checkpoint counts; nothing was let go for it.
    CheckpointNamed = "checkpoint.named",
    /// An older checkpoint is removed.
    PruneRemoved = "checkpoint.prune-removed",
    /// Older checkpoints are removed, durably.
    Pruned = "checkpoint.pruned",
    /// A checkpoint counts, and the log before it is let go.
    CheckpointDone = "checkpoint.done",
    /// A log was read and nothing changed.
    RecoverRead = "recover.read",
    /// What an interrupted step left is removed.
    RecoverLeftovers = "recover.leftovers",
    /// Every record that nothing vouches for is written again and synced.
    RecoverHardened = "recover.hardened",
    /// What follows a torn end is copied aside.
    RecoverTailCopied = "recover.tail-copied",
    /// A segment behind a torn end is removed, the directory not synced.
    RecoverLaterRemoved = "recover.later-removed",
    /// A segment behind a torn end has another name, the directory not synced.
    RecoverLaterAside = "recover.later-set-aside",
    /// Nothing follows a torn end any more; no record says yet that it is the end.
    RecoverCut = "recover.cut",
    /// The start record that ends a torn log is written, not synced.
    RecoverDeclared = "recover.declared",
    /// A log is recovered, durably.
    RecoverDone = "recover.done",
    /// A checkpoint is loaded, the log behind it not read.
    RecoverLoaded = "recover.checkpoint-loaded",
    /// Another number of shards: nothing is written yet.
    ReshardBegin = "reshard.begin",
    /// The new shards are written whole and not made durable.
    ReshardWritten = "reshard.written",
    /// The new shards are durable, and the manifest names the old ones.
    ReshardImage = "reshard.image",
    /// The new shards are read back.
    ReshardReadBack = "reshard.read-back",
    /// The manifest names the new shards, and the old ones are there.
    ReshardNamed = "reshard.named",
    /// A file of a generation that does not count is removed.
    ReshardRemoving = "reshard.removing",
    /// The old shards are gone.
    ReshardDone = "reshard.done",
    /// One shard of a new generation or a backup is durable.
    ImageShard = "image.shard",
    /// A backup holds every shard's moment.
    BackupHeld = "backup.held",
    /// A backup is written and not made durable.
    BackupWritten = "backup.written",
    /// A backup is durable and has no manifest.
    BackupImage = "backup.image",
    /// A backup counts.
    BackupDone = "backup.done",
}

#[cfg(feature = "failpoints")]
static HOOK: std::sync::OnceLock<fn(Failpoint)> = std::sync::OnceLock::new();

/// Calls `hook` at every point from here on. Only the first call counts.
#[cfg(feature = "failpoints")]
pub fn set_hook(hook: fn(Failpoint)) {
    let _ = HOOK.set(hook);
}

/// A process may end here.
#[cfg(feature = "failpoints")]
pub fn hit(point: Failpoint) {
    if let Some(hook) = HOOK.get() {
        hook(point);
    }
}

/// A process may end here: not in this build.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_: Failpoint) {}

#[cfg(test)]
mod tests {
    use super::Failpoint;

    #[test]
    fn names_tell_points_apart() {
        let mut names: Vec<_> = Failpoint::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Failpoint::ALL.len());
    }
}
