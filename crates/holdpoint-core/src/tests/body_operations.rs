//! What a body calls, where it may call it, and what cancellation does to it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::body_host::{Life, Port, Record, answer, call, call_on, cause, poll_once, record};
use crate::body::{
    Ask, BodyError, Child, Kind, OpKey, OpTable, Open, SessionContext, StepFailure, Wait, WaitAll,
    WrongAnswer, poll_body,
};
use crate::error::Retryable;
use crate::id::SessionId;
use crate::session::QuestionKind;

fn misplaced<T: std::fmt::Debug>(result: Result<T, BodyError>) -> String {
    match result {
        Err(BodyError::Misplaced { operation, .. }) => operation,
        other => panic!("{other:?}"),
    }
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn sess_017_what_is_called_outside_of_the_body_is_refused_and_names_itself() {
    let port = Port::new(true, 1);
    let cx = port.context();
    assert_eq!(misplaced(now(cx.step("s", async || Ok(1)))), "step `s`");
    assert_eq!(misplaced(now(cx.step_with("w", async |_| Ok(1)))), "step `w`");
    assert_eq!(misplaced(now(cx.ask::<String>(Ask::text("q", "?")))), "ask `q`");
    assert_eq!(misplaced(now(cx.sleep(Duration::ZERO))), "sleep `sleep`");
    assert_eq!(misplaced(now(cx.spawn_child::<()>(Child::new("b", &())))), "child `b`");
    assert_eq!(misplaced(cx.emit("x")), "emit");
    assert_eq!(port.opened(), 0);
    let direct = Port::new(false, 1).context();
    let error = now(direct.step("s", async || Ok(1))).unwrap_err();
    assert!(!error.is_retryable());
    let remedy = std::error::Error::source(&error).unwrap().to_string();
    assert!(remedy.contains("`FuturesUnordered` instead of spawned tasks"), "{remedy}");
}

#[test]
fn sess_017_what_an_effect_calls_of_its_context_is_refused_on_every_host() {
    let body = async |cx: SessionContext| {
        let inner = cx.clone();
        let nested = cx.step("outer", async || {
            let first = inner.step("inner", async || Ok(1)).await.unwrap_err();
            let emitted = inner.emit("x").unwrap_err();
            Ok((misplaced::<()>(Err(first)), misplaced::<()>(Err(emitted))))
        });
        let (step, emit) = nested.await?;
        // The call itself, too, not only its future.
        let called = cx.step("call", || {
            let wait = cx.sleep(Duration::ZERO);
            async { Ok(misplaced(wait.await)) }
        });
        Ok::<_, BodyError>((step, emit, called.await?))
    };
    let expected = ("step `inner`".to_owned(), "emit".to_owned(), "sleep `sleep`".to_owned());
    assert_eq!(call(body).unwrap(), expected);
    assert_eq!(record(body, &[], Life::new(1)).unwrap().0.unwrap(), expected);
}

#[test]
fn sess_017_an_operation_that_is_awaited_elsewhere_is_refused_and_taken_back() {
    let port = Port::new(true, 1);
    let cx = port.context();
    let mut wait = poll_body(&*port, || cx.ask::<String>(Ask::text("q", "?")));
    assert_eq!(port.table(|table| table.take_fresh().len()), 1);
    assert_eq!(misplaced(now(&mut wait)), "ask `q`");
    drop(wait);
    assert_eq!(port.table(|table| table.take_closed().len()), 1);
    // And where the body hands it to an effect.
    let mut body = pin!(async {
        let wait = cx.sleep(Duration::ZERO);
        cx.step("s", || async { Ok(misplaced(wait.await)) }).await
    });
    assert!(poll_once(&port, body.as_mut()).is_pending());
    for fresh in port.table(OpTable::take_fresh) {
        port.table(|table| table.permit(fresh.id));
    }
    assert!(poll_once(&port, body.as_mut()).is_pending());
    let (_, _, outcome) = port.table(|table| table.take_finished().remove(0));
    assert_eq!(outcome.unwrap(), "\"sleep `sleep`\"");
}

#[test]
fn sess_017_the_mark_of_the_body_that_is_polled_is_restored() {
    let (outer, inner) = (Port::new(true, 1), Port::new(true, 1));
    let (mine, other) = (outer.context(), inner.context());
    poll_body(&*outer, || {
        assert!(mine.emit("1").is_ok() && other.emit("1").is_err());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            poll_body(&*inner, || {
                assert!(mine.emit("2").is_err() && other.emit("2").is_ok());
                panic!("a body panics");
            });
        }));
        assert!(panicked.is_err());
        assert!(mine.emit("3").is_ok() && other.emit("3").is_err());
    });
    assert!(mine.emit("4").is_err());
    assert_eq!((outer.emitted().len(), inner.emitted().len()), (2, 1));
}

