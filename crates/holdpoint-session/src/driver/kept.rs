//! What the store keeps of a session beside its events and its journal: the snapshot.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::body::OpKey;
use holdpoint_core::session::{QuestionId, SessionMachine, SessionSnapshot, Usage};
use holdpoint_core::{SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use super::journal::FORMAT;
use crate::machine::{Machine, TimeLimits};

/// A session as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) format: u32,
    pub(crate) session: SessionSnapshot,
    #[serde(flatten)]
    pub(crate) about: About,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
}

/// What is known of a session beside its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The name of its body.
    pub(crate) body: Arc<str>,
    /// The version of its body.
    pub(crate) version: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) limits: TimeLimits,
    /// When the attempt was started for the first time: from then its time limit counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) started_at: Option<Timestamp>,
    /// The session that started it and ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<SessionId>,
    /// It was spawned and waits for a place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_queued: bool,
    /// How often the body told of its progress.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) emitted: u64,
    /// The number of the first journal entry of this attempt.
    pub(crate) first_entry: u64,
    /// The number of the first journal entry of the attempt before, whose steps are not executed
    /// again; 0 where there was none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) offers_from: u64,
    /// How long the journal was at the last start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) entries_at_start: u64,
    /// How many starts in a row found no new entry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) idle_starts: u32,
    /// Which operation waits for which open question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) asks: Vec<(QuestionId, OpKey)>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Why a snapshot is none of a session of ours.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum KeptError {
    /// It was written by a later version of this library.
    #[error("it is of format {found}, and this version knows formats up to {FORMAT}")]
    Newer { found: u32 },
    /// It is something else.
    #[error("it is no session of this library: {0}")]
    Foreign(Arc<str>),
}

impl Kept {
    /// What to keep.
    pub(crate) fn encode(machine: &Machine, about: &About) -> Vec<u8> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            format: u32,
            session: SessionSnapshot,
            #[serde(flatten)]
            about: &'a About,
            #[serde(skip_serializing_if = "Option::is_none")]
            usage: Option<&'a Usage>,
        }
        let session = machine.session().snapshot();
        let usage = machine.usage();
        serde_json::to_vec(&Borrowed { format: FORMAT, session, about, usage })
            .expect("BUG: a snapshot has no map with odd keys")
    }

    /// What was kept.
    pub(crate) fn decode(data: &[u8]) -> Result<Self, KeptError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let foreign = |error: serde_json::Error| KeptError::Foreign(error.to_string().into());
        let Version { format } = serde_json::from_slice(data).map_err(foreign)?;
        if format > FORMAT {
            return Err(KeptError::Newer { found: format });
        }
        serde_json::from_slice(data).map_err(foreign)
    }

    /// The machine and what is known beside it.
    pub(crate) fn restore(self, now: Timestamp) -> Result<(Machine, About), KeptError> {
        let session = SessionMachine::restore(self.session)
            .map_err(|error| KeptError::Foreign(error.to_string().into()))?;
        // The wall clock is all that a restart leaves to tell how long it was (CORE-008).
        let passed = self
            .about
            .started_at
            .map_or(0, |started| now.as_micros().saturating_sub(started.as_micros()));
        let (limits, passed) = (self.about.limits, Duration::from_micros(passed));
        Ok((Machine::restore(session, self.usage, limits, passed), self.about))
    }
}
