//! The store in memory.
//!
//! # Invariants
//! 1. A write is checked and carried out under the locks of all that it touches, and an append is
//!    checked whole before any of it is carried out: what was refused changed nothing.
//! 2. Positions are given out under the lock of the stream that gets them. Whoever has the locks of
//!    all shards therefore sees every event up to the last position, and none is to come below it.
//! 3. A closed store stays as it is: closing takes every lock, and a write looks under its own.
//!
//! # Locks
//! The streams lie in [`SHARDS`] shards by a hash of their name, each with its lock, so that
//! streams hardly ever wait for each other. What concerns all streams, the order of creation and
//! the idempotency keys, is the [`Directory`], whose lock lists take, and all appends but those to
//! one stream that exists. The order: shards by their index, then the directory. News are sent when
//! all are given back.

mod check;
mod directory;
mod merge;
mod shard;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::Owner;
use holdpoint_core::store::{
    AppendError, Appended, Changes, ChangesSender, Commit, Fence, Filter, JournalEntry, Keep,
    ReadError, RequestError, Responder, Store, StoredEvent, StoredSnapshot, StreamInfo, StreamKind,
    Ticket, Write, ticket,
};

use check::Situation;
use directory::{Directory, Place};
use shard::{Entry, Shard};

/// How many shards there are: far more than threads that write at the same moment.
const SHARDS: usize = 16;

/// How many streams a list looks up at a time.
const CHUNK: usize = 256;

/// The epoch under which the schedules are owned: in memory nobody else can claim them.
const SCHEDULES_EPOCH: u64 = 1;

/// How many events of each stream a [`MemoryStore`] keeps for those who look later. Default: the
/// last 64.
///
/// It decides about events only: journals, snapshots and all that a list shows are always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum History {
    /// None. Whoever reads events from before the last one gets [`ReadError::Gap`].
    None,
    /// So many, the last ones. `Last(0)` is the same as [`None`](Self::None). Where an append
    /// brings more at once, its first ones are passed over.
    Last(usize),
    /// All, for as long as the store lives.
    All,
}

impl Default for History {
    fn default() -> Self {
        Self::Last(64)
    }
}

impl History {
    /// The most events that are kept of a stream.
    const fn limit(self) -> usize {
        match self {
            Self::None => 0,
            Self::Last(limit) => limit,
            Self::All => usize::MAX,
        }
    }
}

/// A store that lives and ends with its process: nothing outlasts it, and nobody else sees it.
///
/// Each is an instance of its own; two in one process do not know of each other. What is appended
/// is acknowledged within the call. Dropping the last handle closes it. Streams are kept until
/// then; of events, no text is made, and so their size is not limited.
///
/// # Cost
/// An append costs the same whatever the number of streams and events. To a stream that exists it
/// allocates nothing, once the stream has as many events as the [`History`] keeps; entries of a
/// journal are copied. Events of all streams are merged from those streams alone that have any
/// after the position asked for, while writers wait. A list looks at every stream of its kind after
/// [`Filter::after`] until it is full; the list of those left behind is empty at once, because no
/// owner dies before the store is closed.
///
/// ```
/// use holdpoint_core::event::{EventKind, Sequencer, Stream};
/// use holdpoint_core::session::StateName;
/// use holdpoint_core::store::{Fence, Filter, Snapshot, Store, Write};
/// use holdpoint_core::{SessionId, Timestamp};
/// use holdpoint_store::MemoryStore;
///
/// let store = MemoryStore::new();
/// let stream = Stream::Session(SessionId::generate());
/// let mut numbers = Sequencer::new(stream.clone());
///
/// // A new session, owned from the start.
/// let planned = numbers.event(Timestamp::default(), EventKind::SessionPlanned { attempt: 1 });
/// store.append(&[Write::new(&stream, Fence::NewOwned).events(&[planned]).label("deploy")])?;
///
/// // Its end. A state that is terminal gives the session free.
/// let done = numbers.event(Timestamp::default(), EventKind::SessionDone { usage: None });
/// store.append(&[Write::new(&stream, Fence::Owned { epoch: 1 })
///     .events(&[done])
///     .snapshot(Snapshot { state: StateName::Done, data: b"" })])?;
///
/// let list = store.list(&Filter::default().states(&[StateName::Done])).unwrap();
/// assert_eq!((list[0].number, &*list[0].label, list[0].owner), (Some(1), "deploy", None));
/// # Ok::<(), holdpoint_core::store::AppendError>(())
/// ```
pub struct MemoryStore {
    instance: u64,
    history: History,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    directory: Mutex<Directory>,
    /// The last position that was given out.
    last_pos: AtomicU64,
    has_schedules: AtomicBool,
    is_closed: AtomicBool,
    changes: ChangesSender,
}

