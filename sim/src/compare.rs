//! Whether what was recovered is what may be there.

use std::collections::BTreeMap;

use in_mem::{Database, Error, RunId};

use crate::model::{Content, Model, RunContent};

/// Everything that a database holds.
pub(crate) fn read_all(db: &Database) -> Result<Content, Error> {
    let mut content = Content::new();
    for info in db.runs().with_memories().list()? {
        let run = db.run(info.id)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kv = run.kv().list("")?.into_iter().map(|(key, value)| (text(&key), value)).collect();
        let mut events = Vec::new();
        for event in run.events().range(..)? {
            events.push((event.kind.to_string(), event.payload.clone()));
        }
        let cells: BTreeMap<_, _> =
            run.state().list("")?.into_iter().map(|(cell, value)| (text(&cell), value.value)).collect();
        let held = RunContent {
            name: info.meta.name.to_string(),
            status: info.meta.status,
            kv,
            events,
            cells,
            last_version: info.last_version.0,
        };
        content.insert(info.id, held);
    }
    Ok(content)
}

/// Finds for each shard the prefix of its commits that was recovered. `least`: how many commits of a shard must be there.
pub(crate) fn matches(
    found: &Content,
    model: &Model,
    least: impl Fn(&crate::model::ShardModel) -> usize,
) -> Result<Vec<usize>, String> {
    let mut prefixes = Vec::new();
    let mut seen = 0;
    for (number, shard) in model.shards.iter().enumerate() {
        let here: Vec<(&RunId, &RunContent)> =
            found.iter().filter(|(run, _)| model.shard_of(**run) == number).collect();
        seen += here.len();
        let least = least(shard);
        // The longest first: it is the likeliest.
        let fits = |n: &usize| {
            let expected = shard.prefix(*n);
            expected.len() == here.len()
                && here.iter().all(|(run, held)| expected.get(run).is_some_and(|e| held.is(e)))
        };
        let Some(prefix) = (0..=shard.commits.len()).rev().find(fits) else {
            return Err(format!(
                "shard {number}: what was recovered is no prefix of its {} commits; against all of them: {}",
                shard.commits.len(),
                difference(&here, &shard.prefix(shard.commits.len()))
            ));
        };
        if prefix < least {
            return Err(format!("shard {number}: {prefix} commits recovered, {least} had to be there"));
        }
        prefixes.push(prefix);
    }
    if seen != found.len() {
        return Err("a run that no shard owns".to_owned());
    }
    Ok(prefixes)
}

/// The runs that differ, for a person to read.
fn difference(found: &[(&RunId, &RunContent)], expected: &Content) -> String {
    let mut lines = Vec::new();
    for (run, held) in found {
        match expected.get(run) {
            None => lines.push(format!("{run} is there and should not be")),
            Some(e) if !held.is(e) => lines.push(format!("{run} is {held:?}, not {e:?}")),
            Some(_) => {}
        }
    }
    for run in expected.keys().filter(|run| !found.iter().any(|(found, _)| found == run)) {
        lines.push(format!("{run} is missing"));
    }
    lines.join("\n")
}
