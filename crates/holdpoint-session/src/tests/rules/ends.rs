//! How sessions end: cancellation, what the body returned, panics, and who waits for it.

use std::pin::Pin;
use std::task::Context;

use holdpoint_core::session::{FailureCause, StateName, SuspendCause};
use holdpoint_core::{BoxError, CancelCode, CancelInfo, Retryable};
use holdpoint_testkit::store::VirtualDisk;

use super::*;
use crate::{Answers, CancelError, RunError, StepFailure, Terminal};

/// Whether a state and an owner go together (CORE-004).
fn owner_fits(store: &dyn Store, id: SessionId) -> (StateName, bool) {
    let info = store.info(&Stream::Session(id)).unwrap();
    let has_owner = info.owner.is_some();
    match info.state {
        StateName::Running => assert!(has_owner, "running and owned by nobody"),
        StateName::Paused => {}
        state => assert!(!has_owner, "{state} and owned"),
    }
    (info.state, has_owner)
}

#[tokio::test(start_paused = true)]
async fn core_004_a_session_is_owned_where_its_body_runs_and_nowhere_else() {
    let disk = VirtualDisk::new();
    let first = Process::start(&disk).await;
    let body = async |cx: SessionContext, _: ()| {
        cx.sleep(HOUR).await?;
        ask_confirm(cx, ()).await
    };
    let registered = first.sessions.register("body", body).unwrap();
    let run = registered.plan(()).await.unwrap();
    let id = run.id();
    let at = |process: &Process| owner_fits(&*process.store, id);
    assert_eq!(at(&first), (StateName::Planned, false));
    run.resume().await.unwrap();
    assert_eq!(at(&first), (StateName::Running, true));
    let asked = question(&run).await;
    assert_eq!(at(&first), (StateName::Paused, true));
    first.sessions.shutdown(SECOND).await;
    assert_eq!(at(&first), (StateName::Paused, false));

    let second = Process::start(&disk).await;
    let handle = second.sessions.get(id).unwrap();
    handle.answer(asked, true).await.unwrap();
    assert_eq!(handle.state().unwrap(), SessionState::Suspended(SuspendCause::Answered));
    assert_eq!(at(&second), (StateName::Suspended, false));
    let _registered = second.sessions.register("body", body).unwrap();
    assert!(within(taken_up(&second.sessions, id).await.typed::<bool>()).await.unwrap());
    assert_eq!(at(&second), (StateName::Done, false));
}

