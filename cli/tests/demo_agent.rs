//! The demo's agent ends with the same notes however often it is stopped, and on whatever tree it is put.

use std::{collections::BTreeMap, convert::Infallible, fs, path::Path};

use in_mem_cli::{
    demo::{
        Action, MAX_DIRS, Memory, Outcome, Progress, Question, Recorder, Tools, next_action, report, work,
    },
    render::Screen,
};
use serde_json::Value;

/// Steps no tree can take the agent beyond.
const MAX_STEPS: u64 = 1_000;

/// What a database would hold, and a place at which the process dies.
#[derive(Default)]
struct Record {
    notes: BTreeMap<String, Value>,
    calls: Vec<(String, Value)>,
    results: usize,
    progress: Option<Progress>,
    writes_left: Option<u64>,
}

struct Killed;

impl Record {
    fn write(&mut self) -> Result<(), Killed> {
        match &mut self.writes_left {
            Some(0) => Err(Killed),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Recorder for Record {
    type Error = Killed;

    fn begin_step(&mut self, _: u64, _: &Action, why: &str) -> Result<(), Killed> {
        assert!(!why.is_empty());
        self.write()
    }

    fn tool_call(&mut self, _: u64, tool: &str, arguments: &Value) -> Result<(), Killed> {
        self.write()?;
        self.calls.push((tool.to_owned(), arguments.clone()));
        Ok(())
    }

    fn tool_result(&mut self, _: u64, _: &str, _: bool, record: &Value) -> Result<(), Killed> {
        assert!(record.to_string().len() < 4_096, "a result is recorded in brief");
        self.write()?;
        self.results += 1;
        Ok(())
    }

    fn note(&mut self, _: u64, key: &str, value: &Value) -> Result<(), Killed> {
        self.write()?;
        let before = self.notes.insert(key.to_owned(), value.clone());
        assert!(before.is_none(), "{key} was noted twice, so a step that was done was done again");
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) -> Result<(), Killed> {
        self.write()?;
        self.progress = Some(progress.clone());
        Ok(())
    }
}

fn finish(root: &Path) -> (Memory, Record) {
    let mut memory = Memory::default();
    let mut record = Record::default();
    let outcome = work(&Tools::new(root, &[]), &mut memory, &mut record, MAX_STEPS);
    assert!(matches!(outcome, Ok(Outcome::Finished)));
    (memory, record)
}

/// A small workspace: two packages, one using the other.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("README.md", "# A tree\n");
    write("log/Cargo.toml", "[package]\nname = \"the-log\"\n[dependencies]\ncrc = \"1\"\n");
    write(
        "log/src/lib.rs",
        "//! Keeps records.\npub struct Record;\npub fn append_record(_: Record) {}\n// TODO: sync\n",
    );
    write("app/Cargo.toml", "[package]\nname = \"app\"\n[dependencies]\nthe-log.workspace = true\n");
    write(
        "app/src/main.rs",
        "//! The program.\nuse the_log::append_record;\nfn main() { append_record(the_log::Record) }\n",
    );
    write("target/debug/junk.rs", "pub fn junk_function() {}");
    write(".git/config", "x");
    dir
}

#[test]
fn it_finds_out_what_it_set_out_to() {
    let dir = tree();
    let (memory, record) = finish(dir.path());
    let answer = |q: Question| &memory.answers[&q];
    assert_eq!(memory.answers.len(), Question::ALL.len());
    let begins = answer(Question::EntryPoints).as_array().unwrap();
    assert_eq!(
        begins.iter().map(|b| b["file"].as_str().unwrap()).collect::<Vec<_>>(),
        ["app/src/main.rs", "log/src/lib.rs"]
    );
    assert_eq!(answer(Question::Markers)[0]["places"][0], "log/src/lib.rs:4: // TODO: sync");
    let packages = answer(Question::Dependencies).as_array().unwrap();
    let log = packages.iter().find(|p| p["package"] == "the-log").unwrap();
    assert_eq!(log["named_in_code_of"], serde_json::json!(["app"]));
    let app = packages.iter().find(|p| p["package"] == "app").unwrap();
    assert_eq!(app["depends_on"], serde_json::json!(["the-log"]));
    let used = |name, files, matches| serde_json::json!({"name": name, "files": files, "matches": matches});
    let most_used = [used("Record", 2, 3), used("append_record", 2, 3)];
    assert_eq!(answer(Question::MostUsed)["most_used"], serde_json::json!(most_used));
    assert!(!memory.files.keys().any(|f| f.contains("target") || f.contains(".git")));
    assert_eq!(record.calls.len(), record.results);
    assert_eq!(record.progress.unwrap(), Progress::of(&memory, true));

    let text = report(&memory, &Screen::of_width(Some(80), false));
    assert!(text.contains("app -> the-log; 0 packages from outside"), "{text}");
}

#[test]
fn killed_at_every_write_it_ends_with_the_same_notes() {
    let dir = tree();
    let tools = Tools::new(dir.path(), &[]);
    let (whole, record) = finish(dir.path());
    let writes = record.notes.len() as u64 * 5 + 1;
    for kill_at in 0..writes {
        let mut first = Record { writes_left: Some(kill_at), ..Record::default() };
        let died = work(&tools, &mut Memory::default(), &mut first, MAX_STEPS);
        // Only what was recorded is left.
        let mut memory = Memory::from_notes(first.notes.clone()).unwrap();
        let mut second = Record { notes: first.notes, ..Record::default() };
        assert!(matches!(work(&tools, &mut memory, &mut second, MAX_STEPS), Ok(Outcome::Finished)));
        assert_eq!(memory, whole, "killed after {kill_at} writes ({})", died.is_err());
        assert_eq!(second.notes, record.notes);
    }
}

#[test]
fn the_same_tree_gives_the_same_steps() {
    let (one, two) = (tree(), tree());
    assert_eq!(finish(one.path()).1.calls, finish(two.path()).1.calls);
}

#[test]
fn steps_can_be_counted_out() {
    let dir = tree();
    let tools = Tools::new(dir.path(), &[]);
    let mut memory = Memory::default();
    let mut record = Record::default();
    while let Ok(Outcome::StepsUsedUp) = work(&tools, &mut memory, &mut record, 1) {}
    assert_eq!(memory, finish(dir.path()).0);
}

#[test]
fn an_empty_tree_and_one_that_is_not_there_are_finished_with_answers() {
    let dir = tempfile::tempdir().unwrap();
    for root in [dir.path().to_owned(), dir.path().join("absent")] {
        let (memory, _) = finish(&root);
        assert_eq!(memory.steps(), 1 + Question::ALL.len() as u64);
        assert!(!report(&memory, &Screen::of_width(None, false)).is_empty());
    }
}

#[test]
fn binary_large_and_oddly_named_files_are_noted_and_passed_by() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("nul.rs"), b"a\0b").unwrap();
    fs::write(dir.path().join("latin.rs"), b"caf\xe9").unwrap();
    fs::write(dir.path().join("large.rs"), "x".repeat(600 * 1024)).unwrap();
    fs::write(dir.path().join("a file with spaces\nand a break.rs"), "pub fn odd_function() {}").unwrap();
    let (memory, _) = finish(dir.path());
    for file in ["nul.rs", "latin.rs", "large.rs"] {
        assert!(memory.files[file].error.is_some(), "{file}");
    }
    assert_eq!(memory.answers[&Question::Overview]["files_read"], 1);
    let text = report(&memory, &Screen::of_width(None, false));
    assert!(!text.contains("spaces\nand"), "a name cannot break a line");
}

