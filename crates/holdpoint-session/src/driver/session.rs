//! One session in this process: its machine behind a lock, called by whoever calls.
//!
//! # Invariants
//! 1. Decide, commit, show (SESS-022). An input changes the machine at once. What others can see,
//!    events, states, replies and the waking of the body, is shown when the store has acknowledged
//!    it, in the order of the decisions. Without a store that is at once.
//! 2. The body's future lives in its task alone. The session never owns it, so that a session and
//!    its body cannot keep each other.
//! 3. A session with something to show has a task that will show it.
//!
//! # Locks
//! One lock for each session. Under it no foreign code runs but the event sink's and the store's:
//! wakers are woken and dropped, and other sessions and the registry are called, when it is free.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use holdpoint_core::body::{BodyFuture, ChildSpec, InputError, SessionContext};
use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::{IllegalTransition, SessionMachine, SessionState, SuspendCause};
use holdpoint_core::store::{AppendError, Ticket};
use holdpoint_core::{CancelInfo, Clock, Monotonic, Now, SessionId, Timestamp};

use super::history::History;
use super::link::{Change, Committed, Delivery, Link, OpRef, Reply};
use super::recorded::Recorded;
use super::shared::Shared;
use super::slots::Slots;
use super::sync::{Mutex, MutexGuard};
use super::watch::{Wakers, Wakes};
use crate::machine::{Input, Machine};
use crate::report::Snapshot;

/// What makes a session's body, again and again where it can.
pub(crate) trait Launch: Send {
    /// The body from its beginning. Nothing of it runs yet.
    fn launch(&mut self, cx: SessionContext) -> Result<BodyFuture, LaunchError>;
    /// The output as text, or why it is none.
    fn encode(&self, output: &(dyn Any + Send + Sync)) -> Result<String, String>;
}

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum LaunchError {
    /// It is a closure that was called.
    OnlyOnce,
    /// It does not take the input.
    Input(InputError),
}

/// A session in this process.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) shared: Arc<Shared>,
    /// The name of its body; empty for a closure.
    pub(crate) body: Arc<str>,
    /// Whether the results of its body are recorded.
    pub(crate) is_recorded: bool,
    /// Set before a body can see the cancellation: what steps look at, without the lock.
    is_cancelled: AtomicBool,
    state: Mutex<State>,
}

pub(crate) struct State {
    /// As decided.
    pub(crate) machine: Machine,
    pub(crate) history: History,
    pub(crate) slots: Slots,
    /// The operations of a body whose results are recorded; then there are no slots.
    pub(crate) recorded: Option<Box<Recorded>>,
    pub(crate) link: Option<Box<Link>>,
    pub(crate) launch: Option<Box<dyn Launch>>,
    pub(crate) output: Option<Arc<dyn Any + Send + Sync>>,
    watch: Option<Box<Watch>>,
    /// The task that runs the body, to be woken for what no operation waits for.
    pub(crate) task: Option<Waker>,
    updated_at: Timestamp,
    pub(crate) ended_at: Monotonic,
    rare: Option<Box<Rare>>,
    /// It has one of the places of those that may be paused.
    pub(crate) has_pause_place: bool,
    /// It has one of the places of those that may be live.
    pub(crate) has_live_place: bool,
    /// Others find it.
    pub(crate) is_listed: bool,
    /// Nobody runs it here any more, and somebody may elsewhere.
    pub(crate) has_left: bool,
}

/// What most sessions never need: paused ones are kept by the million.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Its idempotency key, where the store does not keep it.
    pub(crate) key: Option<Arc<str>>,
    /// The seed of the body's random numbers, drawn when the first is wanted, and their count.
    pub(crate) random: (u64, u64),
    pub(crate) orders: Orders,
    /// Children that end with this session.
    pub(crate) children: Vec<SessionId>,
}

/// What the task that runs the body is to do at its next poll.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Orders {
    #[default]
    Run,
    /// Let go, as soon as no step is executed.
    Suspend(SuspendCause),
    /// Drop the body at once, and end or let go with this cause.
    Abort(CancelInfo),
}

/// Who looks at a session. Made when the first one does.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Told of every event.
    pub(crate) changed: Wakers,
    /// Told of the end.
    pub(crate) ended: Wakers,
    /// Effects that want to hear of a cancellation.
    pub(crate) effects: Vec<Waker>,
}

