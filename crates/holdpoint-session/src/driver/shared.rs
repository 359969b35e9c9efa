//! What all sessions of a registry share.
//!
//! # Invariants
//! 1. A session is in the map from when it can be seen until it is collected. Whoever holds it
//!    keeps it readable after that (SESS-012).
//! 2. The list of ended sessions is in the order of their ends, so that collection looks at those
//!    alone that are due. An entry whose session was tried again is passed over.
//! 3. A place among the live ones is taken before a body is launched, and given back once, when
//!    its task is over.
//!
//! # Locks
//! The shards of the map, the admission, the lists of the ended and of those given up, the bodies and
//! the keys each have a lock of their own. Under that of the keys a session may be made; under any
//! other no lock is taken. The map, the admission and those given up may be asked under a session's
//! lock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use holdpoint_core::body::Bodies;
use holdpoint_core::event::EventSink;
use holdpoint_core::session::Owner;
use holdpoint_core::store::Store;
use holdpoint_core::{CancelInfo, Clock, Monotonic, SessionId};

use super::admission::Admission;
use super::session::Session;
use super::sync::{Mutex, MutexGuard};
use super::watch::{Place, Wakers, Wakes};
use crate::options::{History, Limits, Recovery};

/// How many shards the map has: far more than threads that look at the same moment.
const SHARDS: usize = 64;

/// Settings of a registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) history: History,
    pub(crate) limits: Limits,
    pub(crate) recovery: Recovery,
    #[cfg(test)]
    pub(crate) flaw: Option<super::recorded::Flaw>,
}

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sink: Option<Arc<dyn EventSink>>,
    pub(crate) store: Option<Arc<dyn Store>>,
    /// Whether what bodies do is recorded: there is a store that outlives the process.
    pub(crate) is_durable: bool,
    bodies: Mutex<Bodies>,
    hasher: RandomState,
    shards: [Mutex<HashMap<SessionId, Arc<Session>>>; SHARDS],
    len: AtomicUsize,
    admission: Mutex<Admission>,
    ended: Mutex<Ended>,
    awaited: Mutex<Awaited>,
    /// Sessions that were given up and not let go of, each with the epoch under which it ran.
    given_up: Mutex<HashMap<SessionId, u64>>,
    keys: Mutex<HashMap<Arc<str>, SessionId>>,
    closing: Mutex<Option<CancelInfo>>,
    is_closing: AtomicBool,
    /// Nobody can ask for a session any more, but for those who hold one.
    is_abandoned: AtomicBool,
}

/// Sessions that have ended, the first one first, and who waits for the next.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) queue: VecDeque<(Monotonic, SessionId)>,
    pub(crate) news: Wakers,
    /// How many bodies run.
    pub(crate) running: usize,
    pub(crate) quiet: Wakers,
}

