//! Making forks: of a run as it is, at the cost of one entry; of a run as it was, at the cost of what changed since.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use in_mem_model::{Namespace, RunId, Tag, Timestamp, Value, Version};
use in_mem_shard::core::command::{CommitRequest, ReadRange, Write};
use in_mem_shard::core::error::{Condition, WriteError};
use in_mem_shard::core::fork::is_shared;
use in_mem_shard::core::run_meta::{ForkPoint, RunMeta, RunStatus};

use super::digest::TAGS;
use super::error::HistoryError;
use super::timeline::{Point, View};
use crate::engine::Engine;
use crate::error::Error;

/// How often a fork of the past is tried again when its parent is written to meanwhile.
const ATTEMPTS: usize = 10;

/// What a fork is to be called.
#[derive(Debug, Clone, Default)]
pub struct ForkSettings {
    /// Its id, with its parent's routing bits; `None`: a fresh one.
    pub id: Option<RunId>,
    /// Its name; `None`: its parent's.
    pub name: Option<Arc<str>>,
    /// Its namespace; `None`: its parent's.
    pub namespace: Option<Namespace>,
    /// Words to find it by.
    pub tags: Vec<Arc<str>>,
    /// Anything else to know of it.
    pub metadata: Option<Value>,
}

impl Engine {
    /// Makes a run that begins as `parent` is, or was at `at`. It shares what it does not change; what is written to it never
    /// touches the parent, and the other way round.
    ///
    /// A fork of now costs one entry, whatever the parent holds. A fork of the past is a fork of now that takes back what changed
    /// since: it costs what changed, in keys, and needs the log. It is one commit, however much it takes back.
    ///
    /// # Errors
    /// [`Error::UnknownRun`], [`HistoryError`] for a fork of the past, [`WriteError::ForkTooDeep`]; no run was made. An earlier life
    /// of the parent's id, deleted since, can be forked as long as it had no events of its own
    /// ([`HistoryError::EventsOfAnotherLife`]).
    pub fn fork(&self, parent: RunId, at: Point, settings: ForkSettings) -> Result<RunId, Error> {
        let id = settings.id.unwrap_or_else(|| RunId::generate_child(parent, self.now()));
        if at == Point::Now {
            return self.make_fork(parent, id, &settings, Version(u64::MAX), None);
        }
        let mut attempt = 1;
        loop {
            // Held until the fork is made: by it the shard knows that nothing of the parent changed meanwhile.
            let snapshot = self.snapshot(parent)?;
            let through = snapshot.version();
            let now = self.view(parent, Point::Version(through))?;
            let then = now.at(at)?;
            let made = self.make_fork(parent, id, &settings, then.version(), Some((through, &now, &then)));
            drop(snapshot);
            match made {
                Err(Error::Write(WriteError::Conflict { found, .. })) if attempt < ATTEMPTS => {
                    self.wait_visible(parent, found)?;
                    attempt += 1;
                }
                made => return made,
            }
        }
    }

    fn make_fork(
        &self,
        parent: RunId,
        id: RunId,
        settings: &ForkSettings,
        version: Version,
        past: Option<(Version, &View, &View)>,
    ) -> Result<RunId, Error> {
        let of = self.run_info(parent)?.ok_or(Error::UnknownRun { run: parent })?.meta;
        let meta = RunMeta {
            name: settings.name.clone().unwrap_or(of.name),
            namespace: settings.namespace.clone().unwrap_or(of.namespace),
            status: RunStatus::Running,
            error: None,
            memory: false,
            parent: Some(parent),
            root: of.root,
            forked_from: Some(ForkPoint { run: parent, version }),
            tags: settings.tags.clone(),
            metadata: settings.metadata.clone().unwrap_or(Value::Null),
            created: Timestamp(0),
            started: None,
            ended: None,
            first_version: Version(0),
        };
        let mut request = CommitRequest::new(id);
        request.writes.push((id, Write::CreateRun(Box::new(meta))));
        if let Some((through, now, then)) = past {
            request.snapshot = Some(through);
            request.ranges = TAGS
                .iter()
                .map(|tag| ReadRange {
                    run: parent,
                    tag: *tag,
                    lower: Bound::Unbounded,
                    upper: Bound::Unbounded,
                })
                .collect();
            for (tag, key) in now.changed_since(then) {
                if !is_shared(tag, &key) {
                    continue;
                }
                let condition = Condition::Any;
                let (was, is) = (then.get(tag, &key), now.get(tag, &key));
                if was == is {
                    continue;
                }
                let write = match was {
                    // Written anew it would be of another time than its hash says.
                    Some(_) if tag == Tag::Event => {
                        return Err(HistoryError::EventsOfAnotherLife { run: parent, at: version }.into());
                    }
                    Some(was) => {
                        Write::Put { tag, key, value: was.value, expires_at: was.expires_at, condition }
                    }
                    None => Write::Delete { tag, key, condition },
                };
                request.writes.push((id, write));
            }
        }
        self.commit(request).map(|_| id)
    }

    /// The runs that were forked from a run, and those forked from them, with how deep: who needs it still.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn forks_of(&self, run: RunId) -> Result<Vec<(RunId, usize)>, Error> {
        use in_mem_shard::core::command::RunQuery;
        use in_mem_shard::core::{PAGE_LIMIT, RunFilter};
        let mut found = Vec::new();
        // Ids are used again: a run made anew as a fork of its own fork is above itself.
        let mut seen = BTreeSet::from([run]);
        let mut next = vec![(run, 1)];
        while let Some((parent, depth)) = next.pop() {
            let filter = RunFilter { parent: Some(parent), ..RunFilter::default() };
            let mut query = RunQuery { filter, limit: PAGE_LIMIT, ..RunQuery::default() };
            loop {
                let page = self.runs(query.clone())?;
                for child in page.runs {
                    if child.meta.forked_from.is_some_and(|point| point.run == parent)
                        && seen.insert(child.id)
                    {
                        found.push((child.id, depth));
                        next.push((child.id, depth + 1));
                    }
                }
                match page.next {
                    Some(after) => query.after = Some(after),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    /// What a fork's own log does not say of it: its parent as it was when the fork was made.
    pub(super) fn base_of(&self, run: RunId, meta: &RunMeta, depth: usize) -> Result<Option<View>, Error> {
        use in_mem_shard::core::fork::MAX_FORK_DEPTH;
        let Some(point) = meta.forked_from else { return Ok(None) };
        if depth > MAX_FORK_DEPTH {
            return Err(HistoryError::TooDeep { run, limit: MAX_FORK_DEPTH }.into());
        }
        let at = Version(meta.first_version.0.saturating_sub(1));
        let parent = self.timeline_at_depth(point.run, at, depth + 1)?;
        Ok(Some(View::new(Arc::new(parent), Point::Version(at))?))
    }
}
