//! `stats`: what the database holds, and how it is doing.

use std::{collections::BTreeMap, fs, path::Path, process::ExitCode};

use in_mem::{Database, RunInfo, Stats, Usage};
use serde_json::json;

use super::{
    Failure, open, print,
    runs::{indented, inner, status_word},
};
use crate::{
    args::{Common, StatsArgs},
    render::{Align, Screen, Table, Tone, human, text},
};

/// What a database holds.
struct Page {
    stats: Stats,
    /// Bytes of its files, as far as they can be read.
    disk_bytes: u64,
    runs: BTreeMap<&'static str, u64>,
    holds: [(&'static str, Usage); 4],
    kinds: Option<BTreeMap<String, u64>>,
}

pub(super) fn stats(args: &StatsArgs, common: &Common) -> Result<ExitCode, Failure> {
    let db = open::existing(common)?;
    let page = Page::of(&db, common, args.kinds)?;
    print(common, || page.json(), |screen| page.text(common, screen))?;
    Ok(ExitCode::SUCCESS)
}

impl Page {
    fn of(db: &Database, common: &Common, kinds: bool) -> Result<Page, Failure> {
        let all = db.runs().with_memories().list()?;
        let mut runs = BTreeMap::new();
        for info in &all {
            *runs.entry(if info.meta.memory { "memory" } else { status_word(info) }).or_default() += 1;
        }
        let sum = |of: fn(&RunInfo) -> Usage| {
            all.iter().map(of).fold(Usage::default(), |a, b| Usage {
                entries: a.entries + b.entries,
                bytes: a.bytes + b.bytes,
            })
        };
        let holds = [
            ("events", sum(|info| info.events)),
            ("trace", sum(|info| info.traces)),
            ("state", sum(|info| info.state)),
            ("kv", sum(|info| info.kv)),
        ];
        let kinds = if kinds { Some(count_kinds(db, &all)?) } else { None };
        Ok(Page { stats: db.stats()?, disk_bytes: bytes_below(common.db_path()), runs, holds, kinds })
    }

    fn json(&self) -> serde_json::Value {
        let holds: BTreeMap<&str, Usage> = self.holds.iter().copied().collect();
        let mut page = json!({
            "path": self.stats.path.as_ref().map(|path| path.display().to_string()), "durability": self.stats.durability, "disk_bytes": self.disk_bytes,
            "runs": self.runs, "holds": holds, "shards": self.stats.shards, "unpinned": self.stats.unpinned,
        });
        if let Some(kinds) = &self.kinds {
            page["kinds"] = json!(kinds);
        }
        page
    }

    fn text(&self, common: &Common, screen: &Screen) -> String {
        let mut out = screen.paint(Tone::Heading, &text::one_line(&common.db_path().display().to_string()));
        out.push('\n');
        let mut line = |name: &str, value: String| {
            out.push_str(&screen.paint(Tone::Quiet, &format!("  {name:<12}")));
            out.push_str(&value);
            out.push('\n');
        };
        let total: u64 = self.runs.values().sum();
        let runs: Vec<String> = self
            .runs
            .iter()
            .map(|(status, n)| {
                screen.paint(Tone::of_status(status), &format!("{} {status}", human::count(*n)))
            })
            .collect();
        line("runs", if total == 0 { "none".to_owned() } else { runs.join(", ") });
        line("on disk", human::bytes(self.disk_bytes));
        line("durability", self.stats.durability.to_string());
        if let Some(why) = &self.stats.unpinned {
            line("not pinned", text::one_line(why));
        }
        let mut holds =
            Table::new([("HOLDS", Align::Left), ("ENTRIES", Align::Right), ("BYTES", Align::Right)]);
        for (name, usage) in &self.holds {
            holds.row([
                (Tone::Name, (*name).to_owned()),
                (Tone::Plain, human::count(usage.entries)),
                (Tone::Plain, human::bytes(usage.bytes)),
            ]);
        }
        let mut shards = Table::new([
            ("SHARD", Align::Right),
            ("RUNS", Align::Right),
            ("ENTRIES", Align::Right),
            ("VERSION", Align::Right),
            ("STATE", Align::Left),
        ]);
        for shard in &self.stats.shards {
            let (tone, state) = match &shard.core.poisoned {
                Some(why) => (Tone::Bad, why.clone()),
                None => (Tone::Good, "ok".to_owned()),
            };
            shards.row([
                (Tone::Name, shard.shard.to_string()),
                (Tone::Plain, human::count(shard.core.runs)),
                (Tone::Plain, human::count(shard.core.entries)),
                (Tone::Plain, human::count(shard.core.version.0)),
                (tone, state),
            ]);
        }
        let kinds = self.kinds.iter().map(|kinds| {
            let mut table = Table::new([("EVENTS OF TYPE", Align::Left), ("COUNT", Align::Right)]);
            for (kind, n) in kinds {
                table.row([(Tone::Name, kind.clone()), (Tone::Plain, human::count(*n))]);
            }
            table
        });
        for table in [holds, shards].into_iter().chain(kinds) {
            out.push('\n');
            out.push_str(&indented(&table.render(&inner(screen))));
        }
        out
    }
}

fn count_kinds(db: &Database, runs: &[RunInfo]) -> Result<BTreeMap<String, u64>, Failure> {
    let mut kinds = BTreeMap::new();
    for info in runs {
        for event in db.run(info.id)?.events().iter() {
            let event = event?;
            match kinds.get_mut(&*event.kind) {
                Some(count) => *count += 1,
                None => drop(kinds.insert(event.kind.to_string(), 1)),
            }
        }
    }
    Ok(kinds)
}

/// Bytes of all files below a directory; what cannot be looked at counts as nothing.
fn bytes_below(dir: &Path) -> u64 {
    let mut bytes = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => dirs.push(entry.path()),
                Ok(meta) => bytes += meta.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}