#[cfg(unix)]
#[test]
fn links_pipes_and_closed_doors_do_not_stop_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tree();
    symlink(dir.path(), dir.path().join("log/loop")).unwrap();
    symlink("nowhere", dir.path().join("dangling.rs")).unwrap();
    symlink(dir.path().join("README.md"), dir.path().join("link.rs")).unwrap();
    let pipe = dir.path().join("pipe.rs");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let (memory, _) = finish(dir.path());
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!memory.dirs.contains_key("log/loop"));
    assert!(memory.dirs["."].others >= 2 + usize::from(made.is_ok_and(|s| s.success())));
    // Who may do anything may open this door too.
    assert!(memory.dirs.contains_key("closed"));
}

#[test]
fn a_vast_tree_is_left_after_a_bounded_number_of_steps() {
    let dir = tempfile::tempdir().unwrap();
    for d in 0..MAX_DIRS + 20 {
        let sub = dir.path().join(format!("d{d:03}"));
        fs::create_dir(&sub).unwrap();
        for f in 0..4 {
            fs::write(sub.join(format!("f{f}.rs")), format!("pub fn name_{d}_{f}() {{}}\n")).unwrap();
        }
    }
    let (memory, _) = finish(dir.path());
    assert!(memory.dirs.len() == MAX_DIRS && memory.steps() < 400, "{} steps", memory.steps());
}

#[test]
fn other_keys_are_left_alone_and_a_spoiled_note_is_named() {
    let memory = Memory::from_notes([("progress", Value::from(1)), ("other/x", Value::Null)]).unwrap();
    assert_eq!(memory.steps(), 0);
    assert_eq!(next_action(&memory).0, Action::List { dir: ".".to_owned() });
    let error = Memory::from_notes([("file/a.rs", Value::from(1))]).unwrap_err();
    assert!(error.to_string().contains("`file/a.rs`"));
}

/// A recorder need not be able to fail.
#[test]
fn a_recorder_that_cannot_fail_is_one_too() {
    struct Nothing;
    impl Recorder for Nothing {
        type Error = Infallible;
        fn begin_step(&mut self, _: u64, _: &Action, _: &str) -> Result<(), Infallible> {
            Ok(())
        }
        fn tool_call(&mut self, _: u64, _: &str, _: &Value) -> Result<(), Infallible> {
            Ok(())
        }
        fn tool_result(&mut self, _: u64, _: &str, _: bool, _: &Value) -> Result<(), Infallible> {
            Ok(())
        }
        fn note(&mut self, _: u64, _: &str, _: &Value) -> Result<(), Infallible> {
            Ok(())
        }
        fn progress(&mut self, _: &Progress) -> Result<(), Infallible> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let Ok(outcome) = work(&Tools::new(dir.path(), &[]), &mut Memory::default(), &mut Nothing, MAX_STEPS);
    assert_eq!(outcome, Outcome::Finished);
}
