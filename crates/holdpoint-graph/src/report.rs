//! What happened: events while a graph runs, and the report when it has ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{CancelInfo, Monotonic};

use crate::machine::{Causes, Detail, NEVER, State, outcome};
use crate::runner::TaskFailure;
use crate::topology::{TaskId, Topology};

/// Something that happened to a task.
#[derive(Debug, Clone)]
pub struct TaskEvent {
    /// When, on the clock of the run.
    pub at: Monotonic,
    /// The task.
    pub task: TaskId,
    /// What.
    pub kind: TaskEventKind,
}

/// What happened to a task, and when that is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TaskEventKind {
    /// Its predecessors are done and its gate is awaited. Told before the gate is polled.
    GateAwaited,
    /// Its lookup found nothing. Told before holds are asked for.
    Miss,
    /// Its holds are not free. Told after slot and caps were given back.
    HoldWaiting,
    /// Its holds are kept for it. Told before it executes, or before it waits for a slot.
    HoldAcquired,
    /// Its holds are free again. Told before the event of its end.
    HoldReleased,
    /// Execution begins. Once, before the first attempt is polled; never for a hit.
    Started,
    /// An attempt failed and another will follow. Told after slot and holds were given back.
    Retry {
        /// The number of the next attempt.
        attempt: u32,
        /// The delay before it.
        delay: Duration,
        /// Why the last one failed.
        failure: TaskFailure,
    },
    /// It ended, for good. Told before anything that follows from it.
    Ended(Outcome),
}

/// How a task ended (GRAPH-008).
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Outcome {
    /// Its work is done.
    Succeeded(Source),
    /// Its work was tried and said no, its timeout passed, or it panicked.
    Failed {
        /// Why.
        failure: TaskFailure,
        /// It was allowed to: it counts as a success for edges and for the run.
        allowed: bool,
    },
    /// Its work could not be done.
    Errored {
        /// Why.
        failure: TaskFailure,
        /// It was allowed to: it counts as a success for edges and for the run.
        allowed: bool,
    },
    /// It did not begin.
    Skipped(SkipCause),
    /// It was cancelled, before or while it ran.
    Cancelled {
        /// The cause; none where the task cancelled itself.
        cause: Option<Arc<CancelInfo>>,
        /// The failed task, where fail-fast cancelled this one.
        root: Option<TaskId>,
        /// It did not stop within the grace and was dropped.
        aborted: bool,
    },
}

/// Where the result of a succeeded task came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Source {
    /// It executed.
    Fresh,
    /// Its lookup found it.
    Cache,
}

/// Why a task was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SkipCause {
    /// A task that it needs, directly or through others, did not succeed.
    Upstream {
        /// The task it began with.
        root: TaskId,
        /// How that one ended.
        how: UpstreamEnd,
    },
    /// The run stops at failures, and this task had failed.
    Stopped {
        /// The task that failed.
        root: TaskId,
    },
    /// Its condition did not want it, for this reason.
    Condition(Arc<str>),
}

/// How the task at the root of a skip ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum UpstreamEnd {
    /// It failed.
    Failed,
    /// It could not be done.
    Errored,
    /// It was skipped itself.
    Skipped,
    /// It was cancelled.
    Cancelled,
}

impl Outcome {
    /// Whether edges and the run count it as a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        match self {
            Self::Succeeded(_) => true,
            Self::Failed { allowed, .. } | Self::Errored { allowed, .. } => *allowed,
            Self::Skipped(_) | Self::Cancelled { .. } => false,
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for TaskFailure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.message())
    }
}

/// Is told of every event of a run, in order, on the driver's task. It must not block.
pub trait Observer {
    /// Whether it wants events at all.
    const WANTS_EVENTS: bool = true;

    /// Takes in one event.
    fn event(&mut self, event: &TaskEvent);
}

/// Wants no events.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    const WANTS_EVENTS: bool = false;

    fn event(&mut self, _: &TaskEvent) {}
}

impl<F: FnMut(&TaskEvent)> Observer for F {
    fn event(&mut self, event: &TaskEvent) {
        self(event);
    }
}

/// The outcome of every task of a run.
///
/// It keeps what the run had at its end and computes rows when asked.
#[derive(Debug, Clone)]
pub struct Report {
    pub(crate) topology: Arc<Topology>,
    pub(crate) state: Vec<State>,
    pub(crate) word: Vec<u32>,
    pub(crate) began: Monotonic,
    pub(crate) started: Vec<Monotonic>,
    pub(crate) finished: Vec<Monotonic>,
    pub(crate) attempts: HashMap<TaskId, u32>,
    pub(crate) details: HashMap<TaskId, Detail>,
    pub(crate) causes: Causes,
    pub(crate) still_running: Vec<TaskId>,
    pub(crate) observer_panic: Option<String>,
}

/// One task of a report.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Row<'a> {
    /// Its name.
    pub task: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// Attempts begun; 0 where it never executed, or had ended before this run.
    pub attempts: u32,
    /// From the start of the run to the start of its first attempt, where there was one.
    pub started: Option<Duration>,
    /// From the start of the run to its end.
    pub finished: Duration,
}