/// What is to be done when the lock is free.
#[derive(Debug, Default)]
#[must_use = "somebody waits"]
pub(crate) struct Effects {
    pub(crate) wakes: Wakes,
    /// A place among the paused is free.
    frees_pause: bool,
    /// Children to be started.
    pub(crate) children: Vec<ChildStart>,
    /// Children that nobody waits for any more: they are asked to stop.
    pub(crate) orphans: Vec<SessionId>,
}

/// A child to be started, and the operation that waits for it.
#[derive(Debug)]
pub(crate) struct ChildStart {
    pub(crate) child: SessionId,
    pub(crate) op: OpRef,
    pub(crate) spec: ChildSpec,
}

pub(crate) type Guard<'a> = MutexGuard<'a, State>;

impl Effects {
    /// Carries them out. Called without any lock.
    pub(crate) fn carry_out(self, session: &Session) {
        self.wakes.wake();
        if self.frees_pause {
            session.shared.pause_is_over();
        }
        for child in self.children {
            session.start_child(child);
        }
        for orphan in self.orphans {
            session.shared.stop_child(orphan);
        }
    }
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: SessionId,
        machine: Machine,
        body: Arc<str>,
        recorded: Option<Box<Recorded>>,
        link: Option<Box<Link>>,
    ) -> Self {
        let last = link.as_deref().map_or(0, Link::decided);
        #[cfg(test)]
        let recorded = recorded.map(|mut recorded| {
            recorded.flaw = shared.options.flaw;
            recorded
        });
        let is_recorded = recorded.is_some();
        let is_cancelled = AtomicBool::new(machine.session().cancel_requested().is_some());
        let state = State {
            machine,
            history: History::new(shared.options.history.limit(), last),
            slots: Slots::default(),
            recorded,
            link,
            launch: None,
            output: None,
            watch: None,
            task: None,
            updated_at: Timestamp::default(),
            ended_at: Monotonic::ZERO,
            rare: None,
            has_pause_place: false,
            has_live_place: false,
            is_listed: false,
            has_left: false,
        };
        Self { id, shared, body, is_recorded, is_cancelled, state: Mutex::new(state) }
    }

    /// Nothing panics under the lock, and if it did, what lies there is still the best there is.
    pub(crate) fn lock(&self) -> Guard<'_> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its body is given.
    pub(crate) fn context(self: &Arc<Self>) -> SessionContext {
        SessionContext::new(Arc::clone(self) as _)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// Takes an input and commits what comes of it, with nothing beside.
    ///
    /// # Errors
    /// The state does not allow it; nothing has changed.
    pub(crate) fn decide(
        &self,
        state: &mut State,
        now: Now,
        input: Input<'_>,
        effects: &mut Effects,
    ) -> Result<Shown, IllegalTransition> {
        let before = state.before();
        let transition = state.machine.handle(now, input)?;
        Ok(self.commit(state, before, Change::new(now, transition), effects))
    }

    /// Commits a decision that the machine has taken in.
    pub(crate) fn commit(
        &self,
        state: &mut State,
        before: Option<SessionMachine>,
        change: Change,
        effects: &mut Effects,
    ) -> Shown {
        if change.is_empty() {
            return Shown::Now;
        }
        let (Some(link), Some(store), Some(before)) =
            (state.link.as_deref_mut(), &self.shared.store, before)
        else {
            self.show(state, change, effects);
            return Shown::Now;
        };
        match link.commit(&**store, &before, &state.machine, change) {
            Ok(Committed::Now(change)) => {
                self.show(state, change, effects);
                Shown::Now
            }
            Ok(Committed::Later(ticket)) => {
                // Its task shows it.
                effects.wakes.extend(state.task.clone());
                Shown::Later(ticket)
            }
            Err(error) => {
                let replies = link.lose(&error);
                drop(replies);
                self.lose(state, effects);
                Shown::Lost(error)
            }
        }
    }

    /// Shows what the store has acknowledged. Called by the session's task.
    ///
    /// # Errors
    /// The session is lost to this process.
    pub(crate) fn show_acknowledged(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
    ) -> Result<(), AppendError> {
        loop {
            let mut state = self.lock();
            let Some(link) = state.link.as_deref_mut() else { return Ok(()) };
            if let Some(lost) = &link.lost {
                return Err(lost.clone());
            }
            let mut effects = Effects::default();
            match link.poll_shown(cx) {
                Poll::Pending | Poll::Ready(None) => return Ok(()),
                Poll::Ready(Some(Ok((change, reply)))) => {
                    if !std::mem::replace(&mut state.is_listed, true) {
                        // Its first word: from now on others find it.
                        self.shared.insert(Arc::clone(self));
                    }
                    self.show(&mut state, change, &mut effects);
                    drop(state);
                    reply.send(Ok(()));
                    effects.carry_out(self);
                }
                Poll::Ready(Some(Err((error, replies)))) => {
                    self.lose(&mut state, &mut effects);
                    drop(state);
                    replies.into_iter().for_each(|reply: Reply| reply.send(Err(error.clone())));
                    effects.carry_out(self);
                    return Err(error);
                }
            }
        }
    }

    /// Shows a decision: numbers its events, tells who looks, gives the body what is for it.
    fn show(&self, state: &mut State, change: Change, effects: &mut Effects) {
        let Change { now, transition, deliveries, children, .. } = change;
        effects.children.extend(children);
        for delivery in deliveries {
            self.deliver(state, delivery, now, effects);
        }
        let mut has_events = false;
        for kind in transition {
            has_events = true;
            if let Some(sink) = &self.shared.sink {
                let seq = state.history.last() + 1;
                let event = Event::new(seq, now.wall, Stream::Session(self.id), kind.clone());
                // Its panic would hit whoever happens to call.
                if catch_unwind(AssertUnwindSafe(|| sink.event(&event))).is_err() {
                    tracing::error!(session = %self.id, "the sink of events has panicked");
                }
            }
            let is_terminal = kind.ends_session();
            state.history.push(now.wall, kind, is_terminal);
        }
        if has_events {
            state.updated_at = now.wall;
            let is_terminal = state.shown().state().is_terminal();
            if is_terminal {
                state.ended_at = now.monotonic;
            }
            if let Some(watch) = state.watch.as_deref_mut() {
                watch.changed.take(&mut effects.wakes);
                if is_terminal {
                    watch.ended.take(&mut effects.wakes);
                }
                if self.is_cancelled() {
                    effects.wakes.extend(watch.effects.drain(..));
                }
            }
            let is_paused = matches!(state.machine.session().state(), SessionState::Paused(_));
            if state.has_pause_place && !is_paused {
                state.has_pause_place = false;
                effects.frees_pause = true;
            }
        }
    }

    /// Gives the body something: at once where nothing is recorded, else in its turn.
    fn deliver(&self, state: &mut State, delivery: Delivery, now: Now, effects: &mut Effects) {
        if matches!(delivery, Delivery::Cancel(_)) {
            self.is_cancelled.store(true, Ordering::Release);
        }
        if let Some(recorded) = state.recorded.as_deref_mut() {
            match delivery {
                Delivery::Secret(value) => recorded.know_secret(value),
                delivery => recorded.give(delivery, now.wall),
            }
            effects.wakes.extend(state.task.clone());
            return;
        }
        match delivery {
            Delivery::Op(OpRef::Slot(target), result) => {
                state.slots.deliver(target, result, &mut effects.wakes);
            }
            Delivery::Op(OpRef::Key(_), _) | Delivery::Secret(_) => {}
            Delivery::Cancel(cause) => {
                let orphans = state.slots.cancel(&cause, &mut effects.wakes);
                state.abandon(orphans, effects);
            }
        }
    }

    /// Nothing will be shown any more: whoever looks is told.
    fn lose(&self, state: &mut State, effects: &mut Effects) {
        if let Some(watch) = state.watch.as_deref_mut() {
            watch.changed.take(&mut effects.wakes);
            watch.ended.take(&mut effects.wakes);
        }
        effects.wakes.extend(state.task.clone());
        effects.frees_pause |= std::mem::take(&mut state.has_pause_place);
    }

    /// Whether the store, not this process, tells how it stands.
    pub(crate) fn has_left(&self) -> bool {
        self.lock().is_left()
    }

    /// Whether it has ended here, and was tried again in another process since: then it has left.
    pub(crate) fn was_tried_elsewhere(&self) -> bool {
        let Some(store) = self.shared.store.as_ref().filter(|_| self.is_recorded) else {
            return false;
        };
        let state = self.lock();
        let last = state.history.last();
        if !state.shown().state().is_terminal() {
            return false;
        }
        drop(state);
        let info = store.info(&Stream::Session(self.id));
        let was_tried = info.is_ok_and(|info| info.last_seq > last);
        if was_tried {
            self.lock().has_left = true;
        }
        was_tried
    }

    /// The session at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let session = state.shown();
        Snapshot {
            id: self.id,
            body: Arc::clone(&self.body),
            state: session.state().clone(),
            cancel_requested: session.cancel_requested().cloned(),
            attempt: session.attempt(),
            starts: session.starts(),
            last_seq: state.history.last(),
            updated_at: state.updated_at,
        }
    }

    /// Orders something of the task, and wakes it. An abort is not taken back.
    pub(crate) fn order(&self, orders: Orders) {
        let mut state = self.lock();
        let rare = state.rare();
        if !matches!(rare.orders, Orders::Abort(_)) {
            rare.orders = orders;
        }
        let task = state.task.clone();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// When a decision can be seen.
#[must_use = "a decision counts only when it is shown"]
pub(crate) enum Shown {
    Now,
    Later(Ticket<Result<(), AppendError>>),
    Lost(AppendError),
}

impl Shown {
    /// Nobody waits for it.
    pub(crate) fn forget(self) {}

    /// Waits until it can.
    ///
    /// # Errors
    /// The session is lost to this process.
    pub(crate) async fn wait(self) -> Result<(), AppendError> {
        match self {
            Self::Now => Ok(()),
            Self::Later(ticket) => ticket.await,
            Self::Lost(error) => Err(error),
        }
    }
}

impl State {
    /// The session as others see it.
    pub(crate) fn shown(&self) -> &SessionMachine {
        let shown = self.link.as_deref().and_then(Link::shown);
        shown.unwrap_or_else(|| self.machine.session())
    }

    /// The session before a decision, where it may have to be shown for a while longer.
    pub(crate) fn before(&self) -> Option<SessionMachine> {
        self.link.is_some().then(|| self.machine.session().clone())
    }

    /// Why this process cannot go on with the session.
    pub(crate) fn lost(&self) -> Option<&AppendError> {
        self.link.as_deref()?.lost.as_ref()
    }

    /// The epoch under which this process may still own a session with which it cannot go on.
    pub(crate) fn given_up(&self) -> Option<u64> {
        let link = self.link.as_deref()?;
        let is_over = match link.lost.as_ref()? {
            // It is not ours, or never was.
            AppendError::LostOwnership { .. }
            | AppendError::Owned { .. }
            | AppendError::EpochPassed { .. }
            | AppendError::Exists { .. }
            | AppendError::KeyTaken { .. }
            | AppendError::NotFound { .. } => true,
            error => error.is_final(),
        };
        (!is_over).then(|| link.epoch())
    }

    /// Whether nothing more is to be learnt of it here.
    pub(crate) fn is_left(&self) -> bool {
        self.has_left || self.lost().is_some()
    }

    /// Whether it was let go of: the store, which is told or about to be, has the next word.
    pub(crate) fn is_let_go(&self) -> bool {
        let session = self.machine.session();
        self.recorded.is_some() && session.owner().is_none() && !session.state().is_terminal()
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The same, where there is any.
    pub(crate) fn known_rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// Nobody waits for these children any more.
    pub(crate) fn abandon(&mut self, orphans: Vec<SessionId>, effects: &mut Effects) {
        if !orphans.is_empty() {
            self.rare().children.retain(|child| !orphans.contains(child));
            effects.orphans.extend(orphans);
        }
    }

    pub(crate) fn watch(&mut self) -> &mut Watch {
        self.watch.get_or_insert_default()
    }

    /// When the session has something to do by itself.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        let operations = match self.recorded.as_deref() {
            Some(recorded) => recorded.next_deadline(),
            None => self.slots.next_deadline(),
        };
        [self.machine.next_deadline(), operations].into_iter().flatten().min()
    }
}
