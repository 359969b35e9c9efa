//! What a session does for its body between two polls, where results are recorded.
//!
//! One call settles one poll: what effects brought is recorded, what the body has called is
//! announced, timed, started or permitted, what it has dropped is withdrawn. All of it is one
//! append (SESS-017, SESS-022).

use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::body::{OpError, OpId, OpKey, Open, Payload};
use holdpoint_core::event::EventKind;
use holdpoint_core::session::{Question, QuestionId, QuestionKind, SessionState, Transition};
use holdpoint_core::{Now, SessionId, Timestamp};

use super::admission::Admitted;
use super::journal::{Done, Opened, Record, What};
use super::link::{Change, Delivery, OpRef};
use super::recorded::{Recorded, Turn};
use super::session::{ChildStart, Effects, Session, State};
use super::sizes::{check_question, fitting};
use crate::machine::Input;

/// What to do after a poll.
#[derive(Debug)]
pub(crate) enum Settled {
    /// There is something to poll for.
    Poll,
    /// Nothing until somebody wakes.
    Wait,
    /// The body's own code moved without being given anything.
    Foreign,
}

impl Session {
    /// Gives the body what comes next.
    pub(crate) fn next_turn(&self, effects: &mut Effects) -> Turn {
        let mut state = self.lock();
        let Some(recorded) = state.recorded.as_deref_mut() else { return Turn::Nothing };
        recorded.next_turn(&mut effects.wakes)
    }

    /// After a poll that left the body waiting.
    pub(crate) fn settle(&self, effects: &mut Effects) -> Settled {
        let now = self.clock().now();
        let mut state = self.lock();
        let Some(recorded) = state.recorded.as_deref_mut() else { return Settled::Wait };
        let was_turn = std::mem::take(&mut recorded.is_turn);
        let moves = recorded.table.moves();
        let has_ledger = recorded.ledger.is_some();
        if !was_turn && moves != recorded.moves && !has_ledger {
            return Settled::Foreign;
        }
        recorded.moves = moves;
        recorded.gather(now.monotonic);
        if !recorded.is_live {
            let _ = recorded.drop_closed();
            return Settled::Poll;
        }
        if was_turn && recorded.table.is_idle() && !has_ledger {
            return Settled::Foreign;
        }
        self.act(&mut state, now, effects);
        Settled::Wait
    }

    /// The journal is at its end: from now on what the body calls is acted upon.
    pub(crate) fn go_live(&self, effects: &mut Effects) -> Settled {
        let now = self.clock().now();
        let mut state = self.lock();
        let Some(recorded) = state.recorded.as_deref_mut() else { return Settled::Wait };
        recorded.is_live = true;
        recorded.secret = None;
        let has_ledger = recorded.ledger.is_some();
        if recorded.table.is_idle() && !has_ledger {
            return Settled::Foreign;
        }
        self.act(&mut state, now, effects);
        if !has_ledger {
            // Where there is one, what is open may be called again at any time.
            self.forget_unwanted(&mut state, now, effects);
        }
        Settled::Wait
    }

    /// Acts upon what the body has called, dropped and finished.
    fn act(&self, state: &mut State, now: Now, effects: &mut Effects) {
        // First, so that it rides with what the body called after it.
        self.publish_held(state, now, effects);
        let before = state.before();
        let mut change = Change::new(now, Transition::default());
        self.withdraw_dropped(state, &mut change, effects);
        let Some(recorded) = state.recorded.as_deref_mut() else { return };
        for (_, key, result) in recorded.table.take_finished() {
            recorded.executing.remove(&key);
            record(&mut change, key, result);
        }
        let fresh = std::mem::take(&mut recorded.fresh);
        for (key, (id, open)) in fresh {
            self.start(state, key, id, open, &mut change, effects);
        }
        self.commit(state, before, change, effects).forget();
    }

