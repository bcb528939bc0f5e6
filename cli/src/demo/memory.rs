//! What the agent knows: its notes, and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    action::{Action, Question},
    answers, scan,
    tools::ToolResult,
};

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A plain file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, which is never followed.
    Link,
    /// A pipe, a device, a socket.
    Other,
}

/// The note on a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirNote {
    /// Names of its directories, those to be skipped left out.
    pub dirs: Vec<String>,
    /// Names and sizes of its files, in bytes.
    pub files: Vec<(String, u64)>,
    /// Entries that are neither.
    pub others: usize,
    /// Entries that were left out.
    pub left_out: usize,
    /// Why it could not be listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A name that a file offers to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicItem {
    /// `fn`, `struct`, `trait`, `class`, ...
    pub kind: String,
    /// The name.
    pub name: String,
}

/// The note on a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNote {
    /// Its language, by its ending.
    pub language: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Lines.
    pub lines: usize,
    /// What its first comment says, in one line.
    pub about: String,
    /// Whether a program or a library begins here.
    pub entry_point: bool,
    /// What it offers.
    pub public: Vec<PublicItem>,
    /// For a package's manifest: the package's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// For a package's manifest: what it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Why it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The note on a search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchNote {
    /// How often the word was found.
    pub matches: usize,
    /// How often in each file.
    pub by_file: Vec<(String, usize)>,
    /// The first places as `file:line: text`.
    pub places: Vec<String>,
    /// Whether the search stopped before its end.
    pub cut: bool,
}

/// Everything the agent knows. Built by [`observe`] step by step, or from recorded notes by [`Memory::from_notes`]: both
/// give the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// By path.
    pub dirs: BTreeMap<String, DirNote>,
    /// By path.
    pub files: BTreeMap<String, FileNote>,
    /// By word.
    pub searches: BTreeMap<String, SearchNote>,
    /// By question.
    pub answers: BTreeMap<Question, Value>,
}

/// A recorded note that is not one of this agent's.
#[derive(Debug, thiserror::Error)]
#[error("the note `{key}` cannot be understood: {source}")]
pub struct BadNote {
    key: String,
    source: serde_json::Error,
}

impl Memory {
    /// The memory that these notes make. Keys that are not a note's are left alone: a run may keep other things in its
    /// store. A note that is there but cannot be read is an error, since going on without it would repeat work silently.
    pub fn from_notes<K: AsRef<str>>(notes: impl IntoIterator<Item = (K, Value)>) -> Result<Memory, BadNote> {
        let mut memory = Memory::default();
        for (key, value) in notes {
            let key = key.as_ref();
            memory.add(key, value).map_err(|source| BadNote { key: key.to_owned(), source })?;
        }
        Ok(memory)
    }

    fn add(&mut self, key: &str, value: Value) -> Result<(), serde_json::Error> {
        match key.split_once('/') {
            Some(("dir", name)) => drop(self.dirs.insert(name.to_owned(), serde_json::from_value(value)?)),
            Some(("file", name)) => drop(self.files.insert(name.to_owned(), serde_json::from_value(value)?)),
            Some(("search", word)) => {
                drop(self.searches.insert(word.to_owned(), serde_json::from_value(value)?))
            }
            Some(("answer", name)) => {
                drop(self.answers.insert(serde_json::from_value(Value::String(name.to_owned()))?, value))
            }
            _ => {}
        }
        Ok(())
    }

    /// Steps done: as many as there are notes.
    pub fn steps(&self) -> u64 {
        (self.dirs.len() + self.files.len() + self.searches.len() + self.answers.len()) as u64
    }
}

/// Takes in what an action gave: one note, which is added to the memory and returned as key and value to be recorded.
/// `None` for [`Action::Finish`], which leaves none.
pub fn observe(action: &Action, result: &ToolResult, memory: &mut Memory) -> Option<(String, Value)> {
    let key = action.note_key()?;
    let error = match result {
        ToolResult::Failed(why) => Some(why.clone()),
        _ => None,
    };
    let value = match (action, result) {
        (Action::List { .. }, ToolResult::Listing { entries, left_out }) => {
            let mut note = DirNote { left_out: *left_out, ..DirNote::default() };
            for entry in entries {
                match entry.kind {
                    EntryKind::Dir => note.dirs.push(entry.name.clone()),
                    EntryKind::File => note.files.push((entry.name.clone(), entry.bytes)),
                    EntryKind::Link | EntryKind::Other => note.others += 1,
                }
            }
            serde_json::to_value(note)
        }
        (Action::List { .. }, _) => serde_json::to_value(DirNote { error, ..DirNote::default() }),
        (Action::Read { file }, ToolResult::Text(text)) => serde_json::to_value(scan::file(file, text)),
        (Action::Read { .. }, _) => serde_json::to_value(FileNote { error, ..FileNote::default() }),
        (Action::Search { .. }, ToolResult::Matches { places, by_file, cut }) => {
            serde_json::to_value(SearchNote {
                matches: by_file.iter().map(|(_, n)| n).sum(),
                by_file: by_file.clone(),
                places: places.iter().map(|m| format!("{}:{}: {}", m.file, m.line, m.text)).collect(),
                cut: *cut,
            })
        }
        (Action::Search { .. }, _) => serde_json::to_value(SearchNote { cut: true, ..SearchNote::default() }),
        (Action::Answer { question }, _) => Ok(answers::answer(*question, memory)),
        (Action::Finish, _) => return None,
    };
    // The notes are plain structs with text keys, which always become JSON; and what `add` reads back it was just given.
    let value = value.unwrap_or(Value::Null);
    memory.add(&key, value.clone()).ok()?;
    Some((key, value))
}
