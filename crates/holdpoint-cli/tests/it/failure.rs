//! What a failure does to the rest.

use crate::support::{Project, event, kinds};

const TASKS: &str = "
limits: { jobs: 1 }
tasks:
  a-bad: { run: 'exit 3' }
  b-needs: { needs: [a-bad], run: touch b-ran }
  c-needs: { needs: [b-needs], run: touch c-ran }
  d-after: { after: [a-bad], run: touch d-ran }
  e-other: touch e-ran
";

#[test]
fn graph_007_a_run_stops_at_the_first_failure() {
    let project = Project::new(TASKS);
    let (ran, events) = project.events(&["run", "--all"]);
    ran.ends_with(1).says("a-bad failed: exit code 3").says("not started: b-needs, c-needs");
    for (task, cause) in [
        ("b-needs", "upstream_failed"),
        ("c-needs", "upstream_failed"),
        ("d-after", "stopped"),
        ("e-other", "stopped"),
    ] {
        let skipped = event(&events, task, "task_skipped");
        assert_eq!((&skipped["cause"], &skipped["upstream"]), (&cause.into(), &"a-bad".into()));
    }
    assert!(!["b-ran", "c-ran", "d-ran", "e-ran"].iter().any(|mark| project.has(mark)));
    assert_eq!(events.last().unwrap()["message"], "1 task failed: a-bad");
}

#[test]
fn graph_007_keep_going_skips_only_what_needs_the_failed_task() {
    for flag in ["-k", "--keep-going"] {
        let project = Project::new(TASKS);
        let (ran, events) = project.events(&["run", "--all", flag]);
        ran.ends_with(1);
        let marks = ["b-ran", "c-ran", "d-ran", "e-ran"].map(|mark| project.has(mark));
        assert_eq!(marks, [false, false, true, true]);
        assert_eq!(event(&events, "c-needs", "task_skipped")["upstream"], "a-bad");
    }
}

#[test]
fn graph_007_fail_fast_cancels_what_runs() {
    let project = Project::new(
        "
limits: { jobs: 2 }
tasks:
  bad: 'until test -e running; do sleep 0.01; done; exit 1'
  slow: { run: 'touch running; sleep 600', timeout: 10m }
  later: { needs: [slow], run: touch later-ran }
",
    );
    let (ran, events) = project.events(&["run", "--all", "--fail-fast"]);
    ran.ends_with(1);
    for task in ["slow", "later"] {
        let cancelled = event(&events, task, "task_cancelled");
        assert_eq!(
            (&cancelled["cause"], &cancelled["upstream"]),
            (&"internal".into(), &"bad".into())
        );
    }
    assert_eq!(events.last().unwrap()["kind"], "session_failed");
    assert!(!project.has("later-ran"));
}

#[test]
fn graph_007_a_task_that_may_fail_counts_as_a_success() {
    let project = Project::new(
        "tasks: { lint: { run: exit 1, allow_failure: true }, test: { needs: [lint], run: touch ran } }",
    );
    let (ran, events) = project.events(&["run", "test"]);
    ran.ends_with(0).says("1 allowed to fail");
    assert_eq!(event(&events, "lint", "task_failed")["allowed"], true);
    assert!(project.has("ran"));
}

#[test]
fn graph_014_finally_tasks_run_however_what_they_follow_ended() {
    let tasks = |exit: u8| {
        format!(
            "
tasks:
  deploy: {{ run: 'exit {exit}' }}
  verify: {{ needs: [deploy], run: touch verified }}
  tidy: {{ finally: [deploy, verify], run: touch tidied }}
  tell: {{ finally: [tidy], run: touch told }}
"
        )
    };
    for (exit, code) in [(0, 0), (1, 1)] {
        for flags in
            [&["run", "verify"][..], &["run", "verify", "-k"], &["run", "verify", "--fail-fast"]]
        {
            let project = Project::new(&tasks(exit));
            project.run(flags).ends_with(code);
            let marks = ["verified", "tidied", "told"].map(|mark| project.has(mark));
            assert_eq!(marks, [exit == 0, true, true], "exit {exit}, {flags:?}");
        }
    }
}

#[test]
fn graph_014_a_condition_that_is_not_met_skips_a_task_and_fails_nothing() {
    let project = Project::new(
        "
tasks:
  lucky: { if: test -n \"$HOLDPOINT_TASK\", run: touch lucky-ran }
  unlucky: { if: 'echo not today >&2; false', run: touch unlucky-ran }
  needs: { needs: [unlucky], run: touch needs-ran }
",
    );
    let (ran, events) = project.events(&["run", "--all"]);
    ran.ends_with(0).says("unlucky  skipped    `if` ended with exit code 1: not today");
    let marks = ["lucky-ran", "unlucky-ran", "needs-ran"].map(|mark| project.has(mark));
    assert_eq!(marks, [true, false, false]);
    let skipped = event(&events, "unlucky", "task_skipped");
    assert_eq!(skipped["cause"], "condition");
    assert_eq!(skipped["message"], "`if` ended with exit code 1: not today");
    assert_eq!(event(&events, "needs", "task_skipped")["cause"], "upstream_skipped");
    assert_eq!(kinds(&events, Some("unlucky")), ["task_skipped"]);
}
