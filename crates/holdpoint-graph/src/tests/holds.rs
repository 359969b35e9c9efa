//! Lookup, then holds, then execution; and how tasks wait for holds (GRAPH-005, GRAPH-006).

use std::time::Duration;

use holdpoint_core::Backoff;

use super::script::{executing, script};
use crate::{Hold, Limits, Lookup, Retry, Scope, TaskFailure};

fn db() -> Hold {
    Hold::exclusive("db")
}

#[test]
fn graph_005_a_hit_ends_without_touching_the_holds() {
    let (mut run, lines) = script(|g| {
        g.task("a").lookup().hold(db());
        g.task("b").hold(db());
    })
    .start();
    assert_eq!(lines, ["look up a", "ask for b", "b has its holds", "b started", "execute b"]);
    assert_eq!(run.hits("a"), ["a hit"], "though `b` has its hold");
}

#[test]
fn graph_005_a_miss_takes_the_holds_and_executes() {
    let (mut run, lines) = script(|g| _ = g.task("a").lookup().hold(db())).start();
    assert_eq!(lines, ["look up a"]);
    let lines = ["a missed", "ask for a", "a has its holds", "a started", "execute a"];
    assert_eq!(run.misses("a"), lines);
    assert_eq!(run.succeeds("a"), ["release a", "a gave its holds back", "a succeeded"]);
}

#[test]
fn graph_005_a_lookup_may_skip_or_fail_its_task() {
    let mut run = script(|g| {
        g.task("a").lookup();
        g.task("a2").needs("a");
        g.task("b").lookup();
        g.task("b2").needs("b");
    })
    .run();
    let lines = run.looked_up("a", Lookup::Skip("nothing to do".into()));
    assert_eq!(lines, ["a skipped: nothing to do", "a2 skipped: a was skipped"]);
    let lines = run.looked_up("b", Lookup::Errored(TaskFailure::new("disk")));
    assert_eq!(lines, ["b errored: disk", "b2 skipped: b errored"]);
}

#[test]
fn graph_005_a_task_without_lookup_executes_and_one_is_looked_up_once() {
    let backoff = Backoff::fixed(Duration::ZERO);
    let (mut run, lines) = script(|g| {
        g.task("a");
        g.task("b").lookup().retry(Retry { attempts: 2, backoff });
    })
    .start();
    assert_eq!(lines, ["a started", "execute a", "look up b"]);
    run.misses("b");
    run.fails("b");
    assert_eq!(run.passes(0), ["execute b (2)"]);
}

#[test]
fn graph_006_hold_003_one_that_waits_keeps_nothing_and_is_woken_by_the_release() {
    let (mut run, lines) = script(|g| {
        g.task("a").hold(db());
        g.task("b").hold(db());
        g.task("c");
    })
    .jobs(2)
    .start();
    assert_eq!(
        lines,
        [
            "ask for a",
            "a has its holds",
            "a started",
            "execute a",
            "ask for b",
            "b waits for holds",
            // On the slot that `b` would have had.
            "c started",
            "execute c",
        ]
    );
    assert_eq!(
        run.succeeds("a"),
        [
            "release a",
            "a gave its holds back",
            "a succeeded",
            "b has its holds",
            "b started",
            "execute b",
        ]
    );
}

/// A reserved task has its names, and waits for slots like any other; it starts once.
#[test]
fn graph_006_reserved_tasks_start_when_slot_and_caps_are_free_too() {
    let mut run = script(|g| {
        g.task("a").hold(db());
        g.task("b").hold(db()).tag("one");
        g.task("c").tag("one");
        g.task("d").hold(Hold::shared("db"));
    })
    .limits(Limits::jobs(2).tag("one", 1))
    .run();
    let lines = run.succeeds("a");
    assert_eq!(
        lines,
        [
            "release a",
            "a gave its holds back",
            "a succeeded",
            "ask for d",
            "d waits for holds",
            // Its names are kept for it, while `c` has the cap.
            "b has its holds",
        ]
    );
    assert_eq!(run.succeeds("c"), ["c succeeded", "b started", "execute b"]);
    assert_eq!(executing(&run.succeeds("b")), ["d"]);
}

#[test]
fn graph_006_hold_006_ho_1_cd_21_reserved_tasks_come_before_ready_ones_in_ticket_order() {
    let mut run = script(|g| {
        // `a` has the first name and asks last: priority decides who asks first.
        g.task("z").hold(db()).priority(3);
        g.task("y").hold(Hold::shared("db")).priority(2);
        g.task("a").hold(Hold::shared("db")).priority(1);
        g.task("b");
        g.task("c").needs("b");
    })
    .jobs(2)
    .run();
    // `z` and `b` run; `y` and `a` wait with their tickets.
    assert_eq!(executing(&run.succeeds("b")), ["c"]);
    assert_eq!(executing(&run.succeeds("z")), ["y"], "the first ticket, one slot");
    assert_eq!(executing(&run.succeeds("c")), ["a"]);
}