#[test]
fn sess_017_random_and_time_are_the_same_in_each_start_and_effects_take_nothing_from_them() {
    let body = async |cx: SessionContext| {
        let before = (cx.random(), cx.now());
        let fresh = cx.step("s", async || Ok((cx.random(), cx.random()))).await?;
        assert_ne!(fresh.0, fresh.1);
        Ok::<_, BodyError>((before, cx.random(), cx.now()))
    };
    let (first, journal) = record(body, &[], Life::new(1)).unwrap();
    let (again, _) = record(body, &journal, Life::new(2)).unwrap();
    assert_eq!(first, again, "the effect was not executed the second time");
    let (first, again) = (first.unwrap(), again.unwrap());
    assert_eq!(first.1, again.1);
}

#[test]
fn sess_017_an_operation_is_numbered_by_its_call_though_it_is_never_polled() {
    let port = Port::new(true, 1);
    let cx = port.context();
    let (first, second) = poll_body(&*port, || {
        let effect = async || Ok::<_, StepFailure>(1);
        (cx.step("s", effect), cx.step("s", effect))
    });
    drop(first);
    let open = port.table(|table| table.outstanding().map(OpKey::to_string).collect::<Vec<_>>());
    assert_eq!(open, ["step s #2"]);
    drop(second);
    assert!(port.table(|table| table.is_idle()));
}

#[test]
fn sess_017_results_are_decoded_from_their_record_live_too() {
    /// Comes back as it was not.
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Lossy {
        #[serde(skip)]
        lost: u32,
    }
    let body = async |cx: SessionContext| cx.step("s", async || Ok(Lossy { lost: 7 })).await;
    assert_eq!(record(body, &[], Life::new(1)).unwrap().0, Ok(Lossy { lost: 0 }));
    assert_eq!(call(body), Ok(Lossy { lost: 7 }), "where nothing is recorded, nothing is lost");
}

#[test]
fn sess_017_a_value_of_another_type_is_told_with_the_name_of_its_operation() {
    let body = async |cx: SessionContext| cx.ask::<u32>(Ask::text("q", "?")).await;
    let error = call(body).unwrap_err();
    assert_eq!(error.to_string(), "the result of ask `q` is no value of the type that is wanted");
    let journal = [Record::Op(OpKey::new(Kind::Step, "s", 0), Ok("\"x\"".to_owned()))];
    let body = async |cx: SessionContext| cx.step("s", async || Ok(1_u32)).await;
    let error = record(body, &journal, Life::new(1)).unwrap().0.unwrap_err();
    assert_eq!(error.operation(), Some("step `s`"));
    assert!(matches!(error, BodyError::Decode { .. }) && !error.is_retryable());
}

#[test]
fn sess_017_a_cancelled_body_gets_no_further_but_for_its_cleanup() {
    for is_recorded in [false, true] {
        let port = Port::new(is_recorded, 1);
        port.tell_cancel();
        let cx = port.context();
        let told = BodyError::Cancelled(cause());
        poll_body(&*port, || {
            let never = async || -> Result<(), StepFailure> { panic!("it is not executed") };
            assert_eq!(now(cx.step("s", never)), Err(told.clone()));
            assert_eq!(now(cx.step_with("s", async |_| never().await)), Err(told.clone()));
            assert_eq!(now(cx.ask::<String>(Ask::text("q", "?"))), Err(told.clone()));
            assert_eq!(now(cx.sleep(Duration::ZERO)), Err(told.clone()));
            assert_eq!(now(cx.spawn_child::<()>(Child::new("b", &()))), Err(told.clone()));
            assert_eq!(cx.cancel(), Some(cause()));
        });
        let cleaned = call_on(&port, async |cx| {
            let cleanup = cx.cleanup();
            cleanup.sleep(Duration::ZERO).await?;
            if is_recorded { Ok(1) } else { cleanup.step("s", async || Ok(1)).await }
        });
        assert_eq!(cleaned, Ok(1), "recorded: {is_recorded}");
    }
}

