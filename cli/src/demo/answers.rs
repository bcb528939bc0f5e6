//! Answers, from the notes alone.

use std::{cmp::Reverse, collections::BTreeMap};

use serde_json::{Value, json};

use super::{
    action::Question,
    memory::Memory,
    plan::{MARKERS, name_words, package_of, package_words},
};

/// Rows of an answer that is a ranking.
const MAX_ROWS: usize = 10;
/// Names that an answer lists for one package.
const MAX_NAMES: usize = 30;

pub(super) fn answer(question: Question, memory: &Memory) -> Value {
    match question {
        Question::Overview => overview(memory),
        Question::EntryPoints => entry_points(memory),
        Question::LargestModules => largest_modules(memory),
        Question::Markers => markers(memory),
        Question::Dependencies => dependencies(memory),
        Question::PublicApi => public_api(memory),
        Question::MostUsed => most_used(memory),
    }
}

fn overview(memory: &Memory) -> Value {
    let mut languages: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for note in memory.files.values().filter(|n| n.error.is_none()) {
        let (files, lines) = languages.entry(&note.language).or_default();
        *files += 1;
        *lines += note.lines;
    }
    let mut languages: Vec<_> = languages.into_iter().collect();
    languages.sort_by_key(|(name, (_, lines))| (Reverse(*lines), *name));
    let seen = memory.dirs.values().flat_map(|d| &d.files);
    json!({
        "directories": memory.dirs.len(),
        "files_seen": seen.clone().count(),
        "bytes_seen": seen.map(|(_, size)| size).sum::<u64>(),
        "files_read": memory.files.values().filter(|n| n.error.is_none()).count(),
        "lines_read": memory.files.values().map(|n| n.lines).sum::<usize>(),
        "languages": languages.into_iter().map(|(name, (files, lines))| json!({"language": name, "files": files, "lines": lines})).collect::<Vec<_>>(),
        "could_not_be_read": memory.files.iter().filter_map(|(p, n)| Some(format!("{p}: {}", n.error.as_ref()?)))
            .chain(memory.dirs.iter().filter_map(|(p, n)| Some(format!("{p}: {}", n.error.as_ref()?)))).collect::<Vec<_>>(),
    })
}

fn entry_points(memory: &Memory) -> Value {
    let mut begins: Vec<_> = memory.files.iter().filter(|(_, n)| n.entry_point).collect();
    let is_program = |path: &str| path.contains("main.") || path.contains("/bin/");
    begins.sort_by_key(|(path, n)| (!is_program(path), Reverse(n.lines), *path));
    begins
        .into_iter()
        .map(|(path, n)| json!({"file": path, "package": package_of(memory, path), "about": n.about, "lines": n.lines}))
        .collect()
}

fn largest_modules(memory: &Memory) -> Value {
    let mut files: Vec<_> = memory.files.iter().filter(|(_, n)| !is_text(&n.language)).collect();
    files.sort_by_key(|(path, n)| (Reverse(n.lines), *path));
    files.truncate(MAX_ROWS);
    files.iter().map(|(path, n)| json!({"file": path, "lines": n.lines, "about": n.about})).collect()
}

fn is_text(language: &str) -> bool {
    matches!(language, "Markdown" | "TOML" | "")
}

fn markers(memory: &Memory) -> Value {
    let found = MARKERS.iter().filter_map(|word| Some((word, memory.searches.get(*word)?)));
    found
        .filter(|(_, note)| note.matches > 0)
        .map(|(word, note)| json!({"marker": word, "matches": note.matches, "files": note.by_file.len(), "places": note.places}))
        .collect()
}

fn dependencies(memory: &Memory) -> Value {
    let packages = package_words(memory);
    let mut rows = Vec::new();
    for (package, word) in &packages {
        let manifest = memory.files.values().find(|n| n.package.as_ref() == Some(package));
        let own: Vec<&String> = manifest
            .map(|n| n.depends_on.iter().filter(|d| packages.iter().any(|(p, _)| p == *d)).collect())
            .unwrap_or_default();
        let others = manifest.map_or(0, |n| n.depends_on.len() - own.len());
        let mut used_by: Vec<&str> = memory
            .searches
            .get(word)
            .map(|note| note.by_file.iter().filter_map(|(file, _)| package_of(memory, file)).collect())
            .unwrap_or_default();
        used_by.retain(|user| user != package);
        used_by.sort_unstable();
        used_by.dedup();
        rows.push(json!({"package": package, "depends_on": own, "from_outside": others, "named_in_code_of": used_by}));
    }
    Value::Array(rows)
}

fn public_api(memory: &Memory) -> Value {
    let mut packages: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, note) in &memory.files {
        let names = note.public.iter().map(|item| format!("{} {}", item.kind, item.name));
        packages.entry(package_of(memory, path).unwrap_or("(no package)")).or_default().extend(names);
    }
    packages.retain(|_, names| !names.is_empty());
    packages
        .into_iter()
        .map(|(package, mut names)| {
            let rank = |name: &String| {
                let kinds = [
                    "trait ",
                    "interface ",
                    "struct ",
                    "class ",
                    "enum ",
                    "type ",
                    "fn ",
                    "def ",
                    "function ",
                ];
                kinds.iter().position(|kind| name.starts_with(kind)).unwrap_or(kinds.len())
            };
            names.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
            names.dedup();
            let count = names.len();
            names.truncate(MAX_NAMES);
            json!({"package": package, "names": count, "some": names})
        })
        .collect()
}

fn most_used(memory: &Memory) -> Value {
    let words = name_words(memory);
    let mut names: Vec<_> =
        words.iter().filter_map(|word| Some((word, memory.searches.get(word)?))).collect();
    let only_at_home = names.iter().filter(|(_, note)| note.by_file.len() <= 1).map(|(word, _)| *word);
    let only_at_home: Vec<&String> = only_at_home.take(MAX_NAMES).collect();
    names.sort_by_key(|(word, note)| (Reverse((note.by_file.len(), note.matches)), *word));
    names.truncate(MAX_ROWS);
    let rows = names
        .iter()
        .map(|(word, note)| json!({"name": word, "files": note.by_file.len(), "matches": note.matches}));
    json!({ "most_used": rows.collect::<Vec<_>>(), "in_one_file_only": only_at_home })
}
