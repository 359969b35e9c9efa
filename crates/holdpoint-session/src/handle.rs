//! What callers hold of a session.

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use holdpoint_core::session::{Question, QuestionId, SessionState, SuspendCause, Usage};
use holdpoint_core::store::Changes;
use holdpoint_core::{CancelCode, CancelInfo, SessionId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::driver::{Given, MAX_VALUE, Orders, Place, Session, Shared, fitting_cause};
use super::observe::{Observer, Since};
use super::stored::{self, Look};
use crate::error::{AnswerError, CancelError, GetError, ReleaseError, ResumeError, RunError};
use crate::report::{Outcome, Snapshot};

/// A session, whatever its output: to look at it, to answer, cancel, resume and await it.
///
/// Clones are the same session. Holding one keeps the session readable after it was collected; it
/// neither keeps it running nor stops it.
///
/// A session that runs in this process answers from memory. Any other is read from the store, and
/// what is asked of it is asked of its owner or, where it has none, decided here (STORE-009).
#[derive(Clone)]
pub struct SessionHandle {
    pub(crate) shared: Arc<Shared>,
    id: SessionId,
    here: Option<Arc<Session>>,
}

/// A session with its output's type: a [`SessionHandle`], and a future of the output.
///
/// ```
/// # use holdpoint_session::{Sessions, SessionContext, BodyError};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Sessions::new();
/// let double = sessions.register("double", async |_: SessionContext, n: u32| Ok::<_, BodyError>(2 * n))?;
/// let run = double.spawn(21).await?;
/// assert_eq!(run.await?, 42);
/// # Ok(()) }
/// ```
pub struct Run<O> {
    handle: SessionHandle,
    /// Behind a lock that nobody takes, so that a shared run can be used on any thread.
    waits: Option<Mutex<Waits>>,
    place: Place,
    decode: Decode<O>,
}

type Waits = Pin<Box<dyn Future<Output = Result<Outcome, RunError>> + Send>>;

/// Whoever has a reference can use it, in a spawned task too.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Run<u64>>();
};

/// Reads an output from its text.
pub(crate) type Decode<O> = fn(&str) -> Result<O, String>;

/// Answers about to be given.
///
/// ```
/// # use holdpoint_session::Answers;
/// # use holdpoint_core::session::QuestionId;
/// let answers = Answers::new().answer(QuestionId(1), true).answer(QuestionId(2), "main").by("ann");
/// # let _ = answers;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Answers {
    answers: Vec<Single>,
    by: Option<Arc<str>>,
    reason: Option<Arc<str>>,
}

/// A question, the answer as text or why it has none, and what it used.
type Single = (QuestionId, Result<String, Arc<str>>, Option<Usage>);

impl Answers {
    /// No answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    #[must_use]
    pub fn answer(mut self, question: QuestionId, value: impl Serialize) -> Self {
        let value = serde_json::to_string(&value).map_err(|error| error.to_string().into());
        self.answers.push((question, value, None));
        self
    }

    /// One more, with what it used (SESS-013).
    #[must_use]
    pub fn answer_using(
        mut self,
        question: QuestionId,
        value: impl Serialize,
        usage: Usage,
    ) -> Self {
        let value = serde_json::to_string(&value).map_err(|error| error.to_string().into());
        self.answers.push((question, value, Some(usage)));
        self
    }

    /// Who answers.
    #[must_use]
    pub fn by(mut self, who: impl Into<Arc<str>>) -> Self {
        self.by = Some(who.into());
        self
    }

    /// Why.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<Arc<str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    fn given(self) -> Result<Vec<Given>, AnswerError> {
        let Self { answers, by, reason } = self;
        let given = answers.into_iter().map(|(question, value, usage)| {
            let value = value.map_err(|message| AnswerError::Encode { message })?;
            let (by, reason) = (by.clone(), reason.clone());
            let about = [&by, &reason].into_iter().flatten().map(|text| text.len()).sum::<usize>();
            // The words of people stand in the event, where each byte may take six.
            let size = value.len() + 3 * about;
            if size > MAX_VALUE {
                return Err(AnswerError::TooLarge { question, size, limit: MAX_VALUE });
            }
            Ok(Given { question, value, by, reason, usage })
        });
        given.collect()
    }
}

