//! What the graph and its processes tell, in the words of the session's stream (CORE-006).
//!
//! # Invariants
//! 1. The end of a task that was executed is told with its record, never apart from it
//!    (STORE-011). All else is a note.
//! 2. What an earlier start has told of a task's end is not told again.
//! 3. While the run is wound up, nothing is told to begin.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdpoint_core::event::{CacheSource, FailCause, SkipCause};
use holdpoint_core::{CancelCode, EventKind, TaskName};
use holdpoint_graph::{
    Outcome, SkipCause as GraphSkip, Source, TaskEvent, TaskEventKind, TaskFailure, TaskId,
    UpstreamEnd,
};
use holdpoint_process::{Exit, Status};

use crate::commands::ProcessFailed;
use crate::plan::Plan;

/// Tells of what happens in one start of a run.
pub(crate) struct Recorder {
    plan: Plan,
    start: u32,
    tell: Box<dyn Fn(EventKind) + Send + Sync>,
    /// What was told of the ends of tasks.
    ended: Mutex<HashMap<TaskName, &'static str>>,
    is_winding_up: AtomicBool,
}

impl Recorder {
    /// `ended` is what earlier starts of this attempt have told: the name of each task's last end.
    pub(crate) fn new(
        plan: Plan,
        start: u32,
        ended: HashMap<TaskName, &'static str>,
        tell: impl Fn(EventKind) + Send + Sync + 'static,
    ) -> Self {
        Self {
            plan,
            start,
            tell: Box::new(tell),
            ended: Mutex::new(ended),
            is_winding_up: AtomicBool::new(false),
        }
    }

    /// Which start of the session this is, from 1.
    pub(crate) fn start(&self) -> u32 {
        self.start
    }

    /// Something happened in the graph.
    pub(crate) fn task(&self, event: &TaskEvent) {
        let Some(kind) = translate(&self.plan, event) else { return };
        if let Some(task) = kind.ended_task() {
            if self.ended().insert(task.clone(), kind.name()) == Some(kind.name()) {
                return;
            }
        } else if self.is_winding_up.load(Ordering::Acquire) && begins(&kind) {
            return;
        }
        (self.tell)(kind);
    }

    /// The end of a task that was executed, to be told with its record.
    pub(crate) fn end(&self, task: TaskId, outcome: &Outcome) -> Option<EventKind> {
        let name = self.plan.name(task).clone();
        let kind = ended(&self.plan, name.clone(), outcome)?;
        self.ended().insert(name, kind.name());
        Some(kind)
    }

    /// From now on nothing begins.
    pub(crate) fn wind_up(&self) {
        self.is_winding_up.store(true, Ordering::Release);
    }

    /// The process of an attempt runs.
    pub(crate) fn process_started(&self, task: TaskId, attempt: u32, pid: u32) {
        let task = self.plan.name(task).clone();
        (self.tell)(EventKind::ProcessStarted { task, pid, start: self.start, attempt });
    }

    /// The process of an attempt has ended.
    pub(crate) fn process_exited(&self, task: TaskId, exit: &Exit) {
        let (exit_code, signal) = match exit.status {
            Status::Code(code) => (Some(code), None),
            Status::Signal(signal) => (None, Some(signal)),
        };
        let task = self.plan.name(task).clone();
        (self.tell)(EventKind::ProcessExited { task, pid: exit.pid, exit_code, signal });
    }

    fn ended(&self) -> MutexGuard<'_, HashMap<TaskName, &'static str>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it tells that a task is about to do something.
fn begins(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::TaskStarted { .. }
            | EventKind::HoldAcquired { .. }
            | EventKind::HoldWaiting { .. }
    )
}

