//! `docs/wal-format.md` is enough for a reader in another language: one in Python, which knows nothing else, gets the same
//! transactions and the same end out of the fixtures and out of logs written now.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use in_mem_wal::{Mode, SimDisk};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/other_language/read_log.py")
}

/// What the reader says, line by line; `None` where there is no Python.
fn read(dir: &Path) -> Option<Vec<String>> {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return None;
    }
    let output = Command::new("python3").arg("-B").arg(script()).arg(dir).arg("3").output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect())
}

fn lines(got: &[Got]) -> Vec<String> {
    let line = |got: &Got| {
        let run: String = run_of(got.version % 7).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {} {run} {:08x}", got.lsn, got.version, crc32fast::hash(&got.payload))
    };
    got.iter().map(line).collect()
}

#[test]
fn the_fixtures_of_version_1() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    let Some(sound) = read(&fixtures.join("sound")) else { return };
    let disk = SimDisk::new(1);
    for entry in fs::read_dir(fixtures.join("sound")).expect("fixtures are there") {
        let path = entry.expect("readable").path();
        disk.put(&dir().join(path.file_name().expect("a name")), fs::read(&path).expect("readable"));
    }
    let (_, _, got) = recover(&disk, Mode::Buffered).expect("sound");
    assert_eq!(got.len(), 9);
    assert_eq!(sound, [lines(&got), vec!["end".to_owned()]].concat());
    let torn = read(&fixtures.join("torn")).expect("as before");
    assert_eq!(torn, [lines(&got), vec!["torn".to_owned()]].concat());
    let corrupt = read(&fixtures.join("corrupt")).expect("as before");
    assert_eq!(corrupt, [lines(&got[..8]), vec!["corrupt".to_owned()]].concat());
}

#[test]
fn a_log_with_spares_and_ends_declared_by_recoveries() {
    for seed in 0..4 {
        let mut disk = SimDisk::new(seed);
        for turn in 0..4 {
            let (mut log, _, got) = recover(&disk, Mode::Buffered).expect("opens");
            let next = got.last().map_or(1, |last| last.version + 1);
            for n in next..next + 30 {
                append(&mut log, n, (n as usize * 97) % 900).expect("appended");
                if n % 11 == 0 {
                    log.sync().expect("synced");
                }
            }
            if let Some(job) = log.spare_job() {
                log.add_spare(job.run().expect("made"));
            }
            disk = disk.crash(seed * 10 + turn);
        }
        // Recovered once more, so that the end is one that the table calls clean.
        let (log, _, got) = recover(&disk, Mode::Buffered).expect("opens");
        drop(log);
        let on_disk = tempfile::tempdir().expect("a directory");
        for path in disk.files().iter().filter(|path| path.parent() == Some(&dir())) {
            let bytes = disk.contents(path).expect("there");
            fs::write(on_disk.path().join(path.file_name().expect("a name")), bytes).expect("written");
        }
        let Some(read) = read(on_disk.path()) else { return };
        assert_eq!(read, [lines(&got), vec!["end".to_owned()]].concat(), "seed {seed}");
    }
}

/// What the fixtures' manifest and checkpoint say; what transactions and entries mean is tested where databases are made.
#[test]
fn the_other_fixtures_of_version_1() {
    const READ: &str = "import os, sys, zlib; sys.path.insert(0, sys.argv[1]); import read_database as reader; \
        print(*reader.manifest(sys.argv[2])); \
        covers, entries = reader.checkpoint(os.path.join(sys.argv[2], '0000000000000004.ckpt'), 3); \
        print(covers, *('%08x' % zlib.crc32(entry) for entry in entries))";
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1/sound");
    let mut python = Command::new("python3");
    let Ok(output) =
        python.args(["-B", "-c", READ]).arg(script().parent().expect("a folder")).arg(fixtures).output()
    else {
        println!("skipped: there is no python3");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let entries: String = (0..3).map(|n| format!(" {:08x}", crc32fast::hash(&payload(n, 50)))).collect();
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(said, format!("2 4 {{'created': 'by a test'}}\n4{entries}\n"));
}
