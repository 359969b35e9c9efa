//! Plans carried out with real processes.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdpoint_core::event::EventLog;
use holdpoint_core::{Cancel, CancelCode, EventKind, SessionState};
use holdpoint_graph::{OnFailure, Outcome};
use holdpoint_hold::{Hold, Holds};
use holdpoint_process::{Environment, Line, Stream};

use super::plan;
use crate::driver::run;
use crate::error::RunError;
use crate::options::RunOptions;
use crate::output::{Attempt, AttemptOutput, TaskOutput};
use crate::report::{Ending, RunEnd};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Runs every task of a manifest in `folder`.
fn run_all(folder: &Path, text: &str, options: RunOptions) -> RunEnd {
    block_on(run(&plan(folder, text), options)).unwrap()
}

fn outcome(end: &RunEnd, task: &str) -> Outcome {
    let report = end.report().unwrap();
    report.outcome(report.topology().find(task).unwrap())
}

#[test]
fn a_run_can_be_spawned() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), "tasks: { a: 'true' }");
    let end = block_on(is_send(run(&plan, RunOptions::default()))).unwrap();
    assert_eq!(end.ending(None), Ending::Succeeded);
}

#[test]
fn a_process_is_one_attempt_and_both_ends_of_it_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(EventLog::default());
    let text = "
tasks:
  a:
    retry: { attempts: 3, initial: 1ms }
    run: test $HOLDPOINT_ATTEMPT = 2 || exit 4
";
    let end = run_all(folder.path(), text, RunOptions::default().sink(log.clone()));
    assert!(matches!(end.state(), SessionState::Done(_)));
    assert_eq!(
        log.names(),
        [
            "session_planned",
            "session_started",
            "task_started",
            "process_started",
            "process_exited",
            "task_retry",
            "process_started",
            "process_exited",
            "task_succeeded",
            "session_done",
        ]
    );
    let mut attempts = Vec::new();
    let mut exits = Vec::new();
    for event in log.events() {
        match event.kind {
            EventKind::ProcessStarted { start, attempt, pid, .. } => {
                attempts.push((start, attempt, pid));
            }
            EventKind::ProcessExited { pid, exit_code, .. } => exits.push((pid, exit_code)),
            _ => {}
        }
    }
    assert_eq!(
        attempts.iter().map(|(start, attempt, _)| (*start, *attempt)).collect::<Vec<_>>(),
        [(1, 1), (1, 2)]
    );
    assert_eq!(exits, [(attempts[0].2, Some(4)), (attempts[1].2, Some(0))]);
}

#[test]
fn proc_001_a_task_knows_its_run_and_inherits_the_callers_environment() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
tasks:
  a:
    dir: src
    env: { GREETING: hello, PASSED: no }
    pass_env: [SOCKET]
    run: |
      echo $HOLDPOINT_SESSION $HOLDPOINT_TASK $HOLDPOINT_START $HOLDPOINT_ATTEMPT
      echo $HOLDPOINT_PROJECT $HOLDPOINT_WORKSPACE $HOLDPOINT_RUN
      echo $GREETING $PASSED $SOCKET $OTHER
      pwd
";
    fs::create_dir(folder.path().join("src")).unwrap();
    let caller = Environment::from_iter([
        ("PATH", "/usr/bin:/bin"),
        ("PASSED", "yes"),
        ("SOCKET", "s"),
        ("OTHER", "o"),
        ("HOLDPOINT_RUN", "of another run"),
    ]);
    let end = run_all(folder.path(), text, RunOptions::default().caller(caller));
    assert_eq!(end.ending(None), Ending::Succeeded);
    let root = folder.path().canonicalize().unwrap();
    let root = root.display();
    let shown = folder.path().display();
    let expected = format!("{} a 1 1\n{shown} {shown}\nhello no s o\n{root}/src\n", end.session(),);
    assert_eq!(fs::read_to_string(end.logs().unwrap().join("a.log")).unwrap(), expected);
}

#[test]
fn a_condition_has_the_tasks_environment_and_folder_and_skips_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/here"), "").unwrap();
    let text = "
