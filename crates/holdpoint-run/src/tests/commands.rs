//! What the end of a process means for its task.

use holdpoint_core::{CancelCode, CancelInfo, Timestamp};
use holdpoint_graph::{Lookup, TaskEnd};
use holdpoint_process::{
    Failure, Line, LineEnd, OutputSink, ProcessError, Status, Stream, Tail, Verdict,
};

use crate::commands::{ProcessFailed, condition_met, task_end};

fn cause(code: CancelCode) -> CancelInfo {
    CancelInfo::new(code, "", Timestamp::from_micros(0))
}

fn failed(status: Status) -> Verdict {
    Verdict::Failed(Failure::Status(status))
}

fn tail(line: &str) -> Tail {
    let mut tail = Tail::new(1, 100);
    let bytes = line.as_bytes();
    tail.line(Stream::Stderr, Line { bytes, begins: true, end: LineEnd::Newline });
    tail
}

#[test]
fn proc_002_an_exit_code_becomes_the_outcome_of_the_task() {
    assert!(matches!(task_end(Ok(Verdict::Succeeded)), TaskEnd::Succeeded));
    for status in [Status::Code(3), Status::Signal(9)] {
        let TaskEnd::Failed(failure) = task_end(Ok(failed(status))) else { panic!("{status}") };
        assert_eq!(failure.message(), status.to_string());
        assert!(!failure.is_permanent());
        let source = failure.source().unwrap().downcast_ref::<ProcessFailed>().unwrap();
        assert_eq!(source.0, status);
    }
    let killed = Verdict::Cancelled(cause(CancelCode::User));
    assert!(matches!(task_end(Ok(killed)), TaskEnd::Cancelled));
    // That its time was up is told by the graph, which set the limit.
    let timeout = Verdict::Failed(Failure::Timeout(cause(CancelCode::Timeout)));
    assert!(matches!(task_end(Ok(timeout)), TaskEnd::Cancelled));
}

#[test]
fn what_cannot_be_started_errs_and_is_tried_again_only_where_that_may_help() {
    let missing = ProcessError::ProgramNotFound { program: "cx".into(), searched: None };
    let TaskEnd::Errored(failure) = task_end(Err(missing)) else { panic!() };
    assert!(failure.is_permanent() && failure.message().starts_with("program cx not found"));
    let busy = ProcessError::TextBusy { path: "/bin/x".into() };
    let TaskEnd::Errored(failure) = task_end(Err(busy)) else { panic!() };
    assert!(!failure.is_permanent());
    let cancelled = ProcessError::Cancelled { cause: cause(CancelCode::User) };
    assert!(matches!(task_end(Err(cancelled)), TaskEnd::Cancelled));
}

#[test]
fn graph_014_a_condition_that_is_not_met_says_why() {
    let silent = Tail::new(1, 100);
    assert!(matches!(condition_met(Ok(Verdict::Succeeded), &silent), Lookup::Miss));
    let cancelled = Ok(Verdict::Cancelled(cause(CancelCode::User)));
    assert!(matches!(condition_met(cancelled, &silent), Lookup::Miss));

    let reason = |code, tail: &Tail| match condition_met(Ok(failed(Status::Code(code))), tail) {
        Lookup::Skip(reason) => reason.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(1, &silent), "`if` ended with exit code 1");
    let spoken = tail("sh: tset: not found");
    assert_eq!(reason(127, &spoken), "`if` ended with exit code 127: sh: tset: not found");

    let Lookup::Errored(failure) = condition_met(Ok(failed(Status::Signal(9))), &silent) else {
        panic!()
    };
    assert_eq!(failure.message(), "`if` ended with signal 9 (SIGKILL)");
}