    /// What the body dropped: its questions are withdrawn, its children asked to stop.
    fn withdraw_dropped(&self, state: &mut State, change: &mut Change, effects: &mut Effects) {
        let Some(recorded) = state.recorded.as_deref_mut() else { return };
        let dropped = recorded.drop_closed();
        for key in dropped {
            let Some(recorded) = state.recorded.as_deref_mut() else { return };
            recorded.table.forget(&key);
            effects.orphans.extend(recorded.children.remove(&key));
            if Recorded::is_ask(&key) {
                self.withdraw(state, change, |asked| *asked == key);
            }
        }
    }

    /// Withdraws the open questions of these operations.
    fn withdraw(&self, state: &mut State, change: &mut Change, of: impl Fn(&OpKey) -> bool) {
        let Some(link) = state.link.as_deref_mut() else { return };
        let mut withdrawn = Vec::new();
        link.about.asks.retain(|(id, key)| {
            let is_dropped = of(key);
            if is_dropped {
                withdrawn.push(*id);
            }
            !is_dropped
        });
        for id in withdrawn {
            // Refused where it was answered or withdrawn by a cancellation meanwhile.
            if let Ok(next) = state.machine.handle(change.now, Input::Withdraw(id)) {
                change.transition.append(next);
            }
        }
    }

    /// Begins one operation.
    fn start(
        &self,
        state: &mut State,
        key: OpKey,
        id: OpId,
        open: Open,
        change: &mut Change,
        effects: &mut Effects,
    ) {
        let now = change.now;
        let Some(recorded) = state.recorded.as_deref_mut() else { return };
        let earlier = recorded.opened.remove(&key);
        if recorded.give_known(&key) {
            // Looked at when this poll is settled.
            effects.wakes.extend(state.task.clone());
            return;
        }
        match open {
            Open::Record { value, events } => {
                told_by_bodies(events).for_each(|kind| change.transition.push(kind));
                record(change, key, Ok(value));
            }
            Open::Step => match recorded.offers.remove(&key) {
                Some(result) => record(change, key, Ok(result)),
                None => {
                    effects.wakes.extend(recorded.table.permit(id));
                    recorded.executing.insert(key);
                }
            },
            Open::Ask { .. } => {
                let was_decided = recorded.decided.remove(&key);
                // It is about to hear of a cancellation, which withdraws all questions.
                let is_cancelled = recorded.table.cancel().is_none()
                    && state.machine.session().cancel_requested().is_some();
                let is_open =
                    matches!(earlier, Some(What::Question(question)) if is_open(state, question));
                if !is_open && !was_decided && !is_cancelled {
                    self.ask(state, key, open, change);
                }
            }
            Open::Sleep(time) => {
                let due = match earlier {
                    Some(What::Due(due)) => due,
                    _ => {
                        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                        let due = now.wall.as_micros().saturating_add(micros);
                        let due = Timestamp::from_micros(due);
                        open_entry(change, &key, What::Due(due));
                        due
                    }
                };
                let left = due.as_micros().saturating_sub(now.wall.as_micros());
                // Never longer than the body asked for, whatever the wall clock did meanwhile.
                let left = Duration::from_micros(left).min(time);
                recorded.set_sleep(key, now.monotonic + left, due);
            }
            Open::Child(spec) => {
                let child = match earlier {
                    Some(What::Child(child)) => child,
                    _ => {
                        let child = SessionId::generate();
                        open_entry(change, &key, What::Child(child));
                        child
                    }
                };
                if !spec.is_detached {
                    recorded.children.insert(key.clone(), child);
                }
                change.children.push(ChildStart { child, op: OpRef::Key(key), spec });
            }
            _ => {}
        }
    }

    /// Asks, or waits for a place among the paused.
    fn ask(&self, state: &mut State, key: OpKey, open: Open, change: &mut Change) {
        let Open::Ask { kind, prompt, task } = open else { return };
        if let Err(error) = check_question(&kind, &prompt) {
            record(change, key, Err(error));
            return;
        }
        let is_paused = matches!(state.machine.session().state(), SessionState::Paused(_));
        if !is_paused && !state.has_pause_place && self.shared.limits_pauses() {
            match self.shared.admission().ask_paused(self.id) {
                Admitted::Now => state.has_pause_place = true,
                Admitted::Later => {
                    if let Some(recorded) = state.recorded.as_deref_mut() {
                        recorded.unasked.insert(key, Open::Ask { kind, prompt, task });
                    }
                    return;
                }
                Admitted::Refused { limit } => {
                    record(change, key, Err(too_many_paused(limit)));
                    return;
                }
            }
        }
        let mut question =
            question(state.machine.session().next_question(), &key, kind, prompt, change.now);
        question.task = task;
        let id = question.id;
        // Refused in no state in which a body runs.
        let Ok(asked) = state.machine.handle(change.now, Input::Ask(Arc::new(question))) else {
            return;
        };
        change.transition.append(asked);
        open_entry(change, &key, What::Question(id));
        if let Some(link) = state.link.as_deref_mut() {
            link.about.asks.push((id, key));
        }
    }

