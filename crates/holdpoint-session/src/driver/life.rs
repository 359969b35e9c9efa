//! What happens to a session from outside and at its end: answers, cancellation, the end of its
//! body, and what follows for others.

use std::sync::Arc;
use std::task::Waker;

use holdpoint_core::body::{BodyOutput, OpKey, body_end};
use holdpoint_core::session::{
    Answer, BodyEnd, Completion, Failure, QuestionId, QuestionKind, SessionState, SuspendCause,
    Usage,
};
use holdpoint_core::{BoxError, CancelInfo, Monotonic, Now};

use super::journal::{Done, Kept as KeptResult, Record};
use super::link::{Change, Delivery, Link, OpRef};
use super::session::{Effects, Orders, Session, Shown, State};
use super::sizes::fitting_end;
use super::turn::tell_of_cancel;
use crate::error::{AnswerError, CancelError};
use crate::machine::{AnswerRefusal, Answered, Input, Machine};

/// An answer as somebody gives it: JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) question: QuestionId,
    pub(crate) value: String,
    pub(crate) by: Option<Arc<str>>,
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) usage: Option<Usage>,
}

impl Session {
    /// Answers open questions: all of these, or none (SESS-004). Says what is still open; none
    /// where the session was let go of, and then the answers are still there.
    pub(crate) fn answer(
        &self,
        given: &mut Vec<Given>,
    ) -> Result<Option<(Shown, Vec<QuestionId>)>, AnswerError> {
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(lost) = state.lost() {
            return Err(AnswerError::Store(lost.clone()));
        }
        if state.is_let_go() {
            return Ok(None);
        }
        check_open(&state.machine, given)?;
        check_secret(state, given)?;
        let secrets: Vec<bool> =
            given.iter().map(|given| given.is_secret(&state.machine)).collect();
        let before = state.before();
        let answered: Vec<Answered> = given.iter().map(Given::answered).collect();
        let transition = state
            .machine
            .handle(now, Input::Answer(&answered))
            .map_err(|refused| AnswerError::NothingOpen { state: refused.state })?;
        let mut change = Change::new(now, transition);
        for (answer, is_secret) in std::mem::take(given).into_iter().zip(secrets) {
            give(state, answer, is_secret, &mut change);
        }
        let still_open = open_questions(&state.machine);
        let shown = self.commit(state, before, change, &mut effects);
        drop(guard);
        effects.carry_out(self);
        Ok(Some((shown, still_open)))
    }

    /// Asks for the end. Taken without effect where that was done before; none where the session
    /// was let go of.
    pub(crate) fn cancel(&self, cause: CancelInfo) -> Result<Option<Shown>, CancelError> {
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(lost) = state.lost() {
            return Err(CancelError::Store(lost.clone()));
        }
        if state.is_let_go() {
            return Ok(None);
        }
        let was_asked = state.machine.session().cancel_requested().is_some();
        let had_ended = state.machine.session().state().is_terminal();
        let before = state.before();
        let transition = state
            .machine
            .handle(now, Input::Cancel(cause))
            .map_err(|refused| CancelError::Ended { state: refused.state })?;
        let mut change = Change::new(now, transition);
        change.is_told = true;
        if !was_asked {
            tell_of_cancel(state, &mut change);
        }
        let shown = self.commit(state, before, change, &mut effects);
        let has_ended = !had_ended && state.machine.session().state().is_terminal();
        drop(guard);
        effects.carry_out(self);
        if has_ended {
            self.has_ended();
        }
        Ok(Some(shown))
    }

    /// The body is over: it returned, or panicked.
    pub(crate) fn end(&self, end: Result<Result<BodyOutput, BoxError>, String>) {
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut end = end;
        if let Some(recorded) = state.recorded.as_deref_mut() {
            if let Err((recorded, found)) = recorded.check_end() {
                drop(guard);
                self.suspend(SuspendCause::Mismatch { recorded, found });
                return;
            }
            if end.is_ok() && !recorded.is_turn && recorded.ledger.is_none() {
                end = Err(FOREIGN.to_owned());
            }
        }
        let told = match state.recorded.as_deref() {
            Some(recorded) => recorded.table.cancel(),
            None => state.machine.session().cancel_requested(),
        };
        let end = match end {
            Err(panic) => BodyEnd::Failed(Failure::panic(panic)),
            Ok(Err(error)) => body_end(Err(error), told),
            Ok(Ok(output)) => {
                let mut completion = Completion::default();
                match output {
                    BodyOutput::Text(text) => completion.output = Some(text),
                    BodyOutput::Value(value) => state.output = Some(value),
                }
                BodyEnd::Ok(completion)
            }
        };
        let end = if self.is_recorded { fitting_end(end) } else { end };
        // Told in a replay that the body did not outlive.
        self.publish_held(state, now, &mut effects);
        self.end_with(state, now, end, &mut effects);
        drop(guard);
        effects.carry_out(self);
    }

