//! CORE-009.

use std::error::Error;
use std::fmt;

use crate::event::EventKind;
use crate::session::{Failure, FailureCause, SessionInput, SessionMachine};
use crate::{
    Backoff, BatchId, BoxError, CancelCode, CancelInfo, Name, Retryable, SessionId, Timestamp,
};

#[derive(Debug)]
struct Outer(Inner);
#[derive(Debug, PartialEq)]
struct Inner;

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot fetch")
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no route")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Error for Inner {}

#[test]
fn core_009_every_error_answers_whether_to_try_again() {
    let (mut session, _) = SessionMachine::plan();
    let mut snapshot = session.snapshot();
    snapshot.attempt = 0;
    let errors: [Box<dyn Retryable>; 7] = [
        Box::new("".parse::<Name>().unwrap_err()),
        Box::new("".parse::<SessionId>().unwrap_err()),
        Box::new("".parse::<BatchId>().unwrap_err()),
        Box::new("".parse::<Timestamp>().unwrap_err()),
        Box::new(Backoff::fixed(std::time::Duration::ZERO).jitter(2.0).unwrap_err()),
        Box::new(session.apply(SessionInput::Retry).unwrap_err()),
        Box::new(SessionMachine::restore(snapshot).unwrap_err()),
    ];
    for error in errors {
        assert!(!error.is_retryable(), "{error}");
        let message = error.to_string();
        assert!(message.starts_with(|c: char| c.is_lowercase()) && !message.ends_with('.'));
    }
    assert!(Failure::from_error("busy", true).is_retryable());
    assert!(!Failure::from_error("wrong", false).is_retryable());
    assert!(!Failure::panic("index out of bounds").is_retryable());
}

#[test]
fn core_009_a_failure_keeps_the_bodys_error_and_its_sources() {
    let failure = Failure::from_error(Outer(Inner), true);
    assert_eq!(failure.cause(), FailureCause::Error);
    assert_eq!(failure.to_string(), "cannot fetch: no route");
    assert!(failure.body_error().unwrap().is::<Outer>());
    assert_eq!(failure.source().unwrap().downcast_ref(), Some(&Inner));
    let boxed: BoxError = Box::new(Outer(Inner));
    assert!(Failure::from_error(boxed, true).body_error().unwrap().is::<Outer>());
    assert!(Failure::panic("boom").source().is_none());
}

#[test]
fn core_009_failures_are_equal_by_what_can_be_recorded() {
    let failure = |text, retryable| Failure::from_error(text, retryable);
    assert_eq!(failure("a", true), failure("a", true));
    assert_ne!(failure("a", true), failure("b", true));
    assert_ne!(failure("a", true), failure("a", false));
    assert_ne!(failure("a", false), Failure::panic("a"));
    assert!(!format!("{:?}", failure("a", true)).contains("source"));
}

#[test]
fn core_009_a_time_limit_is_a_failure_that_may_pass() {
    let (mut session, _) = SessionMachine::plan();
    let limit = CancelInfo::new(CancelCode::Timeout, "", Timestamp::from_micros(9));
    let transition = session.apply(SessionInput::Cancel(limit)).unwrap();
    let Some(EventKind::SessionFailed(failure)) = transition.into_iter().next() else {
        panic!("a time limit fails a session");
    };
    assert!(failure.is_retryable());
    assert_eq!(failure.to_string(), "a time limit passed");
    let requested_at = Timestamp::from_micros(9);
    assert_eq!(failure.cause(), FailureCause::Timeout { requested_at });
}
