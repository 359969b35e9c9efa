//! Sessions that are not in this process: read from the store, asked of their owner, or decided
//! here where they have none (STORE-009).
//!
//! There is one way to decide: the machine of [`machine`](crate::machine), restored from the
//! snapshot, and the checks of [`driver`](crate::driver). It runs here, in the owner, or in a
//! session of this process.

use std::sync::{Arc, Weak};

use holdpoint_core::event::{EventKind, Stream};
use holdpoint_core::session::{Owner, QuestionId, SessionState, StateName, SuspendCause, Usage};
use holdpoint_core::store::{
    AppendError, Appended, Fence, ReadError, Reply, RequestError, Responder, Store, StreamInfo,
};
use holdpoint_core::{CancelInfo, SessionId};
use serde::{Deserialize, Serialize};

use super::driver::{
    About, Change, Done, Given, Kept, KeptResult, Link, Record, Shared, Shown, check_open,
    open_questions,
};
use super::handle::let_go;
use super::rt;
use crate::error::{AnswerError, CancelError, GetError, RemoteError, ResumeError, SpawnError};
use crate::machine::{Answered, Input, Machine};
use crate::report::Snapshot;

/// How many events are read at a time.
const BATCH: usize = 256;

/// How often a decision is made anew because somebody else was faster.
const TRIES: u32 = 64;

/// What one process asks of another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Answer(Vec<WireAnswer>),
    Cancel(CancelInfo),
}

#[derive(Debug, Serialize, Deserialize)]
struct WireAnswer {
    question: QuestionId,
    value: String,
    #[serde(default)]
    by: Option<Arc<str>>,
    #[serde(default)]
    reason: Option<Arc<str>>,
    #[serde(default)]
    usage: Option<Usage>,
}

/// What the other says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    StillOpen(Vec<QuestionId>),
    Cancelled,
    NotOpen(Vec<QuestionId>),
    NothingOpen(StateName),
    AlreadyCancelled(CancelInfo),
    Ended(StateName),
    Refused(Arc<str>),
}

/// A session as it is stored, to decide about.
pub(crate) struct Loaded {
    pub(crate) info: StreamInfo,
    pub(crate) machine: Machine,
    pub(crate) about: About,
    /// Its owner died, and nobody has said so yet.
    pub(crate) is_left_behind: bool,
}

/// Reads a session from the store.
pub(crate) fn load(shared: &Shared, id: SessionId) -> Result<Loaded, GetError> {
    let Some(store) = &shared.store else { return Err(GetError::NotFound(id)) };
    let stream = Stream::Session(id);
    let unreadable = |message: Arc<str>| GetError::Unreadable { session: id, message };
    let read = |error: ReadError| match error {
        ReadError::NotFound { .. } => GetError::NotFound(id),
        error => GetError::Read(error),
    };
    // First who owns it, then how it stands: so a claim of what was read fails where somebody
    // else came in between.
    let info = store.info(&stream).map_err(read)?;
    let snapshot = store.snapshot(&stream).map_err(read)?;
    let snapshot = snapshot.ok_or_else(|| unreadable("it has no snapshot".into()))?;
    let kept =
        Kept::decode(&snapshot.data).map_err(|error| unreadable(error.to_string().into()))?;
    let (machine, mut about) = kept
        .restore(shared.clock.now().wall)
        .map_err(|error| unreadable(error.to_string().into()))?;
    about.emitted += progress_after(&**store, &info, snapshot.seq).map_err(read)?;
    let is_left_behind = info.owner.is_some_and(|owner| !store.is_alive(owner));
    Ok(Loaded { info, machine, about, is_left_behind })
}

/// How often the body told of its progress since the last snapshot.
fn progress_after(store: &dyn Store, info: &StreamInfo, mut seq: u64) -> Result<u64, ReadError> {
    let mut count = 0;
    while seq < info.last_seq {
        let page = store.events(&info.stream, seq, BATCH)?;
        let Some(last) = page.last() else { break };
        seq = last.seq;
        for event in &page {
            count += u64::from(matches!(event.event()?.kind, EventKind::SessionProgress { .. }));
        }
    }
    Ok(count)
}

