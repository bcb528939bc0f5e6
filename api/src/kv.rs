//! Key-value pairs of a run.

use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use in_mem_engine::Condition;
use in_mem_engine::command::{Command, Reply, ScanRequest};
use in_mem_model::{KeyBytes, Tag, Value, Version, VersionedValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Pending, Result, Run, Watch};

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The entries, in the order of their keys.
    pub entries: Vec<(KeyBytes, VersionedValue)>,
    /// Behind which key the next page starts; `None`: there is none.
    pub next: Option<KeyBytes>,
}

/// The key-value pairs of a run. Keys are text or any bytes, at most [`crate::limits::MAX_KEY_BYTES`] long.
#[derive(Debug, Clone, Copy)]
pub struct Kv<'r> {
    pub(crate) run: &'r Run,
}

impl Kv<'_> {
    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Closed`].
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        Ok(self.run.engine.get(self.run.id, Tag::Kv, key.as_ref())?.map(|v| v.value))
    }

    /// The value of a key with its version and times.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn get_versioned(&self, key: impl AsRef<[u8]>) -> Result<Option<VersionedValue>> {
        self.run.engine.get(self.run.id, Tag::Kv, key.as_ref())
    }

    /// The value of a key as a type of the caller's.
    ///
    /// # Errors
    /// [`Error::Serde`] where the value is not of that type.
    pub fn get_as<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.get(key)?.map(|v| v.deserialize().map_err(Error::from)).transpose()
    }

    /// The values of several keys, as of one moment.
    ///
    /// # Errors
    /// [`crate::SnapshotError::TooMany`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Option<Value>>> {
        let snapshot = self.run.engine.snapshot(self.run.id)?;
        keys.into_iter()
            .map(|key| Ok(snapshot.get(self.run.id, Tag::Kv, key.as_ref())?.map(|v| v.value)))
            .collect()
    }

    /// Whether the key is there.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// Puts a value under a key, whatever was there. Gives the version.
    ///
    /// # Errors
    /// [`Error`]; nothing was changed.
    #[inline]
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Value>) -> Result<Version> {
        self.run.engine.put(self.run.id, Tag::Kv, key.as_ref(), value.into(), None, Condition::Any)
    }

    /// Puts anything that serde can serialize.
    ///
    /// # Errors
    /// [`Error::Serde`] where it cannot be a value, and as [`Kv::put`].
    pub fn put_as<T: Serialize + ?Sized>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<Version> {
        self.put(key, Value::from_serialize(value)?)
    }

    /// Puts a value that stops being there after a while.
    ///
    /// # Errors
    /// As [`Kv::put`].
    pub fn put_with_ttl(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Value>,
        ttl: Duration,
    ) -> Result<Version> {
        let engine = &self.run.engine;
        let expires_at = engine.now().saturating_add(ttl);
        engine.put(self.run.id, Tag::Kv, key.as_ref(), value.into(), Some(expires_at), Condition::Any)
    }

    /// Puts a value where there is none; says whether it did.
    ///
    /// # Errors
    /// As [`Kv::put`].
    pub fn put_if_absent(&self, key: impl AsRef<[u8]>, value: impl Into<Value>) -> Result<bool> {
        let put =
            self.run.engine.put(self.run.id, Tag::Kv, key.as_ref(), value.into(), None, Condition::Absent);
        match put {
            Ok(_) => Ok(true),
            Err(Error::Write(crate::WriteError::ConditionFailed { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts several pairs, all or none. Gives the version.
    ///
    /// # Errors
    /// As [`Kv::put`], and [`crate::WriteError::TransactionTooLarge`]; nothing was changed.
    pub fn put_many<K: AsRef<[u8]>, V: Into<Value>>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Version> {
        let mut writes = in_mem_engine::WriteSet::default();
        for (key, value) in pairs {
            let value = value.into();
            crate::transaction::check_pair(key.as_ref(), &value)?;
            writes.put(self.run.id, Tag::Kv, key.as_ref(), value, None, Condition::Any)?;
        }
        let mut request = in_mem_engine::command::CommitRequest::new(self.run.id);
        request.writes = writes.into_writes();
        Ok(self.run.engine.commit(request)?.version)
    }

    /// Deletes a key; says whether it was there.
    ///
    /// # Errors
    /// [`Error`]; nothing was changed.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.run.engine.delete(self.run.id, Tag::Kv, key.as_ref(), Condition::Any)
    }

    /// Counts an integer up by `by` (or down); absent counts as 0. Gives the sum.
    ///
    /// # Errors
    /// [`crate::WriteError::NotAnInteger`], [`crate::WriteError::Overflow`]; nothing was changed.
    pub fn increment(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64> {
        self.run.engine.increment(self.run.id, Tag::Kv, key.as_ref(), by)
    }

    /// Begins a put without waiting for it.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Closed`]; nothing was begun.
    pub fn put_async(&self, key: impl AsRef<[u8]>, value: impl Into<Value>) -> Result<Pending<Version>> {
        let value = value.into();
        crate::transaction::check_pair(key.as_ref(), &value)?;
        let command = Command::Put {
            run: self.run.id,
            tag: Tag::Kv,
            key: KeyBytes::new(key.as_ref()),
            value,
            expires_at: None,
            condition: Condition::Any,
        };
        Ok(Pending::new(self.run.engine.submit(self.run.id, command)?, |reply| match reply {
            Reply::Committed(committed) => Ok(committed.version),
            other => Err(in_mem_engine::unexpected(other)),
        }))
    }

    /// Begins a delete without waiting for it.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Closed`]; nothing was begun.
    pub fn delete_async(&self, key: impl AsRef<[u8]>) -> Result<Pending<bool>> {
        let command = Command::Delete {
            run: self.run.id,
            tag: Tag::Kv,
            key: KeyBytes::new(key.as_ref()),
            condition: Condition::Any,
        };
        Ok(Pending::new(self.run.engine.submit(self.run.id, command)?, |reply| match reply {
            Reply::Deleted(_, was_there) => Ok(was_there),
            other => Err(in_mem_engine::unexpected(other)),
        }))
    }

    /// All pairs whose key starts with `prefix`, as of one moment, in the order of their keys.
    ///
    /// # Errors
    /// [`crate::SnapshotError`], [`Error::Closed`].
    pub fn list(&self, prefix: impl AsRef<[u8]>) -> Result<Vec<(KeyBytes, Value)>> {
        let (lower, upper) = prefix_bounds(prefix.as_ref());
        self.collect(lower, upper, false)
    }

    /// The keys that start with `prefix`.
    ///
    /// # Errors
    /// As [`Kv::list`].
    pub fn keys(&self, prefix: impl AsRef<[u8]>) -> Result<Vec<KeyBytes>> {
        Ok(self.list(prefix)?.into_iter().map(|(key, _)| key).collect())
    }

    /// How many keys start with `prefix`.
    ///
    /// # Errors
    /// As [`Kv::list`].
    pub fn count(&self, prefix: impl AsRef<[u8]>) -> Result<u64> {
        let (lower, upper) = prefix_bounds(prefix.as_ref());
        self.count_between(lower, upper)
    }

    /// How many keys there are in a range.
    ///
    /// # Errors
    /// As [`Kv::list`].
    pub fn count_range<K: AsRef<[u8]>>(&self, keys: impl RangeBounds<K>) -> Result<u64> {
        let (lower, upper) = key_bounds(&keys);
        self.count_between(lower, upper)
    }

    /// Tells of every change of the keys that start with `prefix`, from now on. At most `capacity` changes wait to be read;
    /// a reader that falls behind further gets [`crate::WriteError::Lagged`]. A capacity of 0 is taken for 1.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`crate::WriteError::TooManyWatchers`], [`Error::Closed`]; [`Error::TooLong`] where the capacity is
    /// more than [`crate::limits::MAX_WATCH_CAPACITY`].
    pub fn watch(&self, prefix: impl AsRef<[u8]>, capacity: usize) -> Result<Watch> {
        Watch::begin(self.run, prefix.as_ref(), None, capacity)
    }

    /// As [`Kv::watch`], and of every change after `version`, without a gap: what was committed before the call comes first, out
    /// of memory (of a run that is watched, the shard keeps the last changes) or out of the log, which costs the run's size.
    ///
    /// ```
    /// # fn main() -> in_mem::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// let db = in_mem::Database::open(dir.path())?;
    /// let run = db.begin_run("watched")?;
    /// let seen = run.kv().put("plan", "walk")?;
    /// run.kv().put("plan", "take the bus")?;
    /// let mut watch = run.kv().watch_from("pl", seen, 100)?;
    /// let change = watch.try_next()?.expect("one change was made since");
    /// assert_eq!(change.value, Some("take the bus".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Kv::watch`]; [`crate::WriteError::Lagged`], naming the oldest version to watch from, where neither reaches back;
    /// [`crate::WriteError::WatchFromFuture`] where the version is yet to come (it was read elsewhere, or a power cut took it);
    /// [`Error::History`] where the log cannot be read.
    pub fn watch_from(&self, prefix: impl AsRef<[u8]>, version: Version, capacity: usize) -> Result<Watch> {
        Watch::begin(self.run, prefix.as_ref(), Some(version), capacity)
    }

    /// All pairs in a range of keys, as of one moment, in order.
    ///
    /// # Errors
    /// As [`Kv::list`].
    pub fn range<K: AsRef<[u8]>>(&self, keys: impl RangeBounds<K>) -> Result<Vec<(KeyBytes, Value)>> {
        let (lower, upper) = key_bounds(&keys);
        self.collect(lower, upper, false)
    }

    /// As [`Kv::range`], from the last key to the first.
    ///
    /// # Errors
    /// As [`Kv::list`].
    pub fn range_reverse<K: AsRef<[u8]>>(&self, keys: impl RangeBounds<K>) -> Result<Vec<(KeyBytes, Value)>> {
        let (lower, upper) = key_bounds(&keys);
        self.collect(lower, upper, true)
    }

    /// A page of at most `limit` pairs whose key starts with `prefix`, behind the key `after`. Each page is as of its own
    /// moment; what is put or deleted between two pages shows in the second or not at all, and shifts nothing. A limit of 0
    /// gives an empty page and none behind it.
    ///
    /// # Errors
    /// As [`Kv::list`].
    pub fn page(&self, prefix: impl AsRef<[u8]>, after: Option<&KeyBytes>, limit: usize) -> Result<Page> {
        if limit == 0 {
            // A scan looks at one entry at least, so that it comes on.
            return Ok(Page::default());
        }
        let (mut lower, upper) = prefix_bounds(prefix.as_ref());
        // A key before the prefix is no place to begin at.
        if let Some(after) = after.filter(|after| &***after >= prefix.as_ref()) {
            lower = Bound::Excluded(after.clone());
        }
        let snapshot = self.run.engine.snapshot(self.run.id)?;
        let request =
            ScanRequest { run: self.run.id, tag: Tag::Kv, lower, upper, reverse: false, at: None, limit };
        let (entries, more) = snapshot.scan(request)?;
        let next = if more { entries.last().map(|(key, _)| key.clone()) } else { None };
        Ok(Page { entries, next })
    }

    fn count_between(&self, lower: Bound<KeyBytes>, upper: Bound<KeyBytes>) -> Result<u64> {
        // Held while the keys are counted, so that they are those of one moment.
        self.run.engine.snapshot(self.run.id)?.count(ScanRequest {
            run: self.run.id,
            tag: Tag::Kv,
            lower,
            upper,
            reverse: false,
            at: None,
            limit: usize::MAX,
        })
    }

    fn collect(
        &self,
        lower: Bound<KeyBytes>,
        upper: Bound<KeyBytes>,
        reverse: bool,
    ) -> Result<Vec<(KeyBytes, Value)>> {
        let snapshot = self.run.engine.snapshot(self.run.id)?;
        let request = ScanRequest {
            run: self.run.id,
            tag: Tag::Kv,
            lower,
            upper,
            reverse,
            at: None,
            limit: usize::MAX,
        };
        let (entries, _) = snapshot.scan(request)?;
        Ok(entries.into_iter().map(|(key, value)| (key, value.value)).collect())
    }
}

pub(crate) fn prefix_bounds(prefix: &[u8]) -> (Bound<KeyBytes>, Bound<KeyBytes>) {
    let lower = KeyBytes::new(prefix);
    let upper = lower.prefix_end().map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(lower), upper)
}

pub(crate) fn key_bounds<K: AsRef<[u8]>>(keys: &impl RangeBounds<K>) -> (Bound<KeyBytes>, Bound<KeyBytes>) {
    let own = |bound: Bound<&K>| bound.map(|key| KeyBytes::new(key.as_ref()));
    (own(keys.start_bound()), own(keys.end_bound()))
}
