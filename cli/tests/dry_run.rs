//! The command itself, as far as it needs no database.

use std::{
    fs,
    process::{Command, Output},
};

fn in_mem(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_in-mem")).args(args).env_remove("IN_MEM_DB").output().unwrap()
}

const SOUND: &str =
    r#"{"trajectory":[{"action":"ls","observation":"a"}],"history":[],"info":{"exit_status":"submitted"}}"#;

#[test]
fn the_sound_files_are_counted_and_the_broken_ones_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good, bad) = (path("good.traj", SOUND), path("bad.traj", &SOUND[..40]));
    let out = in_mem(&["import", "swe-agent", "--dry-run", &bad, &good]);
    assert_eq!(out.status.code(), Some(1), "a fault is an exit code");
    let (table, faults) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert!(table.lines().any(|l| l.starts_with("good.traj") && l.contains("3")), "{table}");
    assert!(faults.starts_with("error: ") && faults.contains("bad.traj:1:40: is not JSON"), "{faults}");
    assert!(!table.contains('\u{1b}'), "no colours into a pipe");

    let out = in_mem(&["import", "swe-agent", "--dry-run", "--json", &good]);
    assert_eq!(out.status.code(), Some(0));
    let line: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&line["runs"], &line["events"], &line["spans"]), (&1.into(), &3.into(), &3.into()));
}

#[test]
fn colours_come_when_asked_for() {
    let out = in_mem(&["import", "swe-agent", "--dry-run", "--color", "always", "absent.traj"]);
    assert!(String::from_utf8(out.stdout).unwrap().contains('\u{1b}'));
}

#[test]
fn an_unknown_format_is_told_which_there_are() {
    let out = in_mem(&["import", "csv", "x"]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text.contains("tau-bench") && text.contains("langfuse"), "{text}");
}