/// How many tasks ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// Executed and succeeded, in this run or before it.
    pub fresh: usize,
    /// Found by lookup.
    pub cached: usize,
    /// Failed and not allowed to.
    pub failed: usize,
    /// Could not be done and not allowed to fail.
    pub errored: usize,
    /// Failed or could not be done, and allowed to.
    pub allowed: usize,
    /// Skipped.
    pub skipped: usize,
    /// Cancelled.
    pub cancelled: usize,
}

impl Report {
    /// Whether nothing failed, was cancelled, or was skipped because of another task. A task
    /// skipped by its own condition, and what needs it, does not count against the run.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.state.iter().enumerate().all(|(index, state)| match state {
            State::Succeeded | State::Hit | State::SkippedCondition => true,
            // The root of the skip counts by itself.
            State::SkippedUpstream => true,
            State::Failed | State::Errored => self.topology.allows_failure(TaskId(index as u32)),
            _ => false,
        })
    }

    /// How a task ended.
    ///
    /// # Panics
    /// Where `task` belongs to a larger topology.
    #[must_use]
    pub fn outcome(&self, task: TaskId) -> Outcome {
        outcome(&self.topology, &self.state, &self.word, &self.details, &self.causes, task)
    }

    /// All tasks in canonical order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> + '_ {
        self.topology.tasks().map(|task| self.row(task))
    }

    /// One task.
    ///
    /// # Panics
    /// Where `task` belongs to a larger topology.
    #[must_use]
    pub fn row(&self, task: TaskId) -> Row<'_> {
        let executed = self.executed(task);
        Row {
            task: self.topology.name(task),
            outcome: self.outcome(task),
            attempts: match self.attempts.get(&task) {
                Some(&attempts) => attempts,
                None => u32::from(executed),
            },
            started: executed.then(|| self.started[task.index()] - self.began),
            finished: self.finished[task.index()] - self.began,
        }
    }

    /// How many tasks ended in which way.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (index, state) in self.state.iter().enumerate() {
            let allowed = || self.topology.allows_failure(TaskId(index as u32));
            *match state {
                State::Succeeded => &mut counts.fresh,
                State::Hit => &mut counts.cached,
                State::Failed | State::Errored if allowed() => &mut counts.allowed,
                State::Failed => &mut counts.failed,
                State::Errored => &mut counts.errored,
                State::SkippedUpstream | State::SkippedStopped | State::SkippedCondition => {
                    &mut counts.skipped
                }
                _ => &mut counts.cancelled,
            } += 1;
        }
        counts
    }

    /// The chain of tasks whose executions, one after the other along edges, took longest, and
    /// how long that was. Costs O(n + e).
    #[must_use]
    pub fn critical_path(&self) -> (Vec<&str>, Duration) {
        let count = self.topology.len();
        let duration = |task: TaskId| {
            let executed = self.executed(task);
            let (from, to) = (self.started[task.index()], self.finished[task.index()]);
            if executed { to - from } else { Duration::ZERO }
        };
        let mut open = self.topology.predecessors.clone();
        let mut before: Vec<(Duration, Option<TaskId>)> = vec![(Duration::ZERO, None); count];
        let all = (0..count as u32).map(TaskId);
        let mut sorted: Vec<TaskId> = all.filter(|task| open[task.index()] == 0).collect();
        let mut next = 0;
        let mut best: (Duration, Option<TaskId>) = (Duration::ZERO, None);
        while let Some(&task) = sorted.get(next) {
            next += 1;
            let total = before[task.index()].0 + duration(task);
            if best.1.is_none() || total > best.0 {
                best = (total, Some(task));
            }
            for edge in self.topology.edges_of(task) {
                let index = edge.task().index();
                if total > before[index].0 {
                    before[index] = (total, Some(task));
                }
                open[index] -= 1;
                if open[index] == 0 {
                    sorted.push(edge.task());
                }
            }
        }
        let mut path = Vec::new();
        let mut at = best.1;
        while let Some(task) = at {
            if self.executed(task) {
                path.push(self.topology.name(task));
            }
            at = before[task.index()].1;
        }
        path.reverse();
        (path, best.0)
    }

    /// Blocking functions that were still running when the run ended (GRAPH-017).
    pub fn still_running(&self) -> impl ExactSizeIterator<Item = &str> {
        self.still_running.iter().map(|&task| self.topology.name(task))
    }

    /// Set where the observer panicked: the run went on without it.
    #[must_use]
    pub fn observer_panic(&self) -> Option<&str> {
        self.observer_panic.as_deref()
    }

    /// The graph that ran.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Whether an attempt of the task was begun.
    fn executed(&self, task: TaskId) -> bool {
        self.started[task.index()] != NEVER
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut report = serializer.serialize_struct("Report", 3)?;
        report.serialize_field("success", &self.is_success())?;
        report.serialize_field("counts", &self.counts())?;
        report.serialize_field("tasks", &self.rows().collect::<Vec<_>>())?;
        report.end()
    }
}
