//! Events in few words, and what an audit has to say of a list of them.

use std::sync::Arc;

use holdpoint_core::event::{
    CacheSource, EventKind, FailCause, HoldMode, HoldRef, HoldScope, SkipCause, Stream,
};
use holdpoint_core::session::{Failure, Question, QuestionId, QuestionKind, SuspendCause};
use holdpoint_core::{BatchId, CancelCode, CancelInfo, Event, SessionId, TaskName, Timestamp};

use crate::{Audit, Violation};

/// Rules and numbers of the violations in one session of these events.
pub(super) fn session(kinds: Vec<EventKind>) -> Vec<(&'static str, u64)> {
    rules(&judge(Audit::new(), &events(session_stream(), kinds)))
}

/// As [`session`], in a batch.
pub(super) fn batch(kinds: Vec<EventKind>) -> Vec<(&'static str, u64)> {
    rules(&judge(Audit::new(), &events(Stream::Batch(BatchId::generate()), kinds)))
}

/// The events in a session that has begun and is done after them; the first of them is event 3.
pub(super) fn in_session(kinds: Vec<EventKind>) -> Vec<(&'static str, u64)> {
    let mut all = vec![planned(1), started(1)];
    all.extend(kinds);
    all.push(done());
    session(all)
}

pub(super) fn judge(mut audit: Audit, events: &[Event]) -> Vec<Violation> {
    events.iter().for_each(|event| audit.take(event));
    audit.finish()
}

pub(super) fn rules(found: &[Violation]) -> Vec<(&'static str, u64)> {
    found.iter().map(|violation| (violation.rule, violation.seq)).collect()
}

pub(super) fn events(stream: Stream, kinds: Vec<EventKind>) -> Vec<Event> {
    let numbered = kinds.into_iter().zip(1..);
    let at = Timestamp::from_micros(0);
    numbered.map(|(kind, seq)| Event::new(seq, at, stream.clone(), kind)).collect()
}

pub(super) fn session_stream() -> Stream {
    Stream::Session(SessionId::generate())
}

pub(super) fn planned(attempt: u32) -> EventKind {
    EventKind::SessionPlanned { attempt }
}

pub(super) fn started(start: u32) -> EventKind {
    EventKind::SessionStarted { start }
}

pub(super) fn resumed(start: u32) -> EventKind {
    EventKind::SessionResumed { start }
}

pub(super) fn paused() -> EventKind {
    EventKind::SessionPaused
}

pub(super) fn asked(id: u32) -> EventKind {
    EventKind::SessionQuestion(Arc::new(Question {
        id: QuestionId(id),
        name: "merge".into(),
        kind: QuestionKind::Confirm,
        prompt: "Merge?".into(),
        asked_at: Timestamp::from_micros(0),
        task: None,
    }))
}

pub(super) fn answered(id: u32) -> EventKind {
    EventKind::SessionAnswered { question: QuestionId(id), answer: None, by: None, reason: None }
}

pub(super) fn withdrawn(id: u32) -> EventKind {
    EventKind::SessionQuestionWithdrawn { question: QuestionId(id) }
}

pub(super) fn interrupted() -> EventKind {
    EventKind::SessionSuspended(SuspendCause::Interrupted)
}

pub(super) fn done() -> EventKind {
    EventKind::SessionDone { usage: None }
}

pub(super) fn failed() -> EventKind {
    EventKind::SessionFailed(Failure::from_error("no", false))
}

pub(super) fn cause(text: &str) -> CancelInfo {
    CancelInfo::new(CancelCode::User, text, Timestamp::from_micros(0))
}

pub(super) fn cancel_requested(text: &str) -> EventKind {
    EventKind::SessionCancelRequested(cause(text))
}

pub(super) fn cancelled(text: &str) -> EventKind {
    EventKind::SessionCancelled(cause(text))
}

pub(super) fn task(name: &str) -> TaskName {
    name.parse().unwrap()
}

pub(super) fn starts(name: &str) -> EventKind {
    EventKind::TaskStarted { task: task(name) }
}

pub(super) fn hit(name: &str) -> EventKind {
    EventKind::TaskHit { task: task(name), saved_ms: None }
}

pub(super) fn missed(name: &str) -> EventKind {
    EventKind::TaskMiss { task: task(name), message: None }
}

pub(super) fn retry(name: &str, attempt: u32) -> EventKind {
    EventKind::TaskRetry { task: task(name), attempt, delay_ms: 0, message: "no".into() }
}

pub(super) fn succeeds(name: &str) -> EventKind {
    EventKind::TaskSucceeded { task: task(name), source: CacheSource::Fresh }
}

pub(super) fn found(name: &str) -> EventKind {
    EventKind::TaskSucceeded { task: task(name), source: CacheSource::Cache }
}

pub(super) fn fails(name: &str, allowed: bool) -> EventKind {
    let (cause, message) = (FailCause::Error, "no".into());
    EventKind::TaskFailed { task: task(name), cause, message, exit_code: None, allowed }
}

pub(super) fn skipped(name: &str) -> EventKind {
    let cause = SkipCause::UpstreamFailed;
    EventKind::TaskSkipped { task: task(name), cause, upstream: None, message: None }
}

pub(super) fn process(name: &str, pid: u32, start: u32, attempt: u32) -> EventKind {
    EventKind::ProcessStarted { task: task(name), pid, start, attempt }
}

pub(super) fn exited(name: &str, pid: u32) -> EventKind {
    EventKind::ProcessExited { task: task(name), pid, exit_code: Some(0), signal: None }
}

pub(super) fn hold(name: &str, mode: HoldMode) -> Arc<[HoldRef]> {
    let name = name.parse().unwrap();
    Arc::from([HoldRef { scope: HoldScope::Workspace, name, mode }])
}

pub(super) fn exclusive(name: &str) -> Arc<[HoldRef]> {
    hold(name, HoldMode::Exclusive)
}

/// Of a task, or of the body where the name is empty.
pub(super) fn acquires(name: &str, holds: &Arc<[HoldRef]>) -> EventKind {
    EventKind::HoldAcquired { task: holder(name), holds: Arc::clone(holds) }
}

pub(super) fn waits(name: &str, holds: &Arc<[HoldRef]>) -> EventKind {
    EventKind::HoldWaiting { task: holder(name), holds: Arc::clone(holds), holder: None }
}

pub(super) fn releases(name: &str, holds: &Arc<[HoldRef]>) -> EventKind {
    EventKind::HoldReleased { task: holder(name), holds: Arc::clone(holds) }
}

fn holder(name: &str) -> Option<TaskName> {
    (!name.is_empty()).then(|| task(name))
}
