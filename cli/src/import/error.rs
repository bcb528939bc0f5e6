//! What can be wrong with a file that is to be imported.

use std::{io, path::PathBuf};

use super::Format;

/// Why a file, or one run of it, could not be read. Each names the file and the place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file could not be opened or read.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than [`super::MAX_FILE_BYTES`].
    #[error("{}: is {bytes} bytes, more than the {limit} an import reads at once; split the file", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// There is nothing in the file.
    #[error("{}: is empty; expected {format}: {}", file.display(), format.about())]
    Empty {
        /// The file.
        file: PathBuf,
        /// The format it was read as.
        format: Format,
    },
    /// The file is not UTF-8.
    #[error("{}:{line}:{column}: is not UTF-8 text (byte {offset} of the file)", file.display())]
    NotUtf8 {
        /// The file.
        file: PathBuf,
        /// Line of the first bad byte, from 1.
        line: usize,
        /// Its column in bytes, from 1.
        column: usize,
        /// Its offset in the file in bytes, from 0.
        offset: usize,
    },
    /// The file is not JSON, or ends too early. The runs before the fault are read.
    #[error("{}:{line}:{column}: is not JSON: {message}{}", file.display(), in_run(*run))]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
        /// Index of the run that was being read, where the file is a list.
        run: Option<usize>,
        /// What the parser said.
        message: String,
    },
    /// A field is not there.
    #[error("{}: {place}: has no `{field}`{}", file.display(), looks_like(*looks_like_format))]
    Missing {
        /// The file.
        file: PathBuf,
        /// Index of the run, where the file is a list.
        run: Option<usize>,
        /// Path of the object that lacks the field, for example `[3].traj[5]`.
        place: String,
        /// The field.
        field: &'static str,
        /// The format the value looks like, where that is another one.
        looks_like_format: Option<Format>,
    },
    /// A field is there but is not what it must be.
    #[error("{}: {place}: expected {expected}, found {found}", file.display())]
    Shape {
        /// The file.
        file: PathBuf,
        /// Index of the run, where the file is a list.
        run: Option<usize>,
        /// Path of the value, for example `[3].traj[5].role`.
        place: String,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
}

impl ImportError {
    /// Index of the run the fault lies in, where the file is a list and the fault lies in one run of it.
    pub fn run(&self) -> Option<usize> {
        match self {
            ImportError::Syntax { run, .. }
            | ImportError::Missing { run, .. }
            | ImportError::Shape { run, .. } => *run,
            _ => None,
        }
    }

    /// The file.
    pub fn file(&self) -> &std::path::Path {
        match self {
            ImportError::Unreadable { file, .. }
            | ImportError::TooLarge { file, .. }
            | ImportError::Empty { file, .. }
            | ImportError::NotUtf8 { file, .. }
            | ImportError::Syntax { file, .. }
            | ImportError::Missing { file, .. }
            | ImportError::Shape { file, .. } => file,
        }
    }
}

fn in_run(run: Option<usize>) -> String {
    run.map(|r| format!(" (in run {r}, counted from 0; the runs before it are read)")).unwrap_or_default()
}

fn looks_like(format: Option<Format>) -> String {
    format.map(|f| format!("; this looks like a {f} file: try `in-mem import {f}`")).unwrap_or_default()
}
