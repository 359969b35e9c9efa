//! Questions and their answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join, select};
use holdpoint_core::event::{Event, EventKind};
use holdpoint_core::session::{QuestionId, QuestionKind, SessionState, StateName, SuspendCause};
use holdpoint_core::{CancelCode, SessionId};
use holdpoint_testkit::store::{Faults, VirtualDisk};

use super::*;
use crate::{AnswerError, Answers, GetError, ResumeError, RunError, StepFailure};

fn not_open(error: AnswerError) -> Vec<QuestionId> {
    match error {
        AnswerError::NotOpen { questions } => questions,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn sess_003_a_pause_is_as_long_as_a_question_is_open() {
    for sessions in both().await {
        let (gate, ledger) = (Gate::default(), Ledger::default());
        let (passes, seen) = (gate.clone(), ledger.clone());
        let body = sessions
            .register("branches", move |cx: SessionContext, _: ()| {
                let (gate, ledger) = (passes.clone(), seen.clone());
                async move {
                    let left = async {
                        let one: String = cx.ask(Ask::text("one", "1?")).await?;
                        ledger.add(&one);
                        let two: String = cx.ask(Ask::text("two", "2?")).await?;
                        Ok::<_, BodyError>(one + &two)
                    };
                    let right = async {
                        cx.step("work", || async {
                            gate.pass().await;
                            Ok::<_, StepFailure>(())
                        })
                        .await?;
                        cx.ask::<String>(Ask::text("three", "3?")).await
                    };
                    let (left, right) = join(left, right).await;
                    Ok::<_, BodyError>(left? + &right?)
                }
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        let one = asked(&run, "one").await;
        // The other branch goes on, and asks, while the first question is open.
        gate.open();
        let three = asked(&run, "three").await;
        let open = run.questions().unwrap();
        let shown: Vec<_> = open.iter().map(|asked| (&*asked.name, &*asked.prompt)).collect();
        assert_eq!(shown, [("one", "1?"), ("three", "3?")]);
        assert!(open[0].asked_at <= open[1].asked_at);
        // The branch that is answered goes on, whatever the other one waits for.
        assert_eq!(run.answer(one, "a").await.unwrap(), [three]);
        let two = asked(&run, "two").await;
        assert_eq!(ledger.all(), ["a"]);
        assert_eq!(run.answer(three, "c").await.unwrap(), [two]);
        assert_eq!(run.answer(two, "b").await.unwrap(), []);
        assert_eq!(within(run.clone()).await.unwrap(), "abc");
        let events = events(&run).await;
        assert_eq!(names(&events).iter().filter(|name| **name == "paused").count(), 1);
        assert_eq!(names(&events).iter().filter(|name| **name == "resumed").count(), 1);
        assert!(one < three && three < two, "ids rise");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_003_sess_004_a_dropped_question_is_withdrawn_and_its_id_never_comes_again() {
    for sessions in both().await {
        let body = sessions
            .register("races", async |cx: SessionContext, _: ()| {
                for _ in 0..3 {
                    let slow = cx.ask::<bool>(Ask::confirm("slow", "?"));
                    match select(slow, cx.ask::<bool>(Ask::confirm("fast", "?"))).await {
                        Either::Left((slow, _)) => assert!(!slow?),
                        Either::Right((fast, _)) => assert!(fast?),
                    }
                }
                cx.ask::<bool>(Ask::confirm("last", "?")).await
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        let mut seen = Vec::new();
        let mut withdrawn = Vec::new();
        for _ in 0..3 {
            let (slow, fast) = (asked(&run, "slow").await, asked(&run, "fast").await);
            assert!(!seen.contains(&slow) && !seen.contains(&fast), "{seen:?}");
            seen.extend([slow, fast]);
            withdrawn.push(slow);
            run.answer(fast, true).await.unwrap();
            until(|| run.questions().unwrap().iter().all(|open| !seen.contains(&open.id))).await;
        }
        // What comes late hits nothing, alone or with an answer that would be taken.
        let last = asked(&run, "last").await;
        for gone in &seen {
            assert_eq!(not_open(run.answer(*gone, false).await.unwrap_err()), [*gone]);
            let two = Answers::new().answer(last, true).answer(*gone, false);
            assert_eq!(not_open(run.answer_all(two).await.unwrap_err()), [*gone]);
        }
        run.answer(last, true).await.unwrap();
        assert!(within(run.clone()).await.unwrap());
        let told: Vec<QuestionId> = events(&run)
            .await
            .into_iter()
            .filter_map(|event| match event.kind {
                EventKind::SessionQuestionWithdrawn { question } => Some(question),
                _ => None,
            })
            .collect();
        assert_eq!(told, withdrawn);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_003_sess_004_each_kind_says_what_it_takes_and_nothing_changes() {
    for sessions in both().await {
        let body = sessions
            .register("kinds", async |cx: SessionContext, _: ()| {
                let text = cx.ask::<String>(Ask::text("text", "?"));
                let choice = cx.ask::<String>(Ask::choice("choice", "?", ["red", "blue"]));
                let confirm = cx.ask::<bool>(Ask::confirm("confirm", "?"));
                let secret = cx.ask::<String>(Ask::secret("secret", "?"));
                let value = cx.ask::<Vec<u32>>(Ask::value("value", "?"));
                let first = format!("{} {} {}", text.await?, choice.await?, confirm.await?);
                Ok::<_, BodyError>(format!("{first} {} {:?}", secret.await?, value.await?))
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        until(|| run.questions().unwrap().len() == 5).await;
        let open = run.questions().unwrap();
        let id = |name: &str| open.iter().find(|question| &*question.name == name).unwrap().id;
        let choice = open.iter().find(|open| open.id == id("choice")).unwrap();
        assert!(matches!(&choice.kind, QuestionKind::Choice { options } if options.len() == 2));
        let before = run.snapshot().unwrap();
        let refused = async |name: &str, answer: &str| {
            let value: serde_json::Value = serde_json::from_str(answer).unwrap();
            let error = run.answer(id(name), value).await.unwrap_err();
            let AnswerError::Wrong { question, name: told, source } = error else {
                panic!("{error}")
            };
            assert_eq!((question, &*told), (id(name), name));
            source.to_string()
        };
        assert_eq!(refused("text", "7").await, "the answer is a text: a JSON string");
        assert_eq!(refused("choice", "\"green\"").await, "the answer is one of `red`, `blue`");
        assert_eq!(refused("choice", "true").await, "the answer is one of `red`, `blue`");
        assert_eq!(refused("confirm", "\"yes\"").await, "the answer is `true` or `false`");
        assert_eq!(refused("secret", "[1]").await, "the answer is a text: a JSON string");
        // One that is wrong refuses those that are right.
        let mixed = Answers::new().answer(id("text"), "t").answer(id("confirm"), "yes");
        assert!(matches!(run.answer_all(mixed).await, Err(AnswerError::Wrong { .. })));
        // One that is no JSON at all: it does not serialise.
        let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = run.answer(id("value"), odd).await.unwrap_err();
        assert!(matches!(error, AnswerError::Encode { .. }), "{error}");
        assert_eq!(run.snapshot().unwrap(), before);

        let all = Answers::new()
            .answer(id("text"), "t")
            .answer(id("choice"), "blue")
            .answer(id("confirm"), true)
            .answer(id("secret"), "s")
            .answer(id("value"), [1, 2]);
        assert_eq!(run.answer_all(all).await.unwrap(), []);
        assert_eq!(within(run).await.unwrap(), "t blue true s [1, 2]");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_003_who_answered_and_why_is_told_and_a_secret_is_not() {
    for sessions in both().await {
        let body = sessions
            .register("two", async |cx: SessionContext, _: ()| {
                let open = cx.ask::<String>(Ask::text("open", "?"));
                let secret = cx.ask::<String>(Ask::secret("secret", "?"));
                Ok::<_, BodyError>(open.await? + &secret.await?)
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        let (open, secret) = (asked(&run, "open").await, asked(&run, "secret").await);
        let answers = Answers::new().answer(open, "plain").answer(secret, "hunter2");
        run.answer_all(answers.by("ann").reason("it is time")).await.unwrap();
        within(run.ended()).await.unwrap();
        let told: Vec<_> = events(&run)
            .await
            .into_iter()
            .filter_map(|event| match event.kind {
                EventKind::SessionAnswered { answer, by, reason, .. } => Some((answer, by, reason)),
                _ => None,
            })
            .collect();
        let (ann, why) = (Some(Arc::from("ann")), Some(Arc::from("it is time")));
        assert_eq!(told, [(Some("plain".into()), ann.clone(), why.clone()), (None, ann, why)]);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_004_answers_to_a_session_of_nobody_are_refused_by_the_same_rules() {
    let disk = VirtualDisk::new();
    let first = Process::start(&disk).await;
    let body = async |cx: SessionContext, _: ()| {
        let one = cx.ask::<bool>(Ask::confirm("one", "?"));
        let two = cx.ask::<String>(Ask::choice("two", "?", ["a", "b"]));
        let secret = cx.ask::<String>(Ask::secret("secret", "?"));
        Ok::<_, BodyError>(format!("{} {} {}", one.await?, two.await?, secret.await?))
    };
    let registered = first.sessions.register("three", body).unwrap();
    let run = registered.spawn(()).await.unwrap();
    until(|| run.questions().unwrap().len() == 3).await;
    let (one, two) = (asked(&run, "one").await, asked(&run, "two").await);
    let secret = asked(&run, "secret").await;
    let id = run.id();
    first.kill();

    let second = Process::start(&disk).await;
    let handle = second.sessions.get(id).unwrap();
    assert_eq!(handle.questions().unwrap().len(), 3);
    let events_before = stored_events(&*second.store, id).len();
    let unknown = Answers::new().answer(one, true).answer(QuestionId(77), true);
    assert_eq!(not_open(handle.answer_all(unknown).await.unwrap_err()), [QuestionId(77)]);
    let twice = Answers::new().answer(one, true).answer(one, true);
    assert_eq!(not_open(handle.answer_all(twice).await.unwrap_err()), [one]);
    let wrong = Answers::new().answer(one, true).answer(two, "c");
    assert!(matches!(handle.answer_all(wrong).await, Err(AnswerError::Wrong { .. })));
    let unowned = Answers::new().answer(one, true).answer(secret, "s");
    let error = handle.answer_all(unowned).await.unwrap_err();
    assert!(matches!(error, AnswerError::SecretUnowned { question } if question == secret));
    assert_eq!(stored_events(&*second.store, id).len(), events_before, "nothing was written");

    let mut rest = [two, secret];
    rest.sort();
    assert_eq!(handle.answer(one, true).await.unwrap(), rest);
    assert_eq!(not_open(handle.answer(one, true).await.unwrap_err()), [one]);
    let _registered = second.sessions.register("three", body).unwrap();
    let handle = taken_up(&second.sessions, id).await;
    let rest = Answers::new().answer(two, "a").answer(asked(&handle, "secret").await, "s");
    handle.answer_all(rest).await.unwrap();
    assert_eq!(within(handle.typed::<String>()).await.unwrap(), "true a s");
}

/// A session in each state, by name.
async fn in_each_state(sessions: &Sessions) -> Vec<(StateName, SessionHandle)> {
    let ask = sessions.register("ask", ask_confirm).unwrap();
    let works = sessions
        .register("works", async |cx: SessionContext, _: ()| cx.sleep(HOUR * 1000).await)
        .unwrap();
    let fails = sessions
        .register("fails", async |_: SessionContext, _: ()| Err::<(), _>(BodyErrorText))
        .unwrap();
    let planned = ask.plan(()).await.unwrap().handle();
    let running = works.spawn(()).await.unwrap().handle();
    let paused = ask.spawn(()).await.unwrap().handle();
    question(&paused).await;
    let done = ask.spawn(()).await.unwrap().handle();
    done.answer(question(&done).await, true).await.unwrap();
    let failed = fails.spawn(()).await.unwrap().handle();
    let cancelled = ask.spawn(()).await.unwrap().handle();
    cancelled.cancel("enough").await.unwrap();
    for ended in [&done, &failed, &cancelled] {
        within(ended.ended()).await.unwrap();
    }
    vec![
        (StateName::Planned, planned),
        (StateName::Running, running),
        (StateName::Paused, paused),
        (StateName::Done, done),
        (StateName::Failed, failed),
        (StateName::Cancelled, cancelled),
    ]
}

#[derive(Debug, thiserror::Error)]
#[error("it fails")]
struct BodyErrorText;

#[tokio::test(start_paused = true)]
async fn sess_005_what_is_not_asked_or_not_to_be_resumed_says_why() {
    for sessions in both().await {
        for (state, handle) in in_each_state(&sessions).await {
            assert_eq!(handle.state().unwrap().name(), state);
            let answered = handle.answer(QuestionId(99), true).await.unwrap_err();
            match state {
                StateName::Cancelled => {
                    let AnswerError::AlreadyCancelled(cause) = answered else { panic!() };
                    assert_eq!((cause.code, &*cause.text), (CancelCode::User, "enough"));
                }
                StateName::Paused => assert_eq!(not_open(answered), [QuestionId(99)]),
                state => {
                    let text = answered.to_string();
                    let AnswerError::NothingOpen { state: told } = answered else { panic!() };
                    assert_eq!(told, state);
                    assert!(text.contains(&state.to_string()), "{text}");
                }
            }
            let resumed = handle.resume().await;
            match state {
                StateName::Planned => resumed.unwrap(),
                StateName::Running | StateName::Paused => {
                    let told =
                        matches!(resumed, Err(ResumeError::Owned { state: told }) if told == state);
                    assert!(told, "{resumed:?}");
                }
                _ => {
                    let told =
                        matches!(resumed, Err(ResumeError::Ended { state: told }) if told == state);
                    assert!(told, "{resumed:?}");
                }
            }
            if !matches!(state, StateName::Failed | StateName::Cancelled) {
                let retried = handle.retry().await;
                assert!(retried.is_err(), "{state}: {retried:?}");
            }
        }
        let unknown = SessionId::generate();
        assert!(matches!(sessions.get(unknown), Err(GetError::NotFound(id)) if id == unknown));
    }
}

#[tokio::test(start_paused = true)]
async fn sess_005_an_ownerless_session_is_resumed_and_an_unknown_one_is_not() {
    let disk = VirtualDisk::new();
    let first = Process::start(&disk).await;
    let ask = first.sessions.register("ask", ask_confirm).unwrap();
    let (paused, answered) = (ask.spawn(()).await.unwrap(), ask.spawn(()).await.unwrap());
    let (open, closed) = (question(&paused).await, question(&answered).await);
    let (paused, answered) = (paused.id(), answered.id());
    first.sessions.shutdown(SECOND).await;

    let builder = Sessions::builder().recovery(crate::Recovery::Explicit);
    let second = Process::start_with(&disk, builder).await;
    let handles = [paused, answered].map(|id| second.sessions.get(id).unwrap());
    let error = handles[0].resume().await.unwrap_err();
    let ResumeError::NoBody { ref body, version: 1, ref versions } = error else { panic!() };
    assert_eq!((&**body, &versions[..]), ("ask", &[][..]));
    handles[1].answer(closed, false).await.unwrap();
    assert_eq!(handles[1].state().unwrap(), SessionState::Suspended(SuspendCause::Answered));
    let error = handles[1].answer(closed, false).await.unwrap_err();
    assert!(matches!(error, AnswerError::NothingOpen { state: StateName::Suspended }), "{error}");

    let _ask = second.sessions.register("ask", ask_confirm).unwrap();
    tokio::time::sleep(HOUR).await;
    assert!(second.sessions.is_empty(), "nothing goes on by itself");
    for handle in &handles {
        handle.resume().await.unwrap();
        let again = handle.resume().await;
        assert!(!matches!(again, Ok(()) | Err(ResumeError::NotFound(_))), "{again:?}");
    }
    assert_eq!(question(&handles[0]).await, open, "the same question under the same id");
    handles[0].answer(open, true).await.unwrap();
    assert!(within(handles[0].typed::<bool>()).await.unwrap());
    assert!(!within(handles[1].typed::<bool>()).await.unwrap());

    let gone = SessionHandle::new(Arc::clone(second.sessions.shared()), SessionId::generate());
    assert!(matches!(gone.resume().await, Err(ResumeError::NotFound(_))));
    assert!(matches!(gone.answer(open, true).await, Err(AnswerError::NotFound(_))));
    assert!(matches!(gone.cancel("").await, Err(crate::CancelError::NotFound(_))));
    assert!(matches!(gone.state(), Err(GetError::NotFound(_))));
    assert!(matches!(gone.observe(Since::Now), Err(GetError::NotFound(_))));
    let waits = within(gone.typed::<()>()).await;
    assert!(matches!(waits, Err(RunError::Get(GetError::NotFound(_)))), "{waits:?}");
}

/// Callers race for every question; the body asks again at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sess_006_bd_1_the_next_pause_is_never_lost() {
    const ASKS: u32 = 500;
    for sessions in both().await {
        let body = sessions
            .register("asks", async |cx: SessionContext, _: ()| {
                let mut sum = 0;
                for _ in 0..ASKS {
                    sum += cx.ask::<u32>(Ask::value("next", "?")).await?;
                }
                Ok::<_, BodyError>(sum)
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let handle = run.handle();
                tokio::spawn(async move {
                    let mut taken = 0;
                    while let Some(question) = within(handle.next_question()).await.unwrap() {
                        match handle.answer(question.id, 1).await {
                            Ok(still_open) => {
                                taken += 1;
                                assert!(!still_open.contains(&question.id));
                            }
                            Err(AnswerError::NotOpen { .. } | AnswerError::NothingOpen { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        tokio::task::yield_now().await;
                    }
                    taken
                })
            })
            .collect();
        assert_eq!(within(run).await.unwrap(), ASKS);
        let mut taken = 0;
        for caller in callers {
            taken += within(caller).await.unwrap();
        }
        assert_eq!(taken, ASKS, "each was taken from one caller");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_009_events_come_in_order_and_a_pause_that_is_told_can_be_answered() {
    for sessions in both().await {
        let body = sessions
            .register("two", async |cx: SessionContext, _: ()| {
                let asks = [Ask::confirm("one", "?"), Ask::confirm("two", "?")];
                let first: Vec<bool> = cx.ask_all(asks).await?;
                cx.emit("half")?;
                cx.ask::<bool>(Ask::confirm("three", "?")).await.map(|third| (first, third))
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        let mut observer = run.observe(Since::Beginning).unwrap();
        let mut all: Vec<Event> = Vec::new();
        while let Some(Observed::Event(event)) = within(observer.next()).await {
            // Answered by whoever hears of it first, in the very moment.
            if let EventKind::SessionQuestion(question) = &event.kind {
                assert_eq!(run.state().unwrap().name(), StateName::Paused);
                run.answer(question.id, true).await.unwrap();
            }
            all.push(event);
        }
        assert_eq!(
            names(&all),
            [
                "planned", "started", "paused", "question", "question", "answered", "answered",
                "resumed", "progress", "paused", "question", "answered", "resumed", "done"
            ]
        );
        let numbers: Vec<u64> = all.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=14).collect::<Vec<_>>());
        assert_eq!(within(run).await.unwrap(), (vec![true, true], true));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Who answers all questions has each once, though one that was answered is still shown as open.
#[tokio::test(start_paused = true)]
async fn sess_003_who_answers_everything_has_every_question_once() {
    let store = VirtualDisk::new().open_with(Faults::none().delay_all());
    let sessions = Sessions::builder().store(Arc::clone(&store) as _).open().await.unwrap();
    let body = sessions
        .register("asks", async |cx: SessionContext, count: u32| {
            for number in 0..count {
                cx.ask::<bool>(Ask::confirm(format!("{number}"), "?")).await?;
            }
            Ok::<_, BodyError>(())
        })
        .unwrap();
    let spawn = body.spawn(3);
    let releases = tokio::spawn(async move {
        loop {
            store.release_all();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let run = within(spawn).await.unwrap();
    let mut asked = Vec::new();
    let mut next = within(run.next_question()).await.unwrap();
    while let Some(question) = next {
        asked.push(question.name.to_string());
        // Not waited for: it is shown as open until the store has it.
        let answer = run.answer(question.id, true);
        tokio::pin!(answer);
        let _decided = tokio::time::timeout(Duration::ZERO, &mut answer).await;
        next = within(run.next_question_after(question.id)).await.unwrap();
    }
    assert_eq!(asked, ["0", "1", "2"]);
    assert!(within(run.ended()).await.unwrap().is_done());
    releases.abort();
}
