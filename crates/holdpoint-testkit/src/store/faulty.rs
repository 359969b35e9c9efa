//! The open store of a virtual process.

use std::fmt;
use std::sync::Arc;

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::Owner;
use holdpoint_core::store::{
    AppendError, Appended, Changes, Fence, Filter, JournalEntry, Keep, ReadError, RequestError,
    Responder, Store, StoredEvent, StoredSnapshot, StreamInfo, Ticket, Write, ticket,
};

use super::disk::{Asked, Fate, Instance, Job, Later, State, VirtualDisk};
use super::faults::{Failure, Faults};
use super::write::OwnedWrite;

/// A virtual process's open store on a [`VirtualDisk`].
///
/// What a store is closed by, the last handle dropped included, carries out what is delayed.
/// Only [`crash`](Self::crash) forgets.
pub struct FaultyStore {
    disk: VirtualDisk,
    instance: u64,
}

/// What only tests do.
impl FaultyStore {
    pub(super) fn new(disk: VirtualDisk, instance: u64) -> Self {
        Self { disk, instance }
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &VirtualDisk {
        &self.disk
    }

    /// Another script from now on. Its appends are counted from 1 again; what is delayed stays so.
    pub fn set_faults(&self, faults: Faults) {
        self.change(|instance| instance.faults = faults);
    }

    /// How many appends wait: those that are delayed, and those behind them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let is_append = |job: &&Job| matches!(job, Job::Append { .. });
        self.change(|instance| instance.queue.iter().filter(is_append).count()).unwrap_or(0)
    }

    /// Carries out the first append that waits, and those behind it that are not delayed
    /// themselves, with the notes before them. Gives how many appends that were.
    pub fn release_one(&self) -> usize {
        self.release(1)
    }

    /// The same for the first so many that wait.
    pub fn release(&self, count: usize) -> usize {
        self.disk.with(|state, later| {
            if let Some(instance) = state.instances.get_mut(&self.instance) {
                let waiting = instance.queue.iter_mut().filter_map(|job| match job {
                    Job::Append { is_delayed, .. } => Some(is_delayed),
                    _ => None,
                });
                waiting.take(count).for_each(|is_delayed| *is_delayed = false);
            }
            state.carry_out(self.instance, later)
        })
    }

    /// The same for all that wait.
    pub fn release_all(&self) -> usize {
        self.release(usize::MAX)
    }

    /// The process is killed. What waits is forgotten, notes included; who waits for it or for an
    /// answer is told that the store is closed. Whoever had asked this instance hears that nobody
    /// owns the stream. The second call does nothing.
    pub fn crash(&self) {
        self.disk.with(|state, later| {
            if self.is_open(state) {
                state.end(self.instance, later);
            }
        });
    }

    /// The process is started again: a new instance on the same disk, without faults. This one
    /// crashes first, unless it is over already.
    #[must_use]
    pub fn reopen(&self) -> Arc<Self> {
        self.crash();
        self.disk.open()
    }

    /// The process is stopped as far as others notice: requests to it wait, and it stays owner.
    pub fn stop(&self) {
        self.change(|instance| instance.is_stopped = true);
    }

    /// The process goes on, and is given the requests that waited.
    pub fn go_on(&self) {
        self.change(|instance| instance.is_stopped = false);
        while self.deliver_one() {}
    }

    /// Gives a stopped process the first request that waits. Whether there was one.
    pub fn deliver_one(&self) -> bool {
        self.disk.with(|state, later| {
            let is_mine =
                |asked: &Asked| asked.owner.instance == self.instance && asked.request.is_some();
            let first = state.asked.iter().find(|(_, asked)| is_mine(asked));
            match first.map(|(id, _)| *id) {
                Some(id) => {
                    self.deliver(state, id, later);
                    true
                }
                None => false,
            }
        })
    }

    /// Two seconds have passed: what this process has asked and has no answer to ends as
    /// [`RequestError::Silent`]. Those it had asked may do it all the same. Gives how many there
    /// were.
    pub fn lose_patience(&self) -> usize {
        self.disk.with(|state, later| {
            let given_up = state.take_asked(|asked| asked.asker == self.instance);
            let count = given_up.len();
            for Asked { owner, stream, request, done, .. } in given_up {
                // A request that still waits is in the owner's socket, and reaches it yet.
                if let Some(request) = request {
                    self.leave(state, owner, stream.clone(), request);
                }
                let silent = RequestError::Silent { stream, owner, pid: None };
                later.push(move || done.complete(Err(silent)));
            }
            count
        })
    }

