//! What effects and bodies return, and how the session ends by it (SESS-008).

use std::fmt;

use super::body_host::cause;
use crate::body::{BodyError, Kind, OpError, StepFailure, Terminal, body_end};
use crate::cancel::{CancelCode, CancelInfo};
use crate::clock::Timestamp;
use crate::error::{BoxError, Retryable};
use crate::session::{BodyEnd, Completion};

#[derive(Debug, thiserror::Error)]
enum Mine {
    #[error("the session said")]
    Wrapped(#[from] BodyError),
    #[error(transparent)]
    Transparent(BodyError),
}

fn cancelled() -> BodyError {
    BodyError::Cancelled(cause())
}

fn failed(retryable: bool) -> BodyError {
    let error = OpError::Failed { message: "card declined".to_owned(), retryable };
    BodyError::of_operation(Kind::Step, "charge", error)
}

fn end(error: impl Into<BoxError>) -> BodyEnd {
    body_end(Err(error.into()), None)
}

fn ends_retryable(error: impl Into<BoxError>) -> bool {
    match end(error) {
        BodyEnd::Failed(failure) => failure.is_retryable(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sess_008_a_body_that_returns_its_cancellation_was_cancelled_however_it_is_wrapped() {
    let told = BodyEnd::Cancelled(cause());
    assert_eq!(end(cancelled()), told);
    assert_eq!(end(Mine::from(cancelled())), told);
    assert_eq!(end(Mine::Transparent(cancelled())), told);
    assert_eq!(end(Terminal::new(cancelled())), told);
    assert_eq!(end(anyhow::Error::from(cancelled())), told);
    assert_eq!(end(anyhow::Error::from(cancelled()).context("while merging")), told);
    assert_eq!(end(anyhow::Error::from(Mine::Transparent(cancelled()))), told);
    assert!(matches!(end("the session was asked to stop"), BodyEnd::Failed(_)));
    assert!(matches!(end(failed(true)), BodyEnd::Failed(_)));
}

#[test]
fn sess_008_the_cause_that_the_body_was_told_comes_before_the_one_it_returns() {
    let other = CancelInfo::new(CancelCode::Internal, "fail fast", Timestamp::from_micros(9));
    let returned = || Err(BodyError::Cancelled(other.clone()).into());
    assert_eq!(body_end(returned(), Some(&cause())), BodyEnd::Cancelled(cause()));
    assert_eq!(body_end(returned(), None), BodyEnd::Cancelled(other.clone()));
    let completion = Completion { output: Some("1".into()), ..Completion::default() };
    let ok = body_end(Ok(completion.clone()), Some(&cause()));
    assert_eq!(ok, BodyEnd::Ok(completion));
}

#[test]
fn sess_008_a_failure_says_all_that_led_to_it_and_whether_again_makes_sense() {
    let BodyEnd::Failed(failure) = end(anyhow::Error::from(failed(true)).context("no merge"))
    else {
        panic!("it failed");
    };
    assert_eq!(&**failure.message(), "no merge: step `charge` failed: card declined");
    assert!(ends_retryable("any text"));
    assert!(ends_retryable(failed(true)) && !ends_retryable(failed(false)));
    assert!(!ends_retryable(Mine::from(failed(false))));
    assert!(!ends_retryable(Mine::Transparent(failed(false))));
    assert!(!ends_retryable(Terminal::new("x")));
    assert!(!ends_retryable(Terminal::new(failed(true))), "the outermost decides");
    // What wraps by type hides the type of the head.
    assert!(!ends_retryable(anyhow::Error::from(failed(false))));
    assert!(ends_retryable(anyhow::Error::from(failed(true))));
    assert!(!ends_retryable(anyhow::Error::from(Terminal::new("x"))));
    assert!(!ends_retryable(anyhow::Error::from(Terminal::new("x")).context("y")));
    let misplaced = BodyError::of_operation(Kind::Ask, "q", OpError::Misplaced);
    assert!(!ends_retryable(anyhow::Error::from(misplaced)));
}

#[test]
fn sess_017_any_error_of_an_effect_becomes_its_whole_chain() {
    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no number")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    fn effect() -> Result<u32, StepFailure> {
        "x".parse().map_err(Outer).map_err(StepFailure::from)
    }
    let failure = effect().unwrap_err();
    assert_eq!(failure.to_string(), "no number: invalid digit found in string");
    assert!(failure.is_retryable());
    let failure = StepFailure::new(anyhow::anyhow!("inner").context("outer"));
    assert_eq!(failure.to_string(), "outer: inner");
    assert!(failure.is_retryable() && !StepFailure::terminal("x").is_retryable());
    assert!(!StepFailure::from(Terminal::new("x")).is_retryable());
    assert!(!StepFailure::from(failed(false)).is_retryable());
    let given_up = StepFailure::from(cause());
    assert!(!given_up.is_retryable());
    assert_eq!(given_up.to_string(), "cancelled: user: changed my mind");
}

#[test]
fn core_009_a_body_error_says_where_and_what() {
    let chain = |error: &BodyError| crate::error::message_of(error);
    assert_eq!(chain(&failed(true)), "step `charge` failed: card declined");
    let text = "the session was asked to stop: user: changed my mind";
    assert_eq!(chain(&cancelled()), text);
    assert_eq!((cancelled().operation(), cancelled().cancelled()), (None, Some(&cause())));
    assert_eq!(failed(true).operation(), Some("step `charge`"));
    assert!(!cancelled().is_retryable());
    let inner = Terminal::new(failed(true)).into_inner();
    assert!(inner.downcast_ref::<BodyError>().is_some());
    assert!(size_of::<BodyError>() <= 64, "{}", size_of::<BodyError>());
}
