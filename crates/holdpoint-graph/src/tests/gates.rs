//! Gates: awaited after predecessors and before admission, holding nothing (GRAPH-018).

use super::script::{executing, script};
use crate::{Gate, Hold, OnFailure, TaskFailure};

#[test]
fn graph_018_a_gate_is_awaited_after_the_predecessors_and_before_everything_else() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b").needs("a").gated().lookup().hold(Hold::exclusive("db"));
    })
    .jobs(1)
    .run();
    assert_eq!(run.succeeds("a"), ["a succeeded", "b at its gate", "await gate of b"]);
    assert_eq!(run.opens("b"), ["look up b"]);
    run.misses("b");
    run.succeeds("b");
    assert!(run.is_done());
}

#[test]
fn graph_018_a_gate_takes_no_slot_no_cap_and_no_hold() {
    let (mut run, lines) = script(|g| {
        g.task("a").gated().hold(Hold::exclusive("db")).priority(9);
        g.task("b").hold(Hold::exclusive("db"));
        g.task("c");
    })
    .jobs(2)
    .start();
    assert_eq!(executing(&lines), ["b", "c"]);
    assert_eq!(run.opens("a"), [""; 0], "now it waits for a slot, as the others do");
    assert_eq!(run.succeeds("c"), ["c succeeded", "ask for a", "a waits for holds"]);
    assert_eq!(executing(&run.succeeds("b")), ["a"]);
}

#[test]
fn graph_018_a_failing_gate_fails_its_task_and_stops_only_that() {
    let mut run = script(|g| {
        g.task("a").gated();
        g.task("b").needs("a");
        g.task("c");
        g.task("d").needs("c");
    })
    .run();
    let failure = TaskFailure::new("not today").with_code("rejected");
    let lines = run.gate("a", Gate::Failed(failure));
    assert_eq!(lines, ["a failed: not today", "b skipped: a failed"]);
    assert_eq!(executing(&run.succeeds("c")), ["d"]);
    run.succeeds("d");
    let report = run.report();
    let task = report.topology().find("a").expect("a task");
    let crate::Outcome::Failed { failure, allowed: false } = report.outcome(task) else { panic!() };
    assert_eq!(failure.code(), Some("rejected"));
    assert_eq!(report.row(task).attempts, 0);
}

#[test]
fn graph_018_a_gate_may_skip_its_task() {
    let mut run = script(|g| {
        g.task("a").gated();
        g.task("b").needs("a");
        g.task("c").after("a");
    })
    .run();
    let lines = run.gate("a", Gate::Skip("weekend".into()));
    assert_eq!(lines, ["a skipped: weekend", "b skipped: a was skipped", "c started", "execute c"]);
    run.succeeds("c");
    assert!(run.report().is_success(), "a condition does not count against the run");
}

#[test]
fn graph_018_graph_007_a_rejection_is_a_failure_for_the_run() {
    let mut run = script(|g| {
        g.task("a").gated();
        g.task("b").gated();
        g.task("c").finally("a").gated();
    })
    .on_failure(OnFailure::Stop)
    .run();
    assert_eq!(
        run.gate("a", Gate::Failed(TaskFailure::new("no"))),
        [
            "a failed: no",
            "c at its gate",
            "await gate of c",
            "drop gate of b",
            "b skipped: stopped by a",
        ]
    );
    assert_eq!(run.opens("b"), [""; 0], "it was withdrawn");
    assert_eq!(executing(&run.opens("c")), ["c"]);
}
