//! An operation that a body has open, whatever its kind.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::context::SessionContext;
use super::error::{BodyError, Fault, label};
use super::here;
use super::port::{
    CancelWhen, Execution, Kind, OpError, OpEvent, OpId, OpName, Open, Payload, SessionPort,
};
use super::table::name_fault;

/// An operation and its port. Dropping it closes the operation.
pub(super) struct Op {
    port: Arc<dyn SessionPort>,
    name: OpName,
    state: State,
}

enum State {
    /// A step that no port knows of: its effect is called, and that is all.
    Direct(CancelWhen),
    Open(OpId, Kind, CancelWhen),
    /// It was refused when it was called.
    Refused(Box<BodyError>),
    /// It has given its result.
    Over,
}

/// What an operation says when it is polled.
pub(super) enum Next {
    /// The effect is to be executed, and it is told where the port knows the step.
    Execute(Option<Execution>),
    /// The value.
    Value(Payload),
}

impl Op {
    /// Opens an operation of the port, if it may be called here under this name.
    pub(super) fn open(cx: &SessionContext, name: OpName, open: Open) -> Self {
        let kind = open.kind().expect("BUG: a delay is no operation of its own");
        if let Some(error) = fault(cx, kind, &name) {
            return Self::refused(cx, error);
        }
        let id = cx.port().open(name.clone(), open, cx.when());
        Self { port: Arc::clone(cx.port()), name, state: State::Open(id, kind, cx.when()) }
    }

    /// A step of which no port hears.
    #[inline]
    pub(super) fn direct(cx: &SessionContext, name: OpName) -> Self {
        match fault(cx, Kind::Step, &name) {
            Some(error) => Self::refused(cx, error),
            None => Self { port: Arc::clone(cx.port()), name, state: State::Direct(cx.when()) },
        }
    }

    /// An operation that answers this error.
    pub(super) fn refused(cx: &SessionContext, error: BodyError) -> Self {
        let state = State::Refused(Box::new(error));
        Self { port: Arc::clone(cx.port()), name: OpName::Borrowed(""), state }
    }