impl Loaded {
    /// Whether a living process owns it.
    pub(crate) fn is_owned(&self) -> bool {
        self.info.owner.is_some() && !self.is_left_behind
    }

    /// Its owner is dead: it is as if it had let go (SESS-018).
    pub(crate) fn interrupt(&mut self, shared: &Shared) -> holdpoint_core::session::Transition {
        if !self.is_left_behind || self.machine.session().owner().is_none() {
            return Default::default();
        }
        let lost = Input::Suspend(SuspendCause::Interrupted);
        self.machine.handle(shared.clock.now(), lost).unwrap_or_default()
    }

    /// Writes a decision about a session that nobody owns: claimed, decided and let go in one.
    pub(crate) fn write(
        self,
        store: &dyn Store,
        mut change: Change,
    ) -> Result<Appended, AppendError> {
        (change.is_claim, change.is_release) = (true, true);
        let fence = Fence::Claim { epoch: self.info.epoch };
        self.append(store, fence, &change)
    }

    /// Lets go of a session that this process owns and does not run.
    pub(crate) fn release(
        self,
        store: &dyn Store,
        mut change: Change,
    ) -> Result<Appended, AppendError> {
        change.is_release = true;
        let fence = Fence::Owned { epoch: self.info.epoch };
        self.append(store, fence, &change)
    }

    fn append(
        self,
        store: &dyn Store,
        fence: Fence,
        change: &Change,
    ) -> Result<Appended, AppendError> {
        let link = Link::new(self.info.stream, self.about, fence, self.info.last_seq);
        link.append_once(store, &self.machine, change)
    }
}

/// Where a session of the store stands, for those who look again and again: it is read only where
/// it has changed.
#[derive(Debug, Default)]
pub(crate) struct Look {
    last: Option<(Marks, SessionState)>,
}

/// What no change of a session's state leaves as it was: its epoch, its last event and its owner,
/// and whether that one has died.
type Marks = (u64, u64, Option<Owner>, bool);

impl Look {
    /// Where the session stands now.
    pub(crate) fn state(
        &mut self,
        shared: &Shared,
        id: SessionId,
    ) -> Result<&SessionState, GetError> {
        let _outdated = self.last.take_if(|(marks, _)| has_changed(shared, id, *marks));
        if self.last.is_none() {
            let mut loaded = load(shared, id)?;
            let marks = marks_of(&loaded.info, loaded.is_left_behind);
            let _ = loaded.interrupt(shared);
            self.last = Some((marks, loaded.machine.session().state().clone()));
        }
        let (_, state) = self.last.as_ref().ok_or(GetError::NotFound(id))?;
        Ok(state)
    }
}

fn marks_of(info: &StreamInfo, is_left_behind: bool) -> Marks {
    (info.epoch, info.last_seq, info.owner, is_left_behind)
}

/// Whether a session is not as it was; where that cannot be told it is to be read, which tells why.
fn has_changed(shared: &Shared, id: SessionId, before: Marks) -> bool {
    let Some(store) = &shared.store else { return true };
    let info = store.info(&Stream::Session(id));
    info.map_or(true, |info| {
        let is_left_behind = info.owner.is_some_and(|owner| !store.is_alive(owner));
        marks_of(&info, is_left_behind) != before
    })
}

/// A session as it is stored.
pub(crate) fn snapshot(shared: &Shared, id: SessionId) -> Result<Snapshot, GetError> {
    let mut loaded = load(shared, id)?;
    let _ = loaded.interrupt(shared);
    let session = loaded.machine.session();
    Ok(Snapshot {
        id,
        body: Arc::clone(&loaded.about.body),
        state: session.state().clone(),
        cancel_requested: session.cancel_requested().cloned(),
        attempt: session.attempt(),
        starts: session.starts(),
        last_seq: loaded.info.last_seq,
        updated_at: loaded.info.updated_at,
    })
}

/// The input of a session as it is stored.
pub(crate) fn input(shared: &Shared, id: SessionId) -> Result<String, GetError> {
    let start = shared.start_of(&load(shared, id)?).map_err(|error| of_journal(id, error))?;
    Ok(start.input.get().to_owned())
}

