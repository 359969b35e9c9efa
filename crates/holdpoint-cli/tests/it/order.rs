//! When tasks run: order, slots, caps.

use crate::support::Project;

/// A task that writes when it starts and when it ends, and is visible to others in between.
fn logged(name: &str, rest: &str) -> String {
    format!(
        "  {name}: {{ run: 'echo start {name} >> log; sleep 0.03; echo end {name} >> log'{rest} }}\n"
    )
}

/// The most that ran at a time, by weight.
fn most_at_once(log: &[String], weight: impl Fn(&str) -> u32) -> u32 {
    let (mut running, mut most) = (0, 0);
    for line in log {
        let (what, name) = line.split_once(' ').unwrap();
        match what {
            "start" => running += weight(name),
            _ => running -= weight(name),
        }
        most = most.max(running);
    }
    assert_eq!(running, 0, "{log:?}");
    most
}

/// Tasks that end only when all of them run: `slots` at a time are enough, fewer are not.
fn meeting(names: &[&str]) -> String {
    let everyone: Vec<String> = names.iter().map(|name| format!("here-{name}")).collect();
    let all_here =
        everyone.iter().map(|mark| format!("test -e {mark}")).collect::<Vec<_>>().join(" && ");
    let task = |name: &&str| {
        format!("  {name}: {{ run: 'touch here-{name}; until {all_here}; do sleep 0.01; done' }}\n")
    };
    names.iter().map(task).collect()
}

#[test]
fn graph_002_a_task_starts_after_those_it_needs_and_those_it_comes_after() {
    let tasks: String = [
        logged("last", ", needs: [left, right]"),
        logged("left", ", needs: [first]"),
        logged("right", ", needs: [first], after: [lint]"),
        // Goes on until `left` has begun: `right` would have begun by then, did it not wait.
        "  lint: 'until grep -q left log; do sleep 0.01; done; sleep 0.05; echo end lint >> log'\n"
            .to_owned(),
        logged("first", ""),
    ]
    .concat();
    let project = Project::new(&format!("tasks:\n{tasks}"));
    project.run(&["run", "last", "lint", "-j", "8"]).ends_with(0);
    let log = project.lines("log");
    let at = |line: &str| log.iter().position(|l| l == line).unwrap();
    for (before, after) in [
        ("first", "left"),
        ("first", "right"),
        ("lint", "right"),
        ("left", "last"),
        ("right", "last"),
    ] {
        assert!(at(&format!("end {before}")) < at(&format!("start {after}")), "{log:?}");
    }
}

#[test]
fn graph_003_with_one_slot_tasks_run_in_the_order_of_their_names() {
    let tasks: String = ["c", "a", "b", "d"].iter().map(|name| logged(name, "")).collect();
    let project = Project::new(&format!("tasks:\n{tasks}"));
    project.run(&["run", "--all", "-j", "1"]).ends_with(0);
    let starts: Vec<String> =
        project.lines("log").into_iter().filter(|line| line.starts_with("start")).collect();
    assert_eq!(starts, ["start a", "start b", "start c", "start d"]);
}

#[test]
fn graph_004_slots_are_filled_and_never_exceeded() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let tasks: String = names.iter().map(|name| logged(name, "")).collect();
    let project = Project::new(&format!("limits: {{ jobs: 2 }}\ntasks:\n{tasks}"));
    project.run(&["run", "--all"]).ends_with(0);
    assert!(most_at_once(&project.lines("log"), |_| 1) <= 2);
    // Three that wait for each other run, as many as there are slots from the command line.
    let project = Project::new(&format!("limits: {{ jobs: 1 }}\ntasks:\n{}", meeting(&names[..3])));
    project.run(&["run", "--all", "-j", "3"]).ends_with(0);
}

#[test]
fn graph_004_jobs_come_from_the_variable_where_no_flag_is_given() {
    let project = Project::new(&format!("limits: {{ jobs: 1 }}\ntasks:\n{}", meeting(&["a", "b"])));
    let mut command = project.command(&["run", "--all"]);
    command.env("HOLDPOINT_JOBS", "2");
    crate::support::Running::start(command).wait().ends_with(0);
}

#[test]
fn graph_004_a_weight_counts_as_so_many_slots() {
    let tasks: String = [
        logged("heavy", ", weight: 3"),
        logged("a", ""),
        logged("b", ""),
        logged("c", ""),
        logged("d", ", weight: 2"),
    ]
    .concat();
    let project = Project::new(&format!("limits: {{ jobs: 3 }}\ntasks:\n{tasks}"));
    project.run(&["run", "--all"]).ends_with(0);
    let weight = |name: &str| match name {
        "heavy" => 3,
        "d" => 2,
        _ => 1,
    };
    assert!(most_at_once(&project.lines("log"), weight) <= 3);
    let ran = project.run(&["run", "heavy", "-j", "2"]).ends_with(2);
    ran.says("holdpoint.yaml:3:").says("`heavy` takes 3 slots, but there are 2").says("-j 3");
}

#[test]
fn graph_004_a_tag_has_its_own_cap() {
    let tasks: String = (0..6).map(|n| logged(&format!("t{n}"), ", tags: [net]")).collect();
    let project =
        Project::new(&format!("limits: {{ jobs: 6, tags: {{ net: 2 }} }}\ntasks:\n{tasks}"));
    project.run(&["run", "--all"]).ends_with(0);
    assert!(most_at_once(&project.lines("log"), |_| 1) <= 2);
}

#[test]
fn prog_007_a_run_has_its_targets_what_they_need_and_the_finally_tasks_that_join() {
    let project = Project::new(
        "
tasks:
  build: echo
  test: { needs: [build], after: [lint], run: echo }
  lint: echo
  tidy: { finally: [build], needs: [prepare], run: echo }
  prepare: echo
",
    );
    let (_, events) = project.events(&["run", "test"]);
    let mut ended: Vec<&str> = events
        .iter()
        .filter(|event| event["kind"] == "task_succeeded")
        .map(|event| event["task"].as_str().unwrap())
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, ["build", "prepare", "test", "tidy"]);
    assert!(events.iter().all(|event| event["task"] != "lint"));
}