#[test]
fn sess_017_an_effect_sees_the_request_live_and_the_body_does_not() {
    let port = Port::new(false, 1);
    port.request_cancel();
    let result = call_on(&port, async |cx| {
        assert!(!cx.is_cancelled());
        let mistaken = misplaced(cx.cancel_requested().await);
        let step = cx.step("s", async || Err::<(), _>(cx.cancel_requested().await?.into())).await;
        (mistaken, step)
    });
    let expected = ("cancel_requested".to_owned(), Err(BodyError::Cancelled(cause())));
    assert_eq!(result, expected);
}

#[test]
fn sess_020_a_context_needs_no_more_than_its_port() {
    fn is_send<T: Send>(_: &T) {}
    fn is_shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn is_unpin<T: Unpin>(_: &T) {}
    let cx = Port::new(false, 1).context();
    is_shared(&cx);
    is_unpin(&cx.ask::<String>(Ask::text("q", "?")));
    is_unpin(&cx.ask_all::<String>([]));
    is_send(&cx.step("s", async || Ok(1)));
    is_send(&cx.step_with("s", async |_| Ok(1)));
    is_send(&cx.cancel_requested());
    // Neither borrows the context.
    let step = cx.cleanup().step("s", async || Ok(1));
    drop(cx);
    assert!(now(step).is_err());
    assert!(size_of::<SessionContext>() <= 24);
    assert!(size_of::<Wait<String>>() <= 64, "{}", size_of::<Wait<String>>());
    assert!(size_of::<WaitAll<String>>() <= 24);
}

#[test]
fn sess_020_a_step_takes_little_more_room_than_its_effect() {
    let cx = Port::new(false, 1).context();
    let ballast = [0_u8; 1000];
    let step = cx.step("s", async move || Ok(ballast.len()));
    // The closure, the future that owns it, and what the step itself keeps.
    assert!(size_of_val(&step) < 3 * 1000 + 200, "{}", size_of_val(&step));
    let step = cx.step("s", async || Ok(1));
    assert!(size_of_val(&step) <= 112, "{}", size_of_val(&step));
}

