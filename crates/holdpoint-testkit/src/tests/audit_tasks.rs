//! G1, G4, GRAPH-009, SE-8 and G9, and what a claim in a pause hides.

use holdpoint_core::event::EventKind;

use super::words::{
    acquires, answered, asked, cancel_requested, done, events, exclusive, exited, failed, fails,
    found, hit, in_session, interrupted, judge, missed, paused, planned, process, releases,
    resumed, retry, rules, session, session_stream, skipped, started, starts, succeeds, task,
};
use crate::Audit;
use crate::audit::{Edge, Edges};

#[test]
fn audit_is_silent_on_what_tasks_may_do() {
    let db = exclusive("db");
    assert_eq!(
        in_session(vec![
            missed("a"),
            acquires("a", &db),
            starts("a"),
            process("a", 7, 1, 1),
            exited("a", 7),
            releases("a", &db),
            retry("a", 1),
            acquires("a", &db),
            process("a", 7, 1, 2),
            exited("a", 7),
            releases("a", &db),
            succeeds("a"),
            hit("b"),
            found("b"),
            found("c"),
            missed("d"),
            skipped("d"),
            fails("e", false),
        ]),
        []
    );
}

#[test]
fn audit_finds_two_ends_of_a_task() {
    assert_eq!(in_session(vec![starts("a"), succeeds("a"), fails("a", false)]), [("G4", 5)]);
    assert_eq!(in_session(vec![skipped("a"), skipped("a")]), [("G4", 4)]);
}

#[test]
fn audit_finds_a_task_without_end() {
    assert_eq!(in_session(vec![starts("a")]), [("G4", 4)]);
    assert_eq!(in_session(vec![missed("a")]), [("G4", 4)]);
    let panicked = holdpoint_core::session::Failure::panic("boom");
    let torn = vec![planned(1), started(1), starts("a"), EventKind::SessionFailed(panicked)];
    assert_eq!(session(torn), [], "a panic tears down what the body was about");
    let at_rest = vec![planned(1), started(1), starts("a")];
    assert_eq!(session(at_rest), [("S2", 3), ("G4", 3)]);
}

#[test]
fn audit_finds_a_task_that_goes_on_after_its_end() {
    assert_eq!(in_session(vec![skipped("a"), starts("a")]), [("G4", 4)]);
    assert_eq!(in_session(vec![starts("a"), succeeds("a"), retry("a", 1)]), [("G4", 5)]);
}

#[test]
fn audit_finds_a_second_start() {
    assert_eq!(in_session(vec![starts("a"), starts("a"), succeeds("a")]), [("G4", 4)]);
}

#[test]
fn audit_finds_a_hit_with_a_start() {
    assert_eq!(in_session(vec![hit("a"), starts("a"), succeeds("a")]), [("G4", 4)]);
    assert_eq!(in_session(vec![starts("a"), hit("a"), succeeds("a")]), [("G4", 4)]);
    assert_eq!(in_session(vec![starts("a"), found("a")]), [("G4", 4)]);
}

#[test]
fn audit_finds_an_end_that_does_not_fit_what_was_done() {
    assert_eq!(in_session(vec![succeeds("a")]), [("G4", 3)]);
    assert_eq!(in_session(vec![starts("a"), skipped("a")]), [("G4", 4)]);
}

#[test]
fn audit_finds_attempts_out_of_order() {
    assert_eq!(in_session(vec![retry("a", 1), starts("a"), succeeds("a")]), [("G4", 3)]);
    assert_eq!(in_session(vec![starts("a"), retry("a", 2), succeeds("a")]), [("G4", 4)]);
    assert_eq!(
        in_session(vec![starts("a"), retry("a", 1), retry("a", 1), succeeds("a")]),
        [("G4", 5)]
    );
}

#[test]
fn audit_finds_processes_that_are_not_paired() {
    let run =
        |middle: &[EventKind]| in_session([&[starts("a")], middle, &[fails("a", false)]].concat());
    assert_eq!(run(&[process("a", 7, 1, 1)]), [("G9", 5)]);
    assert_eq!(run(&[exited("a", 7)]), [("G9", 4)]);
    assert_eq!(run(&[process("a", 7, 1, 1), exited("a", 7), exited("a", 7)]), [("G9", 6)]);
    assert_eq!(run(&[process("a", 7, 1, 1), exited("a", 8), exited("a", 7)]), [("G9", 5)]);
    let two = [process("a", 7, 1, 1), process("a", 8, 1, 1), exited("a", 7), exited("a", 8)];
    assert_eq!(run(&two), [("G9", 5)]);
    assert_eq!(run(&[process("a", 7, 1, 1), retry("a", 1), exited("a", 7)]), [("G9", 5)]);
    assert_eq!(run(&[process("a", 7, 1, 2), exited("a", 7)]), [("G9", 4)]);
    assert_eq!(run(&[process("a", 7, 2, 1), exited("a", 7)]), [("G9", 4)]);
    let before = vec![process("a", 7, 1, 1), exited("a", 7), starts("a"), succeeds("a")];
    assert_eq!(in_session(before), [("G9", 3)]);
    let one_pid = vec![
        starts("a"),
        starts("b"),
        process("a", 7, 1, 1),
        process("b", 7, 1, 1),
        exited("b", 7),
        succeeds("a"),
        succeeds("b"),
    ];
    assert_eq!(in_session(one_pid)[0], ("G9", 6));
}

