//! What a failure does to the rest, and that everything ends once (GRAPH-007, GRAPH-008).

use super::script::{Run, executing, script};
use crate::{Hold, OnFailure, Outcome, SkipCause, Source, TaskId, UpstreamEnd};

#[test]
fn graph_007_keep_going_skips_only_what_needs_the_failed_task() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b").needs("a");
        g.task("c").needs("b");
        g.task("d").after("c");
        g.task("e");
        g.task("f").needs("e");
    })
    .run();
    assert_eq!(
        run.fails("a"),
        [
            "a failed: boom",
            "b skipped: a failed",
            // The root, not the nearest one.
            "c skipped: a failed",
            "d started",
            "execute d",
        ]
    );
    assert_eq!(executing(&run.succeeds("e")), ["f"]);
}

#[test]
fn graph_007_gr_3_a_diamond_below_a_failure_is_skipped_once() {
    let mut run = script(|g| {
        g.task("top");
        g.task("left").needs("top");
        g.task("right").needs("top");
        g.task("bottom").needs("left").needs("right");
    })
    .run();
    let lines = run.fails("top");
    let skipped = ["bottom", "left", "right"].map(|name| format!("{name} skipped: top failed"));
    assert_eq!(lines[0], "top failed: boom");
    assert_eq!(lines[1..], skipped, "in order of names, each once");
    assert!(run.is_done());
}

#[test]
fn graph_007_the_first_of_several_failures_is_the_root() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b");
        g.task("c").needs("a").needs("b");
    })
    .run();
    assert_eq!(run.errs("b"), ["b errored: boom", "c skipped: b errored"]);
    assert_eq!(run.fails("a"), ["a failed: boom"]);
    assert!(run.is_done());
}

