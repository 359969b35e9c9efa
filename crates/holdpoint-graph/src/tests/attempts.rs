//! Timeouts, retries and finally-tasks (GRAPH-014).

use std::time::Duration;

use holdpoint_core::Backoff;

use super::script::{Run, executing, script};
use crate::{Hold, OnFailure, Retry, TaskEnd, TaskFailure};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn attempts(attempts: u32) -> Retry {
    Retry { attempts, backoff: Backoff::exponential(seconds(1)).max(seconds(3)) }
}

#[test]
fn graph_014_attempts_count_the_first_and_delays_grow() {
    let mut run = script(|g| _ = g.task("a").retry(attempts(4))).run();
    assert_eq!(run.fails("a"), ["a again (2) in 1s: boom"]);
    assert_eq!(run.deadline(), Some(1000));
    assert_eq!(run.passes(999), [""; 0]);
    assert_eq!(run.passes(1), ["execute a (2)"]);
    assert_eq!(run.errs("a"), ["a again (3) in 2s: boom"]);
    assert_eq!(run.passes(2000), ["execute a (3)"]);
    assert_eq!(run.fails("a"), ["a again (4) in 3s: boom"]);
    assert_eq!(run.passes(3000), ["execute a (4)"]);
    assert_eq!(run.fails("a"), ["a failed: boom"]);
    let report = run.report();
    assert_eq!(report.rows().next().expect("one").attempts, 4);
}

#[test]
fn graph_014_slot_and_holds_are_given_back_between_attempts() {
    let mut run = script(|g| {
        g.task("a").retry(attempts(2)).hold(Hold::exclusive("db"));
        g.task("b").hold(Hold::exclusive("db"));
    })
    .jobs(1)
    .run();
    assert_eq!(
        run.fails("a"),
        [
            "release a",
            "a gave its holds back",
            "a again (2) in 1s: boom",
            "ask for b",
            "b has its holds",
            "b started",
            "execute b",
        ]
    );
    assert_eq!(run.passes(1000), [""; 0]);
    assert_eq!(
        run.succeeds("b")[3..],
        ["ask for a", "a has its holds", "execute a (2)"],
        "it asks again, and starts no second time"
    );
}

#[test]
fn graph_014_a_success_or_a_permanent_failure_ends_the_attempts() {
    let mut run = script(|g| {
        g.task("a").retry(attempts(9));
        g.task("b").retry(attempts(9));
        g.task("c").retry(attempts(9));
    })
    .run();
    run.fails("a");
    run.passes(1000);
    assert_eq!(run.succeeds("a"), ["a succeeded"]);
    let permanent = TaskEnd::Failed(TaskFailure::new("no use").permanent());
    assert_eq!(run.executed("b", permanent), ["b failed: no use"]);
    assert_eq!(run.stops("c"), ["c cancelled: by itself"]);
    assert!(run.is_done());
}

#[test]
fn graph_014_the_same_seed_gives_the_same_jitter_within_its_bounds() {
    let delays = |seed: u64| {
        let mut builder = crate::Topology::builder();
        let backoff = Backoff::fixed(seconds(10)).jitter(0.5).expect("a good jitter");
        for index in 0..20 {
            builder.task(&format!("t{index:02}")).retry(Retry { attempts: 2, backoff });
        }
        let graph = std::sync::Arc::new(builder.build().expect("a good graph"));
        let limits = crate::Limits::unlimited();
        let mut machine = crate::Machine::new(&graph, &limits, OnFailure::KeepGoing, None, seed);
        let now = holdpoint_core::Monotonic::ZERO;
        machine.handle(now, crate::Input::Start(holdpoint_core::Timestamp::from_micros(0)));
        for task in graph.tasks() {
            let end = TaskEnd::Failed(TaskFailure::new("boom"));
            machine.handle(now, crate::Input::Executed(task, end));
        }
        let mut delays = Vec::new();
        while let Some(effect) = machine.next_effect() {
            if let crate::Effect::Event(event) = effect
                && let crate::TaskEventKind::Retry { delay, .. } = event.kind
            {
                delays.push(delay);
            }
        }
        delays
    };
    let first = delays(1);
    assert_eq!(first, delays(1));
    assert_ne!(first, delays(2));
    assert_eq!(first.len(), 20);
    assert!(first.iter().all(|delay| (seconds(5)..=seconds(10)).contains(delay)), "{first:?}");
    assert!(first.iter().any(|delay| *delay != first[0]), "they differ among each other");
}

/// The limit is of one attempt; the delay between two does not count.
#[test]
fn graph_014_a_timeout_is_of_each_attempt() {
    let mut run = script(|g| _ = g.task("a").timeout(seconds(2)).retry(attempts(2))).run();
    assert_eq!(run.deadline(), Some(2000));
    assert_eq!(run.passes(2000), ["cancel a: timeout: timed out after 2s"]);
    assert_eq!(run.stops("a"), ["a again (2) in 1s: timed out after 2s"]);
    assert_eq!(run.passes(1000), ["execute a (2)"]);
    assert_eq!(run.deadline(), Some(5000));
    run.passes(2000);
    assert_eq!(run.stops("a"), ["a failed: timed out after 2s"]);
    let report = run.report();
    let crate::Outcome::Failed { failure, .. } = report.outcome(crate::TaskId(0)) else { panic!() };
    assert_eq!(failure.code(), Some("timeout"));
}

