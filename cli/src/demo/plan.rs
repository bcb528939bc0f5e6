//! What to do next: the agent's policy, a pure function of what it knows.

use std::collections::BTreeMap;

use super::{
    action::{Action, Question},
    limits::*,
    memory::Memory,
    scan::{dir, is_entry_point, is_manifest, language, name},
};

/// What authors write where something is left to do.
pub(super) const MARKERS: [&str; 4] = ["TODO", "FIXME", "HACK", "XXX"];

/// Whether finding a name again says that it was meant: there is a `new` and a `count` everywhere.
fn is_telling(name: &str) -> bool {
    name.chars().count() >= 5 && (name.contains('_') || name.starts_with(char::is_uppercase))
}

/// The next action and the reason for it, in words.
///
/// First the lie of the land, from the top down; then the files that tell most: manifests, the readme, entry points, then
/// the largest; then questions that arose from these: who uses which package and which name; then the answers.
pub fn next_action(memory: &Memory) -> (Action, String) {
    list(memory)
        .or_else(|| read(memory))
        .or_else(|| search(memory))
        .or_else(|| answer(memory))
        .unwrap_or_else(|| (Action::Finish, "every question is answered".to_owned()))
}

fn join(dir: &str, name: &str) -> String {
    if dir == "." { name.to_owned() } else { format!("{dir}/{name}") }
}

fn depth(dir: &str) -> usize {
    if dir == "." { 0 } else { dir.split('/').count() }
}

fn list(memory: &Memory) -> Option<(Action, String)> {
    if memory.dirs.is_empty() {
        return Some((Action::List { dir: ".".to_owned() }, "nothing is known yet".to_owned()));
    }
    if memory.dirs.len() >= MAX_DIRS {
        return None;
    }
    let unlisted =
        memory.dirs.iter().flat_map(|(dir, note)| note.dirs.iter().map(move |name| join(dir, name)));
    let unlisted = unlisted.filter(|dir| depth(dir) <= MAX_DEPTH_DIRS && !memory.dirs.contains_key(dir));
    // Level by level, so that a limit cuts off the depths and not the rest of the alphabet.
    let dir = unlisted.min_by(|a, b| (depth(a), a).cmp(&(depth(b), b)))?;
    let why = format!("{} was seen but not looked into", dir);
    Some((Action::List { dir }, why))
}

fn read(memory: &Memory) -> Option<(Action, String)> {
    if memory.files.len() >= MAX_READS {
        return None;
    }
    let all = memory
        .dirs
        .iter()
        .flat_map(|(dir, note)| note.files.iter().map(move |(n, size)| (join(dir, n), *size)));
    let unread = all.filter(|(path, _)| language(path).is_some() && !memory.files.contains_key(path));
    let is_readme = |path: &str| name(path).eq_ignore_ascii_case("readme.md");
    let few = |of: &dyn Fn(&str) -> bool, limit| memory.files.keys().filter(|p| of(p)).count() < limit;
    // A tree of many packages must not use up all its reads on their manifests.
    let (more_manifests, more_readmes) = (few(&is_manifest, MAX_MANIFESTS), few(&is_readme, MAX_READMES));
    let worth = |path: &str| match () {
        () if is_manifest(path) && more_manifests => 0,
        () if is_readme(path) && more_readmes => 1,
        () if is_entry_point(path) => 2,
        () if matches!(language(path), Some("Markdown" | "TOML")) => 4,
        () => 3,
    };
    let best = unread.min_by(|(a, size_a), (b, size_b)| {
        (worth(a), std::cmp::Reverse(size_a), a).cmp(&(worth(b), std::cmp::Reverse(size_b), b))
    });
    let (file, size) = best?;
    let why = match worth(&file) {
        0 => "it names a package and what that depends on".to_owned(),
        1 => "it says what this is".to_owned(),
        2 => "something begins here".to_owned(),
        _ => format!("of what is unread it is the largest, with {size} bytes"),
    };
    Some((Action::Read { file }, why))
}

/// The files with code in them that could be read.
fn sources(memory: &Memory) -> Vec<String> {
    let code = |path: &str| !matches!(language(path), None | Some("Markdown" | "TOML"));
    memory.files.iter().filter(|(p, n)| n.error.is_none() && code(p)).map(|(p, _)| p.clone()).collect()
}

fn search(memory: &Memory) -> Option<(Action, String)> {
    let files = sources(memory);
    if files.is_empty() {
        return None;
    }
    let new = |word: &str| !memory.searches.contains_key(word);
    if let Some(word) = MARKERS.into_iter().find(|w| new(w)) {
        return Some((
            Action::Search { word: word.to_owned(), in_comments: true, files },
            "authors mark what is left to do".to_owned(),
        ));
    }
    if let Some((package, word)) = package_words(memory).into_iter().find(|(_, word)| new(word)) {
        return Some((
            Action::Search { word, in_comments: false, files },
            format!("who uses the package {package}?"),
        ));
    }
    let word = name_words(memory).into_iter().find(|word| new(word))?;
    let why = format!("who uses the public name {word}?");
    Some((Action::Search { word, in_comments: false, files }, why))
}

/// The packages of the tree and the word each is known by in code.
pub(super) fn package_words(memory: &Memory) -> Vec<(String, String)> {
    let packages = memory.files.values().filter_map(|note| note.package.clone());
    let mut words: Vec<_> = packages.map(|package| (package.clone(), package.replace('-', "_"))).collect();
    words.sort();
    words.dedup();
    words.truncate(MAX_PACKAGE_SEARCHES);
    words
}

/// The public names worth asking about: those of the largest files first, a few from each, so that one file does not
/// take all the questions.
pub(super) fn name_words(memory: &Memory) -> Vec<String> {
    const NAMES_PER_FILE: usize = 4;
    let mut files: Vec<_> = memory.files.iter().collect();
    files.sort_by_key(|(path, note)| (std::cmp::Reverse(note.lines), *path));
    let mut words = Vec::new();
    let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
    for (_, note) in files {
        let names = note.public.iter().filter(|i| i.kind != "mod" && is_telling(&i.name));
        for item in names.take(NAMES_PER_FILE) {
            if words.len() == MAX_NAME_SEARCHES {
                return words;
            }
            if seen.insert(&item.name, ()).is_none() {
                words.push(item.name.clone());
            }
        }
    }
    words
}

/// The package a file belongs to: that of the nearest manifest above it.
pub(super) fn package_of<'a>(memory: &'a Memory, file: &str) -> Option<&'a str> {
    let mut here = dir(file);
    loop {
        for manifest in ["Cargo.toml", "pyproject.toml"] {
            if let Some(package) = memory.files.get(&join(here, manifest)).and_then(|n| n.package.as_deref())
            {
                return Some(package);
            }
        }
        if here == "." {
            return None;
        }
        here = dir(here);
    }
}

fn answer(memory: &Memory) -> Option<(Action, String)> {
    let question = Question::ALL.into_iter().find(|q| !memory.answers.contains_key(q))?;
    Some((Action::Answer { question }, "all that could be looked at has been".to_owned()))
}