#[test]
fn graph_007_how_the_root_ended_is_told() {
    let mut run = script(|g| {
        for name in ["f", "e", "s", "c"] {
            g.task(name).lookup();
            g.task(&format!("{name}2")).needs(name);
        }
    })
    .run();
    for name in ["f", "e", "c"] {
        run.misses(name);
    }
    run.fails("f");
    run.errs("e");
    run.looked_up("s", crate::Lookup::Skip("unwanted".into()));
    run.stops("c");
    let report = run.report();
    let how = |name: &str| {
        let task = report.topology().find(name).expect("a task");
        match report.outcome(task) {
            Outcome::Skipped(SkipCause::Upstream { root, how }) => {
                assert_eq!(report.topology().name(root), &name[..1]);
                how
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(how("f2"), UpstreamEnd::Failed);
    assert_eq!(how("e2"), UpstreamEnd::Errored);
    assert_eq!(how("s2"), UpstreamEnd::Skipped);
    assert_eq!(how("c2"), UpstreamEnd::Cancelled);
}

/// Tasks that run, wait for holds, at a gate, for a slot, and for others.
fn busy(on_failure: OnFailure) -> Run {
    script(|g| {
        g.task("bad");
        g.task("runs").hold(Hold::exclusive("db"));
        g.task("looks").lookup();
        g.task("gate").gated();
        g.task("then").needs("runs");
        g.task("waits").hold(Hold::exclusive("db"));
        g.task("wide").weight(9);
    })
    .jobs(10)
    .on_failure(on_failure)
    .run()
}

#[test]
fn graph_007_stop_admits_nothing_after_the_first_failure() {
    let mut run = busy(OnFailure::Stop);
    assert_eq!(
        run.fails("bad"),
        [
            "bad failed: boom",
            "drop gate of gate",
            "gate skipped: stopped by bad",
            "then skipped: stopped by bad",
            "release waits",
            "waits skipped: stopped by bad",
            "wide skipped: stopped by bad",
        ]
    );
    // What runs may finish, and a lookup too; but it is not executed.
    assert_eq!(run.misses("looks"), ["looks skipped: stopped by bad"]);
    let lines = ["release runs", "runs gave its holds back", "runs succeeded"];
    assert_eq!(run.succeeds("runs"), lines);
    assert!(run.is_done());
}

#[test]
fn graph_007_graph_008_cd_2_fail_fast_cancels_the_rest() {
    let mut run = busy(OnFailure::FailFast);
    let by = "cancelled: internal: task bad failed, by bad";
    assert_eq!(
        run.fails("bad"),
        [
            "bad failed: boom".to_owned(),
            "drop gate of gate".to_owned(),
            format!("gate {by}"),
            format!("then {by}"),
            "release waits".to_owned(),
            format!("waits {by}"),
            format!("wide {by}"),
            "cancel runs: internal: task bad failed".to_owned(),
            "cancel looks: internal: task bad failed".to_owned(),
        ]
    );
    assert_eq!(run.misses("looks"), [format!("looks {by}")]);
    let lines = run.stops("runs");
    assert_eq!(lines[2], format!("runs {by}"));
    assert!(run.is_done());
}

#[test]
fn graph_007_fail_fast_keeps_what_really_finished() {
    let mut run = busy(OnFailure::FailFast);
    run.fails("bad");
    assert_eq!(run.hits("looks"), ["looks hit"]);
    assert_eq!(run.fails("runs")[2], "runs failed: boom");
    let report = run.report();
    assert_eq!((report.counts().failed, report.counts().cached), (2, 1));
}

#[test]
fn graph_007_an_allowed_failure_neither_stops_nor_counts() {
    for on_failure in [OnFailure::KeepGoing, OnFailure::Stop, OnFailure::FailFast] {
        let mut run = script(|g| {
            g.task("a").allow_failure();
            g.task("b").allow_failure().needs("a");
            g.task("c").needs("b");
        })
        .on_failure(on_failure)
        .run();
        assert_eq!(executing(&run.fails("a")), ["b"]);
        assert_eq!(executing(&run.errs("b")), ["c"]);
        run.succeeds("c");
        let report = run.report();
        assert!(report.is_success());
        assert_eq!((report.counts().allowed, report.counts().fresh), (2, 1));
        let marked = |outcome| matches!(outcome, Outcome::Failed { allowed: true, .. });
        assert!(marked(report.outcome(TaskId(0))), "it is marked");
    }
}

/// The predecessor left tasks without any outcome when a run was cut short.
#[test]
fn graph_008_cd_2_gr_3_every_task_has_an_end_however_the_run_is_cut_short() {
    let outcomes = |on_failure, cancel: bool| {
        let mut run = script(|g| {
            g.task("a");
            g.task("b");
            g.task("c").needs("b");
            g.task("d").needs("c");
            g.task("e").after("d");
        })
        .jobs(1)
        .on_failure(on_failure)
        .run();
        if cancel {
            run.cancel();
            run.stops("a");
        } else {
            run.fails("a");
            while !run.is_done() {
                run.succeeds("b");
                run.succeeds("c");
                run.succeeds("d");
                run.succeeds("e");
            }
        }
        run.outcomes()
    };
    let all = |rest: &str| ["b", "c", "d", "e"].map(|name| format!("{name} {rest}")).to_vec();
    let keep_going = outcomes(OnFailure::KeepGoing, false);
    assert_eq!(keep_going[1..], all("succeeded"));
    let stop = outcomes(OnFailure::Stop, false);
    assert_eq!(stop[1..], all("skipped: stopped by a"));
    let fail_fast = outcomes(OnFailure::FailFast, false);
    assert_eq!(fail_fast[1..], all("cancelled: internal: task a failed, by a"));
    let cancelled = outcomes(OnFailure::KeepGoing, true);
    assert_eq!(cancelled[0], "a cancelled: user: enough");
    assert_eq!(cancelled[1..], all("cancelled: user: enough"));
}

/// The predecessor told of a start and never of an end where the work could not be done.
#[test]
fn graph_008_cd_3_what_errored_has_its_one_end_too() {
    let mut run = script(|g| {
        g.task("a").hold(Hold::exclusive("db"));
        g.task("b").needs("a");
    })
    .run();
    let lines = run.errs("a");
    assert_eq!(
        lines,
        ["release a", "a gave its holds back", "a errored: boom", "b skipped: a errored"]
    );
    let report = run.report();
    assert_eq!((report.counts().errored, report.counts().skipped), (1, 1));
    assert!(!report.is_success());
}

#[test]
fn graph_008_the_report_has_one_row_a_task_in_canonical_order() {
    let mut run = script(|g| {
        g.task("p:b").lookup();
        g.task("p:a");
        g.task("z").needs("p:a");
    })
    .run();
    run.passes(1500);
    run.hits("p:b");
    run.passes(500);
    run.fails("p:a");
    let report = run.report();
    let rows: Vec<_> = report.rows().collect();
    assert_eq!(rows.iter().map(|row| row.task).collect::<Vec<_>>(), ["z", "p:a", "p:b"]);
    let millis = |row: &crate::Row<'_>| {
        (row.attempts, row.started.map(|time| time.as_millis()), row.finished.as_millis())
    };
    let times: Vec<_> = rows.iter().map(millis).collect();
    assert_eq!(times, [(0, None, 2000), (1, Some(0), 2000), (0, None, 1500)]);
    assert!(matches!(rows[2].outcome, Outcome::Succeeded(Source::Cache)));
    assert!(matches!(rows[0].outcome, Outcome::Skipped(SkipCause::Upstream { .. })));
}

#[test]
fn graph_008_the_critical_path_is_the_longest_chain_of_executions() {
    let mut run = script(|g| {
        g.task("a");
        g.task("b").needs("a");
        g.task("c").needs("a").lookup();
        g.task("d").after("b").needs("c");
        g.task("e");
    })
    .run();
    run.passes(1000);
    run.succeeds("a");
    run.passes(100);
    run.hits("c");
    run.passes(900);
    run.succeeds("b");
    run.passes(500);
    run.succeeds("d");
    run.passes(100);
    run.succeeds("e");
    let report = run.report();
    let (path, length) = report.critical_path();
    assert_eq!(path, ["e"], "it ran all the time");
    assert_eq!(length.as_millis(), 2600);

    let mut run = script(|g| {
        g.task("a");
        g.task("b").needs("a");
        g.task("c");
    })
    .run();
    run.passes(10);
    run.succeeds("c");
    run.succeeds("a");
    run.passes(10);
    run.succeeds("b");
    let report = run.report();
    assert_eq!(report.critical_path().0, ["a", "b"]);
}