impl SessionHandle {
    pub(crate) fn new(shared: Arc<Shared>, id: SessionId) -> Self {
        let here = shared.get(id);
        Self { shared, id, here }
    }

    pub(crate) fn of(session: Arc<Session>) -> Self {
        Self { shared: Arc::clone(&session.shared), id: session.id, here: Some(session) }
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The session as it is in this process, where it is here to stay or has ended here.
    pub(crate) fn here(&self) -> Option<Arc<Session>> {
        // In memory it stays what it is. A recorded one that was tried again is another one, which
        // the registry knows.
        if let Some(held) = self.here.as_ref().filter(|held| !held.is_recorded) {
            return Some(Arc::clone(held));
        }
        let known = self.shared.get(self.id).or_else(|| self.here.clone());
        let known = known.filter(|session| !session.has_left())?;
        if known.was_tried_elsewhere() {
            self.shared.forget(&known);
            return None;
        }
        Some(known)
    }

    pub(crate) fn is_here(&self) -> bool {
        self.here().is_some()
    }

    /// Where the session stands.
    ///
    /// # Errors
    /// [`GetError`], for a session that is in the store alone.
    pub fn state(&self) -> Result<SessionState, GetError> {
        match self.here() {
            Some(session) => Ok(session.lock().shown().state().clone()),
            None => Ok(self.snapshot()?.state),
        }
    }

    /// All that is known of the session at this moment.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub fn snapshot(&self) -> Result<Snapshot, GetError> {
        match self.here() {
            Some(session) => Ok(session.snapshot()),
            None => stored::snapshot(&self.shared, self.id),
        }
    }

    /// The input with which the body of the last attempt was started, as JSON text. Of sessions
    /// that are recorded.
    ///
    /// # Errors
    /// As [`state`](Self::state); [`GetError::NotFound`] for one that is not in a store.
    pub fn input(&self) -> Result<String, GetError> {
        stored::input(&self.shared, self.id)
    }

    /// The value that the last attempt has recorded under a name, as JSON text. Of sessions that
    /// are recorded.
    ///
    /// # Errors
    /// As [`input`](Self::input).
    pub fn recorded(&self, name: &str) -> Result<Option<String>, GetError> {
        stored::recorded(&self.shared, self.id, name)
    }

