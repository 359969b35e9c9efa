//! Attempts and time limits.

use crate::support::{Project, event, kinds};

#[test]
fn graph_014_a_task_is_tried_again_and_knows_which_attempt_it_is() {
    let project = Project::new(
        "
tasks:
  flaky:
    run: 'echo $HOLDPOINT_ATTEMPT >> attempts; test $HOLDPOINT_ATTEMPT = 3'
    retry: { attempts: 5, initial: 5ms }
    holds: [db]
",
    );
    let (ran, events) = project.events(&["run", "flaky"]);
    ran.ends_with(0).says("exit code 1; attempt 1 of 5, the next in 5 ms");
    assert_eq!(project.read("attempts"), "1\n2\n3\n");
    let attempt =
        ["hold_acquired", "task_started", "process_started", "process_exited", "hold_released"];
    let again =
        ["task_retry", "hold_acquired", "process_started", "process_exited", "hold_released"];
    let expected: Vec<&str> = [&attempt[..], &again, &again, &["task_succeeded"]].concat();
    assert_eq!(kinds(&events, Some("flaky")), expected);
    let retries: Vec<(u64, u64)> = events
        .iter()
        .filter(|event| event["kind"] == "task_retry")
        .map(|event| (event["attempt"].as_u64().unwrap(), event["delay_ms"].as_u64().unwrap()))
        .collect();
    assert_eq!(retries, [(1, 5), (2, 10)]);
}

#[test]
fn graph_014_a_task_that_never_succeeds_fails_after_its_last_attempt() {
    let project = Project::new(
        "tasks: { bad: { run: 'echo x >> tries; exit 7', retry: { attempts: 3, initial: 1ms } } }",
    );
    let (ran, events) = project.events(&["run", "bad"]);
    ran.ends_with(1).says("bad failed: exit code 7");
    assert_eq!(project.read("tries"), "x\nx\nx\n");
    assert_eq!(event(&events, "bad", "task_failed")["exit_code"], 7);
    // Each attempt keeps its own log.
    let session = events[0]["session"].as_str().unwrap();
    let logs = project.path(".holdpoint/logs").join(session);
    assert!(!logs.exists(), "a silent task has no log");
}

#[test]
fn graph_014_a_missing_program_is_not_tried_again() {
    let project = Project::new(
        "tasks: { gone: { exec: [no-such-program], retry: { attempts: 3, initial: 1ms } } }",
    );
    let (ran, events) = project.events(&["run", "gone"]);
    ran.ends_with(1);
    assert_eq!(kinds(&events, Some("gone")), ["task_started", "task_errored"]);
}

#[test]
fn graph_014_a_task_over_its_time_is_ended_and_has_failed() {
    let project = Project::new(
        "
tasks:
  slow: { run: 'echo begun; sleep 600', timeout: 200ms }
  next: { needs: [slow], run: touch next-ran }
",
    );
    let (ran, events) = project.events(&["run", "next"]);
    ran.ends_with(1).says("slow failed: timed out after 200ms");
    let failed = event(&events, "slow", "task_failed");
    assert_eq!((&failed["cause"], failed.get("exit_code")), (&"timeout".into(), None));
    assert_eq!(event(&events, "slow", "process_exited")["signal"], 15);
    assert!(!project.has("next-ran"));
}

#[test]
fn graph_014_a_time_limit_is_that_of_one_attempt() {
    let project = Project::new(
        "
tasks:
  slow:
    run: 'test $HOLDPOINT_ATTEMPT = 2 || sleep 600'
    timeout: 300ms
    retry: { attempts: 2, initial: 1ms }
",
    );
    let (ran, events) = project.events(&["run", "slow"]);
    ran.ends_with(0);
    let retry = event(&events, "slow", "task_retry");
    assert_eq!(retry["message"], "timed out after 300ms");
}
