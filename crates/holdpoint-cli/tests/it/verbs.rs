//! Runs that are there already: listed, shown, read, resumed, tried again, cancelled; and what is
//! refused.

use holdpoint::event::{EventKind, Stream};
use holdpoint::session::StateName;
use holdpoint::store::{Fence, FileOptions, FileStore, Snapshot, Store, Write};
use holdpoint::{Clock as _, Event, SessionId, SystemClock};
use serde_json::{Value, json};

use crate::support::{Project, event, kinds, wait_until};

/// A question, and a task that goes on until it is let.
const GATE: &str = "
tasks:
  gate: { approval: { prompt: Go? }, run: echo gate >> order }
  wait: 'touch began; until test -e go; do sleep 0.01; done; echo wait >> order'
  bad: exit 3
";

/// What a task of a run looks like in `show --json`.
#[track_caller]
fn task(project: &Project, run: &str, name: &str) -> Value {
    let shown = project.json(&["show", run, "--json"]);
    let tasks = shown["tasks"].as_array().unwrap();
    let found = tasks.iter().find(|task| task["task"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {shown:#}")).clone()
}

#[test]
fn prog_015_without_a_store_every_verb_says_so_and_the_list_is_empty() {
    let project = Project::new(GATE);
    for arguments in [
        &["show", "1"][..],
        &["logs", "1"],
        &["logs", "1", "-f"],
        &["why", "1"],
        &["approve", "1"],
        &["reject", "1"],
        &["answer", "1", "gate", "yes"],
        &["cancel", "1"],
        &["resume", "1"],
        &["retry", "@last"],
    ] {
        let ran = project.run(arguments).ends_with(2);
        ran.says("there is no store in .holdpoint yet").says("the first run makes one");
    }
    assert_eq!(project.run(&["ps", "--json"]).ends_with(0).stdout, "[]\n");
    project.run(&["ps"]).ends_with(0).says("nothing has been run here yet");
    assert!(!project.has(".holdpoint"));
}

#[test]
fn prog_015_a_run_has_a_number_and_the_end_of_its_id() {
    let project = Project::new(GATE);
    project.run(&["run", "bad"]).ends_with(1);
    project.run(&["run", "gate"]).ends_with(3);
    let runs = project.json(&["ps", "--all", "--json"]);
    let (second, first) = (runs[0]["id"].as_str().unwrap(), runs[1]["id"].as_str().unwrap());
    for (name, number) in [
        ("1", 1),
        ("#1", 1),
        (first, 1),
        (&first[first.len() - 12..], 1),
        (&first[first.len() - 8..].to_uppercase(), 1),
        ("2", 2),
        ("#2", 2),
        ("@last", 2),
        (second, 2),
    ] {
        assert_eq!(project.json(&["show", name, "--json"])["run"], number, "{name}");
    }
    for (name, said) in [
        ("3", "there is no run `3`"),
        ("0", "there is no run `0`"),
        ("#99999999999999999999999", "names no run"),
        ("ffffffff", "there is no run `ffffffff`"),
        ("@first", "`@first` names no run; write its number as `7` or `#7`, `@last`"),
        ("", "`` names no run"),
        ("-7x", "names no run"),
        ("gate", "names no run"),
    ] {
        project.run(&["show", "--", name]).ends_with(2).says(said);
        project.run(&["cancel", "--", name]).ends_with(2).says(said);
    }
    project.run(&["show", "3"]).ends_with(2).says("`holdpoint ps --all` lists the runs");
}

#[test]
fn prog_015_an_end_that_several_ids_have_is_refused_with_them() {
    let project = Project::new(GATE);
    let ids = ["01900000-0000-7000-8000-00000000abcd", "01900000-0000-7001-8000-00000000abcd"];
    let store = FileStore::open(project.path(".holdpoint"), FileOptions::new()).unwrap();
    project.run(&["show", "@last"]).ends_with(2).says("there is no run yet");
    for id in ids {
        let stream = Stream::Session(id.parse::<SessionId>().unwrap());
        let at = SystemClock::new().now().wall;
        let planned = EventKind::SessionPlanned { attempt: 1 };
        let events = [Event::new(1, at, stream.clone(), planned)];
        let snapshot = Snapshot { state: StateName::Planned, data: b"{}" };
        let write = Write::new(&stream, Fence::NewOwned).events(&events).label("run@1");
        store.append(&[write.snapshot(snapshot)]).unwrap().wait().unwrap();
    }
    let ran = project.run(&["show", "abcd"]).ends_with(2).says("is the end of 2 ids");
    ran.says(ids[0]).says(ids[1]);
}

#[test]
fn prog_016_what_comes_too_early_or_too_late_is_refused_with_the_way_on() {
    let project = Project::new(GATE);
    let running = project.start(&["run", "wait"]);
    project.wait_for("began");
    for verb in ["resume", "retry"] {
        let ran = project.run(&[verb, "1"]).ends_with(1);
        ran.says("run #1 has a process already").says("holdpoint logs 1 -f");
    }
    project.run(&["approve", "1"]).ends_with(1).says("run #1 asks nothing: it is running");
    project.write("go", "");
    running.wait().ends_with(0);
    project.run(&["resume", "1"]).ends_with(1).says("run #1 has ended: it is done");
    let ran = project.run(&["retry", "1"]).ends_with(1);
    ran.says("run #1 is done: only a run that failed or was cancelled is tried again");
    project.run(&["cancel", "1"]).ends_with(1).says("run #1 has ended: it is done");
    project.run(&["approve", "1"]).ends_with(1).says("asks nothing any more: it is done");

    project.run(&["run", "bad"]).ends_with(1);
    let ran = project.run(&["resume", "2"]).ends_with(1).says("run #2 has ended: it has failed");
    ran.says("try it again with: holdpoint retry 2");

    project.run(&["run", "gate"]).ends_with(3);
    let ran = project.run(&["retry", "3"]).ends_with(1);
    ran.says("run #3 has not ended: it is paused").says("go on with: holdpoint resume 3");
    let ran = project.run(&["approve", "3", "door"]).ends_with(2);
    ran.says("run #3 does not ask `door`; it asks gate");
    project.run(&["reject", "3", "gate", "--reason", "no"]).ends_with(0);
    for arguments in [&["approve", "3"][..], &["approve", "3", "gate"], &["reject", "3", "1"]] {
        let ran = project.run(arguments).ends_with(1);
        ran.says("`gate` of run #3 is not open any more: it was rejected by");
    }
    project.run(&["resume", "3"]).ends_with(1);
    project.run(&["approve", "3"]).ends_with(1).says("it was rejected by");
}

#[test]
fn run_005_resume_goes_on_with_the_manifest_as_it_was_and_says_that_it_has_changed() {
    let project = Project::new(GATE);
    project.run(&["run", "gate"]).ends_with(3);
    project.write("holdpoint.yaml", GATE.replace("echo gate", "echo other"));
    let ran = project.run(&["resume", "1", "-y"]).ends_with(0);
    ran.says("holdpoint.yaml has changed since; the run goes on with what it was planned with");
    assert_eq!(project.lines("order"), ["gate"]);
}

#[test]
fn run_005_resume_needs_no_manifest_and_retry_does() {
    let project = Project::new(GATE);
    project.run(&["run", "-k", "gate", "bad"]).ends_with(3);
    std::fs::remove_file(project.path("holdpoint.yaml")).unwrap();
    project.run(&["ps"]).ends_with(0).says("gate: Go?");
    project.run(&["approve", "1"]).ends_with(0);
    project.run(&["resume", "1"]).ends_with(1).says("holdpoint.yaml cannot be read any more");
    assert_eq!(project.lines("order"), ["gate"]);
    let ran = project.run(&["retry", "1"]).ends_with(2);
    ran.says("cannot read holdpoint.yaml: No such file");
    project.write("holdpoint.yaml", "tasks: [");
    project.run(&["retry", "1"]).ends_with(2).says("holdpoint.yaml:1:");
    project.write("holdpoint.yaml", "tasks: { bad: exit 3 }");
    project.run(&["retry", "1"]).ends_with(2).says("there is no task `gate`");
    project.run(&["show", "1"]).ends_with(0).says("run #1  failed");
}

#[test]
fn run_005_a_retry_does_again_what_failed_or_has_changed_and_what_needs_that() {
    let manifest = "
limits: { jobs: 1 }
tasks:
  base: echo base >> order
  other: echo other >> order
  on-base: { needs: [base], run: echo on-base >> order }
  on-other: { needs: [other], after: [base], run: echo on-other >> order }
  flaky: { needs: [on-base, on-other], run: 'echo flaky >> order; test -e ok' }
  last: { needs: [flaky], run: echo last >> order }
";
    let project = Project::new(manifest);
    let done = |project: &Project| {
        let mut lines = project.lines("order");
        project.write("order", "");
        lines.sort();
        lines
    };
    project.run(&["run", "last"]).ends_with(1);
    assert_eq!(done(&project), ["base", "flaky", "on-base", "on-other", "other"]);
    project.run(&["retry", "1"]).ends_with(1).says("base      ok         as before");
    assert_eq!(done(&project), ["flaky"]);
    assert_eq!(task(&project, "1", "base")["exit_code"], 0);

    // Another text of one task, and of all that needs it; a soft edge hands on nothing.
    project.write("holdpoint.yaml", manifest.replace("base: echo base", "base: echo new"));
    project.run(&["retry", "1"]).ends_with(1);
    assert_eq!(done(&project), ["flaky", "new", "on-base"]);
    project.run(&["retry", "1", "--failed"]).ends_with(1);
    assert_eq!(done(&project), ["flaky"]);

    for (wrong, said) in [("lost", "did you mean `last`?"), ("far", "there is no task `far`")] {
        project.run(&["retry", "1", "--from", wrong]).ends_with(2).says(said);
    }
    project.run(&["retry", "1", "--from", "last", "--all"]).ends_with(2);
    assert_eq!(done(&project), [] as [&str; 0]);
    project.run(&["retry", "1", "--from", "on-other"]).ends_with(1);
    assert_eq!(done(&project), ["flaky", "on-other"]);
    project.run(&["retry", "1", "--all"]).ends_with(1);
    assert_eq!(done(&project), ["flaky", "new", "on-base", "on-other", "other"]);
    project.write("ok", "");
    project.run(&["retry", "1"]).ends_with(0);
    assert_eq!(done(&project), ["flaky", "last"]);
    assert_eq!(project.json(&["show", "1", "--json"])["attempt"], 7);
}

#[test]
fn run_005_an_attempt_that_was_left_goes_on_with_the_manifest_of_the_retry() {
    let project = Project::new("tasks: { a: 'exit 3', b: { needs: [a], run: touch b } }");
    project.run(&["run", "b"]).ends_with(1);
    project.write(
        "holdpoint.yaml",
        "tasks: { a: touch a, b: { needs: [a, c], run: touch b }, \
         c: { approval: { prompt: Go? }, run: touch c } }",
    );
    project.run(&["retry", "1", "--from", "lost"]).ends_with(2);
    project.run(&["retry", "1"]).ends_with(3);
    assert_eq!(task(&project, "1", "c")["state"], "waiting");
    project.write("holdpoint.yaml", "tasks: { b: 'false' }");
    project.run(&["resume", "1", "-y"]).ends_with(0).says("has changed since");
    assert!(project.has("a") && project.has("b") && project.has("c"));
    assert_eq!(task(&project, "1", "c")["state"], "succeeded");
}

#[test]
fn prog_017_resume_takes_the_settings_of_a_run() {
    // With one slot the two would wait for each other for ever.
    let project = Project::new(
        "
limits: { jobs: 1 }
tasks:
  one: { approval: { prompt: One? }, run: 'touch 1; until test -e 2; do sleep 0.01; done; echo one' }
  two: { approval: { prompt: Two? }, run: 'touch 2; until test -e 1; do sleep 0.01; done; echo two' }
  bad: { needs: [one, two], run: exit 3 }
  behind: { after: [bad], run: touch behind }
",
    );
    project.run(&["run", "bad", "behind"]).ends_with(3);
    let arguments = ["resume", "1", "-y", "-j", "2", "-k", "-o", "none"];
    let (ran, events) = project.events(&arguments);
    assert_eq!(ran.ends_with(1).stdout, "");
    assert!(project.has("behind"));
    assert_eq!(kinds(&events, None).iter().filter(|kind| **kind == "session_resumed").count(), 1);
    assert_eq!(kinds(&events, None).last(), Some(&"session_failed"));
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "{numbers:?}");

    let project = Project::new(
        "
limits: { jobs: 2 }
tasks:
  bad: { approval: { prompt: Go? }, run: 'until test -e began; do sleep 0.01; done; exit 3' }
  slow: { approval: { prompt: Go? }, run: touch began; sleep 600 }
",
    );
    project.run(&["run", "--all"]).ends_with(3);
    let (ran, events) = project.events(&["resume", "1", "--yes", "--fail-fast"]);
    ran.ends_with(1);
    event(&events, "slow", "task_cancelled");
}

#[test]
fn prog_018_ps_lists_the_newest_first_and_those_that_have_ended_when_asked() {
    let project = Project::new(GATE);
    project.run(&["run", "bad"]).ends_with(1);
    project.run(&["run", "-k", "gate", "bad"]).ends_with(3);
    project.run(&["enqueue", "wait"]).ends_with(0);
    let runs = project.json(&["ps", "--json"]);
    let row = |run: &Value| json!([run["run"], run["state"], run["targets"]]);
    let rows = |runs: &Value| runs.as_array().unwrap().iter().map(row).collect::<Vec<_>>();
    let open = [json!([3, "planned", ["wait"]]), json!([2, "paused", ["gate", "bad"]])];
    assert_eq!(rows(&runs), open);
    let all = project.json(&["ps", "-a", "--json"]);
    assert_eq!(rows(&all), [&open[..], &[json!([1, "failed", ["bad"]])]].concat());
    for run in all.as_array().unwrap() {
        let keys: Vec<&String> = run.as_object().unwrap().keys().collect();
        let mut expected = ["run", "id", "state", "created_at", "updated_at", "targets"];
        expected.sort_unstable();
        let mut keys: Vec<&str> = keys.into_iter().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, expected);
        assert!(run["id"].as_str().unwrap().parse::<SessionId>().is_ok());
        assert!(run["updated_at"].as_str().unwrap() >= run["created_at"].as_str().unwrap());
    }
    let ran = project.run(&["ps"]).ends_with(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("#3  enqueued"), "{ran:#?}");
    assert_eq!(lines[1].trim(), "holdpoint resume 3");
    assert!(lines[2].starts_with("#2  paused") && lines[2].ends_with("gate bad"), "{ran:#?}");
    assert_eq!((lines[3].trim(), lines[4].trim()), ("gate: Go?", "holdpoint approve 2"));
    assert_eq!(lines.len(), 5);
}

#[test]
fn prog_018_show_tells_of_each_task_and_each_question() {
    let project = Project::new(
        "
tasks:
  gate: { approval: { prompt: Go? }, run: 'true' }
  flaky: { run: 'test $HOLDPOINT_ATTEMPT = 2', retry: { attempts: 2, initial: 1ms } }
  bad: exit 9
  behind: { needs: [bad], run: 'true' }
  never: { if: 'false', run: 'true' }
  gone: { exec: [no-such-program] }
",
    );
    project.run(&["run", "--all", "-k"]).ends_with(3);
    let shown = project.json(&["show", "1", "--json"]);
    let row = |name: &str| {
        let tasks = shown["tasks"].as_array().unwrap();
        let task = tasks.iter().find(|task| task["task"] == name).unwrap();
        let keys = ["state", "source", "attempt", "exit_code", "cause", "upstream"];
        let kept = keys.map(|key| task[key].clone()).to_vec();
        (Value::from(kept), task["started_at"].is_string(), task["finished_at"].is_string())
    };
    let null = Value::Null;
    assert_eq!(row("gate"), (json!(["waiting", null, 0, null, null, null]), false, false));
    assert_eq!(row("flaky"), (json!(["succeeded", "fresh", 2, 0, null, null]), true, true));
    assert_eq!(row("bad"), (json!(["failed", null, 1, 9, "exit", null]), true, true));
    let behind = json!(["skipped", null, 0, null, "upstream_failed", "bad"]);
    assert_eq!(row("behind"), (behind, false, true));
    assert_eq!(row("never").0, json!(["skipped", null, 0, null, "condition", null]));
    let (gone, began, ended) = row("gone");
    assert_eq!((&gone[0], began, ended), (&"errored".into(), true, true));
    assert!(gone[4].as_str().unwrap().contains("no-such-program"), "{gone}");
    let asked = &shown["questions"][0];
    assert_eq!(
        (&asked["id"], &asked["task"], &asked["prompt"], &asked["answered_at"]),
        (&1.into(), &"gate".into(), &"Go?".into(), &null)
    );
    assert!(asked["asked_at"].is_string() && asked["answer"].is_null() && asked["by"].is_null());

    let ran = project.run(&["show", "1"]).ends_with(0);
    ran.says("run #1  paused").says("gate asks: Go?\n  holdpoint approve 1\n");
    let ran = project.run(&["show", "1", "--timeline"]).ends_with(0);
    let bar = |name: &str| {
        let line = ran.stdout.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {ran:#?}")).to_owned()
    };
    assert!(bar("flaky").contains('=') && bar("bad").contains('x'), "{ran:#?}");
    assert!(!ran.stdout.contains("behind") && !ran.stdout.contains("gate"), "{ran:#?}");
    project.run(&["show", "1", "--timeline", "--json"]).ends_with(2);
}

#[test]
fn prog_019_logs_are_those_of_every_attempt_and_of_every_start() {
    let project = Project::new(
        "
limits: { jobs: 1 }
tasks:
  base: echo based
  flaky:
    needs: [base]
    run: 'echo start $HOLDPOINT_START attempt $HOLDPOINT_ATTEMPT; test -e ok'
    retry: { attempts: 2, initial: 1ms }
  quiet: 'true'
",
    );
    project.run(&["run", "flaky", "quiet"]).ends_with(1);
    project.write("ok", "");
    project.run(&["retry", "1"]).ends_with(0);
    let flaky = "start 1 attempt 1\nstart 1 attempt 2\nstart 2 attempt 1\n";
    assert_eq!(project.run(&["logs", "1", "flaky"]).ends_with(0).stdout, flaky);
    assert_eq!(project.run(&["logs", "@last", "flaky", "-f"]).ends_with(0).stdout, flaky);
    assert_eq!(
        project.run(&["logs", "1"]).ends_with(0).stdout,
        "==> base\nbased\n==> flaky\nstart 1 attempt 1\n==> flaky, attempt 2\nstart 1 attempt 2\n\
         ==> flaky, start 2 of the run\nstart 2 attempt 1\n"
    );
    assert_eq!(project.run(&["logs", "1", "quiet"]).ends_with(0).stdout, "");
    project.run(&["logs", "1", "flakey"]).ends_with(2).says("did you mean `flaky`?");
}

#[test]
fn prog_019_who_follows_is_shown_what_comes_until_the_run_has_ended() {
    let project = Project::new(
        "
limits: { jobs: 1 }
tasks:
  first: 'echo one; touch began; until test -e go; do sleep 0.01; done; echo two'
  second: { needs: [first], run: 'echo three; until test -e on; do sleep 0.01; done; echo four' }
",
    );
    let running = project.start(&["run", "second"]);
    project.wait_for("began");
    // Followed into a file, so that what has been shown so far can be seen.
    let follow = |name: &str, arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.stdout(std::fs::File::create(project.path(name)).unwrap());
        crate::support::Running::start(command)
    };
    let all = follow("all", &["logs", "1", "-f"]);
    let one = follow("one", &["logs", "1", "second", "--follow"]);
    wait_until("the first line", || project.read("all") == "==> first\none\n");
    assert_eq!(project.read("one"), "");
    project.write("go", "");
    wait_until("the third line", || project.read("one") == "three\n");
    project.write("on", "");
    running.wait().ends_with(0);
    all.wait().ends_with(0);
    one.wait().ends_with(0);
    assert_eq!(project.read("all"), "==> first\none\ntwo\n==> second\nthree\nfour\n");
    assert_eq!(project.read("one"), "three\nfour\n");
}

#[test]
fn prog_020_prog_001_a_run_that_is_cancelled_from_elsewhere_ends_with_4() {
    let project = Project::new(
        "
tasks:
  a: |
    trap 'touch cleaned-up; exit 1' TERM
    touch began; while :; do sleep 0.01; done
  behind: { needs: [a], run: touch behind }
",
    );
    let running = project.start(&["run", "behind", "--events", "events.jsonl"]);
    project.wait_for("began");
    let ran = project.run(&["cancel", "1", "--reason", "enough"]).ends_with(0);
    ran.says("run #1 ");
    running.wait().ends_with(4).says("cancelled, enough: ending 1 task");
    assert!(project.has("cleaned-up") && !project.has("behind"));
    let events = project.event_lines("events.jsonl");
    assert_eq!(kinds(&events, None).last(), Some(&"session_cancelled"));
    assert_eq!(task(&project, "1", "a")["state"], "cancelled");
    project.run(&["resume", "1"]).ends_with(1).says("it was cancelled");
    project.run(&["cancel", "1"]).ends_with(0).says("run #1 was cancelled before");
}

#[test]
fn prog_020_a_run_that_nobody_runs_can_be_cancelled() {
    let project = Project::new(GATE);
    let running = project.start(&["run", "wait"]);
    project.wait_for("began");
    running.signal(rustix::process::Signal::INT);
    running.wait().ends_with(130);
    assert_eq!(project.json(&["show", "1", "--json"])["state"], "suspended");
    project.run(&["show", "1"]).ends_with(0).says("holdpoint resume 1");
    project.run(&["enqueue", "bad"]).ends_with(0);
    for run in ["1", "2"] {
        project.run(&["cancel", run]).ends_with(0).says(&format!("run #{run} is cancelled"));
        let shown = project.json(&["show", run, "--json"]);
        assert_eq!(
            (&shown["state"], &shown["tasks"][0]["state"]),
            (&"cancelled".into(), &"cancelled".into())
        );
        project.run(&["resume", run]).ends_with(1);
    }
    // What was cancelled can be tried again.
    project.write("go", "");
    project.run(&["retry", "1"]).ends_with(0);
    assert_eq!(project.lines("order"), ["wait"]);
}

#[test]
fn prog_021_run_007_an_enqueued_run_waits_until_it_is_resumed() {
    let project = Project::new(GATE);
    project.write("go", "");
    assert_eq!(project.run(&["enqueue", "wait"]).ends_with(0).stdout, "1\n");
    project.run(&["enqueue"]).ends_with(2).says("no target was named");
    project.run(&["enqueue", "nope"]).ends_with(2).says("there is no task `nope`");
    // Neither another run nor whoever looks takes it up.
    project.run(&["run", "bad"]).ends_with(1);
    project.run(&["why", "1"]).ends_with(0).says("run #1 is enqueued: nobody has begun it");
    project.run(&["approve", "1"]).ends_with(1).says("nobody has begun it yet");
    assert!(!project.has("began"));
    project.run(&["resume", "1"]).ends_with(0);
    assert_eq!(project.lines("order"), ["wait"]);
}

#[test]
fn prog_021_a_run_in_the_background_has_its_number_printed_and_ends_by_itself() {
    let project = Project::new(GATE);
    let arguments =
        ["run", "gate", "wait", "--detach", "-y", "-j", "2", "--events", "events.jsonl"];
    assert_eq!(project.run(&arguments).ends_with(0).stdout, "1\n");
    project.wait_for("began");
    project.run(&["resume", "1"]).ends_with(1).says("has a process already");
    project.write("go", "");
    project.run(&["logs", "1", "-f"]).ends_with(0);
    wait_until("the end", || project.read("events.jsonl").contains("session_done"));
    assert_eq!(project.json(&["show", "1", "--json"])["state"], "done");
    let mut order = project.lines("order");
    order.sort();
    assert_eq!(order, ["gate", "wait"]);

    for (events, said) in [("-", "has no standard output"), ("no/such/file", "No such file")] {
        let arguments = ["run", "bad", "--detach", "--events", events];
        project.run(&arguments).ends_with(2).says("cannot write events to").says(said);
    }
    project.run(&["run", "nope", "--detach"]).ends_with(2).says("there is no task `nope`");
    assert_eq!(project.json(&["ps", "--all", "--json"]).as_array().unwrap().len(), 1);
}

#[test]
fn prog_022_stats_tell_how_long_tasks_take_and_how_often_they_fail() {
    let project = Project::new(
        "
tasks:
  good: 'true'
  bad: exit 3
  flaky: { retry: { attempts: 2, initial: 1ms }, run: test $HOLDPOINT_ATTEMPT = 2 }
",
    );
    assert_eq!(project.run(&["stats", "--json"]).ends_with(0).stdout, "[]\n");
    for _ in 0..2 {
        project.run(&["run", "--all", "-k"]).ends_with(1);
    }
    project.run(&["run", "good"]).ends_with(0);
    let stats = project.run(&["stats", "--json"]).ends_with(0).stdout;
    let stats: Vec<Value> = serde_json::from_str(&stats).unwrap();
    let row = |task: &str| stats.iter().find(|row| row["task"] == task).unwrap();
    let counts = |task: &str| ["executed", "failed", "flaky"].map(|key| row(task)[key].as_u64());
    assert_eq!(counts("good"), [Some(3), Some(0), Some(0)]);
    assert_eq!(counts("bad"), [Some(2), Some(2), Some(0)]);
    assert_eq!(counts("flaky"), [Some(2), Some(0), Some(2)]);
    assert!(row("good")["p50_ms"].as_f64() <= row("good")["p95_ms"].as_f64());
    assert!(row("bad")["p50_ms"].is_null());
    project.run(&["stats", "flaky"]).ends_with(0).says("flaky").says("100 %");
    project.run(&["stats", "--last", "1"]).ends_with(0).says("good").does_not_say("bad");
    project.run(&["stats", "none"]).ends_with(2).says("`none` is neither a run nor a task of one");
}

/// What has taken longest begins first, once that is known.
#[test]
fn graph_003_what_is_known_to_take_longest_begins_first() {
    let project = Project::new(
        "
limits: { jobs: 1 }
tasks:
  a-short: echo a >> order
  b-long: 'echo b >> order; sleep 0.2'
",
    );
    project.run(&["run", "--all"]).ends_with(0);
    project.run(&["run", "--all"]).ends_with(0);
    assert_eq!(project.lines("order"), ["a", "b", "b", "a"]);
    // Without what is known, they begin by name.
    std::fs::remove_dir_all(project.path(".holdpoint/cache")).unwrap();
    project.run(&["run", "--all"]).ends_with(0);
    assert_eq!(project.lines("order")[4..], ["a", "b"]);
}