    /// The open questions, oldest first.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub fn questions(&self) -> Result<Vec<Arc<Question>>, GetError> {
        Ok(match self.state()? {
            SessionState::Paused(open) => open.iter().cloned().collect(),
            _ => Vec::new(),
        })
    }

    /// How the session ended; none where it has not.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub fn outcome(&self) -> Result<Option<Outcome>, GetError> {
        Ok(Outcome::of(&self.state()?))
    }

    /// Waits for a question to be open, and gives the oldest one; none where the session ended, or
    /// is suspended, instead.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next_question(&self) -> Result<Option<Arc<Question>>, GetError> {
        self.wait_for(|state| match state {
            SessionState::Paused(open) => Some(open.iter().next().cloned()),
            state if state.is_terminal() => Some(None),
            SessionState::Suspended(_) => Some(None),
            _ => None,
        })
        .await
    }

    /// Waits as [`next_question`](Self::next_question) does, for a question that was asked after
    /// this one: for who answers all of them, each once.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next_question_after(
        &self,
        question: QuestionId,
    ) -> Result<Option<Arc<Question>>, GetError> {
        self.wait_for(|state| match state {
            SessionState::Paused(open) => {
                open.iter().find(|open| open.id > question).cloned().map(Some)
            }
            state if state.is_terminal() => Some(None),
            SessionState::Suspended(_) => Some(None),
            _ => None,
        })
        .await
    }

    /// Waits until the session has ended, however it did. Any number of callers can, before and
    /// after the end (SESS-011).
    ///
    /// # Errors
    /// [`RunError::Suspended`] where nobody runs it any more, [`RunError::Lost`] and
    /// [`RunError::Get`] where it cannot be told.
    ///
    /// # Cancel safety
    /// Dropping the future disturbs nobody.
    pub async fn ended(&self) -> Result<Outcome, RunError> {
        let ended = self.wait_for(|state| match state {
            SessionState::Suspended(cause) => Some(Err(RunError::Suspended(Some(cause.clone())))),
            state => Outcome::of(state).map(Ok),
        });
        ended.await?
    }

    /// Waits until `pick` finds something in a state that is shown.
    pub(crate) async fn wait_for<T>(
        &self,
        pick: impl Fn(&SessionState) -> Option<T>,
    ) -> Result<T, GetError> {
        let mut news = self.shared.store.as_ref().map(|store| store.changes());
        let mut look = Look::default();
        loop {
            let Some(session) = self.here() else {
                let Some(news) = &mut news else { return Err(GetError::NotFound(self.id)) };
                if matches!(look.state(&self.shared, self.id)?, SessionState::Suspended(_)) {
                    let mut soon = Soon { handle: self, place: Place::default() };
                    if !soon.is_left_alone(news).await || self.here().is_some() {
                        continue;
                    }
                }
                // A suspended one may have come to its end before it was known to be left alone.
                if let Some(found) = pick(look.state(&self.shared, self.id)?) {
                    return Ok(found);
                }
                if news.changed().await {
                    continue;
                }
                return Err(GetError::NotFound(self.id));
            };
            let mut place = Leaves { session: &session, place: Place::default() };
            let found = poll_fn(|cx| {
                let mut state = session.lock();
                if let Some(found) = pick(state.shown().state()) {
                    return Poll::Ready(Some(found));
                }
                if state.is_left() {
                    return Poll::Ready(None);
                }
                let replaced = state.watch().changed.register(&mut place.place, cx.waker());
                drop(state);
                drop(replaced);
                Poll::Pending
            });
            if let Some(found) = found.await {
                return Ok(found);
            }
        }
    }

    /// The same session with the type of its output, such as that of its body.
    #[must_use]
    pub fn typed<O: DeserializeOwned>(&self) -> Run<O> {
        Run::new(self.clone(), decode)
    }

    /// Answers an open question (SESS-004). Says what is still open.
    ///
    /// `value` is what the body gets: a text for `text` and `secret`, true or false for `confirm`,
    /// one of the options for `choice`.
    ///
    /// # Errors
    /// [`AnswerError`]; nothing has changed.
    ///
    /// # Cancel safety
    /// Dropped before its first poll, nothing was done. Dropped later, the answer is given.
    pub async fn answer(
        &self,
        question: QuestionId,
        value: impl Serialize,
    ) -> Result<Vec<QuestionId>, AnswerError> {
        self.answer_all(Answers::new().answer(question, value)).await
    }

    /// Answers several open questions, all or none (SESS-004). Says what is still open.
    ///
    /// # Errors
    /// [`AnswerError`] with all the ids that are not open; nothing has changed.
    ///
    /// # Cancel safety
    /// As [`answer`](Self::answer).
    pub async fn answer_all(&self, answers: Answers) -> Result<Vec<QuestionId>, AnswerError> {
        let mut given = answers.given()?;
        if given.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(session) = self.here()
            && let Some((shown, still_open)) = session.answer(&mut given)?
        {
            shown.wait().await.map_err(AnswerError::Store)?;
            return Ok(still_open);
        }
        stored::answer(&self.shared, self.id, given).await
    }

    /// Asks the session to stop (SESS-007). The first cause is kept; asking again changes nothing.
    ///
    /// It is a request: the body is told and decides. One that nobody runs is cancelled at once.
    ///
    /// # Errors
    /// [`CancelError::Ended`] where it is done or has failed.
    ///
    /// # Cancel safety
    /// As [`answer`](Self::answer).
    pub async fn cancel(&self, text: impl Into<Arc<str>>) -> Result<(), CancelError> {
        self.cancel_as(CancelCode::User, text).await
    }

    /// The same for another reason than a person's.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub async fn cancel_as(
        &self,
        code: CancelCode,
        text: impl Into<Arc<str>>,
    ) -> Result<(), CancelError> {
        let cause = fitting_cause(CancelInfo::new(code, text, self.shared.clock.now().wall));
        if let Some(session) = self.here()
            && let Some(shown) = session.cancel(cause.clone())?
        {
            return shown.wait().await.map_err(CancelError::Store);
        }
        stored::cancel(&self.shared, self.id, cause).await
    }

    /// Lets a session go on that nobody runs: a Planned or Suspended one, or one that is Paused
    /// without an owner (SESS-005).
    ///
    /// # Errors
    /// [`ResumeError`] says why not.
    pub async fn resume(&self) -> Result<(), ResumeError> {
        self.shared.resume(self.id, false).await
    }

    /// Lets go of a session that this process runs, so that it can be resumed here or elsewhere: as
    /// soon as no step is executed, or a body with a ledger has brought to an end what it has begun.
    /// Then it is Suspended with cause `released`; where a question is open it stays Paused, without
    /// an owner. Waits until that is so.
    ///
    /// # Errors
    /// [`ReleaseError`] says why not.
    ///
    /// # Cancel safety
    /// Dropped after its first poll, the session is let go of all the same.
    pub async fn release(&self) -> Result<(), ReleaseError> {
        let Some(session) = self.here().filter(|session| session.is_running()) else {
            return match self.state() {
                Ok(state) if state.is_terminal() => {
                    Err(ReleaseError::Ended { state: state.name() })
                }
                _ => Err(ReleaseError::NotHere(self.id)),
            };
        };
        if !session.is_recorded {
            return Err(ReleaseError::NotRecorded(self.id));
        }
        session.order(Orders::Suspend(SuspendCause::Released));
        let mut place = Leaves { session: &session, place: Place::default() };
        poll_fn(|cx| {
            let mut state = session.lock();
            if state.is_left() {
                return Poll::Ready(Ok(()));
            }
            if state.shown().state().is_terminal() {
                let state = state.shown().state().name();
                return Poll::Ready(Err(ReleaseError::Ended { state }));
            }
            let replaced = state.watch().changed.register(&mut place.place, cx.waker());
            drop(state);
            drop(replaced);
            Poll::Pending
        })
        .await
    }

    /// Makes another attempt of a session that failed or was cancelled. Steps that succeeded in the
    /// last one are not done again, where they are recorded.
    ///
    /// # Errors
    /// [`ResumeError`] says why not.
    pub async fn retry(&self) -> Result<(), ResumeError> {
        self.shared.resume(self.id, true).await
    }

    /// Observes the session's events from a starting point (SESS-010).
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub fn observe(&self, since: Since) -> Result<Observer, GetError> {
        match self.here() {
            Some(session) => Ok(Observer::here(session, since)),
            None => Observer::stored(Arc::clone(&self.shared), self.id, since),
        }
    }
}

