//! H1, H2 and H6.

use holdpoint_core::Timestamp;
use holdpoint_core::event::{EventKind, HoldMode, HoldScope, Sequencer};

use super::words::{
    acquires, answered, asked, done, events, exclusive, hold, in_session, judge, paused, planned,
    releases, resumed, retry, rules, session_stream, skipped, started, starts, succeeds, waits,
};
use crate::Audit;

#[test]
fn audit_finds_conflicting_holders() {
    let together = |one: HoldMode, two: HoldMode| {
        let (one, two) = (hold("db", one), hold("db", two));
        in_session(vec![
            acquires("a", &one),
            acquires("b", &two),
            releases("b", &two),
            releases("a", &one),
            skipped("a"),
            skipped("b"),
        ])
    };
    let units = |units| HoldMode::Counted { units };
    assert_eq!(together(HoldMode::Exclusive, HoldMode::Exclusive), [("H1", 4)]);
    assert_eq!(together(HoldMode::Exclusive, HoldMode::Shared), [("H1", 4)]);
    assert_eq!(together(HoldMode::Shared, HoldMode::Exclusive), [("H1", 4)]);
    assert_eq!(together(units(1), HoldMode::Exclusive), [("H1", 4)]);
    assert_eq!(together(HoldMode::Shared, HoldMode::Shared), []);
    assert_eq!(together(units(9), units(9)), [], "the capacity is not known");
}

#[test]
fn audit_finds_more_units_than_there_are() {
    let two = hold("gpu", HoldMode::Counted { units: 2 });
    let kinds = vec![
        planned(1),
        started(1),
        acquires("a", &two),
        acquires("b", &two),
        releases("a", &two),
        releases("b", &two),
        skipped("a"),
        skipped("b"),
        done(),
    ];
    let with = |units| {
        let mut audit = Audit::new();
        audit.know_capacity(HoldScope::Workspace, "gpu".parse().unwrap(), units);
        rules(&judge(audit, &events(session_stream(), kinds.clone())))
    };
    assert_eq!(with(3), [("H1", 4)]);
    assert_eq!(with(4), []);
}

#[test]
fn audit_knows_scopes_apart() {
    let db = exclusive("db");
    let mut own = db.to_vec();
    own[0].scope = HoldScope::Project { project: "app".parse().unwrap() };
    let own = own.into();
    let kinds = vec![
        acquires("a", &db),
        acquires("b", &own),
        releases("a", &db),
        releases("b", &own),
        skipped("a"),
        skipped("b"),
    ];
    assert_eq!(in_session(kinds), []);
}

#[test]
fn audit_finds_holds_that_were_not_released() {
    let db = exclusive("db");
    assert_eq!(in_session(vec![acquires("a", &db), skipped("a")]), [("H6", 4)]);
    assert_eq!(in_session(vec![acquires("", &db)]), [("H6", 4)]);
    assert_eq!(in_session(vec![acquires("", &db), releases("", &db)]), []);
}

#[test]
fn audit_finds_a_release_of_what_was_not_taken() {
    let (db, log) = (exclusive("db"), exclusive("log"));
    assert_eq!(in_session(vec![releases("a", &db), skipped("a")]), [("H6", 3)]);
    let twice = vec![acquires("a", &db), releases("a", &db), releases("a", &db), skipped("a")];
    assert_eq!(in_session(twice), [("H6", 5)]);
    let other = vec![acquires("", &db), releases("", &log), releases("", &db)];
    assert_eq!(in_session(other), [("H6", 4)]);
}

#[test]
fn audit_finds_a_task_that_takes_its_holds_one_by_one() {
    let (db, log) = (exclusive("db"), exclusive("log"));
    let more = |kind: EventKind| {
        let mut kinds = vec![acquires("a", &db), kind, releases("a", &db), skipped("a")];
        if matches!(kinds[1], EventKind::HoldAcquired { .. }) {
            kinds.insert(2, releases("a", &log));
        }
        in_session(kinds)
    };
    assert_eq!(more(waits("a", &log)), [("H2", 4)]);
    assert_eq!(more(acquires("a", &log)), [("H2", 4)]);
    let body = vec![acquires("", &db), acquires("", &log), releases("", &db), releases("", &log)];
    assert_eq!(in_session(body), [], "a body may take several guards");
}

#[test]
fn audit_finds_holds_kept_between_attempts() {
    let db = exclusive("db");
    let kinds = vec![
        acquires("a", &db),
        starts("a"),
        retry("a", 1),
        acquires("a", &db),
        releases("a", &db),
        succeeds("a"),
    ];
    assert_eq!(in_session(kinds), [("H6", 5)]);
}

#[test]
fn audit_compares_sessions_where_they_share_a_hold_set() {
    let db = exclusive("db");
    let life = || {
        let kinds = vec![planned(1), started(1), acquires("", &db), releases("", &db), done()];
        events(session_stream(), kinds)
    };
    let (one, two) = (life(), life());
    let mixed: Vec<_> =
        one.iter().zip(&two).flat_map(|(one, two)| [one.clone(), two.clone()]).collect();
    assert_eq!(judge(Audit::new(), &mixed), []);
    assert_eq!(rules(&judge(Audit::new().shared_holds(), &mixed)), [("H1", 3)]);
    let in_turn = [one, two].concat();
    assert_eq!(judge(Audit::new().shared_holds(), &in_turn), []);
}

#[test]
fn audit_blames_nobody_for_taking_what_a_paused_session_may_have_lost() {
    let db = exclusive("db");
    let mut numbers = Sequencer::new(session_stream());
    let mut others = Sequencer::new(session_stream());
    let at = Timestamp::from_micros(0);
    let mut mixed = Vec::new();
    for kind in [planned(1), started(1), acquires("a", &db), paused(), asked(1)] {
        mixed.push(numbers.event(at, kind));
    }
    let life = [planned(1), started(1), acquires("", &db), releases("", &db), done()];
    mixed.extend(life.map(|kind| others.event(at, kind)));
    // Its owner was lost, and start 2 began before the answer.
    mixed.extend([answered(1), resumed(2), done()].map(|kind| numbers.event(at, kind)));
    assert_eq!(judge(Audit::new().shared_holds(), &mixed), []);
}
