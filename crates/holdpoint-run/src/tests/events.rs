//! From the graph's events to the core's, one by one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdpoint_core::event::{CacheSource, EventKind, FailCause, HoldMode, SkipCause};
use holdpoint_core::{BoxError, CancelCode, CancelInfo, Monotonic, TaskName, Timestamp};
use holdpoint_graph::{
    Outcome, SkipCause as GraphSkip, Source, TaskEvent, TaskEventKind, TaskFailure, TaskId,
    UpstreamEnd,
};
use holdpoint_process::Status;

use super::plan;
use crate::commands::ProcessFailed;
use crate::events::Recorder;
use crate::plan::Plan;

/// A run of tasks `a` and `b` that has begun, and what it has told.
struct Run {
    recorder: Recorder,
    log: Arc<Mutex<Vec<EventKind>>>,
    a: TaskId,
    b: TaskId,
}

impl Run {
    fn begin() -> Self {
        Self::begin_after(HashMap::new())
    }

    /// A start after others, which have told of these ends.
    fn begin_after(ended: HashMap<TaskName, &'static str>) -> Self {
        let plan: Plan = plan(
            "/app".as_ref(),
            "tasks: { a: { run: x, holds: [{ name: db, shared: true }] }, b: x }",
        );
        let (a, b) = (plan.topology().find("a").unwrap(), plan.topology().find("b").unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&log);
        let tell = move |kind| told.lock().unwrap().push(kind);
        Self { recorder: Recorder::new(plan, 1, ended, tell), log, a, b }
    }

    fn task(&self, kind: TaskEventKind) {
        self.recorder.task(&TaskEvent { at: Monotonic::ZERO, task: self.a, kind });
    }

    fn names(&self) -> Vec<&'static str> {
        self.log.lock().unwrap().iter().map(EventKind::name).collect()
    }

    /// What one event of task `a` is told as; none where it is not told.
    fn told(kind: TaskEventKind) -> Option<EventKind> {
        let run = Self::begin();
        run.task(kind);
        run.log.lock().unwrap().pop()
    }

    fn ended(outcome: impl FnOnce(TaskId) -> Outcome) -> EventKind {
        let run = Self::begin();
        run.task(TaskEventKind::Ended(outcome(run.b)));
        run.log.lock().unwrap().pop().unwrap()
    }
}

fn name(text: &str) -> TaskName {
    text.parse().unwrap()
}

fn cause(code: CancelCode, text: &str) -> CancelInfo {
    CancelInfo::new(code, text, Timestamp::from_micros(0))
}

fn failed(failure: TaskFailure) -> EventKind {
    Run::ended(|_| Outcome::Failed { failure, allowed: false })
}

#[test]
fn store_011_the_end_of_an_executed_task_is_told_with_its_record_and_not_again() {
    let run = Run::begin();
    run.task(TaskEventKind::Started);
    let outcome = Outcome::Succeeded(Source::Fresh);
    let told = run.recorder.end(run.a, &outcome).unwrap();
    assert_eq!(told.name(), "task_succeeded");
    run.task(TaskEventKind::Ended(outcome));
    assert_eq!(run.names(), ["task_started"]);
}

#[test]
fn graph_008_what_an_earlier_start_has_told_is_not_told_again_unless_it_ends_otherwise() {
    let run = Run::begin_after(HashMap::from([(name("a"), "task_skipped")]));
    let skipped = Outcome::Skipped(GraphSkip::Condition("not today".into()));
    run.task(TaskEventKind::Ended(skipped));
    assert!(run.names().is_empty());
    let run = Run::begin_after(HashMap::from([(name("a"), "task_skipped")]));
    run.task(TaskEventKind::Ended(Outcome::Succeeded(Source::Cache)));
    assert_eq!(run.names(), ["task_succeeded"]);
}

#[test]
fn run_002_while_it_is_wound_up_nothing_is_told_to_begin() {
    let run = Run::begin();
    run.task(TaskEventKind::HoldAcquired);
    run.recorder.wind_up();
    run.task(TaskEventKind::Started);
    run.task(TaskEventKind::HoldWaiting);
    run.task(TaskEventKind::HoldReleased);
    run.task(TaskEventKind::Ended(Outcome::Succeeded(Source::Fresh)));
    assert_eq!(run.names(), ["hold_acquired", "hold_released", "task_succeeded"]);
}

