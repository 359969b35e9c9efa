//! Attempts of steps: retries, limits, and what an effect is told of itself (SESS-017).

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::time::Duration;

use super::body_host::{Life, Port, Record, call, call_on, cause, record};
use crate::backoff::Backoff;
use crate::body::{BodyError, Kind, OpError, OpKey, SessionContext, Step, StepFailure};
use crate::error::Retryable;

/// Delays pass at once, so that nothing else can happen first.
fn hurried(seed: u64) -> Life {
    Life { hurries: true, ..Life::new(seed) }
}

#[test]
fn sess_017_a_failed_attempt_is_made_again_until_it_is_the_last() {
    for (fails, attempts, made) in [(0, 1, 1), (1, 1, 1), (2, 3, 3), (5, 3, 3), (1, 0, 1)] {
        let seen = RefCell::new(Vec::new());
        let body = async |cx: SessionContext| {
            let step = Step::new("s").attempts(attempts).backoff(Backoff::fixed(Duration::ZERO));
            cx.step_with(step, async |attempt| {
                seen.borrow_mut().push((attempt.start(), attempt.number()));
                if attempt.number() <= fails {
                    return Err(StepFailure::new(format!("failure {}", attempt.number())));
                }
                Ok(attempt.number())
            })
            .await
        };
        let called = call(body);
        let expected: Vec<_> = (1..=made).map(|number| (1, number)).collect();
        assert_eq!(seen.take(), expected);
        let life = Life { start: 4, ..hurried(1) };
        let (recorded, journal) = record(body, &[], life).unwrap();
        let expected: Vec<_> = (1..=made).map(|number| (4, number)).collect();
        assert_eq!(seen.take(), expected);
        assert_eq!(recorded, called);
        assert_eq!(journal.len(), 1, "attempts are not recorded, their result is");
        match called {
            Ok(number) => assert_eq!(number, fails + 1),
            Err(error) => {
                assert_eq!(error.to_string(), "step `s` failed");
                let fault = std::error::Error::source(&error).unwrap().to_string();
                assert_eq!(fault, format!("failure {made}"));
                assert!(error.is_retryable());
            }
        }
    }
}

#[test]
fn sess_017_a_failure_for_good_is_not_tried_again() {
    let made = Cell::new(0);
    let result = call(async |cx| {
        cx.step_with(Step::new("s").attempts(9), async |_| {
            made.set(made.get() + 1);
            Err::<(), _>(StepFailure::terminal("no such card"))
        })
        .await
    });
    assert_eq!(made.get(), 1);
    assert!(!result.unwrap_err().is_retryable());
}

#[test]
fn sess_017_an_idempotency_key_is_the_same_in_all_attempts_and_starts_and_no_other_steps() {
    let keys = RefCell::new(Vec::new());
    let body = async |cx: SessionContext| {
        for _ in 0..2 {
            let step = Step::new("pay it").attempts(2).backoff(Backoff::fixed(Duration::ZERO));
            let _failed: Result<(), _> = cx
                .step_with(step, async |attempt| {
                    keys.borrow_mut().push(attempt.idempotency_key());
                    Err(StepFailure::new("down"))
                })
                .await;
        }
    };
    call(body);
    let first = keys.take();
    record(body, &[], Life { start: 2, ..hurried(1) }).unwrap();
    assert_eq!(keys.take(), first);
    let id = Port::new(true, 1).context().session_id();
    let expected = [1, 1, 2, 2].map(|number| format!("{id}/pay it/{number}"));
    assert_eq!(first, expected);
}

#[test]
fn an_attempt_that_takes_too_long_is_dropped_and_has_failed() {
    struct Dropped<'a>(&'a Cell<u32>);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Cell::new(0);
    let body = async |cx: SessionContext| {
        let step = Step::new("slow")
            .attempts(2)
            .timeout(Duration::from_secs(5))
            .backoff(Backoff::fixed(Duration::ZERO));
        cx.step_with(step, async |attempt| {
            assert_eq!(dropped.get() % 2, attempt.number() - 1, "the one before is gone");
            let _guard = Dropped(&dropped);
            pending::<Result<(), StepFailure>>().await
        })
        .await
    };
    let error =
        BodyError::TimedOut { operation: "step `slow`".to_owned(), after: Duration::from_secs(5) };
    assert_eq!(call(body), Err(error.clone()));
    assert_eq!(dropped.get(), 2);
    let (result, journal) = record(body, &[], hurried(1)).unwrap();
    assert_eq!(result, Err(error.clone()));
    let outcome = Err(OpError::TimedOut { after: Duration::from_secs(5) });
    assert_eq!(journal, [Record::Op(OpKey::new(Kind::Step, "slow", 0), outcome)]);
    assert_eq!(record(body, &journal, hurried(1)).unwrap().0, Err(error.clone()));
    assert_eq!(error.to_string(), "step `slow` took longer than 5s");
    assert!(error.is_retryable());
}

#[test]
fn an_effect_that_is_ready_beats_its_limit() {
    let result = call(async |cx| {
        cx.step_with(Step::new("s").timeout(Duration::ZERO), async |_| Ok(1)).await
    });
    assert_eq!(result, Ok(1));
}

#[test]
fn sess_017_a_step_that_waits_to_try_again_ends_when_the_session_is_asked_to_stop() {
    for is_cleanup in [false, true] {
        let port = Port::new(false, 1);
        let result = call_on(&port, async |cx| {
            let cx = if is_cleanup { cx.cleanup() } else { cx };
            cx.step_with(Step::new("s").attempts(2), async |attempt| {
                port.request_cancel();
                if attempt.number() == 1 { Err(StepFailure::new("down")) } else { Ok(()) }
            })
            .await
        });
        let expected = if is_cleanup { Ok(()) } else { Err(BodyError::Cancelled(cause())) };
        assert_eq!(result, expected, "cleanup: {is_cleanup}");
    }
}

#[test]
fn sess_020_where_nothing_is_recorded_no_port_hears_of_a_plain_step() {
    let port = Port::new(false, 1);
    assert_eq!(call_on(&port, async |cx| cx.step("s", async || Ok(1)).await), Ok(1));
    assert_eq!(port.opened(), 0);
    assert_eq!(call_on(&port, async |cx| cx.step_with("s", async |_| Ok(1)).await), Ok(1));
    assert_eq!(port.opened(), 1, "to be numbered, for its key");
}

#[test]
fn sess_017_a_result_that_does_not_serialise_is_a_failed_step() {
    let body = async |cx: SessionContext| {
        let effect = async || Ok(std::collections::HashMap::from([((1, 2), 3)]));
        cx.step("s", effect).await.map(drop)
    };
    let error = record(body, &[], Life::new(1)).unwrap().0.unwrap_err();
    let fault = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(fault, "its result does not serialise: key must be a string");
    assert!(!error.is_retryable());
}
