//! Writing an imported run into the database.

use std::{collections::BTreeMap, time::Duration};

use in_mem::{
    Database, Error, EventDraft, Result, RunId, RunInfo, RunStatus, SpanDraft, SpanStatus, Timestamp,
    Transaction, Value, WriteError, limits,
};

use crate::import::{ImportedRun, ImportedSpan, ImportedStatus, SpanStatus as ImportedSpanStatus};

/// Under this name the metadata say which run of which source it is.
const SOURCE_ID: &str = "source.id";
/// Under this name the metadata say what the source's content was.
const SOURCE_DIGEST: &str = "source.digest";
/// Under this name the metadata have the name where it is too long to be one.
const SOURCE_NAME: &str = "source.name";

/// What became of a run that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is in the database now, as durable as the mode promises.
    New,
    /// It was there already, with this very content.
    Present,
    /// It was there already with other content, and was left as it was: the source has changed since.
    Changed,
}

impl Stored {
    /// One word for tables and programs.
    pub fn word(self) -> &'static str {
        match self {
            Stored::New => "imported",
            Stored::Present => "present",
            Stored::Changed => "changed",
        }
    }
}

/// The id of an imported run: the same source always gives the same.
pub fn run_id(run: &ImportedRun) -> RunId {
    RunId::from_bytes(run.run_id())
}

/// Whether the run was brought in from elsewhere.
pub(super) fn is_imported(info: &RunInfo) -> bool {
    matches!(&info.meta.metadata, Value::Object(metadata) if metadata.get(SOURCE_ID).is_some())
}

/// Writes the run: with its events, trace, state, status and tags in one transaction, so that it is there whole or not at all
/// whenever the process is killed.
///
/// # Errors
/// [`Error`]; nothing of the run was written.
pub fn store(db: &Database, run: &ImportedRun) -> Result<Stored> {
    let id = run_id(run);
    if let Some(there) = stored(db, run, id)? {
        return Ok(there);
    }
    let name = fit(&run.name, limits::MAX_RUN_NAME_BYTES);
    let mut metadata: BTreeMap<&str, Value> =
        run.metadata.iter().map(|(key, value)| (key.as_str(), Value::from(value))).collect();
    metadata.insert(SOURCE_ID, Value::from(&run.source_id));
    metadata.insert(SOURCE_DIGEST, Value::from(&run.content_digest));
    if name.len() < run.name.len() {
        metadata.insert(SOURCE_NAME, Value::from(&run.name));
    }
    let mut begin = db.new_run(name).id(id).tags(&run.tags).metadata(metadata);
    if run.status == ImportedStatus::Unknown && !run.tags.iter().any(|tag| tag.starts_with("outcome:")) {
        begin = begin.tag("outcome:unknown");
    }
    if let Some(started) = run.started {
        begin = begin.created_at(Timestamp(started));
    }
    match begin.begin_with(|tx| write(tx, run, db.engine().now())) {
        Ok(_) => Ok(Stored::New),
        // Another thread was first.
        Err(Error::Write(WriteError::RunExists { .. })) => {
            Ok(stored(db, run, id)?.unwrap_or(Stored::Changed))
        }
        Err(error) => Err(error),
    }
}

