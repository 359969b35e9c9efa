//! S9, S1, S2, CORE-007, SESS-003 and SESS-009.

use std::sync::Arc;

use holdpoint_core::event::{EventKind, Stream};
use holdpoint_core::session::{
    Answer, BodyEnd, Completion, Failure, Owner, Question, QuestionId, QuestionKind, SessionInput,
    SessionMachine, SuspendCause,
};
use holdpoint_core::{BatchId, CancelCode, CancelInfo, SessionId, Timestamp};
use proptest::prelude::*;

use super::words::{
    answered, asked, cancel_requested, cancelled, done, events, failed, interrupted, judge, paused,
    planned, resumed, rules, session, session_stream, started, starts, withdrawn,
};
use crate::{Audit, audit};

#[test]
fn audit_finds_gaps_repeats_and_late_first_numbers() {
    let stream = session_stream();
    let good = events(stream, vec![planned(1), started(1), done()]);
    assert_eq!(audit(&good), []);
    let [first, second, third] = [&good[0], &good[1], &good[2]];
    assert_eq!(rules(&audit([first, second, second, third]))[0], ("S9", 2));
    let lost: Vec<_> = audit([first, third]).into_iter().filter(|it| it.rule == "S9").collect();
    assert_eq!(rules(&lost), [("S9", 3)]);
    assert_eq!(rules(&audit([second]))[0], ("S9", 2));
}

#[test]
fn audit_numbers_each_stream_by_itself() {
    let one = events(session_stream(), vec![planned(1), started(1), done()]);
    let two = events(session_stream(), vec![planned(1), cancelled("enough")]);
    let mixed = [&one[0], &two[0], &one[1], &two[1], &one[2]];
    assert_eq!(audit(mixed), []);
}

#[test]
fn audit_finds_events_in_a_stream_of_another_kind() {
    let foreign = || [EventKind::BatchPaused, EventKind::ScheduleAdded, planned(1)];
    let of = |stream: Stream| {
        let mut audit = Audit::new();
        let kinds = foreign().into_iter().collect();
        events(stream, kinds).iter().for_each(|event| audit.take(event));
        let found = audit.violations().iter().filter(|it| it.rule == "CORE-006");
        found.map(|it| it.seq).collect::<Vec<_>>()
    };
    assert_eq!(of(session_stream()), [1, 2]);
    assert_eq!(of(Stream::Batch(BatchId::generate())), [2, 3]);
    assert_eq!(of(Stream::Schedule("nightly".parse().unwrap())), [1, 3]);
}

#[test]
fn audit_says_where_and_what() {
    let stream = session_stream();
    let found = audit(&events(stream.clone(), vec![planned(1), done()]));
    assert_eq!(
        found[0].to_string(),
        format!("S1: {stream}, event 2: session_done while the session is Planned")
    );
}

#[test]
fn audit_finds_steps_that_the_table_does_not_have() {
    let question = || [paused(), asked(1)];
    let run = |rest: Vec<EventKind>| {
        let mut kinds = vec![planned(1), started(1)];
        kinds.extend(rest);
        rules(&judge(Audit::new(), &events(session_stream(), kinds)))
    };
    assert_eq!(session(vec![started(1), done()])[0], ("S1", 1));
    assert_eq!(session(vec![planned(1), resumed(1), done()]), [("S1", 2)]);
    assert_eq!(session(vec![planned(1), interrupted()]), [("S1", 2)]);
    assert_eq!(session(vec![planned(1), failed()]), [("S1", 2)]);
    assert_eq!(run(vec![resumed(1), done()])[0], ("S1", 3));
    assert_eq!(run(vec![started(2), done()]), [("S1", 3)]);
    let answered_while_running = EventKind::SessionSuspended(SuspendCause::Answered);
    assert_eq!(run(vec![answered_while_running]), [("S1", 3)]);
    assert_eq!(run([&question()[..], &[withdrawn(1), done()]].concat()), [("S1", 6)]);
    assert_eq!(run([&question()[..], &[answered(1), interrupted()]].concat()), [("S1", 6)]);
    assert_eq!(run(vec![interrupted(), done()]), [("S1", 4)]);
    assert_eq!(run(vec![interrupted(), paused()])[0], ("S1", 4));
}