/// What the last attempt has recorded under a name.
pub(crate) fn recorded(
    shared: &Shared,
    id: SessionId,
    name: &str,
) -> Result<Option<String>, GetError> {
    let journal = shared.journal(&load(shared, id)?).map_err(|error| of_journal(id, error))?;
    Ok(journal.entries.iter().rev().find_map(|record| match record {
        Record::Done(Done { key, result: KeptResult::Ok(value), .. }) if *key.name == *name => {
            Some(value.get().to_owned())
        }
        _ => None,
    }))
}

fn of_journal(session: SessionId, error: ResumeError) -> GetError {
    match error {
        ResumeError::Read(error) => GetError::Read(error),
        ResumeError::Unreadable { message, .. } => GetError::Unreadable { session, message },
        error => GetError::Unreadable { session, message: error.to_string().into() },
    }
}

/// The session that has a key, where that is why a new one was not made.
pub(crate) fn find_by_key(
    shared: &Shared,
    key: Option<Arc<str>>,
    body: Arc<str>,
    error: AppendError,
) -> Result<SessionId, SpawnError> {
    let (Some(key), AppendError::KeyTaken { stream: Stream::Session(id), .. }) = (key, &error)
    else {
        return Err(SpawnError::Store(error));
    };
    let other = match load(shared, *id) {
        Ok(loaded) => loaded.about.body,
        Err(GetError::Read(error)) => return Err(SpawnError::Read(error)),
        Err(_) => return Ok(*id),
    };
    if other == body {
        Ok(*id)
    } else {
        Err(SpawnError::KeyOfAnother { key, session: *id, body: other })
    }
}

/// What became of one try to decide.
enum Tried<T> {
    Decided(T),
    /// Somebody else was faster: look again.
    Again,
}

/// Answers a session that is not in this process.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    id: SessionId,
    mut given: Vec<Given>,
) -> Result<Vec<QuestionId>, AnswerError> {
    for _ in 0..TRIES {
        if let Some(session) = shared.get(id).filter(|session| !session.has_left()) {
            if let Some((shown, still_open)) = session.answer(&mut given)? {
                shown.wait().await.map_err(AnswerError::Store)?;
                return Ok(still_open);
            }
            let_go(&session).await;
        }
        shared.let_go_of_given_up(id).await.map_err(AnswerError::Store)?;
        let loaded = load(shared, id).map_err(AnswerError::from)?;
        let tried = if loaded.is_owned() {
            ask_answer(shared, id, &given).await?
        } else {
            answer_unowned(shared, loaded, &given).await?
        };
        if let Tried::Decided(still_open) = tried {
            return Ok(still_open);
        }
        rt::yield_now().await;
    }
    Err(AnswerError::Remote(RemoteError::Busy))
}

async fn ask_answer(
    shared: &Shared,
    id: SessionId,
    given: &[Given],
) -> Result<Tried<Vec<QuestionId>>, AnswerError> {
    let wire = given.iter().map(WireAnswer::from).collect();
    let Some(answer) = ask(shared, id, &Request::Answer(wire)).await? else {
        return Ok(Tried::Again);
    };
    match answer {
        Answer::StillOpen(open) => Ok(Tried::Decided(open)),
        Answer::NotOpen(questions) => Err(AnswerError::NotOpen { questions }),
        Answer::NothingOpen(state) => Err(AnswerError::NothingOpen { state }),
        Answer::AlreadyCancelled(cause) => Err(AnswerError::AlreadyCancelled(cause)),
        Answer::Refused(message) => Err(AnswerError::Remote(RemoteError::Refused(message))),
        _ => Err(AnswerError::Remote(RemoteError::Unknown)),
    }
}

