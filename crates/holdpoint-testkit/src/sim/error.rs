//! How a simulation fails.

use std::fmt::Write;
use std::time::Duration;

use holdpoint_core::Event;

use crate::audit::Violation;

/// Why a simulation failed. Each names the seed that replays it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// Too much happened.
    #[error("seed {seed}: not at rest after {steps} steps, at {at:?}")]
    Steps {
        /// The seed.
        seed: u64,
        /// How much was allowed.
        steps: u64,
        /// The virtual time of the next step.
        at: Duration,
    },
    /// It took too long.
    #[error("seed {seed}: not at rest after {limit:?}; {waiting} more are to happen")]
    Time {
        /// The seed.
        seed: u64,
        /// How long it might have taken.
        limit: Duration,
        /// How much was still to happen.
        waiting: usize,
    },
    /// An actor found something wrong.
    #[error("seed {seed}, at {at:?}: {message}")]
    Actor {
        /// The seed.
        seed: u64,
        /// The virtual time.
        at: Duration,
        /// What it found.
        message: String,
    },
    /// The events break a rule.
    #[error("seed {seed}: the events break a rule{}", listed(violations))]
    Audit {
        /// The seed.
        seed: u64,
        /// What the audit found.
        violations: Vec<Violation>,
        /// All events.
        events: Vec<Event>,
    },
}

impl SimError {
    /// The seed that replays it.
    #[must_use]
    pub fn seed(&self) -> u64 {
        match self {
            Self::Steps { seed, .. }
            | Self::Time { seed, .. }
            | Self::Actor { seed, .. }
            | Self::Audit { seed, .. } => *seed,
        }
    }
}

fn listed(violations: &[Violation]) -> String {
    violations.iter().fold(String::new(), |mut text, violation| {
        let _ = write!(text, "\n  {violation}");
        text
    })
}
