//! How sessions are made and started.
//!
//! # Invariants
//! 1. A session is refused before anything of it exists, or it exists with its first events
//!    (SESS-001).
//! 2. Who owns a session runs its body: a claim and the task that runs it come together.
//! 3. A session can be found by others when it is acknowledged, and not before (SESS-022).

use std::sync::Arc;

use holdpoint_core::SessionId;
use holdpoint_core::body::BodyFuture;
use holdpoint_core::event::Stream;
use holdpoint_core::session::StateName;
use holdpoint_core::store::{Appended, Fence};

use super::admission::Admitted;
use super::journal::{FORMAT, Record, Start, raw};
use super::kept::About;
use super::link::{Change, Link};
use super::random;
use super::recorded::Recorded;
use super::rt;
use super::session::{Effects, Launch, LaunchError, Session, Shown};
use super::shared::{Shared, Starting};
use super::task::BodyTask;
use crate::error::{ResumeError, SpawnError};
use crate::machine::{Input, Machine, TimeLimits};

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 256;

/// What a new session is to be.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) id: SessionId,
    pub(crate) body: Arc<str>,
    pub(crate) version: u32,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) limits: TimeLimits,
    pub(crate) parent: Option<SessionId>,
    /// Whether it is to run, or only to be there.
    pub(crate) starts: bool,
    /// Its input as JSON text, where there is a store that outlives the process.
    pub(crate) input: Option<String>,
}

/// A session that was made, or found by its key.
pub(crate) enum Spawned {
    /// It is in this process, perhaps since long.
    Here(Arc<Session>, Shown),
    /// It is in the store alone, Planned. A queued one is to be enqueued when it is there.
    Stored { appended: Appended, is_queued: bool },
}

impl Spec {
    /// A session of this body, without anything else.
    pub(crate) fn new(body: Arc<str>, version: u32, starts: bool) -> Self {
        let (id, limits) = (SessionId::generate(), TimeLimits::default());
        Self { id, body, version, key: None, limits, parent: None, starts, input: None }
    }
}

impl Spawned {
    /// When it can be seen.
    pub(crate) fn shown(self) -> Shown {
        match self {
            Self::Here(_, shown) => shown,
            Self::Stored { .. } => Shown::Now,
        }
    }
}