/// Reads an output that was recorded.
pub(crate) fn decode<O: DeserializeOwned>(text: &str) -> Result<O, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Waits until the store says of a session that was let go of that it was.
pub(crate) async fn let_go(session: &Session) {
    let mut place = Leaves { session, place: Place::default() };
    poll_fn(|cx| {
        let mut state = session.lock();
        if state.is_left() || !state.is_let_go() {
            return Poll::Ready(());
        }
        let replaced = state.watch().changed.register(&mut place.place, cx.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    })
    .await;
}

/// Waits until the body of a session that this process has given up is gone.
pub(crate) async fn gone(session: &Session) {
    let mut place = Leaves { session, place: Place::default() };
    poll_fn(|cx| {
        let mut state = session.lock();
        if state.has_left || state.lost().is_none() || !session.is_recorded {
            return Poll::Ready(());
        }
        let replaced = state.watch().changed.register(&mut place.place, cx.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    })
    .await;
}

/// Waits for a suspended session that may go on in this process.
struct Soon<'a> {
    handle: &'a SessionHandle,
    place: Place,
}

impl Soon<'_> {
    /// Whether nothing is under way that would let it go on; `false` where something was, and it is
    /// to be looked at again.
    async fn is_left_alone(&mut self, news: &mut Changes) -> bool {
        let mut changed = pin!(news.changed());
        let mut is_first = true;
        poll_fn(|cx| {
            if !self.handle.shared.may_go_on(self.handle.id, &mut self.place, cx.waker()) {
                return Poll::Ready(is_first);
            }
            is_first = false;
            // A store that will tell nothing more lets nothing go on either.
            changed.as_mut().poll(cx).map(|will_tell| !will_tell)
        })
        .await
    }
}

