//! What the agent can do in one step.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One step's action. Paths are relative to the root of the tree, with `/` between parts; the root is `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// Look what is in a directory.
    List {
        /// The directory.
        dir: String,
    },
    /// Read a file.
    Read {
        /// The file.
        file: String,
    },
    /// Look for a whole word in the files that were read.
    Search {
        /// The word.
        word: String,
        /// Whether it counts only in comments.
        in_comments: bool,
        /// The files to look in.
        files: Vec<String>,
    },
    /// Answer a question from the notes.
    Answer {
        /// The question.
        question: Question,
    },
    /// Nothing is left to do.
    Finish,
}

/// What the agent wants to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// How much is there, and in which languages?
    Overview,
    /// Where does it begin?
    EntryPoints,
    /// Where is most of the code?
    LargestModules,
    /// What did its authors leave for later?
    Markers,
    /// Which package uses which?
    Dependencies,
    /// What does each package offer?
    PublicApi,
    /// Which public names are used most, and which by nobody else?
    MostUsed,
}

impl Question {
    /// All questions, in the order in which they are answered.
    pub const ALL: [Question; 7] = [
        Question::Overview,
        Question::EntryPoints,
        Question::LargestModules,
        Question::Markers,
        Question::Dependencies,
        Question::PublicApi,
        Question::MostUsed,
    ];

    /// Its name, as in the key of its note.
    pub fn name(self) -> &'static str {
        match self {
            Question::Overview => "overview",
            Question::EntryPoints => "entry-points",
            Question::LargestModules => "largest-modules",
            Question::Markers => "markers",
            Question::Dependencies => "dependencies",
            Question::PublicApi => "public-api",
            Question::MostUsed => "most-used",
        }
    }
}

impl Action {
    /// The tool this action calls, or `None` where the agent only thinks.
    pub fn tool(&self) -> Option<&'static str> {
        match self {
            Action::List { .. } => Some("list"),
            Action::Read { .. } => Some("read"),
            Action::Search { .. } => Some("search"),
            Action::Answer { .. } | Action::Finish => None,
        }
    }

    /// The tool's arguments, short enough to be recorded with every call.
    pub fn arguments(&self) -> Value {
        match self {
            Action::List { dir } => json!({ "dir": dir }),
            Action::Read { file } => json!({ "file": file }),
            Action::Search { word, in_comments, files } => {
                json!({ "word": word, "in_comments": in_comments, "files": files.len() })
            }
            Action::Answer { question } => json!({ "question": question }),
            Action::Finish => Value::Null,
        }
    }

    /// The key of the note that this action leaves, and by which it is known to be done.
    pub fn note_key(&self) -> Option<String> {
        match self {
            Action::List { dir } => Some(format!("dir/{dir}")),
            Action::Read { file } => Some(format!("file/{file}")),
            Action::Search { word, .. } => Some(format!("search/{word}")),
            Action::Answer { question } => Some(format!("answer/{}", question.name())),
            Action::Finish => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::List { dir } => write!(f, "list {dir}"),
            Action::Read { file } => write!(f, "read {file}"),
            Action::Search { word, files, .. } => write!(f, "search {word} in {} files", files.len()),
            Action::Answer { question } => write!(f, "answer {}", question.name()),
            Action::Finish => f.write_str("finish"),
        }
    }
}