    /// A request whose asker is not there any more.
    fn leave(&self, state: &mut State, owner: Owner, stream: Stream, request: Vec<u8>) {
        let (done, _) = ticket();
        state.asks += 1;
        let asked = Asked { asker: 0, owner, stream, request: Some(request), done };
        state.asked.insert(state.asks, asked);
    }

    /// Gives a request to the owner's responder, once the lock is given back.
    fn deliver(&self, state: &mut State, id: u64, later: &mut Later) {
        let Some(asked) = state.asked.get_mut(&id) else { return };
        let instance = state.instances.get(&asked.owner.instance);
        let responder = instance.and_then(|instance| instance.responder.clone());
        if let (Some(responder), Some(request)) = (responder, asked.request.take()) {
            let (stream, reply) = (asked.stream.clone(), self.disk.reply(id));
            later.push(move || responder.request(&stream, &request, reply));
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Instance) -> T) -> Option<T> {
        self.disk.with(|state, _| state.instances.get_mut(&self.instance).map(change))
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        self.disk.with(|state, _| read(state))
    }

    /// Whether it has not ended, though it may be about to, or be poisoned.
    fn is_open(&self, state: &State) -> bool {
        state.content.is_alive(self.instance)
            || self.fate(state).is_some_and(|fate| matches!(fate, Fate::Poisoned(_)))
    }

    fn fate<'a>(&self, state: &'a State) -> Option<&'a Fate> {
        state.instances.get(&self.instance).map(|instance| &instance.fate)
    }

    /// Puts a job to the others and carries out what may be carried out.
    fn submit(
        &self,
        job: impl FnOnce(&mut Instance) -> Job,
        state: &mut State,
        later: &mut Later,
    ) -> Result<(), AppendError> {
        let Some(instance) = state.instances.get_mut(&self.instance) else {
            return Err(AppendError::Closed);
        };
        instance.fate.check()?;
        let job = job(instance);
        if let Job::Append { failure: Some(Failure::Poisoned), .. } = job {
            state.poison(self.instance, "an earlier write failed unseen", later);
            return self.fate(state).map_or(Err(AppendError::Closed), Fate::check);
        }
        instance.queue.push_back(job);
        state.carry_out(self.instance, later);
        Ok(())
    }
}

impl Store for FaultyStore {
    /// It does, on the virtual disk.
    fn is_durable(&self) -> bool {
        true
    }

    fn instance(&self) -> u64 {
        self.instance
    }