#[test]
fn audit_lets_each_start_begin_tasks_anew() {
    let run = vec![
        planned(1),
        started(1),
        starts("a"),
        process("a", 7, 1, 1),
        acquires("", &exclusive("db")),
        interrupted(),
        resumed(2),
        acquires("b", &exclusive("db")),
        releases("b", &exclusive("db")),
        skipped("b"),
        starts("a"),
        succeeds("a"),
        failed(),
        planned(2),
        started(3),
        starts("a"),
        succeeds("a"),
        done(),
    ];
    assert_eq!(session(run), []);
}

#[test]
fn audit_finds_what_succeeded_executed_again_where_that_is_recorded() {
    let again = |between: &[EventKind]| {
        let first = [planned(1), started(1), starts("a"), succeeds("a")];
        let last = [starts("a"), succeeds("a"), done()];
        let kinds = [&first, between, &last].concat();
        rules(&judge(Audit::new().durable(), &events(session_stream(), kinds)))
    };
    assert_eq!(again(&[interrupted(), resumed(2)]), [("SE-8", 7)]);
    assert_eq!(again(&[failed(), planned(2), started(2)]), [], "a retry is asked for");
}

#[test]
fn audit_finds_a_start_after_a_cancel_where_cancels_are_prompt() {
    let run = |audit: Audit, between: &[EventKind]| {
        let first = [planned(1), started(1), cancel_requested("enough")];
        let last = [starts("a"), succeeds("a"), done()];
        rules(&judge(audit, &events(session_stream(), [&first, between, &last].concat())))
    };
    assert_eq!(run(Audit::new().prompt_cancels(), &[]), [("GRAPH-009", 4)]);
    assert_eq!(run(Audit::new(), &[]), []);
    let next_start = [interrupted(), resumed(2)];
    assert_eq!(run(Audit::new().prompt_cancels(), &next_start), []);
}

/// `c` needs `a` and comes after `b`.
fn with_edges(kinds: Vec<EventKind>) -> Vec<(&'static str, u64)> {
    let mut edges = Edges::default();
    edges.edge(task("c"), task("a"), Edge::Hard);
    edges.edge(task("c"), task("b"), Edge::Soft);
    let (stream, mut audit) = (session_stream(), Audit::new());
    audit.know_graph(stream.clone(), edges);
    let kinds = [vec![planned(1), started(1)], kinds, vec![done()]].concat();
    rules(&judge(audit, &events(stream, kinds)))
}

#[test]
fn audit_finds_a_start_before_its_turn() {
    let c = || vec![starts("c"), succeeds("c")];
    let after = |before: &[EventKind]| with_edges([before, &c()].concat());
    let (a, b) = ([starts("a"), succeeds("a")], [starts("b"), fails("b", false)]);
    assert_eq!(after(&[&a[..], &b].concat()), []);
    assert_eq!(after(&[&a[..], &[starts("b")]].concat())[0], ("G1", 6));
    let b_failed = [&b[..], &[starts("a"), fails("a", false)]].concat();
    assert_eq!(after(&b_failed), [("G1", 7)]);
    let allowed = [&b[..], &[starts("a"), fails("a", true)]].concat();
    assert_eq!(after(&allowed), []);
    let found_early = [&b[..], &[found("c")], &a].concat();
    assert_eq!(with_edges(found_early), [("G1", 5)]);
    let skipped_early = [&b[..], &[skipped("c"), starts("a"), fails("a", false)]].concat();
    assert_eq!(with_edges(skipped_early), [], "what never begins needs no turn");
    let over_starts = [&a[..], &b, &[starts("c"), interrupted(), resumed(2)]].concat();
    assert_eq!(after(&over_starts), [], "what has ended has ended");
}

#[test]
fn audit_finds_a_task_of_the_graph_that_was_never_told_of() {
    assert_eq!(with_edges(vec![starts("a"), succeeds("a"), skipped("b")]), [("G4", 6)]);
    assert_eq!(with_edges(vec![]), [], "a body may end before its graph begins");
}

#[test]
fn audit_tells_of_a_pause_when_it_is_clear_that_nobody_claimed_the_session_in_it() {
    let in_pause = |rest: &[EventKind]| {
        let before = [planned(1), started(1), starts("a"), paused(), asked(1), starts("a")];
        session([&before[..], rest].concat())
    };
    assert_eq!(in_pause(&[answered(1), resumed(1), succeeds("a"), done()]), [("G4", 6)]);
    // Start 2 began in the pause, without a word.
    assert_eq!(in_pause(&[answered(1), resumed(2), succeeds("a"), done()]), []);
    let known = [process("a", 9, 2, 1), exited("a", 9), answered(1), resumed(2), done()];
    assert_eq!(in_pause(&known), []);
    // From the next start on all is clear again.
    let clear = [answered(1), resumed(2), interrupted(), resumed(3), starts("a"), done()];
    assert_eq!(in_pause(&clear), [("G4", 12)]);
}
