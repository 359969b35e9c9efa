//! The hosting port: what lies between a body and whoever runs it.

use std::borrow::Cow;
use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::cancel::CancelInfo;
use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::id::SessionId;
use crate::name::TaskName;
use crate::session::{QuestionKind, SuspendCause};

/// A value between body and host: JSON text.
pub type Payload = String;

/// The name under which a body calls an operation: 1 to 256 bytes, any text.
pub type OpName = Cow<'static, str>;

/// What kind of operation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Kind {
    /// A side effect whose result is recorded.
    Step,
    /// A question.
    Ask,
    /// A wait for a time.
    Sleep,
    /// A session of its own, whose outcome is awaited.
    Child,
}

/// What names an operation within its session: recorded results are found by it.
///
/// Its text is `step fetch` for the first of its name, `step fetch #2` for the second.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OpKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: OpName,
    /// How many operations of this kind and name the body called before it, from 0.
    #[cfg_attr(feature = "serde", serde(rename = "n", default, skip_serializing_if = "is_zero"))]
    pub ordinal: u32,
}

/// A number for an open operation, given by the port; it means nothing to anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u32);

/// What a body wants.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Open {
    /// An effect, to be executed by the body itself when the port says so.
    Step,
    /// An answer.
    Ask {
        /// What kind of answer.
        kind: QuestionKind,
        /// What to show to whom is asked.
        prompt: String,
        /// The task of a graph for which it is asked.
        task: Option<TaskName>,
    },
    /// That a result be recorded that the body has already, and told by these events in the same
    /// write. Only where a ledger is open.
    Record {
        /// The result.
        value: Payload,
        /// What to tell.
        events: Vec<EventKind>,
    },
    /// That so much time passes.
    Sleep(Duration),
    /// That another body runs.
    Child(ChildSpec),
    /// That so much time passes, within a step: the delay before a retry, or a time limit. It has
    /// no key, is never recorded, and moves none of the body's own code.
    Delay(Duration),
}

/// A session to be started by a body.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildSpec {
    /// The name under which its body is registered.
    pub body: String,
    /// The body's version; the latest that is registered where none is given.
    pub version: Option<u32>,
    /// Its input.
    pub input: Payload,
    /// Whether it outlives its parent. Then the operation ends with the child's id as soon as the
    /// child exists, not with its outcome.
    pub is_detached: bool,
}

/// What the port says of an open operation.
#[derive(Debug)]
pub enum OpEvent {
    /// Execute the effect now, and tell the port by [`SessionPort::finish`]. Only of steps, once.
    Execute(Execution),
    /// It is over. For a delay and a sleep the value is `null`.
    Done(Result<Payload, OpError>),
}

/// What an effect may know of the execution it is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// The session.
    pub session: SessionId,
    /// Which start of the session's body this is, from 1. It never falls (SESS-017).
    pub start: u32,
    /// The ordinal of the step's key.
    pub ordinal: u32,
}

/// How an operation ended other than well.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum OpError {
    /// The session was asked to stop before it ended.
    Cancelled(CancelInfo),
    /// It failed: an effect after its last attempt, a child, a question that was refused.
    Failed {
        /// What went wrong, with all that led to it.
        message: String,
        /// Whether the same again may succeed.
        retryable: bool,
    },
    /// A step's time limit passed, in its last attempt.
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// It was called where no operation can be called.
    Misplaced,
}

/// Whether an operation heeds the session's cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelWhen {
    /// It ends with [`OpError::Cancelled`] when the session is asked to stop, or was before.
    Requested,
    /// It goes on: cleanup.
    Never,
}

/// What a host provides to the bodies it runs. Object-safe, without futures of its own: plain data
/// and one poll function.
///
/// A body owns its port and the port does not own the body. All functions may be called from the
/// body's own poll at any time; they neither block nor call back.
pub trait SessionPort: Send + Sync {
    /// Whether results are recorded. Where they are not, steps are executed at once and their
    /// results are never serialised.
    fn is_recorded(&self) -> bool;

    /// A body wants something. The operation is numbered now; what comes of it is told by
    /// [`poll`](Self::poll).
    fn open(&self, name: OpName, op: Open, when: CancelWhen) -> OpId;

