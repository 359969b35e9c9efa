//! The states of a task, what few tasks have besides, and outcomes made of both.

use std::collections::HashMap;
use std::sync::Arc;

use holdpoint_core::{CancelInfo, Monotonic};

use crate::report::{Outcome, SkipCause, Source, UpstreamEnd};
use crate::runner::TaskFailure;
use crate::topology::{TaskId, Topology};

/// The start of a task that has not executed.
pub(crate) const NEVER: Monotonic = Monotonic::from_nanos(u64::MAX);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Waits for predecessors; `word` counts those still open.
    Pending,
    /// Its gate is awaited.
    Gated,
    /// May start as soon as caps admit it.
    Ready,
    /// Its lookup runs.
    Lookup,
    /// Admitted; its holds are being asked for.
    Asking,
    /// Its ticket waits; nothing else is kept.
    Waiting,
    /// Its holds are kept for it; it waits for slot and caps.
    Reserved,
    /// An attempt runs.
    Running,
    /// An attempt failed; the next waits for its delay.
    Backoff,
    /// It executed and how it ends is decided; that is being recorded. Nothing is kept, and
    /// nothing but the record ends it.
    Settling,
    // Terminal from here on.
    Succeeded,
    Hit,
    Failed,
    Errored,
    /// A hard predecessor did not succeed; `word` is the root's id.
    SkippedUpstream,
    /// The run stopped at a failure; `word` is the id of the task that failed.
    SkippedStopped,
    SkippedCondition,
    /// With the run.
    Cancelled,
    /// By fail-fast; `word` is the id of the task that failed.
    CancelledByFailure,
    /// It said so by itself.
    CancelledItself,
}

impl State {
    pub(crate) fn is_terminal(self) -> bool {
        self as u8 >= Self::Succeeded as u8
    }

    /// Whether something is being done for it, or can begin without an answer from outside.
    pub(super) fn is_under_way(self) -> bool {
        (Self::Ready as u8..Self::Succeeded as u8).contains(&(self as u8))
    }

    pub(super) fn is_in_flight(self) -> bool {
        matches!(self, Self::Lookup | Self::Asking | Self::Running)
    }

    pub(super) fn has_holds(self) -> bool {
        matches!(self, Self::Asking | Self::Waiting | Self::Reserved | Self::Running)
    }
}

/// Why tasks were cancelled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Causes {
    /// With the run.
    pub(crate) run: Option<Arc<CancelInfo>>,
    /// By fail-fast.
    pub(crate) failure: Option<Arc<CancelInfo>>,
}

/// What few tasks have: why they failed, were skipped or aborted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Detail {
    pub(crate) failure: Option<TaskFailure>,
    pub(crate) condition: Option<Arc<str>>,
    /// The last attempt did not stop within the grace.
    pub(crate) aborted: bool,
    /// The attempt before the delay errored; otherwise it failed.
    pub(super) errored: bool,
}

/// A terminal state with its details as a value.
pub(crate) fn outcome(
    topology: &Topology,
    state: &[State],
    word: &[u32],
    details: &HashMap<TaskId, Detail>,
    causes: &Causes,
    task: TaskId,
) -> Outcome {
    let root = || TaskId(word[task.index()]);
    let detail = || details.get(&task);
    let failure = || {
        detail().and_then(|detail| detail.failure.clone()).unwrap_or_else(|| TaskFailure::new(""))
    };
    let cancelled = |cause: &Option<Arc<CancelInfo>>, root| Outcome::Cancelled {
        cause: cause.clone(),
        root,
        aborted: detail().is_some_and(|detail| detail.aborted),
    };
    let allowed = topology.settings(task).allow_failure;
    match state[task.index()] {
        State::Succeeded => Outcome::Succeeded(Source::Fresh),
        State::Hit => Outcome::Succeeded(Source::Cache),
        State::Failed => Outcome::Failed { failure: failure(), allowed },
        State::Errored => Outcome::Errored { failure: failure(), allowed },
        State::SkippedUpstream => {
            let how = match state[root().index()] {
                State::Failed => UpstreamEnd::Failed,
                State::Errored => UpstreamEnd::Errored,
                State::Cancelled | State::CancelledByFailure | State::CancelledItself => {
                    UpstreamEnd::Cancelled
                }
                _ => UpstreamEnd::Skipped,
            };
            Outcome::Skipped(SkipCause::Upstream { root: root(), how })
        }
        State::SkippedStopped => Outcome::Skipped(SkipCause::Stopped { root: root() }),
        State::SkippedCondition => {
            let reason = detail().and_then(|detail| detail.condition.clone()).unwrap_or_default();
            Outcome::Skipped(SkipCause::Condition(reason))
        }
        State::CancelledByFailure => cancelled(&causes.failure, Some(root())),
        State::CancelledItself => cancelled(&None, None),
        // States that are not terminal do not get here.
        _ => cancelled(&causes.run, None),
    }
}
