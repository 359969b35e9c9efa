//! What is known of a session, as plain values.

use holdpoint_core::session::{Completion, Failure, SessionState};
use holdpoint_core::{CancelInfo, SessionId, Timestamp};

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "driver", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "driver", serde(tag = "state", rename_all = "snake_case"))]
pub enum Outcome {
    /// Its body returned `Ok`.
    Done(Completion),
    /// Its body returned another error or panicked, a time limit passed, or it was given up.
    Failed(Failure),
    /// It was cancelled, with the first cause given.
    Cancelled(CancelInfo),
}

impl Outcome {
    /// The outcome of a state; none where the state is not terminal.
    #[must_use]
    pub fn of(state: &SessionState) -> Option<Self> {
        match state {
            SessionState::Done(completion) => Some(Self::Done(completion.clone())),
            SessionState::Failed(failure) => Some(Self::Failed(failure.clone())),
            SessionState::Cancelled(cause) => Some(Self::Cancelled(cause.clone())),
            _ => None,
        }
    }

    /// Whether the body returned `Ok`.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// A session at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The session.
    pub id: SessionId,
    /// The name of its body; empty for one that was made from a closure.
    pub body: std::sync::Arc<str>,
    /// Where it stands; a paused one with its open questions.
    pub state: SessionState,
    /// The cancellation that was requested and is not yet decided by the body.
    pub cancel_requested: Option<CancelInfo>,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// How often its body was started.
    pub starts: u32,
    /// The number of its last event.
    pub last_seq: u64,
    /// When its last event happened.
    pub updated_at: Timestamp,
}

/// What a shutdown had to break off (SESS-016).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Sessions whose bodies had not stopped when the grace was over, and were dropped. Recorded
    /// ones go on after their last record in another process.
    pub aborted: Vec<SessionId>,
    /// Of these, sessions whose bodies block a thread, so that they could not be dropped.
    pub stuck: Vec<SessionId>,
}

impl ShutdownReport {
    /// Whether all stopped in time.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.aborted.is_empty()
    }
}

/// What a rehearsal found of a body that goes with a recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// How many entries of the journal it was led over.
    pub records: usize,
    /// Whether it ended by them.
    pub has_ended: bool,
    /// What it waits for after them, where it has not.
    pub waits_for: Vec<String>,
}
