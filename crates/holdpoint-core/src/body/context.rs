//! What a body is given: its view of the session and of the world.

use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ask::Ask;
use super::child::Child;
use super::error::{BodyError, Fault, StepFailure};
use super::here;
use super::op::Op;
use super::port::{CancelWhen, Kind, OpName, Open, SessionPort};
use super::step::{self, Attempt, Step};
use super::wait::{Wait, WaitAll};
use crate::cancel::CancelInfo;
use crate::clock::Timestamp;
use crate::id::SessionId;

/// The most bytes of progress: as text in an event each may take two, and a store takes no event of
/// more than 16 MiB.
const MAX_PROGRESS: usize = 7 << 20;

/// A body's door to everything outside of it. Cheap to clone.
///
/// Operations are numbered when they are called, and known by kind and name: call them in the same
/// order for the same results, and give different names to what runs side by side. Between
/// operations a body only computes: what it reads from elsewhere, a clock, a file, a channel, it
/// would read differently when it is run again.
///
/// ```
/// use std::time::Duration;
/// use holdpoint_core::body::{Ask, BodyError, SessionContext, StepFailure};
///
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Diff { lines: u32 }
/// # async fn fetch_diff(_: u64) -> Result<Diff, StepFailure> { Ok(Diff { lines: 3 }) }
/// # async fn merge(_: u64, _: String) -> Result<(), StepFailure> { Ok(()) }
/// async fn merge_pr(cx: SessionContext, pr: u64) -> Result<String, BodyError> {
///     let diff = cx.step("fetch", || fetch_diff(pr)).await?;
///     let ask = Ask::confirm("merge", format!("Merge #{pr}, {} lines?", diff.lines));
///     let ok: bool = cx.ask(ask).await?;
///     if !ok {
///         return Ok("rejected".into());
///     }
///     cx.step_with("merge", |a| merge(pr, a.idempotency_key())).await?;
///     Ok("merged".into())
/// }
/// ```
#[derive(Clone)]
pub struct SessionContext {
    port: Arc<dyn SessionPort>,
    is_recorded: bool,
    when: CancelWhen,
}

/// For the body's own code.
impl SessionContext {
    /// Executes an effect, once in the life of the session as far as its result is recorded.
    ///
    /// Where results are recorded, the body gets the recorded one when it is run again, and the
    /// effect is not executed; an effect that was interrupted before its result was recorded is
    /// executed again. Where they are not recorded the effect is simply called.
    ///
    /// The effect may borrow from the body. What it calls of the session's context is refused,
    /// but for [`now`](Self::now), [`random`](Self::random), [`cancel`](Self::cancel) and
    /// [`cancel_requested`](Self::cancel_requested).
    ///
    /// # Errors
    /// The future resolves to [`BodyError::Failed`] where the effect failed, or its result does not
    /// serialise, and to [`BodyError::Cancelled`], without executing the effect, where the session
    /// was asked to stop before it was called. An effect that has begun goes on.
    ///
    /// # Cancel safety
    /// Dropping the future drops the effect where it stands. It is not recorded.
    pub fn step<T, N, F, Fut>(
        &self,
        name: N,
        effect: F,
    ) -> impl Future<Output = Result<T, BodyError>> + use<T, N, F, Fut>
    where
        T: Serialize + DeserializeOwned,
        N: Into<OpName>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, StepFailure>>,
    {
        let name = name.into();
        let op = if self.is_recorded {
            Op::open(self, name, Open::Step)
        } else {
            Op::direct(self, name)
        };
        step::once(op, effect)
    }

