//! CORE-003 to CORE-005 on random lives of sessions: what must hold whatever happens.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::config;
use super::session_parts::{
    announced, answer, ask, cancel, claim, end_cancelled, end_error, end_ok, end_panic, mismatch,
    withdraw,
};
use crate::CancelCode;
use crate::event::EventKind;
use crate::session::{
    OpenQuestions, QuestionId, SessionInput, SessionMachine, SessionState, StateName, SuspendCause,
};

fn codes() -> impl Strategy<Value = CancelCode> {
    use CancelCode::{Internal, Parent, Shutdown, Timeout, User};
    prop::sample::select(vec![User, Timeout, Parent, Shutdown, Internal])
}

/// Inputs with small ids and epochs, so that they often fit and often just do not.
fn inputs() -> impl Strategy<Value = SessionInput> {
    let suspensions = vec![
        SuspendCause::Interrupted,
        SuspendCause::Shutdown,
        SuspendCause::Released,
        SuspendCause::Answered,
        mismatch(),
    ];
    prop_oneof![
        6 => (0..12_u64).prop_map(claim),
        6 => (0..16_u32).prop_map(ask),
        4 => (0..16_u32).prop_map(answer),
        2 => (0..16_u32).prop_map(withdraw),
        1 => prop::sample::select(vec![end_ok(), end_cancelled(), end_error(), end_panic()]),
        3 => prop::sample::select(suspensions).prop_map(SessionInput::Suspend),
        1 => codes().prop_map(cancel),
        1 => any::<u32>().prop_map(|starts| SessionInput::CrashLoop { starts }),
        2 => Just(SessionInput::Retry),
        1 => any::<u64>().prop_map(claim),
        1 => any::<u32>().prop_map(ask),
    ]
}

/// What an observer knows who sees nothing but the events.
#[derive(Default)]
struct Observer {
    state: String,
    open: BTreeSet<QuestionId>,
    asked: BTreeSet<QuestionId>,
    ends: u32,
    attempts: u32,
}

impl Observer {
    fn see(&mut self, event: &EventKind) {
        let ended = ["done", "failed", "cancelled"].iter().any(|word| self.state.starts_with(word));
        match event {
            EventKind::SessionPlanned { attempt } => {
                self.attempts += 1;
                assert_eq!(*attempt, self.attempts);
            }
            _ => assert!(!ended, "{} after the end", event.name()),
        }
        match event {
            EventKind::SessionQuestion(question) => {
                assert_eq!(self.state, "paused", "a question comes after its pause");
                assert!(self.asked.insert(question.id), "an id was given twice");
                self.open.insert(question.id);
            }
            EventKind::SessionAnswered { question, .. }
            | EventKind::SessionQuestionWithdrawn { question } => {
                assert_eq!(self.state, "paused");
                assert!(self.open.remove(question), "a question ends once");
            }
            _ => {}
        }
        if let Some(state) = announced(event) {
            assert!(self.open.is_empty(), "{state} while a question is open");
            self.ends += u32::from(event.ends_session());
            self.state = state;
        }
    }
}

fn check(session: &SessionMachine, observer: &Observer) {
    let state = session.state();
    let owner_fits = match state.name() {
        StateName::Running => session.owner().is_some(),
        StateName::Paused => true,
        _ => session.owner().is_none(),
    };
    assert!(owner_fits, "{session:?}");
    assert!(session.owner().is_none_or(|owner| owner.epoch == session.epoch()));
    let open = match state {
        SessionState::Paused(open) => open.iter().map(|question| question.id).collect(),
        _ => BTreeSet::new(),
    };
    assert_eq!(open, observer.open);
    assert!(observer.state.starts_with(&state.name().to_string()));
    // S2, CORE-005: each attempt but the last has ended once, the last once or not yet.
    assert_eq!(observer.attempts, session.attempt());
    assert_eq!(observer.ends, session.attempt() - u32::from(!state.is_terminal()));
    assert!(session.cancel_requested().is_none() || !state.is_terminal());
}

/// S8: whatever the state, a request to cancel, and a body that heeds it, are an end.
fn check_the_way_out(session: &SessionMachine) {
    let mut session = session.clone();
    if session.state().is_terminal() {
        return;
    }
    let _ = session.apply(cancel(CancelCode::User)).unwrap();
    if !session.state().is_terminal() {
        assert!(session.owner().is_some() && session.cancel_requested().is_some());
        let _ = session.apply(end_cancelled()).unwrap();
    }
    assert!(session.state().is_terminal());
}

/// S6: what is wanted again and has come true is accepted, and nothing happens.
fn check_cancel_is_idempotent(session: &SessionMachine) {
    if let SessionState::Cancelled(_) = session.state() {
        let mut again = session.clone();
        assert!(again.apply(cancel(CancelCode::Internal)).unwrap().is_empty());
        assert_eq!(again, *session);
    }
}

fn live(inputs: Vec<SessionInput>) {
    let (mut session, planned) = SessionMachine::plan();
    let mut observer = Observer::default();
    planned.events().for_each(|event| observer.see(event));
    check(&session, &observer);
    for input in inputs {
        let before = session.clone();
        let kind = input.name();
        match session.apply(input) {
            Ok(events) => events.events().for_each(|event| observer.see(event)),
            Err(error) => {
                assert_eq!(session, before);
                assert_eq!((error.state, error.input), (before.state().name(), kind));
            }
        }
        check(&session, &observer);
        assert!(session.epoch() >= before.epoch() && session.starts() >= before.starts());
        assert!(session.next_question() >= before.next_question());
        check_the_way_out(&session);
        check_cancel_is_idempotent(&session);
        assert_eq!(SessionMachine::restore(session.snapshot()), Ok(session.clone()));
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn core_003_core_004_core_005_se_1_s2_s6_s8_hold_in_every_life(
        inputs in prop::collection::vec(inputs(), 0..80),
    ) {
        live(inputs);
    }

    #[test]
    fn core_003_the_ends_of_all_numbers_are_refused_or_taken_without_panic(
        inputs in prop::collection::vec(inputs(), 0..20),
    ) {
        let (mut session, _) = SessionMachine::plan();
        let mut snapshot = session.snapshot();
        (snapshot.attempt, snapshot.starts) = (u32::MAX, u32::MAX);
        (snapshot.epoch, snapshot.last_question) = (u64::MAX - 1, u32::MAX - 1);
        session = SessionMachine::restore(snapshot).unwrap();
        for input in [claim(u64::MAX), ask(u32::MAX)].into_iter().chain(inputs) {
            let _ = session.apply(input);
        }
        prop_assert_eq!(session.next_question(), QuestionId(u32::MAX));
        let more = session.apply(ask(u32::MAX));
        prop_assert!(more.is_err());
    }
}

#[test]
fn core_003_open_questions_are_in_order_whatever_was_closed() {
    let list = |open: &OpenQuestions| open.iter().map(|question| question.id.0).collect::<Vec<_>>();
    let mut session = super::session_parts::after([claim(1), ask(1), ask(2), ask(3), ask(7)]);
    for (closed, left) in [(1, vec![2, 3, 7]), (3, vec![2, 7]), (2, vec![7])] {
        let _ = session.apply(answer(closed)).unwrap();
        let SessionState::Paused(open) = session.state() else { panic!("questions are open") };
        assert_eq!((list(open), open.count().get()), (left.clone(), left.len()));
        assert!(open.get(QuestionId(closed)).is_none());
        assert_eq!(open.get(QuestionId(left[0])).unwrap().id.0, left[0]);
    }
}
