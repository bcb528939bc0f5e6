//! Conventions of Rust sources.

use std::fs;
use std::path::Path;

use super::Findings;
use super::source::{code_of, has_word};
use crate::shell;

/// Where `unsafe` may stand, and why there.
const UNSAFE: &[(&str, &str)] = &[
    ("shard/src/index/", "readers follow pointers that the writer swings"),
    ("shard/src/turn/", "the turn's holder alone touches the core; a reply slot has one side at a time"),
    ("wal/src/storage/mapped.rs", "the mapped segment"),
    ("shard/examples/index_figures.rs", "an allocator that counts: the trait is unsafe"),
    ("benches/src/counting.rs", "an allocator that counts: the trait is unsafe"),
    ("peers/src/engines/lmdb.rs", "opening LMDB is unsafe"),
];
/// Lines above an `unsafe` within which its reason has to stand.
const REASON_WITHIN_LINES: usize = 12;
/// Lines that a file may have.
const FILE_LIMIT_LINES: usize = 700;
/// Longer files, and why they are not cut up.
const LONG_FILES: &[(&str, &str)] = &[];
/// The only place that names bincode.
const CODEC: &str = "model/src/codec/";
/// Tests that sleep, and why nothing else would do.
const SLEEPING_TESTS: &[(&str, &str)] = &[];

fn is_at(file: &Path, places: &[(&str, &str)]) -> bool {
    let file = file.to_string_lossy();
    places.iter().any(|(place, _)| file.starts_with(place))
}

/// What `check` finds in each source; it is given the source's code and the source itself.
fn in_each(check: impl Fn(&Path, &str, &str) -> Vec<String>) -> Findings {
    let mut findings = Vec::new();
    for file in shell::files(&[".rs"])? {
        let source = fs::read_to_string(&file)?;
        findings.extend(check(&file, &code_of(&source), &source));
    }
    Ok(findings)
}

fn lines_with(code: &str, word: &str) -> Vec<usize> {
    code.lines().enumerate().filter(|(_, line)| has_word(line, word)).map(|(number, _)| number).collect()
}

pub(super) fn unsafe_in_named_modules() -> Findings {
    in_each(|file, code, _| {
        if is_at(file, UNSAFE) {
            return Vec::new();
        }
        let places = lines_with(code, "unsafe");
        places
            .iter()
            .map(|line| format!("{}:{}: unsafe has no place here", file.display(), line + 1))
            .collect()
    })
}

pub(super) fn unsafe_says_why() -> Findings {
    in_each(|file, code, source| {
        let lines: Vec<&str> = source.lines().collect();
        lines_with(code, "unsafe")
            .into_iter()
            // What implements an unsafe trait's function promises nothing of its own: the impl does, above.
            .filter(|line| !lines[*line].trim_start().starts_with("unsafe fn"))
            .filter(|line| {
                let above = &lines[line.saturating_sub(REASON_WITHIN_LINES)..=*line];
                !above.iter().any(|l| l.contains("SAFETY:") || l.contains("# Safety"))
            })
            .map(|line| format!("{}:{}: no SAFETY comment says why this holds", file.display(), line + 1))
            .collect()
    })
}

pub(super) fn files_short() -> Findings {
    in_each(|file, _, source| {
        let lines = source.lines().count();
        if lines <= FILE_LIMIT_LINES || is_at(file, LONG_FILES) {
            return Vec::new();
        }
        vec![format!("{}: {lines} lines, more than {FILE_LIMIT_LINES}, and no reason given", file.display())]
    })
}

pub(super) fn codec_alone_names_bincode() -> Findings {
    in_each(|file, code, _| {
        if file.starts_with(CODEC) {
            return Vec::new();
        }
        let places = lines_with(code, "bincode");
        places.iter().map(|line| format!("{}:{}: names bincode", file.display(), line + 1)).collect()
    })
}

pub(super) fn tests_do_not_sleep() -> Findings {
    in_each(|file, code, _| {
        if !file.components().any(|part| part.as_os_str() == "tests") || is_at(file, SLEEPING_TESTS) {
            return Vec::new();
        }
        let places = lines_with(code, "sleep");
        places.iter().map(|line| format!("{}:{}: a test that sleeps", file.display(), line + 1)).collect()
    })
}