    /// Executes an effect as [`step`](Self::step) does, and tells it which [`Attempt`] it is.
    ///
    /// A name alone makes one attempt without limit; a [`Step`] says how many there are, what lies
    /// between them, and how long each may take. Only the result of the last attempt is recorded.
    ///
    /// # Errors
    /// As `step`, for the last attempt; [`BodyError::TimedOut`] where that one took too long.
    /// While it waits to try again, a step ends as cancelled when the session is asked to stop.
    ///
    /// # Cancel safety
    /// As `step`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use holdpoint_core::Backoff;
    /// use holdpoint_core::body::{BodyError, SessionContext, Step, StepFailure};
    ///
    /// # async fn charge(_: u32, _: String) -> Result<String, StepFailure> { Ok(String::new()) }
    /// async fn pay(cx: SessionContext, cents: u32) -> Result<String, BodyError> {
    ///     let step = Step::new("charge")
    ///         .attempts(3)
    ///         .backoff(Backoff::exponential(Duration::from_secs(2)))
    ///         .timeout(Duration::from_secs(30));
    ///     cx.step_with(step, |a| charge(cents, a.idempotency_key())).await
    /// }
    /// ```
    pub fn step_with<T, S, F, Fut>(
        &self,
        step: S,
        effect: F,
    ) -> impl Future<Output = Result<T, BodyError>> + use<T, S, F, Fut>
    where
        T: Serialize + DeserializeOwned,
        S: Into<Step>,
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, StepFailure>>,
    {
        let Step { name, options } = step.into();
        step::attempts(Op::open(self, name, Open::Step), options, effect)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The future resolves to [`BodyError::Cancelled`] where the session is asked to stop, and to
    /// [`BodyError::Decode`] where the answer is no `T`.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the question.
    pub fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Wait<T> {
        let Ask { name, kind, prompt, task } = ask;
        Wait::new(Op::open(self, name, Open::Ask { kind, prompt, task }), Kind::Ask)
    }

    /// Asks several questions at once. The answers come in the order of the questions, when all
    /// are there.
    ///
    /// # Errors
    /// As [`ask`](Self::ask); the first error withdraws the questions that are still open.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the questions that are still open.
    pub fn ask_all<T: DeserializeOwned>(&self, asks: impl IntoIterator<Item = Ask>) -> WaitAll<T> {
        WaitAll::new(asks.into_iter().map(|ask| self.ask(ask)))
    }

    /// Waits for so much time, across restarts. All sleeps of a body called by this share the name
    /// `sleep`; give those that run side by side names by [`sleep_named`](Self::sleep_named).
    ///
    /// # Errors
    /// The future resolves to [`BodyError::Cancelled`] where the session is asked to stop.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait.
    pub fn sleep(&self, duration: Duration) -> Wait<()> {
        self.sleep_named("sleep", duration)
    }

    /// Waits as [`sleep`](Self::sleep) does, under a name.
    ///
    /// # Errors
    /// As [`sleep`](Self::sleep).
    ///
    /// # Cancel safety
    /// As [`sleep`](Self::sleep).
    pub fn sleep_named(&self, name: impl Into<OpName>, duration: Duration) -> Wait<()> {
        Wait::new(Op::open(self, name.into(), Open::Sleep(duration)), Kind::Sleep)
    }

    /// Starts a session of another body and waits for its output. It ends with its parent.
    ///
    /// # Errors
    /// The future resolves to [`BodyError::Failed`] where the child failed or cannot be started,
    /// to [`BodyError::Cancelled`] where it or this session was asked to stop, and to
    /// [`BodyError::Encode`] and [`BodyError::Decode`] where input or output do not fit.
    ///
    /// # Cancel safety
    /// Dropping the future asks the child to stop.
    pub fn spawn_child<O: DeserializeOwned>(&self, child: Child) -> Wait<O> {
        Wait::new(self.open_child(child, false), Kind::Child)
    }

    /// Starts a session of another body that goes its own way. The future resolves as soon as the
    /// session exists.
    ///
    /// # Errors
    /// As [`spawn_child`](Self::spawn_child), for the start alone.
    ///
    /// # Cancel safety
    /// Once the future was created, the session may exist, whatever becomes of the future.
    pub fn spawn_detached(&self, child: Child) -> Wait<SessionId> {
        Wait::new(self.open_child(child, true), Kind::Child)
    }

    /// Tells of progress, to whoever observes the session.
    ///
    /// # Errors
    /// [`BodyError::Encode`] where the value does not serialise, or takes more than seven megabytes
    /// as JSON; [`BodyError::Misplaced`] in an effect or a spawned task: what is told is counted, to be told once, and there it would be
    /// counted differently when the body is run again.
    pub fn emit(&self, progress: &(impl Serialize + ?Sized)) -> Result<(), BodyError> {
        if !here::is_body_of(&*self.port) {
            return Err(BodyError::misplaced("emit".to_owned()));
        }
        let payload = serde_json::to_string(progress).map_err(|error| BodyError::Encode {
            operation: "emit".to_owned(),
            fault: Fault::new(error.to_string(), false),
        })?;
        if payload.len() > MAX_PROGRESS {
            let text =
                format!("it has {} bytes, and at most {MAX_PROGRESS} are told", payload.len());
            let fault = Fault::new(text, false);
            return Err(BodyError::Encode { operation: "emit".to_owned(), fault });
        }
        self.port.emit(payload);
        Ok(())
    }

    /// The time: where results are recorded, that of the last one that the body was given, the
    /// same in each start. In an effect it is the same time; an effect that wants the clock asks
    /// the clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.port.now()
    }

