//! Ends that are recorded before anything follows from them, and ends that were recorded in an
//! earlier life of the run.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{Backoff, Monotonic, Timestamp};

use super::script::{boom, executing, script};
use crate::{
    Effect, Gate, Hold, Input, Limits, Machine, OnFailure, Retry, TaskEnd, TaskFailure, Topology,
    TopologyBuilder,
};

const ENOUGH: &str = "cancelled: user: enough";

#[test]
fn graph_009_store_011_an_executed_task_ends_when_it_is_recorded() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b").needs("a");
        g.task("c").after("a");
    })
    .recorded()
    .run();
    assert_eq!(run.succeeds("a"), ["record a: succeeded"], "and nothing follows");
    assert!(!run.is_done());
    assert_eq!(run.records("b"), [""; 0], "it has not executed");
    assert_eq!(
        run.records("a"),
        ["a succeeded", "b started", "execute b", "c started", "execute c"]
    );
    assert_eq!(run.records("a"), [""; 0], "once");
    assert_eq!(run.fails("b"), ["record b: failed: boom"]);
    assert_eq!(run.errs("c"), ["record c: errored: boom"]);
    run.records("c");
    run.records("b");
    assert_eq!(run.outcomes(), ["a succeeded", "b failed: boom", "c errored: boom"]);
}

#[test]
fn graph_004_graph_009_a_task_being_recorded_has_no_slot_no_cap_and_no_hold() {
    let define = |g: &mut TopologyBuilder| {
        g.task("a").tag("net").hold(Hold::exclusive("db")).priority(1);
        g.task("b").tag("net").hold(Hold::exclusive("db"));
    };
    let mut run = script(define).limits(Limits::jobs(1).tag("net", 1)).recorded().run();
    assert_eq!(
        run.succeeds("a"),
        [
            "release a",
            "a gave its holds back",
            "record a: succeeded",
            "ask for b",
            "b has its holds",
            "b started",
            "execute b",
        ]
    );
    assert_eq!(run.records("a"), ["a succeeded"]);
}

/// Hits, skips, failed gates and lookups, and cancellations did not execute: they can be found
/// out again.
#[test]
fn graph_009_what_did_not_execute_is_not_recorded() {
    let (mut run, _) = script(|g| {
        g.task("hit").lookup();
        g.task("gate").gated();
        g.task("stops");
        g.task("then").needs("stops");
    })
    .recorded()
    .start();
    assert_eq!(run.hits("hit"), ["hit hit"]);
    let rejected = Gate::Failed(TaskFailure::new("no"));
    assert_eq!(run.gate("gate", rejected), ["gate failed: no"]);
    assert_eq!(
        run.stops("stops"),
        ["stops cancelled: by itself", "then skipped: stops was cancelled"]
    );
    assert!(run.is_done());
}

/// Only the last attempt is an end.
#[test]
fn graph_009_graph_014_an_attempt_that_is_tried_again_is_not_recorded() {
    let backoff = Backoff::fixed(Duration::from_secs(1));
    let mut run =
        script(|g| _ = g.task("a").retry(Retry { attempts: 2, backoff })).recorded().run();
    assert_eq!(run.fails("a"), ["a again (2) in 1s: boom"]);
    assert_eq!(run.passes(1000), ["execute a (2)"]);
    assert_eq!(run.fails("a"), ["record a: failed: boom"]);
    assert_eq!(run.records("a"), ["a failed: boom"]);
    let report = run.report();
    assert_eq!(report.rows().next().expect("a row").attempts, 2);
}

#[test]
fn graph_009_a_cancel_or_a_deadline_does_not_change_an_end_that_is_being_recorded() {
    let mut run = script(|g| {
        g.task("a").timeout(Duration::from_secs(1));
        g.task("b");
        g.task("c").needs("a");
    })
    .recorded()
    .run();
    run.succeeds("a");
    assert_eq!(run.cancel(), [format!("c {ENOUGH}")]);
    assert_eq!(run.passes(5000), ["abort b".to_owned(), format!("b {ENOUGH}, aborted")]);
    assert_eq!(run.deadline(), None, "none for what is recorded");
    assert_eq!(run.passes(60_000), [""; 0]);
    assert_eq!(run.records("a"), ["a succeeded"]);
    assert!(run.is_done());
    let report = run.report();
    let row = report.rows().next().expect("a row");
    assert_eq!(row.finished, Duration::ZERO, "when it executed, not when it was kept");
}