#[test]
fn graph_014_what_succeeds_although_it_was_late_has_succeeded() {
    let mut run = script(|g| _ = g.task("a").timeout(seconds(2))).run();
    run.passes(2000);
    assert_eq!(run.succeeds("a"), ["a succeeded"]);
}

#[test]
fn graph_014_an_attempt_that_ignores_its_token_is_dropped_after_the_grace() {
    let retry = Retry { attempts: 2, backoff: Backoff::fixed(Duration::ZERO) };
    let mut run = script(|g| _ = g.task("a").timeout(seconds(2)).retry(retry)).run();
    run.passes(2000);
    assert_eq!(run.deadline(), Some(7000));
    let lines = ["abort a", "a again (2) in 0ns: timed out after 2s", "execute a (2)"];
    assert_eq!(run.passes(5000), lines);
    run.cancel();
    assert_eq!(run.stops("a"), ["a cancelled: user: enough"], "the last attempt was not aborted");
}

#[test]
fn graph_014_lookups_and_waiting_do_not_count_against_a_timeout() {
    let mut run = script(|g| {
        g.task("a").timeout(seconds(2)).lookup().hold(Hold::exclusive("db"));
        g.task("b").hold(Hold::exclusive("db"));
    })
    .run();
    assert_eq!(run.deadline(), None);
    run.passes(5000);
    run.misses("a");
    assert_eq!(run.deadline(), None, "it waits for `b`");
    run.passes(5000);
    run.succeeds("b");
    assert_eq!(run.deadline(), Some(12_000));
}

fn cleanup(on_failure: OnFailure) -> Run {
    script(|g| {
        g.task("deploy");
        g.task("check").needs("deploy");
        g.task("notify").finally("check");
        g.task("other").needs("notify");
        g.task("archive").needs("notify").finally("deploy");
    })
    .on_failure(on_failure)
    .run()
}

#[test]
fn graph_014_finally_runs_after_success_and_after_failure() {
    let mut run = cleanup(OnFailure::KeepGoing);
    assert_eq!(executing(&run.succeeds("deploy")), ["check"]);
    assert_eq!(executing(&run.succeeds("check")), ["notify"]);
    assert_eq!(executing(&run.succeeds("notify")), ["archive", "other"]);

    let mut run = cleanup(OnFailure::KeepGoing);
    run.succeeds("deploy");
    assert_eq!(executing(&run.fails("check")), ["notify"]);
    assert_eq!(executing(&run.succeeds("notify")), ["archive", "other"]);
}

#[test]
fn graph_014_graph_007_finally_runs_although_the_run_stops() {
    for on_failure in [OnFailure::Stop, OnFailure::FailFast] {
        let mut run = cleanup(on_failure);
        let lines = run.fails("deploy");
        assert_eq!(executing(&lines), ["notify"], "what it waits for was skipped, which is an end");
        assert_eq!(executing(&run.succeeds("notify")), ["archive"], "`other` is no finally-task");
        run.succeeds("archive");
        let report = run.report();
        assert_eq!((report.counts().fresh, report.counts().failed), (2, 1));
    }
}

#[test]
fn graph_014_a_finally_task_that_needs_what_was_stopped_is_skipped() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b");
        g.task("c").needs("b").finally("a");
        g.task("d").needs("c").finally("b");
    })
    .jobs(1)
    .on_failure(OnFailure::Stop)
    .run();
    assert_eq!(
        run.fails("a"),
        [
            "a failed: boom",
            "b skipped: stopped by a",
            "c skipped: b was skipped",
            "d skipped: b was skipped",
        ]
    );
    assert!(run.is_done());
}

#[test]
fn graph_014_graph_009_finally_tasks_do_not_begin_after_a_cancel() {
    let mut run = cleanup(OnFailure::KeepGoing);
    run.cancel();
    assert_eq!(run.succeeds("deploy"), ["deploy succeeded"]);
    assert!(run.is_done());
}

#[test]
fn graph_014_graph_007_a_stop_between_attempts_leaves_the_last_failure() {
    let mut run = script(|g| {
        g.task("a").retry(attempts(3));
        g.task("b").retry(attempts(3));
        g.task("c").retry(attempts(3)).hold(Hold::exclusive("db"));
        g.task("d").hold(Hold::exclusive("db"));
        g.task("z");
    })
    .on_failure(OnFailure::Stop)
    .run();
    run.fails("a");
    run.errs("b");
    run.fails("c");
    run.passes(1000);
    // `a` and `b` run again and `c` waits for its hold.
    run.fails("a");
    run.errs("b");
    assert_eq!(
        run.fails("z"),
        ["z failed: boom", "a failed: boom", "b errored: boom", "release c", "c failed: boom",]
    );
    assert_eq!(run.deadline(), None);
}