/// A graph's event in the words of the core; none for what the core has no word for.
fn translate(plan: &Plan, event: &TaskEvent) -> Option<EventKind> {
    let task = plan.name(event.task).clone();
    let holds = || Arc::clone(plan.holds(event.task));
    Some(match &event.kind {
        TaskEventKind::HoldWaiting => {
            EventKind::HoldWaiting { task: Some(task), holds: holds(), holder: None }
        }
        TaskEventKind::HoldAcquired => EventKind::HoldAcquired { task: Some(task), holds: holds() },
        TaskEventKind::HoldReleased => EventKind::HoldReleased { task: Some(task), holds: holds() },
        TaskEventKind::Started => EventKind::TaskStarted { task },
        TaskEventKind::Retry { attempt, delay, failure } => EventKind::TaskRetry {
            task,
            // The graph names the attempt to come, the event the one that failed.
            attempt: attempt - 1,
            delay_ms: millis(*delay),
            message: failure.message().into(),
        },
        TaskEventKind::Ended(outcome) => return ended(plan, task, outcome),
        // A lookup is an `if` here: its miss is no news, for nothing was looked for.
        _ => return None,
    })
}

pub(crate) fn ended(plan: &Plan, task: TaskName, outcome: &Outcome) -> Option<EventKind> {
    Some(match outcome {
        Outcome::Succeeded(source) => {
            let source = match source {
                Source::Cache => CacheSource::Cache,
                _ => CacheSource::Fresh,
            };
            EventKind::TaskSucceeded { task, source }
        }
        Outcome::Failed { failure, allowed } => {
            let (cause, exit_code) = fail_cause(failure);
            let message = failure.message().into();
            EventKind::TaskFailed { task, cause, message, exit_code, allowed: *allowed }
        }
        Outcome::Errored { failure, allowed } => {
            EventKind::TaskErrored { task, message: failure.message().into(), allowed: *allowed }
        }
        Outcome::Skipped(cause) => {
            let (cause, upstream, message) = skip_cause(cause)?;
            let upstream = upstream.map(|root| plan.name(root).clone());
            EventKind::TaskSkipped { task, cause, upstream, message }
        }
        Outcome::Cancelled { cause, root, .. } => {
            let upstream = root.map(|root| plan.name(root).clone());
            let (cause, text) = match cause {
                Some(cause) => (cause.code, Arc::clone(&cause.text)),
                None => (CancelCode::Internal, Arc::from("it stopped by itself")),
            };
            let text = Some(text).filter(|text| !text.is_empty());
            EventKind::TaskCancelled { task, cause, text, upstream }
        }
        _ => return None,
    })
}

/// What kind of no it was, and the exit code where that is it.
fn fail_cause(failure: &TaskFailure) -> (FailCause, Option<i32>) {
    let process = failure.source().and_then(|source| source.downcast_ref::<ProcessFailed>());
    match (process, failure.code()) {
        (Some(ProcessFailed(Status::Code(code))), _) => (FailCause::Exit, Some(*code)),
        (Some(ProcessFailed(Status::Signal(_))), _) => (FailCause::Signal, None),
        (None, Some("timeout")) => (FailCause::Timeout, None),
        (None, Some("panic")) => (FailCause::Panic, None),
        (None, Some("rejected")) => (FailCause::Rejected, None),
        (None, _) => (FailCause::Error, None),
    }
}

fn skip_cause(cause: &GraphSkip) -> Option<(SkipCause, Option<TaskId>, Option<Arc<str>>)> {
    Some(match cause {
        GraphSkip::Upstream { root, how } => {
            let cause = match how {
                UpstreamEnd::Failed => SkipCause::UpstreamFailed,
                UpstreamEnd::Errored => SkipCause::UpstreamErrored,
                UpstreamEnd::Cancelled => SkipCause::UpstreamCancelled,
                _ => SkipCause::UpstreamSkipped,
            };
            (cause, Some(*root), None)
        }
        GraphSkip::Stopped { root } => (SkipCause::Stopped, Some(*root), None),
        GraphSkip::Condition(reason) => (SkipCause::Condition, None, Some(Arc::clone(reason))),
        _ => return None,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
