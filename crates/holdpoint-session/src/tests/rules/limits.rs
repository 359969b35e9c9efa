//! Collection, usage, time limits, numbers of sessions, and children.

use std::collections::BTreeMap;

use holdpoint_core::CancelCode;
use holdpoint_core::session::{FailureCause, StateName, Usage};
use holdpoint_testkit::store::VirtualDisk;

use super::*;
use crate::{Answers, Child, GetError, Limits, RunError, SpawnError, Step, StepFailure};

/// Ends as its input says.
async fn ends(cx: SessionContext, well: bool) -> Result<(), BodyError> {
    cx.step("try", || async move { if well { Ok(()) } else { Err(StepFailure::new("no")) } }).await
}

#[tokio::test(start_paused = true)]
async fn sess_012_bd_11_bd_12_only_what_has_ended_so_long_ago_is_collected() {
    for sessions in both().await {
        let ask = sessions.register("ask", ask_confirm).unwrap();
        let sleeps = sessions
            .register("sleeps", async |cx: SessionContext, _: ()| cx.sleep(HOUR * 99).await)
            .unwrap();
        let paused = ask.spawn(()).await.unwrap();
        let running = sleeps.spawn(()).await.unwrap();
        let late = ask.spawn(()).await.unwrap();
        question(&paused).await;
        let open = question(&late).await;
        // Old as they are, the time counts from the end.
        tokio::time::sleep(HOUR * 10).await;
        late.answer(open, true).await.unwrap();
        assert!(within(late.clone()).await.unwrap());
        assert_eq!(sessions.collect(HOUR), 0);
        tokio::time::sleep(HOUR - SECOND).await;
        assert_eq!(sessions.collect(HOUR), 0);
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(sessions.collect(HOUR), 1);
        assert_eq!(sessions.collect(HOUR), 0);
        let left: Vec<_> = sessions.list().iter().map(|snapshot| snapshot.id).collect();
        assert_eq!(left, [paused.id(), running.id()]);
        // Who holds it reads it as before.
        assert_eq!(late.state().unwrap().name(), StateName::Done);
        assert!(within(late.clone()).await.unwrap());
        assert_eq!(names(&events(&late).await).last(), Some(&"done"));
    }
}

