//! The machine as plain data, to keep and to restore.

use super::machine::SessionMachine;
use super::state::{Owner, SessionState, StateName};
use crate::cancel::CancelInfo;
use crate::error::Retryable;

/// All that a [`SessionMachine`] knows, as plain data. What is read back is checked
/// (STORE-005): [`SessionMachine::restore`] refuses what the machine cannot have written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SessionSnapshot {
    /// The state. An object of its own: what a state carries may be called as something here is.
    pub state: SessionState,
    /// Who runs it.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub owner: Option<Owner>,
    /// A cancellation requested and not yet decided by the body.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub cancel_requested: Option<CancelInfo>,
    /// The epoch of the last claim, 0 before the first.
    pub epoch: u64,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How often the body was started.
    pub starts: u32,
    /// The last question's id, 0 before the first.
    pub last_question: u32,
}

/// Why a [`SessionSnapshot`] is none of a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// An owner where the state has none, none where it must have one, or of a past epoch.
    #[error("a session that is {state} does not have this owner")]
    Owner {
        /// The state.
        state: StateName,
    },
    /// A pending cancellation in a state in which nothing waits for the body.
    #[error("a session that is {state} has no pending cancellation")]
    Cancel {
        /// The state.
        state: StateName,
    },
    /// An open question above the last one asked.
    #[error("an open question has an id that was not given yet")]
    Question,
    /// The attempt is 0, or the body never started in a state that it must have reached.
    #[error("a session that is {state} has no such count of attempts and starts")]
    Count {
        /// The state.
        state: StateName,
    },
}

impl Retryable for SnapshotError {
    fn is_retryable(&self) -> bool {
        false
    }
}

impl SessionMachine {
    /// What to keep of this session.
    #[must_use]
    pub fn snapshot(&self) -> SessionSnapshot {
        self.clone().into()
    }

    /// The session as it was kept.
    ///
    /// # Errors
    /// [`SnapshotError`] where the parts contradict each other.
    pub fn restore(snapshot: SessionSnapshot) -> Result<Self, SnapshotError> {
        check(&snapshot)?;
        let SessionSnapshot {
            state,
            owner,
            cancel_requested,
            epoch,
            attempt,
            starts,
            last_question,
        } = snapshot;
        let cancel = cancel_requested.map(Box::new);
        Ok(Self { state, owner, cancel, epoch, attempt, starts, last_question })
    }
}

fn check(snapshot: &SessionSnapshot) -> Result<(), SnapshotError> {
    use StateName::{Done, Paused, Running, Suspended};

    let state = snapshot.state.name();
    let owner_fits = match snapshot.owner {
        Some(owner) => matches!(state, Running | Paused) && owner.epoch == snapshot.epoch,
        None => state != Running,
    };
    if !owner_fits {
        return Err(SnapshotError::Owner { state });
    }
    if snapshot.cancel_requested.is_some() && !matches!(state, Running | Paused | Suspended) {
        return Err(SnapshotError::Cancel { state });
    }
    if let SessionState::Paused(open) = &snapshot.state
        && open.iter().any(|question| question.id.0 > snapshot.last_question)
    {
        return Err(SnapshotError::Question);
    }
    let must_have_started = matches!(state, Running | Paused | Suspended | Done);
    if snapshot.attempt == 0 || must_have_started && snapshot.starts == 0 {
        return Err(SnapshotError::Count { state });
    }
    Ok(())
}

impl From<SessionMachine> for SessionSnapshot {
    fn from(machine: SessionMachine) -> Self {
        let SessionMachine { state, owner, cancel, epoch, attempt, starts, last_question } =
            machine;
        let cancel_requested = cancel.map(|cause| *cause);
        Self { state, owner, cancel_requested, epoch, attempt, starts, last_question }
    }
}

impl TryFrom<SessionSnapshot> for SessionMachine {
    type Error = SnapshotError;

    fn try_from(snapshot: SessionSnapshot) -> Result<Self, SnapshotError> {
        Self::restore(snapshot)
    }
}
