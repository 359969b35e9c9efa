//! The thread that writes, and the queue before it: group commit (STORE-001, STORE-003).
//!
//! # Invariants
//! 1. One thread writes. What waits when it is free becomes one transaction, in the order of the
//!    queue; what comes meanwhile becomes the next.
//! 2. Nobody is told before the transaction is where it has to be: on the disk, or with
//!    [`Sync::Relaxed`](crate::Sync) in the system's hands. That holds for refusals too, which may
//!    rest on a write of the same transaction.
//! 3. The first failed write is the last: all who wait are told, the owner file is given up, and
//!    nothing is accepted any more. It is never tried again as if all were well: after a failed
//!    `fsync` the system has forgotten what it did not write.
//! 4. Processes take turns by two lock files. Who wants to write waits for its turn holding the
//!    first, and then for the second; so nobody comes twice while another waits (STORE-004).
//!
//! # Locks
//! The queue's lock is held for moments only, never while writing, and no other is taken under it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use holdpoint_core::session::Owner;
use holdpoint_core::store::{AppendError, Commit, Completer};
use rusqlite::Connection;

use crate::commit::{Group, Memory, Owners, Stop};
use crate::job::Job;
use crate::retention::Pruning;
use crate::sqlite;

/// Pages in the log after which it is written back: 4 MiB.
const PAGES: u32 = 1000;

/// How long nothing may come before the writer merges blocks.
const IDLE: Duration = Duration::from_millis(20);

/// Blocks merged in one transaction: a few milliseconds.
const BLOCKS: usize = 256;

/// Streams that may wait to be merged before that is done in a busy time too.
const UNMERGED: usize = 10_000;

/// The longest that a commit is put off for those who are about to join it.
const GATHERING: Duration = Duration::from_micros(200);

/// What the writer works with.
pub(crate) struct Tools {
    pub(crate) database: Connection,
    pub(crate) pages_in_log: Arc<AtomicU32>,
    pub(crate) turn: File,
    pub(crate) lock: File,
    pub(crate) owners: Box<dyn Owners + Send>,
    /// Told after each commit.
    pub(crate) on_commit: Box<dyn FnMut() + Send>,
    /// Told once, when nothing can be written any more.
    pub(crate) on_end: Box<dyn FnOnce() + Send>,
    /// Streams that are not to be pruned.
    pub(crate) kept: Arc<crate::keep::Kept>,
    pub(crate) note_buffer: usize,
}

/// The way to the writer.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    note_buffer: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    has_work: Condvar,
}

struct Queue {
    jobs: Vec<Job>,
    /// Whether there is more than notes.
    is_urgent: bool,
    note_bytes: usize,
    /// How many jobs the writer would like to have before it begins.
    wanted: usize,
    fate: Fate,
    /// Who waits for the end.
    closers: Vec<Completer<Result<(), AppendError>>>,
}

/// What becomes of the next job.
#[derive(Clone)]
enum Fate {
    Accepted,
    Closed,
    /// Closed, and all that was accepted is done.
    Ended,
    Poisoned(Arc<str>),
}

