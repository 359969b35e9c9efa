//! What tasks get, and what the program takes from its own environment.

use crate::support::{Project, Running};

#[test]
fn proc_001_a_task_inherits_what_its_caller_has_and_gets_what_it_declares() {
    let project = Project::new(
        "
tasks:
  show:
    env: { GREETING: hello, OVER: declared }
    pass_env: [SOCKET]
    run: echo $GREETING $OVER $SOCKET $OTHER $HOLDPOINT_TASK $HOLDPOINT_ATTEMPT
",
    );
    let mut command = project.command(&["run", "show"]);
    command.envs([("OVER", "inherited"), ("SOCKET", "socket"), ("OTHER", "other")]);
    let ran = Running::start(command).wait().ends_with(0);
    assert_eq!(ran.stdout, "hello declared socket other show 1\n");
}

#[test]
fn proc_001_what_holdpoint_tells_a_task_is_its_own_and_not_that_of_a_run_around_it() {
    let project = Project::new(
        "tasks: { show: 'echo \"$HOLDPOINT_SESSION|$HOLDPOINT_RUN|$HOLDPOINT_START|$HOLDPOINT_PROJECT\"' }",
    );
    let mut command = project.command(&["run", "show", "--events", "events.jsonl"]);
    command.envs([("HOLDPOINT_SESSION", "outer"), ("HOLDPOINT_RUN", "7")]);
    let ran = Running::start(command).wait().ends_with(0);
    let event: serde_json::Value =
        serde_json::from_str(project.read("events.jsonl").lines().next().unwrap()).unwrap();
    let expected =
        format!("{}|1|1|{}\n", event["session"].as_str().unwrap(), project.root().display());
    assert_eq!(ran.stdout, expected);
}

#[test]
fn prog_006_variables_that_tasks_receive_are_no_flags() {
    let project = Project::new("{ default: [a], tasks: { a: echo a, b: echo b } }");
    let mut command = project.command(&["run"]);
    command.envs([
        ("HOLDPOINT_RUN", "9"),
        ("HOLDPOINT_TASK", "b"),
        ("HOLDPOINT_WORKSPACE", "/nowhere"),
        ("HOLDPOINT_OUTPUT", "none"),
        ("HOLDPOINT_PARAM_JOBS", "0"),
    ]);
    assert_eq!(Running::start(command).wait().ends_with(0).stdout, "a\n");
}

#[test]
fn prog_006_every_flag_has_a_variable_and_the_command_line_comes_before_it() {
    let project = Project::new(
        "{ default: [a], tasks: { a: { run: 'echo a; exit 1' }, b: { after: [a], run: echo b } } }",
    );
    let with = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = project.command(&[&["run"], arguments].concat());
        command.envs(variables.iter().copied());
        Running::start(command).wait()
    };
    with(&[("HOLDPOINT_STYLE", "none")], &[]).ends_with(1).does_not_say("[a]");
    with(&[("HOLDPOINT_ALL", "1")], &[]).ends_with(1).says("not started: b");
    with(&[("HOLDPOINT_ALL", "1"), ("HOLDPOINT_KEEP_GOING", "1")], &[]).ends_with(1).says("[b] b");
    with(&[("HOLDPOINT_DRY_RUN", "1")], &[]).ends_with(0).says("would start");
    with(&[("HOLDPOINT_DRY_RUN", "0")], &[]).ends_with(1);
    with(&[("HOLDPOINT_FILE", "none.yaml")], &[]).ends_with(2).says("cannot read none.yaml");
    with(&[("HOLDPOINT_DIRECTORY", "nowhere")], &[]).ends_with(2).says("cannot start in nowhere");
    with(&[("HOLDPOINT_JOBS", "0")], &[]).ends_with(2).says("the least is 1");
    with(&[("HOLDPOINT_COLOR", "always")], &["--all"]).ends_with(1).says("\x1b[31mfailed");
    with(&[("HOLDPOINT_EVENTS", "-")], &[]).ends_with(1).says("session_planned");
    // What is typed wins, where both exclude each other.
    with(&[("HOLDPOINT_JOBS", "0")], &["-j", "1"]).ends_with(1);
    with(&[("HOLDPOINT_FILE", "none.yaml")], &["-f", "holdpoint.yaml"]).ends_with(1);
    with(&[("HOLDPOINT_ALL", "1")], &["b"]).ends_with(0);
    with(&[("HOLDPOINT_FAIL_FAST", "1")], &["-k", "a", "b"]).ends_with(1).says("[b] b");
    with(&[("HOLDPOINT_FAIL_FAST", "1"), ("HOLDPOINT_KEEP_GOING", "1")], &[])
        .ends_with(2)
        .says("exclude each other");
}
