//! The one function that moves sessions from state to state (CORE-003, CORE-004, CORE-005).
//!
//! # Invariants
//! 1. A Running session has an owner, a Paused one may have, any other has none.
//! 2. A question is open if and only if the session is Paused.
//! 3. Epochs and question ids only rise: neither a claim nor a question can come again.
//! 4. A requested cancellation is kept until the attempt ends, across suspensions too; the
//!    first cause stays.
//! 5. Every change of state goes through `enter`, which adds its event: one for each change,
//!    and so exactly one terminal event for each attempt.
//! 6. Every question ends with one event, answered or withdrawn, before the state that
//!    follows is announced.
//! 7. A refused input changes nothing.

use std::sync::Arc;

use super::input::{BodyEnd, IllegalTransition, Refusal, SessionInput};
use super::outcome::Failure;
use super::question::{Answer, OpenQuestions, Question, QuestionId, QuestionKind};
use super::state::{Owner, SessionState, StateName, SuspendCause};
use super::transition::Transition;
use crate::cancel::{CancelCode, CancelInfo};
use crate::event::EventKind;

/// A session's state, its owner, and what decides about the next.
///
/// Plain data: it reads no clock and does nothing by itself. Feed it a [`SessionInput`]; it
/// changes, and hands out the events to publish, in order. The host carries out the rest.
///
/// ```
/// use holdpoint_core::session::{BodyEnd, Completion, Owner, SessionInput, SessionMachine};
/// use holdpoint_core::session::StateName;
///
/// let (mut session, _planned) = SessionMachine::plan();
/// session.apply(SessionInput::Claim(Owner { instance: 1, epoch: 1 }))?;
/// let transition = session.apply(SessionInput::End(BodyEnd::Ok(Completion::default())))?;
/// assert_eq!(session.state().name(), StateName::Done);
/// assert_eq!(transition.events().map(|event| event.name()).collect::<Vec<_>>(), ["session_done"]);
///
/// // Done is the end: nothing leaves it, and what was refused changed nothing.
/// let error = session.apply(SessionInput::Retry).unwrap_err();
/// assert_eq!(error.to_string(), "a session that is done takes no `retry`");
/// # Ok::<(), holdpoint_core::session::IllegalTransition>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "super::SessionSnapshot", into = "super::SessionSnapshot")
)]
pub struct SessionMachine {
    pub(super) state: SessionState,
    pub(super) owner: Option<Owner>,
    /// Boxed: rare, and paused sessions are kept by the million.
    pub(super) cancel: Option<Box<CancelInfo>>,
    pub(super) epoch: u64,
    pub(super) attempt: u32,
    pub(super) starts: u32,
    pub(super) last_question: u32,
}

impl SessionMachine {
    /// A new session, Planned, and the transition that announces it.
    pub fn plan() -> (Self, Transition) {
        let machine = Self {
            state: SessionState::Planned,
            owner: None,
            cancel: None,
            epoch: 0,
            attempt: 1,
            starts: 0,
            last_question: 0,
        };
        let mut out = Transition::default();
        out.push(EventKind::SessionPlanned { attempt: 1 });
        (machine, out)
    }

    /// Where the session stands.
    #[must_use]
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// Who runs it.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// The cancellation that was requested of the running attempt; the body decides what
    /// comes of it.
    #[must_use]
    pub fn cancel_requested(&self) -> Option<&CancelInfo> {
        self.cancel.as_deref()
    }

    /// The epoch of the last claim; the next must be above it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Which attempt this is: 1, and one more with each retry.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How often the body was started, over all attempts (SESS-017).
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// The id for the next question.
    #[must_use]
    pub fn next_question(&self) -> QuestionId {
        QuestionId(self.last_question.saturating_add(1))
    }

