//! Transactions as they are put together: the write set, with the writer's own view of it, and the one that a closure
//! gets when it runs on the shard itself.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use in_mem_model::{Key, KeyBytes, RunId, Tag, Timestamp, Value, Version, VersionedValue};

use super::ShardCore;
use super::command::{CommitRequest, Committed, Page, ScanRequest, ShardClosure, Write};
use super::error::{Condition, WriteError};
use super::limit::check_transaction;
use super::query::value_of;

/// How many writes are looked through one by one before an index over them pays.
const LINEAR_WRITES: usize = 16;

/// The writes of a transaction so far, at most one a key, and what they make of what lies below.
#[derive(Debug, Default)]
pub struct WriteSet {
    writes: Vec<(RunId, Write)>,
    /// What they count for, see [`Write::bytes`].
    bytes: usize,
    /// How many keys and ranges are read.
    read: usize,
    /// Where each key's write is, once there are more than [`LINEAR_WRITES`].
    places: BTreeMap<Key, usize>,
}

/// What a write set says of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Pending<'w> {
    /// It will hold this.
    Put(&'w Value, Option<Timestamp>),
    /// It will be gone.
    Deleted,
}

impl WriteSet {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// How many writes there are.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Counts a key or a range that is read with the writes: of all of them there may be so many.
    ///
    /// # Errors
    /// [`WriteError::TransactionTooLarge`]; it does not count then.
    pub fn note_read(&mut self) -> Result<(), WriteError> {
        check_transaction(self.read + self.writes.len() + 1, self.bytes)?;
        self.read += 1;
        Ok(())
    }

    /// What this set will make of the key, if it says anything of it.
    pub fn get(&self, run: RunId, tag: Tag, key: &[u8]) -> Option<Pending<'_>> {
        self.find(run, tag, key).map(|place| pending(&self.writes[place].1))
    }

    /// Adds a put; one on the same key takes its place, with the condition of the first.
    ///
    /// # Errors
    /// [`WriteError::TransactionTooLarge`]; the set is as it was.
    pub fn put(
        &mut self,
        run: RunId,
        tag: Tag,
        key: &[u8],
        value: Value,
        expires_at: Option<Timestamp>,
        condition: Condition,
    ) -> Result<(), WriteError> {
        let condition = self.first_condition(run, tag, key, condition);
        self.set(run, tag, key, Write::Put { tag, key: KeyBytes::from(key), value, expires_at, condition })
    }

    /// Adds a delete; a write on the same key gives way to it, with the condition of the first.
    ///
    /// # Errors
    /// As [`WriteSet::put`].
    pub fn delete(
        &mut self,
        run: RunId,
        tag: Tag,
        key: &[u8],
        condition: Condition,
    ) -> Result<(), WriteError> {
        let condition = self.first_condition(run, tag, key, condition);
        self.set(run, tag, key, Write::Delete { tag, key: KeyBytes::from(key), condition })
    }

    /// Adds an event, packed.
    ///
    /// # Errors
    /// As [`WriteSet::put`].
    pub fn append(&mut self, run: RunId, body: Vec<u8>) -> Result<(), WriteError> {
        check_transaction(self.read + self.writes.len() + 1, self.bytes + body.len())?;
        self.push(run, Write::Append { body });
        Ok(())
    }

    /// Adds a write that is not on a key: a change of a run. Where it is one too many, the commit is refused.
    pub fn push(&mut self, run: RunId, write: Write) {
        debug_assert!(!matches!(write, Write::Put { .. } | Write::Delete { .. }));
        self.bytes += write.bytes();
        self.writes.push((run, write));
    }

    /// The writes, in order.
    pub fn into_writes(self) -> Vec<(RunId, Write)> {
        self.writes
    }

    /// What the set says of the keys in a range, by key.
    pub fn range(
        &self,
        run: RunId,
        tag: Tag,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
    ) -> BTreeMap<KeyBytes, Pending<'_>> {
        let mut found = BTreeMap::new();
        for (of, write) in &self.writes {
            let (Write::Put { tag: t, key, .. } | Write::Delete { tag: t, key, .. }) = write else {
                continue;
            };
            if *of == run && *t == tag && within(key, lower, upper) {
                found.insert(key.clone(), pending(write));
            }
        }
        found
    }

    fn first_condition(&self, run: RunId, tag: Tag, key: &[u8], condition: Condition) -> Condition {
        match self.find(run, tag, key).map(|place| &self.writes[place].1) {
            Some(Write::Put { condition, .. } | Write::Delete { condition, .. }) => *condition,
            _ => condition,
        }
    }

    fn set(&mut self, run: RunId, tag: Tag, key: &[u8], write: Write) -> Result<(), WriteError> {
        let bytes = self.bytes + write.bytes();
        if let Some(place) = self.find(run, tag, key) {
            let bytes = bytes - self.writes[place].1.bytes();
            check_transaction(self.read + self.writes.len(), bytes)?;
            self.writes[place].1 = write;
            self.bytes = bytes;
            return Ok(());
        }
        check_transaction(self.read + self.writes.len() + 1, bytes)?;
        self.bytes = bytes;
        self.writes.push((run, write));
        if self.writes.len() > LINEAR_WRITES {
            if self.places.is_empty() {
                for (place, (run, write)) in self.writes.iter().enumerate() {
                    if let Write::Put { tag, key, .. } | Write::Delete { tag, key, .. } = write {
                        self.places.insert(Key { run: *run, tag: *tag, user: key.clone() }, place);
                    }
                }
            } else {
                self.places.insert(Key { run, tag, user: KeyBytes::from(key) }, self.writes.len() - 1);
            }
        }
        Ok(())
    }

    fn find(&self, run: RunId, tag: Tag, key: &[u8]) -> Option<usize> {
        if self.places.is_empty() {
            return self.writes.iter().rposition(|(of, write)| match write {
                Write::Put { tag: t, key: k, .. } | Write::Delete { tag: t, key: k, .. } => {
                    *of == run && *t == tag && &**k == key
                }
                _ => false,
            });
        }
        self.places.get(&Key { run, tag, user: KeyBytes::from(key) }).copied()
    }
}