impl Shared {
    /// Makes a session, and starts it or lets it wait its turn.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        spec: Spec,
        launch: Box<dyn Launch>,
    ) -> Result<Spawned, SpawnError> {
        let starting = spec.starts.then(|| self.starting());
        if let Some(cause) = self.closing() {
            return Err(SpawnError::ShuttingDown(cause));
        }
        if spec.starts && !rt::is_here() {
            return Err(SpawnError::NoRuntime);
        }
        let Some(key) = spec.key.clone() else { return self.spawn_new(spec, launch, starting) };
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(SpawnError::Key { len: key.len() });
        }
        if self.is_durable {
            // The store knows all keys, also those of other processes: it decides.
            return self.spawn_new(spec, launch, starting);
        }
        // Held until the session is there: who comes with the same key waits for it.
        let mut keys = self.keys();
        if let Some(id) = keys.get(&key)
            && let Some(found) = self.get(*id)
        {
            let body = Arc::clone(&found.body);
            return if body == spec.body {
                Ok(Spawned::Here(found, Shown::Now))
            } else {
                Err(SpawnError::KeyOfAnother { key, session: *id, body })
            };
        }
        let id = spec.id;
        let spawned = self.spawn_new(spec, launch, starting)?;
        keys.insert(key, id);
        Ok(spawned)
    }

    fn spawn_new(
        self: &Arc<Self>,
        spec: Spec,
        launch: Box<dyn Launch>,
        starting: Option<Starting<'_>>,
    ) -> Result<Spawned, SpawnError> {
        let mut place = Place::None;
        if spec.starts && spec.parent.is_none() {
            // Who has to wait is entered when it can be found, so that its turn finds it.
            place = match self.admission().ask_live_as(spec.id, false) {
                Admitted::Now => Place::Taken,
                Admitted::Later => Place::Later,
                Admitted::Refused { limit } => return Err(SpawnError::TooManyLive { limit }),
            };
        }
        let starts_now = spec.starts && place != Place::Later;
        let made = self.make(spec, launch, starts_now, place == Place::Later);
        if made.is_err() && place == Place::Taken {
            self.live_is_over();
        }
        let (spawned, body) = made?;
        if let Spawned::Here(session, _) = &spawned {
            match (body, starting) {
                (Some(body), Some(starting)) => {
                    session.lock().has_live_place = place == Place::Taken;
                    self.run(session, body, starting);
                }
                // It counts as running until it has its turn or stands in the queue: a shutdown
                // that was over in between would not see it begin.
                (_, starting) if place == Place::Later => {
                    self.enqueue(session.id);
                    drop(starting);
                }
                _ => {}
            }
        }
        Ok(spawned)
    }

    /// Makes a session, Planned or already claimed.
    fn make(
        self: &Arc<Self>,
        spec: Spec,
        mut launch: Box<dyn Launch>,
        starts: bool,
        is_queued: bool,
    ) -> Result<(Spawned, Option<BodyFuture>), SpawnError> {
        let now = self.clock.now();
        let (mut machine, mut events) = Machine::plan(spec.limits);
        let before = self.store.is_some().then(|| machine.session().clone());
        if starts {
            // A new session takes every claim.
            if let Ok(next) = machine.handle(now, Input::Claim(self.owner(1))) {
                events.append(next);
            }
        }
        let start = self.is_durable.then(|| Start {
            format: FORMAT,
            at: now.wall,
            seed: random::seed(),
            salt: format!("{:016x}{:016x}", random::seed(), random::seed()),
            input: raw(spec.input.as_deref().unwrap_or("null")),
        });
        let link = self.store.is_some().then(|| {
            let about = About {
                body: Arc::clone(&spec.body),
                version: spec.version,
                limits: spec.limits,
                started_at: starts.then_some(now.wall),
                parent: spec.parent,
                is_queued,
                emitted: 0,
                first_entry: 1,
                offers_from: 0,
                entries_at_start: 1,
                idle_starts: u32::from(starts),
                asks: Vec::new(),
            };
            let fence = if starts { Fence::NewOwned } else { Fence::New };
            let mut link = Link::new(Stream::Session(spec.id), about, fence, 0);
            link.key = spec.key.clone();
            Box::new(link)
        });
        let mut change = Change::new(now, events);
        let recorded = start.map(|start| {
            let recorded = Recorded::new(&start, Default::default());
            change.journal.push(Record::Start(start).encode());
            Box::new(recorded)
        });
        if let Some(store) = self.store.as_ref().filter(|_| self.is_durable && !starts) {
            // Nobody runs it: whoever starts it reads it from the store.
            let Some(link) = link else { return Err(SpawnError::Unregistered) };
            let appended = link.append_once(&**store, &machine, &change);
            let appended = appended.map_err(SpawnError::Store)?;
            return Ok((Spawned::Stored { appended, is_queued }, None));
        }
        let session = Session::new(Arc::clone(self), spec.id, machine, spec.body, recorded, link);
        let session = Arc::new(session);
        let body = match starts.then(|| launch.launch(session.context())) {
            None => None,
            Some(Ok(body)) => Some(body),
            Some(Err(LaunchError::Input(error))) => {
                return Err(SpawnError::Input(Arc::new(error)));
            }
            // A new closure was not called yet.
            Some(Err(LaunchError::OnlyOnce)) => return Err(SpawnError::Unregistered),
        };
        let mut effects = Effects::default();
        let mut state = session.lock();
        state.launch = Some(launch);
        if spec.key.is_some() {
            state.rare().key = spec.key;
        }
        let shown = session.commit(&mut state, before, change, &mut effects);
        drop(state);
        effects.carry_out(&session);
        match shown {
            Shown::Lost(error) => Err(SpawnError::Store(error)),
            shown => {
                if matches!(shown, Shown::Now) {
                    session.lock().is_listed = true;
                    self.insert(Arc::clone(&session));
                }
                Ok((Spawned::Here(session, shown), body))
            }
        }
    }

    /// Runs the body of a session that was just claimed.
    pub(crate) fn run(
        self: &Arc<Self>,
        session: &Arc<Session>,
        body: BodyFuture,
        starting: Starting<'_>,
    ) {
        starting.runs();
        let span = tracing::info_span!("session", id = %session.id, body = %session.body);
        // Where the runtime is going down the task is dropped, and lets go of its session.
        rt::spawn(BodyTask::new(Arc::clone(session), body, span));
    }

    /// A session that was recorded, and is to run as soon as there is a place.
    pub(crate) fn enqueue(self: &Arc<Self>, id: SessionId) {
        let admitted = self.admission().ask_live(id);
        if admitted == Admitted::Now && !self.start_waiting(id) {
            self.live_is_over();
        }
    }

    /// A place among the live ones is free: it goes to the first who wants it.
    pub(crate) fn live_is_over(self: &Arc<Self>) {
        loop {
            let next = self.admission().leave_live();
            let Some(next) = next else { return };
            if self.start_waiting(next) {
                return;
            }
        }
    }

    /// Starts a session that has got its place. Whether it wanted it.
    fn start_waiting(self: &Arc<Self>, id: SessionId) -> bool {
        if self.is_durable {
            return self.start_stored(id);
        }
        let Some(session) = self.get(id) else { return false };
        if session.lock().machine.session().state().name() != StateName::Planned {
            return false;
        }
        self.start_here(&session, true).is_ok()
    }

    /// Claims a session that is in this process without an owner, and runs its body from the
    /// beginning.
    pub(crate) fn start_here(
        self: &Arc<Self>,
        session: &Arc<Session>,
        has_place: bool,
    ) -> Result<Shown, ResumeError> {
        if !rt::is_here() {
            return Err(ResumeError::NoRuntime);
        }
        let starting = self.starting();
        let now = self.clock.now();
        let mut effects = Effects::default();
        let body = launch_again(session)?;
        let mut state = session.lock();
        let before = state.before();
        let epoch = state.machine.session().epoch() + 1;
        let claim = Input::Claim(self.owner(epoch));
        let claimed = state.machine.handle(now, claim).map_err(|refused| match refused.state {
            state if state.is_terminal() => ResumeError::Ended { state },
            state => ResumeError::Owned { state },
        })?;
        state.slots = Default::default();
        state.rare().orders = Default::default();
        state.has_live_place = has_place;
        let shown = session.commit(&mut state, before, Change::new(now, claimed), &mut effects);
        drop(state);
        effects.carry_out(session);
        self.run(session, body, starting);
        Ok(shown)
    }
}

/// The body of a session once more.
fn launch_again(session: &Arc<Session>) -> Result<BodyFuture, ResumeError> {
    // Not under the lock: it is the caller's code that is cloned or decoded here.
    let mut state = session.lock();
    let Some(mut launch) = state.launch.take() else {
        // Somebody else is about to.
        return Err(ResumeError::Owned { state: state.machine.session().state().name() });
    };
    drop(state);
    let body = launch.launch(session.context());
    session.lock().launch = Some(launch);
    body.map_err(|error| match error {
        LaunchError::OnlyOnce => ResumeError::OnlyOnce,
        LaunchError::Input(error) => ResumeError::Input(Arc::new(error)),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    None,
    Taken,
    Later,
}
