//! Ctrl-C and its kin.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Project, Running, event, is_alive, kinds, wait_until};

/// `polite` cleans up on SIGTERM, `stubborn` does not end by it; both have a child of their own.
const TASKS: &str = "
limits: { jobs: 3 }
tasks:
  polite: |
    trap 'touch cleaned-up; exit 0' TERM
    sleep 600 & echo $! > polite-child; echo $$ > polite-pid
    while :; do wait; done
  stubborn: |
    trap 'touch stubborn-told' TERM
    sleep 600 & echo $! > stubborn-child; echo $$ > stubborn-pid
    while :; do sleep 1 || :; done
  later: { needs: [polite], run: touch later-ran }
  free: touch free-ran
";

const PIDS: [&str; 4] = ["polite-pid", "polite-child", "stubborn-pid", "stubborn-child"];

/// The program with these tasks, all of them begun.
fn begin(project: &Project, targets: &[&str]) -> Running {
    let arguments = [&["run", "--events", "events.jsonl"], targets].concat();
    let running = Running::start(project.command(&arguments));
    for file in
        PIDS.iter().filter(|file| targets.iter().any(|t| file.starts_with(t) || *t == "--all"))
    {
        wait_until(file, || project.read(file).ends_with('\n'));
    }
    running
}

fn events(project: &Project) -> Vec<Value> {
    project.lines("events.jsonl").iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn none_is_left(project: &Project) {
    for file in PIDS {
        if let Ok(pid) = project.read(file).trim().parse() {
            wait_until(&format!("the end of {file}"), || !is_alive(pid));
        }
    }
}

#[test]
fn prog_003_run_002_ch_8_the_first_signal_suspends_the_run_with_time_to_clean_up() {
    for (signal, code, text) in
        [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM"), (Signal::HUP, 129, "SIGHUP")]
    {
        let project = Project::new(TASKS);
        let running = begin(&project, &["polite", "later"]);
        running.signal(signal);
        let ran = running.wait().ends_with(code).says(&format!("{text}: ending 1 task;"));
        ran.says("run #1 is suspended; go on with: holdpoint resume 1");
        assert!(project.has("cleaned-up") && !project.has("later-ran"));
        none_is_left(&project);
        let events = events(&project);
        // What really finished is told as finished, and what did not begin is not told of.
        event(&events, "polite", "task_succeeded");
        assert_eq!(kinds(&events, Some("later")), [] as [&str; 0]);
        let last = events.last().unwrap();
        assert_eq!(
            (&last["kind"], &last["cause"]),
            (&"session_suspended".into(), &"released".into())
        );
        // The rest is done when it goes on.
        std::fs::remove_file(project.path("cleaned-up")).unwrap();
        project.run(&["resume", "1"]).ends_with(0);
        assert!(project.has("later-ran") && !project.has("cleaned-up"));
    }
}

#[test]
fn prog_003_run_002_ch_8_who_does_not_listen_is_killed_after_the_grace() {
    let project = Project::new(TASKS);
    let running = begin(&project, &["--all"]);
    wait_until("the free task", || project.read("events.jsonl").contains("task_succeeded"));
    running.signal(Signal::INT);
    running.wait().ends_with(130).says("SIGINT: ending 2 tasks");
    none_is_left(&project);
    let events = events(&project);
    assert_eq!(event(&events, "stubborn", "process_exited")["signal"], 9);
    let ends = kinds(&events, None).into_iter().filter(|kind| {
        matches!(
            *kind,
            "task_succeeded" | "task_failed" | "task_errored" | "task_skipped" | "task_cancelled"
        )
    });
    assert_eq!(ends.collect::<Vec<_>>(), ["task_succeeded", "task_succeeded"]);
    assert_eq!(kinds(&events, None).last(), Some(&"session_suspended"));
}

#[test]
fn prog_003_ch_8_the_second_signal_ends_everything_at_once() {
    for (first, second) in
        [(Signal::INT, Signal::INT), (Signal::TERM, Signal::INT), (Signal::INT, Signal::HUP)]
    {
        let project = Project::new(TASKS);
        let running = begin(&project, &["stubborn"]);
        running.signal(first);
        project.wait_for("stubborn-told");
        let began = Instant::now();
        running.signal(second);
        running.wait().ends_with(128 + first.as_raw());
        // Far from the grace of five seconds, on a slow machine too.
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        none_is_left(&project);
        let events = events(&project);
        assert_eq!(kinds(&events, None).last(), Some(&"session_suspended"));
    }
}

#[test]
fn prog_003_sigquit_leaves_no_time() {
    let project = Project::new(TASKS);
    let running = begin(&project, &["stubborn"]);
    let began = Instant::now();
    running.signal(Signal::QUIT);
    running.wait().ends_with(131);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    none_is_left(&project);
}

#[test]
fn prog_003_a_signal_that_is_to_be_ignored_is_ignored() {
    let project = Project::new(
        "tasks: { a: 'touch begun; until test -e go; do sleep 0.01; done; touch ended' }",
    );
    let program = env!("CARGO_BIN_EXE_holdpoint");
    let mut command = project.command(&[]);
    let script = format!("trap '' HUP; exec {program} run a");
    let mut ignoring = std::process::Command::new("/bin/sh");
    ignoring.args(["-c", &script]).current_dir(project.root()).env_clear();
    ignoring.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdout(std::process::Stdio::null());
    let running = Running::start(ignoring);
    project.wait_for("begun");
    running.signal(Signal::HUP);
    project.write("go", "");
    running.wait().ends_with(0);
    assert!(project.has("ended"));
}

#[test]
fn prog_005_a_reader_that_does_not_read_cannot_keep_the_run_from_ending() {
    let project = Project::new("tasks: { chatty: 'yes a long line of output' }");
    let mut child =
        project.command(&["run", "chatty", "--events", "events.jsonl"]).spawn().unwrap();
    let unread = child.stdout.take();
    let logged = || {
        let sessions = std::fs::read_dir(project.path(".holdpoint/logs")).into_iter().flatten();
        let logs = sessions.map(|session| session.unwrap().path().join("chatty.log"));
        logs.filter_map(|log| Some(log.metadata().ok()?.len())).sum::<u64>()
    };
    // As much as the program keeps for a reader; it reads no more of the task's output then.
    wait_until("a full queue", || logged() > 1_040_000);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    assert_eq!(crate::support::wait_for_exit(&mut child).code(), Some(130));
    drop(unread);
    assert_eq!(kinds(&events(&project), None).last(), Some(&"session_suspended"));
}