    /// A random number, in the body the same in each start of the session. It is fit for samples
    /// and jitter, not for keys.
    ///
    /// An effect and a spawned task get a fresh number that is no part of the body's sequence:
    /// how often they are run is no concern of the body's.
    #[must_use]
    pub fn random(&self) -> u64 {
        if here::is_body_of(&*self.port) { self.port.random() } else { fresh_random() }
    }

    /// A context whose operations take no notice of the session's being asked to stop: to clean up
    /// after it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use holdpoint_core::body::{BodyError, SessionContext, StepFailure};
    ///
    /// # async fn give_back() -> Result<(), StepFailure> { Ok(()) }
    /// async fn body(cx: SessionContext) -> Result<(), BodyError> {
    ///     let slept = cx.sleep(Duration::from_secs(3600)).await;
    ///     cx.cleanup().step("give-back", give_back).await?;
    ///     slept
    /// }
    /// ```
    #[must_use]
    pub fn cleanup(&self) -> Self {
        Self { when: CancelWhen::Never, ..self.clone() }
    }

    /// Which session it is.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.port.session()
    }

    /// The cancellation that the body was told of, the same at the same place in each start.
    #[must_use]
    pub fn cancel(&self) -> Option<CancelInfo> {
        self.port.cancel()
    }

    /// Whether the body was told of a cancellation.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.port.is_cancelled()
    }

    /// Waits, in an effect, until the session is asked to stop, be the body told of it or not. An
    /// effect that returns the cause as its error makes its step answer [`BodyError::Cancelled`].
    ///
    /// # Errors
    /// The future resolves to [`BodyError::Misplaced`] where the body itself awaits it: the moment
    /// is not recorded. The body's operations answer that they are cancelled instead.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    ///
    /// ```
    /// use holdpoint_core::body::{BodyError, SessionContext};
    ///
    /// async fn body(cx: SessionContext) -> Result<(), BodyError> {
    ///     cx.step("watch", async || Err(cx.cancel_requested().await?.into())).await
    /// }
    /// ```
    pub fn cancel_requested(&self) -> impl Future<Output = Result<CancelInfo, BodyError>> + use<> {
        let port = Arc::clone(&self.port);
        poll_fn(move |cx| {
            if here::is_body_of(&*port) {
                return Poll::Ready(Err(BodyError::misplaced_request()));
            }
            port.poll_cancel_requested(cx).map(Ok)
        })
    }
}

/// For hosts.
impl SessionContext {
    /// The context of a body that runs on this port. The host polls it by
    /// [`poll_body`](super::poll_body) with the same port.
    #[must_use]
    pub fn new(port: Arc<dyn SessionPort>) -> Self {
        let is_recorded = port.is_recorded();
        Self { port, is_recorded, when: CancelWhen::Requested }
    }

    /// Whether results of operations are recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    #[inline]
    pub(super) fn port(&self) -> &Arc<dyn SessionPort> {
        &self.port
    }

    #[inline]
    pub(super) fn when(&self) -> CancelWhen {
        self.when
    }

    fn open_child(&self, child: Child, is_detached: bool) -> Op {
        match child.into_spec(is_detached) {
            Ok((name, spec)) => Op::open(self, name, Open::Child(spec)),
            Err(error) => Op::refused(self, error),
        }
    }
}

impl fmt::Debug for SessionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionContext")
            .field("session", &self.port.session())
            .field("is_recorded", &self.is_recorded)
            .field("when", &self.when)
            .finish_non_exhaustive()
    }
}

/// A number that has nothing to do with any record.
pub(super) fn fresh_random() -> u64 {
    // Keys by the standard library, and an id that is unique: where either has no source of
    // randomness, the other has.
    RandomState::new().hash_one(SessionId::generate())
}
