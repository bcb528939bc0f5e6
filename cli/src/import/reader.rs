//! From a file to its runs: the bytes, the JSON, and one run after the other.

use std::{
    collections::HashMap,
    fmt, fs,
    io::{self, Read},
    ops::ControlFlow,
    path::Path,
};

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    Format, ImportError, ImportedRun,
    json::{Fault, Place},
    langfuse, swe_agent, tau_bench,
};

/// The largest file an import reads, in bytes: a file is read whole before it is parsed.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// What is said about the file a run comes from.
pub(super) struct Source<'a> {
    /// Name of the file without its folder.
    pub(super) file_name: String,
    /// The same without its ending.
    pub(super) stem: &'a str,
}

/// Reads a file and hands every run in it to `sink`, in the order of the file.
///
/// A file may hold one run or a list of them. A run that cannot be read comes as an error in its place, and the others
/// follow; a fault in the JSON itself ends the file, after the runs before it. `sink` stops the reading by returning
/// [`ControlFlow::Break`].
pub fn read_file(
    path: &Path,
    format: Format,
    mut sink: impl FnMut(Result<ImportedRun, ImportError>) -> ControlFlow<()>,
) {
    match load(path) {
        Ok(bytes) => read_bytes(path, &bytes, format, sink),
        Err(error) => drop(sink(Err(error))),
    }
}

/// Reads a file and gathers all its runs and faults. For tests and small files: [`read_file`] holds one run at a time.
pub fn read_all(path: &Path, format: Format) -> Vec<Result<ImportedRun, ImportError>> {
    let mut all = Vec::new();
    read_file(path, format, |run| {
        all.push(run);
        ControlFlow::Continue(())
    });
    all
}

/// Like [`read_file`], over bytes that are already there; `path` is what errors and ids name.
pub fn read_bytes(
    path: &Path,
    bytes: &[u8],
    format: Format,
    mut sink: impl FnMut(Result<ImportedRun, ImportError>) -> ControlFlow<()>,
) {
    let file_name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem =
        file_name.strip_suffix(".trace.json").or_else(|| file_name.rsplit_once('.').map(|(stem, _)| stem));
    let source = Source { stem: stem.unwrap_or(&file_name), file_name: file_name.clone() };
    let mut seen: HashMap<String, u32> = HashMap::new();
    let read = values(path, bytes, format, |index, value| {
        let root = Place::ROOT;
        let place = index.map_or(root, |i| root.index(i));
        let looks_like = Format::of_value(&value).filter(|found| *found != format);
        let run = match format {
            Format::TauBench => tau_bench::run(value, &place, &source),
            Format::SweAgent => swe_agent::run(value, &place, &source),
            Format::Langfuse => langfuse::run(value, &place, &source),
        };
        sink(run.map(|run| set_apart(run, &mut seen)).map_err(|fault| locate(fault, path, index, looks_like)))
    });
    if let Err(error) = read {
        let _ = sink(Err(error));
    }
}

/// The same run twice in one file is two runs of that file: the second gets an id of its own, so that none is lost.
fn set_apart(mut run: ImportedRun, seen: &mut HashMap<String, u32>) -> ImportedRun {
    let times = seen.entry(run.source_id.clone()).or_insert(0);
    *times += 1;
    if *times > 1 {
        run.source_id = format!("{}#{times}", run.source_id);
        run.warnings.push(format!("the file has this run {times} times or more; this is number {times}"));
    }
    run
}

fn locate(fault: Fault, path: &Path, run: Option<usize>, looks_like_format: Option<Format>) -> ImportError {
    let file = path.to_owned();
    match fault {
        Fault::Missing { place, field } => {
            ImportError::Missing { file, run, place, field, looks_like_format }
        }
        Fault::Shape { place, expected, found } => ImportError::Shape { file, run, place, expected, found },
    }
}

fn load(path: &Path) -> Result<Vec<u8>, ImportError> {
    let unreadable = |source| ImportError::Unreadable { file: path.to_owned(), source };
    let meta = fs::metadata(path).map_err(unreadable)?;
    if meta.is_dir() {
        return Err(unreadable(io::Error::other("it is a directory; name the files in it")));
    }
    let mut bytes = Vec::with_capacity(meta.len().min(MAX_FILE_BYTES) as usize);
    // The limit holds for what is read, not for what the metadata says: a pipe has no length.
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let bytes = meta.len().max(bytes.len() as u64);
        return Err(ImportError::TooLarge { file: path.to_owned(), bytes, limit: MAX_FILE_BYTES });
    }
    Ok(bytes)
}

/// Hands every run's JSON to `each`, with its index where the file is a list.
fn values(
    path: &Path,
    bytes: &[u8],
    format: Format,
    mut each: impl FnMut(Option<usize>, Value) -> ControlFlow<()>,
) -> Result<(), ImportError> {
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ImportError::Empty { file: path.to_owned(), format });
    }
    let text = std::str::from_utf8(body).map_err(|e| {
        let good = &body[..e.valid_up_to()];
        let line_start = good.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
        ImportError::NotUtf8 {
            file: path.to_owned(),
            line: good.iter().filter(|b| **b == b'\n').count() + 1,
            column: good.len() - line_start + 1,
            offset: good.len() + (bytes.len() - body.len()),
        }
    })?;
    let syntax = |error: &serde_json::Error, run| ImportError::Syntax {
        file: path.to_owned(),
        line: error.line(),
        column: error.column(),
        run,
        message: plain_message(error),
    };

    let mut json = serde_json::Deserializer::from_str(text);
    if text.trim_start().starts_with('[') {
        let mut next = 0usize;
        let mut stopped = false;
        let list = List { each: &mut each, next: &mut next, stopped: &mut stopped };
        let read = json.deserialize_seq(list).and_then(|()| json.end());
        match read {
            Err(error) if !stopped => Err(syntax(&error, Some(next))),
            _ => Ok(()),
        }
    } else {
        let value = Value::deserialize(&mut json).map_err(|e| syntax(&e, None))?;
        let trailing = json.end();
        let _ = each(None, value);
        trailing.map_err(|e| syntax(&e, None))
    }
}

/// The parser's message without its own " at line 1 column 2": the place stands in front already.
fn plain_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.rsplit_once(" at line ").map_or(message.clone(), |(what, _)| what.to_owned())
}

/// Reads a list item by item, so that the items before a fault are not lost with it.
struct List<'a, F> {
    each: &'a mut F,
    next: &'a mut usize,
    stopped: &'a mut bool,
}

impl<'de, F: FnMut(Option<usize>, Value) -> ControlFlow<()>> Visitor<'de> for List<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of runs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(value) = items.next_element::<Value>()? {
            let index = *self.next;
            *self.next += 1;
            if (self.each)(Some(index), value).is_break() {
                *self.stopped = true;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(());
            }
        }
        Ok(())
    }
}
