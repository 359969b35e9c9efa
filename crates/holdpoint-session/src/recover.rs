//! Sessions that go on: resumed, retried, and recovered after their process was lost (SESS-018).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use holdpoint_core::body::{ErasedBody, Kind, OpKey, Payload};
use holdpoint_core::event::Stream;
use holdpoint_core::session::{SessionState, StateName, SuspendCause, Transition};
use holdpoint_core::store::{
    AppendError, Appended, Fence, Filter, ReadError, StreamInfo, StreamKind,
};
use holdpoint_core::{CancelCode, CancelInfo, SessionId};

use super::body::FromText;
use super::driver::{
    About, Admitted, Change, Effects, FORMAT, KeptResult, Launch, LaunchError, Link, Opened,
    Record, Recorded, Session, Shared, Shown, Start, What, seed,
};
use super::rt;
use super::stored::{Loaded, load};
use super::verify::rehearse;
use crate::error::{GetError, ResumeError, VerifyError};
use crate::machine::Input;
use crate::options::Recovery;
use crate::report::Verified;

/// How many starts in a row may record nothing new.
const MAX_IDLE_STARTS: u32 = 5;

/// How often a session that was left is looked at because somebody else was faster.
const TRIES: u32 = 8;

/// How many sessions are looked at or taken up at a time.
const BATCH: usize = 256;

/// The journal of one attempt.
pub(crate) struct Journal {
    pub(crate) start: Start,
    pub(crate) entries: VecDeque<Record>,
}

