//! The thread that writes checkpoints when they are due, and carries out retention. One a database.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{Checkpointer, Which};
use crate::engine::Engine;

/// Somebody wants the worker to look round: a log has grown, or it is to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wake;

/// One waiting wake-up says as much as many.
const WAKES_CAPACITY: usize = 1;

pub(crate) fn wake_channel() -> (Sender<Wake>, Receiver<Wake>) {
    bounded(WAKES_CAPACITY)
}

/// How often the worker does what; `None`: not by time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intervals {
    pub(crate) checkpoints: Option<Duration>,
    /// The first time is at once.
    pub(crate) retention: Option<Duration>,
}

/// The thread, ended when dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    checkpointer: Arc<Checkpointer>,
    wakes: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start(
        engine: Engine,
        due: Intervals,
        wakes: (Sender<Wake>, Receiver<Wake>),
    ) -> std::io::Result<Self> {
        let (wakes, woken) = wakes;
        let checkpointer = engine.checkpointer.clone();
        let thread = std::thread::Builder::new()
            .name("in-mem-checkpoint".to_owned())
            .spawn(move || run(&engine, due, &woken))?;
        Ok(Self { checkpointer, wakes, thread: Some(thread) })
    }
}

fn run(engine: &Engine, intervals: Intervals, woken: &Receiver<Wake>) {
    let checkpointer = &engine.checkpointer;
    // None: so long that it never comes.
    let after = |interval: Duration| Instant::now().checked_add(interval);
    let mut checkpoint = intervals.checkpoints.and_then(after);
    let mut retention = intervals.retention.map(|_| Instant::now());
    loop {
        let next = [checkpoint, retention].into_iter().flatten().min();
        let waited = match next {
            Some(due) => woken.recv_deadline(due),
            None => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if checkpointer.stopping().load(Ordering::Relaxed) {
            return;
        }
        // Errors are in the books, which `stats` shows; the next time is the next try.
        match waited {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Wake) => {
                if let Some(bytes) = checkpointer.log_limit_bytes {
                    checkpointer.run_or_say_why(Which::LogOver(bytes));
                }
            }
        }
        // Also behind a wake-up: a log that grows faster than it is checkpointed wakes the worker each time.
        let now = Instant::now();
        if checkpoint.is_some_and(|due| due <= now) {
            checkpointer.run_or_say_why(Which::Changed);
            checkpoint = intervals.checkpoints.and_then(after);
        }
        if retention.is_some_and(|due| due <= now) {
            engine.retain_or_say_why();
            retention = intervals.retention.and_then(after);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.checkpointer.stop();
        // Full: it will look round anyway.
        let _ = self.wakes.try_send(Wake);
        if let Some(thread) = self.thread.take() {
            // A panic there poisons nothing that others use.
            let _ = thread.join();
        }
    }
}
