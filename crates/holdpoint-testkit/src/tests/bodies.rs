use std::io::Write as _;

use holdpoint_core::SessionId;

use crate::bodies::Ledger;

/// A ledger, a session, and whether something was found since.
fn begun() -> (Ledger, SessionId) {
    let (ledger, session) = (Ledger::new(1), SessionId::generate());
    let _bodies = ledger.next_life();
    ledger.begins(1, session, "body");
    (ledger, session)
}

#[test]
fn what_a_body_is_given_must_come_again_in_its_order() {
    let (ledger, session) = begun();
    ledger.given(1, session, 0, "one");
    ledger.given(1, session, 1, "two");
    let _bodies = ledger.next_life();
    ledger.given(2, session, 0, "one");
    assert!(ledger.faults().is_empty());
    ledger.ends(2, session, 1);
    assert_eq!(ledger.faults().len(), 1, "it ends before it was given all of it");
    ledger.given(2, session, 1, "three");
    assert_eq!(ledger.faults().len(), 2);
}

#[test]
fn an_effect_is_executed_until_its_result_is_there_and_never_twice_by_the_same_numbers() {
    let (ledger, session) = begun();
    let executes = |life, numbers| ledger.executes(life, session, ("step a/1", "a"), numbers);
    executes(1, (1, 1));
    executes(1, (1, 2));
    assert!(ledger.are_running(&["a"]) && !ledger.are_running(&["a", "b"]));
    let _bodies = ledger.next_life();
    assert!(!ledger.are_running(&["a"]));
    // Who is left of the life before is not heard.
    executes(1, (1, 2));
    executes(2, (2, 1));
    assert!(ledger.faults().is_empty());
    executes(2, (1, 1));
    assert_eq!(ledger.faults().len(), 1, "the numbers came again");
    ledger.is_over(2, session, "step a/1");
    executes(2, (2, 2));
    assert_eq!(ledger.faults().len(), 2, "it is over");
    ledger.is_over(2, session, "step b/1");
    assert_eq!(ledger.faults().len(), 3, "it was never executed");
    assert_eq!(ledger.executions(), 3);
}

#[test]
fn a_ledger_in_a_file_outlasts_its_process() {
    let path = std::env::temp_dir().join(format!("ledger-{}", SessionId::generate()));
    let session = SessionId::generate();
    let first = Ledger::in_file(&path, 1).unwrap();
    let _bodies = first.next_life();
    first.begins(1, session, "body");
    first.given(1, session, 0, "one");
    first.executes(1, session, ("step a/1", "a"), (1, 1));
    first.is_over(1, session, "step a/1");
    first.open("gate");
    drop(first);
    // The process was killed within a line.
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"ses").unwrap();
    for _ in 0..2 {
        let again = Ledger::in_file(&path, 1).unwrap();
        assert!(again.faults().is_empty() && again.is_open("gate"));
        assert_eq!((again.sessions_of("body"), again.executions()), (vec![session], 1));
    }
    let again = Ledger::in_file(&path, 1).unwrap();
    let _bodies = again.next_life();
    again.given(1, session, 0, "two");
    again.executes(1, session, ("step a/1", "a"), (2, 1));
    assert_eq!(again.faults().len(), 2);
    std::fs::remove_file(path).unwrap();
}