fn pending(write: &Write) -> Pending<'_> {
    match write {
        Write::Put { value, expires_at, .. } => Pending::Put(value, *expires_at),
        _ => Pending::Deleted,
    }
}

fn within(key: &[u8], lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    (match lower {
        Bound::Included(l) => key >= l,
        Bound::Excluded(l) => key > l,
        Bound::Unbounded => true,
    }) && (match upper {
        Bound::Included(u) => key <= u,
        Bound::Excluded(u) => key < u,
        Bound::Unbounded => true,
    })
}

/// A transaction that runs on the shard itself: what it reads is the newest there is and cannot change under it, so
/// there is nothing to validate.
#[derive(Debug)]
pub struct ShardTx<'c> {
    core: &'c mut ShardCore,
    run: RunId,
    writes: WriteSet,
    /// Why a write was refused: then all of it is.
    refused: Option<WriteError>,
}

impl ShardTx<'_> {
    /// The run it belongs to.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The time of the turn.
    pub fn now(&self) -> Timestamp {
        self.core.now
    }

    /// The value of a key, its own writes included.
    pub fn get(&self, tag: Tag, key: &[u8]) -> Option<Value> {
        match self.writes.get(self.run, tag, key) {
            Some(Pending::Put(value, _)) => Some(value.clone()),
            Some(Pending::Deleted) => None,
            None => self.core.live_head(self.run, tag, key).and_then(|head| head.value.cloned()),
        }
    }

    /// The committed value of a key, with its version; own writes are not in it.
    pub fn get_versioned(&self, tag: Tag, key: &[u8]) -> Option<VersionedValue> {
        value_of(&self.core.live_head(self.run, tag, key)?, self.core.now)
    }

    /// Puts a value.
    pub fn put(&mut self, tag: Tag, key: &[u8], value: Value) {
        let put = self.writes.put(self.run, tag, key, value, None, Condition::Any);
        self.note(put);
    }

    /// Deletes a key.
    pub fn delete(&mut self, tag: Tag, key: &[u8]) {
        let deleted = self.writes.delete(self.run, tag, key, Condition::Any);
        self.note(deleted);
    }

    /// Appends an event (a body from [`super::event::pack_body`]).
    pub fn append(&mut self, body: Vec<u8>) {
        let appended = self.writes.append(self.run, body);
        self.note(appended);
    }

    fn note(&mut self, outcome: Result<(), WriteError>) {
        if let Err(error) = outcome {
            self.refused.get_or_insert(error);
        }
    }

    /// A page of committed keys, the newest there are where the request names no version; own writes are not in it.
    pub fn scan(&mut self, request: &ScanRequest) -> Page {
        // What waits for the disk counts: nothing of what is read here is validated.
        let at = request.at.or(Some(self.core.version));
        self.core.scan(&ScanRequest { at, ..request.clone() })
    }
}

impl ShardCore {
    /// Runs a closure on the shard and commits what it wrote. The error inside is the closure's own: then nothing was
    /// written. A panic of the closure is caught; nothing was written then either.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed.
    #[allow(clippy::type_complexity, reason = "what a closure returns is its own")]
    pub fn execute_closure(
        &mut self,
        run: RunId,
        closure: ShardClosure,
    ) -> Result<(Committed, Result<Box<dyn Any + Send>, Box<dyn Any + Send>>), WriteError> {
        let mut tx = ShardTx { core: self, run, writes: WriteSet::default(), refused: None };
        // What the closure could leave half done is its write set, and that is dropped with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| closure(&mut tx)));
        let (writes, refused) = (std::mem::take(&mut tx.writes), tx.refused.take());
        match outcome {
            Ok(Ok(result)) => {
                if let Some(error) = refused {
                    return Err(error);
                }
                let mut request = CommitRequest::new(run);
                request.writes = writes.into_writes();
                // A closure's writes were not checked on the way in, and what the log cannot read back must not get there.
                for (_, write) in &request.writes {
                    if let Write::Put { key, value, .. } = write {
                        key.check()?;
                        value.check()?;
                    }
                }
                self.commit(request).map(|committed| (committed, Ok(result)))
            }
            Ok(Err(refused)) => {
                let nothing = Committed { version: Version(0), timestamp: self.now, sequences: Vec::new() };
                Ok((nothing, Err(refused)))
            }
            Err(panic) => Err(WriteError::Panicked { run, message: panic_message(&*panic) }),
        }
    }
}

/// What a panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> Arc<str> {
    if let Some(text) = panic.downcast_ref::<&str>() {
        Arc::from(*text)
    } else if let Some(text) = panic.downcast_ref::<String>() {
        Arc::from(text.as_str())
    } else {
        Arc::from("no message")
    }
}