impl MemoryStore {
    /// A store that keeps the last 64 events of each stream.
    #[must_use]
    pub fn new() -> Self {
        Self::with_history(History::default())
    }

    /// A store that keeps so many events.
    #[must_use]
    pub fn with_history(history: History) -> Self {
        static INSTANCES: AtomicU64 = AtomicU64::new(0);
        Self {
            instance: INSTANCES.fetch_add(1, Ordering::Relaxed) + 1,
            history,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(Shard::new(history.limit()))),
            directory: Mutex::default(),
            last_pos: AtomicU64::new(0),
            has_schedules: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            changes: ChangesSender::new(),
        }
    }

    /// How many events it keeps.
    #[must_use]
    pub fn history(&self) -> History {
        self.history
    }

    fn shard_of(&self, stream: &Stream) -> usize {
        // `SHARDS` is small, so no bits are lost.
        (self.hasher.hash_one(stream) % SHARDS as u64) as usize
    }

    fn shard(&self, stream: &Stream) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.shard_of(stream)])
    }

    fn read<T>(
        &self,
        stream: &Stream,
        read: impl FnOnce(&Entry) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let shard = self.shard(stream);
        match shard.find(stream) {
            Some(index) => read(shard.entry(index)),
            None => Err(ReadError::NotFound { stream: stream.clone() }),
        }
    }

    /// Carries out all writes, each good by itself, or none.
    fn commit(&self, writes: &[Write<'_>]) -> Result<Commit, AppendError> {
        if let [write] = writes
            && !is_new(write)
        {
            return self.go_on(write);
        }
        let mut wanted = [false; SHARDS];
        for write in writes {
            wanted[self.shard_of(write.stream)] = true;
        }
        let mut shards: [Option<MutexGuard<'_, Shard>>; SHARDS] =
            std::array::from_fn(|index| wanted[index].then(|| lock(&self.shards[index])));
        let mut directory = lock(&self.directory);
        let situation = self.situation()?;
        for (index, write) in writes.iter().enumerate() {
            check::beside(&writes[..index], write)?;
            let shard = shards[self.shard_of(write.stream)].as_deref();
            let found = shard.and_then(|shard| Some(shard.entry(shard.find(write.stream)?)));
            check::key(write, &directory)?;
            check::against(write, found.map(|entry| &entry.info), situation)?;
        }
        let count: usize = writes.iter().map(|write| write.events.len()).sum();
        let mut pos = self.take_positions(count);
        let last = pos + count as u64;
        for write in writes {
            let at = self.shard_of(write.stream);
            let Some(shard) = shards[at].as_deref_mut() else { continue };
            let index = match (shard.find(write.stream), write.events.first()) {
                (Some(index), _) => index,
                (None, Some(first)) => {
                    let mut info = StreamInfo::new(write.stream.clone(), first.at);
                    info.label = Arc::from(write.label);
                    info.key = write.key.map(Arc::from);
                    let place = Place { shard: at, index: shard.next_index() };
                    info.number = directory.enter(&info, place);
                    shard.create(info)
                }
                (None, None) => continue,
            };
            shard.accept(index, write, self.instance, pos);
            pos += write.events.len() as u64;
        }
        Ok(Commit::at(last))
    }

    /// The same for one write to a stream that exists, which is nearly every append.
    fn go_on(&self, write: &Write<'_>) -> Result<Commit, AppendError> {
        let mut shard = self.shard(write.stream);
        let situation = self.situation()?;
        let found = shard.find(write.stream);
        check::against(write, found.map(|index| &shard.entry(index).info), situation)?;
        let pos = self.take_positions(write.events.len());
        if let Some(index) = found {
            shard.accept(index, write, self.instance, pos);
        }
        Ok(Commit::at(pos + write.events.len() as u64))
    }

    /// Called under the lock of a shard; see the invariants.
    fn situation(&self) -> Result<Situation, AppendError> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(AppendError::Closed);
        }
        let owns_schedules = self.has_schedules.load(Ordering::Relaxed);
        let schedules = owns_schedules.then_some(SCHEDULES_EPOCH);
        Ok(Situation { instance: self.instance, schedules })
    }

    /// The position before the first of so many. Called under the locks of what gets them.
    fn take_positions(&self, count: usize) -> u64 {
        self.last_pos.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// Puts those streams of one half of the directory on the list that the filter lets through.
    fn visit(&self, sessions: bool, filter: &Filter, list: &mut Vec<StreamInfo>) {
        let skip = usize::try_from(filter.after).unwrap_or(usize::MAX);
        let (mut from, mut to) = (skip, usize::MAX);
        loop {
            // The directory's lock comes after those of the shards: it is given back first.
            let directory = lock(&self.directory);
            let all = directory.half(sessions);
            to = to.min(all.len());
            from = from.min(to);
            let mut chunk = if filter.newest_first {
                all[from.max(to.saturating_sub(CHUNK))..to].to_vec()
            } else {
                all[from..to.min(from + CHUNK)].to_vec()
            };
            drop(directory);
            if chunk.is_empty() {
                return;
            }
            if filter.newest_first {
                to -= chunk.len();
                chunk.reverse();
            } else {
                // Streams created meanwhile are seen as well.
                (from, to) = (from + chunk.len(), usize::MAX);
            }
            for place in chunk {
                if list.len() == filter.limit {
                    return;
                }
                let shard = lock(&self.shards[place.shard]);
                let info = &shard.entry(place.index).info;
                if filter.kind.is_none_or(|kind| kind == StreamKind::from(&info.stream))
                    && filter.matches_state(info.state)
                    && (!filter.left_behind || info.owner.is_some())
                {
                    list.push(info.clone());
                }
            }
        }
    }
}

