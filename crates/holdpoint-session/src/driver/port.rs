//! What a session is to its body: the hosting port.
//!
//! Where results are not recorded an operation is a slot, and what it wants is done at the call.
//! Where they are, it stands in the table of operations, and [`turn`](super::turn) does what it
//! wants after the poll.

use std::sync::Arc;
use std::task::{Context, Poll};

use holdpoint_core::body::{
    CancelWhen, Execution, Kind, LedgerFault, OpError, OpEvent, OpId, OpKey, OpName, Open, Opened,
    Payload, SessionPort, TableEvent,
};
use holdpoint_core::event::EventKind;
use holdpoint_core::session::{SessionState, SuspendCause, Transition};
use holdpoint_core::{CancelInfo, Now, SessionId, Timestamp};

use super::admission::Admitted;
use super::link::{Change, OpRef};
use super::random;
use super::session::{ChildStart, Effects, Orders, Session, State};
use super::slots::{Asked, Awaited, Said};
use super::turn::{question, told_by_bodies, too_many_paused};
use crate::machine::Input;

/// The longest name of an operation, in bytes.
const MAX_NAME: usize = holdpoint_core::body::MAX_OP_NAME_LEN;

impl SessionPort for Session {
    fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    fn open(&self, name: OpName, op: Open, when: CancelWhen) -> OpId {
        if self.is_recorded {
            let mut state = self.lock();
            return match state.recorded.as_deref_mut() {
                Some(recorded) => recorded.table.open(name, op, when),
                None => state.slots.open_done(Err(OpError::Misplaced)),
            };
        }
        let mut effects = Effects::default();
        let mut state = self.lock();
        let id = self.open_slot(&mut state, name, op, when, &mut effects);
        drop(state);
        effects.carry_out(self);
        id
    }

    fn poll(&self, op: OpId, cx: &mut Context<'_>) -> Poll<OpEvent> {
        let mut state = self.lock();
        let start = state.machine.session().starts();
        let execution = |ordinal| Execution { session: self.id, start, ordinal };
        let (event, replaced) = match state.recorded.as_deref_mut() {
            Some(recorded) => {
                let (event, replaced) = recorded.table.poll(op, cx.waker());
                let event = event.map(|event| match event {
                    TableEvent::Execute { ordinal } => OpEvent::Execute(execution(ordinal)),
                    TableEvent::Done(result) => OpEvent::Done(result),
                });
                (event, replaced)
            }
            None => {
                let (said, replaced) = state.slots.poll(op, cx.waker());
                let event = said.map(|said| match said {
                    Said::Execute { ordinal } => OpEvent::Execute(execution(ordinal)),
                    Said::Done(result) => OpEvent::Done(result),
                });
                (event, replaced)
            }
        };
        drop(state);
        drop(replaced);
        event
    }

    fn finish(&self, op: OpId, outcome: Result<Payload, OpError>) {
        if let Some(recorded) = self.lock().recorded.as_deref_mut() {
            recorded.table.finish(op, outcome);
        }
    }

    fn close(&self, op: OpId) {
        let mut effects = Effects::default();
        let mut state = self.lock();
        let waker = match state.recorded.as_deref_mut() {
            Some(recorded) => recorded.table.close(op),
            None => self.close_slot(&mut state, op, &mut effects),
        };
        drop(state);
        drop(waker);
        effects.carry_out(self);
    }

    fn emit(&self, progress: Payload) {
        let now = self.clock().now();
        let mut effects = Effects::default();
        let mut state = self.lock();
        match state.recorded.as_deref_mut() {
            Some(recorded) => {
                recorded.emitted += 1;
                if recorded.is_live {
                    self.publish(&mut state, now, progress, &mut effects);
                } else {
                    recorded.held.push(progress);
                }
            }
            None => self.publish(&mut state, now, progress, &mut effects),
        }
        drop(state);
        effects.carry_out(self);
    }

    fn now(&self) -> Timestamp {
        if !self.is_recorded {
            return self.clock().now().wall;
        }
        let state = self.lock();
        state.recorded.as_deref().map_or_else(|| self.clock().now().wall, |recorded| recorded.now)
    }

