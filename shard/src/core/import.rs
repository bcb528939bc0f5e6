//! Commits that were made elsewhere, made here again: with their own times, under this shard's versions.

use in_mem_model::{KeyBytes, RunId, Tag, Timestamp, Value, Version};

use super::ShardCore;
use super::effect::{EffectWriter, effects_of_lineage};
use super::error::WriteError;
use super::limit;
use super::log::lineage_id;
use super::run_meta::RunMeta;

/// One change of a commit that was made elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedChange {
    /// Whose key.
    pub run: RunId,
    /// Of which primitive.
    pub tag: Tag,
    /// The user's key bytes.
    pub key: KeyBytes,
    /// The value; `None`: deleted.
    pub value: Option<Value>,
    /// When it stops being there.
    pub expires_at: Option<Timestamp>,
}

impl ImportedChange {
    pub(super) fn is_meta(&self) -> bool {
        self.tag == Tag::Run && self.key.is_empty()
    }
}

impl ShardCore {
    /// Makes a commit again that was made elsewhere, at its own time. Gives the version that it has here. Events come as they were
    /// stored, hashes and all. A run begins with what is known of it as a whole.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    pub fn import_commit(
        &mut self,
        home: RunId,
        timestamp: Timestamp,
        mut changes: Vec<ImportedChange>,
    ) -> Result<Version, WriteError> {
        limit::check_import(&changes)?;
        let version = Version(self.version.0 + 1);
        // So that a run is known before what is written to it.
        changes.sort_by_key(|change| !change.is_meta());
        let mut made = Vec::new();
        for change in &mut changes {
            if change.run.routing() != home.routing() {
                return Err(WriteError::OtherLineage { run: change.run, with: home });
            }
            let known = self.runs.get(&change.run).map(|state| state.meta.first_version);
            if change.is_meta() {
                let meta = change.value.as_ref().and_then(RunMeta::from_value);
                let mut meta = meta.ok_or(WriteError::UnknownRun { run: change.run })?;
                if known.is_none() {
                    self.chain_to_go_on(&meta, change.run)?;
                    made.push(change.run);
                }
                meta.first_version = known.unwrap_or(version);
                change.value = Some(meta.to_value());
            } else if known.is_none() && !made.contains(&change.run) {
                return Err(WriteError::UnknownRun { run: change.run });
            }
        }
        let mut payload = std::mem::take(&mut self.payload);
        let mut effects = EffectWriter::new(&mut payload, home);
        for ImportedChange { run, tag, key, value, expires_at } in &changes {
            effects.on(*run);
            match value {
                Some(value) => effects.put(*tag, key, value, *expires_at),
                None => effects.delete(*tag, key),
            }
        }
        let several = effects.several_runs();
        if several {
            effects_of_lineage(home, &mut payload);
        }
        let now = std::mem::replace(&mut self.now, timestamp);
        let under = if several { lineage_id(home) } else { home };
        let logged = self.log_commit(under, several, &payload);
        self.payload = payload;
        if let Ok(version) = logged {
            for ImportedChange { run, tag, key, value, expires_at } in changes {
                self.install(run, tag, &key, version, value, expires_at);
            }
            self.finish_commit(version);
        }
        self.now = now;
        logged
    }
}