    /// Takes `input` and changes accordingly, or refuses it and changes nothing.
    ///
    /// Some inputs are taken without effect: a second request to cancel, and a request to
    /// cancel what is Cancelled.
    ///
    /// # Errors
    /// [`IllegalTransition`] names the state and the input that do not go together.
    pub fn apply(&mut self, input: SessionInput) -> Result<Transition, IllegalTransition> {
        use SessionInput as Input;
        use StateName::{Cancelled, Failed, Paused, Planned, Running, Suspended};

        let (state, named) = (self.state.name(), input.name());
        let owned = self.owner.is_some();
        let refuse = |refusal| IllegalTransition { state, input: named, refusal };
        let mut out = Transition::default();
        match (state, input) {
            (Planned | Suspended | Paused, Input::Claim(owner)) if !owned => {
                self.claim(owner, &mut out).map_err(refuse)?;
            }
            (Running | Paused, Input::Ask(question)) if owned => {
                self.ask(question, &mut out).map_err(refuse)?;
            }
            (Paused, Input::Answer(answer)) => {
                let event = self.answered(answer).map_err(refuse)?;
                self.close(event, &mut out);
            }
            (Paused, Input::Withdraw(question)) => {
                self.find(question).map_err(refuse)?;
                self.close((question, EventKind::SessionQuestionWithdrawn { question }), &mut out);
            }
            (Running | Paused, Input::End(end)) if owned => {
                self.withdraw_and_run(&mut out);
                self.end(end, &mut out);
            }
            // Questions outlive their owner: a Paused session stays Paused. `Answered` is not
            // the caller's to say, only `close` knows it.
            (Running | Paused, Input::Suspend(cause))
                if owned && cause != SuspendCause::Answered =>
            {
                self.owner = None;
                if state == Running {
                    self.enter(SessionState::Suspended(cause), &mut out);
                }
            }
            (Running | Paused, Input::Cancel(cause)) if owned => {
                self.request_cancel(cause, &mut out);
            }
            // Nobody runs it, so nobody can clean up: the request is the end.
            (Planned | Suspended | Paused, Input::Cancel(cause)) => {
                self.withdraw(&mut out);
                self.end(BodyEnd::Cancelled(cause), &mut out);
            }
            (Cancelled, Input::Cancel(_)) => {}
            (Suspended | Paused, Input::CrashLoop { starts }) if !owned => {
                self.withdraw(&mut out);
                self.enter(SessionState::Failed(Failure::crash_loop(starts)), &mut out);
            }
            (Failed | Cancelled, Input::Retry) => {
                self.attempt = self.attempt.saturating_add(1);
                self.enter(SessionState::Planned, &mut out);
            }
            (Paused, Input::Claim(_) | Input::CrashLoop { .. }) => {
                return Err(refuse(Refusal::Owned));
            }
            (Paused, Input::Ask(_) | Input::End(_) | Input::Suspend(_)) if !owned => {
                return Err(refuse(Refusal::Unowned));
            }
            _ => return Err(refuse(Refusal::State)),
        }
        Ok(out)
    }

    /// Every change of state: the new one, and its event.
    fn enter(&mut self, next: SessionState, out: &mut Transition) {
        let start = self.starts;
        out.push(match &next {
            SessionState::Planned => EventKind::SessionPlanned { attempt: self.attempt },
            SessionState::Running if matches!(self.state, SessionState::Planned) => {
                EventKind::SessionStarted { start }
            }
            SessionState::Running => EventKind::SessionResumed { start },
            SessionState::Paused(_) => EventKind::SessionPaused,
            SessionState::Suspended(cause) => EventKind::SessionSuspended(cause.clone()),
            SessionState::Done(completion) => {
                EventKind::SessionDone { usage: completion.usage.clone() }
            }
            SessionState::Failed(failure) => EventKind::SessionFailed(failure.clone()),
            SessionState::Cancelled(cause) => EventKind::SessionCancelled(cause.clone()),
        });
        if !matches!(next, SessionState::Running | SessionState::Paused(_)) {
            self.owner = None;
        }
        if next.is_terminal() {
            self.cancel = None;
        }
        self.state = next;
    }

