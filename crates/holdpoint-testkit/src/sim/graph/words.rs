//! What the graph's machine tells, in the words of the core.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::event::{CacheSource, EventKind, FailCause, HoldRef, SkipCause};
use holdpoint_core::{CancelCode, TaskName};
use holdpoint_graph::{
    Outcome, SkipCause as GraphSkip, Source, TaskEvent, TaskEventKind, TaskFailure, TaskId,
    UpstreamEnd,
};

/// One event of the graph as those of the core: none, one, or two for a hit.
pub(super) fn translate(
    event: &TaskEvent,
    names: &[TaskName],
    holds: &Arc<[HoldRef]>,
) -> Vec<EventKind> {
    let task = names[event.task.index()].clone();
    let held = Arc::clone(holds);
    vec![match &event.kind {
        TaskEventKind::Miss => EventKind::TaskMiss { task, message: None },
        TaskEventKind::HoldWaiting => {
            EventKind::HoldWaiting { task: Some(task), holds: held, holder: None }
        }
        TaskEventKind::HoldAcquired => EventKind::HoldAcquired { task: Some(task), holds: held },
        TaskEventKind::HoldReleased => EventKind::HoldReleased { task: Some(task), holds: held },
        TaskEventKind::Started => EventKind::TaskStarted { task },
        TaskEventKind::Retry { attempt, delay, failure } => EventKind::TaskRetry {
            task,
            // The graph names the attempt to come, the event the one that failed.
            attempt: attempt - 1,
            delay_ms: millis(*delay),
            message: failure.message().into(),
        },
        TaskEventKind::Ended(Outcome::Succeeded(Source::Cache)) => {
            let hit = EventKind::TaskHit { task: task.clone(), saved_ms: None };
            return vec![hit, EventKind::TaskSucceeded { task, source: CacheSource::Cache }];
        }
        TaskEventKind::Ended(outcome) => return ended(outcome, task, names).into_iter().collect(),
        _ => return Vec::new(),
    }]
}

fn ended(outcome: &Outcome, task: TaskName, names: &[TaskName]) -> Option<EventKind> {
    let name = |root: &TaskId| names[root.index()].clone();
    Some(match outcome {
        Outcome::Succeeded(_) => EventKind::TaskSucceeded { task, source: CacheSource::Fresh },
        Outcome::Failed { failure, allowed } => EventKind::TaskFailed {
            task,
            cause: fail_cause(failure),
            message: failure.message().into(),
            exit_code: None,
            allowed: *allowed,
        },
        Outcome::Errored { failure, allowed } => {
            EventKind::TaskErrored { task, message: failure.message().into(), allowed: *allowed }
        }
        Outcome::Skipped(cause) => {
            let (cause, upstream, message) = match cause {
                GraphSkip::Upstream { root, how } => (upstream(*how), Some(name(root)), None),
                GraphSkip::Stopped { root } => (SkipCause::Stopped, Some(name(root)), None),
                GraphSkip::Condition(reason) => (SkipCause::Condition, None, Some(reason.clone())),
                _ => return None,
            };
            EventKind::TaskSkipped { task, cause, upstream, message }
        }
        Outcome::Cancelled { cause, root, .. } => EventKind::TaskCancelled {
            task,
            cause: cause.as_ref().map_or(CancelCode::Internal, |cause| cause.code),
            text: cause.as_ref().map(|cause| Arc::clone(&cause.text)),
            upstream: root.as_ref().map(name),
        },
        _ => return None,
    })
}

fn fail_cause(failure: &TaskFailure) -> FailCause {
    match failure.code() {
        Some("timeout") => FailCause::Timeout,
        Some("panic") => FailCause::Panic,
        _ => FailCause::Error,
    }
}

fn upstream(how: UpstreamEnd) -> SkipCause {
    match how {
        UpstreamEnd::Failed => SkipCause::UpstreamFailed,
        UpstreamEnd::Errored => SkipCause::UpstreamErrored,
        UpstreamEnd::Cancelled => SkipCause::UpstreamCancelled,
        _ => SkipCause::UpstreamSkipped,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