fn stored(db: &Database, run: &ImportedRun, id: RunId) -> Result<Option<Stored>> {
    let info = match db.run(id) {
        Ok(there) => there.info()?,
        Err(Error::UnknownRun { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let digest = match &info.meta.metadata {
        Value::Object(metadata) => metadata.get(SOURCE_DIGEST),
        _ => None,
    };
    let same = digest == Some(&Value::from(&run.content_digest));
    Ok(Some(if same { Stored::Present } else { Stored::Changed }))
}

fn write(tx: &mut Transaction<'_>, run: &ImportedRun, now: Timestamp) -> Result<()> {
    for event in &run.events {
        let mut draft = EventDraft::new(event.kind.text(), &event.payload);
        if let Some(at) = event.at {
            draft = draft.occurred_at(Timestamp(at));
        }
        tx.events().append_draft(&draft)?;
    }
    for span in &run.spans {
        let draft = draft(span, now);
        // What is recorded in one go counts as ok where nothing else is said; here nobody said that it was.
        match span.status {
            ImportedSpanStatus::Unset => tx.traces().start(&draft)?,
            _ => tx.traces().record(&draft)?,
        };
    }
    for (key, value) in &run.state {
        tx.kv().put(key, value)?;
    }
    let (status, why) = match &run.status {
        // Nobody is at work on a recorded run, whatever its source leaves open: the tag says that it does.
        ImportedStatus::Completed | ImportedStatus::Unknown => (RunStatus::Completed, None),
        ImportedStatus::Failed(why) => (RunStatus::Failed, Some(why.as_str())),
        ImportedStatus::Cancelled(why) => (RunStatus::Cancelled, Some(why.as_str())),
    };
    // A run that took no time, where the source says only when it began; and now, where it says nothing.
    tx.end_run_as(status, why, run.ended.or(run.started).map(Timestamp));
    Ok(())
}

fn draft(span: &ImportedSpan, now: Timestamp) -> SpanDraft {
    let name = fit(&span.name, limits::MAX_SPAN_NAME_BYTES);
    let mut draft = SpanDraft::new(span.kind.text(), name).id(span.id.as_str());
    draft = draft.input(&span.input).output(&span.output);
    if let Some(parent) = &span.parent {
        draft = draft.parent(parent.as_str());
    }
    let took = span.duration.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros);
    let (start, end) = match (span.start, span.end, took) {
        (Some(start), Some(end), _) => (Timestamp(start), Some(Timestamp(end))),
        (Some(start), None, Some(took)) => (Timestamp(start), Some(Timestamp(start).saturating_add(took))),
        // The source knows when it began and not that it ended: there it is still open.
        (Some(start), None, None) => (Timestamp(start), None),
        (None, Some(end), took) => {
            (Timestamp(end).saturating_sub(took.unwrap_or_default()), Some(Timestamp(end)))
        }
        // A source without times is over all the same.
        (None, None, took) => (now.saturating_sub(took.unwrap_or_default()), Some(now)),
    };
    draft = draft.start(start);
    if let Some(end) = end {
        draft = draft.end(end);
    }
    draft = match &span.status {
        ImportedSpanStatus::Ok => draft.status(SpanStatus::Ok),
        ImportedSpanStatus::Failed(why) => draft.failed(why.as_str()),
        ImportedSpanStatus::Unset => draft,
    };
    if let Some(model) = &span.model {
        draft = draft.model(model.as_str());
    }
    if let Some(tokens) = span.input_tokens {
        draft = draft.input_tokens(tokens);
    }
    if let Some(tokens) = span.output_tokens {
        draft = draft.output_tokens(tokens);
    }
    if let Some(cost) = span.cost_usd {
        draft = draft.cost_usd(cost);
    }
    for (key, value) in &span.attributes {
        draft = draft.attribute(key.as_str(), value);
    }
    if name.len() < span.name.len() {
        draft = draft.attribute(SOURCE_NAME, &span.name);
    }
    draft
}

/// As much of a name as may be stored.
fn fit(name: &str, limit_bytes: usize) -> &str {
    &name[..name.floor_char_boundary(limit_bytes)]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::import::{Format, read_bytes};

    fn imported(trace: serde_json::Value) -> ImportedRun {
        let mut run = None;
        read_bytes(Path::new("t.json"), trace.to_string().as_bytes(), Format::Langfuse, |read| {
            run = Some(read.expect("sound"));
            std::ops::ControlFlow::Continue(())
        });
        run.expect("a run")
    }

    #[test]
    fn a_run_goes_in_once_and_a_changed_source_is_told() {
        let db = Database::in_memory().expect("opens");
        let trace = |output: &str| {
            json!({
                "trace": {"id": "t1", "name": "é".repeat(200), "output": output, "tags": ["a"]},
                "observations": [{
                    "id": "o1", "type": "TOOL", "name": "look", "startTime": "2025-08-01T13:22:00.147Z",
                    "endTime": "2025-08-01T13:22:01Z", "input": {"x": 1}, "output": "y",
                }],
            })
        };
        let first = imported(trace("one"));
        assert_eq!(store(&db, &first).expect("stores"), Stored::New);
        assert_eq!(store(&db, &first).expect("stores"), Stored::Present);
        assert_eq!(store(&db, &imported(trace("two"))).expect("stores"), Stored::Changed);
        assert_eq!(db.runs().count().expect("counts"), 1);

        let info = db.run(run_id(&first)).expect("there").info().expect("there");
        assert!(info.meta.status.is_ended());
        assert_eq!(info.meta.created, Timestamp(first.started.expect("a time")));
        assert_eq!(info.meta.ended, Some(Timestamp(first.ended.expect("a time"))));
        assert_eq!(info.meta.name.len(), limits::MAX_RUN_NAME_BYTES);
        assert_eq!(info.events.entries, first.events.len() as u64);
        assert_eq!(info.kv.entries, first.state.len() as u64);
        assert_eq!(info.traces.entries, first.spans.len() as u64);
    }

    #[test]
    fn a_run_that_cannot_be_stored_leaves_nothing() {
        let db = Database::in_memory().expect("opens");
        let mut run = imported(json!({"trace": {"id": "t1"}, "observations": []}));
        run.state.push(("k".repeat(limits::MAX_KEY_BYTES + 1), json!(1)));
        assert!(matches!(store(&db, &run), Err(Error::Key(_))));
        assert_eq!(db.runs().count().expect("counts"), 0);
    }
}