    /// There is a place among the paused: asks what waits for one. Whether it was taken.
    pub(crate) fn ask_waiting(&self) -> bool {
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut state = self.lock();
        let is_live = state.machine.session().owner().is_some() && state.lost().is_none();
        if state.has_pause_place || !is_live {
            return false;
        }
        let took = if state.recorded.is_some() {
            self.ask_waiting_recorded(&mut state, now, &mut effects)
        } else {
            self.ask_waiting_slots(&mut state, now, &mut effects)
        };
        drop(state);
        effects.carry_out(self);
        took
    }

    fn ask_waiting_recorded(&self, state: &mut State, now: Now, effects: &mut Effects) -> bool {
        let Some(recorded) = state.recorded.as_deref_mut() else { return false };
        let waiting = std::mem::take(&mut recorded.unasked);
        if waiting.is_empty() {
            return false;
        }
        state.has_pause_place = true;
        let before = state.before();
        let mut change = Change::new(now, Transition::default());
        for (key, open) in waiting {
            self.ask(state, key, open, &mut change);
        }
        self.commit(state, before, change, effects).forget();
        true
    }

    /// A secret of the journal has to be given again, before the body can go on in replay.
    pub(crate) fn ask_secret(&self, effects: &mut Effects) {
        let now = self.clock().now();
        let mut state = self.lock();
        let state = &mut *state;
        let Some(recorded) = state.recorded.as_deref_mut() else { return };
        let Some(secret) = &mut recorded.secret else { return };
        if secret.question.is_some() {
            return;
        }
        let asked = state.link.as_deref().and_then(|link| {
            let asks = &link.about.asks;
            asks.iter().find(|(_, key)| *key == secret.key).map(|(id, _)| *id)
        });
        if let Some(id) = asked
            && is_open_in(&state.machine, id)
        {
            secret.question = Some(id);
            return;
        }
        let key = secret.key.clone();
        let prompt = match recorded.fresh.get(&key) {
            Some((_, Open::Ask { prompt, .. })) => prompt.clone(),
            _ => key.name.to_string(),
        };
        let id = state.machine.session().next_question();
        secret.question = Some(id);
        let question = question(id, &key, QuestionKind::Secret, prompt, now);
        let before = state.before();
        let Ok(asked) = state.machine.handle(now, Input::Ask(Arc::new(question))) else { return };
        if let Some(link) = state.link.as_deref_mut() {
            link.about.asks.push((id, key));
        }
        self.commit(state, before, Change::new(now, asked), effects).forget();
    }

    /// Time has passed.
    pub(crate) fn tick(&self) {
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut state = self.lock();
        let before = state.before();
        let mut change = Change::new(now, Transition::default());
        match state.recorded.as_deref_mut() {
            Some(recorded) => {
                for key in recorded.tick(now.monotonic, &mut effects.wakes) {
                    record(&mut change, key, Ok("null".to_owned()));
                }
            }
            None => state.slots.tick(now.monotonic, &mut effects.wakes),
        }
        let was_asked = state.machine.session().cancel_requested().is_some();
        // A limit has passed, or not: it is refused in no state.
        if let Ok(next) = state.machine.handle(now, Input::Tick) {
            change.transition.append(next);
        }
        if !was_asked {
            tell_of_cancel(&mut state, &mut change);
        }
        self.commit(&mut state, before, change, &mut effects).forget();
        drop(state);
        effects.carry_out(self);
    }

