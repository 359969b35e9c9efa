//! How the program ends, as scripts see it.

use crate::support::{Project, Running};

#[test]
fn prog_001_the_exit_code_tells_success_failure_and_mistakes_apart() {
    let project = Project::new(
        "{ default: [good], tasks: { good: 'true', bad: exit 9, gone: { exec: [nope] } } }",
    );
    for (arguments, code) in [
        (&["run"][..], 0),
        (&["run", "good"], 0),
        (&["run", "bad"], 1),
        (&["run", "gone"], 1),
        (&["check"], 0),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["run", "nothing"], 2),
        (&["run", "--no-such-flag"], 2),
        (&["frobnicate"], 2),
        (&["run", "-o", "loud"], 2),
        (&["--json", "run"], 2),
    ] {
        project.run(arguments).ends_with(code);
    }
}

#[test]
fn prog_001_without_targets_and_default_the_tasks_are_listed() {
    let project = Project::new("tasks: { build: touch ran }");
    let ran = project.run(&["run"]).ends_with(2);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("  build\n") && ran.stderr.contains("no target was named"));
    assert!(!project.has("ran"));
    Project::new("tasks: {}").run(&["run", "--all"]).ends_with(2).says("there are no tasks yet");
}

#[test]
fn prog_009_what_failed_is_told_with_its_last_output_and_how_to_go_on() {
    let project = Project::new(
        "
tasks:
  bad: 'for n in $(seq 40); do echo line $n; done; exit 4'
  good: 'true'
",
    );
    let ran = project.run(&["run", "--all", "-k", "-o", "none"]).ends_with(1);
    assert_eq!(ran.stdout, "");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let told = lines.iter().position(|line| *line == "bad failed: exit code 4").unwrap();
    assert_eq!(
        lines[told + 1..=told + 10],
        (31..=40).map(|n| format!("  | line {n}")).collect::<Vec<_>>()
    );
    let log = lines[told + 11].trim().strip_prefix("log: ").unwrap();
    assert_eq!(project.read(log).lines().count(), 40);
    assert!(lines.contains(&"try again with: holdpoint retry 1"), "{lines:#?}");
    assert!(
        lines.last().unwrap().starts_with("2 tasks in ")
            && lines.last().unwrap().ends_with("1 ok, 1 failed")
    );
}

#[test]
fn prog_009_the_way_on_leads_to_the_same_manifest() {
    let project = Project::new("");
    std::fs::create_dir(project.path("a folder")).unwrap();
    project.write("a folder/m.yaml", "tasks: { bad: exit 1 }");
    let ran = project.run(&["-C", "a folder", "-f", "m.yaml", "run", "bad"]).ends_with(1);
    ran.says("try again with: holdpoint retry 1 -C 'a folder' -f m.yaml");
}

#[test]
fn ch_11_what_cannot_be_started_is_told_with_the_task_and_the_reason() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::new(
        "
tasks:
  missing: { exec: [no-such-program] }
  plain: { exec: [./plain] }
  lost: { exec: [./lost] }
  nowhere: { dir: removed, run: touch ran }
",
    );
    project.write("plain", "#!/bin/sh\ntouch ran\n");
    project.write("lost", "#!/no/such/interpreter\n");
    let mut mode = std::fs::metadata(project.path("lost")).unwrap().permissions();
    mode.set_mode(0o755);
    std::fs::set_permissions(project.path("lost"), mode).unwrap();
    let ran = project.run(&["run", "--all", "-k"]).ends_with(1);
    for (task, reason) in [
        ("missing", "program no-such-program not found"),
        ("plain", "is not executable"),
        ("lost", "the interpreter of"),
        ("nowhere", "does not exist"),
    ] {
        let told = format!("{task} errored: ");
        let line = ran.stderr.lines().find(|line| line.starts_with(&told));
        assert!(line.is_some_and(|line| line.contains(reason)), "{task}: {ran:#?}");
    }
    assert!(!project.has("ran"));
}

#[test]
fn prog_010_logs_of_the_newest_twenty_runs_are_kept_and_git_ignores_them() {
    let project = Project::new("tasks: { a: echo output }");
    for _ in 0..22 {
        project.run(&["run", "a"]).ends_with(0);
    }
    let logs = std::fs::read_dir(project.path(".holdpoint/logs")).unwrap();
    assert_eq!(logs.count(), 20);
    assert_eq!(project.read(".holdpoint/.gitignore"), "*\n");
}

#[test]
fn the_programs_own_log_is_off_unless_it_is_asked_for() {
    let project = Project::new("tasks: { a: echo a, b: echo b }");
    project.run(&["run", "--all"]).ends_with(0).does_not_say("INFO");
    project.run(&["run", "--all", "-v"]).ends_with(0).says("INFO").says("a  started    echo a");
    let mut command = project.command(&["run", "--all"]);
    command.env("RUST_LOG", "holdpoint=info");
    Running::start(command).wait().ends_with(0).says("INFO").does_not_say("started");
}