/// Neither does the failure of another.
#[test]
fn graph_009_graph_007_a_failure_does_not_change_an_end_that_is_being_recorded() {
    for on_failure in [OnFailure::Stop, OnFailure::FailFast] {
        let mut run = script(|g| {
            g.task("a");
            g.task("bad");
            g.task("worse");
        })
        .on_failure(on_failure)
        .recorded()
        .run();
        run.succeeds("a");
        run.fails("bad");
        run.errs("worse");
        assert_eq!(run.records("bad"), ["bad failed: boom"]);
        assert_eq!(run.records("worse"), ["worse errored: boom"]);
        assert_eq!(run.records("a"), ["a succeeded"]);
        assert!(run.is_done());
    }
}

#[test]
fn graph_009_graph_007_nothing_begins_while_the_first_failure_is_being_recorded() {
    let define = |g: &mut TopologyBuilder| {
        g.task("bad").priority(1);
        g.task("looks").lookup();
        g.task("next").priority(-1);
        g.task("last").finally("bad").lookup();
        g.task("end").finally("next").lookup().priority(1);
    };
    let mut run = script(define).jobs(2).on_failure(OnFailure::Stop).recorded().run();
    assert_eq!(run.fails("bad"), ["record bad: failed: boom"], "and next does not begin");
    assert_eq!(run.misses("looks"), [""; 0], "nor this");
    assert_eq!(
        run.records("bad"),
        [
            "bad failed: boom",
            "looks skipped: stopped by bad",
            "next skipped: stopped by bad",
            "look up end",
            "look up last",
        ]
    );
}

/// A finally-task that was looking up goes on where it was.
#[test]
fn graph_009_graph_014_a_miss_beside_the_first_failure_is_kept() {
    let mut run = script(|g| {
        g.task("first");
        g.task("bad");
        g.task("end").finally("first").lookup();
    })
    .on_failure(OnFailure::FailFast)
    .recorded()
    .run();
    run.succeeds("first");
    assert_eq!(run.records("first"), ["first succeeded", "look up end"]);
    run.fails("bad");
    assert_eq!(run.misses("end"), [""; 0]);
    assert_eq!(
        run.records("bad"),
        ["bad failed: boom", "end missed", "end started", "execute end"],
        "it is not looked up again"
    );
}

/// The failure came after the request for holds and before its answer.
#[test]
fn graph_009_holds_granted_beside_the_first_failure_do_not_begin_a_task() {
    let mut builder = Topology::builder();
    let bad = builder.task("bad").id();
    let asks = builder.task("asks").after("first").hold(Hold::exclusive("db")).id();
    let first = builder.task("first").id();
    let topology = Arc::new(builder.build().expect("a good graph"));
    let limits = Limits::jobs(2);
    let mut machine = Machine::new(&topology, &limits, OnFailure::Stop, None, 0)
        .without_events()
        .with_recorded_ends();
    let mut feed = |input| {
        machine.handle(Monotonic::ZERO, input);
        std::iter::from_fn(|| machine.next_effect()).collect::<Vec<_>>()
    };
    feed(Input::Start(Timestamp::from_micros(0)));
    feed(Input::Executed(first, TaskEnd::Succeeded));
    let effects = feed(Input::Recorded(first));
    assert!(matches!(effects[..], [Effect::RequestHolds(task)] if task == asks), "{effects:?}");
    feed(Input::Executed(bad, TaskEnd::Failed(boom())));
    let effects = feed(Input::HoldsGranted(asks));
    assert!(effects.is_empty(), "{effects:?}");
    let effects = feed(Input::Recorded(bad));
    assert!(matches!(effects[..], [Effect::ReleaseHolds(task)] if task == asks), "{effects:?}");
    assert!(machine.is_done());
}

