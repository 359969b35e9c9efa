//! From the graph's events to the core's, one by one.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::event::{
    CacheSource, Event, EventKind, EventLog, FailCause, HoldMode, SkipCause,
};
use holdpoint_core::session::{BodyEnd, Completion};
use holdpoint_core::{
    BoxError, CancelCode, CancelInfo, ManualClock, Monotonic, SessionId, SessionState, TaskName,
    Timestamp,
};
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
    log: Arc<EventLog>,
    a: TaskId,
    b: TaskId,
}

impl Run {
    fn begin() -> Self {
        let plan: Plan = plan(
            "/app".as_ref(),
            "tasks: { a: { run: x, holds: [{ name: db, shared: true }] }, b: x }",
        );
        let (a, b) = (plan.topology().find("a").unwrap(), plan.topology().find("b").unwrap());
        let log = Arc::new(EventLog::default());
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(5)));
        let recorder = Recorder::begin(plan, SessionId::generate(), clock, vec![log.clone()]);
        Self { recorder, log, a, b }
    }

    /// What one event of task `a` is told as; none where it is not told.
    fn told(kind: TaskEventKind) -> Option<EventKind> {
        let run = Self::begin();
        run.recorder.task(&TaskEvent { at: Monotonic::ZERO, task: run.a, kind });
        run.log.events().into_iter().nth(2).map(|event| event.kind)
    }

    fn ended(outcome: impl FnOnce(TaskId) -> Outcome) -> EventKind {
        let run = Self::begin();
        let kind = TaskEventKind::Ended(outcome(run.b));
        run.recorder.task(&TaskEvent { at: Monotonic::ZERO, task: run.a, kind });
        run.log.events().pop().unwrap().kind
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
fn core_006_a_stream_is_dense_and_begins_and_ends_with_its_session() {
    let run = Run::begin();
    run.recorder.task(&TaskEvent {
        at: Monotonic::ZERO,
        task: run.a,
        kind: TaskEventKind::Started,
    });
    let kind = TaskEventKind::Ended(Outcome::Succeeded(Source::Fresh));
    run.recorder.task(&TaskEvent { at: Monotonic::ZERO, task: run.a, kind });
    let state = run.recorder.end(BodyEnd::Ok(Completion::default()));
    assert!(matches!(state, SessionState::Done(_)));
    assert_eq!(
        run.log.names(),
        ["session_planned", "session_started", "task_started", "task_succeeded", "session_done"]
    );
    let events = run.log.events();
    assert!(events.iter().map(|event: &Event| event.seq).eq(1..=5));
    assert!(events.iter().all(|event| event.stream == events[0].stream));
}

#[test]
fn a_requested_cancel_is_told_once_and_before_the_first_task_it_ends() {
    let run = Run::begin();
    let user = cause(CancelCode::User, "SIGINT");
    let outcome =
        Outcome::Cancelled { cause: Some(user.clone().into()), root: None, aborted: false };
    let kind = TaskEventKind::Ended(outcome);
    run.recorder.task(&TaskEvent { at: Monotonic::ZERO, task: run.a, kind: kind.clone() });
    run.recorder.cancel_requested(&user);
    run.recorder.task(&TaskEvent { at: Monotonic::ZERO, task: run.b, kind });
    let state = run.recorder.end(BodyEnd::Cancelled(user.clone()));
    assert_eq!(state, SessionState::Cancelled(user));
    assert_eq!(
        run.log.names()[2..],
        ["session_cancel_requested", "task_cancelled", "task_cancelled", "session_cancelled"]
    );
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
