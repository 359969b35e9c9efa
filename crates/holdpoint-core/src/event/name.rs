//! The names of event kinds, and questions about them.

use super::kind::EventKind;
use crate::name::TaskName;

impl EventKind {
    /// The kind's name as it is serialised: `"session_paused"`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SessionPlanned { .. } => "session_planned",
            Self::SessionStarted { .. } => "session_started",
            Self::SessionPaused => "session_paused",
            Self::SessionQuestion(_) => "session_question",
            Self::SessionAnswered { .. } => "session_answered",
            Self::SessionQuestionWithdrawn { .. } => "session_question_withdrawn",
            Self::SessionResumed { .. } => "session_resumed",
            Self::SessionCancelRequested(_) => "session_cancel_requested",
            Self::SessionSuspended(_) => "session_suspended",
            Self::SessionProgress { .. } => "session_progress",
            Self::SessionDone { .. } => "session_done",
            Self::SessionFailed(_) => "session_failed",
            Self::SessionCancelled(_) => "session_cancelled",
            Self::TaskStarted { .. } => "task_started",
            Self::TaskHit { .. } => "task_hit",
            Self::TaskMiss { .. } => "task_miss",
            Self::TaskRetry { .. } => "task_retry",
            Self::TaskQuestion { .. } => "task_question",
            Self::HoldWaiting { .. } => "hold_waiting",
            Self::HoldAcquired { .. } => "hold_acquired",
            Self::HoldReleased { .. } => "hold_released",
            Self::ProcessStarted { .. } => "process_started",
            Self::ProcessExited { .. } => "process_exited",
            Self::TaskSucceeded { .. } => "task_succeeded",
            Self::TaskFailed { .. } => "task_failed",
            Self::TaskErrored { .. } => "task_errored",
            Self::TaskSkipped { .. } => "task_skipped",
            Self::TaskCancelled { .. } => "task_cancelled",
            Self::ScheduleAdded => "schedule_added",
            Self::ScheduleReplaced => "schedule_replaced",
            Self::ScheduleRemoved => "schedule_removed",
            Self::SchedulePaused => "schedule_paused",
            Self::ScheduleResumed => "schedule_resumed",
            Self::ScheduleFired { .. } => "schedule_fired",
            Self::ScheduleSkipped { .. } => "schedule_skipped",
            Self::ScheduleSucceeded { .. } => "schedule_succeeded",
            Self::ScheduleFailed { .. } => "schedule_failed",
            Self::ScheduleCancelled { .. } => "schedule_cancelled",
            Self::ScheduleInterrupted { .. } => "schedule_interrupted",
            Self::ScheduleBackoff { .. } => "schedule_backoff",
            Self::ScheduleTripped { .. } => "schedule_tripped",
            Self::ScheduleReset => "schedule_reset",
            Self::ScheduleClockStepped { .. } => "schedule_clock_stepped",
            Self::BatchStarted { .. } => "batch_started",
            Self::BatchItemQueued { .. } => "batch_item_queued",
            Self::BatchItemStarted { .. } => "batch_item_started",
            Self::BatchItemRetry { .. } => "batch_item_retry",
            Self::BatchItemParked { .. } => "batch_item_parked",
            Self::BatchItemUnparked { .. } => "batch_item_unparked",
            Self::BatchItemFinished { .. } => "batch_item_finished",
            Self::BatchLimitChanged { .. } => "batch_limit_changed",
            Self::BatchPaused => "batch_paused",
            Self::BatchResumed => "batch_resumed",
            Self::BatchCancelRequested(_) => "batch_cancel_requested",
            Self::BatchEnded { .. } => "batch_ended",
        }
    }

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