/// It would be told that there is another attempt, and there is none.
#[test]
fn graph_009_graph_014_a_failure_beside_the_first_one_is_not_tried_again() {
    let backoff = Backoff::fixed(Duration::from_secs(1));
    let again = Retry { attempts: 2, backoff };
    let mut run = script(|g| {
        g.task("first");
        g.task("bad");
        g.task("other").retry(again);
        g.task("end").finally("first").retry(again);
    })
    .on_failure(OnFailure::FailFast)
    .recorded()
    .run();
    run.succeeds("first");
    run.records("first");
    run.fails("bad");
    assert_eq!(run.fails("other"), ["record other: failed: boom"]);
    assert_eq!(run.fails("end"), ["end again (2) in 1s: boom"], "this one runs in any case");
    run.records("bad");
    run.records("other");
    assert_eq!(run.passes(1000), ["execute end (2)"]);
}

#[test]
fn graph_009_a_failure_that_stops_nothing_keeps_nobody_out() {
    for on_failure in [OnFailure::KeepGoing, OnFailure::Stop] {
        let mut run = script(|g| {
            let bad = g.task("bad").priority(1);
            if on_failure == OnFailure::Stop {
                bad.allow_failure();
            }
            g.task("next");
        })
        .jobs(1)
        .on_failure(on_failure)
        .recorded()
        .run();
        assert_eq!(executing(&run.fails("bad")), ["next"]);
    }
}

/// It did fail, though the run stops before its next attempt.
#[test]
fn graph_009_graph_014_a_failure_that_is_not_tried_again_is_recorded() {
    let backoff = Backoff::fixed(Duration::from_secs(1));
    let mut run = script(|g| {
        g.task("bad");
        g.task("slow").retry(Retry { attempts: 2, backoff });
        g.task("then").finally("slow");
    })
    .on_failure(OnFailure::Stop)
    .recorded()
    .run();
    run.fails("slow");
    run.fails("bad");
    assert_eq!(run.records("bad"), ["bad failed: boom", "record slow: failed: boom"]);
    assert_eq!(run.deadline(), None);
    assert_eq!(executing(&run.records("slow")), ["then"]);
}

#[test]
fn graph_008_store_011_a_known_task_ends_at_the_start_and_takes_nothing() {
    let (run, lines) = script(|g| {
        g.task("a").gated().lookup().hold(Hold::exclusive("db"));
        g.task("b").needs("a").lookup();
        g.task("c").needs("b");
        g.task("d").hold(Hold::exclusive("db"));
    })
    .jobs(1)
    .recorded()
    .known("b", TaskEnd::Succeeded)
    .known("a", TaskEnd::Succeeded)
    .start();
    let expected = ["a succeeded", "b succeeded", "c started", "execute c"];
    assert_eq!(lines, expected, "and they are not recorded again");
    drop(run);
}

#[test]
fn graph_008_a_known_task_is_not_skipped_or_cancelled_because_of_another() {
    for on_failure in [OnFailure::KeepGoing, OnFailure::Stop, OnFailure::FailFast] {
        let (run, lines) = script(|g| {
            g.task("a");
            g.task("b").needs("a");
            g.task("c").needs("a");
            g.task("d");
            g.task("e");
        })
        .on_failure(on_failure)
        .known("a", TaskEnd::Failed(boom()))
        .known("b", TaskEnd::Succeeded)
        .known("d", TaskEnd::Errored(boom()))
        .start();
        let ended = ["a failed: boom", "b succeeded", "d errored: boom", "c skipped: a failed"];
        assert_eq!(lines[..4], ended);
        let rest: &[&str] = match on_failure {
            OnFailure::KeepGoing => &["e started", "execute e"],
            OnFailure::Stop => &["e skipped: stopped by a"],
            OnFailure::FailFast => &["e cancelled: internal: task a failed, by a"],
        };
        assert_eq!(lines[4..], *rest);
        assert_eq!(run.is_done(), on_failure != OnFailure::KeepGoing);
    }
}