tasks:
  wanted: { dir: src, env: { FILE: here }, if: test -f $FILE, run: touch ran }
  unwanted: { dir: src, if: 'echo no such day >&2; exit 1', run: touch ran-too }
  after: { needs: unwanted, run: touch ran-as-well }
";
    let end = run_all(folder.path(), text, RunOptions::default());
    assert_eq!(end.ending(None), Ending::Succeeded);
    let ran: Vec<bool> = ["src/ran", "src/ran-too", "ran-as-well"]
        .iter()
        .map(|file| folder.path().join(file).exists())
        .collect();
    assert_eq!(ran, [true, false, false]);
    let reason = format!("{:?}", outcome(&end, "unwanted"));
    assert!(reason.contains("`if` ended with exit code 1: no such day"), "{reason}");
}

#[test]
fn a_group_has_no_process_and_a_silent_run_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(EventLog::default());
    let text = "tasks: { all: { needs: [a] }, a: 'true' }";
    let end = run_all(folder.path(), text, RunOptions::default().sink(log.clone()));
    assert_eq!(log.names().iter().filter(|name| **name == "process_started").count(), 1);
    assert_eq!(end.report().unwrap().counts().fresh, 2);
    assert_eq!(end.logs(), None);
}

/// What was printed, as `task.attempt: line`, and which attempts were closed.
#[derive(Default)]
struct Printed(Arc<Mutex<Vec<String>>>);

struct Printing {
    label: String,
    to: Arc<Mutex<Vec<String>>>,
}

impl TaskOutput for Printed {
    fn open(&self, attempt: &Attempt<'_>) -> Box<dyn AttemptOutput> {
        assert!(attempt.log.starts_with(attempt.log.parent().unwrap()));
        let label = format!("{}.{}", attempt.task, attempt.number);
        Box::new(Printing { label, to: Arc::clone(&self.0) })
    }
}

impl AttemptOutput for Printing {
    fn line(&mut self, stream: Stream, line: Line<'_>) {
        let text = String::from_utf8_lossy(line.bytes);
        self.to.lock().unwrap().push(format!("{} {stream}: {text}", self.label));
    }

    fn close(self: Box<Self>, is_leaky: bool) {
        self.to.lock().unwrap().push(format!("{} closed, leaky: {is_leaky}", self.label));
    }
}

#[test]
fn proc_005_output_goes_to_its_receiver_and_to_a_file_of_each_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let printed = Printed::default();
    let lines = Arc::clone(&printed.0);
    let text = "
tasks:
  a:
    retry: { attempts: 2, initial: 1ms }
    run: 'echo attempt $HOLDPOINT_ATTEMPT; exit 1'
";
    let end = run_all(folder.path(), text, RunOptions::default().output(Arc::new(printed)));
    assert_eq!(
        *lines.lock().unwrap(),
        [
            "a.1 stdout: attempt 1",
            "a.1 closed, leaky: false",
            "a.2 stdout: attempt 2",
            "a.2 closed, leaky: false",
        ]
    );
    let logs = end.logs().unwrap();
    assert_eq!(fs::read_to_string(logs.join("a.log")).unwrap(), "attempt 1\n");
    assert_eq!(fs::read_to_string(logs.join("a@2.log")).unwrap(), "attempt 2\n");
}

#[test]
fn a_log_folder_that_cannot_be_made_is_an_error_of_the_task() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".holdpoint"), "a file").unwrap();
    let end = run_all(folder.path(), "tasks: { a: touch ran }", RunOptions::default());
    let Outcome::Errored { failure, .. } = outcome(&end, "a") else { panic!() };
    assert!(failure.message().contains("cannot be made"), "{failure}");
    assert!(!folder.path().join("ran").exists());
}

#[test]
fn graph_009_a_cancelled_run_ends_every_task_and_leaves_a_finished_one_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(EventLog::default());
    let cancel = Cancel::new();
    let text = "
limits: { jobs: 2 }
tasks:
  done: 'true'
  slow: { needs: done, run: sleep 600 }
  later: { needs: slow, run: touch ran }