impl Shared {
    /// Lets a session go on that nobody runs, or makes another attempt of it.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        id: SessionId,
        retries: bool,
    ) -> Result<(), ResumeError> {
        if let Some(cause) = self.closing() {
            return Err(ResumeError::ShuttingDown(cause));
        }
        if !rt::is_here() {
            return Err(ResumeError::NoRuntime);
        }
        let here = self.get(id);
        if let Some(session) = &here
            && !session.has_left()
            && !(self.is_durable && session.lock().shown().state().is_terminal())
        {
            return self.resume_here(session, retries).await;
        }
        if !self.is_durable {
            return Err(ResumeError::NotFound(id));
        }
        self.let_go_of_given_up(id).await.map_err(of_append)?;
        match self.admission().ask_live(id) {
            Admitted::Now => {}
            Admitted::Later => {
                self.is_queued(id);
                return Ok(());
            }
            Admitted::Refused { limit } => return Err(ResumeError::TooManyLive { limit }),
        }
        match self.take_up(id, retries, true) {
            Ok(shown) => shown.wait().await.map_err(of_append),
            Err(error) => {
                self.live_is_over();
                Err(error)
            }
        }
    }

    async fn resume_here(
        self: &Arc<Self>,
        session: &Arc<Session>,
        retries: bool,
    ) -> Result<(), ResumeError> {
        if retries {
            session.plan_again()?.wait().await.map_err(of_append)?;
        }
        match self.start_admitted(session)? {
            Some(shown) => shown.wait().await.map_err(of_append),
            None => Ok(()),
        }
    }

    /// Starts a session of this process, where there is a place for it now.
    fn start_admitted(
        self: &Arc<Self>,
        session: &Arc<Session>,
    ) -> Result<Option<Shown>, ResumeError> {
        let _starting = self.starting();
        if let Some(cause) = self.closing() {
            return Err(ResumeError::ShuttingDown(cause));
        }
        match self.admission().ask_live(session.id) {
            Admitted::Now => {}
            Admitted::Later => return Ok(None),
            Admitted::Refused { limit } => return Err(ResumeError::TooManyLive { limit }),
        }
        let started = self.start_here(session, true);
        if started.is_err() {
            self.live_is_over();
        }
        started.map(Some)
    }

    /// Starts a session of the store that has got its place. Whether it wanted it.
    pub(crate) fn start_stored(self: &Arc<Self>, id: SessionId) -> bool {
        let Ok(shown) = self.take_up(id, false, true) else {
            self.is_queued_no_more(id);
            return false;
        };
        let shared = Arc::clone(self);
        // Until it is shown it is suspended for all others.
        rt::spawn(async move {
            // Where it is lost, its task says so.
            let _lost = shown.wait().await;
            shared.is_queued_no_more(id);
        });
        true
    }

    /// Claims a session of the store, and runs its body over its journal.
    pub(crate) fn take_up(
        self: &Arc<Self>,
        id: SessionId,
        retries: bool,
        has_place: bool,
    ) -> Result<Shown, ResumeError> {
        let Some(store) = self.store.clone() else { return Err(ResumeError::NotFound(id)) };
        let starting = self.starting();
        if let Some(cause) = self.closing() {
            return Err(ResumeError::ShuttingDown(cause));
        }
        let mut loaded = load(self, id)?;
        let state = loaded.machine.session().state().name();
        if loaded.is_owned() {
            return Err(ResumeError::Owned { state });
        }
        let now = self.clock.now();
        let mut change = Change::new(now, loaded.interrupt(self));
        let state = loaded.machine.session().state().name();
        if retries {
            let retried = loaded.machine.handle(now, Input::Retry);
            change.transition.append(retried.map_err(|_| ResumeError::NotRetryable { state })?);
        } else if state.is_terminal() {
            return Err(ResumeError::Ended { state });
        }
        let mut journal = self.journal(&loaded)?;
        let (body, version) = (Arc::clone(&loaded.about.body), loaded.about.version);
        let bodies = self.bodies();
        let Some(erased) = bodies.get(&body, version).cloned() else {
            let versions = bodies.versions(&body).collect();
            return Err(ResumeError::NoBody { body, version, versions });
        };
        drop(bodies);
        let last_entry = loaded.info.last_entry;
        let mut offers = HashMap::new();
        if retries {
            offers = offers_of(std::mem::take(&mut journal.entries));
            journal.start = Start { at: now.wall, seed: seed(), ..journal.start };
            change.journal.push(Record::Start(journal.start.clone()).encode());
            loaded.about.offers_from = loaded.about.first_entry;
            loaded.about.first_entry = last_entry + 1;
            loaded.about.started_at = None;
            loaded.about.emitted = 0;
            loaded.about.idle_starts = 0;
        } else if loaded.about.offers_from > 0 {
            let About { offers_from, first_entry, .. } = loaded.about;
            offers = offers_of(self.records(&loaded, offers_from, first_entry)?);
        }
        let about = &mut loaded.about;
        if about.entries_at_start != last_entry {
            about.idle_starts = 0;
        }
        if about.idle_starts >= MAX_IDLE_STARTS && !retries {
            let starts = about.idle_starts;
            return self.give_up(loaded, change, starts);
        }
        about.idle_starts += 1;
        about.entries_at_start = last_entry + change.journal.len() as u64;
        about.is_queued = false;
        about.started_at.get_or_insert(now.wall);
        let epoch = loaded.info.epoch;
        let before = loaded.machine.session().clone();
        let claimed = loaded.machine.handle(now, Input::Claim(self.owner(epoch + 1)));
        change.transition.append(claimed.map_err(|_| ResumeError::Owned { state })?);
        change.is_claim = true;

        let mut recorded = Box::new(Recorded::new(&journal.start, journal.entries));
        recorded.offers = offers;
        let Loaded { info, machine, about, .. } = loaded;
        let link = Link::new(info.stream, about, Fence::Claim { epoch }, info.last_seq);
        let shared = Arc::clone(self);
        let link = Some(Box::new(link));
        let session = Arc::new(Session::new(shared, id, machine, body, Some(recorded), link));
        let mut launch = FromText { body: erased, input: journal.start.input.get().into() };
        let body = launch.launch(session.context()).map_err(|error| match error {
            LaunchError::Input(error) => ResumeError::Input(Arc::new(error)),
            LaunchError::OnlyOnce => ResumeError::OnlyOnce,
        })?;
        let mut effects = Effects::default();
        let mut state = session.lock();
        state.launch = Some(Box::new(launch));
        state.has_live_place = has_place;
        let shown = session.commit(&mut state, Some(before), change, &mut effects);
        drop(state);
        effects.carry_out(&session);
        if let Shown::Lost(error) = shown {
            return Err(of_append(error));
        }
        if let Shown::Now = shown {
            session.lock().is_listed = true;
            self.insert(Arc::clone(&session));
        }
        drop(store);
        self.run(&session, body, starting);
        Ok(shown)
    }

    /// It was started again and again and recorded nothing: it fails.
    fn give_up(
        self: &Arc<Self>,
        mut loaded: Loaded,
        mut change: Change,
        starts: u32,
    ) -> Result<Shown, ResumeError> {
        let Some(store) = &self.store else { return Err(ResumeError::CrashLoop { starts }) };
        if let Ok(failed) = loaded.machine.handle(change.now, Input::CrashLoop { starts }) {
            change.transition.append(failed);
            let children = self.children_of(&loaded);
            // Whoever was faster will find the same.
            let failed = loaded.write(&**store, change).map_err(of_append)?;
            let shared = Arc::clone(self);
            rt::spawn(async move {
                if failed.acked().await.is_ok() {
                    children.into_iter().for_each(|child| shared.stop_child(child));
                }
            });
        }
        Err(ResumeError::CrashLoop { starts })
    }

    /// The journal of the last attempt.
    pub(crate) fn journal(&self, loaded: &Loaded) -> Result<Journal, ResumeError> {
        let mut entries = self.records(loaded, loaded.about.first_entry, u64::MAX)?;
        let start = start_in(loaded, entries.pop_front())?;
        Ok(Journal { start, entries })
    }

    /// How the last attempt began, without what came after.
    pub(crate) fn start_of(&self, loaded: &Loaded) -> Result<Start, ResumeError> {
        let first = loaded.about.first_entry;
        start_in(loaded, self.records(loaded, first, first + 1)?.pop_front())
    }

    /// The journal's entries from one number up to another.
    fn records(
        &self,
        loaded: &Loaded,
        from: u64,
        to: u64,
    ) -> Result<VecDeque<Record>, ResumeError> {
        let mut records = VecDeque::new();
        let Some(store) = &self.store else { return Ok(records) };
        let mut after = from - 1;
        while after + 1 < to {
            let limit = usize::try_from(to - after - 1).map_or(BATCH, |left| left.min(BATCH));
            let page =
                store.journal(&loaded.info.stream, after, limit).map_err(ResumeError::Read)?;
            let Some(last) = page.last() else { break };
            after = last.number;
            for entry in page.iter().take_while(|entry| entry.number < to) {
                let record = Record::decode(&entry.data).map_err(|error| {
                    unreadable(loaded, format!("entry {}: {error}", entry.number))
                })?;
                records.push_back(record);
            }
        }
        Ok(records)
    }

    /// Leads a body over the journal of a recorded session, and writes nothing.
    pub(crate) fn verify(
        &self,
        body: &dyn ErasedBody,
        id: SessionId,
    ) -> Result<Verified, VerifyError> {
        let journal = load(self, id).map_err(ResumeError::from);
        let journal = journal.and_then(|loaded| self.journal(&loaded));
        rehearse(body, id, journal.map_err(Box::new)?)
    }

    /// Takes up what was left of a body, or of all registered ones. How many there were.
    pub(crate) async fn recover(self: &Arc<Self>, body: Option<&str>) -> Result<usize, GetError> {
        let Some(store) = self.store.clone().filter(|_| self.is_durable) else { return Ok(0) };
        let states =
            [StateName::Planned, StateName::Running, StateName::Paused, StateName::Suspended];
        let given_up: Vec<_> = self.given_up().keys().copied().collect();
        for id in given_up {
            if let Err(error) = self.let_go_of_given_up(id).await {
                tracing::warn!(session = %id, "it is given up and cannot be let go of: {error}");
            }
        }
        let mut after = 0;
        let mut count = 0;
        loop {
            let filter = Filter::of(StreamKind::Session).states(&states).after(after).limit(BATCH);
            let page = store.list(&filter).map_err(GetError::Read)?;
            let Some(last) = page.last().and_then(|info| info.number) else { return Ok(count) };
            after = last;
            let mut taken = Vec::new();
            for info in page {
                if body.is_none_or(|body| is_of(&info, body))
                    && let Some(first) = self.recover_one(&info)
                {
                    taken.push((info, first));
                }
            }
            for (info, first) in taken {
                count += usize::from(self.recovered(&info, first).await);
            }
            if self.closing().is_some() {
                return Ok(count);
            }
        }
    }

    /// Waits until what was done with a session is acknowledged. Whether it was done.
    async fn recovered(self: &Arc<Self>, info: &StreamInfo, first: Taken) -> bool {
        let mut taken = first;
        for _ in 0..TRIES {
            let is_done = match taken {
                Taken::Up(shown) => shown.wait().await.is_ok(),
                Taken::Told(appended) => appended.acked().await.is_ok(),
                Taken::Late => false,
            };
            if is_done {
                return true;
            }
            // Somebody else was faster, and may have told no more than that it is suspended.
            let Some(next) = self.recover_one(info) else { return false };
            taken = next;
        }
        false
    }

    /// Whether a session has ended, or is no longer known.
    fn has_gone(&self, id: SessionId) -> bool {
        let Some(store) = &self.store else { return false };
        match store.info(&Stream::Session(id)) {
            Ok(info) => info.state.is_terminal(),
            Err(error) => matches!(error, ReadError::NotFound { .. }),
        }
    }

    /// The children of a session that nobody runs, which end with it.
    pub(crate) fn children_of(&self, loaded: &Loaded) -> Vec<SessionId> {
        let Stream::Session(parent) = loaded.info.stream else { return Vec::new() };
        let Ok(journal) = self.journal(loaded) else { return Vec::new() };
        let mut open = HashMap::new();
        for record in journal.entries {
            match record {
                Record::Opened(Opened { key, what: What::Child(child), .. }) => {
                    open.insert(key, child);
                }
                Record::Done(done) => {
                    open.remove(&done.key);
                }
                _ => {}
            }
        }
        // Not those that go their own way, nor those that never began.
        let is_child = |child: &SessionId| {
            load(self, *child).is_ok_and(|loaded| loaded.about.parent == Some(parent))
        };
        open.into_values().filter(is_child).collect()
    }

    /// A child whose parent ended while nobody ran it: it ends as well.
    fn end_orphan(&self, mut loaded: Loaded, interrupted: Transition) -> Option<Taken> {
        let store = self.store.as_ref()?;
        let now = self.clock.now();
        let cause = CancelInfo::new(CancelCode::Parent, "its parent has ended", now.wall);
        let ended = loaded.machine.handle(now, Input::Cancel(cause)).ok()?;
        let mut change = Change::new(now, interrupted);
        change.transition.append(ended);
        loaded.about.asks.clear();
        Some(Taken::Told(loaded.write(&**store, change).ok()?))
    }

    /// Takes up one session, where it is to go on by itself; one whose body is not here is told to
    /// be suspended, where it lost its process.
    fn recover_one(self: &Arc<Self>, info: &StreamInfo) -> Option<Taken> {
        let (Stream::Session(id), Some(store)) = (&info.stream, &self.store) else { return None };
        if info.owner.is_some_and(|owner| store.is_alive(owner)) {
            return None;
        }
        let mut loaded = load(self, *id).ok().filter(|loaded| !loaded.is_owned())?;
        let interrupted = loaded.interrupt(self);
        if loaded.about.parent.is_some_and(|parent| self.has_gone(parent)) {
            return self.end_orphan(loaded, interrupted);
        }
        let goes_on = match loaded.machine.session().state() {
            SessionState::Planned => loaded.about.is_queued,
            SessionState::Paused(_) => true,
            SessionState::Suspended(cause) => matches!(
                cause,
                SuspendCause::Interrupted | SuspendCause::Shutdown | SuspendCause::Answered
            ),
            _ => false,
        };
        let is_registered = self.bodies().get(&loaded.about.body, loaded.about.version).is_some();
        if goes_on && is_registered && self.options.recovery == Recovery::Automatic {
            // A child goes on when its parent does, and needs no place.
            let needs_place = loaded.about.parent.is_none();
            let admitted = if needs_place { self.admission().ask_live(*id) } else { Admitted::Now };
            match admitted {
                Admitted::Now => {}
                Admitted::Later => {
                    self.is_queued(*id);
                    return None;
                }
                Admitted::Refused { .. } => return None,
            }
            return match self.take_up(*id, false, needs_place) {
                Ok(shown) => Some(Taken::Up(shown)),
                Err(error) => {
                    if needs_place {
                        self.live_is_over();
                    }
                    if matches!(error, ResumeError::Owned { .. }) {
                        return Some(Taken::Late);
                    }
                    tracing::warn!(session = %id, "the session does not go on: {error}");
                    None
                }
            };
        }
        if !loaded.is_left_behind {
            return None;
        }
        let change = Change::new(self.clock.now(), interrupted);
        Some(Taken::Told(loaded.write(&**store, change).ok()?))
    }
}

