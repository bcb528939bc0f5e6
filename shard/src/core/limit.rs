//! How much one commit may write. Held against every commit that many writes can be given to, before anything is done; one write
//! by itself cannot pass.

use in_mem_model::limits::{MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, MAX_VALUE_BYTES};
use in_mem_model::{Tag, Value, codec};

use super::command::{CommitRequest, RunChange, Write};
use super::error::WriteError;
use super::event;
use super::import::ImportedChange;
use super::run_meta::RunMeta;

/// A packed event of up to so many bytes fits a commit beside any key and value.
const FITS_BESIDE_A_PUT: usize = MAX_TRANSACTION_BYTES - MAX_VALUE_BYTES - MAX_KEY_BYTES;

/// Refuses what one transaction may not come to: so many writes, keys and ranges read; so many bytes written.
///
/// # Errors
/// [`WriteError::TransactionTooLarge`].
pub fn check_transaction(operations: usize, bytes: usize) -> Result<(), WriteError> {
    let too_large = |what, found, limit| Err(WriteError::TransactionTooLarge { what, found, limit });
    if operations > MAX_TRANSACTION_OPS {
        return too_large("operations (writes, and keys and ranges read)", operations, MAX_TRANSACTION_OPS);
    }
    if bytes > MAX_TRANSACTION_BYTES {
        return too_large("bytes of keys and values", bytes, MAX_TRANSACTION_BYTES);
    }
    Ok(())
}

pub(super) fn check_request(request: &CommitRequest) -> Result<(), WriteError> {
    let CommitRequest { reads, ranges, writes, .. } = request;
    let operations = reads.len() + ranges.len() + writes.len();
    let bytes = if writes.len() < 2 { 0 } else { writes.iter().map(|(_, write)| write.bytes()).sum() };
    let is_fork = |(_, write): &(_, Write)| match write {
        Write::CreateRun(meta) => meta.forked_from.is_some(),
        _ => false,
    };
    // A fork of the past takes back what changed since, which nobody can do by halves.
    check_transaction(operations, bytes)
        .or_else(|refused| if writes.iter().any(is_fork) { Ok(()) } else { Err(refused) })
}

/// Of a put with an event: only the largest pass, and only of these the value is looked at.
#[inline]
pub(super) fn check_put_and_append(key: &[u8], value: &Value, body: &[u8]) -> Result<(), WriteError> {
    if body.len() <= FITS_BESIDE_A_PUT {
        return Ok(());
    }
    check_transaction(2, pair_bytes(key, value) + body.len())
}

/// Refuses a commit from elsewhere that could not have been made here.
///
/// Counts what was asked for where the commit was made, and not what this wrote besides (what is known of a run, what a fork hides,
/// an event's number and hash): what could be committed there can be imported here.
///
/// # Errors
/// [`WriteError::TransactionTooLarge`].
pub fn check_import(changes: &[ImportedChange]) -> Result<(), WriteError> {
    let written = changes.iter().filter(|change| change.tag != Tag::Run);
    let (operations, bytes) = written.fold((0, 0), |(operations, bytes), change| {
        let event = change.value.as_ref().filter(|_| change.tag == Tag::Event);
        let more = match (event.and_then(event::stored_body), &change.value) {
            (Some(body), _) => body.len(),
            (None, Some(value)) => pair_bytes(&change.key, value),
            (None, None) => change.key.len(),
        };
        (operations + 1, bytes + more)
    });
    let is_fork = |change: &ImportedChange| {
        let meta = change.value.as_ref().filter(|_| change.is_meta()).and_then(RunMeta::from_value);
        meta.is_some_and(|meta| meta.forked_from.is_some())
    };
    check_transaction(operations, bytes)
        .or_else(|refused| if changes.iter().any(is_fork) { Ok(()) } else { Err(refused) })
}

/// What a put counts for.
pub(super) fn pair_bytes(key: &[u8], value: &Value) -> usize {
    key.len() + codec::encoded_len(value)
}

impl Write {
    /// What it counts for in [`MAX_TRANSACTION_BYTES`].
    pub fn bytes(&self) -> usize {
        let tags = |tags: &[std::sync::Arc<str>]| tags.iter().map(|tag| tag.len()).sum::<usize>();
        match self {
            Self::Put { key, value, .. } => pair_bytes(key, value),
            Self::Delete { key, .. } => key.len(),
            Self::Append { body } => body.len(),
            Self::CreateRun(meta) => {
                let RunMeta { name, tags: words, metadata, .. } = &**meta;
                name.len() + tags(words) + codec::encoded_len(metadata)
            }
            Self::ChangeRun(change) => {
                let RunChange { error, name, tags: words, metadata, .. } = &**change;
                let text = [error, name].into_iter().flatten().map(|text| text.len()).sum::<usize>();
                text + words.as_deref().map_or(0, tags) + metadata.as_ref().map_or(0, codec::encoded_len)
            }
            Self::DropRun => 0,
        }
    }
}
