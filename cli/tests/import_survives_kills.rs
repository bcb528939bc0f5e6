//! The importing process is killed at random moments. Reopening never fails, no run that was acknowledged is lost, and no run
//! is there by half.
//!
//! `IN_MEM_KILLS` says how often to kill (50 for a release), `IN_MEM_SEED` where the randomness begins: a failure names it.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use common::{in_mem, json_lines, ok};
use in_mem::{Database, RunId};
use in_mem_cli::{
    commands::run_id,
    import::{Format, ImportedRun, read_all},
};
use serde_json::json;

/// Kills where nobody says how many.
const DEFAULT_KILLS: u64 = 6;
/// Runs of the file that is imported.
const RUNS: usize = 300;
/// The longest wait between an acknowledgement and the kill, in turns of an empty loop: a few milliseconds.
const MAX_SPIN_TURNS: u32 = 3_000_000;

/// A file of runs of very different sizes, so that kills fall into large commits, too.
fn file(dir: &Path) -> PathBuf {
    let mut random = fastrand::Rng::with_seed(7);
    let runs: Vec<_> = (0..RUNS)
        .map(|task| {
            let messages = 3 + 3 * random.usize(..7);
            let bytes = if task % 25 == 0 { 20_000 } else { 1 + random.usize(..800) };
            let traj: Vec<_> = (0..messages)
                .map(|i| match i % 3 {
                    1 => json!({
                        "role": "assistant", "content": null, "tool_calls": [{
                            "id": format!("c{i}"), "type": "function",
                            "function": {"name": "look", "arguments": "{\"at\": 1}"},
                        }],
                    }),
                    2 => json!({"role": "tool", "tool_call_id": format!("c{}", i - 1), "content": "x".repeat(bytes)}),
                    _ => json!({"role": "user", "content": "y".repeat(bytes)}),
                })
                .collect();
            json!({"task_id": task, "trial": 0, "reward": random.u8(..2), "info": {}, "traj": traj})
        })
        .collect();
    let path = dir.join("runs.json");
    fs::write(&path, serde_json::to_vec(&runs).expect("JSON")).expect("writes");
    path
}

/// Imports and is killed so long after it acknowledged so many runs; gives all runs that it acknowledged.
fn import_and_kill(file: &Path, db: &Path, mode: &str, acks: usize, spin_turns: u32) -> Vec<RunId> {
    let mut child = in_mem()
        .args(["import", "tau-bench", "--json", "--durability", mode, "--db"])
        .args([db, file])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut acknowledged = Vec::new();
    let mut next = |acknowledged: &mut Vec<RunId>| {
        let mut line = String::new();
        lines.read_line(&mut line).expect("reads");
        // A line that is cut was never an acknowledgement.
        if !line.ends_with('\n') {
            return false;
        }
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        if line["type"] == "run" {
            acknowledged.push(line["run"].as_str().and_then(|id| id.parse().ok()).expect("an id"));
        }
        true
    };
    while acknowledged.len() < acks && next(&mut acknowledged) {}
    for _ in 0..spin_turns {
        std::hint::spin_loop();
    }
    child.kill().expect("kills");
    child.wait().expect("is dead");
    while next(&mut acknowledged) {}
    acknowledged
}

/// Whatever is there is whole; gives the runs that are.
fn whole(db: &Path, runs: &BTreeMap<RunId, ImportedRun>, context: &str) -> BTreeSet<RunId> {
    let db = Database::open(db).unwrap_or_else(|error| panic!("{context}: does not open again: {error}"));
    let mut there = BTreeSet::new();
    for info in db.runs().list().expect("lists") {
        let imported = runs.get(&info.id).unwrap_or_else(|| panic!("{context}: {} is nobody's", info.id));
        let run = db.run(info.id).expect("there");
        let events: Vec<_> = run.events().iter().map(|e| e.expect("sound").payload.to_json()).collect();
        let expected: Vec<_> = imported.events.iter().map(|e| e.payload.clone()).collect();
        assert!(events == expected, "{context}: {} has not its events", info.id);
        assert!(run.events().verify_chain().expect("checks").is_intact(), "{context}: {}", info.id);
        let held = (info.events.entries, info.traces.entries, info.kv.entries);
        let expected =
            (imported.events.len() as u64, imported.spans.len() as u64, imported.state.len() as u64);
        assert_eq!(held, expected, "{context}: {} is there by half", info.id);
        assert_eq!(run.traces().query().count().expect("counts"), expected.1, "{context}: {}", info.id);
        for (key, value) in &imported.state {
            let found = run.kv().get(key).expect("reads").map(|v| v.to_json());
            assert_eq!(found.as_ref(), Some(value), "{context}: {} {key}", info.id);
        }
        assert!(info.meta.status.is_ended(), "{context}: {} has no end", info.id);
        there.insert(info.id);
    }
    db.close().expect("closes");
    there
}

#[test]
fn no_kill_loses_an_acknowledged_run_or_leaves_half_of_one() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |n| n.parse().unwrap_or_else(|_| panic!("{name}={n} is no number")))
    };
    let (kills, seed) = (number("IN_MEM_KILLS", DEFAULT_KILLS), number("IN_MEM_SEED", 1));
    let dir = tempfile::tempdir().expect("a directory");
    let file = file(dir.path());
    let runs: BTreeMap<RunId, ImportedRun> = read_all(&file, Format::TauBench)
        .into_iter()
        .map(|run| run.expect("sound"))
        .map(|run| (run_id(&run), run))
        .collect();
    assert_eq!(runs.len(), RUNS);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut killed_half_way = 0;
    for kill in 0..kills {
        let mode = ["buffered", "strict"][(kill % 2) as usize];
        // Some kills fall into the opening, before anything is acknowledged.
        let acks = if kill % 8 == 7 { 0 } else { random.usize(..RUNS * 9 / 10) };
        let spin = random.u32(..MAX_SPIN_TURNS);
        let context = format!("IN_MEM_SEED={seed}, kill {kill} ({mode}, after {acks} runs)");
        let db = dir.path().join(format!("db-{kill}"));
        let acknowledged = import_and_kill(&file, &db, mode, acks, spin);
        let there = whole(&db, &runs, &context);
        let lost: Vec<_> = acknowledged.iter().filter(|id| !there.contains(id)).collect();
        assert!(lost.is_empty(), "{context}: lost {lost:?} of {} acknowledged", acknowledged.len());
        killed_half_way += u64::from(there.len() < RUNS);

        // What is missing comes with the next import, and nothing twice.
        let name = file.to_str().expect("a name");
        let out = ok(&db, &["import", "tau-bench", "--json", "--durability", mode, name]);
        let total = json_lines(&out).pop().expect("a total");
        assert_eq!(total["present"].as_u64(), Some(there.len() as u64), "{context}");
        assert_eq!(total["imported"].as_u64(), Some((RUNS - there.len()) as u64), "{context}");
        assert_eq!(whole(&db, &runs, &context).len(), RUNS, "{context}");
        fs::remove_dir_all(&db).expect("removes");
    }
    assert!(killed_half_way > 0 || kills == 0, "every import was at its end before it was killed");
}