    fn append(&self, writes: &[Write<'_>]) -> Result<Appended, AppendError> {
        let writes = writes.iter().map(OwnedWrite::of).collect::<Result<_, _>>()?;
        let (done, ticket) = ticket();
        let job = |instance: &mut Instance| {
            let (is_delayed, failure) = instance.faults.next();
            Job::Append { writes, is_delayed, failure, done }
        };
        self.disk.with(|state, later| self.submit(job, state, later))?;
        Ok(match ticket.try_take() {
            Ok(Ok(commit)) => Appended::Acked(commit),
            Ok(refused) => Appended::Pending(completed(refused)),
            Err(ticket) => Appended::Pending(ticket),
        })
    }

    fn note(&self, stream: &Stream, epoch: u64, events: &[Event]) -> Result<(), AppendError> {
        let note = OwnedWrite::of(&Write::new(stream, Fence::Owned { epoch }).events(events));
        self.disk.with(|state, later| match note {
            Ok(note) => self.submit(|_| Job::Note(note), state, later),
            // No note is worth an error of its own.
            Err(_) => self.fate(state).map_or(Err(AppendError::Closed), Fate::check),
        })
    }

    fn claim_schedules(&self) -> Result<Ticket<Result<Owner, AppendError>>, AppendError> {
        let (done, ticket) = ticket();
        self.disk.with(|state, later| self.submit(|_| Job::ClaimSchedules(done), state, later))?;
        Ok(ticket)
    }

    fn events(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        self.read(|state| state.content.events(stream, after, limit))
    }

    fn all_events(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
        Ok(self.read(|state| state.content.all_events(after, limit)))
    }

    fn journal(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, ReadError> {
        self.read(|state| state.content.journal(stream, after, limit))
    }

    fn snapshot(&self, stream: &Stream) -> Result<Option<StoredSnapshot>, ReadError> {
        self.read(|state| state.content.snapshot(stream))
    }

    fn info(&self, stream: &Stream) -> Result<StreamInfo, ReadError> {
        self.read(|state| state.content.info(stream))
    }

    fn by_key(&self, key: &str) -> Result<Option<StreamInfo>, ReadError> {
        Ok(self.read(|state| state.content.by_key(key)))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<StreamInfo>, ReadError> {
        Ok(self.read(|state| state.content.list(filter)))
    }

    fn is_alive(&self, owner: Owner) -> bool {
        self.read(|state| state.content.is_alive(owner.instance))
    }

    fn keep(&self, _: &Stream) -> Keep {
        Keep::nothing()
    }

    /// As the port says; told within the call that commits.
    fn changes(&self) -> Changes {
        let changes = self.change(|instance| instance.changes.subscribe());
        changes.unwrap_or_else(|| panic!("BUG: a store that is used has its instance"))
    }

    fn respond(&self, responder: Arc<dyn Responder>) -> Result<(), RequestError> {
        self.disk.with(|state, later| match state.instances.get_mut(&self.instance) {
            Some(instance) if matches!(instance.fate, Fate::Accepted) => {
                let earlier = instance.responder.replace(responder);
                later.push(move || drop(earlier));
                Ok(())
            }
            _ => Err(RequestError::Closed),
        })
    }

    fn request(
        &self,
        stream: &Stream,
        request: &[u8],
    ) -> Result<Ticket<Result<Vec<u8>, RequestError>>, RequestError> {
        self.disk.with(|state, later| {
            if !self.is_open(state) {
                return Err(RequestError::Closed);
            }
            let stream = stream.clone();
            let owner = match state.content.owner(&stream) {
                Ok(owner) => owner.filter(|owner| state.content.is_alive(owner.instance)),
                Err(_) => return Err(RequestError::NotFound { stream }),
            };
            let Some(owner) = owner else { return Err(RequestError::Unowned { stream }) };
            if owner.instance == self.instance {
                return Err(RequestError::Own { stream });
            }
            let limit = Write::MAX_PAYLOAD;
            if request.len() > limit {
                return Err(RequestError::TooLarge { size: request.len(), limit });
            }
            let instance = state.instances.get(&owner.instance);
            let is_stopped = instance.is_some_and(|instance| instance.is_stopped);
            if instance.is_none_or(|instance| instance.responder.is_none()) {
                return Err(RequestError::Deaf { stream, owner, pid: None });
            }
            let (done, ticket) = ticket();
            state.asks += 1;
            let (asker, request) = (self.instance, Some(request.to_vec()));
            state.asked.insert(state.asks, Asked { asker, owner, stream, request, done });
            if !is_stopped {
                self.deliver(state, state.asks, later);
            }
            Ok(ticket)
        })
    }

    /// As the port says. What is delayed goes first: until it is released, the ticket waits and
    /// the instance lives.
    fn close(&self) -> Ticket<Result<(), AppendError>> {
        let (done, ticket) = ticket();
        self.disk.with(|state, later| match self.fate(state) {
            Some(Fate::Accepted) => {
                let Some(instance) = state.instances.get_mut(&self.instance) else { return };
                instance.fate = Fate::Closed;
                instance.queue.push_back(Job::Close(done));
                state.carry_out(self.instance, later);
            }
            Some(poisoned @ Fate::Poisoned(_)) => {
                let error = poisoned.check();
                later.push(move || done.complete(error));
            }
            _ => later.push(move || done.complete(Ok(()))),
        });
        ticket
    }
}

impl Drop for FaultyStore {
    fn drop(&mut self) {
        // Nobody can release what is delayed any more.
        self.release_all();
        drop(self.close());
        self.disk.with(|state, later| {
            let instance = state.instances.remove(&self.instance);
            later.push(move || drop(instance));
        });
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("instance", &self.instance).finish_non_exhaustive()
    }
}

fn completed<T>(result: Result<T, AppendError>) -> Ticket<Result<T, AppendError>> {
    let (done, ticket) = ticket();
    done.complete(result);
    ticket
}