    fn end_with(&self, state: &mut State, now: Now, end: BodyEnd, effects: &mut Effects) {
        if let Some(link) = state.link.as_deref_mut() {
            link.about.asks.clear();
        }
        // Refused in no state in which a body runs.
        if let Ok(shown) = self.decide(state, now, Input::End(end), effects) {
            shown.forget();
        }
        if state.known_rare().is_some() {
            effects.orphans.append(&mut state.rare().children);
        }
        if let Some(recorded) = state.recorded.as_deref_mut() {
            effects.orphans.extend(recorded.take_children());
        }
    }

    /// Lets go of the session. In the store others may take it; in memory it can be resumed from
    /// its beginning.
    pub(crate) fn suspend(&self, cause: SuspendCause) {
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let before = state.before();
        if let Some(link) = state.link.as_deref_mut()
            && !matches!(cause, SuspendCause::Interrupted)
        {
            // A start that ends in order, or never began to act, is none of a crash loop.
            link.about.idle_starts = link.about.idle_starts.saturating_sub(1);
        }
        if let Ok(transition) = state.machine.handle(now, Input::Suspend(cause)) {
            let mut change = Change::new(now, transition);
            change.is_release = state.link.is_some();
            self.commit(state, before, change, &mut effects).forget();
        }
        drop(guard);
        effects.carry_out(self);
    }

    /// The body was dropped before its end. What is recorded can go on later; what is not has been
    /// cancelled.
    pub(crate) fn abort(&self, cause: CancelInfo) {
        if self.is_recorded {
            self.suspend(SuspendCause::Shutdown);
            return;
        }
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut guard = self.lock();
        self.end_with(&mut guard, now, BodyEnd::Cancelled(cause), &mut effects);
        drop(guard);
        effects.carry_out(self);
    }

    /// The task that ran the body is over: its place is free. A task that was dropped hands its
    /// place to nobody, for those that come next would be dropped as well.
    pub(crate) fn task_is_over(session: &Arc<Self>, was_dropped: bool) {
        let shared = &session.shared;
        let mut effects = Effects::default();
        let mut state = session.lock();
        state.task = None;
        let has_place = std::mem::take(&mut state.has_live_place);
        let has_ended = state.lost().is_none() && state.shown().state().is_terminal();
        let given_up = session.is_recorded.then(|| state.given_up()).flatten();
        if let Some(epoch) = given_up {
            // Before others hear that it has left, and look.
            shared.given_up().insert(session.id, epoch);
        }
        if !has_ended && session.is_recorded {
            // Others may take it: from now on the store tells of it.
            state.has_left = true;
            let watch = state.watch();
            watch.changed.take(&mut effects.wakes);
            watch.ended.take(&mut effects.wakes);
        }
        drop(state);
        if has_ended {
            session.has_ended();
        }
        if shared.is_abandoned() || !has_ended && session.is_recorded {
            shared.forget(session);
        }
        if given_up.is_some() {
            shared.let_go_later(session.id);
        }
        effects.carry_out(session);
        if has_place && !was_dropped {
            shared.live_is_over();
        }
        shared.body_is_over();
    }

    /// The session has ended: it is to be collected some time.
    fn has_ended(&self) {
        let ended_at = self.lock().ended_at;
        self.shared.has_ended(ended_at, self.id);
    }

    /// It began while the registry went down. Whoever brought that about has looked at all sessions
    /// that could be found; this one can be found by now.
    pub(crate) fn end_if_closing(&self) {
        let Some(cause) = self.shared.closing() else { return };
        if self.is_recorded {
            self.order(Orders::Suspend(SuspendCause::Shutdown));
        } else if let Ok(Some(shown)) = self.cancel(cause) {
            shown.forget();
        }
    }

    /// From now on this task is woken for what no operation waits for.
    pub(crate) fn follow(&self, task: &Waker) {
        let mut state = self.lock();
        if !state.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            let replaced = state.task.replace(task.clone());
            drop(state);
            drop(replaced);
        }
    }

    /// Whether its body runs here.
    pub(crate) fn is_running(&self) -> bool {
        let state = self.lock();
        !state.is_left() && state.machine.session().owner().is_some()
    }

    pub(crate) fn orders(&self) -> Orders {
        self.lock().known_rare().map_or(Orders::Run, |rare| rare.orders.clone())
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.lock().link.as_deref().is_none_or(Link::is_settled)
    }

    /// Whether steps are executed, whose results would be lost, or a body with a ledger has not
    /// brought to an end what it has begun.
    pub(crate) fn is_executing(&self) -> bool {
        self.lock().recorded.as_deref().is_some_and(|recorded| {
            let is_busy = recorded.ledger.as_deref().is_some_and(|ledger| !ledger.may_let_go);
            is_busy || !recorded.executing.is_empty()
        })
    }

    /// Lets a body with a ledger know that it is to come to an end. Whether it has one.
    pub(crate) fn tell_of_suspend(&self) -> bool {
        let mut state = self.lock();
        let recorded = state.recorded.as_deref_mut();
        let Some(ledger) = recorded.and_then(|recorded| recorded.ledger.as_deref_mut()) else {
            return false;
        };
        let waker = ledger.suspend.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.lock().next_deadline()
    }
}

