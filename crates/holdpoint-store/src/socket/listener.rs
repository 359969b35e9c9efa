//! Taking requests, and carrying answers back.
//!
//! # Invariants
//! 1. One thread lets in. A connection has a thread of its own until the responder was called with
//!    its request; then it waits for the answer without one, however long that takes.
//! 2. At most [`READING`] connections have threads, and at most [`OPEN`] are open. Others wait to be
//!    let in.
//! 3. A connection whose request does not arrive in [`ARRIVAL`], or whose answer is not taken in
//!    [`DELIVERY`], is closed.
//! 4. Who answers never waits for the asker.
//! 5. Once a [`Listener`] is dropped, the responder is not called any more by it. Calls that run
//!    then go on, and their answers are delivered.
//!
//! # Locks
//! `counts` and `responder` are held for moments, one at a time, and nothing is called under them.

use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use holdpoint_core::store::{Reply, Responder};

use super::file::SocketFile;
use super::frame::{self, Answer, BadRequest, LIMIT, Timed};

/// Connections whose requests are being read.
const READING: usize = 64;

/// All connections that are open at a time.
const OPEN: usize = 256;

/// Those that may wait to be let in.
const BACKLOG: i32 = 128;

/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// How long an answer may take to be taken.
const DELIVERY: Duration = Duration::from_secs(10);

/// How long to wait before letting in again when the system has no means for it.
const SHORTAGE: Duration = Duration::from_millis(100);

/// Takes requests at a socket, until dropped. Who waits to be let in then is told that nobody is
/// here.
#[derive(Debug)]
pub(crate) struct Listener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    file: SocketFile,
}

struct Shared {
    socket: UnixListener,
    responder: Mutex<Arc<dyn Responder>>,
    counts: Mutex<Counts>,
    /// Told when a connection less is open, or read, or when all is over.
    has_changed: Condvar,
    arrival: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    reading: usize,
    open: usize,
    is_over: bool,
}

impl Listener {
    /// Takes requests at `path`, which must be nobody else's, and has `responder` answer them, on
    /// threads of the listener.
    pub(crate) fn start(path: &Path, responder: Arc<dyn Responder>) -> io::Result<Self> {
        Self::start_with(path, responder, ARRIVAL)
    }

    /// The same with another time for requests to arrive.
    pub(crate) fn start_with(
        path: &Path,
        responder: Arc<dyn Responder>,
        arrival: Duration,
    ) -> io::Result<Self> {
        let (socket, file) = SocketFile::bind(path, |path| UnixListener::bind(path))?;
        rustix::net::listen(&socket, BACKLOG)?;
        let shared = Arc::new(Shared {
            socket,
            responder: Mutex::new(responder),
            counts: Mutex::default(),
            has_changed: Condvar::new(),
            arrival,
        });
        let thread = spawn("holdpoint-door", {
            let shared = Arc::clone(&shared);
            move || shared.let_in()
        })?;
        Ok(Self { shared, thread: Some(thread), file })
    }

    /// Has another responder answer from now on.
    pub(crate) fn replace(&self, responder: Arc<dyn Responder>) {
        let mut current = lock(&self.shared.responder);
        let previous = std::mem::replace(&mut *current, responder);
        drop(current);
        drop(previous);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.shared.counts).is_over = true;
        self.shared.has_changed.notify_all();
        // Wakes who lets in; where this does not, a connection does.
        let woken = rustix::net::shutdown(&self.shared.socket, rustix::net::Shutdown::Both);
        if woken.is_err() {
            let _ = UnixStream::connect(self.file.path());
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn let_in(self: Arc<Self>) {
        while self.wait_for_room() {
            match self.socket.accept() {
                Ok((stream, _)) if super::is_ours(&stream) => {
                    let connection = Connection::new(stream, &self);
                    // A thread that cannot be had closes the connection.
                    let _ = spawn("holdpoint-asked", move || connection.serve());
                }
                Ok(_) => {}
                Err(_) => self.wait_for_means(),
            }
        }
    }

    /// Waits until another connection may be let in; `false` where all is over.
    fn wait_for_room(&self) -> bool {
        let counts = self
            .has_changed
            .wait_while(lock(&self.counts), |counts| {
                !counts.is_over && (counts.reading >= READING || counts.open >= OPEN)
            })
            .unwrap_or_else(PoisonError::into_inner);
        !counts.is_over
    }

    /// No connection could be taken: descriptors or memory are used up, by whomever. Nobody tells
    /// when there are some again.
    fn wait_for_means(&self) {
        let counts = lock(&self.counts);
        let waited =
            self.has_changed.wait_timeout_while(counts, SHORTAGE, |counts| !counts.is_over);
        drop(waited);
    }
}

/// An open connection.
struct Connection {
    stream: UnixStream,
    _open: Open,
    reading: Reading,
}

impl Connection {
    fn new(stream: UnixStream, shared: &Arc<Shared>) -> Self {
        let mut counts = lock(&shared.counts);
        counts.open += 1;
        counts.reading += 1;
        drop(counts);
        let (open, reading) = (Open(Arc::clone(shared)), Reading(Arc::clone(shared)));
        Self { stream, _open: open, reading }
    }

    fn serve(self) {
        let Self { stream, _open: open, reading } = self;
        let shared = &reading.0;
        let request = frame::read_request(&stream, Instant::now() + shared.arrival);
        if lock(&shared.counts).is_over {
            return;
        }
        match request {
            Ok((name, request)) => {
                let reply = Reply::new(move |answer| answer_by(stream, open, answer));
                let responder = Arc::clone(&lock(&shared.responder));
                responder.request(&name, &request, reply);
            }
            Err(BadRequest::Answer(answer)) => deliver(stream, open, &answer),
            Err(BadRequest::Silence) => {}
        }
    }
}

fn answer_by(stream: UnixStream, open: Open, answer: Option<Vec<u8>>) {
    let answer = match answer {
        None => Answer::Unowned,
        Some(answer) if answer.len() > LIMIT => Answer::GivenTooLarge(answer.len() as u64),
        Some(answer) => Answer::Given(answer),
    };
    deliver(stream, open, &answer);
}

/// Sends an answer. Never waits for the asker: what it does not take at once is sent by a thread
/// (invariant 4).
fn deliver(stream: UnixStream, open: Open, answer: &Answer) {
    let mut frame = answer.frame();
    let mut sent = 0;
    while sent < frame.len() {
        match frame::send(&stream, &frame[sent..], false) {
            Ok(bytes) => sent += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // The asker is gone.
            Err(_) => return,
        }
    }
    if sent < frame.len() {
        frame.drain(..sent);
        // Without a thread the asker sees a connection that ends too soon.
        let _ = spawn("holdpoint-answer", move || {
            let deadline = Instant::now() + DELIVERY;
            let _ = Timed { stream: &stream, deadline }.write_all(&frame);
            drop(open);
        });
    }
}

/// Counts an open connection.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.0.counts).open -= 1;
        self.0.has_changed.notify_all();
    }
}

/// Counts a connection that has a thread.
struct Reading(Arc<Shared>);

impl Drop for Reading {
    fn drop(&mut self) {
        lock(&self.0.counts).reading -= 1;
        self.0.has_changed.notify_all();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("counts", &self.counts).finish_non_exhaustive()
    }
}
