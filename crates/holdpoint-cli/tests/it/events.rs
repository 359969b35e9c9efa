//! `--events`: each line an event of the core's vocabulary, in one order.

use std::collections::BTreeMap;

use holdpoint::EventKind;
use serde_json::Value;

use crate::support::{Project, Ran, event, kinds, typed};

const TASKS: &str = "
limits: { jobs: 4 }
tasks:
  build: { run: 'echo built', holds: [tool] }
  check: { run: 'echo \"a\nb\" >&2; exit 3', holds: [tool], allow_failure: true }
  gone: { exec: [no-such-program] }
  needs: { needs: [gone], run: echo }
  never: { if: 'false', run: echo }
  group: { needs: [build] }
  flaky: { run: 'test $HOLDPOINT_ATTEMPT = 2', retry: { attempts: 2, initial: 1ms } }
";

fn run() -> (Ran, Vec<Value>) {
    let project = Project::new(TASKS);
    let (ran, events) = project.events(&["run", "--all", "-k"]);
    (ran.ends_with(1), events)
}

#[test]
fn core_006_every_line_is_an_event_of_one_stream_with_dense_numbers() {
    let (_, events) = run();
    let typed = typed(&events);
    for (index, (event, line)) in typed.iter().zip(&events).enumerate() {
        assert_eq!(event.seq, index as u64 + 1);
        assert_eq!(event.stream, typed[0].stream);
        assert_eq!(serde_json::to_value(event).unwrap(), *line, "what is read is what was written");
    }
    assert!(typed.is_sorted_by_key(|event| event.at));
    assert_eq!(kinds(&events, None)[..2], ["session_planned", "session_started"]);
    let end = typed.last().unwrap();
    assert!(end.kind.ends_session() && matches!(end.kind, EventKind::SessionFailed(_)));
    assert_eq!(typed.iter().filter(|event| event.kind.ends_session()).count(), 1);
}

#[test]
fn graph_008_every_task_ends_once_and_nothing_of_it_follows() {
    let (_, events) = run();
    let mut ended = BTreeMap::new();
    for event in typed(&events) {
        if let Some(task) = event.kind.ended_task() {
            assert!(
                ended.insert(task.to_string(), event.kind.name()).is_none(),
                "{task} ended twice"
            );
        }
    }
    let expected = [
        ("build", "task_succeeded"),
        ("check", "task_failed"),
        ("flaky", "task_succeeded"),
        ("gone", "task_errored"),
        ("group", "task_succeeded"),
        ("needs", "task_skipped"),
        ("never", "task_skipped"),
    ];
    assert_eq!(ended, expected.map(|(task, kind)| (task.to_owned(), kind)).into());
    for task in ended.keys() {
        let kinds = kinds(&events, Some(task));
        assert_eq!(kinds.iter().filter(|kind| **kind == ended[task]).count(), 1);
        assert_eq!(kinds.last(), Some(&ended[task]), "{kinds:?}");
    }
}

#[test]
fn core_006_events_say_what_happened() {
    let (_, events) = run();
    let process = event(&events, "build", "process_started");
    let exited = event(&events, "build", "process_exited");
    assert_eq!((&process["start"], &process["attempt"]), (&1.into(), &1.into()));
    assert_eq!((&process["pid"], &exited["exit_code"]), (&exited["pid"], &0.into()));
    assert_eq!(event(&events, "build", "task_succeeded")["source"], "fresh");
    let failed = event(&events, "check", "task_failed");
    assert_eq!((&failed["cause"], &failed["exit_code"]), (&"exit".into(), &3.into()));
    assert_eq!(failed["allowed"], true);
    let errored = event(&events, "gone", "task_errored");
    assert!(errored["message"].as_str().unwrap().contains("no-such-program not found"));
    assert_eq!(event(&events, "needs", "task_skipped")["cause"], "upstream_errored");
    let holds = serde_json::json!([{ "scope": "workspace", "name": "tool", "mode": "exclusive" }]);
    assert_eq!(event(&events, "check", "hold_released")["holds"], holds);
    assert_eq!(kinds(&events, Some("group")), ["task_started", "task_succeeded"]);
}

#[test]
fn prog_004_with_events_on_standard_output_the_output_of_tasks_goes_elsewhere() {
    let project =
        Project::new("tasks: { a: { run: 'echo to-stdout; echo to-stderr >&2' }, b: echo }");
    let ran = project.run(&["run", "--all", "--events", "-"]).ends_with(0);
    for line in ran.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(event["kind"].is_string());
    }
    assert!(ran.stderr.contains("[a] to-stdout") && ran.stderr.contains("[a] to-stderr"));
}

#[test]
fn prog_004_a_file_of_events_is_made_below_the_folder_of_the_run_or_nothing_starts() {
    let project = Project::new("tasks: { a: touch ran }");
    project.run(&["run", "a", "--events", "no/such/folder"]).ends_with(2).says("no/such/folder");
    assert!(!project.has("ran"));
    std::fs::create_dir(project.path("sub")).unwrap();
    project.run(&["run", "a", "-C", "sub", "--events", "e.jsonl"]).ends_with(0);
    assert!(project.read("sub/e.jsonl").ends_with("\"kind\":\"session_done\"}\n"));
}

#[test]
fn prog_004_events_that_cannot_be_written_are_a_failure() {
    let project = Project::new("tasks: { a: touch ran }");
    let ran = project.run(&["run", "a", "--events", "/dev/full"]);
    ran.ends_with(1).says("events are missing in /dev/full");
    assert!(project.has("ran"));
}
