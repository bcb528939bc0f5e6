//! The agent's tools: list, read and search, on the real tree and never outside it.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{action::Action, limits::*, memory::EntryKind};

/// Directories that hold what tools made, not what people wrote. Hidden ones are left out too.
const SKIPPED_DIRS: [&str; 9] = [
    "target",
    "node_modules",
    "dist",
    "build",
    "vendor",
    "venv",
    "__pycache__",
    "in-mem-data",
    "in-mem-demo",
];

/// The tools, bound to one tree.
///
/// Symbolic links are listed but never followed, so a loop of them is no loop here; only plain files are opened, so a pipe
/// in the tree cannot stop the agent.
#[derive(Clone, Debug)]
pub struct Tools {
    root: PathBuf,
    skipped: Vec<PathBuf>,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes; 0 for what is no file.
    pub bytes: u64,
}

/// A place where a search found its word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The file.
    pub file: String,
    /// Line from 1.
    pub line: usize,
    /// The line, cut.
    pub text: String,
}

/// What a tool gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolResult {
    /// Of `list`.
    Listing {
        /// The entries by name, without those that are skipped.
        entries: Vec<Entry>,
        /// How many entries were left out: skipped directories, names that are not UTF-8, paths that are too long, and
        /// those past the limit.
        left_out: usize,
    },
    /// Of `read`.
    Text(String),
    /// Of `search`.
    Matches {
        /// The first places.
        places: Vec<Match>,
        /// How often each file has the word, files without it left out.
        by_file: Vec<(String, usize)>,
        /// Whether the search stopped before its end.
        cut: bool,
    },
    /// The tool could not do it; why, in words.
    Failed(String),
}

impl ToolResult {
    /// Whether the tool did what it was asked.
    pub fn is_ok(&self) -> bool {
        !matches!(self, ToolResult::Failed(_))
    }

    /// The result in a size fit for an event log: counts and beginnings, not whole files.
    pub fn to_record(&self) -> Value {
        match self {
            ToolResult::Listing { entries, left_out } => {
                let of = |kind| entries.iter().filter(|e| e.kind == kind).count();
                json!({ "files": of(EntryKind::File), "dirs": of(EntryKind::Dir), "links": of(EntryKind::Link), "left_out": left_out })
            }
            ToolResult::Text(text) => json!({
                "bytes": text.len(),
                "lines": text.lines().count(),
                "blake3": blake3::hash(text.as_bytes()).to_hex().as_str(),
                "begins": text.chars().take(MAX_LINE_CHARS).collect::<String>(),
            }),
            ToolResult::Matches { places, by_file, cut } => json!({
                "matches": by_file.iter().map(|(_, n)| n).sum::<usize>(),
                "files": by_file.len(),
                "first": places.first().map(|m| format!("{}:{}: {}", m.file, m.line, m.text)),
                "cut": cut,
            }),
            ToolResult::Failed(why) => json!({ "error": why }),
        }
    }
}

impl Tools {
    /// Tools for the tree under `root`. `skipped` are further directories to leave out, such as the one that the agent's
    /// own database is in: an agent that reads what it writes never ends the same way twice.
    pub fn new(root: &Path, skipped: &[PathBuf]) -> Tools {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Tools { root: real(root), skipped: skipped.iter().map(|p| real(p)).collect() }
    }

    /// The tree's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Does an action. Never panics and never fails: what goes wrong is a result like any other, and the agent goes on.
    pub fn run(&self, action: &Action) -> ToolResult {
        match action {
            Action::List { dir } => self.list(dir),
            Action::Read { file } => self.read(file).map_or_else(ToolResult::Failed, ToolResult::Text),
            Action::Search { word, in_comments, files } => self.search(word, *in_comments, files),
            Action::Answer { .. } | Action::Finish => ToolResult::Failed("is not a tool".to_owned()),
        }
    }

    /// The path of a name, unless it would lead out of the tree.
    fn resolve(&self, name: &str) -> Result<PathBuf, String> {
        let mut path = self.root.clone();
        for part in name.split('/').filter(|p| !p.is_empty() && *p != ".") {
            if part == ".." || part.contains(std::path::MAIN_SEPARATOR) {
                return Err("leads out of the tree".to_owned());
            }
            path.push(part);
        }
        Ok(path)
    }

