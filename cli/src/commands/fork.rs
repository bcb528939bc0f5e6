//! `fork`: a new run that begins as another is, or was.

use std::process::ExitCode;

use in_mem::ForkOptions;
use serde_json::json;

use super::{Failure, find, history, open, print};
use crate::{
    args::{Common, ForkArgs},
    render::{Tone, text},
};

pub(super) fn fork(args: &ForkArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let parent = find::run(&db, &args.run)?;
    let mut options = ForkOptions::default();
    if let Some(name) = &args.name {
        options = options.name(name);
    }
    for tag in &args.tags {
        options = options.tag(tag);
    }
    let at = history::point(&parent, &args.at)?;
    let fork = db.fork(parent.id(), at, options)?;
    let (id, meta) = (fork.id(), fork.info()?.meta);
    let version = meta.forked_from.map(|from| from.version);
    drop((fork, parent));
    db.close()?;
    print(
        common,
        || json!({"run": id, "name": meta.name, "forked_from": meta.forked_from}),
        |screen| {
            let at = version.map_or_else(String::new, |version| format!(" at version {version}"));
            let from = meta.forked_from.map_or_else(String::new, |from| format!(" of {}{at}", from.run));
            format!(
                "{}  {}, fork{from}\n",
                screen.paint(Tone::Name, &id.to_string()),
                text::one_line(&meta.name)
            )
        },
    )?;
    Ok(ExitCode::SUCCESS)
}