async fn answer_unowned(
    shared: &Shared,
    mut loaded: Loaded,
    given: &[Given],
) -> Result<Tried<Vec<QuestionId>>, AnswerError> {
    let Some(store) = &shared.store else { return Ok(Tried::Again) };
    let now = shared.clock.now();
    let mut change = Change::new(now, loaded.interrupt(shared));
    check_open(&loaded.machine, given)?;
    for answer in given {
        if answer.is_secret(&loaded.machine) {
            return Err(AnswerError::SecretUnowned { question: answer.question });
        }
    }
    let answered: Vec<Answered> = given.iter().map(Given::answered).collect();
    let transition = loaded
        .machine
        .handle(now, Input::Answer(&answered))
        .map_err(|refused| AnswerError::NothingOpen { state: refused.state })?;
    change.transition.append(transition);
    for answer in given {
        let asks = &mut loaded.about.asks;
        if let Some(place) = asks.iter().position(|(id, _)| *id == answer.question) {
            let (_, key) = asks.remove(place);
            let done = Done::new(key, now.wall, &Ok(answer.value.clone()));
            change.journal.push(Record::Done(done).encode());
        }
    }
    let still_open = open_questions(&loaded.machine);
    match written(loaded.write(&**store, change)).await {
        Ok(Tried::Decided(())) => Ok(Tried::Decided(still_open)),
        Ok(Tried::Again) => Ok(Tried::Again),
        Err(error) => Err(AnswerError::Store(error)),
    }
}

/// Asks a session that is not in this process to stop.
pub(crate) async fn cancel(
    shared: &Arc<Shared>,
    id: SessionId,
    cause: CancelInfo,
) -> Result<(), CancelError> {
    for _ in 0..TRIES {
        if let Some(session) = shared.get(id).filter(|session| !session.has_left()) {
            if let Some(shown) = session.cancel(cause.clone())? {
                return shown.wait().await.map_err(CancelError::Store);
            }
            let_go(&session).await;
        }
        shared.let_go_of_given_up(id).await.map_err(CancelError::Store)?;
        let loaded = load(shared, id).map_err(CancelError::from)?;
        let tried = if loaded.is_owned() {
            match ask(shared, id, &Request::Cancel(cause.clone())).await? {
                None => Tried::Again,
                Some(Answer::Cancelled) => Tried::Decided(()),
                Some(Answer::Ended(state)) => return Err(CancelError::Ended { state }),
                Some(Answer::Refused(message)) => {
                    return Err(CancelError::Remote(RemoteError::Refused(message)));
                }
                Some(_) => return Err(CancelError::Remote(RemoteError::Unknown)),
            }
        } else {
            cancel_unowned(shared, loaded, cause.clone()).await?
        };
        if let Tried::Decided(()) = tried {
            return Ok(());
        }
        rt::yield_now().await;
    }
    Err(CancelError::Remote(RemoteError::Busy))
}

async fn cancel_unowned(
    shared: &Arc<Shared>,
    mut loaded: Loaded,
    cause: CancelInfo,
) -> Result<Tried<()>, CancelError> {
    let Some(store) = &shared.store else { return Ok(Tried::Again) };
    let now = shared.clock.now();
    let mut change = Change::new(now, loaded.interrupt(shared));
    let transition = loaded
        .machine
        .handle(now, Input::Cancel(cause))
        .map_err(|refused| CancelError::Ended { state: refused.state })?;
    if transition.is_empty() {
        return Ok(Tried::Decided(()));
    }
    change.transition.append(transition);
    loaded.about.asks.clear();
    let children = shared.children_of(&loaded);
    let tried = written(loaded.write(&**store, change)).await.map_err(CancelError::Store)?;
    if let Tried::Decided(()) = tried {
        children.into_iter().for_each(|child| shared.stop_child(child));
    }
    Ok(tried)
}

/// Waits for a write; whether somebody else was faster.
async fn written(appended: Result<Appended, AppendError>) -> Result<Tried<()>, AppendError> {
    let result = match appended {
        Ok(appended) => appended.acked().await,
        Err(error) => Err(error),
    };
    match result {
        Ok(_) => Ok(Tried::Decided(())),
        Err(
            AppendError::EpochPassed { .. }
            | AppendError::Owned { .. }
            | AppendError::OutOfOrder { .. }
            | AppendError::LostOwnership { .. },
        ) => Ok(Tried::Again),
        Err(error) => Err(error),
    }
}

