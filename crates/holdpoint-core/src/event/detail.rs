//! The small words in events: causes, sources, holds.

use crate::name::Name;

/// Where a task's result came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum CacheSource {
    /// It was executed.
    Fresh,
    /// It was found by the lookup.
    Cache,
}

/// What kind of no a task's work said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum FailCause {
    /// Its function returned an error.
    Error,
    /// Its function panicked.
    Panic,
    /// Its process exited with a code other than 0.
    Exit,
    /// Its process was ended by a signal that was not ours.
    Signal,
    /// Its time limit passed.
    Timeout,
    /// Its approval was refused.
    Rejected,
}

/// Why a task was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum SkipCause {
    /// A task it needs failed.
    UpstreamFailed,
    /// A task it needs could not be done.
    UpstreamErrored,
    /// A task it needs was left out itself, by its own condition.
    UpstreamSkipped,
    /// A task it needs was cancelled, and the run as a whole was not.
    UpstreamCancelled,
    /// The run admits no more tasks after a failure.
    Stopped,
    /// Its condition said that it is not wanted.
    Condition,
}

/// A hold as an event shows it: whose name, which name, in which mode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HoldRef {
    /// Who shares the name.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub scope: HoldScope,
    /// The name.
    pub name: Name,
    /// How it goes together with others.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub mode: HoldMode,
}

/// Who shares a hold's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "scope", rename_all = "snake_case")
)]
pub enum HoldScope {
    /// Every project of the workspace.
    Workspace,
    /// One project alone.
    Project {
        /// That project.
        project: Name,
    },
}

/// How a hold goes together with others of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "mode", rename_all = "snake_case")
)]
pub enum HoldMode {
    /// Alone.
    Exclusive,
    /// With other shared ones.
    Shared,
    /// So many units, with others while the sum fits the capacity.
    Counted {
        /// The units.
        units: u32,
    },
}

/// What made a schedule fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum FireCause {
    /// The time had come.
    Due,
    /// The time had come while another run was going; it is over now.
    Queued,
    /// It was missed and is made up for.
    CatchUp,
    /// Somebody triggered it.
    Trigger,
    /// It was lost with its process and is run again.
    Repeated,
}

/// Why an occurrence started nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum ScheduleSkipCause {
    /// A run was still going.
    Overlap,
    /// It fell into the delay after a failure.
    Backoff,
    /// The schedule is tripped.
    Tripped,
    /// The schedule is paused.
    Paused,
    /// It passed while nothing could fire, and is not made up for.
    Missed,
    /// It could not start before its starting deadline.
    Deadline,
}

/// How a batch's item ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum ItemOutcome {
    /// Its worker returned `Ok`.
    Succeeded,
    /// Its worker returned an error.
    Failed,
    /// Its worker panicked.
    Panicked,
    /// Its time limit passed.
    TimedOut,
    /// It was cancelled and stopped by itself.
    Cancelled,
    /// It was cancelled and did not stop in time.
    Aborted,
    /// It still waits for an answer.
    Parked,
    /// It was never started.
    NotStarted,
}