/// Suspended sessions that this process is about to let go on, and who waits to know.
#[derive(Debug, Default)]
struct Awaited {
    /// How many searches for what was left are under way.
    searches: usize,
    /// Those that have to wait for a place.
    queued: HashSet<SessionId>,
    news: Wakers,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        clock: Arc<dyn Clock>,
        sink: Option<Arc<dyn EventSink>>,
        store: Option<Arc<dyn Store>>,
    ) -> Self {
        let admission = Mutex::new(Admission::new(options.limits));
        let is_durable = store.as_ref().is_some_and(|store| store.is_durable());
        Self {
            options,
            clock,
            sink,
            store,
            is_durable,
            bodies: Mutex::default(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            len: AtomicUsize::new(0),
            admission,
            ended: Mutex::default(),
            awaited: Mutex::default(),
            given_up: Mutex::default(),
            keys: Mutex::default(),
            closing: Mutex::default(),
            is_closing: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
        }
    }

    fn shard(&self, id: SessionId) -> MutexGuard<'_, HashMap<SessionId, Arc<Session>>> {
        // The number of shards is small, so no bits are lost.
        lock(&self.shards[(self.hasher.hash_one(id) % SHARDS as u64) as usize])
    }

    /// The session, where it is in this process.
    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.shard(id).get(&id).cloned()
    }

    /// Lets others find a session.
    pub(crate) fn insert(&self, session: Arc<Session>) {
        let replaced = self.shard(session.id).insert(session.id, session);
        if replaced.is_none() {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// All sessions in this process, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(lock(shard).values().cloned());
        }
        all.sort_unstable_by_key(|session| session.id);
        all
    }

    pub(crate) fn admission(&self) -> MutexGuard<'_, Admission> {
        lock(&self.admission)
    }

    pub(crate) fn ended(&self) -> MutexGuard<'_, Ended> {
        lock(&self.ended)
    }

    pub(crate) fn given_up(&self) -> MutexGuard<'_, HashMap<SessionId, u64>> {
        lock(&self.given_up)
    }

    pub(crate) fn bodies(&self) -> MutexGuard<'_, Bodies> {
        lock(&self.bodies)
    }

    /// Who owns what this process claims next.
    pub(crate) fn owner(&self, epoch: u64) -> Owner {
        Owner { instance: self.store.as_ref().map_or(1, |store| store.instance()), epoch }
    }

    /// Whether the number of paused sessions is limited.
    pub(crate) fn limits_pauses(&self) -> bool {
        self.options.limits.paused.is_some()
    }

    /// A place among the paused is free: it goes to the first who wants it.
    pub(crate) fn pause_is_over(&self) {
        loop {
            // Not under the lock: who asks looks at the admission again.
            let next = self.admission().leave_paused();
            let Some(next) = next else { return };
            if self.get(next).is_some_and(|session| session.ask_waiting()) {
                return;
            }
        }
    }

    /// From now on the store tells of a session.
    pub(crate) fn forget(&self, session: &Arc<Session>) {
        let mut shard = self.shard(session.id);
        if shard.get(&session.id).is_some_and(|known| Arc::ptr_eq(known, session)) {
            shard.remove(&session.id);
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The last of those who could ask for a session is gone. Sessions and what they share hold
    /// each other, so those that run no more are let go, and the others when they are over.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
        for session in self.all() {
            if !session.is_running() {
                self.forget(&session);
            }
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn keys(&self) -> MutexGuard<'_, HashMap<Arc<str>, SessionId>> {
        lock(&self.keys)
    }

    /// Why no more sessions are taken, where that is so.
    pub(crate) fn closing(&self) -> Option<CancelInfo> {
        if !self.is_closing.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.closing).clone()
    }

    /// Takes no more sessions. Whether this call was the first.
    pub(crate) fn close(&self, cause: &CancelInfo) -> bool {
        let mut closing = lock(&self.closing);
        let is_first = closing.is_none();
        closing.get_or_insert_with(|| cause.clone());
        self.is_closing.store(true, Ordering::Release);
        is_first
    }

    /// A body is about to run. Who starts one says so, and looks then whether the registry goes
    /// down: so either that is seen here, or the body is waited for there.
    pub(crate) fn starting(&self) -> Starting<'_> {
        self.ended().running += 1;
        Starting(self)
    }

    /// A body runs no more. Whoever waits for the last one is told.
    pub(crate) fn body_is_over(&self) {
        let mut wakes = Wakes::default();
        let mut ended = self.ended();
        ended.running -= 1;
        if ended.running == 0 {
            ended.quiet.take(&mut wakes);
        }
        drop(ended);
        wakes.wake();
    }

    /// A session has ended: it is to be collected some time.
    pub(crate) fn has_ended(&self, at: Monotonic, id: SessionId) {
        let mut wakes = Wakes::default();
        let mut ended = self.ended();
        ended.queue.push_back((at, id));
        ended.news.take(&mut wakes);
        drop(ended);
        wakes.wake();
    }
}

/// Suspended sessions that go on soon: who waits for one does not take it for left alone.
impl Shared {
    /// What was left is about to be looked for.
    pub(crate) fn search(self: &Arc<Self>) -> Search {
        lock(&self.awaited).searches += 1;
        Search(Arc::clone(self))
    }

    /// A suspended session waits for a place.
    pub(crate) fn is_queued(&self, id: SessionId) {
        lock(&self.awaited).queued.insert(id);
    }

    /// It has got its place, or wants none any more.
    pub(crate) fn is_queued_no_more(&self, id: SessionId) {
        self.no_longer_awaited(|awaited| {
            awaited.queued.remove(&id);
        });
    }