    /// Gives the session to `owner`, who starts the body. A Paused one stays Paused: its
    /// questions are still open.
    fn claim(&mut self, owner: Owner, out: &mut Transition) -> Result<(), Refusal> {
        if owner.epoch <= self.epoch {
            return Err(Refusal::EpochPassed { last: self.epoch });
        }
        self.epoch = owner.epoch;
        self.owner = Some(owner);
        self.starts = self.starts.saturating_add(1);
        if !matches!(self.state, SessionState::Paused(_)) {
            self.enter(SessionState::Running, out);
        }
        Ok(())
    }

    fn ask(&mut self, question: Arc<Question>, out: &mut Transition) -> Result<(), Refusal> {
        let id = question.id;
        if id.0 <= self.last_question {
            return Err(Refusal::QuestionPassed { question: id });
        }
        self.last_question = id.0;
        let event = EventKind::SessionQuestion(Arc::clone(&question));
        if let SessionState::Paused(open) = &mut self.state {
            open.push(question);
        } else {
            self.enter(SessionState::Paused(OpenQuestions::new(question)), out);
        }
        out.push(event);
        Ok(())
    }

    fn answered(&self, answer: Answer) -> Result<(QuestionId, EventKind), Refusal> {
        let Answer { question, text, by, reason } = answer;
        let secret = self.find(question)?.kind == QuestionKind::Secret;
        let answer = text.filter(|_| !secret);
        Ok((question, EventKind::SessionAnswered { question, answer, by, reason }))
    }

    fn find(&self, question: QuestionId) -> Result<&Question, Refusal> {
        match &self.state {
            SessionState::Paused(open) => open.get(question).map(|found| &**found),
            _ => None,
        }
        .ok_or(Refusal::NotOpen { question })
    }

    /// Closes an open question with its event. The last one ends the pause.
    fn close(&mut self, (question, event): (QuestionId, EventKind), out: &mut Transition) {
        out.push(event);
        let others_remain = match &mut self.state {
            SessionState::Paused(open) => open.remove(question),
            _ => false,
        };
        if !others_remain {
            let next = match self.owner {
                Some(_) => SessionState::Running,
                None => SessionState::Suspended(SuspendCause::Answered),
            };
            self.enter(next, out);
        }
    }

    /// Announces the end of all open questions. The caller enters the state that follows.
    fn withdraw(&self, out: &mut Transition) {
        if let SessionState::Paused(open) = &self.state {
            for question in open.iter() {
                out.push(EventKind::SessionQuestionWithdrawn { question: question.id });
            }
        }
    }

    /// Ends the pause of an owned session by withdrawing its questions.
    fn withdraw_and_run(&mut self, out: &mut Transition) {
        if matches!(self.state, SessionState::Paused(_)) {
            self.withdraw(out);
            self.enter(SessionState::Running, out);
        }
    }

    /// Keeps the first cause and frees the body from its questions, so that it can clean up.
    fn request_cancel(&mut self, cause: CancelInfo, out: &mut Transition) {
        if self.cancel.is_none() {
            out.push(EventKind::SessionCancelRequested(cause.clone()));
            self.cancel = Some(Box::new(cause));
            self.withdraw_and_run(out);
        }
    }

    /// What the body returned is what happened (SESS-008). A cancellation ends with the first
    /// cause that was given, and as a failure where that is a time limit.
    fn end(&mut self, end: BodyEnd, out: &mut Transition) {
        let next = match end {
            BodyEnd::Ok(completion) => SessionState::Done(completion),
            BodyEnd::Failed(failure) => SessionState::Failed(failure),
            BodyEnd::Cancelled(own) => {
                let cause = self.cancel.take().map_or(own, |first| *first);
                if cause.code == CancelCode::Timeout {
                    SessionState::Failed(Failure::timeout(cause))
                } else {
                    SessionState::Cancelled(cause)
                }
            }
        };
        self.enter(next, out);
    }
}
