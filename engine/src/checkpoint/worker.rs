//! The thread that writes checkpoints when they are due. One a database.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{Checkpointer, Which};

/// Somebody wants the worker to look round: a log has grown, or it is to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wake;

/// One waiting wake-up says as much as many.
const WAKES_CAPACITY: usize = 1;

pub(crate) fn wake_channel() -> (Sender<Wake>, Receiver<Wake>) {
    bounded(WAKES_CAPACITY)
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
        checkpointer: Arc<Checkpointer>,
        interval: Option<Duration>,
        wakes: (Sender<Wake>, Receiver<Wake>),
    ) -> std::io::Result<Self> {
        let (wakes, woken) = wakes;
        let works = checkpointer.clone();
        let thread = std::thread::Builder::new()
            .name("in-mem-checkpoint".to_owned())
            .spawn(move || run(&works, interval, &woken))?;
        Ok(Self { checkpointer, wakes, thread: Some(thread) })
    }
}

fn run(checkpointer: &Checkpointer, interval: Option<Duration>, woken: &Receiver<Wake>) {
    let mut due = interval.map(|interval| Instant::now() + interval);
    loop {
        let waited = match due {
            Some(due) => woken.recv_deadline(due),
            None => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if checkpointer.stopping().load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        // Errors are in the books, which `stats` shows; the next time is the next try.
        let _ = match (waited, checkpointer.log_limit_bytes) {
            (Err(RecvTimeoutError::Disconnected), _) => return,
            (Err(RecvTimeoutError::Timeout), _) => {
                due = interval.map(|interval| Instant::now() + interval);
                checkpointer.run(Which::Changed)
            }
            (Ok(Wake), Some(bytes)) => checkpointer.run(Which::LogOver(bytes)),
            (Ok(Wake), None) => continue,
        };
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
