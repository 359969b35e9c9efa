//! Slots and tag caps: who takes them, and that nobody keeps one while waiting (GRAPH-004).

use std::time::Duration;

use holdpoint_core::Backoff;

use super::script::{executing, script};
use crate::{Hold, Limits, Retry};

#[test]
fn graph_004_a_task_takes_its_weight_in_slots() {
    let (mut run, lines) = script(|g| {
        g.task("a").weight(2);
        g.task("b").weight(2);
        g.task("c");
        g.task("d");
    })
    .jobs(3)
    .start();
    assert_eq!(executing(&lines), ["a", "c"], "weight 2 and the default of 1");
    assert_eq!(executing(&run.succeeds("c")), ["d"]);
    assert_eq!(executing(&run.succeeds("d")), [""; 0]);
    assert_eq!(executing(&run.succeeds("a")), ["b"]);
}

#[test]
fn graph_004_a_tag_has_one_cap_across_projects() {
    let (mut run, lines) = script(|g| {
        g.task("app:a").tag("net");
        g.task("lib:a").tag("net");
        g.task("lib:b").tag("net").tag("disk");
        g.task("lib:c").tag("disk");
        g.task("lib:d").tag("free");
        g.task("lib:e").tag("free");
    })
    .limits(Limits::unlimited().tag("net", 2).tag("disk", 1).tag("unused", 1))
    .start();
    assert_eq!(executing(&lines), ["app:a", "lib:a", "lib:c", "lib:d", "lib:e"]);
    assert_eq!(executing(&run.succeeds("app:a")), [""; 0], "`lib:b` waits for its other tag");
    assert_eq!(executing(&run.succeeds("lib:c")), ["lib:b"]);
}

#[test]
fn graph_004_the_weight_counts_once_against_a_tag() {
    let (_, lines) = script(|g| {
        g.task("a").weight(3).tag("net");
        g.task("b").weight(3).tag("net");
        g.task("c").weight(3).tag("net");
    })
    .limits(Limits::jobs(9).tag("net", 2))
    .start();
    assert_eq!(executing(&lines), ["a", "b"]);
}

#[test]
fn graph_004_lookups_are_in_flight_too() {
    let (mut run, lines) = script(|g| {
        g.task("a").lookup();
        g.task("b");
    })
    .jobs(1)
    .start();
    assert_eq!(lines, ["look up a"]);
    assert_eq!(run.misses("a"), ["a missed", "a started", "execute a"], "on the same slot");
    assert_eq!(executing(&run.succeeds("a")), ["b"]);
}

#[test]
fn graph_004_ba_1_every_end_gives_the_slot_back() {
    let mut run = script(|g| {
        for name in ["a", "b", "c", "d", "e", "f"] {
            g.task(name).lookup().tag("one");
        }
    })
    .limits(Limits::jobs(1).tag("one", 1))
    .run();
    assert_eq!(run.hits("a"), ["a hit", "look up b"]);
    run.misses("b");
    assert_eq!(run.fails("b"), ["b failed: boom", "look up c"]);
    run.misses("c");
    assert_eq!(run.errs("c"), ["c errored: boom", "look up d"]);
    run.misses("d");
    assert_eq!(run.stops("d"), ["d cancelled: by itself", "look up e"]);
    run.looked_up("e", crate::Lookup::Skip("unwanted".into()));
    assert_eq!(run.hits("f"), ["f hit"]);
    assert!(run.is_done());
}

/// Whatever a task waits for, a cap of one serves another meanwhile.
#[test]
fn graph_004_graph_006_graph_014_graph_018_waiting_of_any_kind_takes_no_slot() {
    let limits = || Limits::jobs(1).tag("one", 1);
    // For holds.
    let mut run = script(|g| {
        g.task("a").hold(Hold::exclusive("db"));
        g.task("b").hold(Hold::exclusive("db")).tag("one");
        g.task("c").tag("one");
    })
    .limits(Limits::jobs(2).tag("one", 1))
    .run();
    assert_eq!(executing(&run.succeeds("a")), [""; 0], "`b` is due, and `c` has the tag");
    assert_eq!(executing(&run.succeeds("c")), ["b"]);

    // At a gate.
    let (mut run, lines) = script(|g| {
        g.task("a").gated().tag("one");
        g.task("b").tag("one");
    })
    .limits(limits())
    .start();
    assert_eq!(executing(&lines), ["b"]);
    assert_eq!(executing(&run.opens("a")), [""; 0]);
    assert_eq!(executing(&run.succeeds("b")), ["a"]);

    // Between attempts.
    let backoff = Backoff::fixed(Duration::from_secs(1));
    let mut run = script(|g| {
        g.task("a").tag("one").retry(Retry { attempts: 2, backoff });
        g.task("b").tag("one");
    })
    .limits(limits())
    .run();
    assert_eq!(executing(&run.fails("a")), ["b"]);
    assert_eq!(executing(&run.passes(1000)), [""; 0]);
    assert_eq!(executing(&run.succeeds("b")), ["a (2)"]);
}

#[test]
fn graph_004_the_limit_is_a_number_or_the_cores() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    assert_eq!(Limits::cores().slots() as usize, cores);
    assert_eq!(Limits::default(), Limits::cores());
    assert_eq!(Limits::jobs(7).slots(), 7);
    assert_eq!(Limits::unlimited().slots(), u32::MAX);
}
