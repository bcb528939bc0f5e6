//! What the processes that are killed do, and how to tell afterwards whether anything is lost.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use in_mem::{Database, Durability, Run, RunId, Value};

/// Small, so that the log rolls over every few dozen commits.
const SEGMENT_BYTES: u64 = 16 << 10;
/// Small, so that a checkpoint is nearly always under way.
const CHECKPOINT_LOG_BYTES: u64 = 32 << 10;
/// Keys that a commit sets to one number, so that half a commit shows.
const KEYS: [&str; 3] = ["a", "b", "c"];
/// A value that takes more than a segment, filled with the low byte of the number beside it.
const LARGE: &str = "large";
const LARGE_BYTES: usize = 40 << 10;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How the database is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// No directory: only what was backed up outlives the process.
    InMemory,
    /// See [`Durability::Buffered`].
    Buffered,
    /// See [`Durability::Strict`].
    Strict,
}

/// What the process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Story {
    /// Commits for ever, checkpoints behind it.
    Counting,
    /// Once through everything that touches files: commits, checkpoints, backup, another number of shards.
    Whole,
    /// Opens what is there, commits a little, closes.
    Reopening,
}

/// A process to be killed.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Where the database is.
    pub path: PathBuf,
    /// How it is kept.
    pub mode: Mode,
    /// Whether the log that checkpoints cover is kept.
    pub history: bool,
    /// What it does.
    pub story: Story,
}

fn run_id() -> RunId {
    RunId::from_bytes([7; 16])
}

impl Scene {
    fn open(&self, shards: Option<usize>) -> in_mem::Result<Database> {
        let durability = match self.mode {
            Mode::InMemory => return Database::builder().shards(2).open(),
            Mode::Buffered => Durability::buffered(),
            Mode::Strict => Durability::Strict,
        };
        let log_bytes = (self.story == Story::Counting).then_some(CHECKPOINT_LOG_BYTES);
        let builder = Database::builder()
            .path(&self.path)
            .durability(durability)
            .segment_bytes(SEGMENT_BYTES)
            .checkpoint_interval(None)
            .checkpoint_log_bytes(log_bytes)
            .keep_history(self.history);
        match shards {
            Some(shards) => builder.shards(shards).open(),
            None => builder.open(),
        }
    }

    /// Where a backup goes: a place that no process before this one used.
    fn backup_path(&self, name: &str) -> PathBuf {
        self.path.with_extension(format!("backup-{}-{name}", std::process::id()))
    }

    /// Plays it. A number on the standard output was acknowledged before it was written there.
    ///
    /// # Errors
    /// What the database says.
    pub fn play(&self) -> Outcome<()> {
        match self.story {
            Story::Counting => {
                let db = self.open(Some(2))?;
                let run = found_or_begun(&db)?;
                loop {
                    count(&run, 1)?;
                }
            }
            Story::Whole if self.mode == Mode::InMemory => {
                let db = self.open(None)?;
                let run = found_or_begun(&db)?;
                for name in ["first", "second"] {
                    count(&run, 20)?;
                    self.backup(&db, &run, name)?;
                }
                Ok(())
            }
            Story::Whole => {
                let db = self.open(Some(2))?;
                let run = found_or_begun(&db)?;
                count(&run, 60)?;
                db.checkpoint()?;
                count_large(&run)?;
                count(&run, 150)?;
                // Makes the indexes by run of the segments, which are let go with them.
                if self.history {
                    run.verify()?;
                }
                db.checkpoint()?;
                count(&run, 30)?;
                self.backup(&db, &run, "one")?;
                drop(run);
                db.close()?;
                drop(db);
                let db = self.open(Some(3))?;
                let run = db.run(run_id())?;
                count(&run, 20)?;
                db.checkpoint()?;
                drop(run);
                db.close()?;
                Ok(())
            }
            Story::Reopening => {
                let db = self.open(None)?;
                let run = found_or_begun(&db)?;
                count(&run, 3)?;
                drop(run);
                db.close()?;
                Ok(())
            }
        }
    }

    fn backup(&self, db: &Database, run: &Run, name: &str) -> Outcome<()> {
        let path = self.backup_path(name);
        let number = number(run)?;
        db.backup(&path)?;
        say(&format!("backup {number} {}", path.display()))
    }

    /// What is there: the number, the same under every key, and as many events.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn look(&self) -> Result<i64, String> {
        let db = self.open(None).map_err(|error| format!("it does not open: {error}"))?;
        look_at(&db)
    }

    /// A backup, likewise; an error that the database gives by name is the inner one.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn look_at_backup(path: &Path) -> Result<in_mem::Result<i64>, String> {
        match Database::builder().path(path).open() {
            Ok(db) => look_at(&db).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }
}

fn look_at(db: &Database) -> Result<i64, String> {
    let words = |error: in_mem::Error| error.to_string();
    let Ok(run) = db.run(run_id()) else { return Ok(0) };
    let numbers: Vec<i64> = run
        .kv()
        .get_many(KEYS)
        .map_err(words)?
        .into_iter()
        .map(|value| value.as_ref().and_then(Value::as_i64).unwrap_or(0))
        .collect();
    let events = run.events().len().map_err(words)?;
    if numbers.iter().any(|number| *number != numbers[0]) || events != numbers[0].unsigned_abs() {
        return Err(format!("half a commit: {numbers:?}, {events} events"));
    }
    if let Some(large) = run.kv().get(LARGE).map_err(words)? {
        let at = run.kv().get_as::<i64>("large-at").map_err(words)?.unwrap_or(-1);
        if large.as_bytes() != Some(&[at as u8; LARGE_BYTES][..]) || at > numbers[0] {
            return Err(format!("half of the large commit, of number {at}"));
        }
    }
    Ok(numbers[0])
}

fn found_or_begun(db: &Database) -> Outcome<Run> {
    Ok(match db.run(run_id()) {
        Ok(run) => run,
        Err(_) => db.new_run("killed").id(run_id()).begin()?,
    })
}

fn number(run: &Run) -> Outcome<i64> {
    Ok(run.kv().get_as::<i64>(KEYS[0])?.unwrap_or(0))
}

fn say(line: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

fn count(run: &Run, commits: u32) -> Outcome<()> {
    for _ in 0..commits {
        let number = number(run)? + 1;
        run.transaction(|tx| {
            KEYS.iter().try_for_each(|key| tx.kv().put(key, number))?;
            tx.events().append("counted", number)
        })?;
        say(&format!("number {number}"))?;
    }
    Ok(())
}

fn count_large(run: &Run) -> Outcome<()> {
    let number = number(run)? + 1;
    run.transaction(|tx| {
        KEYS.iter().try_for_each(|key| tx.kv().put(key, number))?;
        tx.kv().put(LARGE, vec![number as u8; LARGE_BYTES])?;
        tx.kv().put("large-at", number)?;
        tx.events().append("counted", number)
    })?;
    say(&format!("number {number}"))
}