#[test]
fn audit_finds_counts_of_attempts_and_starts_that_do_not_rise() {
    assert_eq!(session(vec![planned(2), started(1), done()]), [("S1", 1)]);
    let again = vec![planned(1), started(1), failed(), planned(3), started(2), done()];
    assert_eq!(session(again), [("S1", 4)]);
    let same_start = vec![planned(1), started(1), interrupted(), resumed(1), done()];
    assert_eq!(session(same_start), [("S1", 4)]);
    let fallen = vec![planned(1), started(2), paused(), asked(1), answered(1), resumed(1), done()];
    assert_eq!(session(fallen), [("S1", 6)]);
    let good = vec![planned(1), started(1), failed(), planned(2), started(2), done()];
    assert_eq!(session(good), []);
}

#[test]
fn audit_finds_two_terminal_events() {
    assert_eq!(session(vec![planned(1), started(1), done(), failed()]), [("S2", 4)]);
    assert_eq!(session(vec![planned(1), started(1), failed(), cancelled("late")]), [("S2", 4)]);
}

#[test]
fn audit_finds_events_after_the_end() {
    assert_eq!(session(vec![planned(1), started(1), done(), starts("build")]), [("S2", 4)]);
    assert_eq!(
        session(vec![planned(1), started(1), done(), planned(2), cancelled("x")]),
        [("S1", 4)]
    );
}

#[test]
fn audit_finds_a_session_that_runs_when_all_is_at_rest() {
    assert_eq!(session(vec![planned(1), started(1)]), [("S2", 2)]);
    for at_rest in [
        vec![planned(1)],
        vec![planned(1), started(1), paused(), asked(1)],
        vec![planned(1), started(1), interrupted()],
    ] {
        assert_eq!(session(at_rest), []);
    }
    let mut cut = Audit::new();
    events(session_stream(), vec![planned(1), started(1)]).iter().for_each(|it| cut.take(it));
    assert_eq!(cut.violations(), [], "a trace that was cut off is judged as far as it goes");
}

#[test]
fn audit_finds_work_outside_of_running() {
    assert_eq!(session(vec![planned(1), starts("build"), cancelled("x")]), [("S1", 2)]);
    let late = vec![planned(1), started(1), interrupted(), cancel_requested("x"), cancelled("x")];
    assert_eq!(session(late), [("S1", 4)]);
    let progress = EventKind::SessionProgress { progress: "1".into() };
    assert_eq!(session(vec![planned(1), progress, cancelled("x")]), [("S1", 2)]);
}

#[test]
fn audit_finds_a_cause_that_was_replaced() {
    let run = |rest: &[EventKind]| session([&[planned(1), started(1)], rest].concat());
    assert_eq!(run(&[cancel_requested("one"), cancelled("two")]), [("CORE-007", 4)]);
    let twice = [cancel_requested("one"), cancel_requested("one"), cancelled("one")];
    assert_eq!(run(&twice), [("CORE-007", 4)]);
    assert_eq!(run(&[cancel_requested("one"), cancelled("one")]), []);
    assert_eq!(run(&[cancel_requested("one"), done()]), []);
}

