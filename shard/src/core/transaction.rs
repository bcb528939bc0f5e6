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
use super::query::value_of;

/// How many writes are looked through one by one before an index over them pays.
const LINEAR_WRITES: usize = 16;

/// The writes of a transaction so far, at most one a key, and what they make of what lies below.
#[derive(Debug, Default)]
pub struct WriteSet {
    writes: Vec<(RunId, Write)>,
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

    /// What this set will make of the key, if it says anything of it.
    pub fn get(&self, run: RunId, tag: Tag, key: &[u8]) -> Option<Pending<'_>> {
        self.find(run, tag, key).map(|place| pending(&self.writes[place].1))
    }

    /// Adds a put; one on the same key takes its place, with the condition of the first.
    pub fn put(
        &mut self,
        run: RunId,
        tag: Tag,
        key: &[u8],
        value: Value,
        expires_at: Option<Timestamp>,
        condition: Condition,
    ) {
        let condition = self.first_condition(run, tag, key, condition);
        self.set(run, tag, key, Write::Put { tag, key: KeyBytes::from(key), value, expires_at, condition });
    }

    /// Adds a delete; a write on the same key gives way to it, with the condition of the first.
    pub fn delete(&mut self, run: RunId, tag: Tag, key: &[u8], condition: Condition) {
        let condition = self.first_condition(run, tag, key, condition);
        self.set(run, tag, key, Write::Delete { tag, key: KeyBytes::from(key), condition });
    }

    /// Adds a write that is not on a key: an event, a change of a run.
    pub fn push(&mut self, run: RunId, write: Write) {
        debug_assert!(!matches!(write, Write::Put { .. } | Write::Delete { .. }));
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

    fn set(&mut self, run: RunId, tag: Tag, key: &[u8], write: Write) {
        if let Some(place) = self.find(run, tag, key) {
            self.writes[place].1 = write;
            return;
        }
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
        self.writes.put(self.run, tag, key, value, None, Condition::Any);
    }

    /// Deletes a key.
    pub fn delete(&mut self, tag: Tag, key: &[u8]) {
        self.writes.delete(self.run, tag, key, Condition::Any);
    }

    /// Appends an event (a body from [`super::event::pack_body`]).
    pub fn append(&mut self, body: Vec<u8>) {
        self.writes.push(self.run, Write::Append { body });
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
        let mut tx = ShardTx { core: self, run, writes: WriteSet::default() };
        // What the closure could leave half done is its write set, and that is dropped with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| closure(&mut tx)));
        let writes = std::mem::take(&mut tx.writes);
        match outcome {
            Ok(Ok(result)) => {
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
