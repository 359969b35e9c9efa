//! Cancelling a run, and what it races with (GRAPH-009).

use super::script::{Run, executing, script};
use crate::{Hold, Lookup, OnFailure};

/// Tasks in every stage that a cancel can meet.
fn busy() -> Run {
    script(|g| {
        g.task("runs").hold(Hold::exclusive("db"));
        g.task("looks").lookup().hold(Hold::exclusive("db"));
        g.task("gate").gated();
        g.task("then").needs("runs");
        g.task("waits").hold(Hold::exclusive("db"));
        g.task("wide").weight(9);
        g.task("end").finally("runs");
    })
    .jobs(10)
    .run()
}

const ENOUGH: &str = "cancelled: user: enough";

#[test]
fn graph_009_graph_008_cd_2_a_cancel_ends_at_once_what_is_not_in_flight() {
    let mut run = busy();
    assert_eq!(
        run.cancel(),
        [
            format!("end {ENOUGH}"),
            "drop gate of gate".to_owned(),
            format!("gate {ENOUGH}"),
            format!("then {ENOUGH}"),
            "release waits".to_owned(),
            format!("waits {ENOUGH}"),
            format!("wide {ENOUGH}"),
        ],
        "the tokens of those in flight are the run's"
    );
    assert!(!run.is_done());
    assert_eq!(run.stops("runs").last().expect("its end"), &format!("runs {ENOUGH}"));
    assert_eq!(run.looked_up("looks", Lookup::Miss), [format!("looks {ENOUGH}")]);
    assert!(run.is_done());
}

/// The predecessor could report a task as cancelled, after its start, that only looked something
/// up: then nothing had started.
#[test]
fn graph_009_cd_4_a_miss_after_the_cancel_is_not_executed() {
    let mut run = busy();
    run.cancel();
    assert_eq!(run.misses("looks"), [format!("looks {ENOUGH}")], "no miss, no start");
}

/// The predecessor threw a finished hit away when a cancel came first.
#[test]
fn graph_009_cd_5_a_hit_after_the_cancel_is_kept() {
    let mut run = busy();
    run.cancel();
    assert_eq!(run.hits("looks"), ["looks hit"]);
}

/// The predecessor reported a task as cancelled that had finished in the same moment.
#[test]
fn graph_009_cd_10_what_really_finished_is_reported_as_finished() {
    for finished in [true, false] {
        let mut run = busy();
        run.cancel();
        let lines = if finished { run.succeeds("runs") } else { run.fails("runs") };
        let end = if finished { "runs succeeded" } else { "runs failed: boom" };
        assert_eq!(lines, ["release runs", "runs gave its holds back", end]);
        run.hits("looks");
        let report = run.report();
        assert_eq!(report.counts().fresh, usize::from(finished));
        assert_eq!(report.counts().failed, usize::from(!finished));
        assert!(!report.is_success(), "others were cancelled");
    }
}

#[test]
fn graph_009_nothing_is_admitted_after_a_cancel() {
    let mut run = script(|g| {
        g.task("a").allow_failure();
        g.task("b").needs("a");
        g.task("c");
    })
    .jobs(1)
    .run();
    run.cancel();
    assert_eq!(run.succeeds("a"), ["a succeeded"]);
    assert!(run.is_done());
}

#[test]
fn graph_009_a_failure_after_a_cancel_is_not_tried_again() {
    let backoff = holdpoint_core::Backoff::fixed(std::time::Duration::ZERO);
    let mut run = script(|g| {
        g.task("a").retry(crate::Retry { attempts: 9, backoff });
        g.task("b").retry(crate::Retry { attempts: 9, backoff });
    })
    .run();
    run.fails("b");
    assert_eq!(run.cancel(), [format!("b {ENOUGH}")], "it waited for its next attempt");
    assert_eq!(run.fails("a"), ["a failed: boom"]);
    assert_eq!(run.deadline(), None);
    assert!(run.is_done());
}

#[test]
fn graph_009_only_the_first_cancel_counts_and_none_after_the_end() {
    let mut run = script(|g| _ = g.task("a")).run();
    assert_eq!(run.cancel(), [""; 0]);
    assert_eq!(run.cancel(), [""; 0]);
    assert_eq!(run.stops("a"), [format!("a {ENOUGH}")]);
    assert_eq!(run.cancel(), [""; 0]);
    assert_eq!(run.outcomes(), [format!("a {ENOUGH}")]);
}

#[test]
fn graph_009_a_task_that_ignores_its_token_is_dropped_after_the_grace() {
    let mut run = script(|g| {
        g.task("a").hold(Hold::exclusive("db"));
        g.task("b").lookup();
    })
    .run();
    run.passes(2000);
    run.cancel();
    assert_eq!(run.deadline(), Some(7000));
    assert_eq!(run.passes(4999), [""; 0]);
    assert_eq!(
        run.passes(1),
        [
            "abort a".to_owned(),
            "release a".to_owned(),
            "a gave its holds back".to_owned(),
            format!("a {ENOUGH}, aborted"),
            "abort b".to_owned(),
            format!("b {ENOUGH}, aborted"),
        ]
    );
    assert!(run.is_done());
}

#[test]
fn graph_009_without_a_grace_a_task_may_take_its_time() {
    let mut run = script(|g| _ = g.task("a")).without_grace().run();
    run.cancel();
    assert_eq!(run.deadline(), None);
    assert_eq!(run.stops("a"), [format!("a {ENOUGH}")]);
}

/// The cause that reached its token first is the cause of a task's end.
#[test]
fn graph_009_core_007_the_first_cause_is_kept() {
    let seconds = std::time::Duration::from_secs;
    // Fail-fast, then a cancel: also its grace counts from the first.
    let mut run = script(|g| {
        g.task("a");
        g.task("b");
        g.task("c").finally("a");
    })
    .on_failure(OnFailure::FailFast)
    .run();
    assert_eq!(executing(&run.fails("a")), ["c"]);
    run.passes(3000);
    assert_eq!(run.cancel(), [""; 0]);
    assert_eq!(run.deadline(), Some(5000));
    assert_eq!(run.stops("b"), ["b cancelled: internal: task a failed, by a"]);
    assert_eq!(run.stops("c"), [format!("c {ENOUGH}")], "fail-fast left it alone");

    // A timeout, then a cancel.
    let mut run = script(|g| _ = g.task("a").timeout(seconds(1))).run();
    run.passes(1000);
    run.cancel();
    assert_eq!(run.stops("a"), ["a failed: timed out after 1s"]);

    // A cancel, then what would have been a timeout.
    let mut run = script(|g| _ = g.task("a").timeout(seconds(1))).without_grace().run();
    run.cancel();
    assert_eq!(run.passes(1000), [""; 0]);
    assert_eq!(run.stops("a"), [format!("a {ENOUGH}")]);
}