/// Answers, cancels and time limits race for the end of every session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn core_005_bd_2_bd_3_racing_ends_leave_one_terminal_event_and_it_is_the_outcome() {
    for sessions in both().await {
        let body = sessions.register("ask", ask_confirm).unwrap();
        for round in 0..60_u64 {
            let limit = Duration::from_micros(200 + 40 * round);
            let run = body.spawn(()).timeout(limit).await.unwrap();
            let mut racers = Vec::new();
            for racer in 0..4 {
                let handle = run.handle();
                racers.push(tokio::spawn(async move {
                    if racer % 2 == 0 {
                        let _late = handle.cancel(format!("by {racer}")).await;
                    } else if let Some(question) = handle.next_question().await.unwrap() {
                        let _late = handle.answer(question.id, true).await;
                    }
                    let _needless = handle.resume().await;
                }));
            }
            for racer in racers {
                within(racer).await.unwrap();
            }
            let outcome = within(run.ended()).await.unwrap();
            let all = events(&run).await;
            let ends = all.iter().filter(|event| event.kind.ends_session()).count();
            assert_eq!(ends, 1, "{:?}", names(&all));
            let last = *names(&all).last().unwrap();
            let state = run.state().unwrap();
            assert_eq!(last, state.name().to_string(), "{:?}", names(&all));
            assert_eq!(Outcome::of(&state), Some(outcome));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn core_005_each_attempt_has_one_end() {
    for sessions in both().await {
        let body = sessions.register("ask", ask_confirm).unwrap();
        let run = body.spawn(()).await.unwrap();
        for attempt in 1..=3 {
            question(&run).await;
            assert_eq!(run.snapshot().unwrap().attempt, attempt);
            run.cancel(format!("{attempt}")).await.unwrap();
            let Outcome::Cancelled(cause) = within(run.ended()).await.unwrap() else { panic!() };
            assert_eq!(&*cause.text, attempt.to_string());
            run.retry().await.unwrap();
        }
        run.answer(question(&run).await, true).await.unwrap();
        assert!(within(run.clone()).await.unwrap());
        let mut observer = run.observe(Since::Beginning).unwrap();
        let mut told = Vec::new();
        while let Some(Observed::Event(event)) = within(observer.next()).await {
            told.push(event);
        }
        let marks = ["planned", "cancelled", "done"];
        let shown: Vec<_> = names(&told).into_iter().filter(|name| marks.contains(name)).collect();
        let cancelled = ["planned", "cancelled"].repeat(3);
        assert_eq!(shown, [&cancelled[..], &["planned", "done"]].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn sess_007_what_nobody_runs_is_cancelled_at_once() {
    let disk = VirtualDisk::new();
    let first = Process::start(&disk).await;
    let ask = first.sessions.register("ask", ask_confirm).unwrap();
    let paused = ask.spawn(()).await.unwrap();
    let answered = ask.spawn(()).await.unwrap();
    question(&paused).await;
    let open = question(&answered).await;
    let planned = ask.plan(()).await.unwrap();
    let ids = [planned.id(), paused.id(), answered.id()];
    first.sessions.shutdown(SECOND).await;

    let second = Process::start(&disk).await;
    let handles = ids.map(|id| second.sessions.get(id).unwrap());
    handles[2].answer(open, true).await.unwrap();
    let states: Vec<_> = handles.iter().map(|handle| handle.state().unwrap().name()).collect();
    assert_eq!(states, [StateName::Planned, StateName::Paused, StateName::Suspended]);
    for handle in &handles {
        handle.cancel_as(CancelCode::Internal, "first").await.unwrap();
        handle.cancel("second").await.unwrap();
        let SessionState::Cancelled(cause) = handle.state().unwrap() else { panic!() };
        assert_eq!((cause.code, &*cause.text), (CancelCode::Internal, "first"));
        let all = stored_events(&*second.store, handle.id());
        assert_eq!(names(&all).iter().filter(|name| **name == "cancelled").count(), 1);
    }
    let withdrawn = stored_events(&*second.store, ids[1]);
    assert!(names(&withdrawn).contains(&"question_withdrawn"), "{:?}", names(&withdrawn));
    // In memory too.
    let memory = Sessions::new();
    let planned = memory.register("ask", ask_confirm).unwrap().plan(()).await.unwrap();
    planned.cancel("unwanted").await.unwrap();
    assert!(
        matches!(within(planned).await, Err(RunError::Cancelled(cause)) if &*cause.text == "unwanted")
    );
}

#[tokio::test(start_paused = true)]
async fn sess_007_sess_008_a_cancelled_body_runs_on_and_says_what_happened() {
    for sessions in both().await {
        let ledger = Ledger::default();
        let seen = ledger.clone();
        let body = sessions
            .register("ends", move |cx: SessionContext, how: String| {
                let ledger = seen.clone();
                async move {
                    let asked = cx.ask::<bool>(Ask::confirm("ok", "?")).await;
                    let Err(BodyError::Cancelled(cause)) = &asked else { panic!("{asked:?}") };
                    assert!(cx.is_cancelled());
                    assert_eq!(cx.cancel().as_ref(), Some(cause));
                    // What waits is cancelled from now on, what cleans up is not.
                    assert!(matches!(cx.sleep(SECOND).await, Err(BodyError::Cancelled(_))));
                    assert!(matches!(
                        cx.step("more", || async { Ok::<_, StepFailure>(()) }).await,
                        Err(BodyError::Cancelled(_))
                    ));
                    let clean = cx.cleanup();
                    clean.sleep(SECOND).await?;
                    clean
                        .step("clean", || async {
                            ledger.add("clean");
                            Ok::<_, StepFailure>(())
                        })
                        .await?;
                    match &*how {
                        "done" => Ok(cause.text.to_string()),
                        "cancelled" => Err(BoxError::from(asked.unwrap_err())),
                        "failed" => Err("no way".into()),
                        how => panic!("{how}"),
                    }
                }
            })
            .unwrap();
        for how in ["done", "cancelled", "failed", "boom"] {
            let run = body.spawn(how.to_owned()).await.unwrap();
            question(&run).await;
            run.cancel("first").await.unwrap();
            let requested = run.snapshot().unwrap();
            assert_eq!(&*requested.cancel_requested.unwrap().text, "first");
            run.cancel_as(CancelCode::Internal, "second").await.unwrap();
            let outcome = within(run.ended()).await.unwrap();
            match (how, outcome) {
                ("done", Outcome::Done(_)) => {
                    assert_eq!(within(run.clone()).await.unwrap(), "first");
                    let late = run.cancel("late").await.unwrap_err();
                    assert!(matches!(late, CancelError::Ended { state: StateName::Done }));
                }
                ("cancelled", Outcome::Cancelled(cause)) => {
                    assert_eq!((cause.code, &*cause.text), (CancelCode::User, "first"));
                }
                ("failed", Outcome::Failed(failure)) => {
                    assert_eq!(
                        (failure.cause(), &**failure.message()),
                        (FailureCause::Error, "no way")
                    );
                }
                ("boom", Outcome::Failed(failure)) => {
                    assert_eq!(
                        (failure.cause(), &**failure.message()),
                        (FailureCause::Panic, "boom")
                    );
                }
                other => panic!("{other:?}"),
            }
            let all = events(&run).await;
            let requests = names(&all).iter().filter(|name| **name == "cancel_requested").count();
            assert_eq!(requests, 1);
        }
        assert_eq!(ledger.count("clean"), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_008_errors_are_told_with_their_chain_and_whether_a_repetition_may_help() {
    #[derive(Debug, thiserror::Error)]
    #[error("the deploy failed")]
    struct Deploy(#[source] std::io::Error);

    for sessions in both().await {
        let body = sessions
            .register("fails", async |_: SessionContext, is_final: bool| {
                let error = Deploy(std::io::Error::other("disk full"));
                let error: BoxError =
                    if is_final { Terminal::new(error).into() } else { error.into() };
                Err::<(), _>(error)
            })
            .unwrap();
        let of = async |is_final| {
            let run = body.spawn(is_final).await.unwrap();
            match within(run.ended()).await.unwrap() {
                Outcome::Failed(failure) => failure,
                other => panic!("{other:?}"),
            }
        };
        let may_pass = of(false).await;
        assert_eq!(&**may_pass.message(), "the deploy failed: disk full");
        assert!(may_pass.is_retryable());
        let is_final = of(true).await;
        assert_eq!(&**is_final.message(), "permanent failure: the deploy failed: disk full");
        assert!(!is_final.is_retryable());
    }
}

/// A body that ends with its first poll, or never, and panics when it is dropped.
struct Bomb {
    ends: bool,
}

impl Future for Bomb {
    type Output = Result<u32, BodyError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if self.ends { Poll::Ready(Ok(1)) } else { Poll::Pending }
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_008_bd_14_se_9_a_panic_anywhere_is_an_outcome_and_hits_nobody_else() {
    for sessions in both().await {
        let ask = sessions.register("ask", ask_confirm).unwrap();
        let other = ask.spawn(()).await.unwrap();
        let open = question(&other).await;
        let drops =
            sessions.register("drops", |_: SessionContext, _: ()| Bomb { ends: true }).unwrap();
        let calls = sessions
            .register("calls", |_: SessionContext, is_odd: bool| {
                assert!(!is_odd, "in the call");
                async { Ok::<_, BodyError>(()) }
            })
            .unwrap();
        let effects = sessions
            .register("effects", async |cx: SessionContext, _: ()| {
                cx.step("boom", || async { panic!("in the effect") }).await as Result<(), _>
            })
            .unwrap();
        let odd = sessions
            .register("odd", async |_: SessionContext, _: ()| -> Result<(), BodyError> {
                std::panic::panic_any(7_u32)
            })
            .unwrap();
        assert_eq!(failure(&drops.spawn(()).await.unwrap()).await, "dropped");
        assert_eq!(failure(&calls.spawn(true).await.unwrap()).await, "in the call");
        assert_eq!(failure(&effects.spawn(()).await.unwrap()).await, "in the effect");
        let text = failure(&odd.spawn(()).await.unwrap()).await;
        assert_eq!(text, "the body panicked with something that is no text");

        other.answer(open, true).await.unwrap();
        assert!(within(other).await.unwrap());
        within(calls.spawn(false).await.unwrap()).await.unwrap();
        assert!(sessions.shutdown(SECOND).await.is_clean(), "all places are free");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_008_se_9_a_closure_whose_call_panics_is_a_failed_session() {
    let sessions = Sessions::new();
    let run = sessions
        .spawn_fn(|_| {
            if sessions_are_odd() {
                panic!("in the call");
            }
            async { Ok::<_, BodyError>(()) }
        })
        .await
        .unwrap();
    assert_eq!(failure(&run).await, "in the call");
    assert!(sessions.shutdown(SECOND).await.is_clean());
}

fn sessions_are_odd() -> bool {
    true
}

#[tokio::test(start_paused = true)]
async fn sess_016_se_9_a_body_that_panics_when_it_is_dropped_is_broken_off_all_the_same() {
    for sessions in both().await {
        let bombs = sessions
            .register("bombs", async |cx: SessionContext, _: ()| {
                cx.step("never", || async {
                    let bomb = Bomb { ends: false };
                    bomb.await.map_err(StepFailure::from)
                })
                .await
            })
            .unwrap();
        let run = bombs.spawn(()).await.unwrap();
        tokio::time::sleep(SECOND).await;
        let report = sessions.shutdown(SECOND).await;
        assert_eq!((&report.aborted[..], &report.stuck[..]), (&[run.id()][..], &[][..]));
        assert_ne!(run.state().unwrap().name(), StateName::Running);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_011_bd_7_everyone_who_waits_hears_of_the_end_before_and_after() {
    for sessions in both().await {
        let body = sessions.register("ask", ask_confirm).unwrap();
        let run = body.spawn(()).await.unwrap();
        let open = question(&run).await;
        let mut early: Vec<_> = (0..8).map(|_| tokio::spawn(run.clone())).collect();
        let outcomes: Vec<_> = (0..8)
            .map(|_| {
                let handle = run.handle();
                tokio::spawn(async move { handle.ended().await })
            })
            .collect();
        // Some give up: no other is disturbed.
        for _ in 0..50 {
            let waits = tokio::time::timeout(Duration::from_millis(1), run.clone()).await;
            assert!(waits.is_err());
            assert!(tokio::time::timeout(Duration::from_millis(1), run.ended()).await.is_err());
        }
        early.split_off(4).iter().for_each(tokio::task::JoinHandle::abort);
        run.answer(open, true).await.unwrap();
        for waiter in early {
            assert!(within(waiter).await.unwrap().unwrap());
        }
        for waiter in outcomes {
            assert!(within(waiter).await.unwrap().unwrap().is_done());
        }
        // After the end, and after it was collected.
        assert_eq!(sessions.collect(Duration::ZERO), 1);
        assert!(within(run.clone()).await.unwrap());
        assert!(within(run.ended()).await.unwrap().is_done());
        assert!(run.outcome().unwrap().unwrap().is_done());
    }
}

#[tokio::test(start_paused = true)]
async fn sess_008_a_cancellation_that_the_body_made_up_is_told_as_it_is() {
    for sessions in both().await {
        let body = sessions
            .register("stops", async |cx: SessionContext, _: ()| {
                let cause = CancelInfo::new(CancelCode::Internal, "my own", cx.now());
                Err::<(), _>(BodyError::Cancelled(cause))
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        let Err(RunError::Cancelled(cause)) = within(run).await else { panic!() };
        assert_eq!((cause.code, &*cause.text), (CancelCode::Internal, "my own"));
    }
}

#[tokio::test(start_paused = true)]
async fn sess_004_bd_5_the_rest_can_be_answered_after_a_part() {
    for sessions in both().await {
        let body = sessions
            .register("three", async |cx: SessionContext, _: ()| {
                let names = ["a", "b", "c"].map(|name| Ask::text(name, "?"));
                cx.ask_all::<String>(names).await
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        until(|| run.questions().unwrap().len() == 3).await;
        let ids: Vec<_> = run.questions().unwrap().iter().map(|question| question.id).collect();
        assert_eq!(run.answer(ids[1], "two").await.unwrap(), [ids[0], ids[2]]);
        assert_eq!(run.state().unwrap().name(), StateName::Paused);
        let rest = Answers::new().answer(ids[2], "three").answer(ids[0], "one");
        assert_eq!(run.answer_all(rest).await.unwrap(), []);
        assert_eq!(within(run).await.unwrap(), ["one", "two", "three"]);
    }
}