    /// Nothing goes on here any more.
    pub(crate) fn nothing_is_awaited(&self) {
        self.no_longer_awaited(|awaited| awaited.queued.clear());
    }

    fn no_longer_awaited(&self, what: impl FnOnce(&mut Awaited)) {
        let mut wakes = Wakes::default();
        let mut awaited = lock(&self.awaited);
        what(&mut awaited);
        awaited.news.take(&mut wakes);
        drop(awaited);
        wakes.wake();
    }

    /// Whether a suspended session may go on soon. Who asks is told when that has changed.
    pub(crate) fn may_go_on(&self, id: SessionId, place: &mut Place, waker: &Waker) -> bool {
        let mut awaited = lock(&self.awaited);
        if awaited.searches == 0 && !awaited.queued.contains(&id) {
            return false;
        }
        let replaced = awaited.news.register(place, waker);
        drop(awaited);
        drop(replaced);
        true
    }

    /// Who waited to be told does not any more.
    pub(crate) fn awaits_no_more(&self, place: Place) {
        let waker = lock(&self.awaited).news.leave(place);
        drop(waker);
    }
}

/// A search for what was left, until it is dropped.
pub(crate) struct Search(Arc<Shared>);

impl Drop for Search {
    fn drop(&mut self) {
        self.0.no_longer_awaited(|awaited| awaited.searches -= 1);
    }
}

/// A body that counts as running already, unless nothing comes of it.
#[must_use = "dropped, it does not run"]
pub(crate) struct Starting<'a>(&'a Shared);

impl Starting<'_> {
    /// It has a task, which will say when it is over.
    pub(crate) fn runs(self) {
        std::mem::forget(self);
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.body_is_over();
    }
}

/// Collection (SESS-012).
impl Shared {
    /// How many ended sessions are looked at under one lock.
    const SLICE: usize = 64;

    /// Forgets a few of the sessions that ended so long ago. Says how many; none where nothing is
    /// due any more.
    pub(crate) fn collect_slice(&self, ttl: Duration) -> Option<usize> {
        let now = self.clock.monotonic();
        let mut due = Vec::new();
        let mut ended = self.ended();
        while due.len() < Self::SLICE
            && let Some((at, id)) = pop_due(&mut ended.queue, now, ttl)
        {
            due.push((at, id));
        }
        drop(ended);
        let forgotten = due.iter().filter(|(at, id)| {
            self.get(*id).is_some_and(|session| self.collect_one(&session, *at))
        });
        let count = forgotten.count();
        (!due.is_empty()).then_some(count)
    }

    /// Forgets a session, unless it was tried again since.
    fn collect_one(&self, session: &Arc<Session>, at: Monotonic) -> bool {
        let state = session.lock();
        let has_ended = state.shown().state().is_terminal() && state.ended_at == at;
        let key = state.known_rare().and_then(|rare| rare.key.clone());
        if has_ended {
            // Under its lock: it is tried again before that, or not at all.
            self.forget(session);
        }
        drop(state);
        if has_ended && let Some(key) = key {
            let mut keys = self.keys();
            if keys.get(&key) == Some(&session.id) {
                keys.remove(&key);
            }
        }
        has_ended
    }

    /// When the next ended session is due. Who asks is told when there is a first one.
    pub(crate) fn next_collection(
        &self,
        ttl: Duration,
        place: &mut Place,
        waker: &Waker,
    ) -> Option<Monotonic> {
        let mut ended = self.ended();
        let next = ended.queue.front().map(|(at, _)| *at + ttl);
        let replaced = if next.is_none() { ended.news.register(place, waker) } else { None };
        drop(ended);
        drop(replaced);
        next
    }
}

/// Nothing panics under a lock, and if it did, what lies there is still the best there is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the first entry out, where it is due.
fn pop_due(
    queue: &mut VecDeque<(Monotonic, SessionId)>,
    now: Monotonic,
    ttl: Duration,
) -> Option<(Monotonic, SessionId)> {
    let (at, _) = queue.front()?;
    if *at + ttl <= now { queue.pop_front() } else { None }
}
