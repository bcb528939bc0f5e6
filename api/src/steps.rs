//! Durable steps: what an agent does to the world, done once.
//!
//! A step is an effect with a name and an input. The first time, the effect runs and its result is recorded; whenever the
//! agent comes to the same place again, after a crash or a restart, the recorded result is given and the effect is not run.
//! A place is the number of the step at each level of nesting, so that loops and steps within steps need no names of their own.

use std::cell::{Cell, RefCell};
use std::fmt::{Display, Write as _};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use in_mem_engine::command::ScanRequest;
use in_mem_engine::{Condition, StepError, event};
use in_mem_model::{KeyBytes, Tag, Timestamp, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result, Run, RunStatus, WriteError};

/// The most levels of steps within steps.
pub const MAX_STEP_DEPTH: usize = 32;

/// The longest that a step waits between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The kind of the event that says that a step was recorded.
pub const STEP_EVENT: &str = "step";

/// The kind of the event that says that an attempt failed.
pub const STEP_FAILED_EVENT: &str = "step_failed";

/// Where a run keeps its steps: under the tag of the run itself, out of the way of the agent's own keys.
const STEP_PREFIX: u8 = 2;

thread_local! {
    /// Where a step's path and event are put together; reused from step to step.
    static SCRATCH: RefCell<(String, Vec<u8>)> = const { RefCell::new((String::new(), Vec::new())) };
    /// The thread's id at hand: the standard library's takes a count of the thread for it.
    static THREAD: Cell<Option<ThreadId>> = const { Cell::new(None) };
}

fn this_thread() -> ThreadId {
    THREAD.get().unwrap_or_else(|| {
        let id = std::thread::current().id();
        THREAD.set(Some(id));
        id
    })
}

/// How a step is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepOptions {
    attempts: u32,
    wait: Duration,
    timeout: Option<Duration>,
}

impl Default for StepOptions {
    fn default() -> Self {
        Self { attempts: 1, wait: Duration::from_millis(100), timeout: None }
    }
}

