//! The states of a session and who owns it (CORE-003, CORE-004).

use std::fmt;
use std::sync::Arc;

use super::outcome::{Completion, Failure};
use super::question::OpenQuestions;
use crate::cancel::CancelInfo;

/// Where a session stands. Who runs it is a fact of its own, an [`Owner`] or none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "state", rename_all = "snake_case")
)]
pub enum SessionState {
    /// Registered, and not started in this attempt. No owner, no open question.
    Planned,
    /// An owner runs the body. No question is open.
    Running,
    /// At least one question is open. With an owner other branches of the body may go on;
    /// without one the questions wait, and can be answered, all the same.
    Paused(OpenQuestions),
    /// It was started, has not ended, and nobody runs it. No question is open.
    Suspended(SuspendCause),
    /// The body returned `Ok`. Terminal: no owner, no open question.
    Done(Completion),
    /// The body returned another error or panicked, or the session was given up. Terminal.
    Failed(Failure),
    /// It was cancelled, with the first cause given. Terminal.
    Cancelled(CancelInfo),
}

impl SessionState {
    /// The state without what it carries.
    #[must_use]
    pub const fn name(&self) -> StateName {
        match self {
            Self::Planned => StateName::Planned,
            Self::Running => StateName::Running,
            Self::Paused(_) => StateName::Paused,
            Self::Suspended(_) => StateName::Suspended,
            Self::Done(_) => StateName::Done,
            Self::Failed(_) => StateName::Failed,
            Self::Cancelled(_) => StateName::Cancelled,
        }
    }

    /// Whether the attempt has ended.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        self.name().is_terminal()
    }
}

/// A [`SessionState`] without what it carries. Its text is the snake-case name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[expect(missing_docs, reason = "each is described at the state it names")]
pub enum StateName {
    Planned,
    Running,
    Paused,
    Suspended,
    Done,
    Failed,
    Cancelled,
}

impl StateName {
    /// Whether a session in this state has ended its attempt.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// Why nobody runs a session that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "cause", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum SuspendCause {
    /// Its owner died or lost it.
    Interrupted,
    /// Its owner went down in order.
    Shutdown,
    /// Its owner gave it up, so that another may go on with it.
    Released,
    /// The body no longer matches what was recorded.
    Mismatch {
        /// What the journal has next.
        recorded: Arc<str>,
        /// What the body did instead.
        found: Arc<str>,
    },
    /// Its last open question was closed while it had no owner.
    Answered,
}

/// The process that runs a session: its instance, and how often the session was claimed
/// (STORE-007). Both are numbers given by the store; only their order means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Owner {
    /// The owning process.
    pub instance: u64,
    /// The number of this claim; every claim of a session has a higher one than those before.
    pub epoch: u64,
}