impl Fate {
    fn error(&self) -> AppendError {
        match self {
            Self::Poisoned(message) => AppendError::Poisoned { message: Arc::clone(message) },
            _ => AppendError::Closed,
        }
    }
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(tools: Tools) -> io::Result<Self> {
        let queue = Queue {
            jobs: Vec::new(),
            is_urgent: false,
            note_bytes: 0,
            wanted: 0,
            fate: Fate::Accepted,
            closers: Vec::new(),
        };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), has_work: Condvar::new() });
        let note_buffer = tools.note_buffer;
        let thread = thread::Builder::new().name("holdpoint-store".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || Work::new(shared, tools).run()
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), note_buffer })
    }

    /// Queues a job that somebody waits for.
    pub(crate) fn submit(&self, job: Job) -> Result<(), AppendError> {
        let mut queue = self.shared.lock();
        if !matches!(queue.fate, Fate::Accepted) {
            return Err(queue.fate.error());
        }
        queue.jobs.push(job);
        let was_urgent = std::mem::replace(&mut queue.is_urgent, true);
        let is_complete = queue.jobs.len() == queue.wanted;
        drop(queue);
        if !was_urgent || is_complete {
            self.shared.has_work.notify_one();
        }
        Ok(())
    }

    /// Queues a note, to be written with the next job, or when there are too many.
    pub(crate) fn note(&self, entry: crate::job::Entry) -> Result<(), AppendError> {
        let mut queue = self.shared.lock();
        if !matches!(queue.fate, Fate::Accepted) {
            return Err(queue.fate.error());
        }
        queue.note_bytes += entry.size();
        queue.jobs.push(Job::Note(Box::new(entry)));
        if queue.note_bytes > self.note_buffer && !queue.is_urgent {
            queue.is_urgent = true;
            drop(queue);
            self.shared.has_work.notify_one();
        }
        Ok(())
    }

    /// Takes no more jobs; those that wait are done. `done` is told when they are, and this process
    /// is no instance any more.
    pub(crate) fn close(&self, done: Completer<Result<(), AppendError>>) {
        let mut queue = self.shared.lock();
        match queue.fate.clone() {
            Fate::Accepted | Fate::Closed => {
                queue.fate = Fate::Closed;
                queue.closers.push(done);
                drop(queue);
                self.shared.has_work.notify_one();
            }
            Fate::Ended => done.complete(Ok(())),
            poisoned => done.complete(Err(poisoned.error())),
        }
    }

    /// Waits for the thread to end.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A writer that panicked has told everybody by dropping what they wait for.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'q>(&self, queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        self.has_work.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for a while; whether it is over.
    fn wait_for<'q>(
        &self,
        queue: MutexGuard<'q, Queue>,
        patience: Duration,
    ) -> (MutexGuard<'q, Queue>, bool) {
        let (queue, result) =
            self.has_work.wait_timeout(queue, patience).unwrap_or_else(PoisonError::into_inner);
        (queue, result.timed_out())
    }
}

/// The thread's own things.
struct Work {
    shared: Arc<Shared>,
    tools: Option<Tools>,
    memory: Memory,
    pruning: VecDeque<Pruning>,
    /// Streams that wait to be merged, as far as this process knows.
    unmerged: usize,
    /// Jobs of the last commit, and how long it took.
    last: (usize, Duration),
}

/// What the writer has to do next.
enum Next {
    Jobs,
    Merge,
    /// The jobs are the last.
    End,
}

/// Who waits for what.
enum Waiting {
    Append(Completer<Result<Commit, AppendError>>, Option<AppendError>),
    Claim(Completer<Result<Owner, AppendError>>, Result<Owner, AppendError>),
}

impl Waiting {
    /// Who waits for a job that could not be tried; nobody for a note.
    fn of(job: Job) -> Option<Self> {
        Some(match job {
            Job::Append(_, done) => Self::Append(done, None),
            Job::ClaimSchedules(done) => Self::Claim(done, Err(AppendError::Closed)),
            Job::Prune(_, done) => {
                done.complete(Err(AppendError::Closed));
                return None;
            }
            Job::Note(_) => return None,
        })
    }

    fn tell(self, outcome: &Result<u64, AppendError>) {
        match (self, outcome) {
            (Self::Append(done, None), Ok(pos)) => done.complete(Ok(Commit::at(*pos))),
            (Self::Append(done, Some(refusal)), Ok(_)) => done.complete(Err(refusal)),
            (Self::Claim(done, result), Ok(_)) => done.complete(result),
            (Self::Append(done, _), Err(error)) => done.complete(Err(error.clone())),
            (Self::Claim(done, _), Err(error)) => done.complete(Err(error.clone())),
        }
    }
}

impl Work {
    fn new(shared: Arc<Shared>, tools: Tools) -> Self {
        Self {
            shared,
            tools: Some(tools),
            memory: Memory::default(),
            pruning: VecDeque::new(),
            // There may be some from earlier.
            unmerged: 1,
            last: (0, Duration::ZERO),
        }
    }

