//! The registry of bodies.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use super::body_host::{Life, Port, call_on, poll_once, record};
use crate::body::{Bodies, BodyError, BodyOutput, RegisterError, SessionContext, StepFailure};
use crate::error::{BoxError, Retryable};
use crate::name::NameError;

async fn double(cx: SessionContext, number: u32) -> Result<u64, BodyError> {
    cx.step("double", || async { Ok(u64::from(number) * 2) }).await
}

fn text(output: BodyOutput) -> Option<String> {
    match output {
        BodyOutput::Text(text) => Some(text.to_string()),
        BodyOutput::Value(_) => None,
    }
}

#[test]
fn sess_020_an_output_is_text_where_results_are_recorded_and_a_value_where_they_are_not() {
    let mut bodies = Bodies::new();
    let typed = bodies.register("double", 1, double).unwrap();
    let port = Port::new(false, 1);
    let Ok(BodyOutput::Value(value)) = call_on(&port, |cx| typed.call(cx, 21)) else {
        panic!("nothing is recorded");
    };
    assert_eq!(value.downcast_ref::<u64>(), Some(&42));
    let erased = bodies.get("double", 1).unwrap();
    assert_eq!(erased.encode_output(&*value).unwrap().unwrap(), "42");
    assert!(erased.encode_output(&"another type").is_none());
    let body = |cx| erased.start(cx, "21").unwrap();
    let (output, journal) = record(body, &[], Life::new(1)).unwrap();
    assert_eq!(text(output.unwrap()).as_deref(), Some("42"));
    assert_eq!(journal.len(), 1);
}

#[test]
fn sess_017_versions_of_a_body_stand_side_by_side() {
    let mut bodies = Bodies::new();
    for version in [3, 1, 20] {
        let body = move |_: SessionContext, (): ()| async move { Ok::<_, BoxError>(version) };
        bodies.register("b", version, body).unwrap();
    }
    bodies.register("a", 7, double).unwrap();
    assert_eq!(bodies.versions("b").collect::<Vec<_>>(), [1, 3, 20]);
    assert_eq!(bodies.latest("b").unwrap().version(), 20);
    assert_eq!(bodies.get("b", 3).unwrap().name().as_str(), "b");
    assert!(bodies.get("b", 2).is_none() && bodies.latest("c").is_none());
    assert_eq!(bodies.versions("c").count(), 0);
    assert_eq!(bodies.iter().map(|body| body.version()).collect::<Vec<_>>(), [7, 1, 3, 20]);
    assert_eq!(format!("{bodies:?}"), "{\"a\": [7], \"b\": [1, 3, 20]}");
}

#[test]
fn sess_020_a_name_is_checked_and_given_once_for_each_version() {
    let mut bodies = Bodies::new();
    bodies.register("double", 1, double).unwrap();
    let error = bodies.register("double", 1, double).err().unwrap();
    assert_eq!(error.to_string(), "the body `double` has a version 1 already");
    let error = bodies.register("no name", 1, double).err().unwrap();
    let source = NameError::BadCharacter { index: 2, found: ' ' };
    assert_eq!(error, RegisterError::Name { name: "no name".to_owned(), source });
    assert!(!error.is_retryable());
    assert_eq!(bodies.iter().count(), 1);
}

#[test]
fn sess_020_what_does_not_fit_names_the_body_and_its_version() {
    let mut bodies = Bodies::new();
    bodies.register("double", 1, double).unwrap();
    let odd = |_: SessionContext, (): ()| async {
        Ok::<_, BoxError>(std::collections::HashMap::from([((1, 2), 3)]))
    };
    let typed = bodies.register("odd", 4, odd).unwrap();
    let port = Port::new(true, 1);
    let error = bodies.get("double", 1).unwrap().start(port.context(), "\"x\"").err().unwrap();
    assert_eq!(error.to_string(), "version 1 of the body `double` does not take this input");
    let (result, _) = record(|cx| typed.call(cx, ()), &[], Life::new(1)).unwrap();
    let error = result.unwrap_err().to_string();
    assert_eq!(error, "the output of version 4 of the body `odd` does not serialise");
}

#[test]
fn sess_020_nothing_of_a_body_happens_before_its_first_poll() {
    let mut bodies = Bodies::new();
    let body = |cx: SessionContext, input: u32| {
        // Not in the future, but in the function that makes it.
        assert!(input == 1, "bad input");
        let slept = cx.sleep(std::time::Duration::ZERO);
        async move { slept.await.map(|()| input) }
    };
    let typed = bodies.register("b", 1, body).unwrap();
    let port = Port::new(false, 1);
    let mut bad = typed.call(port.context(), 2);
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(&port, bad.as_mut()))).is_err());
    drop(typed.call(port.context(), 1));
    assert_eq!(port.opened(), 0);
    assert!(call_on(&port, |cx| typed.call(cx, 1)).is_ok());
}

#[test]
fn sess_020_any_error_may_be_returned_and_keeps_its_type() {
    let mut bodies = Bodies::new();
    let any = |_: SessionContext, (): ()| async {
        anyhow::Ok(()).and(Err::<(), _>(anyhow::anyhow!("no")))
    };
    let mine = |_: SessionContext, text: String| async move { text.parse::<u8>() };
    let any = bodies.register("any", 1, any).unwrap();
    let mine = bodies.register("mine", 1, mine).unwrap();
    let port = Port::new(false, 1);
    assert_eq!(call_on(&port, |cx| any.call(cx, ())).unwrap_err().to_string(), "no");
    let error = call_on(&port, |cx| mine.call(cx, "x".to_owned())).unwrap_err();
    assert!(error.is::<std::num::ParseIntError>());
}

#[test]
fn sess_020_a_body_may_be_any_closure_that_gives_a_future_which_can_be_sent() {
    fn is_send<T: Send>(_: &T) {}
    let mut bodies = Bodies::new();
    let greeting = String::from("hello");
    let typed = bodies
        .register("b", 1, move |cx: SessionContext, name: String| {
            let greeting = greeting.clone();
            async move {
                let local = name.clone();
                let said = cx.step("say", || async {
                    poll_fn(|_| Poll::Ready(())).await;
                    Ok::<_, StepFailure>(format!("{greeting} {local}"))
                });
                said.await
            }
        })
        .unwrap();
    let future = typed.call(Port::new(false, 1).context(), "you".to_owned());
    is_send(&future);
    let Ok(BodyOutput::Value(value)) =
        call_on(&Port::new(false, 1), |cx| typed.call(cx, "you".to_owned()))
    else {
        panic!("nothing is recorded");
    };
    assert_eq!(value.downcast_ref::<String>().map(String::as_str), Some("hello you"));
}
