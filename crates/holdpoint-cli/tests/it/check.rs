//! `check`, and the dry run.

use serde_json::Value;

use crate::support::Project;

const TASKS: &str = "
default: [test]
tasks:
  test: { needs: [build], after: [lint], holds: [db], tags: [slow], exec: [make, test] }
  lint: 'touch lint-ran'
  build: 'touch build-ran'
  tidy: { finally: [test], run: 'touch tidy-ran' }
";

#[test]
fn prog_002_what_would_run_is_listed_in_order_and_nothing_is_started() {
    let project = Project::new(TASKS);
    let expected = "\
a run of test would start, in this order:
  build  touch build-ran
  test   make test
  tidy   touch tidy-ran
";
    let dry = project.run(&["run", "-n"]).ends_with(0);
    assert_eq!((dry.stdout.as_str(), dry.stderr.as_str()), (expected, ""));
    let check = project.run(&["check"]).ends_with(0);
    assert_eq!(check.stdout, format!("holdpoint.yaml: no mistakes, 4 tasks\n{expected}"));
    project.run(&["run", "lint", "-n"]).ends_with(0).does_not_say("build");
    for mark in ["build-ran", "lint-ran", "tidy-ran", ".holdpoint"] {
        assert!(!project.has(mark), "{mark}");
    }
}

#[test]
fn prog_002_a_dry_run_writes_no_events() {
    let project = Project::new(TASKS);
    project.write("events.jsonl", "of another run");
    project.run(&["run", "-n", "--events", "events.jsonl"]).ends_with(0);
    assert_eq!(project.read("events.jsonl"), "of another run");
}

#[test]
fn prog_002_without_a_default_everything_is_checked() {
    let ran = Project::new("tasks: { b: make, a: make }").run(&["check"]).ends_with(0);
    assert!(ran.stdout.ends_with("order:\n  a  make\n  b  make\n"), "{ran:?}");
    Project::new("tasks: {}").run(&["check"]).ends_with(0).says("no mistakes, 0 tasks");
}

#[test]
fn prog_002_the_answer_as_json_has_the_tasks_or_the_faults() {
    let project = Project::new(TASKS);
    let ran = project.run(&["check", "--json", "test", "lint"]).ends_with(0);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&answer["ok"], &answer["targets"]),
        (&true.into(), &serde_json::json!(["test", "lint"]))
    );
    let tasks: Vec<&str> = answer["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["task"].as_str().unwrap())
        .collect();
    assert_eq!(tasks, ["build", "lint", "test", "tidy"]);
    let expected = serde_json::json!({
        "task": "test", "command": "make test", "needs": ["build"], "after": ["lint"],
        "finally": [], "tags": ["slow"], "holds": ["db"], "weight": 1,
    });
    assert_eq!(answer["tasks"][2], expected);

    project.write("holdpoint.yaml", "tasks:\n  a: { needs: [b], run: x }\n");
    let ran = project.run(&["check", "--json"]).ends_with(2).says("holdpoint.yaml:2:16: ");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["ok"], false);
    let fault = &answer["faults"][0];
    assert_eq!((&fault["line"], &fault["column"]), (&2.into(), &16.into()));
    assert_eq!(fault["message"], "there is no task `b`");
}
