//! What several tests of the command need.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The command, with nothing in its environment that would lead it elsewhere.
pub(crate) fn in_mem() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_in-mem"));
    command.env_remove("IN_MEM_DB").env_remove("IN_MEM_DURABILITY");
    command
}

/// Runs the command on a database.
pub(crate) fn on(db: &Path, args: &[&str]) -> Output {
    in_mem().args(args).arg("--db").arg(db).output().expect("the command runs")
}

/// Runs the command on a database, which must succeed; gives its standard output.
pub(crate) fn ok(db: &Path, args: &[&str]) -> String {
    let out = on(db, args);
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// Runs the command on a database, which must fail with this code; gives what it said.
pub(crate) fn fails(db: &Path, code: i32, args: &[&str]) -> String {
    let out = on(db, args);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {}{}", text(&out.stdout), text(&out.stderr));
    let said = text(&out.stderr);
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// The lines of JSON in an output.
pub(crate) fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The files of a set of real runs in order, or `None`, said out loud, where the data is not there.
pub(crate) fn data(set: &str) -> Option<Vec<PathBuf>> {
    let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data"));
    // A checkout may stand elsewhere than beside the data.
    let data = std::env::var_os("IN_MEM_TEST_DATA").map_or(data.to_owned(), PathBuf::from);
    if !data.is_dir() {
        eprintln!("skipped: ../shared/data is not there (IN_MEM_TEST_DATA names another place)");
        return None;
    }
    let entries = fs::read_dir(data.join(set)).expect("the set is there");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    Some(files)
}