    /// What there is to say of an open operation. The last waker is told when there is more.
    ///
    /// Polling one that is over is pending for ever.
    fn poll(&self, op: OpId, cx: &mut Context<'_>) -> Poll<OpEvent>;

    /// The effect of a step is over. What it brought comes back through [`poll`](Self::poll), when
    /// it is recorded. Never called where results are not recorded.
    fn finish(&self, op: OpId, outcome: Result<Payload, OpError>);

    /// The body does not want it any more: its future is dropped, or has given its result. A
    /// question that is open is withdrawn, a child that is not detached is asked to stop.
    fn close(&self, op: OpId);

    /// The body tells of its progress.
    fn emit(&self, progress: Payload);

    /// The time, as the body may see it: of the last record that it was given. In memory the
    /// clock's.
    fn now(&self) -> Timestamp;

    /// The next random number: the same in each start of the session.
    fn random(&self) -> u64;

    /// Which session it is.
    fn session(&self) -> SessionId;

    /// The cancellation that the body was told of.
    fn cancel(&self) -> Option<CancelInfo>;

    /// Whether the body was told of a cancellation. Asked before every step that is not recorded:
    /// worth a flag of its own where the cause lies behind a lock.
    fn is_cancelled(&self) -> bool {
        self.cancel().is_some()
    }

    /// Whether the session was asked to stop, whether or not the body was told of it: for effects,
    /// which are not replayed. Leaves a waker where it was not.
    fn poll_cancel_requested(&self, cx: &mut Context<'_>) -> Poll<CancelInfo>;

    /// The body opens its [`Ledger`](super::Ledger): from now on results are known by key alone,
    /// whatever their order. Says what is recorded. `knows` is asked for every recorded key.
    ///
    /// # Errors
    /// [`LedgerFault`]; the default is [`Unsupported`](LedgerFault::Unsupported).
    fn open_ledger(&self, knows: &mut dyn FnMut(&OpKey) -> bool) -> Result<Opened, LedgerFault> {
        let _ = knows;
        Err(LedgerFault::Unsupported)
    }

    /// A body with a ledger tells of something that nobody waits for.
    fn note(&self, event: EventKind) {
        let _ = event;
    }

    /// Whether the host wants to let go of the session of a body with a ledger, and why. Leaves a
    /// waker where it does not.
    fn poll_suspend_requested(&self, cx: &mut Context<'_>) -> Poll<SuspendCause> {
        let _ = cx;
        Poll::Pending
    }

    /// The body of a ledger has nothing under way any more: it may be dropped.
    fn may_let_go(&self) {}
}

/// What is recorded of a body that opens a ledger.
#[derive(Debug, Default)]
pub struct Opened {
    /// Which start of the session's body this is, from 1.
    pub start: u32,
    /// In this attempt of the session. Failed operations are not in it: called again, they have
    /// their recorded error.
    pub results: Vec<(OpKey, Payload)>,
    /// In the attempt before it.
    pub offers: Vec<(OpKey, Payload)>,
}

/// Why there is no ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerFault {
    /// The host keeps none.
    Unsupported,
    /// An operation was called before, or the body itself is not polled.
    Misplaced,
    /// A recorded key is unknown to the body. The host lets go of the session.
    Mismatch,
}

impl OpKey {
    /// The key of the `ordinal`-th operation of this kind and name, counted from 0.
    #[must_use]
    pub fn new(kind: Kind, name: impl Into<OpName>, ordinal: u32) -> Self {
        Self { kind, name: name.into(), ordinal }
    }
}

impl Open {
    /// The kind of the operation; a delay has none.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        match self {
            Self::Step | Self::Record { .. } => Some(Kind::Step),
            Self::Ask { .. } => Some(Kind::Ask),
            Self::Sleep(_) => Some(Kind::Sleep),
            Self::Child(_) => Some(Kind::Child),
            Self::Delay(_) => None,
        }
    }
}

impl ChildSpec {
    /// A child that ends with its parent, of the latest version of its body.
    #[must_use]
    pub fn new(body: impl Into<String>, input: Payload) -> Self {
        Self { body: body.into(), version: None, input, is_detached: false }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Step => "step",
            Self::Ask => "ask",
            Self::Sleep => "sleep",
            Self::Child => "child",
        })
    }
}

impl fmt::Display for OpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        match self.ordinal {
            0 => Ok(()),
            n => write!(f, " #{}", u64::from(n) + 1),
        }
    }
}

#[cfg(feature = "serde")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(ordinal: &u32) -> bool {
    *ordinal == 0
}
