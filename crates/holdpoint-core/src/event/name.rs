//! The names of event kinds, and questions about them.

use super::kind::EventKind;
use crate::name::TaskName;

impl EventKind {
    /// Whether this is the end of its session's attempt: the last event until a retry.
    #[must_use]
    pub const fn ends_session(&self) -> bool {
        matches!(
            self,
            Self::SessionDone { .. } | Self::SessionFailed(_) | Self::SessionCancelled(_)
        )
    }

    /// The task whose one end this is.
    #[must_use]
    pub const fn ended_task(&self) -> Option<&TaskName> {
        match self {
            Self::TaskSucceeded { task, .. }
            | Self::TaskFailed { task, .. }
            | Self::TaskErrored { task, .. }
            | Self::TaskSkipped { task, .. }
            | Self::TaskCancelled { task, .. } => Some(task),
            _ => None,
        }
    }
}

/// One table for all kinds: the compiler refuses it where one is missing.
macro_rules! names {
    ($($kind:ident = $name:literal,)*) => {
        impl EventKind {
            /// The kind's name as it is serialised: `"session_paused"`.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$kind { .. } => $name,)*
                }
            }

            #[cfg(all(test, feature = "serde"))]
            pub(crate) const NAMES: &[&str] = &[$($name),*];
        }
    };
}

names! {
    SessionPlanned = "session_planned",
    SessionStarted = "session_started",
    SessionPaused = "session_paused",
    SessionQuestion = "session_question",
    SessionAnswered = "session_answered",
    SessionQuestionWithdrawn = "session_question_withdrawn",
    SessionResumed = "session_resumed",
    SessionCancelRequested = "session_cancel_requested",
    SessionSuspended = "session_suspended",
    SessionProgress = "session_progress",
    SessionDone = "session_done",
    SessionFailed = "session_failed",
    SessionCancelled = "session_cancelled",
    TaskStarted = "task_started",
    TaskHit = "task_hit",
    TaskMiss = "task_miss",
    TaskRetry = "task_retry",
    TaskQuestion = "task_question",
    HoldWaiting = "hold_waiting",
    HoldAcquired = "hold_acquired",
    HoldReleased = "hold_released",
    ProcessStarted = "process_started",
    ProcessExited = "process_exited",
    TaskSucceeded = "task_succeeded",
    TaskFailed = "task_failed",
    TaskErrored = "task_errored",
    TaskSkipped = "task_skipped",
    TaskCancelled = "task_cancelled",
    ScheduleAdded = "schedule_added",
    ScheduleReplaced = "schedule_replaced",
    ScheduleRemoved = "schedule_removed",
    SchedulePaused = "schedule_paused",
    ScheduleResumed = "schedule_resumed",
    ScheduleFired = "schedule_fired",
    ScheduleSkipped = "schedule_skipped",
    ScheduleSucceeded = "schedule_succeeded",
    ScheduleFailed = "schedule_failed",
    ScheduleCancelled = "schedule_cancelled",
    ScheduleInterrupted = "schedule_interrupted",
    ScheduleBackoff = "schedule_backoff",
    ScheduleTripped = "schedule_tripped",
    ScheduleReset = "schedule_reset",
    ScheduleClockStepped = "schedule_clock_stepped",
    BatchStarted = "batch_started",
    BatchItemQueued = "batch_item_queued",
    BatchItemStarted = "batch_item_started",
    BatchItemRetry = "batch_item_retry",
    BatchItemParked = "batch_item_parked",
    BatchItemUnparked = "batch_item_unparked",
    BatchItemFinished = "batch_item_finished",
    BatchLimitChanged = "batch_limit_changed",
    BatchPaused = "batch_paused",
    BatchResumed = "batch_resumed",
    BatchCancelRequested = "batch_cancel_requested",
    BatchEnded = "batch_ended",
}
