//! Locks between tasks.

use serde_json::Value;

use crate::support::Project;

/// Marks in a file, in the order in which processes wrote them.
fn inside(project: &Project) -> Vec<(String, String)> {
    let pair = |line: String| {
        let (what, name) = line.split_once(' ').unwrap();
        (what.to_owned(), name.to_owned())
    };
    project.lines("log").into_iter().map(pair).collect()
}

fn task(name: &str, hold: &str) -> String {
    format!(
        "  {name}: {{ run: 'echo in {name} >> log; sleep 0.02; echo out {name} >> log', holds: [{hold}] }}\n"
    )
}

#[test]
fn hold_002_an_exclusive_hold_excludes_everybody_and_shared_ones_go_together() {
    let readers: String =
        (0..4).map(|n| task(&format!("r{n}"), "{ name: db, shared: true }")).collect();
    let writers: String = (0..3).map(|n| task(&format!("w{n}"), "db")).collect();
    let project = Project::new(&format!("limits: {{ jobs: 8 }}\ntasks:\n{readers}{writers}"));
    project.run(&["run", "--all"]).ends_with(0);
    let (mut reading, mut writing) = (0, 0);
    for (what, name) in inside(&project) {
        let count = if name.starts_with('w') { &mut writing } else { &mut reading };
        *count += if what == "in" { 1 } else { -1 };
        assert!(writing <= 1 && (writing == 0 || reading == 0), "{}", project.read("log"));
    }
    // Readers that wait for each other end, so they did go together.
    let meet = |name: &str, other: &str| {
        format!(
            "  {name}: {{ run: 'touch {name}; until test -e {other}; do sleep 0.01; done', \
             holds: [{{ name: db, shared: true }}] }}\n"
        )
    };
    let tasks = [meet("left", "right"), meet("right", "left")].concat();
    let project = Project::new(&format!("limits: {{ jobs: 2 }}\ntasks:\n{tasks}"));
    project.run(&["run", "--all"]).ends_with(0);
}

#[test]
fn hold_002_a_counted_hold_is_taken_in_units() {
    let units = |n: usize| 1 + n % 2;
    let tasks: String = (0..6)
        .map(|n| task(&format!("t{n}"), &format!("{{ name: gpu, units: {} }}", units(n))))
        .collect();
    let project =
        Project::new(&format!("limits: {{ jobs: 8, holds: {{ gpu: 3 }} }}\ntasks:\n{tasks}"));
    project.run(&["run", "--all"]).ends_with(0);
    let mut taken = 0;
    for (what, name) in inside(&project) {
        let of = units(name[1..].parse().unwrap());
        if what == "in" {
            taken += of;
        } else {
            taken -= of;
        }
        assert!(taken <= 3, "{}", project.read("log"));
    }
}

#[test]
fn graph_006_a_task_that_waits_for_a_hold_keeps_no_slot() {
    // With two slots: one task has the hold until `free` runs, the other waits for the hold. Were
    // its slot kept, `free` could not start and nothing would ever end.
    let project = Project::new(
        "
limits: { jobs: 2 }
tasks:
  a: { run: 'until test -e freed; do sleep 0.01; done', holds: [db] }
  b: { run: 'true', holds: [db] }
  free: touch freed
",
    );
    let (ran, events) = project.events(&["run", "--all"]);
    ran.ends_with(0);
    let at = |task: &str, kind: &str| {
        let is = |event: &Value| event["task"] == task && event["kind"] == kind;
        events.iter().position(is).unwrap_or_else(|| panic!("no {kind} of {task}"))
    };
    assert!(at("b", "hold_waiting") < at("free", "task_started"));
    assert!(at("free", "task_started") < at("b", "hold_acquired"));
    let waiting = &events[at("b", "hold_waiting")];
    let expected = serde_json::json!([{ "scope": "workspace", "name": "db", "mode": "exclusive" }]);
    assert_eq!(waiting["holds"], expected);
}

#[test]
fn hold_001_a_name_in_the_projects_scope_is_another_hold() {
    let project = Project::new(
        "
limits: { jobs: 2 }
tasks:
  a: { run: 'touch a; until test -e b; do sleep 0.01; done', holds: [tmp] }
  b: { run: 'touch b; until test -e a; do sleep 0.01; done', holds: ['~:tmp'] }
",
    );
    project.run(&["run", "--all"]).ends_with(0);
}
