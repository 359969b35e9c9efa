//! Sessions, one situation after the other.

use std::sync::{Arc, Barrier, Mutex};

use super::session_parts::{
    after, answer, apply, ask, asked, cancel, cause, claim, describe, end_cancelled, end_error,
    end_ok, end_panic, mismatch, owner, suspend, withdraw,
};
use crate::CancelCode::{Internal, Parent, Shutdown, Timeout, User};
use crate::event::EventKind;
use crate::session::{
    Answer, BodyEnd, Completion, Failure, FailureCause, IllegalTransition, InputName, QuestionId,
    QuestionKind, Refusal, SessionInput, SessionMachine, SessionState, SnapshotError, StateName,
    SuspendCause, Usage,
};

#[test]
fn core_003_a_refusal_names_state_and_input_and_says_what_is_missing() {
    let refused = |mut session: SessionMachine, input| session.apply(input).unwrap_err();
    let done = || after([claim(1), end_ok()]);
    let waiting = || after([claim(3), ask(1), suspend()]);
    let paused = || after([claim(3), ask(1)]);
    assert_eq!(
        refused(done(), answer(1)),
        IllegalTransition {
            state: StateName::Done,
            input: InputName::Answer,
            refusal: Refusal::State
        }
    );
    let messages = [
        refused(done(), cancel(User)),
        refused(waiting(), end_ok()),
        refused(waiting(), suspend()),
        refused(paused(), claim(4)),
        refused(paused(), SessionInput::CrashLoop { starts: 5 }),
        refused(paused(), SessionInput::Suspend(SuspendCause::Answered)),
        refused(waiting(), claim(3)),
        refused(paused(), ask(1)),
        refused(paused(), withdraw(2)),
    ]
    .map(|error| error.to_string());
    assert_eq!(
        messages,
        [
            "a session that is done takes no `cancel`",
            "a session that is paused takes no `end`: it has no owner",
            "a session that is paused takes no `suspend`: it has no owner",
            "a session that is paused takes no `claim`: it has an owner",
            "a session that is paused takes no `crash_loop`: it has an owner",
            "a session that is paused takes no `suspend`",
            "a session that is paused takes no `claim`: epoch 3 was claimed already",
            "a session that is paused takes no `ask`: the id 1 was given before",
            "a session that is paused takes no `withdraw`: question 2 is not open",
        ]
    );
}

#[test]
fn core_004_a_crash_while_paused_leaves_the_questions_open_under_the_same_ids() {
    let mut session = after([claim(1), ask(1), ask(2)]);
    let before = session.state().clone();
    assert!(apply(&mut session, suspend()).is_empty());
    assert_eq!((session.state(), session.owner()), (&before, None));
    assert!(apply(&mut session, claim(2)).is_empty());
    assert_eq!((session.state(), session.owner()), (&before, Some(owner(2))));
    assert_eq!(apply(&mut session, answer(2)), ["answered"]);
    assert_eq!(apply(&mut session, answer(1)), ["answered", "resumed"]);
    assert_eq!(session.next_question(), QuestionId(3));
}

#[test]
fn core_004_a_mismatch_is_kept_with_both_names() {
    let session = after([claim(1), SessionInput::Suspend(mismatch())]);
    assert_eq!(session.state(), &SessionState::Suspended(mismatch()));
}

#[test]
fn core_004_a_retry_begins_a_new_attempt_with_nothing_pending() {
    let mut session = after([claim(1), ask(1), cancel(User), end_error()]);
    assert_eq!((session.attempt(), session.starts(), session.epoch()), (1, 1, 1));
    let events = session.apply(SessionInput::Retry).unwrap();
    assert!(events.events().eq(&[EventKind::SessionPlanned { attempt: 2 }]));
    assert_eq!(session.cancel_requested(), None);
    let events = session.apply(claim(2)).unwrap();
    assert!(events.events().eq(&[EventKind::SessionStarted { start: 2 }]));
    assert!(session.apply(ask(1)).is_err(), "ids go on over attempts");
    assert_eq!(apply(&mut session, ask(2)), ["paused", "question"]);
}

#[test]
fn core_004_every_claim_is_a_start_of_the_body() {
    let mut session = after([claim(1), ask(1), suspend(), claim(7), answer(1)]);
    assert_eq!((session.starts(), session.epoch()), (2, 7));
    let _ = session.apply(suspend()).unwrap();
    let events = session.apply(claim(8)).unwrap();
    assert!(events.events().eq(&[EventKind::SessionResumed { start: 3 }]));
}

/// All orders of `items`.
fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(first);
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

#[test]
fn core_005_se_3_bd_2_bd_3_in_every_order_of_a_race_the_first_end_wins() {
    let racing = [end_ok(), end_error(), cancel(User), suspend(), answer(1)];
    let all = orders(&racing);
    assert_eq!(all.len(), 120);
    for order in all {
        let mut session = after([claim(1), ask(1)]);
        let (mut ends, mut outcome) = (0, None);
        for input in order {
            for event in session.apply(input).into_iter().flatten() {
                ends += u32::from(event.ends_session());
            }
            if session.state().is_terminal() {
                let first = outcome.get_or_insert_with(|| session.state().clone());
                assert_eq!(session.state(), first, "an outcome was overwritten");
            }
        }
        assert!(ends <= 1);
        assert_eq!(ends == 1, session.state().is_terminal());
    }
}

