//! The diff of two trials of one task names the first message that differs, as a comparison of the files themselves does.

mod common;

use std::{collections::BTreeMap, fs};

use common::{data, json_lines, ok};
use serde_json::Value;

/// Tasks that are compared unless `IN_MEM_TEST_ALL_TRIALS` is set.
const SOME_TASKS: usize = 3;
/// Pairs of four trials of each of fifty tasks.
const ALL_PAIRS: usize = 50 * 6;

/// The place of the first message that is not the same in both, whatever in it differs.
fn first_difference(a: &[Value], b: &[Value]) -> Option<usize> {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (same < a.len().max(b.len())).then_some(same)
}

/// Which message an event of a run is, counting messages only.
fn message_index(events: &[Value], sequence: u64) -> usize {
    let before = events.iter().filter(|event| event["sequence"].as_u64().is_some_and(|s| s < sequence));
    before.filter(|event| event["kind"].as_str().is_some_and(|kind| kind.starts_with("message."))).count()
}

#[test]
fn the_first_message_that_differs_is_found() {
    let Some(files) = data("tau-bench") else { return };
    let all = std::env::var_os("IN_MEM_TEST_ALL_TRIALS").is_some();
    let dir = tempfile::tempdir().expect("a directory");
    let db = dir.path().join("db");
    let source: Vec<Value> = serde_json::from_slice(&fs::read(&files[0]).expect("reads")).expect("is JSON");
    ok(&db, &["import", "tau-bench", files[0].to_str().expect("a name")]);
    let ids: BTreeMap<(u64, u64), String> = json_lines(&ok(&db, &["runs", "--json", "--limit", "1000"]))
        .iter()
        .map(|run| {
            let number = |name: &str| run["metadata"][name].as_u64().expect("a number");
            ((number("task_id"), number("trial")), run["id"].as_str().expect("an id").to_owned())
        })
        .collect();
    let mut tasks: BTreeMap<u64, BTreeMap<u64, &[Value]>> = BTreeMap::new();
    for run in &source {
        let number = |name: &str| run[name].as_u64().expect("a number");
        let messages = run["traj"].as_array().expect("messages");
        tasks.entry(number("task_id")).or_default().insert(number("trial"), messages);
    }
    let mut pairs = 0;
    let mut places = BTreeMap::new();
    for (task, trials) in tasks.iter().take(if all { usize::MAX } else { SOME_TASKS }) {
        let events: BTreeMap<u64, Vec<Value>> = trials
            .keys()
            .map(|trial| {
                (
                    *trial,
                    json_lines(&ok(&db, &["events", &ids[&(*task, *trial)], "--json", "--limit", "100000"])),
                )
            })
            .collect();
        for (a, messages_a) in trials {
            for (b, messages_b) in trials.range(a + 1..) {
                let (id_a, id_b) = (&ids[&(*task, *a)], &ids[&(*task, *b)]);
                let diff = json_lines(&ok(&db, &["diff", id_a, id_b, "--json"])).remove(0);
                let expected = first_difference(messages_a, messages_b);
                let parted = &diff["divergence"];
                let found = parted["sequence"].as_u64().map(|sequence| {
                    let index = message_index(&events[a], sequence);
                    assert_eq!(index, message_index(&events[b], sequence));
                    for (side, messages) in [("a", messages_a), ("b", messages_b)] {
                        let payload = (!parted[side].is_null()).then(|| &parted[side]["payload"]);
                        assert_eq!(
                            payload,
                            messages.get(index),
                            "task {task}, trials {a} and {b}, side {side}"
                        );
                    }
                    index
                });
                assert_eq!(found, expected, "task {task}, trials {a} and {b}");
                pairs += 1;
                *places.entry(found).or_insert(0) += 1;
            }
        }
    }
    assert!(!all || pairs == ALL_PAIRS, "{pairs} pairs");
    eprintln!("{pairs} pairs of trials; how many parted at which message: {places:?}");
}