    fn run(mut self) {
        let mut jobs = Vec::new();
        loop {
            let next = self.take_jobs(&mut jobs);
            let result = match next {
                Next::Merge => self.merge(),
                Next::Jobs | Next::End => self
                    .commit(&mut jobs)
                    .and_then(|()| self.prune_a_little())
                    .and_then(|()| if self.unmerged > UNMERGED { self.merge() } else { Ok(()) }),
            };
            if let Err(error) = result {
                self.poison(&error);
                return;
            }
            if matches!(next, Next::End) && self.pruning.is_empty() {
                self.end();
                let closers = {
                    let mut queue = self.shared.lock();
                    queue.fate = Fate::Ended;
                    std::mem::take(&mut queue.closers)
                };
                closers.into_iter().for_each(|done| done.complete(Ok(())));
                return;
            }
        }
    }

    /// Waits for something to do, and takes all jobs there are.
    fn take_jobs(&mut self, jobs: &mut Vec<Job>) -> Next {
        let mut queue = self.shared.lock();
        while !queue.is_urgent && matches!(queue.fate, Fate::Accepted) && self.pruning.is_empty() {
            if self.unmerged == 0 {
                queue = self.shared.wait(queue);
            } else {
                let (waited, is_over) = self.shared.wait_for(queue, IDLE);
                queue = waited;
                if is_over && !queue.is_urgent {
                    return Next::Merge;
                }
            }
        }
        queue = self.gather(queue);
        // What a busy database left over, a few notes, comes before what is new.
        jobs.append(&mut queue.jobs);
        (queue.is_urgent, queue.note_bytes) = (false, 0);
        let is_closed = !matches!(queue.fate, Fate::Accepted);
        drop(queue);
        for job in jobs.extract_if(.., |job| matches!(job, Job::Prune(..))) {
            if let Job::Prune(retention, done) = job {
                self.pruning.push_back(Pruning::new(retention, done));
            }
        }
        if is_closed { Next::End } else { Next::Jobs }
    }