impl StepOptions {
    /// So many attempts in all, at least 1. Default 1.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The wait before the second attempt; it doubles with each further one, up to a minute. Default 100 ms.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// No attempt is begun when so much time has passed since the first. An attempt that is under way is not cut off, and
    /// what it gives is kept: what was done to the world was done.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// Where a handle stands among the steps of its run.
#[derive(Debug, Default)]
pub(crate) struct StepCursor(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    /// The number of the next step of each level that is being carried out.
    next: Vec<u32>,
    /// Who is inside a step.
    owner: Option<ThreadId>,
    /// The last place that was recorded when this handle took its first step, if one was; `None`: nobody has looked. Behind
    /// it, nothing but what this handle records itself is to be found.
    last: Option<Option<KeyBytes>>,
    /// How the run had ended when this handle took its first step, if it had: nothing new is recorded then.
    ended: Option<RunStatus>,
    /// The name of the last step recorded: the next often has it, too, and shares it.
    name: Option<Arc<str>>,
}

impl Places {
    /// Whether a place lies among those that were recorded before this handle came.
    fn may_be_recorded(&self, place: &Place) -> bool {
        match &self.last {
            Some(last) => last.as_ref().is_some_and(|last| place.0 <= *last),
            None => true,
        }
    }
}

impl StepCursor {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a step was taken.
    pub(crate) fn is_used(&self) -> bool {
        self.places().next.first().is_some_and(|next| *next > 0)
    }
}

/// The place of a step, as its key.
#[derive(Clone)]
struct Place(KeyBytes);

impl Place {
    fn new(numbers: &[u32]) -> Self {
        let mut key = smallvec::SmallVec::<[u8; 40]>::new();
        key.push(STEP_PREFIX);
        for number in numbers {
            key.extend_from_slice(&number.to_be_bytes());
        }
        Self(KeyBytes::new(&key))
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (level, number) in self.0[1..].chunks_exact(4).enumerate() {
            let dot = if level == 0 { "" } else { "." };
            write!(f, "{dot}{}", u32::from_be_bytes([number[0], number[1], number[2], number[3]]))?;
        }
        Ok(())
    }
}

/// What is recorded of a step: its name, its input, its result.
struct Recorded {
    name: Value,
    input: Value,
    result: Value,
}

impl Recorded {
    fn read(stored: &Value) -> Option<Self> {
        match stored {
            Value::Array(parts) => match &parts[..] {
                [name @ Value::String(_), input, result] => {
                    Some(Self { name: name.clone(), input: input.clone(), result: result.clone() })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn name(&self) -> String {
        self.name.as_str().unwrap_or_default().to_owned()
    }
}

/// A step that was entered.
struct Entered<'c> {
    place: Place,
    level: Level<'c>,
    /// Whether it may be recorded already.
    may_be_recorded: bool,
    /// How the run had ended before, if it had.
    ended: Option<RunStatus>,
}

/// Leaves a step's level, also where its effect panics.
struct Level<'c> {
    cursor: &'c StepCursor,
    depth: usize,
}

impl Drop for Level<'_> {
    fn drop(&mut self) {
        let mut places = self.cursor.places();
        places.next.truncate(self.depth);
        if self.depth <= 1 {
            places.owner = None;
        }
    }
}

impl Run {
    /// Takes a step: runs the effect and records its result, or gives the result that is recorded already. Steps may be taken
    /// within steps, and in loops; they must come in the same order, with the same names and inputs, whenever the agent runs.
    /// Each handle that [`crate::Database::run`] or [`crate::Database::resume`] gives begins with the first step; its clones
    /// go on where it stands.
    ///
    /// The result is recorded when the effect is over: an effect that is cut off in the middle runs again.
    ///
    /// ```
    /// # fn main() -> in_mem::Result<()> {
    /// let db = in_mem::Database::in_memory()?;
    /// let run = db.begin_run("book")?;
    /// let mut sent = 0;
    /// let mut agent = |run: &in_mem::Run| -> in_mem::Result<String> {
    ///     run.step("send", "Berlin", || {
    ///         sent += 1;
    ///         Ok::<_, std::io::Error>("confirmed".to_owned())
    ///     })
    /// };
    /// agent(&run)?;
    /// // Another process, later:
    /// assert_eq!(agent(&db.resume(run.id())?)?, "confirmed");
    /// assert_eq!(sent, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StepError`]: what is recorded at this place is another step; or the effect failed, or gave what cannot be stored
    /// ([`StepError::Unrecorded`]), and then nothing is recorded. [`Error::Value`] and [`WriteError::RunEnded`] come before
    /// the effect runs.
    pub fn step<T, E>(
        &self,
        name: impl AsRef<str>,
        input: impl Serialize,
        effect: impl FnMut() -> std::result::Result<T, E>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        E: Display,
    {
        self.step_with(name, input, StepOptions::default(), effect)
    }

    /// As [`Run::step`], with retries.
    ///
    /// # Errors
    /// As [`Run::step`].
    pub fn step_with<T, E>(
        &self,
        name: impl AsRef<str>,
        input: impl Serialize,
        options: StepOptions,
        mut effect: impl FnMut() -> std::result::Result<T, E>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        E: Display,
    {
        let name = name.as_ref();
        let input = Value::from_serialize(&input)?;
        // What would be refused with the result is refused before the effect runs.
        if !matches!(input, Value::Null | Value::Bool(_) | Value::Int(_)) {
            Value::from(vec![Value::from(name), input.clone()]).check()?;
        }
        let Entered { place, level, may_be_recorded, ended } = self.enter_step()?;
        if may_be_recorded && let Some(recorded) = self.recorded_step(&place)? {
            return self.same_step(&place, recorded, name, input)?.deserialize().map_err(|source| {
                let (run, path, name) = (self.id, place.to_string(), name.to_owned());
                StepError::OtherType { run, path, name, source }.into()
            });
        }
        if let Some(status) = ended {
            return Err(WriteError::RunEnded { run: self.id, status }.into());
        }
        let begun = options.timeout.map(|limit| (Instant::now(), limit));
        let mut attempt = 1;
        let result = loop {
            match effect() {
                Ok(result) => break result,
                Err(error) => {
                    let reason = error.to_string();
                    self.note_failure(&place, name, attempt, &reason)?;
                    let wait = options.wait.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_WAIT);
                    let over = begun.is_some_and(|(begun, limit)| begun.elapsed() + wait >= limit);
                    if attempt >= options.attempts || over {
                        let (run, path, name) = (self.id, place.to_string(), name.to_owned());
                        return Err(StepError::Failed { run, path, name, attempts: attempt, reason }.into());
                    }
                    std::thread::sleep(wait);
                    attempt += 1;
                    // Where the attempt before got so far, its inner steps are recorded: this one passes over them.
                    self.cursor.places().next[level.depth] = 0;
                }
            }
        };
        self.no_step_left(level.depth)?;
        let recorded = Value::from_serialize(&result)
            .map_err(Error::from)
            .and_then(|recorded| self.record_step(&place, name, input, recorded));
        drop(level);
        match recorded {
            Ok(()) => Ok(result),
            // Of these nobody can say that nothing is recorded.
            Err(error @ (Error::OutcomeUnknown { .. } | Error::Step(_))) => Err(error),
            Err(source) => {
                let (run, path, name) = (self.id, place.to_string(), name.to_owned());
                Err(StepError::Unrecorded { run, path, name, source: Box::new(source) }.into())
            }
        }
    }

    /// A random number, recorded: the same one whenever the agent comes to this place.
    ///
    /// # Errors
    /// As [`Run::step`].
    pub fn random(&self) -> Result<u64> {
        self.step("random", Value::Null, || Ok::<_, Error>(fastrand::u64(..)))
    }

    /// The time, recorded: the same whenever the agent comes to this place.
    ///
    /// # Errors
    /// As [`Run::step`].
    pub fn now(&self) -> Result<Timestamp> {
        self.step("now", Value::Null, || Ok::<_, Error>(self.engine.now().0)).map(Timestamp)
    }

    /// Says that the agent has taken its last step: what is recorded beyond is an error. [`Run::end`] with
    /// [`crate::RunStatus::Completed`] asks for it, too.
    ///
    /// # Errors
    /// [`StepError::Missing`].
    pub fn finish_steps(&self) -> Result<()> {
        self.begin_steps(&mut self.cursor.places())?;
        self.no_step_left(0)
    }

    /// Looks once where the run stands and which steps it has.
    fn begin_steps(&self, places: &mut Places) -> Result<()> {
        if places.next.is_empty() {
            places.ended = Some(self.status()?).filter(|status| status.is_ended());
            places.last = Some(self.last_step()?);
            places.next.push(0);
        }
        Ok(())
    }

    /// Takes the next place, and opens the level below it.
    fn enter_step(&self) -> Result<Entered<'_>> {
        let mut places = self.cursor.places();
        self.begin_steps(&mut places)?;
        let inside = places.next.len() > 1;
        let me = this_thread();
        if inside && places.owner != Some(me) {
            return Err(StepError::Concurrent { run: self.id }.into());
        }
        let depth = places.next.len();
        if depth > MAX_STEP_DEPTH {
            return Err(StepError::TooDeep { run: self.id, limit: MAX_STEP_DEPTH }.into());
        }
        // Each level above has counted the step that it is in already.
        let mut numbers: smallvec::SmallVec<[u32; 8]> =
            places.next.iter().map(|next| next.wrapping_sub(1)).collect();
        numbers[depth - 1] = places.next[depth - 1];
        places.next[depth - 1] += 1;
        places.next.push(0);
        places.owner = Some(me);
        let place = Place::new(&numbers);
        let may_be_recorded = places.may_be_recorded(&place);
        let level = Level { cursor: &self.cursor, depth };
        Ok(Entered { place, level, may_be_recorded, ended: places.ended })
    }

