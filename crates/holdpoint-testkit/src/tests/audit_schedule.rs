//! T0, T1, T2, T9 and T10.

use holdpoint_core::event::{EventKind, FireCause, Sequencer, Stream};
use holdpoint_core::{Event, Timestamp};

use super::words::{judge, rules};
use crate::Audit;

/// Each event with the second at which it happens.
fn trace(kinds: Vec<(u64, EventKind)>) -> Vec<Event> {
    let mut numbers = Sequencer::new(Stream::Schedule("nightly".parse().unwrap()));
    kinds.into_iter().map(|(at, kind)| numbers.event(second(at), kind)).collect()
}

fn second(second: u64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

/// The events after the schedule was added.
fn added(kinds: Vec<(u64, EventKind)>) -> Vec<(&'static str, u64)> {
    let all = [vec![(0, EventKind::ScheduleAdded)], kinds].concat();
    rules(&judge(Audit::new(), &trace(all)))
}

fn fires(run: u64, cause: FireCause, due: u64) -> EventKind {
    EventKind::ScheduleFired { run, cause, due_at: second(due), session_id: None }
}

fn ok(run: u64) -> EventKind {
    EventKind::ScheduleSucceeded { run }
}

fn fails(run: u64) -> EventKind {
    EventKind::ScheduleFailed { run, streak: 1, message: "no".into() }
}

fn tripped() -> EventKind {
    EventKind::ScheduleTripped { streak: 1 }
}

use FireCause::{CatchUp, Due, Queued, Repeated, Trigger};

#[test]
fn audit_is_silent_on_what_a_schedule_may_do() {
    assert_eq!(
        added(vec![
            (1, fires(1, Due, 1)),
            (2, fires(2, Trigger, 2)),
            (3, ok(2)),
            (3, fails(1)),
            (3, EventKind::ScheduleBackoff { streak: 1, until: second(4) }),
            (5, fires(3, CatchUp, 4)),
            (5, EventKind::ScheduleInterrupted { run: 3, repeated: true }),
            (5, fires(4, Repeated, 4)),
            (5, fails(4)),
            (5, tripped()),
            (6, EventKind::ScheduleReset),
            (7, EventKind::SchedulePaused),
            (7, fires(5, Trigger, 7)),
            (7, ok(5)),
            (7, EventKind::ScheduleResumed),
            (9, fires(6, Queued, 8)),
            (9, ok(6)),
            (9, EventKind::ScheduleRemoved),
            (9, EventKind::ScheduleAdded),
            (9, fires(7, Due, 8)),
            (9, ok(7)),
        ]),
        []
    );
}

#[test]
fn audit_finds_runs_that_do_not_count_up() {
    let kinds = vec![(1, fires(2, Due, 1)), (1, ok(2)), (2, fires(2, Due, 2)), (2, ok(2))];
    assert_eq!(added(kinds), [("T0", 4)]);
}

#[test]
fn audit_finds_runs_without_or_with_several_ends() {
    assert_eq!(added(vec![(1, fires(1, Due, 1))]), [("T0", 2)]);
    assert_eq!(added(vec![(1, fires(1, Due, 1)), (1, ok(1)), (1, fails(1))]), [("T0", 4)]);
    assert_eq!(added(vec![(1, ok(1))]), [("T0", 2)]);
}

#[test]
fn audit_finds_a_fire_before_its_time() {
    assert_eq!(added(vec![(1, fires(1, Due, 2)), (1, ok(1))]), [("T2", 2)]);
    let stepped = trace(vec![
        (0, EventKind::ScheduleAdded),
        (1, fires(1, Due, 2)),
        (1, ok(1)),
        (3, fires(2, Due, 2)),
        (3, ok(2)),
    ]);
    assert_eq!(judge(Audit::new().wall_steps(), &stepped), []);
}

#[test]
fn audit_finds_an_occurrence_that_fires_twice() {
    let twice = |between: Vec<(u64, EventKind)>, cause| {
        let first = vec![(5, fires(1, Due, 5)), (5, ok(1))];
        let at = between.last().map_or(6, |(at, _)| *at + 5);
        let second = vec![(at, fires(2, cause, 5)), (at, ok(2))];
        added([first, between, second].concat())
    };
    assert_eq!(twice(vec![], Due), [("T1", 4)]);
    assert_eq!(twice(vec![], CatchUp), [("T1", 4)]);
    assert_eq!(twice(vec![], Trigger), []);
    assert_eq!(twice(vec![], Repeated), []);
    assert_eq!(twice(vec![(6, EventKind::ScheduleReplaced)], Due), []);
    let before_and_after = [second(6), second(1)];
    let [before, after] = before_and_after;
    assert_eq!(twice(vec![(1, EventKind::ScheduleClockStepped { before, after })], Due), []);
    let paused_by_a_clock_stepped_back =
        vec![(1, EventKind::SchedulePaused), (1, EventKind::ScheduleResumed)];
    assert_eq!(twice(paused_by_a_clock_stepped_back, Due), []);
}

#[test]
fn audit_finds_a_fire_while_tripped() {
    let after = |between: Vec<EventKind>, cause| {
        let first = vec![fires(1, Due, 1), fires(2, Due, 2), fails(1), tripped()];
        let last = vec![fires(3, cause, 3), ok(3), ok(2)];
        added([first, between, last].concat().into_iter().map(|kind| (5, kind)).collect())
    };
    assert_eq!(after(vec![], Due), [("T9", 6)]);
    assert_eq!(after(vec![], Queued), [("T9", 6)]);
    assert_eq!(after(vec![], Trigger), [("T9", 6)]);
    assert_eq!(after(vec![EventKind::ScheduleReset], Due), []);
    assert_eq!(after(vec![tripped()], Due), [("T9", 6), ("T9", 7)]);
}

#[test]
fn audit_finds_a_fire_in_a_pause_and_of_a_schedule_that_is_gone() {
    let after =
        |kind: EventKind, cause| added(vec![(1, kind), (1, fires(1, cause, 1)), (1, ok(1))]);
    assert_eq!(after(EventKind::SchedulePaused, Due), [("T10", 3)]);
    assert_eq!(after(EventKind::SchedulePaused, CatchUp), [("T10", 3)]);
    assert_eq!(after(EventKind::SchedulePaused, Trigger), []);
    assert_eq!(after(EventKind::ScheduleRemoved, Trigger), [("T10", 3)]);
    assert_eq!(added(vec![(1, EventKind::ScheduleAdded)]), [("T10", 2)]);
    let before = trace(vec![(1, fires(1, Due, 1)), (1, ok(1))]);
    assert_eq!(rules(&judge(Audit::new(), &before)), [("T10", 1)]);
}
