//! What can happen to a session, and how a session refuses it.

use std::fmt;
use std::sync::Arc;

use super::outcome::{Completion, Failure};
use super::question::{Answer, Question, QuestionId};
use super::state::{Owner, StateName, SuspendCause};
use crate::cancel::CancelInfo;
use crate::error::Retryable;

/// What can happen to a session. Where it is legal is said with each; anywhere else it is
/// refused by [`SessionMachine::apply`](super::SessionMachine::apply).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionInput {
    /// A process takes the session and starts the body. Planned, Suspended, and Paused without
    /// owner; the epoch must be above the last one.
    Claim(Owner),
    /// The body asks, under an id not given before. Running, and Paused with an owner.
    Ask(Arc<Question>),
    /// Somebody answers an open question. Paused, with an owner or without.
    Answer(Answer),
    /// An open question loses its asker. Paused, with an owner or without.
    Withdraw(QuestionId),
    /// The body ended. Running, and Paused with an owner: what it still asked is withdrawn.
    End(BodyEnd),
    /// The owner is lost or lets go. Running becomes Suspended with this cause; Paused with an
    /// owner loses the owner. Any cause but [`SuspendCause::Answered`], which only the last
    /// answer brings about.
    Suspend(SuspendCause),
    /// Somebody asks for the end, or a time limit did: then the code is
    /// [`CancelCode::Timeout`](crate::CancelCode::Timeout), and the end is Failed instead of
    /// Cancelled. With an owner the request is kept and the body decides; without one it ends
    /// the session at once. Every state but Done and Failed.
    Cancel(CancelInfo),
    /// It was started so many times in a row without recording anything new. Suspended, and
    /// Paused without owner.
    CrashLoop {
        /// The number of starts.
        starts: u32,
    },
    /// Another attempt is wanted. Failed and Cancelled.
    Retry,
}

impl SessionInput {
    /// The input without what it carries.
    #[must_use]
    pub const fn name(&self) -> InputName {
        match self {
            Self::Claim(_) => InputName::Claim,
            Self::Ask(_) => InputName::Ask,
            Self::Answer(_) => InputName::Answer,
            Self::Withdraw(_) => InputName::Withdraw,
            Self::End(_) => InputName::End,
            Self::Suspend(_) => InputName::Suspend,
            Self::Cancel(_) => InputName::Cancel,
            Self::CrashLoop { .. } => InputName::CrashLoop,
            Self::Retry => InputName::Retry,
        }
    }
}

/// How a body ended (SESS-008).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEnd {
    /// It returned `Ok`, whether or not somebody had asked it to stop.
    Ok(Completion),
    /// It returned that it was cancelled. The cause it names counts only where nobody had
    /// requested the cancellation of the session itself.
    Cancelled(CancelInfo),
    /// It returned another error ([`Failure::from_error`]) or panicked ([`Failure::panic`]).
    Failed(Failure),
}

/// A [`SessionInput`] without what it carries. Its text is the snake-case name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described at the input it names")]
pub enum InputName {
    Claim,
    Ask,
    Answer,
    Withdraw,
    End,
    Suspend,
    Cancel,
    CrashLoop,
    Retry,
}

impl fmt::Display for InputName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Claim => "claim",
            Self::Ask => "ask",
            Self::Answer => "answer",
            Self::Withdraw => "withdraw",
            Self::End => "end",
            Self::Suspend => "suspend",
            Self::Cancel => "cancel",
            Self::CrashLoop => "crash_loop",
            Self::Retry => "retry",
        })
    }
}

/// A session does not take this input in this state. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session that is {state} takes no `{input}`{}", .refusal.as_suffix())]
#[non_exhaustive]
pub struct IllegalTransition {
    /// The state the session is in.
    pub state: StateName,
    /// What was refused.
    pub input: InputName,
    /// Why.
    pub refusal: Refusal,
}

/// Why an input was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The state never allows it.
    State,
    /// The state allows it only without an owner, and there is one.
    Owned,
    /// The state allows it only with an owner, and there is none.
    Unowned,
    /// A later claim was made already.
    EpochPassed {
        /// The epoch of the last claim.
        last: u64,
    },
    /// The id was given before.
    QuestionPassed {
        /// The id.
        question: QuestionId,
    },
    /// No question of this id is open: it is unknown, answered or withdrawn.
    NotOpen {
        /// The id.
        question: QuestionId,
    },
}

impl Refusal {
    /// What to say after the sentence about state and input, which alone says [`Self::State`].
    fn as_suffix(&self) -> String {
        match self {
            Self::State => String::new(),
            Self::Owned => ": it has an owner".to_owned(),
            Self::Unowned => ": it has no owner".to_owned(),
            Self::EpochPassed { last } => format!(": epoch {last} was claimed already"),
            Self::QuestionPassed { question } => format!(": the id {question} was given before"),
            Self::NotOpen { question } => format!(": question {question} is not open"),
        }
    }
}

impl Retryable for IllegalTransition {
    /// Never: the same input in the same state is refused again.
    fn is_retryable(&self) -> bool {
        false
    }
}