    /// The last place that is recorded.
    fn last_step(&self) -> Result<Option<KeyBytes>> {
        let request = ScanRequest {
            run: self.id,
            tag: Tag::Run,
            lower: Bound::Included(KeyBytes::new(&[STEP_PREFIX])),
            upper: Bound::Excluded(KeyBytes::new(&[STEP_PREFIX + 1])),
            reverse: true,
            at: None,
            limit: 1,
        };
        let (mut found, _) = self.engine.snapshot(self.id)?.scan(request)?;
        Ok(found.pop().map(|(key, _)| key))
    }

    fn recorded_step(&self, place: &Place) -> Result<Option<Recorded>> {
        let Some(stored) = self.engine.get(self.id, Tag::Run, &place.0)? else { return Ok(None) };
        match Recorded::read(&stored.value) {
            Some(recorded) => Ok(Some(recorded)),
            None => Err(StepError::Malformed { run: self.id, path: place.to_string() }.into()),
        }
    }

    fn same_step(&self, place: &Place, recorded: Recorded, name: &str, input: Value) -> Result<Value> {
        if recorded.name.as_str() == Some(name) && recorded.input == input {
            return Ok(recorded.result);
        }
        Err(StepError::Mismatch {
            run: self.id,
            path: place.to_string(),
            recorded: recorded.name(),
            called: name.to_owned(),
            recorded_input: Box::new(recorded.input),
            called_input: Box::new(input),
        }
        .into())
    }