";
    let plan = plan(folder.path(), text);
    let on_start = cancel.clone();
    let when_slow_runs = move |event: &holdpoint_core::Event| {
        if matches!(&event.kind, EventKind::ProcessStarted { task, .. } if task.task().as_str() == "slow")
        {
            on_start.cancel(CancelCode::User, "enough");
        }
    };
    let options =
        RunOptions::default().cancel(cancel).sink(log.clone()).sink(Arc::new(when_slow_runs));
    let end = block_on(run(&plan, options)).unwrap();
    assert!(outcome(&end, "done").is_success());
    for task in ["slow", "later"] {
        let Outcome::Cancelled { cause: Some(cause), .. } = outcome(&end, task) else { panic!() };
        assert_eq!((cause.code, &*cause.text), (CancelCode::User, "enough"));
    }
    assert_eq!(end.ending(None), Ending::Cancelled);
    assert_eq!(end.ending(Some(2)).exit_code(), 130);
    assert_eq!(log.names().last(), Some(&"session_cancelled"));
    assert!(!folder.path().join("ran").exists());
}

#[test]
fn a_killed_run_ends_at_once_although_a_process_ignores_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let (cancel, kill) = (Cancel::new(), Cancel::new());
    let text = "tasks: { stubborn: \"trap '' TERM; echo ready; while :; do sleep 1; done\" }";
    let plan = plan(folder.path(), text);

    /// Cancels at the first line, then kills.
    struct AtFirstLine(Cancel, Cancel);
    impl TaskOutput for AtFirstLine {
        fn open(&self, _: &Attempt<'_>) -> Box<dyn AttemptOutput> {
            Box::new(Self(self.0.clone(), self.1.clone()))
        }
    }
    impl AttemptOutput for AtFirstLine {
        fn line(&mut self, _: Stream, _: Line<'_>) {
            self.0.cancel(CancelCode::User, "SIGINT");
            self.1.cancel(CancelCode::User, "SIGINT");
        }
        fn close(self: Box<Self>, _: bool) {}
    }
    let options = RunOptions::default()
        .cancel(cancel.clone())
        .kill(kill.clone())
        // Longer than any test may take: the end below is not that of the grace.
        .grace(Duration::from_secs(3600))
        .output(Arc::new(AtFirstLine(cancel, kill)));
    let end = block_on(run(&plan, options)).unwrap();
    assert!(matches!(outcome(&end, "stubborn"), Outcome::Cancelled { .. }));
    assert_eq!(end.ending(None), Ending::Cancelled);
}

#[test]
fn fail_fast_fails_the_session_although_tasks_are_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
limits: { jobs: 2 }
tasks: { bad: exit 2, slow: sleep 600 }
";
    let options = RunOptions::default().on_failure(OnFailure::FailFast);
    let end = run_all(folder.path(), text, options);
    let SessionState::Failed(failure) = end.state() else { panic!("{:?}", end.state()) };
    assert_eq!(failure.to_string(), "1 task failed: bad");
    assert!(matches!(outcome(&end, "slow"), Outcome::Cancelled { root: Some(_), .. }));
    assert_eq!(end.ending(None), Ending::Failed);
}

#[test]
fn hold_010_runs_that_share_a_hold_set_must_agree_on_capacities() {
    let folder = tempfile::tempdir().unwrap();
    let holds = Holds::new();
    holds.declare("gpu", 4).unwrap();
    let _taken = holds.try_acquire(&[Hold::units("gpu", 1)]).unwrap().unwrap();
    let log = Arc::new(EventLog::default());
    let text = "
limits: { holds: { gpu: 2 } }
tasks: { a: { run: touch ran, holds: [{ name: gpu, units: 1 }] } }
";
    let options = RunOptions::default().holds(holds).sink(log.clone());
    let error = block_on(run(&plan(folder.path(), text), options)).unwrap_err();
    assert!(matches!(error, RunError::Graph(_)), "{error}");
    assert_eq!(log.names(), ["session_planned", "session_started", "session_failed"]);
    assert!(!folder.path().join("ran").exists());
}