    /// After a replay: questions whose asker was gone before, and children nobody waits for.
    fn forget_unwanted(&self, state: &mut State, now: Now, effects: &mut Effects) {
        let Some(recorded) = state.recorded.as_deref_mut() else { return };
        for what in std::mem::take(&mut recorded.opened).into_values() {
            if let What::Child(child) = what {
                effects.orphans.push(child);
            }
        }
        let wanted: Vec<OpKey> = recorded.table.outstanding().cloned().collect();
        let before = state.before();
        let mut change = Change::new(now, Transition::default());
        self.withdraw(state, &mut change, |key| wanted.binary_search(key).is_err());
        self.commit(state, before, change, effects).forget();
    }

    /// Publishes progress that was told in replay and is not in the store yet.
    pub(crate) fn publish_held(&self, state: &mut State, now: Now, effects: &mut Effects) {
        let Some(recorded) = state.recorded.as_deref_mut() else { return };
        let first = recorded.emitted - recorded.held.len() as u64;
        let held = std::mem::take(&mut recorded.held);
        let known = state.link.as_deref().map_or(0, |link| link.about.emitted);
        for (progress, number) in held.into_iter().zip(first + 1..) {
            if number > known {
                self.publish(state, now, progress, effects);
            }
        }
    }

    /// Publishes the body's progress.
    pub(crate) fn publish(
        &self,
        state: &mut State,
        now: Now,
        progress: Payload,
        effects: &mut Effects,
    ) {
        if let Some(link) = state.link.as_deref_mut() {
            link.about.emitted += 1;
        }
        let before = state.before();
        let mut change = Change::new(now, Transition::default());
        change.transition.push(EventKind::SessionProgress { progress: progress.into() });
        change.is_note = true;
        self.commit(state, before, change, effects).forget();
    }
}

/// The result of an operation, to be recorded and then given to the body.
pub(crate) fn record(change: &mut Change, key: OpKey, result: Result<Payload, OpError>) {
    let result = fitting(result);
    let done = Done::new(key.clone(), change.now.wall, &result);
    change.journal.push(Record::Done(done).encode());
    change.deliveries.push(Delivery::Op(OpRef::Key(key), result));
}

/// Of these events those that a body may tell of: sessions speak for themselves.
pub(crate) fn told_by_bodies(events: Vec<EventKind>) -> impl Iterator<Item = EventKind> {
    events.into_iter().filter(|kind| !kind.name().starts_with("session_"))
}

/// Where the machine has just been asked to stop, the body is to hear of it.
pub(crate) fn tell_of_cancel(state: &mut State, change: &mut Change) {
    let Some(cause) = state.machine.session().cancel_requested() else { return };
    // Its questions are withdrawn by that.
    if let Some(link) = state.link.as_deref_mut() {
        link.about.asks.clear();
    }
    if state.recorded.is_some() {
        let record = Record::Cancelled { at: change.now.wall, cause: cause.clone() };
        change.journal.push(record.encode());
    }
    change.deliveries.push(Delivery::Cancel(cause.clone()));
}

/// A question of this body.
pub(crate) fn question(
    id: QuestionId,
    key: &OpKey,
    kind: QuestionKind,
    prompt: String,
    now: Now,
) -> Question {
    let name = key.name.as_ref().into();
    Question { id, name, kind, prompt: prompt.into(), asked_at: now.wall, task: None }
}

/// What to say to a body whose question is one pause too many.
pub(crate) fn too_many_paused(limit: usize) -> OpError {
    OpError::Failed {
        message: format!("{limit} sessions are paused, which is the limit"),
        retryable: true,
    }
}

fn open_entry(change: &mut Change, key: &OpKey, what: What) {
    let opened = Opened { key: key.clone(), at: change.now.wall, what };
    change.journal.push(Record::Opened(opened).encode());
}

fn is_open(state: &State, question: QuestionId) -> bool {
    is_open_in(&state.machine, question)
}

fn is_open_in(machine: &crate::machine::Machine, question: QuestionId) -> bool {
    matches!(machine.session().state(), SessionState::Paused(open) if open.get(question).is_some())
}
