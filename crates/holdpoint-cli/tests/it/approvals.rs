//! Approvals: what waits for an answer and what goes on meanwhile, who answers, and what comes of it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use holdpoint::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

use crate::support::{Project, Running, kinds, wait_until};

/// Two questions, and a task that holds what those behind them need, for as long as it runs.
const TWO: &str = "
limits: { jobs: 1 }
tasks:
  one: { approval: { prompt: 'Ship one?' }, holds: [dock], run: echo one >> order }
  two: { approval: { prompt: 'Ship two?' }, holds: [dock], run: echo two >> order }
  after-one: { needs: [one], run: echo after-one >> order }
  after-two: { needs: [two], run: echo after-two >> order }
  free: { holds: [dock], run: 'touch began; until test -e go; do sleep 0.01; done; echo free >> order' }
";

/// The question of a run that a task asks.
#[track_caller]
fn question(shown: &Value, task: &str) -> Value {
    let questions = shown["questions"].as_array().unwrap();
    let found = questions.iter().rfind(|question| question["task"] == task);
    found.unwrap_or_else(|| panic!("{task} asks nothing in {shown:#}")).clone()
}

#[track_caller]
fn task(shown: &Value, name: &str) -> Value {
    let tasks = shown["tasks"].as_array().unwrap();
    let found = tasks.iter().find(|task| task["task"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {shown:#}")).clone()
}

fn now() -> Timestamp {
    SystemClock::new().now().wall
}

#[test]
fn run_001_run_002_two_questions_take_no_slot_and_no_hold_and_one_answer_is_enough_to_go_on() {
    let project = Project::new(TWO);
    let targets = ["run", "after-one", "after-two", "free", "--events", "events.jsonl"];
    let running = Running::start(project.command(&targets));
    project.wait_for("began");
    // The only slot and the hold are taken by what needs no answer, and both questions are open.
    wait_until("both questions", || {
        project.read("events.jsonl").matches("session_question\"").count() == 2
    });
    let said = project.run(&["approve", "1"]).ends_with(2);
    said.says("run #1 asks 2 things: one, two").says("holdpoint approve 1 QUESTION");
    let said = project.run(&["approve", "1", "one"]).ends_with(0);
    said.says("answered `one` of run #1; 1 more is open").does_not_say("nobody runs it");
    project.write("go", "");
    let ran = running.wait().ends_with(3);
    ran.says("run #1 waits for an answer: two").says("holdpoint approve 1\n");
    assert_eq!(project.lines("order"), ["free", "one", "after-one"]);
    let events = project.event_lines("events.jsonl");
    assert_eq!(kinds(&events, Some("two")), ["session_question"]);

    // Nobody owns it now, and whoever answers is told so.
    project.run(&["why", "1"]).ends_with(0).says("waits for an answer, and nobody runs it");
    let shown = project.json(&["show", "1", "--json"]);
    assert_eq!(shown["state"], "paused");
    assert_eq!(task(&shown, "two")["state"], "waiting");
    assert_eq!(task(&shown, "after-two")["state"], "pending");
    assert_eq!(question(&shown, "one")["answer"], "true");
    assert_eq!(question(&shown, "two")["answered_at"], Value::Null);
    let said = project.run(&["approve", "1"]).ends_with(0);
    said.says("nobody runs it; go on with: holdpoint resume 1");
    assert_eq!(project.lines("order").len(), 3);
    project.run(&["resume", "1"]).ends_with(0);
    assert_eq!(project.lines("order"), ["free", "one", "after-one", "two", "after-two"]);
}

#[test]
fn run_002_without_an_answer_it_waits_again_and_asks_only_once() {
    let project = Project::new("tasks: { gate: { approval: { prompt: Go? }, run: touch ran } }");
    project.run(&["run", "gate"]).ends_with(3);
    project.run(&["resume", "1"]).ends_with(3).says("run #1 waits for an answer: gate");
    let shown = project.json(&["show", "1", "--json"]);
    assert_eq!(shown["questions"].as_array().unwrap().len(), 1, "{shown:#}");
    assert!(!project.has("ran"));
}

#[test]
fn run_001_an_answer_from_another_process_lets_a_run_go_on_at_once() {
    // The run does not end before what waits for the answer has run.
    let project = Project::new(
        "
limits: { jobs: 2 }
tasks:
  gate: { approval: { prompt: Go? }, run: touch shipped }
  wait: 'touch began; until test -e shipped; do sleep 0.01; done'
",
    );
    let running = project.start(&["run", "gate", "wait", "--events", "events.jsonl"]);
    wait_until("the question", || project.read("events.jsonl").contains("session_question\""));
    project.wait_for("began");
    project.run(&["answer", "1", "gate", "APPROVE"]).ends_with(0).says("answered `gate`");
    running.wait().ends_with(0);
}

#[test]
fn run_001_a_no_ends_the_task_as_rejected_and_keeps_who_and_why() {
    let project = Project::new(TWO);
    project.write("go", "");
    project.run(&["run", "after-one", "after-two", "free"]).ends_with(3);
    let mut command = project.command(&["reject", "1", "two", "--reason", "not on a Friday"]);
    command.env("USER", "tester");
    Running::start(command).wait().ends_with(0).says("1 more is open");
    project.run(&["answer", "1", "1", "yes"]).ends_with(0);
    project.run(&["resume", "1", "-k"]).ends_with(1).says("two failed: rejected");
    assert_eq!(project.lines("order"), ["free", "one", "after-one"]);

    let shown = project.json(&["show", "@last", "--json"]);
    assert_eq!(shown["state"], "failed");
    let (rejected, skipped) = (task(&shown, "two"), task(&shown, "after-two"));
    assert_eq!((&rejected["state"], &rejected["cause"]), (&"failed".into(), &"rejected".into()));
    assert_eq!(
        (&skipped["state"], &skipped["cause"], &skipped["upstream"]),
        (&"skipped".into(), &"upstream_failed".into(), &"two".into())
    );
    let asked = question(&shown, "two");
    assert_eq!(asked["prompt"], "Ship two?");
    assert_eq!(
        (&asked["answer"], &asked["by"], &asked["reason"]),
        (&"false".into(), &"tester".into(), &"not on a Friday".into())
    );
    let said = project.run(&["show", "1"]).ends_with(0);
    said.says("two was rejected by tester: not on a Friday");

    // A retry asks again what was rejected, and not what was approved.
    project.run(&["retry", "1", "-y"]).ends_with(0);
    assert_eq!(project.lines("order"), ["free", "one", "after-one", "two", "after-two"]);
}

#[test]
fn run_001_who_does_not_answer_in_time_has_failed_or_rejected() {
    let project = Project::new(
        "
limits: { jobs: 1 }
tasks:
  late: { approval: { prompt: Late?, timeout: 100ms }, run: touch ran }
  no: { approval: { prompt: No?, timeout: 100ms, on_timeout: reject }, run: touch ran }
  wait: 'until test $(grep -c task_failed events.jsonl) = 2; do sleep 0.02; done'
",
    );
    let ran = project.run(&["run", "--all", "-k", "--events", "events.jsonl"]).ends_with(1);
    ran.says("late failed: nobody answered within 100ms");
    let shown = project.json(&["show", "1", "--json"]);
    assert_eq!(task(&shown, "late")["cause"], "timeout");
    assert_eq!(task(&shown, "no")["cause"], "rejected");
    for name in ["late", "no"] {
        let asked = question(&shown, name);
        assert_eq!((&asked["withdrawn"], &asked["answer"]), (&true.into(), &Value::Null));
        let said = project.run(&["approve", "1", name]).ends_with(1);
        said.says(&format!("`{name}` of run #1 is not open any more: it was withdrawn"));
    }
    assert!(!project.has("ran"));
}

#[test]
fn run_001_the_time_for_an_answer_counts_from_the_first_asking() {
    for (on_timeout, cause) in [("fail", "timeout"), ("reject", "rejected")] {
        let project = Project::new(&format!(
            "tasks: {{ gate: {{ approval: {{ prompt: Go?, timeout: 1500ms, on_timeout: \
             {on_timeout} }}, run: touch ran }} }}"
        ));
        project.run(&["run", "gate"]).ends_with(3);
        let shown = project.json(&["show", "1", "--json"]);
        let asked = question(&shown, "gate")["asked_at"].as_str().unwrap().parse::<Timestamp>();
        let late = asked.unwrap().as_micros() + 1_500_000;
        wait_until("the limit", || now().as_micros() > late);
        // Counted anew, the run would wait again and end with 3.
        project.run(&["resume", "1"]).ends_with(1);
        let shown = project.json(&["show", "1", "--json"]);
        assert_eq!(task(&shown, "gate")["cause"], cause);
        assert!(!project.has("ran"));
    }
}

#[test]
fn run_001_fail_fast_withdraws_the_question() {
    let project = Project::new(
        "
limits: { jobs: 1 }
tasks:
  gate: { approval: { prompt: Go? }, run: touch ran }
  bad: 'until grep -q session_question events.jsonl; do sleep 0.01; done; exit 3'
",
    );
    let (ran, events) = project.events(&["run", "gate", "bad", "--fail-fast"]);
    ran.ends_with(1);
    assert!(kinds(&events, None).contains(&"session_question_withdrawn"), "{events:#?}");
    let shown = project.json(&["show", "1", "--json"]);
    assert_eq!(question(&shown, "gate")["withdrawn"], true);
    assert_eq!(task(&shown, "gate")["state"], "cancelled");
    project.run(&["approve", "1"]).ends_with(1).says("it was withdrawn");
}

#[test]
fn run_001_cancel_withdraws_the_question() {
    let project = Project::new("tasks: { gate: { approval: { prompt: Go? }, run: touch ran } }");
    project.run(&["run", "gate"]).ends_with(3);
    project.run(&["cancel", "1"]).ends_with(0).says("run #1 is cancelled");
    let shown = project.json(&["show", "1", "--json"]);
    assert_eq!(
        (&shown["state"], &question(&shown, "gate")["withdrawn"]),
        (&"cancelled".into(), &true.into())
    );
    assert_eq!(task(&shown, "gate")["state"], "cancelled");
    project.run(&["approve", "1"]).ends_with(1).says("it was withdrawn");
    project.run(&["show", "1"]).ends_with(0).does_not_say("asks");
}

#[test]
fn run_001_yes_answers_every_question_and_says_so() {
    let project = Project::new(
        "
tasks:
  one: { approval: { prompt: One? }, run: echo one >> order }
  two: { needs: [one], approval: { prompt: Two? }, run: echo two >> order }
",
    );
    let mut command = project.command(&["run", "two", "--yes"]);
    command.env("USER", "tester");
    Running::start(command).wait().ends_with(0);
    assert_eq!(project.lines("order"), ["one", "two"]);
    let shown = project.json(&["show", "1", "--json"]);
    for name in ["one", "two"] {
        assert_eq!(question(&shown, name)["by"], "tester by --yes");
    }
}

#[test]
fn run_001_any_other_word_is_refused_with_those_that_are_taken() {
    let project = Project::new("tasks: { gate: { approval: { prompt: Go? }, run: touch ran } }");
    project.run(&["run", "gate"]).ends_with(3);
    for word in ["maybe", "y", "", "1"] {
        let said = project.run(&["answer", "1", "gate", word]).ends_with(2);
        said.says("is neither yes nor no; say `yes`, `approve` or `true`, or `no`, `reject`");
    }
    project.run(&["answer", "1", "gate", "true"]).ends_with(0);
}

/// The two ends of a terminal.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = OpenOptions::new().read(true).write(true).open(Path::new(&name)).unwrap();
    (File::from(ours), theirs)
}

#[test]
fn run_001_at_a_terminal_the_question_is_asked_and_answered_there() {
    let project = Project::new("tasks: { gate: { approval: { prompt: Go? }, run: touch ran } }");
    let (mut ours, theirs) = terminal();
    let mut command = project.command(&["run", "gate"]);
    command.stdin(theirs.try_clone().unwrap()).stderr(theirs).stdout(Stdio::null());
    let running = Running::start(command);
    ours.write_all(b"perhaps\nyes\n").unwrap();
    let mut screen = ours.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
        while let Ok(read @ 1..) = screen.read(&mut buffer) {
            text.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    running.wait().ends_with(0);
    let text = reader.join().unwrap();
    assert!(text.contains("gate: Go? [yes/no]"), "{text:?}");
    assert!(text.contains("`perhaps` is neither yes nor no"), "{text:?}");
    assert!(project.has("ran"));
}

/// A question that is withdrawn while `-y` answers it keeps nobody from the end of the run.
#[test]
fn run_001_an_answer_that_comes_too_late_for_a_withdrawn_question_is_none() {
    let project = Project::new(
        "
limits: { jobs: 1 }
tasks:
  a-bad: { exec: [no-such-program] }
  b-asks: { approval: May it?, run: 'true' }
  c-waits: { needs: [b-asks], run: 'true' }
",
    );
    for _ in 0..10 {
        project.run(&["run", "--all", "-y"]).ends_with(1).says("a-bad errored");
    }
}