impl Given {
    pub(crate) fn answered(&self) -> Answered {
        // In the event a text stands as it is, and anything else as JSON.
        let text = serde_json::from_str::<String>(&self.value);
        let text = text.map_or_else(|_| self.value.as_str().into(), Arc::from);
        let (by, reason) = (self.by.clone(), self.reason.clone());
        let answer = Answer { question: self.question, text: Some(text), by, reason };
        Answered { answer, usage: self.usage.clone() }
    }

    /// Whether it answers the question for a secret.
    pub(crate) fn is_secret(&self, machine: &Machine) -> bool {
        let SessionState::Paused(open) = machine.session().state() else { return false };
        open.get(self.question).is_some_and(|question| question.kind == QuestionKind::Secret)
    }
}

/// Whether all of these can be given, each as its question wants it.
pub(crate) fn check_open(machine: &Machine, given: &[Given]) -> Result<(), AnswerError> {
    let session = machine.session();
    if let SessionState::Cancelled(cause) = session.state() {
        return Err(AnswerError::AlreadyCancelled(cause.clone()));
    }
    machine.check_answers(given.iter().map(|given| given.question)).map_err(
        |refusal| match refusal {
            AnswerRefusal::NotOpen(questions) => AnswerError::NotOpen { questions },
            AnswerRefusal::NothingOpen(state) => AnswerError::NothingOpen { state },
        },
    )?;
    let SessionState::Paused(open) = session.state() else { return Ok(()) };
    for answer in given {
        let Some(question) = open.get(answer.question) else { continue };
        question.kind.check(&answer.value).map_err(|source| AnswerError::Wrong {
            question: question.id,
            name: Arc::clone(&question.name),
            source,
        })?;
    }
    Ok(())
}

/// Whether a secret that is given again is the one that was given before.
fn check_secret(state: &State, given: &[Given]) -> Result<(), AnswerError> {
    let Some(recorded) = state.recorded.as_deref() else { return Ok(()) };
    let Some(secret) = &recorded.secret else { return Ok(()) };
    let again = given.iter().find(|answer| secret.question == Some(answer.question));
    match again {
        Some(answer) if recorded.hash(&answer.value) != secret.hash => {
            Err(AnswerError::OtherSecret { question: answer.question })
        }
        _ => Ok(()),
    }
}

/// Records an answer and gives it to the body.
fn give(state: &mut State, answer: Given, is_secret: bool, change: &mut Change) {
    let Given { question, value, .. } = answer;
    let Some(recorded) = state.recorded.as_deref_mut() else {
        if let Some(target) = state.slots.asker(question) {
            change.deliveries.push(Delivery::Op(OpRef::Slot(target), Ok(value)));
        }
        return;
    };
    if let Some(secret) = &mut recorded.secret
        && secret.question == Some(question)
    {
        // It is in the journal already: the replay goes on with it.
        change.deliveries.push(Delivery::Secret(value));
        take_asker(state, question);
        return;
    }
    let Some(key) = take_asker(state, question) else { return };
    let Some(recorded) = state.recorded.as_deref_mut() else { return };
    let at = change.now.wall;
    let done = if is_secret {
        let hash = recorded.hash(&value);
        Done { key: key.clone(), at, result: KeptResult::Secret(hash.into()) }
    } else {
        Done::new(key.clone(), at, &Ok(value.clone()))
    };
    // The body may come to it before the answer is acknowledged: then it is not asked again.
    if !recorded.is_live || recorded.ledger.is_some() && !recorded.table.is_outstanding(&key) {
        recorded.decided.insert(key.clone());
    }
    change.journal.push(Record::Done(done).encode());
    change.deliveries.push(Delivery::Op(OpRef::Key(key), Ok(value)));
}

/// The operation that waits for this answer; from now on none does.
fn take_asker(state: &mut State, question: QuestionId) -> Option<OpKey> {
    let asks = &mut state.link.as_deref_mut()?.about.asks;
    let place = asks.binary_search_by_key(&question, |(id, _)| *id).ok()?;
    Some(asks.remove(place).1)
}

/// The questions that are open.
pub(crate) fn open_questions(machine: &Machine) -> Vec<QuestionId> {
    match machine.session().state() {
        SessionState::Paused(open) => open.iter().map(|question| question.id).collect(),
        _ => Vec::new(),
    }
}

/// What to say of a body that cannot be recorded.
pub(crate) const FOREIGN: &str = "the body went on without a result of its own operations: it \
    awaits something else, which cannot be recorded; wrap that in `step`";