#[test]
fn sess_020_children_are_awaited_or_go_their_own_way() {
    let port = Port::new(true, 1);
    let cx = port.context();
    let waits = poll_body(&*port, || {
        let child = Child::new("b", "in").version(3).named("first");
        (cx.spawn_child::<String>(child), cx.spawn_detached(Child::new("b", &2)))
    });
    let fresh = port.table(OpTable::take_fresh);
    let specs: Vec<_> = fresh
        .iter()
        .map(|fresh| match &fresh.open {
            Open::Child(spec) => (spec.body.as_str(), spec.version, &*spec.input, spec.is_detached),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(specs, [("b", None, "2", true), ("b", Some(3), "\"in\"", false)]);
    drop(waits);
    let id: Result<SessionId, _> = call(async |cx| cx.spawn_detached(Child::new("b", &2)).await);
    assert!(id.is_ok());
    let odd = std::collections::HashMap::from([((1, 2), 3)]);
    let odd = call(async |cx| cx.spawn_child::<()>(Child::new("b", &odd)).await).unwrap_err();
    assert_eq!(odd.to_string(), "child `b` has a value that does not serialise");
}

#[test]
fn sess_020_several_questions_are_open_at_once_and_answered_in_any_order() {
    let port = Port::new(true, 1);
    let mut body = pin!(async {
        let cx = port.context();
        cx.ask_all::<String>(["b", "a"].map(|name| Ask::text(name, "?"))).await
    });
    assert!(poll_once(&port, body.as_mut()).is_pending());
    for fresh in port.table(OpTable::take_fresh) {
        let key = fresh.key.unwrap();
        let result = Ok(answer(&key.name, &fresh.open));
        let _delivered = port.table(|table| table.deliver(&key, result));
        if &*key.name == "a" {
            assert!(poll_once(&port, body.as_mut()).is_pending());
        }
    }
    let Poll::Ready(answers) = poll_once(&port, body.as_mut()) else { panic!("it waits") };
    assert_eq!(answers.unwrap(), ["b!", "a!"]);
    assert!(call(async |cx| cx.ask_all::<String>([]).await).unwrap().is_empty());
}

#[test]
fn sess_017_a_bad_name_is_refused_on_every_host() {
    let body = async |cx: SessionContext| {
        let long = "n".repeat(300);
        let first = cx.step("", async || Ok(1)).await.unwrap_err();
        let second = cx.ask::<String>(Ask::text(long, "?")).await.unwrap_err();
        [first, second].map(|error| {
            let fault = std::error::Error::source(&error).unwrap().to_string();
            (error.to_string().len() < 60, fault)
        })
    };
    let expected = [
        (true, "the name of an operation cannot be empty".to_owned()),
        (true, "the name of an operation has at most 256 bytes, this has 300".to_owned()),
    ];
    assert_eq!(call(body), expected);
    assert_eq!(record(body, &[], Life::new(1)).unwrap().0, expected);
}

#[test]
fn an_answer_fits_its_question_or_is_told_what_does() {
    let options = QuestionKind::Choice { options: ["red".into(), "blue".into()].into() };
    for (kind, answer) in [
        (&QuestionKind::Text, "\"x\""),
        (&QuestionKind::Secret, "\"\\u0041\""),
        (&QuestionKind::Confirm, " false "),
        (&options, "\"blue\""),
        (&QuestionKind::Value, "{\"a\": [1, null]}"),
    ] {
        assert_eq!(kind.check(answer), Ok(()), "{kind:?}");
    }
    for (kind, answer, says) in [
        (&QuestionKind::Text, "1", "the answer is a text: a JSON string"),
        (&QuestionKind::Secret, "null", "the answer is a text: a JSON string"),
        (&QuestionKind::Confirm, "\"true\"", "the answer is `true` or `false`"),
        (&options, "\"green\"", "the answer is one of `red`, `blue`"),
        (&options, "1", "the answer is one of `red`, `blue`"),
        (&QuestionKind::Value, "{", "the answer is no JSON value: line 1, column 1"),
        (&QuestionKind::Secret, "hunter2", "the answer is no JSON value: line 1, column 1"),
    ] {
        assert_eq!(kind.check(answer).map_err(|error| error.to_string()), Err(says.to_owned()));
    }
    let none = QuestionKind::Choice { options: [].into() };
    let error: WrongAnswer = none.check("\"x\"").unwrap_err();
    assert_eq!(error.to_string(), "the answer is one of no options at all");
    assert!(!error.is_retryable());
}

/// Where nothing is recorded, what is over at once lets others run after a while; where it is, a
/// poll goes as far as it can.
#[test]
fn sess_017_sess_020_a_body_that_calls_without_end_lets_others_run_where_nothing_is_recorded() {
    for (is_recorded, expected) in [(true, 1), (false, 3)] {
        let port = Port::new(is_recorded, 1);
        let cx = port.context();
        let mut body = pin!(async {
            for _ in 0..300 {
                cx.sleep_named("", Duration::ZERO).await.unwrap_err();
            }
        });
        let mut polls = 1;
        while poll_once(&port, body.as_mut()).is_pending() {
            polls += 1;
        }
        assert_eq!(polls, expected);
        // What is awaited elsewhere is refused at once, whatever there was before.
        let mut body = pin!(async {
            for _ in 0..128 {
                cx.sleep_named("", Duration::ZERO).await.unwrap_err();
            }
        });
        assert!(poll_once(&port, body.as_mut()).is_ready());
        let mut wait = poll_body(&*port, || cx.sleep(Duration::ZERO));
        assert_eq!(misplaced(now(&mut wait)), "sleep `sleep`");
    }
}