#[test]
fn graph_006_reserved_comes_before_ready_whatever_the_priority() {
    let mut run = script(|g| {
        g.task("a").hold(db());
        g.task("b").hold(db()).priority(-5);
        g.task("go");
        g.task("urgent").priority(9).needs("go");
    })
    .jobs(2)
    .run();
    // `a` and `go` run, since `b` is considered last: it asks when a slot is free.
    assert_eq!(executing(&run.succeeds("go")), ["urgent"]);
    assert_eq!(executing(&run.succeeds("urgent")), [""; 0], "`b` has asked, and waits");
    assert_eq!(executing(&run.succeeds("a")), ["b"]);
}

#[test]
fn graph_006_hold_005_ho_2_lists_in_any_order_do_not_deadlock() {
    let mut run = script(|g| {
        let [x, y, z] = ["x", "y", "z"].map(Hold::exclusive);
        g.task("a").hold(x.clone()).hold(y.clone());
        g.task("b").hold(y.clone()).hold(z.clone());
        g.task("c").hold(z).hold(x.clone());
        g.task("d").hold(y).hold(x);
    })
    .jobs(1)
    .run();
    for (done, next) in [("a", "b"), ("b", "c"), ("c", "d")] {
        assert_eq!(executing(&run.succeeds(done)), [next]);
    }
    run.succeeds("d");
    assert!(run.is_done());
}

/// A cap of one and a hold, wanted by two tasks in either order of asking.
#[test]
fn graph_006_ho_2_caps_and_holds_cannot_lock_each_other_out() {
    let mut run = script(|g| {
        g.task("a").hold(db()).tag("one");
        g.task("b").hold(db());
        g.task("c").tag("one").lookup().hold(db());
    })
    .limits(Limits::jobs(3).tag("one", 1))
    .run();
    // `b` waits for the hold; `c` waits for the tag and then, after a miss, for the hold.
    assert_eq!(executing(&run.succeeds("a")), ["b"]);
    assert_eq!(run.misses("c"), ["c missed", "ask for c", "c waits for holds"]);
    assert_eq!(executing(&run.succeeds("b")), ["c"]);
    run.succeeds("c");
    assert!(run.is_done());
}

#[test]
fn graph_006_counted_and_scoped_holds_are_kept_as_the_hold_set_says() {
    let app = holdpoint_core::Name::new("app").expect("a name");
    let (mut run, lines) = script(|g| {
        g.hold_capacity(Scope::Workspace, "gpu", 3);
        g.task("a").hold(Hold::units("gpu", 2));
        g.task("b").hold(Hold::units("gpu", 2));
        g.task("c").hold(Hold::units("gpu", 1));
        g.task("d").hold(Hold::exclusive("tmp"));
        g.task("e").hold(Hold::exclusive("tmp").in_project(app));
    })
    .start();
    assert_eq!(executing(&lines), ["a", "d", "e"], "units in ticket order; scopes apart");
    assert_eq!(executing(&run.succeeds("a")), ["b", "c"]);
}

/// The predecessor asked again in a loop, for as long as the holder ran. Here a task that waits
/// is asked for once, started once, and costs nothing while others come and go.
#[test]
fn graph_006_cd_1_waiting_does_nothing() {
    let (mut run, lines) = script(|g| {
        g.task("a").hold(db());
        g.task("b").hold(db()).lookup();
        for index in 0..50 {
            g.task(&format!("other{index:02}"));
        }
    })
    .jobs(2)
    .start();
    let mut all = lines;
    all.extend(run.misses("b"));
    for index in 0..50 {
        let lines = run.succeeds(&format!("other{index:02}"));
        assert!(
            !lines.iter().any(|line| line.contains(" b") || line.starts_with('b')),
            "{lines:?}"
        );
        all.extend(lines);
    }
    all.extend(run.succeeds("a"));
    all.extend(run.succeeds("b"));
    let count = |line: &str| all.iter().filter(|other| *other == line).count();
    for line in ["look up b", "ask for b", "b waits for holds", "b started", "execute b"] {
        assert_eq!(count(line), 1, "{line}");
    }
}

#[test]
fn graph_006_hold_006_a_withdrawn_ticket_lets_the_next_pass() {
    let mut run = script(|g| {
        g.task("a").hold(Hold::shared("db"));
        g.task("b").hold(db());
        g.task("c").finally("a2").hold(Hold::shared("db"));
        g.task("a2");
        g.task("d");
    })
    .on_failure(crate::OnFailure::Stop)
    .run();
    run.succeeds("a2");
    // `c` waits behind `b`, which is withdrawn when `d` stops the run.
    let lines = run.fails("d");
    assert_eq!(
        lines,
        [
            "d failed: boom",
            "release b",
            "b skipped: stopped by d",
            "c has its holds",
            "c started",
            "execute c",
        ]
    );
}