    fn list(&self, dir: &str) -> ToolResult {
        let listing = self.resolve(dir).and_then(|path| fs::read_dir(path).map_err(|e| e.to_string()));
        let found = match listing {
            Ok(found) => found,
            Err(why) => return ToolResult::Failed(why),
        };
        let mut entries = Vec::new();
        let mut left_out = 0;
        for (seen, entry) in found.enumerate() {
            let Ok(entry) = entry else {
                left_out += 1;
                continue;
            };
            let (name, kind) = (entry.file_name().into_string(), entry.file_type());
            let (Ok(name), Ok(kind)) = (name, kind) else {
                left_out += 1;
                continue;
            };
            // `file_type` is that of the entry itself: a link stays a link.
            let kind = match kind {
                k if k.is_dir() => EntryKind::Dir,
                k if k.is_file() => EntryKind::File,
                k if k.is_symlink() => EntryKind::Link,
                _ => EntryKind::Other,
            };
            let skipped_dir = kind == EntryKind::Dir
                && (name.starts_with('.')
                    || SKIPPED_DIRS.contains(&name.as_str())
                    || self.is_skipped(&entry.path()));
            let too_long = dir.len() + 1 + name.len() > MAX_PATH_BYTES;
            if skipped_dir || too_long || seen >= MAX_LIST_SCAN_ENTRIES {
                left_out += 1;
                if seen > MAX_LIST_SCAN_ENTRIES {
                    break;
                }
                continue;
            }
            let bytes = if kind == EntryKind::File { entry.metadata().map_or(0, |m| m.len()) } else { 0 };
            entries.push(Entry { name, kind, bytes });
        }
        // The system gives entries in an order of its own; the agent must do the same on every machine.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        left_out += entries.len().saturating_sub(MAX_LIST_ENTRIES);
        entries.truncate(MAX_LIST_ENTRIES);
        ToolResult::Listing { entries, left_out }
    }

    fn is_skipped(&self, path: &Path) -> bool {
        self.skipped.iter().any(|s| s == path)
    }

    fn read(&self, name: &str) -> Result<String, String> {
        let path = self.resolve(name)?;
        let kind = fs::symlink_metadata(&path).map_err(|e| e.to_string())?;
        if !kind.is_file() {
            return Err("is not a plain file".to_owned());
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(&path).map_err(|e| e.to_string())?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(format!("is larger than {MAX_FILE_BYTES} bytes"));
        }
        if bytes.contains(&0) {
            return Err("is not text".to_owned());
        }
        String::from_utf8(bytes).map_err(|_| "is not text".to_owned())
    }

    fn search(&self, word: &str, in_comments: bool, files: &[String]) -> ToolResult {
        let mut places = Vec::new();
        let mut by_file = Vec::new();
        let mut bytes = 0;
        for file in files {
            // A file that has gone since it was read has no matches; the search of the others stands.
            let Ok(text) = self.read(file) else { continue };
            bytes += text.len() as u64;
            if bytes > MAX_SEARCH_BYTES {
                return ToolResult::Matches { places, by_file, cut: true };
            }
            let mut times = 0;
            if text.contains(word) {
                for (index, line) in text.lines().enumerate() {
                    let here = words_in(if in_comments { comment(line) } else { line }, word);
                    if here > 0 && places.len() < MAX_SEARCH_PLACES {
                        let text = line.trim().chars().take(MAX_LINE_CHARS).collect();
                        places.push(Match { file: file.clone(), line: index + 1, text });
                    }
                    times += here;
                }
            }
            if times > 0 {
                by_file.push((file.clone(), times));
            }
        }
        ToolResult::Matches { places, by_file, cut: false }
    }
}

/// The comment on a line, as far as that can be told without knowing the language; empty where there is none.
fn comment(line: &str) -> &str {
    let begins = ["//", "/*", "# ", "-- "].iter().filter_map(|mark| line.find(mark)).min();
    match begins {
        Some(at) => &line[at..],
        None if line.trim_start().starts_with('*') => line,
        None => "",
    }
}

/// How often `line` has `word` as a whole word.
fn words_in(line: &str, word: &str) -> usize {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .filter(|(at, _)| {
            let before = line[..*at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_only_whole() {
        assert_eq!(words_in("put(put_all, Put, input, put)", "put"), 2);
        assert_eq!(words_in("", "put"), 0);
        assert_eq!(words_in("wörter örter", "örter"), 1);
    }

    #[test]
    fn a_marker_counts_only_in_a_comment() {
        assert_eq!(words_in(comment("let a = TODO; // FIXME: b"), "FIXME"), 1);
        assert_eq!(words_in(comment("let a = TODO; // FIXME: b"), "TODO"), 0);
        assert_eq!(words_in(comment("  * TODO c"), "TODO"), 1);
    }

    #[test]
    fn no_name_leads_out_of_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        let tools = Tools::new(&dir.path().join("tree"), &[]);
        for name in ["../secret", "a/../../secret", ".."] {
            assert!(!tools.run(&Action::Read { file: name.to_owned() }).is_ok());
            assert!(!tools.run(&Action::List { dir: name.to_owned() }).is_ok());
        }
        // An absolute name is taken as one below the root.
        assert!(!tools.run(&Action::Read { file: dir.path().join("secret").display().to_string() }).is_ok());
    }
}
