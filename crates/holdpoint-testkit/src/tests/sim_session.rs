//! Simulated sessions: single stories, then any story.

use std::time::Duration;

use holdpoint_core::CancelCode;
use holdpoint_core::session::StateName;

use crate::sim::session::{Act, Script, SessionActor};
use crate::sim::{Run, SimError, Simulation, explore, seeds};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn play(script: Script) -> (Option<StateName>, Vec<&'static str>) {
    let mut simulation = Simulation::new(11);
    let part = simulation.add(SessionActor::new(script));
    let run = simulation.run().unwrap();
    let names = run.events().iter().map(|event| event.kind.name()).collect();
    (run.actor(part).state(), names)
}

#[test]
fn a_body_works_asks_and_ends() {
    let acts = vec![Act::Work(ms(5)), Act::Ask(Some(ms(90))), Act::AwaitAnswers, Act::Progress];
    let (state, events) = play(Script { acts, ..Script::default() });
    assert_eq!(state, Some(StateName::Done));
    assert_eq!(
        events,
        [
            "session_planned",
            "session_started",
            "session_paused",
            "session_question",
            "session_answered",
            "session_resumed",
            "session_progress",
            "session_done",
        ]
    );
}

#[test]
fn an_owner_lost_in_a_pause_is_followed_by_another() {
    let acts = vec![Act::Ask(Some(ms(500))), Act::AwaitAnswers];
    let crashes = vec![ms(100), ms(450)];
    let back = Some(ms(200));
    let (state, events) = play(Script { acts, crashes, back, ..Script::default() });
    assert_eq!(state, Some(StateName::Done));
    assert_eq!(events.iter().filter(|name| **name == "session_question").count(), 1);
    // Answered without an owner, then claimed.
    let ends = ["session_answered", "session_suspended", "session_resumed", "session_done"];
    assert!(events.ends_with(&ends), "{events:?}");
}

#[test]
fn a_cancel_withdraws_questions_and_the_body_decides() {
    let acts = vec![Act::Ask(None), Act::AwaitAnswers, Act::Work(ms(50))];
    let cancels = vec![(ms(100), CancelCode::User), (ms(105), CancelCode::Timeout)];
    let script = Script { acts, cancels, heeds: Some(ms(10)), ..Script::default() };
    assert_eq!(play(script.clone()).0, Some(StateName::Cancelled));
    assert_eq!(play(Script { heeds: None, ..script }).0, Some(StateName::Done));
}

#[test]
fn a_question_that_nobody_answers_leaves_it_paused() {
    let acts = vec![Act::Ask(None), Act::AwaitAnswers];
    assert_eq!(play(Script { acts, ..Script::default() }).0, Some(StateName::Paused));
}

#[test]
fn a_failure_is_tried_again() {
    let acts = vec![Act::Fail];
    let (state, events) = play(Script { acts, retries: 2, ..Script::default() });
    assert_eq!(state, Some(StateName::Failed));
    assert_eq!(events.iter().filter(|name| **name == "session_planned").count(), 3);
}

/// A few random sessions at once.
fn any(seed: u64) -> Result<Run, SimError> {
    let mut simulation = Simulation::new(seed);
    let mut random = crate::sim::Random::new(seed);
    for _ in 0..3 {
        simulation.add(SessionActor::new(Script::random(&mut random)));
    }
    simulation.run()
}

#[test]
fn every_random_session_comes_to_rest_and_keeps_the_rules() {
    if let Err(fault) = explore(seeds(1_000), any) {
        panic!("{fault}");
    }
}

#[test]
fn random_sessions_see_every_event_a_session_has() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        seen.extend(any(seed).unwrap().events().iter().map(|event| event.kind.name()));
    }
    let sessions = [
        "session_answered",
        "session_cancel_requested",
        "session_cancelled",
        "session_done",
        "session_failed",
        "session_paused",
        "session_planned",
        "session_progress",
        "session_question",
        "session_question_withdrawn",
        "session_resumed",
        "session_started",
        "session_suspended",
    ];
    assert!(seen.into_iter().eq(sessions));
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..50 {
        assert_eq!(any(seed).unwrap().events(), any(seed).unwrap().events());
    }
    assert_ne!(any(1).unwrap().events(), any(2).unwrap().events());
}
