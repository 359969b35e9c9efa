//! The disk that outlasts processes: its content, the processes that have it open, and what they
//! ask each other. All of it lies under one lock.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use holdpoint_core::event::Stream;
use holdpoint_core::session::Owner;
use holdpoint_core::store::{
    AppendError, ChangesSender, Commit, Completer, Reply, RequestError, Responder,
};

use super::content::Content;
use super::faults::{Failure, Faults};
use super::faulty::FaultyStore;
use super::write::OwnedWrite;

/// Content that outlasts those who opened it. A clone is the same disk.
///
/// Each handle that [`open`](Self::open) gives is a process of its own: an instance that lives
/// until it is closed, dropped, poisoned or crashes. What one of them commits all others see at
/// once.
#[derive(Clone, Default)]
pub struct VirtualDisk(Arc<Mutex<State>>);

impl VirtualDisk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new instance, of which nothing goes wrong by itself.
    #[must_use]
    pub fn open(&self) -> Arc<FaultyStore> {
        self.open_with(Faults::none())
    }

    /// A new instance with a script of what goes wrong.
    #[must_use]
    pub fn open_with(&self, faults: Faults) -> Arc<FaultyStore> {
        let instance = self.with(|state, _| {
            let instance = state.content.begin();
            state.instances.insert(instance, Instance::new(faults));
            instance
        });
        Arc::new(FaultyStore::new(self.clone(), instance))
    }

    /// Does something under the lock, and what comes of it for others after the lock was given
    /// back: whoever is told may come right back.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, &mut Later) -> T) -> T {
        let mut later = Later(Vec::new());
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut state, &mut later);
        drop(state);
        later.0.into_iter().for_each(|act| act());
        result
    }

    /// The way back to the asker of request `id`.
    pub(super) fn reply(&self, id: u64) -> Reply {
        let disk = self.clone();
        Reply::new(move |answer| {
            // Not there any more where its asker gave up or one of both has died.
            let asked = disk.with(|state, _| state.asked.remove(&id));
            if let Some(Asked { stream, done, .. }) = asked {
                done.complete(answer.ok_or(RequestError::Unowned { stream }));
            }
        })
    }
}

/// What is to be done when the lock has been given back.
pub(super) struct Later(Vec<Box<dyn FnOnce() + Send>>);

impl Later {
    pub(super) fn push(&mut self, act: impl FnOnce() + Send + 'static) {
        self.0.push(Box::new(act));
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) content: Content,
    pub(super) instances: BTreeMap<u64, Instance>,
    /// Requests without an answer yet.
    pub(super) asked: BTreeMap<u64, Asked>,
    pub(super) asks: u64,
}

/// A process that has the disk open, or had.
pub(super) struct Instance {
    pub(super) fate: Fate,
    pub(super) faults: Faults,
    /// What is not carried out yet, in the order it came.
    pub(super) queue: VecDeque<Job>,
    pub(super) changes: ChangesSender,
    pub(super) responder: Option<Arc<dyn Responder>>,
    /// Requests to it wait.
    pub(super) is_stopped: bool,
}

/// What becomes of the next write of an instance.
#[derive(Clone)]
pub(super) enum Fate {
    Accepted,
    /// It is closed, or about to be.
    Closed,
    Poisoned(Arc<str>),
}

pub(super) enum Job {
    Append {
        writes: Vec<OwnedWrite>,
        is_delayed: bool,
        failure: Option<Failure>,
        done: Completer<Result<Commit, AppendError>>,
    },
    Note(OwnedWrite),
    ClaimSchedules(Completer<Result<Owner, AppendError>>),
    Close(Completer<Result<(), AppendError>>),
}

pub(super) struct Asked {
    pub(super) asker: u64,
    pub(super) owner: Owner,
    pub(super) stream: Stream,
    /// Taken when it is delivered.
    pub(super) request: Option<Vec<u8>>,
    pub(super) done: Completer<Result<Vec<u8>, RequestError>>,
}

impl Instance {
    fn new(faults: Faults) -> Self {
        Self {
            fate: Fate::Accepted,
            faults,
            queue: VecDeque::new(),
            changes: ChangesSender::new(),
            responder: None,
            is_stopped: false,
        }
    }

    /// Takes out of the queue what can be carried out now: everything up to the last record that
    /// no delayed one comes before. Notes after it wait for the next record.
    fn take_ready(&mut self) -> Vec<Job> {
        let is_delayed = |job: &Job| matches!(job, Job::Append { is_delayed: true, .. });
        let free = self.queue.iter().take_while(|job| !is_delayed(job)).count();
        let is_record = |index: &usize| !matches!(self.queue.get(*index), Some(Job::Note(_)));
        let count = (0..free).rfind(is_record).map_or(0, |last| last + 1);
        self.queue.drain(..count).collect()
    }
}

impl Fate {
    pub(super) fn check(&self) -> Result<(), AppendError> {
        match self {
            Self::Accepted => Ok(()),
            Self::Closed => Err(AppendError::Closed),
            Self::Poisoned(message) => Err(AppendError::Poisoned { message: Arc::clone(message) }),
        }
    }
}

