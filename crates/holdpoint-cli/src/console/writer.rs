//! The threads that write, so that a slow reader holds up a run but cannot keep it from ending.
//!
//! What is to be written is queued, in one order. A reader that does not read stops the run when
//! the queue is full, as it would stop any program. After a signal nothing waits for it any more,
//! and what does not fit is left out.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How many bytes may wait to be written before whoever adds more waits too.
const FULL: usize = 1024 * 1024;

/// How long after a signal the end of a run waits for its last rows to be read.
const PARTING: Duration = Duration::from_millis(500);

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
    /// The file of the writer, where it has one.
    File,
}

/// Writes what it is given, from a thread of its own.
pub(crate) struct Writer {
    state: Mutex<State>,
    changed: Condvar,
    /// Called when nobody reads standard output any more.
    on_unread: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Target, Vec<u8>)>,
    /// Those in the queue and those being written.
    bytes: usize,
    /// A signal has come: nothing waits for a reader any more.
    hurried: bool,
    /// Nothing more is to come.
    closed: bool,
    /// The first failure; afterwards nothing is written.
    failure: Option<Failure>,
}

impl Writer {
    /// Writes to standard output and standard error. `on_unread` is called, on the thread, when
    /// the reader of standard output is gone.
    pub(crate) fn of_console(
        on_unread: impl Fn() + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Failure> {
        Self::start(None, Box::new(on_unread))
    }

    /// Writes to a file.
    pub(crate) fn of_events(file: File, path: PathBuf) -> Result<Arc<Self>, Failure> {
        Self::start(Some((file, path)), Box::new(|| {}))
    }

    /// Adds bytes to what is to be written. Waits while that is too much.
    pub(crate) fn write(&self, target: Target, bytes: Vec<u8>) {
        let mut state = self.state();
        while state.bytes >= FULL && !state.hurried && state.failure.is_none() {
            state = self.wait(state);
        }
        // Events are few and none of them is left out.
        let is_too_much = state.bytes >= FULL && target != Target::File;
        if is_too_much || state.failure.is_some() {
            return;
        }
        state.bytes += bytes.len();
        state.queue.push_back((target, bytes));
        self.changed.notify_all();
    }

    /// The same as a stream, which takes everything.
    pub(crate) fn stream(&self, target: Target) -> impl Write + '_ {
        Queue { writer: self, target }
    }

    /// From now on nothing waits for a reader.
    pub(crate) fn hurry(&self) {
        self.state().hurried = true;
        self.changed.notify_all();
    }

    /// Waits until everything is written, after a signal not for long. Returns what could not be.
    pub(crate) fn close(&self) -> Option<Failure> {
        let mut state = self.state();
        state.closed = true;
        self.changed.notify_all();
        let mut parting = None;
        while state.bytes > 0 && state.failure.is_none() {
            if !state.hurried {
                state = self.wait(state);
                continue;
            }
            let end = *parting.get_or_insert_with(|| Instant::now() + PARTING);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.failure.take()
    }

    fn start(
        file: Option<(File, PathBuf)>,
        on_unread: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Arc<Self>, Failure> {
        let writer = Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), on_unread });
        let own = Arc::clone(&writer);
        let named = thread::Builder::new().name("holdpoint-write".into());
        named.spawn(move || own.serve(file)).map_err(Failure::Runtime)?;
        Ok(writer)
    }

    /// The thread.
    fn serve(&self, mut file: Option<(File, PathBuf)>) {
        while let Some(batch) = self.next_batch() {
            let bytes: usize = batch.iter().map(|(_, bytes)| bytes.len()).sum();
            for (target, bytes) in joined(batch) {
                if let Err(failure) = write(target, &bytes, &mut file) {
                    let is_unread = failure.is_broken_pipe();
                    self.state().failure.get_or_insert(failure);
                    if is_unread {
                        (self.on_unread)();
                    }
                    break;
                }
            }
            self.state().bytes -= bytes;
            self.changed.notify_all();
        }
    }

    /// All that is queued, once there is anything; none at the end.
    fn next_batch(&self) -> Option<VecDeque<(Target, Vec<u8>)>> {
        let mut state = self.state();
        while state.queue.is_empty() {
            if state.closed {
                return None;
            }
            state = self.wait(state);
        }
        Some(std::mem::take(&mut state.queue))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

struct Queue<'w> {
    writer: &'w Writer,
    target: Target,
}

impl Write for Queue<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(self.target, bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Neighbours with one target as one piece: many rows at once cost one call of the system.
fn joined(batch: VecDeque<(Target, Vec<u8>)>) -> Vec<(Target, Vec<u8>)> {
    let mut pieces: Vec<(Target, Vec<u8>)> = Vec::new();
    for (target, bytes) in batch {
        match pieces.last_mut() {
            Some((last, piece)) if *last == target => piece.extend_from_slice(&bytes),
            _ => pieces.push((target, bytes)),
        }
    }
    pieces
}

fn write(target: Target, bytes: &[u8], file: &mut Option<(File, PathBuf)>) -> Result<(), Failure> {
    match (target, file) {
        (Target::Stdout, _) => {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::Output)
        }
        (Target::File, Some((file, path))) => {
            file.write_all(bytes).map_err(|error| Failure::EventsLost(path.clone(), error))
        }
        (Target::Stderr | Target::File, _) => {
            // Who cannot be told cannot be told that either.
            let _ = io::stderr().write_all(bytes);
            Ok(())
        }
    }
}