impl Session {
    /// Another attempt is planned.
    fn plan_again(&self) -> Result<Shown, ResumeError> {
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut state = self.lock();
        if self.shared.get(self.id).is_none() {
            // Collected since it was found.
            return Err(ResumeError::NotFound(self.id));
        }
        let retried = self.decide(&mut state, now, Input::Retry, &mut effects);
        drop(state);
        effects.carry_out(self);
        retried.map_err(|refused| ResumeError::NotRetryable { state: refused.state })
    }
}

/// What was done with a session that was left.
enum Taken {
    /// It goes on.
    Up(Shown),
    /// It is told to be suspended.
    Told(Appended),
    /// Somebody else was faster.
    Late,
}

/// The first entry of an attempt, which must be its start.
fn start_in(loaded: &Loaded, first: Option<Record>) -> Result<Start, ResumeError> {
    match first {
        Some(Record::Start(start)) if start.format <= FORMAT => Ok(start),
        Some(Record::Start(start)) => Err(unreadable(
            loaded,
            format!(
                "its journal is of format {}, and this version knows formats up to {FORMAT}",
                start.format
            ),
        )),
        _ => Err(unreadable(loaded, "its journal does not begin with its start".to_owned())),
    }
}

fn unreadable(loaded: &Loaded, message: String) -> ResumeError {
    match &loaded.info.stream {
        Stream::Session(id) => ResumeError::Unreadable { session: *id, message: message.into() },
        _ => ResumeError::NotFound(SessionId::generate()),
    }
}

/// The results of an attempt that the next one need not bring about again.
fn offers_of(entries: VecDeque<Record>) -> HashMap<OpKey, Payload> {
    let done = entries.into_iter().filter_map(|record| match record {
        Record::Done(done) => Some(done),
        _ => None,
    });
    done.filter_map(|done| match done.result {
        KeptResult::Ok(value) if done.key.kind == Kind::Step => {
            Some((done.key, value.get().to_owned()))
        }
        _ => None,
    })
    .collect()
}

/// Whether a list calls the session by the name of this body.
fn is_of(info: &StreamInfo, body: &str) -> bool {
    info.label.strip_prefix(body).is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

fn of_append(error: AppendError) -> ResumeError {
    match error {
        AppendError::Owned { .. } | AppendError::EpochPassed { .. } => {
            ResumeError::Owned { state: StateName::Running }
        }
        error => ResumeError::Store(error),
    }
}