#[test]
fn fail_fast_is_no_request_to_cancel_the_run() {
    let internal = cause(CancelCode::Internal, "task b failed");
    let told = Run::ended(|root| Outcome::Cancelled {
        cause: Some(internal.into()),
        root: Some(root),
        aborted: false,
    });
    let EventKind::TaskCancelled { task, cause, text, upstream } = told else { panic!("{told:?}") };
    assert_eq!((task, upstream), (name("a"), Some(name("b"))));
    assert_eq!((cause, text.as_deref()), (CancelCode::Internal, Some("task b failed")));
}

#[test]
fn a_failure_has_its_cause_and_exit_code() {
    let exit = TaskFailure::from(BoxError::from(ProcessFailed(Status::Code(3))));
    let told = failed(exit);
    let EventKind::TaskFailed { task, cause, message, exit_code, allowed } = told else { panic!() };
    assert_eq!((task, cause, exit_code, allowed), (name("a"), FailCause::Exit, Some(3), false));
    assert_eq!(&*message, "exit code 3");

    let causes = [
        (TaskFailure::from(BoxError::from(ProcessFailed(Status::Signal(9)))), FailCause::Signal),
        (TaskFailure::new("timed out after 1s").with_code("timeout"), FailCause::Timeout),
        (TaskFailure::new("index out of bounds").with_code("panic"), FailCause::Panic),
        (TaskFailure::new("rejected").with_code("rejected"), FailCause::Rejected),
        (TaskFailure::new("no"), FailCause::Error),
    ];
    for (failure, expected) in causes {
        let EventKind::TaskFailed { cause, exit_code, .. } = failed(failure) else { panic!() };
        assert_eq!((cause, exit_code), (expected, None));
    }
}

#[test]
fn what_may_fail_is_marked() {
    let told =
        Run::ended(|_| Outcome::Errored { failure: TaskFailure::new("gone"), allowed: true });
    assert!(
        matches!(told, EventKind::TaskErrored { allowed: true, message, .. } if &*message == "gone")
    );
}

#[test]
fn graph_007_a_skipped_task_names_the_root() {
    let ends = [
        (UpstreamEnd::Failed, SkipCause::UpstreamFailed),
        (UpstreamEnd::Errored, SkipCause::UpstreamErrored),
        (UpstreamEnd::Skipped, SkipCause::UpstreamSkipped),
        (UpstreamEnd::Cancelled, SkipCause::UpstreamCancelled),
    ];
    for (how, expected) in ends {
        let told = Run::ended(|root| Outcome::Skipped(GraphSkip::Upstream { root, how }));
        let EventKind::TaskSkipped { cause, upstream, message, .. } = told else { panic!() };
        assert_eq!((cause, upstream, message), (expected, Some(name("b")), None));
    }
    let told = Run::ended(|root| Outcome::Skipped(GraphSkip::Stopped { root }));
    assert!(matches!(told, EventKind::TaskSkipped { cause: SkipCause::Stopped, .. }));
    let told = Run::ended(|_| Outcome::Skipped(GraphSkip::Condition("not today".into())));
    let EventKind::TaskSkipped { cause, upstream, message, .. } = told else { panic!() };
    assert_eq!(
        (cause, upstream, message.as_deref()),
        (SkipCause::Condition, None, Some("not today"))
    );
}

#[test]
fn a_retry_names_the_attempt_that_failed() {
    let kind = TaskEventKind::Retry {
        attempt: 2,
        delay: Duration::from_millis(1500),
        failure: TaskFailure::new("exit code 1"),
    };
    let told = Run::told(kind).unwrap();
    let EventKind::TaskRetry { attempt, delay_ms, message, .. } = told else { panic!() };
    assert_eq!((attempt, delay_ms, &*message), (1, 1500, "exit code 1"));
}

#[test]
fn holds_are_told_with_scope_and_mode() {
    for kind in
        [TaskEventKind::HoldWaiting, TaskEventKind::HoldAcquired, TaskEventKind::HoldReleased]
    {
        let (EventKind::HoldWaiting { task, holds, .. }
        | EventKind::HoldAcquired { task, holds }
        | EventKind::HoldReleased { task, holds }) = Run::told(kind).unwrap()
        else {
            panic!()
        };
        assert_eq!(task, Some(name("a")));
        assert_eq!((holds[0].name.as_str(), holds[0].mode), ("db", HoldMode::Shared));
    }
}

#[test]
fn the_answer_to_a_condition_is_no_miss_of_a_cache() {
    assert_eq!(Run::told(TaskEventKind::Miss), None);
    let told = Run::ended(|_| Outcome::Succeeded(Source::Cache));
    assert!(matches!(told, EventKind::TaskSucceeded { source: CacheSource::Cache, .. }));
}
