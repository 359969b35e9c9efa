//! CORE-006: the numbers of events.

use proptest::prelude::*;

use super::config;
use super::session_parts::{answer, ask, cancel, claim, end_ok, suspend};
use crate::event::{Event, EventKind, EventSink, Sequencer, Stream};
use crate::session::{SessionInput, SessionMachine};
use crate::{BatchId, CancelCode, SessionId, Timestamp};

fn streams() -> [Stream; 3] {
    [
        Stream::Session(SessionId::generate()),
        Stream::Schedule("nightly".parse().unwrap()),
        Stream::Batch(BatchId::generate()),
    ]
}

#[test]
fn core_006_numbers_go_on_where_they_were_left() {
    let [stream, ..] = streams();
    let mut numbers = Sequencer::after(stream.clone(), 41);
    let event = numbers.event(Timestamp::from_micros(9), EventKind::SessionPaused);
    let expected = Event::new(42, Timestamp::from_micros(9), stream, EventKind::SessionPaused);
    assert_eq!((event, numbers.last()), (expected, 42));
}

#[test]
fn core_006_a_closure_is_a_sink() {
    let seen = std::sync::Mutex::new(Vec::new());
    let sink = |event: &Event| seen.lock().unwrap().push(event.seq);
    let sink: &dyn EventSink = &sink;
    let mut numbers = Sequencer::new(streams()[1].clone());
    for _ in 0..3 {
        sink.event(&numbers.event(Timestamp::default(), EventKind::ScheduleTripped { streak: 5 }));
    }
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3]);
}

#[test]
fn core_006_the_end_of_a_task_names_it_and_nothing_else_does() {
    let task: crate::TaskName = "app:build".parse().unwrap();
    let started = EventKind::TaskStarted { task: task.clone() };
    let ended = EventKind::TaskErrored { task: task.clone(), message: "".into(), allowed: false };
    assert_eq!((started.ended_task(), ended.ended_task()), (None, Some(&task)));
    assert!(!ended.ends_session());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn core_006_numbers_are_dense_in_each_of_several_streams(
        turns in prop::collection::vec(0..3_usize, 0..200),
    ) {
        let mut streams = streams().map(Sequencer::new);
        let mut seen = [const { Vec::new() }; 3];
        for turn in turns {
            let event = streams[turn].event(Timestamp::default(), EventKind::BatchPaused);
            prop_assert_eq!(&event.stream, streams[turn].stream());
            seen[turn].push(event.seq);
        }
        for (numbers, seen) in streams.iter().zip(seen) {
            prop_assert_eq!(numbers.last(), seen.len() as u64);
            prop_assert!(seen.into_iter().eq(1..=numbers.last()));
        }
    }

    #[test]
    fn core_006_a_session_leaves_no_gap_and_a_refused_input_takes_no_number(
        inputs in prop::collection::vec(prop_oneof![
            (1..6_u64).prop_map(claim),
            (1..6_u32).prop_map(ask),
            (1..6_u32).prop_map(answer),
            Just(suspend()),
            Just(end_ok()),
            Just(cancel(CancelCode::User)),
            Just(SessionInput::Retry),
        ], 0..40),
    ) {
        let mut numbers = Sequencer::new(streams()[0].clone());
        let (mut session, planned) = SessionMachine::plan();
        let mut log: Vec<u64> = Vec::new();
        let mut tell = |transition: crate::session::Transition| {
            log.extend(transition.into_iter().map(|kind| numbers.event(Timestamp::default(), kind).seq));
        };
        tell(planned);
        inputs.into_iter().filter_map(|input| session.apply(input).ok()).for_each(&mut tell);
        prop_assert!(log.iter().copied().eq(1..=log.len() as u64));
    }
}
