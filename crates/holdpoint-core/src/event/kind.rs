//! What can happen, in one vocabulary for all engines.

use std::sync::Arc;

use super::detail::{
    CacheSource, FailCause, FireCause, HoldRef, ItemOutcome, ScheduleSkipCause, SkipCause,
};
use crate::cancel::{CancelCode, CancelInfo};
use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::name::TaskName;
use crate::session::{Failure, Question, QuestionId, SuspendCause, Usage};

/// What happened. Each kind says when it fires relative to the change it tells of.
///
/// Two kinds of bad news are kept apart throughout: `task_failed` means that the work was done
/// and said no, `task_errored` that it could not be done.
///
/// Where there is a reason, `cause` is one word to match on, and `message` or `text` is for
/// people. Durations are whole milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "kind", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum EventKind {
    /// A session was registered, or is to be tried again. After it is Planned.
    SessionPlanned {
        /// Which attempt at the whole session this is, from 1.
        attempt: u32,
    },
    /// A session was claimed for the first time in this attempt. After it is Running, before
    /// its body is polled.
    SessionStarted {
        /// Which start of the body this is, from 1, over all attempts.
        start: u32,
    },
    /// The first open question began a pause. After the session is Paused and can be answered,
    /// before the event of that question.
    SessionPaused,
    /// A session asks. After the question is open.
    SessionQuestion(Arc<Question>),
    /// An answer was accepted. After the question is closed, before the body has seen it.
    SessionAnswered {
        /// The question.
        question: QuestionId,
        /// The answer as text. Absent for a secret.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        answer: Option<Arc<str>>,
        /// Who answered.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        by: Option<Arc<str>>,
        /// Why.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        reason: Option<Arc<str>>,
    },
    /// A question was given up by its asker, or fell with its session. After it is closed.
    SessionQuestionWithdrawn {
        /// The question.
        question: QuestionId,
    },
    /// A session entered Running other than by its first claim: its last question was closed,
    /// or it was claimed again. After it is Running.
    SessionResumed {
        /// Which start of the body this is, from 1, over all attempts.
        start: u32,
    },
    /// The body was asked to stop. After the request is kept, before the body has seen it. The
    /// end follows when the body has decided.
    SessionCancelRequested(CancelInfo),
    /// Nobody runs the session any more. After it is Suspended.
    SessionSuspended(SuspendCause),
    /// The body told of its progress.
    SessionProgress {
        /// What it told, as JSON text.
        progress: Arc<str>,
    },
    /// The body returned `Ok`. After the session is Done. Terminal.
    SessionDone {
        /// What its answers used.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        usage: Option<Arc<Usage>>,
    },
    /// The session failed. After it is Failed. Terminal.
    SessionFailed(Failure),
    /// The session was cancelled. After it is Cancelled. Terminal.
    SessionCancelled(CancelInfo),

    /// A task's execution begins. After it was admitted with all its holds, before its work is
    /// called; once for a task, whatever the number of attempts, and never for a hit.
    TaskStarted {
        /// The task.
        task: TaskName,
    },
    /// The lookup found the task's result. After its outputs are restored, before
    /// `task_succeeded`.
    TaskHit {
        /// The task.
        task: TaskName,
        /// How long the execution took whose result was used.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        saved_ms: Option<u64>,
    },
    /// The lookup found nothing to use. Before the task asks for its holds.
    TaskMiss {
        /// The task.
        task: TaskName,
        /// Which part of the key changed, where an earlier one is known.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        message: Option<Arc<str>>,
    },
    /// An attempt failed and another will be made. After slot and holds are given back, before
    /// the delay.
    TaskRetry {
        /// The task.
        task: TaskName,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// The delay before the next.
        delay_ms: u64,
        /// What went wrong.
        message: Arc<str>,
    },
    /// A task waits for an answer at its gate. After `session_question` for the same id.
    TaskQuestion {
        /// The task.
        task: TaskName,
        /// The question.
        question: QuestionId,
        /// What it asks.
        prompt: Arc<str>,
    },
    /// Holds are not free. After the request has its ticket; not fired where they are granted
    /// at once.
    HoldWaiting {
        /// The task that waits; absent for a session body.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        task: Option<TaskName>,
        /// What it asked for, all or none.
        holds: Arc<[HoldRef]>,
        /// Who has one of them now.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        holder: Option<Arc<str>>,
    },
    /// Holds are taken. After all of them are, before `task_started`.
    HoldAcquired {
        /// The task that has them; absent for a session body.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        task: Option<TaskName>,
        /// What was taken.
        holds: Arc<[HoldRef]>,
    },
    /// Holds are free. After all of them are, before whoever waited for them is told.
    HoldReleased {
        /// The task that had them; absent for a session body.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        task: Option<TaskName>,
        /// What was released.
        holds: Arc<[HoldRef]>,
    },
    /// A task's process runs. After it was spawned.
    ProcessStarted {
        /// The task.
        task: TaskName,
        /// The process, and the group it leads.
        pid: u32,
        /// Which start of the session it belongs to, from 1.
        start: u32,
        /// Which attempt within that start, from 1.
        attempt: u32,
    },
    /// A task's process has ended. After it was reaped and its output read, before the task's
    /// own end.
    ProcessExited {
        /// The task.
        task: TaskName,
        /// The process.
        pid: u32,
        /// Its exit code, where it exited.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        exit_code: Option<i32>,
        /// The signal that ended it, where one did.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        signal: Option<i32>,
    },
    /// A task's work is done. After its result can be used, before its successors are
    /// considered. The task's end.
    TaskSucceeded {
        /// The task.
        task: TaskName,
        /// Whether it was executed or found.
        source: CacheSource,
    },
    /// A task's work was done and said no. After its last attempt. The task's end.
    TaskFailed {
        /// The task.
        task: TaskName,
        /// What kind of no it was.
        cause: FailCause,
        /// What it said.
        message: Arc<str>,
        /// The exit code of its process, where that is the cause.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        exit_code: Option<i32>,
        /// Whether it may fail: then it counts as success for its successors and for the run.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
        allowed: bool,
    },
    /// A task's work could not be done: its process could not be spawned, its output or its
    /// record could not be kept. The task's end.
    TaskErrored {
        /// The task.
        task: TaskName,
        /// What went wrong.
        message: Arc<str>,
        /// Whether it may fail, as in `task_failed`.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
        allowed: bool,
    },
    /// A task was left out. After it is clear that it will never start. The task's end.
    TaskSkipped {
        /// The task.
        task: TaskName,
        /// Why.
        cause: SkipCause,
        /// The task at the root of it, where another task is the cause.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        upstream: Option<TaskName>,
        /// More about it, for people.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        message: Option<Arc<str>>,
    },
    /// A task was cancelled, whether or not it had started. After its work has stopped. The
    /// task's end.
    TaskCancelled {
        /// The task.
        task: TaskName,
        /// Who asked for it.
        cause: CancelCode,
        /// Why, in words.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        text: Option<Arc<str>>,
        /// The task at the root of it, where another task is the cause.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        upstream: Option<TaskName>,
    },

    /// A schedule is known from now on. After it is in place, before its first occurrence.
    ScheduleAdded,
    /// A schedule has a new definition. After it is in place; nothing fires by that itself.
    ScheduleReplaced,
    /// A schedule is no longer known. After its last occurrence.
    ScheduleRemoved,
    /// A schedule fires no more by itself. After it is paused.
    SchedulePaused,
    /// A paused schedule fires again. After it is resumed.
    ScheduleResumed,
    /// A schedule starts its job. After the occurrence is reserved, before the job runs.
    ScheduleFired {
        /// The number of this run among the schedule's, from 1.
        run: u64,
        /// What made it fire.
        cause: FireCause,
        /// When it was due. For a trigger, when it was called.
        due_at: Timestamp,
        /// The session it starts, where it starts one.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        session_id: Option<SessionId>,
    },
    /// Occurrences start nothing. Once for what one decision passed over.
    ScheduleSkipped {
        /// Why.
        cause: ScheduleSkipCause,
        /// The first of them.
        due_at: Timestamp,
        /// How many.
        count: u64,
    },
    /// A run ended well. After streak and trip are cleared.
    ScheduleSucceeded {
        /// The run.
        run: u64,
    },
    /// A run failed or panicked. After it is counted, before `schedule_backoff` or
    /// `schedule_tripped`.
    ScheduleFailed {
        /// The run.
        run: u64,
        /// How many failed in a row, this one included.
        streak: u32,
        /// What went wrong.
        message: Arc<str>,
    },
    /// A run was cancelled. After it has stopped.
    ScheduleCancelled {
        /// The run.
        run: u64,
        /// Who asked for it.
        cause: CancelCode,
        /// Why, in words.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        text: Option<Arc<str>>,
    },
    /// A run was lost with its process. Fires at the next start.
    ScheduleInterrupted {
        /// The run.
        run: u64,
        /// Whether it is run again.
        repeated: bool,
    },
    /// A schedule waits longer because of failures. After the delay is set.
    ScheduleBackoff {
        /// How many runs failed in a row.
        streak: u32,
        /// The earliest time of the next run.
        until: Timestamp,
    },
    /// A schedule failed too often and fires no more until it is reset.
    ScheduleTripped {
        /// How many runs failed in a row.
        streak: u32,
    },
    /// Streak and trip were cleared by hand. After the next occurrence is set.
    ScheduleReset,
    /// The wall clock was corrected by more than a schedule glosses over. After the next
    /// occurrence is set by the new time.
    ScheduleClockStepped {
        /// What the clock would have shown.
        before: Timestamp,
        /// What it showed.
        after: Timestamp,
    },

    /// A batch begins. Before its source is read.
    BatchStarted {
        /// The most items in flight.
        limit: u32,
    },
    /// The source offered an item. After it is seen, before it is started.
    BatchItemQueued {
        /// The item.
        item: Arc<str>,
    },
    /// An item has a slot. Before its work is called.
    BatchItemStarted {
        /// The item.
        item: Arc<str>,
        /// Its place in the report, from 0.
        index: u64,
        /// Which attempt this is, from 1.
        attempt: u32,
    },
    /// An attempt failed and another will be made. After the slot is free, before the delay.
    BatchItemRetry {
        /// The item.
        item: Arc<str>,
        /// Its place in the report.
        index: u64,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// The delay before the next.
        delay_ms: u64,
        /// What went wrong.
        message: Arc<str>,
    },
    /// An item's session waits for an answer. After its slot is free.
    BatchItemParked {
        /// The item.
        item: Arc<str>,
        /// Its place in the report.
        index: u64,
    },
    /// A parked item can go on. Before it has a slot again.
    BatchItemUnparked {
        /// The item.
        item: Arc<str>,
        /// Its place in the report.
        index: u64,
    },
    /// An item ended. After its outcome is in the report and its slot is free.
    BatchItemFinished {
        /// The item.
        item: Arc<str>,
        /// Its place in the report.
        index: u64,
        /// How it ended.
        outcome: ItemOutcome,
        /// What went wrong, where something did.
        #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
        message: Option<Arc<str>>,
    },
    /// The limit was changed. After it is in force, before what it admits starts.
    BatchLimitChanged {
        /// The most items in flight before.
        from: u32,
        /// The most items in flight now.
        to: u32,
    },
    /// Starting is paused. Items in flight go on.
    BatchPaused,
    /// Starting goes on. Before what it admits starts.
    BatchResumed,
    /// The batch was asked to stop. After the request is kept; no item starts later.
    BatchCancelRequested(CancelInfo),
    /// The batch is over. After its last item has ended.
    BatchEnded {
        /// Items that ended well.
        succeeded: u64,
        /// Items that failed, panicked or ran out of time.
        failed: u64,
        /// Items that were cancelled or aborted.
        cancelled: u64,
        /// Items still waiting for an answer.
        parked: u64,
        /// Items seen and never started.
        not_started: u64,
    },
}