    /// What there is to say. It is refused where the body itself is not polled.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, BodyError>> {
        if here::is_spent() && self.lets_others_run(cx) {
            return Poll::Pending;
        }
        let polled = self.poll_state(cx);
        if polled.is_ready() {
            here::spend();
        }
        polled
    }

    /// The body has done so much in this poll that the rest is for the next one. Where results are
    /// recorded a poll has one of them, and others run between two.
    #[cold]
    fn lets_others_run(&self, cx: &Context<'_>) -> bool {
        let is_mine = here::is_body_of(&*self.port) && !self.port.is_recorded();
        let is_to_wait = is_mine && here::is_to_wait();
        if is_to_wait {
            cx.waker().wake_by_ref();
        }
        is_to_wait
    }

    #[inline]
    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, BodyError>> {
        match self.state {
            State::Direct(when) => {
                self.look_around()?;
                if when == CancelWhen::Requested && self.port.is_cancelled() {
                    return self.poll_cancelled();
                }
                Poll::Ready(Ok(Next::Execute(None)))
            }
            State::Open(id, kind, _) => self.poll_port(id, kind, cx),
            State::Refused(_) => match std::mem::replace(&mut self.state, State::Over) {
                State::Refused(error) => Poll::Ready(Err(*error)),
                _ => Poll::Pending,
            },
            State::Over => Poll::Pending,
        }
    }

    #[cold]
    fn poll_cancelled(&mut self) -> Poll<Result<Next, BodyError>> {
        match self.port.cancel() {
            Some(cause) => {
                self.state = State::Over;
                Poll::Ready(Err(BodyError::Cancelled(cause)))
            }
            None => Poll::Ready(Ok(Next::Execute(None))),
        }
    }

    fn poll_port(
        &mut self,
        id: OpId,
        kind: Kind,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Next, BodyError>> {
        self.look_around()?;
        let result = match ready!(self.port.poll(id, cx)) {
            OpEvent::Execute(execution) => return Poll::Ready(Ok(Next::Execute(Some(execution)))),
            OpEvent::Done(result) => result,
        };
        self.close();
        Poll::Ready(match result {
            Ok(value) => Ok(Next::Value(value)),
            Err(error) => Err(BodyError::of_operation(kind, &self.name, error)),
        })
    }

    /// Refuses, where the body itself is not polled.
    #[inline]
    pub(super) fn look_around(&self) -> Result<(), BodyError> {
        if here::is_body_of(&*self.port) {
            return Ok(());
        }
        Err(self.misplaced())
    }

    /// Whether its result comes from a record.
    #[inline]
    pub(super) fn is_recorded(&self) -> bool {
        matches!(self.state, State::Open(..)) && self.port.is_recorded()
    }

    /// Has the outcome of the effect recorded.
    pub(super) fn finish(&self, outcome: Result<Payload, OpError>) {
        if let State::Open(id, ..) = self.state {
            self.port.finish(id, outcome);
        }
    }

    /// What the step answers without a record.
    pub(super) fn unrecorded(&self, error: OpError) -> BodyError {
        BodyError::of_operation(Kind::Step, &self.name, error)
    }

    /// A delay within this step.
    pub(super) fn delay(&self, duration: Duration) -> Delay {
        let open = Open::Delay(duration);
        let id = self.port.open(OpName::Borrowed("delay"), open, CancelWhen::Never);
        Delay { port: Arc::clone(&self.port), id }
    }

    pub(super) fn port(&self) -> &dyn SessionPort {
        &*self.port
    }

    pub(super) fn name(&self) -> &OpName {
        &self.name
    }

    /// Whether it ends when the session is asked to stop.
    pub(super) fn heeds_cancel(&self) -> bool {
        matches!(self.state, State::Open(_, _, CancelWhen::Requested))
    }

    /// The value that came as the end of this operation.
    pub(super) fn value<T: DeserializeOwned>(
        &self,
        kind: Kind,
        next: Next,
    ) -> Result<T, BodyError> {
        let Next::Value(payload) = next else {
            unreachable!("BUG: a port wants an effect again, or one of what is no step");
        };
        serde_json::from_str(&payload).map_err(|error| BodyError::Decode {
            operation: label(kind, &self.name),
            fault: Fault::new(error.to_string(), false),
        })
    }

    #[cold]
    fn misplaced(&self) -> BodyError {
        let kind = match self.state {
            State::Open(_, kind, _) => kind,
            _ => Kind::Step,
        };
        BodyError::misplaced(label(kind, &self.name))
    }

    #[inline]
    fn close(&mut self) {
        if let State::Open(id, ..) = self.state {
            self.state = State::Over;
            self.port.close(id);
        }
    }
}

impl Drop for Op {
    #[inline]
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A delay within a step. Dropping it closes it.
pub(super) struct Delay {
    port: Arc<dyn SessionPort>,
    id: OpId,
}

impl Delay {
    /// Whether it has passed.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.port.poll(self.id, cx).map(drop)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.port.close(self.id);
    }
}

/// Why an operation cannot be called at all: where, or under what name.
#[inline]
fn fault(cx: &SessionContext, kind: Kind, name: &str) -> Option<BodyError> {
    let is_fine = here::is_body_of(&**cx.port()) && name_fault(name).is_none();
    if is_fine { None } else { Some(describe(cx, kind, name)) }
}

#[cold]
fn describe(cx: &SessionContext, kind: Kind, name: &str) -> BodyError {
    match name_fault(name) {
        Some(error) if here::is_body_of(&**cx.port()) => {
            // Not the whole of a name that is too long.
            let shown = name.chars().take(40).collect::<String>();
            BodyError::of_operation(kind, &shown, error)
        }
        _ => BodyError::misplaced(label(kind, name)),
    }
}