#[tokio::test(start_paused = true)]
async fn sess_012_a_session_that_was_tried_again_survives() {
    for sessions in both().await {
        let ask = sessions.register("ask", ask_confirm).unwrap();
        let run = ask.spawn(()).await.unwrap();
        question(&run).await;
        run.cancel("").await.unwrap();
        within(run.ended()).await.unwrap();
        run.retry().await.unwrap();
        let open = question(&run).await;
        assert_eq!(run.state().unwrap().name(), StateName::Paused);
        sessions.collect(Duration::ZERO);
        assert_eq!(sessions.len(), 1, "it is live");
        run.answer(open, true).await.unwrap();
        assert!(within(run.clone()).await.unwrap());
        assert!(sessions.collect(Duration::ZERO) >= 1);
        assert!(sessions.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn sess_012_bd_13_bd_25_a_collection_comes_in_time_goes_in_slices_and_stops() {
    for sessions in both().await {
        let body = sessions.register("ends", ends).unwrap();
        let spawn = async |count: usize| {
            for _ in 0..count {
                within(body.spawn(true).await.unwrap()).await.unwrap();
            }
        };
        let two = [sessions.collect_after(HOUR).unwrap(), sessions.collect_after(HOUR).unwrap()];
        spawn(300).await;
        assert_eq!(sessions.len(), 300, "nothing goes at the first look");
        tokio::time::sleep(HOUR - SECOND).await;
        assert_eq!(sessions.len(), 300);
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(sessions.len(), 0);
        let [first, second] = two;
        first.stop();
        spawn(1).await;
        tokio::time::sleep(HOUR * 2).await;
        assert_eq!(sessions.len(), 0, "the other one goes on");
        drop(second);
        spawn(1).await;
        tokio::time::sleep(HOUR * 99).await;
        assert_eq!(sessions.len(), 1);
        // A time of zero is no trap.
        let _at_once = sessions.collect_after(Duration::ZERO).unwrap();
        until(|| sessions.is_empty()).await;
        spawn(10).await;
        until(|| sessions.is_empty()).await;
    }
}

#[test]
fn sess_012_outside_of_a_runtime_nothing_is_collected_by_itself() {
    assert!(Sessions::new().collect_after(HOUR).is_none());
}

#[tokio::test(start_paused = true)]
async fn sess_012_sess_019_what_is_collected_is_unknown_in_memory_and_stays_in_a_store() {
    let [memory, stored] = both().await;
    for (sessions, stays) in [(memory, false), (stored, true)] {
        let body = sessions.register("ends", ends).unwrap();
        let run = body.spawn(true).key("k").await.unwrap();
        let id = run.id();
        within(run).await.unwrap();
        assert_eq!(body.spawn(true).key("k").await.unwrap().id(), id);
        assert_eq!(sessions.collect(Duration::ZERO), 1);
        let again = body.spawn(true).key("k").await.unwrap();
        assert_eq!(again.id() == id, stays);
        match sessions.get(id) {
            Ok(handle) => {
                assert!(stays && handle.outcome().unwrap().unwrap().is_done());
                within(handle.typed::<()>()).await.unwrap();
                assert_eq!(names(&events(&handle).await), ["planned", "started", "done"]);
            }
            Err(error) => assert!(!stays && matches!(error, GetError::NotFound(_)), "{error}"),
        }
    }
}

/// What the answers of a finished session used.
async fn usage_of(handle: &SessionHandle) -> Option<Usage> {
    match within(handle.ended()).await.unwrap() {
        Outcome::Done(completion) => completion.usage.map(|usage| (*usage).clone()),
        other => panic!("{other:?}"),
    }
}

async fn asks(cx: SessionContext, count: u32) -> Result<(), BodyError> {
    for _ in 0..count {
        cx.ask::<bool>(Ask::confirm("ok", "?")).await?;
    }
    Ok(())
}

fn used(prompt_tokens: u64, calls: u64) -> Usage {
    let counters = BTreeMap::from([(Arc::from("calls"), calls)]);
    Usage { prompt_tokens, completion_tokens: 1, estimated: false, counters }
}

#[tokio::test(start_paused = true)]
async fn sess_013_what_answers_used_is_summed_with_counters_of_ones_own() {
    for sessions in both().await {
        let body = sessions.register("asks", asks).unwrap();
        assert_eq!(usage_of(&body.spawn(0).await.unwrap()).await, None);
        let run = body.spawn(3).await.unwrap();
        let mut seen = QuestionId(0);
        for usage in [used(10, 1), used(u64::MAX, 2)] {
            let open = question(&run).await;
            assert!(open > seen);
            seen = open;
            let answers = Answers::new().answer_using(open, true, usage);
            run.answer_all(answers).await.unwrap();
            until(|| run.questions().unwrap().iter().any(|question| question.id > seen)).await;
        }
        run.answer(question(&run).await, true).await.unwrap();
        let sum = usage_of(&run).await.unwrap();
        assert_eq!((sum.prompt_tokens, sum.completion_tokens), (u64::MAX, 2));
        assert!(sum.estimated, "the last answer did not say");
        assert_eq!(sum.counters, BTreeMap::from([(Arc::from("calls"), 3)]));
    }
}

#[tokio::test(start_paused = true)]
async fn sess_013_the_sum_outlives_the_process_and_a_retry_begins_anew() {
    let disk = VirtualDisk::new();
    let first = Process::start(&disk).await;
    let run = first.sessions.register("asks", asks).unwrap().spawn(2).await.unwrap();
    let id = run.id();
    let open = question(&run).await;
    run.answer_all(Answers::new().answer_using(open, true, used(5, 1))).await.unwrap();
    until(|| run.questions().unwrap().iter().any(|question| question.id > open)).await;
    first.kill();
    let second = Process::start(&disk).await;
    let _body = second.sessions.register("asks", asks).unwrap();
    let run = taken_up(&second.sessions, id).await;
    let open = question(&run).await;
    run.answer_all(Answers::new().answer_using(open, true, used(6, 1))).await.unwrap();
    assert_eq!(usage_of(&run).await, Some(Usage { completion_tokens: 2, ..used(11, 2) }));

    for sessions in both().await {
        let run = sessions.register("asks", asks).unwrap().spawn(2).await.unwrap();
        let open = question(&run).await;
        run.answer_all(Answers::new().answer_using(open, true, used(5, 1))).await.unwrap();
        run.cancel("").await.unwrap();
        within(run.ended()).await.unwrap();
        run.retry().await.unwrap();
        for _ in 0..2 {
            let open = question(&run).await;
            run.answer_all(Answers::new().answer_using(open, true, used(1, 1))).await.unwrap();
            until(|| run.questions().unwrap().iter().all(|question| question.id > open)).await;
        }
        let sum = usage_of(&run).await.unwrap();
        assert_eq!(sum, Usage { completion_tokens: 2, ..used(2, 2) });
    }
}

/// Sleeps, or asks for ever, or has a slow step.
async fn slow(cx: SessionContext, how: String) -> Result<(), BodyError> {
    match &*how {
        "sleep" => cx.sleep(HOUR * 100).await,
        "ask" => cx.ask::<bool>(Ask::confirm("ok", "?")).await.map(drop),
        _ => {
            let step = Step::new("slow").timeout(SECOND * 5);
            let pending = |_| async {
                Gate::default().pass().await;
                Ok::<_, StepFailure>(())
            };
            cx.step_with(step, pending).await
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sess_014_each_limit_ends_with_its_own_words() {
    for sessions in both().await {
        let body = sessions.register("slow", slow).unwrap();
        let started = tokio::time::Instant::now();
        let took = |seconds: u64| {
            let passed = started.elapsed().as_secs_f64();
            assert!((seconds as f64..seconds as f64 + 0.5).contains(&passed), "{passed}");
        };
        let run = |how: &str| body.spawn(how.to_owned());
        let whole = run("sleep").timeout(SECOND * 30).await.unwrap();
        let both = run("ask").timeout(SECOND * 20).pause_timeout(SECOND * 60).await.unwrap();
        let pause = run("ask").timeout(HOUR).pause_timeout(SECOND * 10).await.unwrap();
        let step = run("step").timeout(HOUR).await.unwrap();
        let of = async |handle: &SessionHandle| match within(handle.ended()).await.unwrap() {
            Outcome::Failed(failure) => (failure.message().to_string(), failure.cause()),
            other => panic!("{other:?}"),
        };
        let (text, cause) = of(&step).await;
        took(5);
        assert_eq!(text, "step `slow` took longer than 5s");
        assert_eq!(cause, FailureCause::Error, "a step's limit is an error of the step");
        let (text, cause) = of(&pause).await;
        took(10);
        assert_eq!(text, "no answer within 10s");
        assert!(matches!(cause, FailureCause::Timeout { .. }));
        let (text, cause) = of(&both).await;
        took(20);
        assert_eq!(text, "the session's limit of 20s passed");
        assert!(matches!(cause, FailureCause::Timeout { .. }));
        let (text, _) = of(&whole).await;
        took(30);
        assert_eq!(text, "the session's limit of 30s passed");
        // The body was asked to stop, by a time limit; and another attempt has its whole time.
        let all = events(&whole).await;
        let requested = all.iter().find_map(|event| match &event.kind {
            holdpoint_core::event::EventKind::SessionCancelRequested(cause) => Some(cause.code),
            _ => None,
        });
        assert_eq!(requested, Some(CancelCode::Timeout));
        pause.retry().await.unwrap();
        tokio::time::sleep(SECOND * 9).await;
        assert_eq!(pause.state().unwrap().name(), StateName::Paused);
        assert_eq!(of(&pause).await.0, "no answer within 10s");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_014_a_pause_that_is_answered_in_time_gives_the_next_its_own() {
    for sessions in both().await {
        let body = sessions.register("asks", asks).unwrap();
        let run = body.spawn(5).pause_timeout(SECOND * 10).await.unwrap();
        for _ in 0..5 {
            let open = question(&run).await;
            tokio::time::sleep(SECOND * 9).await;
            run.answer(open, true).await.unwrap();
            until(|| run.questions().unwrap().iter().all(|question| question.id > open)).await;
        }
        within(run).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn sess_014_limits_go_on_over_restarts_and_while_nobody_is_up() {
    let clock = Steps::new();
    let disk = VirtualDisk::new();
    let start = async || {
        let builder = Sessions::builder().clock(Arc::clone(&clock) as _);
        let process = Process::start_with(&disk, builder).await;
        let body = process.sessions.register("slow", slow).unwrap();
        (process, body)
    };
    let (first, body) = start().await;
    let whole = body.spawn("sleep".to_owned()).timeout(SECOND * 100).await.unwrap().id();
    let pause = body.spawn("ask".to_owned()).pause_timeout(SECOND * 50).await.unwrap();
    question(&pause).await;
    let (pause, missed) = (pause.id(), body.spawn("ask".to_owned()).timeout(HOUR).await.unwrap());
    question(&missed).await;
    let missed = missed.id();
    tokio::time::sleep(SECOND * 60 - SECOND * 20).await;
    first.kill();
    tokio::time::sleep(SECOND * 20).await;

    let (second, _body) = start().await;
    let handle = taken_up(&second.sessions, whole).await;
    let restarted = tokio::time::Instant::now();
    let text = failure(&handle).await;
    let passed = restarted.elapsed();
    assert_eq!(text, "the session's limit of 100s passed");
    assert!(passed > SECOND * 39 && passed < SECOND * 41, "of 100 s 60 had gone: {passed:?}");
    assert_eq!(failure(&taken_up(&second.sessions, pause).await).await, "no answer within 50s");
    second.kill();
    tokio::time::sleep(HOUR * 5).await;

    // It passed while nobody was there to see it.
    let (third, _body) = start().await;
    let handle = third.sessions.get(missed).unwrap();
    let restarted = tokio::time::Instant::now();
    assert_eq!(failure(&handle).await, "the session's limit of 3600s passed");
    assert!(restarted.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn sess_015_live_sessions_queue_in_the_order_of_their_arrival() {
    for disk in [None, Some(VirtualDisk::new())] {
        let builder = Sessions::builder().limits(Limits::none().live(2));
        let sessions = match &disk {
            Some(disk) => Process::start_with(disk, builder).await.sessions,
            None => builder.build(),
        };
        let ledger = Ledger::default();
        let seen = ledger.clone();
        let body = sessions
            .register("asks", move |cx: SessionContext, number: u32| {
                seen.add(number.to_string());
                ask_confirm(cx, ())
            })
            .unwrap();
        let mut runs = Vec::new();
        for number in 0..6 {
            runs.push(body.spawn(number).await.unwrap());
        }
        question(&runs[1]).await;
        question(&runs[0]).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(ledger.all(), ["0", "1"]);
        for run in &runs[2..] {
            assert_eq!(run.state().unwrap(), SessionState::Planned);
        }
        // One that is cancelled while it waits takes no place.
        runs[2].cancel("not wanted").await.unwrap();
        assert!(matches!(within(runs[2].clone()).await, Err(RunError::Cancelled(_))));
        for (ends, starts) in [(1, 3), (0, 4), (3, 5)] {
            runs[ends].answer(question(&runs[ends]).await, true).await.unwrap();
            assert!(within(runs[ends].clone()).await.unwrap());
            question(&runs[starts]).await;
            let live = runs.iter().filter(|run| {
                let state = run.state().unwrap().name();
                matches!(state, StateName::Running | StateName::Paused)
            });
            assert_eq!(live.count(), 2);
        }
        assert_eq!(ledger.all(), ["0", "1", "3", "4", "5"]);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_015_bd_19_what_is_above_a_limit_is_refused_where_one_says_so() {
    for disk in [None, Some(VirtualDisk::new())] {
        let limits = Limits::none().live(3).paused(1).refuse();
        let builder = Sessions::builder().limits(limits);
        let sessions = match &disk {
            Some(disk) => Process::start_with(disk, builder).await.sessions,
            None => builder.build(),
        };
        let ask = sessions.register("ask", ask_confirm).unwrap();
        let sleeps = sessions
            .register("sleeps", async |cx: SessionContext, _: ()| cx.sleep(HOUR).await)
            .unwrap();
        let first = ask.spawn(()).await.unwrap();
        question(&first).await;
        let text = failure(&ask.spawn(()).await.unwrap()).await;
        assert_eq!(text, "ask `ok` failed: 1 sessions are paused, which is the limit");
        let (_one, two) = (sleeps.spawn(()).await.unwrap(), sleeps.spawn(()).await.unwrap());
        let error = ask.spawn(()).await.unwrap_err();
        assert!(matches!(error, SpawnError::TooManyLive { limit: 3 }), "{error}");
        assert_eq!(error.to_string(), "3 sessions are live, which is the limit");
        assert!(holdpoint_core::Retryable::is_retryable(&error));
        let planned = ask.plan(()).await.unwrap();
        let error = planned.resume().await.unwrap_err();
        assert!(matches!(error, crate::ResumeError::TooManyLive { limit: 3 }), "{error}");
        assert_eq!(planned.state().unwrap(), SessionState::Planned);
        two.cancel("").await.unwrap();
        within(two.ended()).await.unwrap();
        until(|| sessions.list().iter().filter(|one| !one.state.is_terminal()).count() <= 3).await;
        first.answer(question(&first).await, true).await.unwrap();
        within(first).await.unwrap();
        planned.resume().await.unwrap();
        question(&planned).await;
    }
}

#[tokio::test(start_paused = true)]
async fn sess_015_a_question_above_the_limit_waits_its_turn_or_goes_with_its_asker() {
    for disk in [None, Some(VirtualDisk::new())] {
        let builder = Sessions::builder().limits(Limits::none().paused(1));
        let sessions = match &disk {
            Some(disk) => Process::start_with(disk, builder).await.sessions,
            None => builder.build(),
        };
        let ask = sessions.register("ask", ask_confirm).unwrap();
        let mut runs = Vec::new();
        for _ in 0..4 {
            runs.push(ask.spawn(()).await.unwrap());
        }
        let first = question(&runs[0]).await;
        tokio::time::sleep(HOUR).await;
        for run in &runs[1..] {
            assert_eq!(run.state().unwrap(), SessionState::Running);
        }
        runs[1].cancel("enough").await.unwrap();
        assert!(matches!(within(runs[1].clone()).await, Err(RunError::Cancelled(_))));
        runs[0].answer(first, true).await.unwrap();
        for run in &runs[2..] {
            run.answer(question(run).await, true).await.unwrap();
            assert!(within(run.clone()).await.unwrap());
        }
    }
}

/// A registry with a child that asks, and a parent that does with it as it is told.
fn family(sessions: &Sessions) -> crate::Body<String, bool> {
    let _child = sessions.register("child", ask_confirm).unwrap();
    let parent = async |cx: SessionContext, how: String| match &*how {
        "waits" => cx.spawn_child::<bool>(Child::new("child", &())).await,
        "forgets" => {
            std::mem::forget(cx.spawn_child::<bool>(Child::new("child", &())));
            cx.sleep(SECOND).await?;
            Ok(true)
        }
        "drops" => {
            let child = cx.spawn_child::<bool>(Child::new("child", &()));
            cx.sleep(SECOND).await?;
            drop(child);
            ask_confirm(cx, ()).await
        }
        "detaches" => {
            cx.spawn_detached(Child::new("child", &())).await?;
            Ok(true)
        }
        "unknown" => cx.spawn_child::<bool>(Child::new("nobody", &())).await,
        "version" => cx.spawn_child::<bool>(Child::new("child", &()).version(7)).await,
        "input" => cx.spawn_child::<bool>(Child::new("child", "no unit")).await,
        "panics" => {
            let _child = cx.spawn_child::<bool>(Child::new("child", &()));
            cx.sleep(SECOND).await?;
            panic!("boom")
        }
        how => panic!("{how}"),
    };
    sessions.register("parent", parent).unwrap()
}

/// The child that asks.
async fn child_of(sessions: &Sessions, parent: &SessionHandle) -> SessionHandle {
    let mut found = None;
    until(|| {
        found = sessions.list().into_iter().rev().find(|one| {
            one.id > parent.id() && &*one.body == "child" && one.state.name() == StateName::Paused
        });
        found.is_some()
    })
    .await;
    sessions.get(found.unwrap().id).unwrap()
}

#[tokio::test(start_paused = true)]
async fn sess_015_a_forgotten_child_is_cancelled_and_a_detached_one_is_not() {
    for sessions in both().await {
        let parent = family(&sessions);
        for how in ["forgets", "drops", "panics"] {
            let run = parent.spawn(how.to_owned()).await.unwrap();
            let child = child_of(&sessions, &run).await;
            let Outcome::Cancelled(cause) = within(child.ended()).await.unwrap() else {
                panic!("{how}")
            };
            assert_eq!(cause.code, CancelCode::Parent, "{how}");
            if how == "drops" {
                assert_eq!(run.state().unwrap().name(), StateName::Paused, "the parent goes on");
                run.answer(question(&run).await, true).await.unwrap();
            }
            let ended = within(run.ended()).await.unwrap();
            assert_eq!(ended.is_done(), how != "panics");
        }
        let run = parent.spawn("detaches".to_owned()).await.unwrap();
        assert!(within(run.clone()).await.unwrap());
        let child = child_of(&sessions, &run).await;
        tokio::time::sleep(HOUR).await;
        child.answer(question(&child).await, true).await.unwrap();
        assert!(within(child.typed::<bool>()).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn sess_015_how_a_child_ends_or_does_not_begin_is_told_to_its_parent() {
    for sessions in both().await {
        let parent = family(&sessions);
        let run = parent.spawn("waits".to_owned()).await.unwrap();
        let child = child_of(&sessions, &run).await;
        child.answer(question(&child).await, false).await.unwrap();
        assert!(!within(run).await.unwrap());

        let run = parent.spawn("waits".to_owned()).await.unwrap();
        let child = child_of(&sessions, &run).await;
        child.cancel("by hand").await.unwrap();
        let text = failure(&run).await;
        assert_eq!(text, "child `child` failed: it was cancelled: user: by hand");
        let of = async |how: &str| failure(&parent.spawn(how.to_owned()).await.unwrap()).await;
        assert_eq!(of("unknown").await, "child `nobody` failed: no body `nobody` is registered");
        let text = "child `child` failed: no body `child` of version 7 is registered";
        assert_eq!(of("version").await, text);
        let text = of("input").await;
        assert!(text.contains("does not take this input"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_015_children_take_no_place_of_their_parents() {
    for disk in [None, Some(VirtualDisk::new())] {
        let builder = Sessions::builder().limits(Limits::none().live(1).refuse());
        let sessions = match &disk {
            Some(disk) => Process::start_with(disk, builder).await.sessions,
            None => builder.build(),
        };
        let parent = family(&sessions);
        let run = parent.spawn("waits".to_owned()).await.unwrap();
        let child = child_of(&sessions, &run).await;
        child.answer(question(&child).await, true).await.unwrap();
        assert!(within(run).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn sess_015_a_child_whose_output_does_not_serialise_fails_its_parent() {
    #[derive(Debug, Clone, serde::Deserialize)]
    struct Odd(bool);
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            assert!(!self.0, "it panics");
            Err(serde::ser::Error::custom("it is odd"))
        }
    }
    for sessions in both().await {
        let _odd = sessions
            .register("odd", async |_: SessionContext, panics: bool| {
                Ok::<_, BodyError>(Odd(panics))
            })
            .unwrap();
        let parent = sessions
            .register("parent", async |cx: SessionContext, panics: bool| {
                cx.spawn_child::<Option<bool>>(Child::new("odd", &panics)).await
            })
            .unwrap();
        let text = failure(&parent.spawn(false).await.unwrap()).await;
        assert!(text.contains("it is odd"), "{text}");
        let text = failure(&parent.spawn(true).await.unwrap()).await;
        assert!(text.contains("it panics"), "{text}");
    }
}