#[test]
fn audit_finds_questions_out_of_order() {
    let run = |rest: &[EventKind]| session([&[planned(1), started(1)], rest, &[done()]].concat());
    assert_eq!(run(&[asked(1), answered(1)]), [("SESS-009", 3)]);
    assert_eq!(
        run(&[paused(), asked(2), asked(1), answered(1), answered(2), resumed(1)]),
        [("SESS-003", 5)]
    );
    let repeated = [paused(), asked(1), answered(1), resumed(1)];
    assert_eq!(run(&[&repeated[..], &repeated].concat()), [("SESS-003", 8)]);
    assert_eq!(run(&[answered(1)]), [("SESS-009", 3)]);
    let twice = [paused(), asked(1), answered(1), withdrawn(1), resumed(1)];
    assert_eq!(run(&twice), [("SESS-009", 6)]);
    assert_eq!(run(&[paused(), asked(1), resumed(1)]), [("SESS-009", 5)]);
    assert_eq!(run(&[paused(), resumed(1)]), [("SESS-009", 4)]);
    let prolonged = [paused(), asked(1), answered(1), asked(2), answered(2), resumed(1)];
    assert_eq!(run(&prolonged), [("SESS-009", 6)]);
    let unknown = EventKind::TaskQuestion {
        task: "a".parse().unwrap(),
        question: QuestionId(9),
        prompt: "?".into(),
    };
    assert_eq!(run(&[unknown]), [("SESS-009", 3)]);
    let good = [paused(), asked(1), asked(2), answered(2), asked(3), withdrawn(1), answered(3)];
    assert_eq!(run(&[&good[..], &[resumed(1)]].concat()), []);
}

#[test]
fn audit_finds_an_end_with_an_open_question() {
    let run = |rest: &[EventKind]| {
        session([&[planned(1), started(1), paused(), asked(1)], rest].concat())
    };
    assert_eq!(run(&[cancelled("x")]), [("SESS-009", 5)]);
    assert_eq!(run(&[withdrawn(1), cancelled("x")]), []);
}

fn inputs() -> impl Strategy<Value = SessionInput> {
    let cause = || CancelInfo::new(CancelCode::User, "enough", Timestamp::from_micros(5));
    let question = |id| Question {
        id: QuestionId(id),
        name: "merge".into(),
        kind: QuestionKind::Confirm,
        prompt: "Merge?".into(),
        asked_at: Timestamp::from_micros(3),
        task: None,
    };
    let ends = vec![
        BodyEnd::Ok(Completion::default()),
        BodyEnd::Cancelled(cause()),
        BodyEnd::Failed(Failure::panic("boom")),
    ];
    prop_oneof![
        6 => (0..20_u64).prop_map(|epoch| SessionInput::Claim(Owner { instance: 1, epoch })),
        6 => (0..20_u32).prop_map(move |id| SessionInput::Ask(Arc::new(question(id)))),
        4 => (0..20_u32).prop_map(|id| SessionInput::Answer(Answer::to(QuestionId(id)))),
        2 => (0..20_u32).prop_map(|id| SessionInput::Withdraw(QuestionId(id))),
        1 => prop::sample::select(ends).prop_map(SessionInput::End),
        3 => Just(SessionInput::Suspend(SuspendCause::Interrupted)),
        1 => Just(SessionInput::Cancel(cause())),
        1 => (1..6_u32).prop_map(|starts| SessionInput::CrashLoop { starts }),
        2 => Just(SessionInput::Retry),
    ]
}

/// The events of a random life of the core's machine.
fn life(inputs: Vec<SessionInput>) -> Vec<EventKind> {
    let (mut session, planned) = SessionMachine::plan();
    let mut kinds: Vec<EventKind> = planned.into_iter().collect();
    for input in inputs {
        if let Ok(transition) = session.apply(input) {
            kinds.extend(transition);
        }
    }
    // Whoever still runs it lets go, so that the trace is at rest.
    if let Ok(transition) = session.apply(SessionInput::Suspend(SuspendCause::Shutdown)) {
        kinds.extend(transition);
    }
    kinds
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn audit_is_silent_on_every_life_of_the_session_machine(
        inputs in prop::collection::vec(inputs(), 0..80),
    ) {
        let stream = Stream::Session(SessionId::generate());
        prop_assert_eq!(audit(&events(stream, life(inputs))), vec![]);
    }
}