impl Store for MemoryStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn instance(&self) -> u64 {
        self.instance
    }

    fn append(&self, writes: &[Write<'_>]) -> Result<Appended, AppendError> {
        writes.iter().try_for_each(check::alone)?;
        let commit = self.commit(writes)?;
        self.changes.send();
        Ok(Appended::Acked(commit))
    }

    fn note(&self, stream: &Stream, epoch: u64, events: &[Event]) -> Result<(), AppendError> {
        let write = Write::new(stream, Fence::Owned { epoch }).events(events);
        match check::alone(&write).and_then(|()| self.commit(&[write])) {
            Ok(_) => self.changes.send(),
            Err(error @ (AppendError::Closed | AppendError::TooLarge { .. })) => return Err(error),
            // Notes of a stream that is lost are lost; its owner hears of it with the next record.
            Err(_) => {}
        }
        Ok(())
    }

    fn claim_schedules(&self) -> Result<Ticket<Result<Owner, AppendError>>, AppendError> {
        let directory = lock(&self.directory);
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(AppendError::Closed);
        }
        let had = self.has_schedules.swap(true, Ordering::Relaxed);
        drop(directory);
        if !had {
            self.changes.send();
        }
        let owner = Owner { instance: self.instance, epoch: SCHEDULES_EPOCH };
        let (done, ticket) = ticket();
        done.complete(Ok(owner));
        Ok(ticket)
    }

    fn events(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        self.read(stream, |entry| entry.events(after, limit))
    }

    /// As the port says. Where an event after `after` is no longer kept, of whichever stream, the
    /// gap is told at once. It names the stream with the last such event: who reads its first
    /// event that is kept, and goes on from the position before it, meets no more gaps.
    fn all_events(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        merge::after(&self.shards.each_ref().map(lock), after, limit)
    }

    fn journal(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, ReadError> {
        self.read(stream, |entry| Ok(entry.journal(after, limit)))
    }

    fn snapshot(&self, stream: &Stream) -> Result<Option<StoredSnapshot>, ReadError> {
        self.read(stream, |entry| Ok(entry.snapshot()))
    }

    fn info(&self, stream: &Stream) -> Result<StreamInfo, ReadError> {
        self.read(stream, |entry| Ok(entry.info.clone()))
    }

    fn by_key(&self, key: &str) -> Result<Option<StreamInfo>, ReadError> {
        let place = lock(&self.directory).place_of(key);
        Ok(place.map(|place| lock(&self.shards[place.shard]).entry(place.index).info.clone()))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<StreamInfo>, ReadError> {
        let mut list = Vec::new();
        if filter.left_behind && !self.is_closed.load(Ordering::Relaxed) {
            return Ok(list);
        }
        // Whether a half is the sessions' one. The others have no number to be above another.
        let mut halves = [(false, filter.after == 0), (true, true)];
        if filter.newest_first {
            halves.reverse();
        }
        for (sessions, is_wanted) in halves {
            let is_kind = filter.kind.is_none_or(|kind| sessions == (kind == StreamKind::Session));
            if is_wanted && is_kind {
                self.visit(sessions, filter, &mut list);
            }
        }
        Ok(list)
    }

    fn is_alive(&self, owner: Owner) -> bool {
        owner.instance == self.instance && !self.is_closed.load(Ordering::Relaxed)
    }

    fn keep(&self, _stream: &Stream) -> Keep {
        Keep::nothing()
    }

    fn changes(&self) -> Changes {
        self.changes.subscribe()
    }

    fn respond(&self, responder: Arc<dyn Responder>) -> Result<(), RequestError> {
        let mut directory = lock(&self.directory);
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(RequestError::Closed);
        }
        let earlier = directory.responder.replace(responder);
        drop(directory);
        drop(earlier);
        Ok(())
    }

    fn request(
        &self,
        stream: &Stream,
        _request: &[u8],
    ) -> Result<Ticket<Result<Vec<u8>, RequestError>>, RequestError> {
        let info = self.info(stream);
        if info.is_err() && !matches!(stream, Stream::Schedule(_)) {
            return Err(RequestError::NotFound { stream: stream.clone() });
        }
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(RequestError::Closed);
        }
        let is_owned = match stream {
            Stream::Schedule(_) => self.has_schedules.load(Ordering::Relaxed),
            _ => info.is_ok_and(|info| info.owner.is_some()),
        };
        let stream = stream.clone();
        Err(if is_owned { RequestError::Own { stream } } else { RequestError::Unowned { stream } })
    }

    fn close(&self) -> Ticket<Result<(), AppendError>> {
        let shards = self.shards.each_ref().map(lock);
        let mut directory = lock(&self.directory);
        self.is_closed.store(true, Ordering::Relaxed);
        let responder = directory.responder.take();
        drop((shards, directory));
        drop(responder);
        self.changes.close();
        let (done, ticket) = ticket();
        done.complete(Ok(()));
        ticket
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.changes.close();
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("instance", &self.instance)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

fn is_new(write: &Write<'_>) -> bool {
    matches!(write.fence, Fence::New | Fence::NewOwned)
}

/// Nothing panics under a lock, and if it did, what lies there is still the best there is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const _: () = {
    const fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<MemoryStore>();
};
