//! When a task is ready, and which of the ready ones comes first (GRAPH-002, GRAPH-003).

use std::time::Duration;

use super::script::{executing, script};
use crate::{Hold, Limits};

#[test]
fn graph_002_gr_1_a_task_waits_for_all_before_it() {
    let (mut run, lines) = script(|g| {
        g.task("a");
        g.task("b");
        g.task("c").needs("a").after("b");
    })
    .start();
    assert_eq!(executing(&lines), ["a", "b"]);
    assert_eq!(run.succeeds("a"), ["a succeeded"]);
    assert_eq!(run.succeeds("b"), ["b succeeded", "c started", "execute c"]);
}

#[test]
fn graph_002_cd_23_a_soft_edge_orders_whatever_the_outcome() {
    let mut run = script(|g| {
        g.task("lint").lookup();
        g.task("test").after("lint");
    })
    .run();
    assert_eq!(run.misses("lint"), ["lint missed", "lint started", "execute lint"]);
    assert_eq!(run.fails("lint"), ["lint failed: boom", "test started", "execute test"]);
}

#[test]
fn graph_002_a_soft_successor_goes_on_when_what_it_waited_for_is_skipped() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b").needs("a");
        g.task("c").after("b");
    })
    .run();
    let lines = ["a failed: boom", "b skipped: a failed", "c started", "execute c"];
    assert_eq!(run.fails("a"), lines);
}

#[test]
fn graph_002_gr_1_a_hard_edge_needs_a_success_that_counts() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b").needs("a");
        g.task("c").allow_failure();
        g.task("d").needs("c");
    })
    .run();
    assert_eq!(run.fails("a"), ["a failed: boom", "b skipped: a failed"]);
    assert_eq!(run.fails("c"), ["c failed (allowed): boom", "d started", "execute d"]);
}

#[test]
fn graph_003_ready_tasks_start_in_canonical_order() {
    let names = ["z", "b:a", "a:z", "m", "a:b", "ab:a", "a.b:a", "a-b:c", "t10", "t9"];
    let (_, lines) = script(|g| names.iter().for_each(|name| _ = g.task(name))).start();
    let order = ["m", "t10", "t9", "z", "a:b", "a:z", "a-b:c", "a.b:a", "ab:a", "b:a"];
    assert_eq!(executing(&lines), order, "by project, none first; then by task");
}

/// Long names alike at the beginning are still told apart.
#[test]
fn graph_003_names_are_compared_whole() {
    let stem = "p".repeat(40);
    let names = [format!("{stem}:b"), format!("{stem}:a"), format!("{stem}b"), format!("{stem}a")];
    let (_, lines) = script(|g| names.iter().for_each(|name| _ = g.task(name))).start();
    assert_eq!(executing(&lines), [&names[3], &names[2], &names[1], &names[0]]);
}

#[test]
fn graph_003_cd_22_priority_comes_before_the_longest_path_and_that_before_the_name() {
    let (_, lines) = script(|g| {
        let seconds = Duration::from_secs;
        g.task("a").expected(seconds(1));
        g.task("b").expected(seconds(3));
        // A short task, but a long way to go behind it.
        g.task("c").expected(seconds(1));
        g.task("c2").expected(seconds(9)).needs("c");
        g.task("d").priority(1);
        g.task("e").priority(-1).expected(seconds(99));
        g.task("f").priority(1).expected(seconds(1));
    })
    .start();
    assert_eq!(executing(&lines), ["f", "d", "c", "b", "a", "e"]);
}

#[test]
fn graph_003_the_longest_path_counts_every_kind_of_edge() {
    let (_, lines) = script(|g| {
        let hour = Duration::from_secs(3600);
        g.task("a");
        g.task("b");
        g.task("c");
        g.task("d");
        g.task("after-d").after("d").expected(hour);
        g.task("after-c").finally("c").expected(2 * hour);
        g.task("after-b").needs("b").expected(3 * hour);
    })
    .start();
    assert_eq!(executing(&lines), ["b", "c", "d", "a"]);
}

#[test]
fn graph_003_a_task_blocked_by_a_cap_blocks_nobody() {
    let (mut run, lines) = script(|g| {
        g.task("a").tag("heavy");
        g.task("b").tag("heavy");
        g.task("c").weight(3);
        g.task("d").weight(2);
        g.task("e");
    })
    .limits(Limits::jobs(3).tag("heavy", 1))
    .start();
    // `b` waits for the tag and `c` for slots; `d` and `e` pass both.
    assert_eq!(executing(&lines), ["a", "d"]);
    assert_eq!(executing(&run.succeeds("d")), ["e"]);
    assert_eq!(executing(&run.succeeds("a")), ["b"]);
    assert_eq!(executing(&run.succeeds("e")), [""; 0]);
    assert_eq!(executing(&run.succeeds("b")), ["c"]);
}

#[test]
fn graph_003_a_task_that_waits_for_holds_delays_only_those_in_conflict() {
    let (mut run, lines) = script(|g| {
        g.task("a").hold(Hold::shared("db"));
        g.task("b").hold(Hold::exclusive("db"));
        g.task("c").hold(Hold::shared("db"));
        g.task("d").hold(Hold::exclusive("log"));
        g.task("e");
    })
    .start();
    assert_eq!(executing(&lines), ["a", "d", "e"], "`c` comes after `b`, which waits");
    assert_eq!(executing(&run.succeeds("a")), ["b"]);
    assert_eq!(executing(&run.succeeds("b")), ["c"]);
}

/// A task that must wait for its holds takes no slot from those after it, not even for the
/// moment of asking.
#[test]
fn graph_003_graph_004_who_waits_for_holds_changes_nothing_for_the_next() {
    let (_, lines) = script(|g| {
        g.task("a").hold(Hold::exclusive("db"));
        g.task("b").hold(Hold::exclusive("db"));
        g.task("c").weight(3);
        g.task("d");
    })
    .jobs(4)
    .start();
    assert_eq!(executing(&lines), ["a", "c"]);
}
