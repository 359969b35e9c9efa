//! The output of tasks on its way to whoever reads it.

use std::io::Read;
use std::process::Stdio;
use std::thread;

use crate::support::{Project, Running, wait_for_exit, wait_until};

#[test]
fn proc_006_lines_of_several_tasks_carry_their_names_and_never_mix() {
    let line = "x".repeat(200);
    let task =
        |name: &str| format!("  {name}: 'for n in $(seq 300); do echo {name}{line}; done'\n");
    let project = Project::new(&format!(
        "limits: {{ jobs: 3 }}\ntasks:\n{}{}{}",
        task("one"),
        task("two"),
        task("three")
    ));
    let ran = project.run(&["run", "--all"]).ends_with(0);
    assert_eq!(ran.stdout.lines().count(), 900);
    for row in ran.stdout.lines() {
        let (prefix, text) = row.split_once(' ').unwrap();
        let name = &prefix[1..prefix.len() - 1];
        assert_eq!(text.trim_start(), format!("{name}{line}"), "{row}");
    }
}

#[test]
fn proc_006_each_stream_of_a_task_goes_to_its_own() {
    let project = Project::new("tasks: { a: 'echo out; echo err >&2', b: 'true' }");
    let ran = project.run(&["run", "--all"]).ends_with(0);
    assert_eq!(ran.stdout, "[a] out\n");
    assert!(ran.stderr.contains("[a] err\n"), "{ran:#?}");
}

#[test]
fn proc_005_a_task_alone_prints_its_own_bytes_and_nothing_else_where_it_succeeds() {
    let project = Project::new(
        "tasks: { a: { exec: [printf, 'caf\\303\\251 \\033[31m\\001\\nno newline'] } }",
    );
    let mut command = project.command(&["run", "a"]);
    let output = command.output().unwrap();
    assert_eq!(output.stdout, b"caf\xc3\xa9 \x1b[31m\x01\nno newline");
    assert_eq!(output.stderr, b"");
    // Beyond the length of any one piece.
    let project = Project::new("tasks: { long: 'head -c 300000 /dev/zero | tr \"\\0\" x' }");
    assert_eq!(project.run(&["run", "long"]).ends_with(0).stdout, "x".repeat(300_000));
}

#[test]
fn proc_006_in_groups_the_output_of_a_task_is_one_block() {
    let project = Project::new(
        "
limits: { jobs: 2 }
tasks:
  a: 'echo a1; touch a; until test -e b; do sleep 0.01; done; echo a2; echo a3'
  b: 'until test -e a; do sleep 0.01; done; echo b1; touch b; exit 2'
  silent: { after: [a], run: 'true' }
",
    );
    let ran = project.run(&["run", "--all", "-k", "-o", "grouped"]).ends_with(1);
    let blocks: String =
        ran.stdout.lines().map(|line| format!("{}\n", line.split(", ").next().unwrap())).collect();
    assert!(blocks.contains("a: ok\na1\na2\na3\n"), "{ran:#?}");
    assert!(blocks.contains("b: failed\nb1\n"), "{ran:#?}");
    assert!(ran.stderr.contains("silent  ok"), "{ran:#?}");
}

#[test]
fn prog_008_in_ci_output_is_grouped_and_plain() {
    let project = Project::new("tasks: { a: echo a, b: 'true' }");
    let mut command = project.command(&["run", "--all"]);
    command.env("CI", "true");
    let ran = Running::start(command).wait().ends_with(0);
    assert!(ran.stdout.starts_with("a: ok, ") && ran.stdout.ends_with("\na\n"), "{ran:#?}");
    // A task alone is a block by itself.
    for (ci, arguments) in [("true", &["run", "a"][..]), ("", &["run", "a", "-o", "grouped"])] {
        let mut command = project.command(arguments);
        command.env("CI", ci);
        assert_eq!(Running::start(command).wait().ends_with(0).said(), "a\n");
    }
}

#[test]
fn prog_008_what_is_piped_is_plain_unless_colours_are_asked_for() {
    let project = Project::new("tasks: { a: echo a, bad: exit 1 }");
    let plain = project.run(&["run", "--all", "-k"]).ends_with(1);
    assert!(!plain.said().contains('\x1b'), "{plain:#?}");
    let coloured = project.run(&["run", "--all", "-k", "--color", "always"]).ends_with(1);
    assert!(coloured.stderr.contains("\x1b[31mfailed"), "{coloured:#?}");
}

#[test]
fn proc_004_a_process_that_keeps_the_output_open_is_told_and_not_waited_for() {
    let project = Project::new("tasks: { a: 'sleep 600 & echo $! > pid; echo a' }");
    let ran = project.run(&["run", "a"]).ends_with(0);
    assert_eq!(ran.stdout, "a\n");
    assert!(ran.stderr.contains("a process it left behind still holds its output"), "{ran:#?}");
    let pid = rustix::process::Pid::from_raw(project.read("pid").trim().parse().unwrap());
    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
}

#[test]
fn prog_005_out_2_a_reader_that_goes_ends_the_run_quietly() {
    let project = Project::new(
        "
limits: { jobs: 2 }
tasks:
  chatty: 'echo $$ > pid; while :; do echo line; done'
  later: { needs: [chatty], run: touch later-ran }
",
    );
    let mut child = project.command(&["run", "--all"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 64];
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    let mut stderr = child.stderr.take().unwrap();
    let said = thread::spawn(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        said
    });
    assert_eq!(wait_for_exit(&mut child).code(), Some(141));
    assert_eq!(said.join().unwrap(), "");
    assert!(!project.has("later-ran"));
    let pid = project.read("pid").trim().parse().unwrap();
    wait_until("the end of the task", || !crate::support::is_alive(pid));
}

#[test]
fn prog_005_out_2_a_list_that_nobody_reads_ends_quietly() {
    let project = Project::new("tasks: { a: echo a }");
    for arguments in [&[][..], &["check"], &["--json"], &["run", "a", "-n"]] {
        let mut command = project.command(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
        let ran = Running::start(command).wait().ends_with(141);
        assert_eq!(ran.stderr, "", "{arguments:?}");
    }
}

#[test]
fn prog_005_a_standard_output_that_takes_nothing_is_a_failure() {
    let project = Project::new("tasks: { a: echo a }");
    for arguments in [&[][..], &["run", "a"]] {
        let mut command = project.command(arguments);
        command.stdout(std::fs::File::create("/dev/full").unwrap());
        Running::start(command).wait().ends_with(1).says("cannot write to standard output");
    }
}

#[test]
fn a_closed_standard_error_disturbs_nobody() {
    let project = Project::new("tasks: { a: 'echo a; echo b >&2', bad: exit 1 }");
    let mut command = project.command(&["run", "--all", "-k"]);
    command.stderr(Stdio::null());
    assert_eq!(Running::start(command).wait().ends_with(1).stdout, "[a]   a\n");
    let mut command = project.command(&["run", "--all", "-k"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stderr(writer);
    assert_eq!(Running::start(command).wait().ends_with(1).stdout, "[a]   a\n");
}
