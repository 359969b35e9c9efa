//! Effects: their options, their attempts, and how they are executed inside the body.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::fresh_random;
use super::error::{BodyError, StepFailure};
use super::here::elsewhere;
use super::op::{Delay, Next, Op};
use super::port::{Execution, Kind, OpError, OpName, Payload};
use crate::backoff::Backoff;
use crate::cancel::CancelInfo;
use crate::id::SessionId;

/// A step's name and options, for [`SessionContext::step_with`](super::SessionContext::step_with).
/// A bare name converts into it.
#[derive(Debug, Clone)]
#[must_use = "it is executed by `SessionContext::step_with`"]
pub struct Step {
    pub(super) name: OpName,
    pub(super) options: StepOptions,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct StepOptions {
    attempts: u32,
    backoff: Backoff,
    timeout: Option<Duration>,
}

/// Which execution of a step's effect it is.
///
/// The pair of [`start`](Self::start) and [`number`](Self::number) never repeats for one step; the
/// [`idempotency_key`](Self::idempotency_key) is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    execution: Execution,
    number: u32,
    name: OpName,
}

impl Step {
    /// One attempt, without a limit to its time.
    pub fn new(name: impl Into<OpName>) -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1));
        let options = StepOptions { attempts: 1, backoff, timeout: None };
        Self { name: name.into(), options }
    }

    /// How many attempts are made in one start of the session, where the failure of each may pass
    /// by itself. Default: 1; 0 counts as 1.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.options.attempts = attempts;
        self
    }

    /// What lies between attempts. Default: one second, then twice as much each time, up to five
    /// minutes.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// How long each attempt may take. Then its future is dropped, and it has failed in a way that
    /// may pass. Default: no limit; zero leaves it one poll.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }
}

impl From<&'static str> for Step {
    fn from(name: &'static str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Step {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<OpName> for Step {
    fn from(name: OpName) -> Self {
        Self::new(name)
    }
}

impl Attempt {
    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.execution.session
    }

    /// Which start of the session's body it is in, from 1. It never falls.
    #[must_use]
    pub fn start(&self) -> u32 {
        self.execution.start
    }

    /// Which attempt of this start it is, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// A text that no other step has, and that this one has in all its attempts and starts: the
    /// session's id, the step's name, and which of its name it is, from 1. For services that do a
    /// thing once for each key.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let ordinal = u64::from(self.execution.ordinal) + 1;
        format!("{}/{}/{ordinal}", self.execution.session, self.name)
    }
}

/// One attempt without options, by far the most common step. Nothing is recorded of it where the
/// port does not know it.
#[expect(clippy::manual_async_fn, reason = "an async function keeps its arguments twice")]
pub(super) fn once<T, F, Fut>(
    mut op: Op,
    effect: F,
) -> impl Future<Output = Result<T, BodyError>> + use<T, F, Fut>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, StepFailure>>,
{
    async move {
        match poll_fn(|cx| op.poll(cx)).await? {
            Next::Execute(_) => {}
            next => return op.value(Kind::Step, next),
        }
        let outcome = {
            let mut effect = pin!(elsewhere(effect));
            poll_fn(|cx| poll_effect(&op, effect.as_mut(), cx)).await?
        };
        if !op.is_recorded() {
            return outcome.map_err(|failure| op.unrecorded(failure.into_op_error()));
        }
        op.finish(outcome.map_err(StepFailure::into_op_error).and_then(|value| encode(&value)));
        let next = poll_fn(|cx| op.poll(cx)).await?;
        op.value(Kind::Step, next)
    }
}

/// Attempts until one succeeds, fails for good, or is the last.
#[expect(clippy::manual_async_fn, reason = "an async function keeps its arguments twice")]
pub(super) fn attempts<T, F, Fut>(
    mut op: Op,
    options: StepOptions,
    mut effect: F,
) -> impl Future<Output = Result<T, BodyError>> + use<T, F, Fut>
where
    T: Serialize + DeserializeOwned,
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<T, StepFailure>>,
{
    async move {
        let execution = match poll_fn(|cx| op.poll(cx)).await? {
            Next::Execute(execution) => {
                execution.expect("BUG: a step that its port knows is told of its execution")
            }
            next => return op.value(Kind::Step, next),
        };
        let mut number = 1;
        let outcome = loop {
            let ended = {
                let attempt = Attempt { execution, number, name: op.name().clone() };
                let limit = options.timeout.map(|after| (after, op.delay(after)));
                let mut effect = pin!(elsewhere(|| effect(attempt)));
                poll_fn(|cx| poll_limited(&op, effect.as_mut(), limit.as_ref(), cx)).await?
            };
            match ended {
                Err(failure) if failure.is_retryable() && number < options.attempts => {
                    let pause = options.backoff.delay(number, share(fresh_random()));
                    let pause = op.delay(pause);
                    if let Some(cause) = poll_fn(|cx| poll_pause(&op, &pause, cx)).await? {
                        break Err(OpError::Cancelled(cause));
                    }
                    number += 1;
                }
                ended => break ended.map_err(StepFailure::into_op_error),
            }
        };
        if !op.is_recorded() {
            return outcome.map_err(|error| op.unrecorded(error));
        }
        op.finish(outcome.and_then(|value| encode(&value)));
        let next = poll_fn(|cx| op.poll(cx)).await?;
        op.value(Kind::Step, next)
    }
}

/// Polls an effect, where the body itself is polled: between records too, but nowhere else.
fn poll_effect<Fut: Future>(
    op: &Op,
    effect: Pin<&mut Fut>,
    cx: &mut Context<'_>,
) -> Poll<Result<Fut::Output, BodyError>> {
    op.look_around()?;
    elsewhere(|| effect.poll(cx)).map(Ok)
}

/// Polls an effect first, then its time limit.
fn poll_limited<T, Fut: Future<Output = Result<T, StepFailure>>>(
    op: &Op,
    effect: Pin<&mut Fut>,
    limit: Option<&(Duration, Delay)>,
    cx: &mut Context<'_>,
) -> Poll<Result<Fut::Output, BodyError>> {
    if let Poll::Ready(outcome) = poll_effect(op, effect, cx) {
        return Poll::Ready(outcome);
    }
    let Some((after, delay)) = limit else { return Poll::Pending };
    ready!(delay.poll(cx));
    Poll::Ready(Ok(Err(StepFailure::timed_out(*after))))
}

/// Waits for the next attempt, or for the cause that makes it pointless.
fn poll_pause(
    op: &Op,
    pause: &Delay,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<CancelInfo>, BodyError>> {
    op.look_around()?;
    if op.heeds_cancel()
        && let Poll::Ready(cause) = op.port().poll_cancel_requested(cx)
    {
        return Poll::Ready(Ok(Some(cause)));
    }
    pause.poll(cx).map(|()| Ok(None))
}

fn encode<T: Serialize>(value: &T) -> Result<Payload, OpError> {
    serde_json::to_string(value).map_err(|error| OpError::Failed {
        message: format!("its result does not serialise: {error}"),
        retryable: false,
    })
}

/// A number in `[0, 1)` of 53 random bits.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn share(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}