    fn random(&self) -> u64 {
        let mut state = self.lock();
        if let Some(recorded) = state.recorded.as_deref_mut() {
            return recorded.random();
        }
        let (seed, drawn) = &mut state.rare().random;
        if *drawn == 0 {
            *seed = random::seed();
        }
        *drawn += 1;
        random::nth(*seed, *drawn)
    }

    fn session(&self) -> SessionId {
        self.id
    }

    fn cancel(&self) -> Option<CancelInfo> {
        if !Session::is_cancelled(self) {
            return None;
        }
        let state = self.lock();
        match state.recorded.as_deref() {
            Some(recorded) => recorded.table.cancel().cloned(),
            None => state.machine.session().cancel_requested().cloned(),
        }
    }

    fn is_cancelled(&self) -> bool {
        // What a recorded body was told of is not what was asked for.
        Session::is_cancelled(self) && (!self.is_recorded || SessionPort::cancel(self).is_some())
    }

    fn poll_cancel_requested(&self, cx: &mut Context<'_>) -> Poll<CancelInfo> {
        let mut state = self.lock();
        if let Some(cause) = state.shown().cancel_requested() {
            return Poll::Ready(cause.clone());
        }
        let effects = &mut state.watch().effects;
        if !effects.iter().any(|known| known.will_wake(cx.waker())) {
            effects.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn open_ledger(&self, knows: &mut dyn FnMut(&OpKey) -> bool) -> Result<Opened, LedgerFault> {
        let mut state = self.lock();
        let start = state.machine.session().starts();
        let opened = match state.recorded.as_deref_mut() {
            Some(recorded) => recorded.open_ledger(knows)?,
            None => Opened::default(),
        };
        Ok(Opened { start, ..opened })
    }

    fn note(&self, event: EventKind) {
        let mut effects = Effects::default();
        let mut state = self.lock();
        self.tell(&mut state, vec![event], &mut effects);
        drop(state);
        effects.carry_out(self);
    }

    fn poll_suspend_requested(&self, cx: &mut Context<'_>) -> Poll<SuspendCause> {
        let mut state = self.lock();
        if let Some(Orders::Suspend(cause)) = state.known_rare().map(|rare| &rare.orders) {
            return Poll::Ready(cause.clone());
        }
        let recorded = state.recorded.as_deref_mut();
        let replaced = recorded
            .and_then(|recorded| recorded.ledger.as_deref_mut())
            .and_then(|ledger| ledger.suspend.replace(cx.waker().clone()));
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    fn may_let_go(&self) {
        let mut state = self.lock();
        let recorded = state.recorded.as_deref_mut();
        if let Some(ledger) = recorded.and_then(|recorded| recorded.ledger.as_deref_mut()) {
            ledger.may_let_go = true;
        }
        let task = state.task.clone();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Session {
    /// Tells of what nobody waits for.
    fn tell(&self, state: &mut State, events: Vec<EventKind>, effects: &mut Effects) {
        // Whoever has let go of a session tells nothing more of it.
        if state.machine.session().owner().is_none() {
            return;
        }
        let before = state.before();
        let mut change = Change::new(self.clock().now(), Transition::default());
        change.is_note = true;
        told_by_bodies(events).for_each(|kind| change.transition.push(kind));
        self.commit(state, before, change, effects).forget();
    }

    fn open_slot(
        &self,
        state: &mut State,
        name: OpName,
        op: Open,
        when: CancelWhen,
        effects: &mut Effects,
    ) -> OpId {
        let is_delay = matches!(op, Open::Delay(_));
        let mut ordinal = 0;
        if !is_delay {
            if let Some(error) = name_fault(&name) {
                return state.slots.open_done(Err(error));
            }
            if matches!(op, Open::Step) {
                // It counts whatever comes of it, as where results are recorded.
                ordinal = state.slots.next_ordinal(&name);
            }
            if when == CancelWhen::Requested
                && let Some(cause) = state.machine.session().cancel_requested()
            {
                let cause = cause.clone();
                return state.slots.open_done(Err(OpError::Cancelled(cause)));
            }
        }
        match op {
            Open::Step => state.slots.open(Awaited::Step { ordinal }, when),
            Open::Ask { kind, prompt, task } => {
                self.open_ask(state, &name, (kind, prompt, task), when, effects)
            }
            Open::Record { events, .. } => {
                self.tell(state, events, effects);
                state.slots.open_done(Ok("null".to_owned()))
            }
            Open::Sleep(time) | Open::Delay(time) => {
                let id = state.slots.open(Awaited::Time { is_delay }, when);
                state.slots.set_timer(id, self.clock().monotonic() + time);
                id
            }
            Open::Child(spec) => {
                let child = SessionId::generate();
                let id = state.slots.open(Awaited::Child(child), when);
                let op = OpRef::Slot(state.slots.target(id));
                effects.children.push(ChildStart { child, op, spec });
                id
            }
            _ => state.slots.open_done(Err(unknown_operation())),
        }
    }

    fn open_ask(
        &self,
        state: &mut State,
        name: &OpName,
        ask: Asked,
        when: CancelWhen,
        effects: &mut Effects,
    ) -> OpId {
        let is_paused = matches!(state.machine.session().state(), SessionState::Paused(_));
        if !is_paused && !state.has_pause_place && self.shared.limits_pauses() {
            match self.shared.admission().ask_paused(self.id) {
                Admitted::Now => state.has_pause_place = true,
                Admitted::Later => return state.slots.open_unasked(name.clone(), ask, when),
                Admitted::Refused { limit } => {
                    return state.slots.open_done(Err(too_many_paused(limit)));
                }
            }
        }
        let now = self.clock().now();
        let id = state.machine.session().next_question();
        let op = state.slots.open(Awaited::Answer(id), when);
        self.ask_slot(state, now, OpKey::new(Kind::Ask, name.clone(), 0), ask, effects);
        op
    }

    /// Asks the next question.
    fn ask_slot(
        &self,
        state: &mut State,
        now: Now,
        key: OpKey,
        (kind, prompt, task): Asked,
        effects: &mut Effects,
    ) {
        let id = state.machine.session().next_question();
        let mut question = question(id, &key, kind, prompt, now);
        question.task = task;
        let question = Arc::new(question);
        // Refused in no state in which a body runs.
        if let Ok(shown) = self.decide(state, now, Input::Ask(question), effects) {
            shown.forget();
        }
    }

    pub(super) fn ask_waiting_slots(
        &self,
        state: &mut State,
        now: Now,
        effects: &mut Effects,
    ) -> bool {
        let waiting = state.slots.take_unasked();
        if waiting.is_empty() {
            return false;
        }
        state.has_pause_place = true;
        for (target, name, ask) in waiting {
            let id = state.machine.session().next_question();
            state.slots.admit(target, id);
            self.ask_slot(state, now, OpKey::new(Kind::Ask, name, 0), ask, effects);
        }
        true
    }

    fn close_slot(
        &self,
        state: &mut State,
        op: OpId,
        effects: &mut Effects,
    ) -> Option<std::task::Waker> {
        let (awaited, waker) = state.slots.close(op);
        match awaited {
            Some(Awaited::Answer(id)) => {
                let now = self.clock().now();
                // Refused where a cancellation has withdrawn it.
                if let Ok(shown) = self.decide(state, now, Input::Withdraw(id), effects) {
                    shown.forget();
                }
            }
            Some(Awaited::Child(child)) => state.abandon(vec![child], effects),
            _ => {}
        }
        waker
    }
}

fn name_fault(name: &str) -> Option<OpError> {
    let message = match name.len() {
        0 => "the name of an operation cannot be empty".to_owned(),
        1..=MAX_NAME => return None,
        len => format!("the name of an operation has at most {MAX_NAME} bytes, this has {len}"),
    };
    Some(OpError::Failed { message, retryable: false })
}

fn unknown_operation() -> OpError {
    OpError::Failed {
        message: "this host does not know the operation".to_owned(),
        retryable: false,
    }
}