/// Asks the owner; none where it has changed meanwhile.
async fn ask(
    shared: &Shared,
    id: SessionId,
    request: &Request,
) -> Result<Option<Answer>, RemoteError> {
    let Some(store) = &shared.store else { return Ok(None) };
    let bytes = serde_json::to_vec(request).map_err(|_| RemoteError::Unknown)?;
    let result = match store.request(&Stream::Session(id), &bytes) {
        Ok(ticket) => ticket.await,
        Err(error) => Err(error),
    };
    match result {
        Ok(answer) => serde_json::from_slice(&answer).map(Some).map_err(|_| RemoteError::Unknown),
        Err(RequestError::Unowned { .. } | RequestError::Own { .. }) => Ok(None),
        Err(error) => Err(RemoteError::Request(error)),
    }
}

/// Answers what other processes ask of sessions of this one.
pub(crate) struct Desk {
    shared: Weak<Shared>,
    runtime: rt::Runtime,
}

impl Desk {
    pub(crate) fn new(shared: &Arc<Shared>, runtime: rt::Runtime) -> Self {
        Self { shared: Arc::downgrade(shared), runtime }
    }
}

impl Responder for Desk {
    fn request(&self, stream: &Stream, request: &[u8], reply: Reply) {
        let (Some(shared), Stream::Session(id)) = (self.shared.upgrade(), stream) else { return };
        let send = |answer: &Answer, reply: Reply| {
            if let Ok(bytes) = serde_json::to_vec(answer) {
                reply.send(bytes);
            }
        };
        let known = shared.get(*id);
        let Some(session) = known.clone().filter(|session| !session.has_left()) else {
            if known.is_some() || shared.given_up().contains_key(id) {
                let id = *id;
                self.runtime.spawn(async move {
                    match shared.let_go_of_given_up(id).await {
                        Ok(()) => drop(reply),
                        Err(error) => send(&Answer::Refused(error.to_string().into()), reply),
                    }
                });
            }
            // Dropped, the reply says that it is not owned here.
            return;
        };
        let decided = match serde_json::from_slice::<Request>(request) {
            Ok(Request::Answer(answers)) => {
                let mut given = answers.into_iter().map(Given::from).collect();
                match session.answer(&mut given) {
                    Ok(taken) => Ok(taken.map(|(shown, open)| (shown, Answer::StillOpen(open)))),
                    Err(error) => Err(Answer::from(&error)),
                }
            }
            Ok(Request::Cancel(cause)) => match session.cancel(cause) {
                Ok(taken) => Ok(taken.map(|shown| (shown, Answer::Cancelled))),
                Err(CancelError::Ended { state }) => Err(Answer::Ended(state)),
                Err(error) => Err(Answer::Refused(error.to_string().into())),
            },
            Err(_) => Err(Answer::Refused("the request is not understood".into())),
        };
        match decided {
            Err(refusal) => send(&refusal, reply),
            Ok(None) => self.runtime.spawn(async move {
                let_go(&session).await;
                drop(reply);
            }),
            Ok(Some((Shown::Now, answer))) => send(&answer, reply),
            Ok(Some((shown, answer))) => self.runtime.spawn(async move {
                match shown.wait().await {
                    Ok(()) => send(&answer, reply),
                    Err(error) => send(&Answer::Refused(error.to_string().into()), reply),
                }
            }),
        }
    }
}

impl From<&Given> for WireAnswer {
    fn from(given: &Given) -> Self {
        let Given { question, value, by, reason, usage } = given.clone();
        Self { question, value, by, reason, usage }
    }
}

impl From<WireAnswer> for Given {
    fn from(wire: WireAnswer) -> Self {
        let WireAnswer { question, value, by, reason, usage } = wire;
        Self { question, value, by, reason, usage }
    }
}

impl From<&AnswerError> for Answer {
    fn from(error: &AnswerError) -> Self {
        match error {
            AnswerError::NotOpen { questions } => Self::NotOpen(questions.clone()),
            AnswerError::NothingOpen { state } => Self::NothingOpen(*state),
            AnswerError::AlreadyCancelled(cause) => Self::AlreadyCancelled(cause.clone()),
            error => Self::Refused(error.to_string().into()),
        }
    }
}
