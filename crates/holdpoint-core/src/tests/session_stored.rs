//! CORE-003: sessions as they are kept, and read back.

use serde_json::{Value, json};

use super::session_parts::{
    after, asked, cancel, cause, claim, describe, end_error, end_ok, end_panic, mismatch, suspend,
};
use crate::CancelCode::{Timeout, User};
use crate::session::{
    BodyEnd, Completion, QuestionKind, SessionInput, SessionMachine, SessionState, Usage,
};

#[test]
fn core_003_a_session_is_restored_as_it_was_in_every_state() {
    let ask = |id, kind| SessionInput::Ask(asked(id, kind));
    let usage = Usage { counters: [("calls".into(), 2)].into(), ..Usage::default() };
    let completion = Completion { output: Some("{}".into()), usage: Some(usage.into()) };
    let sessions = [
        after([]),
        after([claim(1)]),
        after([claim(1), cancel(User)]),
        after([claim(1), ask(1, QuestionKind::Secret), ask(2, QuestionKind::Text)]),
        after([claim(1), ask(1, QuestionKind::Confirm), suspend()]),
        after([claim(1), SessionInput::Suspend(mismatch())]),
        after([claim(1), end_ok()]),
        after([claim(1), SessionInput::End(BodyEnd::Ok(completion))]),
        after([claim(1), end_error()]),
        after([claim(1), end_panic(), SessionInput::Retry]),
        after([claim(1), suspend(), SessionInput::CrashLoop { starts: 5 }]),
        after([cancel(User)]),
        after([cancel(Timeout)]),
    ];
    for session in sessions {
        let text = serde_json::to_string(&session).unwrap();
        let back: SessionMachine = serde_json::from_str(&text).unwrap();
        assert_eq!(back, session, "{text}");
        assert_eq!(describe(&back), describe(&session));
    }
}

#[test]
fn core_003_a_state_says_its_name_and_its_cause() {
    let state = |inputs: Vec<SessionInput>| serde_json::to_value(after(inputs).state()).unwrap();
    assert_eq!(state(vec![]), json!({ "state": "planned" }));
    assert_eq!(
        state(vec![claim(1), suspend()]),
        json!({ "state": "suspended", "cause": "interrupted" })
    );
    assert_eq!(state(vec![claim(1), end_ok()]), json!({ "state": "done" }));
    let cancelled: SessionState = serde_json::from_value(state(vec![cancel(User)])).unwrap();
    assert_eq!(cancelled, SessionState::Cancelled(cause(User)));
}

#[test]
fn core_003_what_no_session_can_be_is_not_read() {
    let good = serde_json::to_value(after([
        claim(1),
        SessionInput::Ask(asked(1, QuestionKind::Text)),
        SessionInput::Ask(asked(2, QuestionKind::Text)),
    ]))
    .unwrap();
    let read = |value: &Value| serde_json::from_value::<SessionMachine>(value.clone());
    assert!(read(&good).is_ok());
    let with = |pointer: &str, put: Value| {
        let mut value = good.clone();
        *value.pointer_mut(pointer).unwrap() = put;
        read(&value).unwrap_err().to_string()
    };
    let message = with("/state/questions", json!([]));
    assert!(message.contains("a paused session has an open question"), "{message}");
    let message = with("/state/questions/0/question", json!(2));
    assert!(message.contains("the ids of open questions rise"), "{message}");
    let message = with("/last_question", json!(1));
    assert!(message.contains("not given yet"), "{message}");
    let message = with("/state/state", json!("running again"));
    assert!(message.contains("running again"), "{message}");
}