impl Drop for Soon<'_> {
    fn drop(&mut self) {
        self.handle.shared.awaits_no_more(self.place);
    }
}

/// Takes a waiter out when it goes.
struct Leaves<'a> {
    session: &'a Session,
    place: Place,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let waker = self.session.lock().watch().changed.leave(self.place);
        drop(waker);
    }
}

impl<O> Run<O> {
    pub(crate) fn new(handle: SessionHandle, decode: Decode<O>) -> Self {
        Self { handle, waits: None, place: Place::default(), decode }
    }

    /// The same session without the type of its output.
    #[must_use]
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }
}

impl<O: Clone + 'static> Run<O> {
    /// The output, where the session is done.
    fn output_of(&self, outcome: Outcome) -> Result<O, RunError> {
        let completion = match outcome {
            Outcome::Done(completion) => completion,
            Outcome::Failed(failure) => return Err(RunError::Failed(failure)),
            Outcome::Cancelled(cause) => return Err(RunError::Cancelled(cause)),
        };
        let of_another = |message: &str| RunError::Output { message: message.into() };
        if let Some(text) = &completion.output {
            return (self.decode)(text).map_err(|error| of_another(&error));
        }
        let here = self.handle.here();
        let output = here.and_then(|session| session.lock().output.clone());
        let output = output.ok_or_else(|| of_another("it is not kept"))?;
        let output = output.downcast_ref::<O>().ok_or_else(|| of_another("it is another type"))?;
        Ok(output.clone())
    }

    /// The outcome of a session that ends in this process, without a future of its own.
    fn poll_here(&mut self, cx: &mut Context<'_>) -> Option<Poll<Outcome>> {
        let session = self.handle.here()?;
        if !self.handle.here.as_ref().is_some_and(|held| Arc::ptr_eq(held, &session)) {
            // Where the waker is registered is what is held.
            self.place = Place::default();
            self.handle.here = Some(Arc::clone(&session));
        }
        let mut state = session.lock();
        if let Some(outcome) = Outcome::of(state.shown().state()) {
            return Some(Poll::Ready(outcome));
        }
        if state.is_left() || matches!(state.shown().state(), SessionState::Suspended(_)) {
            return None;
        }
        let replaced = state.watch().ended.register(&mut self.place, cx.waker());
        drop(state);
        drop(replaced);
        Some(Poll::Pending)
    }
}

impl<O: Clone + 'static> Future for Run<O> {
    type Output = Result<O, RunError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.waits.is_none() {
            match this.poll_here(cx) {
                Some(Poll::Ready(outcome)) => return Poll::Ready(this.output_of(outcome)),
                Some(Poll::Pending) => return Poll::Pending,
                None => {
                    let handle = this.handle.clone();
                    this.waits = Some(Mutex::new(Box::pin(async move { handle.ended().await })));
                }
            }
        }
        let Some(waits) = &mut this.waits else { return Poll::Pending };
        let waits = waits.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Poll::Ready(ended) = waits.as_mut().poll(cx) else { return Poll::Pending };
        this.waits = None;
        Poll::Ready(ended.and_then(|outcome| this.output_of(outcome)))
    }
}

impl<O> Drop for Run<O> {
    fn drop(&mut self) {
        if self.place.is_somewhere()
            && let Some(session) = &self.handle.here
        {
            let waker = session.lock().watch().ended.leave(self.place);
            drop(waker);
        }
    }
}

impl<O> Deref for Run<O> {
    type Target = SessionHandle;

    fn deref(&self) -> &SessionHandle {
        &self.handle
    }
}

impl<O> Clone for Run<O> {
    fn clone(&self) -> Self {
        Self::new(self.handle.clone(), self.decode)
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<O> fmt::Debug for Run<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.handle.id).finish_non_exhaustive()
    }
}
