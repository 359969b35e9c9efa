//! What the session tests are made of.

use std::sync::Arc;

use crate::event::EventKind;
use crate::session::{
    Answer, BodyEnd, Completion, Failure, FailureCause, Owner, Question, QuestionId, QuestionKind,
    SessionInput, SessionMachine, SessionState, SuspendCause,
};
use crate::{CancelCode, CancelInfo, Timestamp};

pub(super) fn owner(epoch: u64) -> Owner {
    Owner { instance: 1, epoch }
}

pub(super) fn question(id: u32) -> Arc<Question> {
    asked(id, QuestionKind::Confirm)
}

pub(super) fn asked(id: u32, kind: QuestionKind) -> Arc<Question> {
    Arc::new(Question {
        id: QuestionId(id),
        name: "merge".into(),
        kind,
        prompt: "Merge?".into(),
        asked_at: Timestamp::from_micros(3),
        task: None,
    })
}

pub(super) fn cause(code: CancelCode) -> CancelInfo {
    CancelInfo::new(code, "enough", Timestamp::from_micros(5))
}

pub(super) fn claim(epoch: u64) -> SessionInput {
    SessionInput::Claim(owner(epoch))
}

pub(super) fn ask(id: u32) -> SessionInput {
    SessionInput::Ask(question(id))
}

pub(super) fn answer(id: u32) -> SessionInput {
    SessionInput::Answer(Answer::to(QuestionId(id)))
}

pub(super) fn withdraw(id: u32) -> SessionInput {
    SessionInput::Withdraw(QuestionId(id))
}

pub(super) fn cancel(code: CancelCode) -> SessionInput {
    SessionInput::Cancel(cause(code))
}

pub(super) fn suspend() -> SessionInput {
    SessionInput::Suspend(SuspendCause::Interrupted)
}

pub(super) fn mismatch() -> SuspendCause {
    SuspendCause::Mismatch { recorded: "fetch".into(), found: "load".into() }
}

pub(super) fn end_ok() -> SessionInput {
    SessionInput::End(BodyEnd::Ok(Completion::default()))
}

pub(super) fn end_cancelled() -> SessionInput {
    SessionInput::End(BodyEnd::Cancelled(cause(CancelCode::Internal)))
}

pub(super) fn end_error() -> SessionInput {
    SessionInput::End(BodyEnd::Failed(Failure::from_error("no", false)))
}

pub(super) fn end_panic() -> SessionInput {
    SessionInput::End(BodyEnd::Failed(Failure::panic("boom")))
}

/// A session that took these inputs, every one of them legally.
pub(super) fn after(inputs: impl IntoIterator<Item = SessionInput>) -> SessionMachine {
    let (mut session, _) = SessionMachine::plan();
    for input in inputs {
        let _ = session.apply(input).unwrap();
    }
    session
}

/// Applies a legal input and returns the names of its events, without `session_`.
pub(super) fn apply(session: &mut SessionMachine, input: SessionInput) -> Vec<&'static str> {
    names(session.apply(input).unwrap())
}

pub(super) fn names(events: impl IntoIterator<Item = EventKind>) -> Vec<&'static str> {
    events.into_iter().map(|event| event.name().strip_prefix("session_").unwrap()).collect()
}

/// State, owner, open questions and pending cancellation in a word: `paused2` has an owner and
/// two questions, `waiting1` none and one, `running!user` a pending cancellation.
pub(super) fn describe(session: &SessionMachine) -> String {
    let state = session.state();
    let mut text = match (state, session.owner()) {
        (SessionState::Paused(open), Some(_)) => format!("paused{}", open.count()),
        (SessionState::Paused(open), None) => format!("waiting{}", open.count()),
        (SessionState::Suspended(cause), _) => format!("suspended:{}", suspend_word(cause)),
        (SessionState::Failed(failure), _) => format!("failed:{}", failure_word(failure)),
        (SessionState::Cancelled(cause), _) => format!("cancelled:{}", cause.code),
        _ => state.name().to_string(),
    };
    if let Some(cause) = session.cancel_requested() {
        text.push_str(&format!("!{}", cause.code));
    }
    text
}

pub(super) fn suspend_word(cause: &SuspendCause) -> &'static str {
    match cause {
        SuspendCause::Interrupted => "interrupted",
        SuspendCause::Shutdown => "shutdown",
        SuspendCause::Released => "released",
        SuspendCause::Mismatch { .. } => "mismatch",
        SuspendCause::Answered => "answered",
    }
}

pub(super) fn failure_word(failure: &Failure) -> &'static str {
    match failure.cause() {
        FailureCause::Error => "error",
        FailureCause::Panic => "panic",
        FailureCause::Timeout { .. } => "timeout",
        FailureCause::CrashLoop { .. } => "crash_loop",
    }
}

/// The state that an event announces, with its cause where the rule of transitions names one.
pub(super) fn announced(event: &EventKind) -> Option<String> {
    Some(match event {
        EventKind::SessionPlanned { .. } => "planned".to_owned(),
        EventKind::SessionStarted { .. } | EventKind::SessionResumed { .. } => "running".to_owned(),
        EventKind::SessionPaused => "paused".to_owned(),
        EventKind::SessionSuspended(cause) => format!("suspended:{}", suspend_word(cause)),
        EventKind::SessionDone { .. } => "done".to_owned(),
        EventKind::SessionFailed(failure) => format!("failed:{}", failure_word(failure)),
        EventKind::SessionCancelled(_) => "cancelled".to_owned(),
        _ => return None,
    })
}