#[test]
fn core_005_of_many_threads_that_end_a_session_one_does() {
    const THREADS: u32 = 8;
    for _ in 0..50 {
        let session = Mutex::new(after([claim(1)]));
        let start = Barrier::new(THREADS as usize);
        let end = |thread: u32| {
            start.wait();
            let end = BodyEnd::Failed(Failure::panic(thread.to_string()));
            session.lock().unwrap().apply(SessionInput::End(end)).ok().map(|_| thread.to_string())
        };
        let winners: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || end(n))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        let [winner] = &winners[..] else { panic!("{winners:?} ended one session") };
        let session = session.into_inner().unwrap();
        let SessionState::Failed(failure) = session.state() else { panic!("it failed") };
        assert_eq!(&**failure.message(), winner);
    }
}

#[test]
fn core_005_the_outcome_is_in_the_state_for_whoever_comes_late() {
    let usage = Usage { prompt_tokens: 3, ..Usage::default() };
    let completion = Completion { output: Some("\"merged\"".into()), usage: Some(Arc::new(usage)) };
    let mut session = after([claim(1)]);
    let events = session.apply(SessionInput::End(BodyEnd::Ok(completion.clone()))).unwrap();
    assert!(events.events().eq(&[EventKind::SessionDone { usage: completion.usage.clone() }]));
    assert_eq!(session.state(), &SessionState::Done(completion));
}

#[test]
fn core_007_bd_8_the_first_cause_reaches_the_outcome() {
    let mut session = after([claim(1), cancel(Parent), cancel(User), suspend(), claim(2)]);
    assert_eq!(session.cancel_requested(), Some(&cause(Parent)));
    assert_eq!(apply(&mut session, end_cancelled()), ["cancelled"]);
    assert_eq!(session.state(), &SessionState::Cancelled(cause(Parent)));
    assert_eq!(apply(&mut session, cancel(User)), [""; 0]);
    assert_eq!(session.state(), &SessionState::Cancelled(cause(Parent)));
}

#[test]
fn core_007_without_an_owner_a_request_ends_the_session_with_its_cause_at_once() {
    for session in [after([]), after([claim(1), suspend()]), after([claim(1), ask(1), suspend()])] {
        let mut session = session;
        let _ = session.apply(cancel(Shutdown)).unwrap();
        assert_eq!(session.state(), &SessionState::Cancelled(cause(Shutdown)));
    }
}

#[test]
fn sess_008_what_the_body_returned_is_what_happened() {
    let ended = |request: Option<SessionInput>, end| {
        describe(&after([claim(1)].into_iter().chain(request).chain([end])))
    };
    assert_eq!(ended(None, end_ok()), "done");
    assert_eq!(ended(Some(cancel(User)), end_ok()), "done");
    assert_eq!(ended(Some(cancel(Timeout)), end_ok()), "done");
    assert_eq!(ended(Some(cancel(User)), end_cancelled()), "cancelled:user");
    assert_eq!(ended(Some(cancel(Timeout)), end_cancelled()), "failed:timeout");
    assert_eq!(ended(Some(cancel(User)), end_error()), "failed:error");
    assert_eq!(ended(None, end_error()), "failed:error");
    // Nobody asked: the body's own word for it is the best there is.
    assert_eq!(ended(None, end_cancelled()), "cancelled:internal");
    let own_limit = SessionInput::End(BodyEnd::Cancelled(cause(Timeout)));
    assert_eq!(ended(None, own_limit), "failed:timeout");
}

#[test]
fn sess_008_bd_14_a_panic_is_a_failure_with_its_message() {
    let session = after([claim(1), cancel(User), end_panic()]);
    let SessionState::Failed(failure) = session.state() else { panic!("it failed") };
    assert_eq!(failure.cause(), FailureCause::Panic);
    assert_eq!(&**failure.message(), "boom");
}

#[test]
fn sess_008_a_time_limit_keeps_its_words_and_its_time() {
    let session = after([claim(1), cancel(Timeout), end_cancelled()]);
    let SessionState::Failed(failure) = session.state() else { panic!("it failed") };
    let requested_at = cause(Timeout).requested_at;
    assert_eq!(failure.cause(), FailureCause::Timeout { requested_at });
    assert_eq!(&**failure.message(), "enough");
}

#[test]
fn sess_009_a_life_in_order() {
    let (mut session, planned) = SessionMachine::plan();
    let mut names: Vec<_> = super::session_parts::names(planned);
    let inputs = [
        claim(1),
        ask(1),
        ask(2),
        answer(1),
        answer(2),
        ask(3),
        withdraw(3),
        suspend(),
        claim(2),
        ask(4),
        suspend(),
        answer(4),
        claim(3),
        ask(5),
        cancel(Internal),
        end_cancelled(),
    ];
    for input in inputs {
        names.extend(apply(&mut session, input));
    }
    assert_eq!(
        names.join(" "),
        "planned started \
        paused question question answered answered resumed \
        paused question question_withdrawn resumed \
        suspended resumed \
        paused question answered suspended \
        resumed \
        paused question cancel_requested question_withdrawn resumed \
        cancelled"
    );
}