#[test]
fn graph_008_a_task_that_was_cancelled_or_is_unknown_is_not_known() {
    let define = |g: &mut TopologyBuilder| _ = g.task("a");
    let (_, lines) = script(define).known("a", TaskEnd::Cancelled).start();
    assert_eq!(executing(&lines), ["a"]);

    let mut large = Topology::builder();
    large.task("first");
    let other = large.task("second").id();
    let topology = Arc::new({
        let mut small = Topology::builder();
        define(&mut small);
        small.build().expect("a good graph")
    });
    let limits = Limits::jobs(1);
    let mut machine = Machine::new(&topology, &limits, OnFailure::KeepGoing, None, 0)
        .with_known_ends([(other, TaskEnd::Succeeded)]);
    let start = Input::Start(Timestamp::from_micros(0));
    machine.handle(Monotonic::ZERO, start);
    assert!(!machine.is_done());
}

/// A failure that is allowed counts as a success, in any life.
#[test]
fn graph_007_graph_008_a_known_failure_counts_as_it_did() {
    let define = |g: &mut TopologyBuilder| {
        g.task("a").allow_failure();
        g.task("b").needs("a");
        g.task("end").finally("b");
    };
    let (mut run, lines) =
        script(define).on_failure(OnFailure::Stop).known("a", TaskEnd::Failed(boom())).start();
    assert_eq!(lines, ["a failed (allowed): boom", "b started", "execute b"]);
    assert_eq!(executing(&run.fails("b")), ["end"]);
}

/// A cancel before the start: what had ended did so before the cancel.
#[test]
fn graph_009_graph_008_a_cancel_does_not_reach_what_had_ended_in_an_earlier_life() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b").needs("a");
        g.task("bad");
        g.task("after").needs("bad");
        g.task("end").after("bad").gated();
    })
    .known("a", TaskEnd::Succeeded)
    .known("bad", TaskEnd::Failed(boom()))
    .unstarted();
    assert_eq!(
        run.cancel(),
        [
            "a succeeded".to_owned(),
            "bad failed: boom".to_owned(),
            "after skipped: bad failed".to_owned(),
            format!("b {ENOUGH}"),
            format!("end {ENOUGH}"),
        ],
        "and no gate is asked"
    );
    assert_eq!(run.begins(), [""; 0]);
    assert!(run.is_done());
}

#[test]
fn graph_018_a_run_is_parked_while_it_waits_for_gates_alone() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b").needs("a").gated().hold(Hold::exclusive("db"));
        g.task("c").needs("a").gated();
        g.task("d").needs("c");
    })
    .recorded()
    .unstarted();
    assert!(!run.is_parked(), "it has not begun");
    run.begins();
    assert!(!run.is_parked(), "a runs");
    run.succeeds("a");
    assert!(!run.is_parked(), "a is being recorded");
    run.records("a");
    assert!(run.is_parked());
    run.opens("b");
    assert!(!run.is_parked(), "b runs beside the gate");
    run.stops("b");
    assert!(run.is_parked());
    run.gate("c", Gate::Skip("weekend".into()));
    assert!(!run.is_parked(), "it is over");
    assert!(run.is_done());
}

#[test]
fn graph_018_graph_014_a_run_with_a_deadline_or_a_waiting_task_is_not_parked() {
    let backoff = Backoff::fixed(Duration::from_secs(1));
    let mut run = script(|g| {
        g.task("gate").gated();
        g.task("retry").retry(Retry { attempts: 2, backoff });
    })
    .run();
    run.fails("retry");
    assert!(!run.is_parked(), "it goes on by itself");
    run.passes(1000);
    assert!(!run.is_parked());
    run.succeeds("retry");
    assert!(run.is_parked());
    run.cancel();
    assert!(!run.is_parked());
}