    fn record_step(&self, place: &Place, name: &str, input: Value, result: Value) -> Result<()> {
        let shared = {
            let last = &mut self.cursor.places().name;
            match last {
                Some(last) if **last == *name => last.clone(),
                _ => last.insert(Arc::from(name)).clone(),
            }
        };
        let value = Value::Array(Arc::new([Value::String(shared), input, result]));
        // Taken out: a turn may run other callers' closures on this thread, and those may come here, too.
        let (mut path, mut body) = SCRATCH.take();
        path.clear();
        body.clear();
        let _ = write!(path, "{place}");
        event::pack_strings(STEP_EVENT, &[&path, name], &mut body);
        let recorded =
            self.engine.put_and_append(self.id, Tag::Run, &place.0, value, Condition::Absent, &body);
        SCRATCH.set((path, body));
        match recorded {
            Ok(_) => Ok(()),
            Err(Error::Write(WriteError::ConditionFailed { .. })) => {
                Err(StepError::Raced { run: self.id, path: place.to_string() }.into())
            }
            Err(error) => Err(error),
        }
    }

    fn note_failure(&self, place: &Place, name: &str, attempt: u32, reason: &str) -> Result<()> {
        let says = in_mem_model::value!({
            "path": (place.to_string()), "name": name, "attempt": (i64::from(attempt)), "error": reason
        });
        self.events().append(STEP_FAILED_EVENT, says).map(|_| ())
    }

    /// Makes sure that no step is recorded, at this depth, behind those that were called.
    fn no_step_left(&self, depth: usize) -> Result<()> {
        let first = {
            let places = self.cursor.places();
            let Some(last) = places.next.get(depth) else { return Ok(()) };
            let above = places.next[..depth].iter().map(|next| next.wrapping_sub(1));
            let next: smallvec::SmallVec<[u32; 8]> = above.chain([*last]).collect();
            // The common case: nothing is there, and one look says so.
            let first = Place::new(&next);
            if !places.may_be_recorded(&first) {
                return Ok(());
            }
            first
        };
        let Some(recorded) = self.first_step_from(&first, depth)? else { return Ok(()) };
        Err(StepError::Missing {
            run: self.id,
            path: recorded.0.to_string(),
            recorded: recorded.1.name(),
            recorded_input: Box::new(recorded.1.input),
        }
        .into())
    }

    fn first_step_from(&self, first: &Place, depth: usize) -> Result<Option<(Place, Recorded)>> {
        if depth > 0 {
            // Inner steps are numbered without a gap: what comes next is there or nothing is.
            return Ok(self.recorded_step(first)?.map(|recorded| (first.clone(), recorded)));
        }
        let request = ScanRequest {
            run: self.id,
            tag: Tag::Run,
            lower: Bound::Included(first.0.clone()),
            upper: Bound::Excluded(KeyBytes::new(&[STEP_PREFIX + 1])),
            reverse: false,
            at: None,
            limit: 1,
        };
        let (mut found, _) = self.engine.snapshot(self.id)?.scan(request)?;
        Ok(found.pop().and_then(|(key, stored)| Some((Place(key), Recorded::read(&stored.value)?))))
    }
}