#[test]
fn sess_009_a_pause_that_is_told_of_can_be_answered() {
    let mut session = after([claim(1)]);
    let events = session.apply(ask(1)).unwrap();
    assert_eq!(events.events().next(), Some(&EventKind::SessionPaused));
    assert!(session.apply(answer(1)).is_ok());
}

#[test]
fn core_003_bd_4_bd_5_bd_6_an_answer_hits_its_question_or_none() {
    let mut session = after([claim(1), ask(1), ask(2)]);
    let not_open = |id| Refusal::NotOpen { question: QuestionId(id) };
    assert_eq!(session.apply(answer(3)).unwrap_err().refusal, not_open(3));
    assert_eq!(apply(&mut session, answer(1)), ["answered"]);
    assert_eq!(describe(&session), "paused1", "one of two answers ends no pause");
    assert_eq!(session.apply(answer(1)).unwrap_err().refusal, not_open(1));
    assert_eq!(apply(&mut session, answer(2)), ["answered", "resumed"]);
    let _ = session.apply(ask(3)).unwrap();
    assert_eq!(session.apply(answer(2)).unwrap_err().refusal, not_open(2));
    assert_eq!(describe(&session), "paused1", "a late answer hits no later question");
}

#[test]
fn core_006_an_answer_is_shown_with_who_and_why_and_a_secret_is_not() {
    let told = |kind| {
        let mut session = after([claim(1), SessionInput::Ask(asked(1, kind))]);
        let answer = Answer {
            question: QuestionId(1),
            text: Some("hunter2".into()),
            by: Some("ada".into()),
            reason: Some("due".into()),
        };
        session.apply(SessionInput::Answer(answer)).unwrap().into_iter().next().unwrap()
    };
    let shown = |answer| EventKind::SessionAnswered {
        question: QuestionId(1),
        answer,
        by: Some("ada".into()),
        reason: Some("due".into()),
    };
    assert_eq!(told(QuestionKind::Text), shown(Some("hunter2".into())));
    assert_eq!(told(QuestionKind::Secret), shown(None));
}

#[test]
fn core_003_what_no_session_can_be_is_not_restored() {
    let good = after([claim(2), ask(1)]).snapshot();
    assert!(SessionMachine::restore(good.clone()).is_ok());
    let with = |change: &dyn Fn(&mut crate::session::SessionSnapshot)| {
        let mut snapshot = good.clone();
        change(&mut snapshot);
        SessionMachine::restore(snapshot).unwrap_err()
    };
    use SessionState::{Planned, Running};
    use StateName as Name;
    let owner_of = |state| SnapshotError::Owner { state };
    assert_eq!(with(&|it| it.state = Planned), owner_of(Name::Planned));
    assert_eq!(with(&|it| (it.state, it.owner) = (Running, None)), owner_of(Name::Running));
    assert_eq!(with(&|it| it.epoch = 3), owner_of(Name::Paused));
    let cancelled = |it: &mut crate::session::SessionSnapshot| {
        (it.state, it.owner) = (SessionState::Cancelled(cause(User)), None);
        it.cancel_requested = Some(cause(User));
    };
    assert_eq!(with(&cancelled), SnapshotError::Cancel { state: Name::Cancelled });
    assert_eq!(with(&|it| it.last_question = 0), SnapshotError::Question);
    assert_eq!(with(&|it| it.attempt = 0), SnapshotError::Count { state: Name::Paused });
    assert_eq!(with(&|it| it.starts = 0), SnapshotError::Count { state: Name::Paused });
}

#[test]
fn usage_is_summed_without_overflow() {
    let mut sum = Usage { prompt_tokens: u64::MAX, ..Usage::default() };
    sum.counters.insert("calls".into(), u64::MAX);
    let more = Usage { prompt_tokens: 1, completion_tokens: 2, ..sum.clone() };
    sum.add(&more);
    assert_eq!((sum.prompt_tokens, sum.completion_tokens), (u64::MAX, 2));
    assert_eq!(sum.counters.values().collect::<Vec<_>>(), [&u64::MAX]);
    assert!(!sum.estimated);
    sum.add(&Usage { estimated: true, ..Usage::default() });
    sum.add(&Usage::default());
    assert!(sum.estimated, "an estimate among the parts makes the sum one");
}

#[test]
fn what_hosts_share_between_threads_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<SessionMachine>();
    shared::<SessionInput>();
    shared::<IllegalTransition>();
    shared::<crate::Event>();
    shared::<Box<dyn crate::EventSink>>();
    #[cfg(feature = "tokio")]
    shared::<crate::Cancel>();
}

/// Sessions are kept by the million, and every change of one makes a transition.
#[test]
fn sizes_stay_small() {
    assert!(size_of::<SessionMachine>() <= 96, "{}", size_of::<SessionMachine>());
    assert!(size_of::<EventKind>() <= 112, "{}", size_of::<EventKind>());
}