impl State {
    /// Carries out what the instance `me` has waiting and may be carried out. Gives how many
    /// appends there were.
    pub(super) fn carry_out(&mut self, me: u64, later: &mut Later) -> usize {
        let Some(instance) = self.instances.get_mut(&me) else { return 0 };
        let mut jobs: VecDeque<_> = instance.take_ready().into();
        let mut notes = Vec::new();
        let (mut count, mut has_committed) = (0, false);
        while let Some(job) = jobs.pop_front() {
            match job {
                Job::Note(note) => notes.push(note),
                Job::ClaimSchedules(done) => {
                    has_committed |= self.write_notes(me, &mut notes);
                    let result = self.content.claim_schedules(me);
                    has_committed |= result.is_ok();
                    later.push(move || done.complete(result));
                }
                Job::Close(done) => {
                    has_committed |= self.write_notes(me, &mut notes);
                    self.end(me, later);
                    later.push(move || done.complete(Ok(())));
                }
                Job::Append { done, failure: Some(Failure::Busy), .. } => {
                    count += 1;
                    later.push(move || done.complete(Err(AppendError::Busy)));
                }
                Job::Append { done, failure: Some(Failure::Io), .. } => {
                    count += 1;
                    let error = no_space();
                    let message = error.to_string();
                    later.push(move || done.complete(Err(error)));
                    // Those that were to come after it come to nothing as well.
                    if let Some(instance) = self.instances.get_mut(&me) {
                        jobs.extend(instance.queue.drain(..));
                        instance.queue = std::mem::take(&mut jobs);
                    }
                    notes.clear();
                    self.poison(me, &message, later);
                }
                Job::Append { writes, failure, done, .. } => {
                    count += 1;
                    if let Some(Failure::LostOwnership(stream)) = &failure {
                        self.content.dispossess(stream);
                    }
                    has_committed |= self.write_notes(me, &mut notes);
                    let result = self.content.commit(me, writes);
                    has_committed |= result.is_ok();
                    later.push(move || done.complete(result));
                }
            }
        }
        // Left over behind a busy disk.
        if let Some(instance) = self.instances.get_mut(&me) {
            notes.into_iter().rev().for_each(|note| instance.queue.push_front(Job::Note(note)));
        }
        if has_committed {
            self.tell(later);
        }
        count
    }

    /// Notes that are refused are lost: who owned their stream hears of it with the next record.
    /// Whether any was not.
    fn write_notes(&mut self, me: u64, notes: &mut Vec<OwnedWrite>) -> bool {
        let mut any = false;
        for note in notes.drain(..) {
            any |= self.content.commit(me, vec![note]).is_ok();
        }
        any
    }

    /// Everybody hears of commits.
    fn tell(&self, later: &mut Later) {
        for instance in self.instances.values() {
            let changes = instance.changes.clone();
            later.push(move || changes.send());
        }
    }

    /// The instance writes no more. What waits fails, and what it owned is without owner.
    pub(super) fn poison(&mut self, me: u64, message: &str, later: &mut Later) {
        let Some(instance) = self.instances.get_mut(&me) else { return };
        instance.fate = Fate::Poisoned(message.into());
        let error = AppendError::Poisoned { message: message.into() };
        for job in instance.queue.drain(..) {
            let error = error.clone();
            match job {
                Job::Append { done, .. } => later.push(move || done.complete(Err(error))),
                Job::ClaimSchedules(done) => later.push(move || done.complete(Err(error))),
                Job::Close(done) => later.push(move || done.complete(Err(error))),
                Job::Note(_) => {}
            }
        }
        self.die(me, later);
    }

    /// The instance is over. What still waits is dropped, which tells those who wait for it.
    pub(super) fn end(&mut self, me: u64, later: &mut Later) {
        let Some(instance) = self.instances.get_mut(&me) else { return };
        instance.fate = Fate::Closed;
        let (queue, changes) = (std::mem::take(&mut instance.queue), instance.changes.clone());
        later.push(move || drop(queue));
        later.push(move || changes.close());
        let unheard = self.take_asked(|asked| asked.asker == me);
        later.push(move || drop(unheard));
        self.die(me, later);
    }

    /// The instance counts as dead: nobody asks it any more.
    fn die(&mut self, me: u64, later: &mut Later) {
        self.content.end(me);
        if let Some(responder) =
            self.instances.get_mut(&me).and_then(|instance| instance.responder.take())
        {
            later.push(move || drop(responder));
        }
        for Asked { stream, done, .. } in self.take_asked(|asked| asked.owner.instance == me) {
            later.push(move || done.complete(Err(RequestError::Unowned { stream })));
        }
    }

    /// Requests that are over, in the order they were made.
    pub(super) fn take_asked(&mut self, is_over: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        let over = self.asked.iter().filter(|(_, asked)| is_over(asked)).map(|(id, _)| *id);
        let over: Vec<_> = over.collect();
        over.iter().filter_map(|id| self.asked.remove(id)).collect()
    }
}

fn no_space() -> AppendError {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    AppendError::Io { message: "the virtual disk is full".into(), source: Arc::new(source) }
}

impl fmt::Debug for VirtualDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualDisk")
    }
}