    /// Those who were told of the last commit are about to bring their next write, one after the
    /// other. Beginning with the first would leave the others to the commit after, and each commit
    /// would carry half of what it could. So they get a moment, much shorter than a commit; a
    /// writer that is alone never waits.
    fn gather<'q>(&'q self, mut queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        let (wanted, took) = self.last;
        let patience = (took / 2).min(GATHERING);
        let began = Instant::now();
        queue.wanted = wanted;
        while queue.jobs.len() < wanted && matches!(queue.fate, Fate::Accepted) {
            let Some(rest) = patience.checked_sub(began.elapsed()).filter(|rest| !rest.is_zero())
            else {
                break;
            };
            queue = self.shared.wait_for(queue, rest).0;
        }
        queue.wanted = 0;
        queue
    }

    /// One transaction for all jobs. An error is final.
    fn commit(&mut self, jobs: &mut Vec<Job>) -> Result<(), AppendError> {
        let Some(tools) = &mut self.tools else { return Ok(()) };
        if jobs.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let mut waiting = Vec::with_capacity(jobs.len());
        let outcome = transaction(tools, &mut self.memory, jobs, &mut waiting);
        if let Err(error) = &outcome {
            self.memory.forget();
            if error.is_final() {
                // Whoever is told may look at once whether the owner is gone.
                self.poison_queue(error);
                self.end();
            }
        }
        let has_committed = outcome.as_ref().is_ok_and(|committed| committed.is_written);
        let outcome = outcome.map(|Committed { pos, merges, .. }| {
            self.unmerged += merges;
            pos
        });
        // Who waits already, and who is told now and may come again.
        let others = self.shared.lock().jobs.len();
        self.last = (others + waiting.len(), began.elapsed());
        for waiting in waiting {
            waiting.tell(&outcome);
        }
        match (outcome, &mut self.tools) {
            (Err(error), _) if error.is_final() => return Err(error),
            (_, Some(tools)) if has_committed => {
                (tools.on_commit)();
                if tools.pages_in_log.load(Ordering::Relaxed) >= PAGES {
                    // Already safe is what was acknowledged; only nothing more can be written.
                    sqlite::checkpoint(&tools.database)
                        .map_err(|error| sqlite::append_error(&error))
                        .or_else(|error| if error.is_final() { Err(error) } else { Ok(()) })?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Merges a few blocks, in a transaction of its own.
    fn merge(&mut self) -> Result<(), AppendError> {
        let Some(tools) = &mut self.tools else { return Ok(()) };
        let merged = take_turn(tools).and_then(|_turn| {
            merge_in_turn(tools, &mut self.memory).map_err(|error| sqlite::append_error(&error))
        });
        match merged {
            Ok(is_all) => self.unmerged = if is_all { 0 } else { self.unmerged.max(1) },
            Err(error) => {
                self.memory.forget();
                if error.is_final() {
                    return Err(error);
                }
                // Somebody else is at it, or will be.
                self.unmerged = 0;
            }
        }
        Ok(())
    }

    fn prune_a_little(&mut self) -> Result<(), AppendError> {
        let (Some(tools), Some(pruning)) = (&mut self.tools, self.pruning.front_mut()) else {
            return Ok(());
        };
        let slice = take_turn(tools).and_then(|_turn| {
            pruning
                .slice(&tools.database, &tools.kept)
                .map_err(|error| sqlite::append_error(&error))
        });
        self.memory.forget();
        let is_done = match slice {
            Ok(is_done) => is_done,
            Err(error) if error.is_final() => return Err(error),
            Err(error) => {
                if let Some(pruning) = self.pruning.pop_front() {
                    pruning.fail(error);
                }
                return Ok(());
            }
        };
        if is_done && let Some(pruning) = self.pruning.pop_front() {
            pruning.finish();
        }
        Ok(())
    }

    /// Ends all: those who wait are told, and those who come will be.
    fn poison(&mut self, error: &AppendError) {
        let fate = self.poison_queue(error);
        self.end();
        let (jobs, closers) = {
            let mut queue = self.shared.lock();
            (std::mem::take(&mut queue.jobs), std::mem::take(&mut queue.closers))
        };
        for done in closers {
            done.complete(Err(fate.error()));
        }
        for (index, pruning) in self.pruning.drain(..).enumerate() {
            // The first may be what failed.
            pruning.fail(if index == 0 { error.clone() } else { fate.error() });
        }
        for waiting in jobs.into_iter().filter_map(Waiting::of) {
            waiting.tell(&Err(fate.error()));
        }
    }

    fn poison_queue(&self, error: &AppendError) -> Fate {
        let mut queue = self.shared.lock();
        if !matches!(queue.fate, Fate::Poisoned(_)) {
            let message: Arc<str> = error.to_string().into();
            tracing::error!(%message, "no more writes");
            queue.fate = Fate::Poisoned(message);
        }
        queue.fate.clone()
    }

    /// Lets go of the database and of the owner file.
    fn end(&mut self) {
        if let Some(Tools { database, on_end, .. }) = self.tools.take() {
            drop(database);
            on_end();
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if thread::panicking() {
            let message: Arc<str> = "BUG: the thread that writes has panicked".into();
            self.shared.lock().fate = Fate::Poisoned(message);
        }
        self.end();
        // What they wait for goes with the jobs, and tells them so.
        let mut queue = self.shared.lock();
        let waiting = (std::mem::take(&mut queue.jobs), std::mem::take(&mut queue.closers));
        drop(queue);
        drop(waiting);
    }
}

/// What a transaction has brought about.
struct Committed {
    /// Whether there was anything to write.
    is_written: bool,
    /// The position of the last event of the store.
    pos: u64,
    /// How many more streams are worth merging.
    merges: usize,
}

fn merge_in_turn(tools: &Tools, memory: &mut Memory) -> rusqlite::Result<bool> {
    sqlite::frame(&tools.database, "BEGIN IMMEDIATE")?;
    let merged = Group::begin(&tools.database, memory, &*tools.owners).and_then(|mut group| {
        let is_all = group.merge(BLOCKS)?;
        group.write()?;
        sqlite::frame(&tools.database, "COMMIT")?;
        Ok(is_all)
    });
    if merged.is_err() {
        let _ = sqlite::frame(&tools.database, "ROLLBACK");
    }
    merged
}

/// Runs all jobs in one transaction, and moves who waits for them to `waiting`.
fn transaction(
    tools: &mut Tools,
    memory: &mut Memory,
    jobs: &mut Vec<Job>,
    waiting: &mut Vec<Waiting>,
) -> Result<Committed, AppendError> {
    let begun = take_turn(tools).and_then(|turn| {
        sqlite::frame(&tools.database, "BEGIN IMMEDIATE")
            .map(|()| turn)
            .map_err(|error| sqlite::append_error(&error))
    });
    let _turn = match begun {
        Ok(turn) => turn,
        Err(error) => {
            // Notes may have better luck with the next record.
            let others = jobs.extract_if(.., |job| !matches!(job, Job::Note(_)));
            waiting.extend(others.filter_map(Waiting::of));
            return Err(error);
        }
    };
    let result = fill(tools, memory, jobs, waiting);
    if !result.as_ref().is_ok_and(|committed| committed.is_written) {
        // Where SQLite has rolled back by itself this fails, and there is nothing to do.
        let _ = sqlite::frame(&tools.database, "ROLLBACK");
    }
    result.map_err(|error| sqlite::append_error(&error))
}

fn fill(
    tools: &Tools,
    memory: &mut Memory,
    jobs: &mut Vec<Job>,
    waiting: &mut Vec<Waiting>,
) -> rusqlite::Result<Committed> {
    let mut failure = None;
    let mut group = Group::begin(&tools.database, memory, &*tools.owners)
        .map_err(|error| failure = Some(error))
        .ok();
    for job in jobs.drain(..) {
        let Some(group) = group.as_mut().filter(|_| failure.is_none()) else {
            waiting.extend(Waiting::of(job));
            continue;
        };
        match job {
            Job::Append(entries, done) => {
                let refusal = keep(group.append(entries), &mut failure).err().flatten();
                waiting.push(Waiting::Append(done, refusal));
            }
            // Of a stream that was lost: nobody is interested.
            Job::Note(entry) => drop(keep(group.append(vec![*entry]), &mut failure)),
            Job::ClaimSchedules(done) => {
                let claimed = keep(group.claim_schedules(), &mut failure);
                let claimed = claimed.map_err(|refusal| refusal.unwrap_or(AppendError::Closed));
                waiting.push(Waiting::Claim(done, claimed));
            }
            Job::Prune(_, done) => done.complete(Err(AppendError::Busy)),
        }
    }
    match (failure, group) {
        (Some(error), _) => Err(error),
        (None, Some(group)) => {
            let is_written = !group.is_empty();
            let (pos, merges) = group.write()?;
            if is_written {
                sqlite::frame(&tools.database, "COMMIT")?;
            }
            Ok(Committed { is_written, pos, merges })
        }
        (None, None) => unreachable!("BUG: no group and no failure"),
    }
}

/// Keeps a failure for later; a refusal concerns its own job alone.
fn keep<T>(
    result: Result<T, Stop>,
    failure: &mut Option<rusqlite::Error>,
) -> Result<T, Option<AppendError>> {
    result.map_err(|stop| match stop {
        Stop::Refused(error) => Some(error),
        Stop::Failed(error) => {
            *failure = Some(error);
            None
        }
    })
}

/// The right to write, against all processes, until it is dropped.
struct Turn(File);

impl Drop for Turn {
    fn drop(&mut self) {
        // It cannot fail on a lock that is held; and the lock ends with the process at the latest.
        let _ = self.0.unlock();
    }
}

fn take_turn(tools: &Tools) -> Result<Turn, AppendError> {
    let turn = lock(&tools.turn)
        .and_then(|()| lock(&tools.lock))
        .and_then(|()| tools.turn.unlock())
        .and_then(|()| tools.lock.try_clone());
    turn.map(Turn).map_err(|source| AppendError::Io {
        message: format!("the lock files of the store do not work: {source}").into(),
        source: Arc::new(source),
    })
}

/// Waits for a lock file, however many signals come.
fn lock(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
