//! The registry in memory and over a store, as a caller meets it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdpoint_core::event::Stream;
use holdpoint_core::session::{QuestionId, SessionState, StateName, SuspendCause, Usage};
use holdpoint_core::store::Store;
use holdpoint_core::{CancelCode, SessionId};
use holdpoint_testkit::store::VirtualDisk;

use crate::{
    AnswerError, Answers, Ask, BodyError, CancelError, Child, GetError, History, Limits, Observed,
    Outcome, ResumeError, RunError, SessionContext, SessionHandle, Sessions, Since, SpawnError,
    StepFailure,
};

const LONG: Duration = Duration::from_secs(3600);

/// A process: a registry over an instance of a disk.
async fn process(disk: &VirtualDisk) -> Sessions {
    let store: Arc<dyn Store> = disk.open();
    Sessions::builder().store(store).open().await.unwrap()
}

/// What was executed, in order.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Vec<String>>>);

impl Ledger {
    fn add(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG * 24, what).await.expect("it comes within a day")
}

async fn ask_confirm(cx: SessionContext, _: ()) -> Result<bool, BodyError> {
    cx.ask(Ask::confirm("ok", "Go on?")).await
}

/// The one open question.
async fn question(handle: &SessionHandle) -> QuestionId {
    within(handle.next_question()).await.unwrap().expect("it asks").id
}

fn kinds(store: &dyn Store, id: SessionId) -> Vec<&'static str> {
    let events = store.events(&Stream::Session(id), 0, 1000).unwrap();
    events.iter().map(|event| event.event().unwrap().kind.name()).collect()
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(failure) => failure.message().to_string(),
        other => format!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn sess_001_spawn_runs_in_the_background_and_plan_does_not() {
    let sessions = Sessions::new();
    let ran = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&ran);
    let body = sessions
        .register("count", move |_: SessionContext, _: ()| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, BodyError>(7_u32) }
        })
        .unwrap();
    let planned = body.plan(()).await.unwrap();
    let run = body.spawn(()).await.unwrap();
    assert_eq!(within(run).await.unwrap(), 7);
    tokio::time::sleep(LONG).await;
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!(planned.state().unwrap(), SessionState::Planned);
    planned.resume().await.unwrap();
    assert_eq!(within(planned).await.unwrap(), 7);
}

#[test]
fn sess_001_outside_of_a_runtime_a_spawn_is_refused() {
    let sessions = Sessions::new();
    let body = sessions.register("ask", ask_confirm).unwrap();
    let mut spawn = std::pin::pin!(body.spawn(()));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = spawn.as_mut().poll(&mut cx);
    assert!(matches!(polled, std::task::Poll::Ready(Err(SpawnError::NoRuntime))));
    assert!(sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn sess_004_answers_count_all_or_none() {
    let sessions = Sessions::new();
    let body = sessions
        .register("two", async |cx: SessionContext, _: ()| {
            let one = cx.ask::<String>(Ask::text("one", "1?"));
            let two = cx.ask::<String>(Ask::choice("two", "2?", ["a", "b"]));
            Ok::<_, BodyError>(format!("{}{}", two.await?, one.await?))
        })
        .unwrap();
    let run = body.spawn(()).await.unwrap();
    question(&run).await;
    let (one, two) = (QuestionId(1), QuestionId(2));
    let refused = |error: AnswerError| match error {
        AnswerError::NotOpen { questions } => questions,
        other => panic!("{other}"),
    };
    // Unknown, and named twice: the whole call is refused, and nothing has changed.
    let answers = Answers::new().answer(one, "x").answer(QuestionId(9), "x");
    assert_eq!(refused(run.answer_all(answers).await.unwrap_err()), [QuestionId(9)]);
    let answers = Answers::new().answer(one, "x").answer(one, "y");
    assert_eq!(refused(run.answer_all(answers).await.unwrap_err()), [one]);
    assert_eq!(run.questions().unwrap().len(), 2);
    // The wrong kind: it says what is taken.
    let error = run.answer(two, "c").await.unwrap_err();
    assert!(matches!(error, AnswerError::Wrong { question, .. } if question == two), "{error}");
    assert!(error.to_string().contains('a') && error.to_string().contains('b'), "{error}");

    assert_eq!(run.answer(two, "b").await.unwrap(), [one]);
    assert_eq!(refused(run.answer(two, "b").await.unwrap_err()), [two]);
    assert_eq!(run.answer(one, "x").await.unwrap(), []);
    assert_eq!(within(run.clone()).await.unwrap(), "bx");
    let late = run.answer(one, "x").await.unwrap_err();
    assert!(matches!(late, AnswerError::NothingOpen { state: StateName::Done }), "{late}");
}

#[tokio::test(start_paused = true)]
async fn sess_007_cancel_is_a_request_with_the_first_cause() {
    let sessions = Sessions::new();
    let ledger = Ledger::default();
    let cleaned = ledger.clone();
    let body = sessions
        .register("cleanup", move |cx: SessionContext, _: ()| {
            let ledger = cleaned.clone();
            async move {
                let asked = cx.ask::<bool>(Ask::confirm("ok", "?")).await;
                let cx = cx.cleanup();
                cx.step("clean", || async {
                    ledger.add("clean");
                    Ok::<_, StepFailure>(())
                })
                .await?;
                asked
            }
        })
        .unwrap();
    let run = body.spawn(()).await.unwrap();
    let asked = question(&run).await;
    run.cancel_as(CancelCode::User, "first").await.unwrap();
    run.cancel_as(CancelCode::Internal, "second").await.unwrap();
    let Err(RunError::Cancelled(cause)) = within(run.clone()).await else { panic!() };
    assert_eq!((cause.code, &*cause.text), (CancelCode::User, "first"));
    assert_eq!(ledger.all(), ["clean"]);
    let late = run.answer(asked, true).await.unwrap_err();
    assert!(matches!(late, AnswerError::AlreadyCancelled(_)), "{late}");
    run.cancel("again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sess_008_what_the_body_returned_is_what_happened() {
    let sessions = Sessions::new();
    let error =
        sessions.spawn_fn(async |_| Err::<(), _>(std::io::Error::other("no"))).await.unwrap();
    let panic =
        sessions.spawn_fn(async |_| -> Result<(), BodyError> { panic!("boom") }).await.unwrap();
    let done = sessions
        .spawn_fn(async |cx: SessionContext| {
            let _ = cx.ask::<bool>(Ask::confirm("ok", "?")).await;
            Ok::<_, BodyError>(1)
        })
        .await
        .unwrap();
    question(&done).await;
    done.cancel("enough").await.unwrap();
    assert_eq!(within(done).await.unwrap(), 1);
    let cancelled = sessions.spawn_fn(async |cx: SessionContext| ask_confirm(cx, ()).await);
    let cancelled = cancelled.timeout(Duration::from_secs(10)).await.unwrap();
    let Err(RunError::Failed(failure)) = within(cancelled).await else { panic!() };
    assert!(failure.message().contains("10s"), "{failure}");
    let Err(RunError::Failed(failure)) = within(error).await else { panic!() };
    assert_eq!(&**failure.message(), "no");
    assert!(failure.body_error().unwrap().downcast_ref::<std::io::Error>().is_some());
    let Err(RunError::Failed(failure)) = within(panic).await else { panic!() };
    assert_eq!(&**failure.message(), "boom");
}

#[tokio::test(start_paused = true)]
async fn sess_010_observers_get_every_event_or_are_told_of_a_gap() {
    let sessions = Sessions::builder().history(History::Last(2)).build();
    let body = sessions.register("ask", ask_confirm).unwrap();
    let run = body.spawn(()).await.unwrap();
    let asked = question(&run).await;
    let mut late = run.observe(Since::Beginning).unwrap();
    let mut now = run.observe(Since::Now).unwrap();
    run.answer(asked, true).await.unwrap();
    assert!(within(run.clone()).await.unwrap());
    assert_eq!(sessions.collect(Duration::ZERO), 1);
    assert!(matches!(sessions.get(run.id()), Err(GetError::NotFound(_))));

    assert_eq!(within(late.next()).await, Some(Observed::Gap { from: 1, to: 2 }));
    let mut names = Vec::new();
    let mut seen = 2;
    while let Some(Observed::Event(event)) = within(late.next()).await {
        assert_eq!(event.seq, seen + 1);
        seen = event.seq;
        names.push(event.kind.name());
    }
    assert_eq!(
        names,
        [
            "session_paused",
            "session_question",
            "session_answered",
            "session_resumed",
            "session_done"
        ]
    );
    let Some(Observed::Event(first)) = within(now.next()).await else { panic!() };
    assert_eq!(first.kind.name(), "session_answered");
    // What is held stays readable, whatever is collected.
    assert!(within(run).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn sess_011_dropped_waiters_disturb_nobody() {
    let sessions = Sessions::new();
    let body = sessions.register("ask", ask_confirm).unwrap();
    let run = body.spawn(()).await.unwrap();
    let asked = question(&run).await;
    for _ in 0..100 {
        let waiter = run.clone();
        assert!(tokio::time::timeout(Duration::from_millis(1), waiter).await.is_err());
    }
    let waiters: Vec<_> = (0..10).map(|_| tokio::spawn(run.clone())).collect();
    run.answer(asked, true).await.unwrap();
    for waiter in waiters {
        assert!(within(waiter).await.unwrap().unwrap());
    }
    assert!(within(run).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn sess_012_only_ended_sessions_are_collected_and_when_they_are_due() {
    let sessions = Sessions::new();
    let body = sessions.register("ask", ask_confirm).unwrap();
    let live = body.spawn(()).await.unwrap();
    let ended = body.spawn(()).await.unwrap();
    let asked = question(&ended).await;
    tokio::time::sleep(LONG).await;
    ended.answer(asked, true).await.unwrap();
    within(ended.clone()).await.unwrap();
    assert_eq!(sessions.collect(LONG), 0);
    let collection = sessions.collect_after(LONG).unwrap();
    tokio::time::sleep(LONG / 2).await;
    assert_eq!(sessions.len(), 2);
    tokio::time::sleep(LONG).await;
    assert_eq!(sessions.len(), 1);
    assert!(sessions.get(live.id()).is_ok());
    collection.stop();
    let asked = question(&live).await;
    live.answer(asked, true).await.unwrap();
    within(live.clone()).await.unwrap();
    tokio::time::sleep(LONG * 3).await;
    assert_eq!(sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn sess_013_usage_is_summed_and_an_estimate_where_nobody_says() {
    let sessions = Sessions::new();
    let body = sessions
        .register("asks", async |cx: SessionContext, asks: u32| {
            for _ in 0..asks {
                cx.ask::<bool>(Ask::confirm("ok", "?")).await?;
            }
            Ok::<_, BodyError>(())
        })
        .unwrap();
    let usage_of = async |known: &[bool]| {
        let run = body.spawn(u32::try_from(known.len()).unwrap()).await.unwrap();
        for is_known in known {
            let asked = question(&run).await;
            let answers = if *is_known {
                let usage = Usage { prompt_tokens: 3, completion_tokens: 4, ..Usage::default() };
                Answers::new().answer_using(asked, true, usage)
            } else {
                Answers::new().answer(asked, true)
            };
            run.answer_all(answers).await.unwrap();
            while run.questions().unwrap().iter().any(|question| question.id == asked) {}
        }
        match within(run.ended()).await.unwrap() {
            Outcome::Done(completion) => completion.usage.map(|usage| (*usage).clone()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(usage_of(&[]).await, None);
    let sum = usage_of(&[true, true]).await.unwrap();
    assert_eq!((sum.prompt_tokens, sum.completion_tokens, sum.estimated), (6, 8, false));
    let sum = usage_of(&[true, false]).await.unwrap();
    assert_eq!((sum.prompt_tokens, sum.estimated), (3, true));
}

#[tokio::test(start_paused = true)]
async fn sess_014_a_pause_has_a_limit_of_its_own() {
    let sessions = Sessions::new();
    let body = sessions.register("ask", ask_confirm).unwrap();
    let run = body.spawn(()).pause_timeout(Duration::from_secs(60)).await.unwrap();
    let Err(RunError::Failed(failure)) = within(run).await else { panic!() };
    assert_eq!(&**failure.message(), "no answer within 60s");
}

#[tokio::test(start_paused = true)]
async fn sess_015_limits_queue_or_refuse() {
    let queue = Sessions::builder().limits(Limits::none().live(1)).build();
    let body = queue.register("ask", ask_confirm).unwrap();
    let runs = [body.spawn(()).await.unwrap(), body.spawn(()).await.unwrap()];
    let first = question(&runs[0]).await;
    assert_eq!(runs[1].state().unwrap(), SessionState::Planned);
    runs[0].answer(first, true).await.unwrap();
    let second = question(&runs[1]).await;
    runs[1].answer(second, false).await.unwrap();
    assert!(!within(runs[1].clone()).await.unwrap());

    let refuse = Sessions::builder().limits(Limits::none().live(1).refuse()).build();
    let body = refuse.register("ask", ask_confirm).unwrap();
    let run = body.spawn(()).await.unwrap();
    let error = body.spawn(()).await.unwrap_err();
    assert!(matches!(error, SpawnError::TooManyLive { limit: 1 }), "{error}");
    run.cancel("").await.unwrap();
    within(run.ended()).await.unwrap();
    let again = body.spawn(()).await.unwrap();
    question(&again).await;

    let paused = Sessions::builder().limits(Limits::none().paused(1)).build();
    let body = paused.register("ask", ask_confirm).unwrap();
    let runs = [body.spawn(()).await.unwrap(), body.spawn(()).await.unwrap()];
    let first = question(&runs[0]).await;
    tokio::time::sleep(LONG).await;
    assert_eq!(runs[1].state().unwrap(), SessionState::Running);
    runs[0].answer(first, true).await.unwrap();
    let second = question(&runs[1]).await;
    runs[1].answer(second, true).await.unwrap();
    assert!(within(runs[1].clone()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn sess_016_shutdown_cancels_and_then_aborts() {
    let sessions = Sessions::new();
    let ask = sessions.register("ask", ask_confirm).unwrap();
    let polite = ask.spawn(()).await.unwrap();
    question(&polite).await;
    let deaf = sessions
        .spawn_fn(async |_| {
            tokio::time::sleep(LONG).await;
            Ok::<_, BodyError>(())
        })
        .await
        .unwrap();
    let report = sessions.shutdown(Duration::from_secs(5)).await;
    assert_eq!((&report.aborted[..], &report.stuck[..]), (&[deaf.id()][..], &[][..]));
    for run in [polite.handle(), deaf.handle()] {
        let Outcome::Cancelled(cause) = within(run.ended()).await.unwrap() else { panic!() };
        assert_eq!(cause.code, CancelCode::Shutdown);
    }
    assert!(matches!(ask.spawn(()).await, Err(SpawnError::ShuttingDown(_))));
}

#[tokio::test(start_paused = true)]
async fn sess_019_one_key_is_one_session() {
    for disk in [None, Some(VirtualDisk::new())] {
        let sessions = match &disk {
            Some(disk) => process(disk).await,
            None => Sessions::new(),
        };
        let body = sessions.register("ask", ask_confirm).unwrap();
        let other = sessions.register("other", ask_confirm).unwrap();
        let one = body.spawn(()).key("k").await.unwrap();
        let two = body.spawn(()).key("k").await.unwrap();
        assert_eq!(one.id(), two.id());
        assert_ne!(body.spawn(()).key("l").await.unwrap().id(), one.id());
        let error = other.spawn(()).key("k").await.unwrap_err();
        assert!(matches!(error, SpawnError::KeyOfAnother { session, .. } if session == one.id()));
        let error = body.spawn(()).key("").await.unwrap_err();
        assert!(matches!(error, SpawnError::Key { len: 0 }));
    }
}

/// Steps before and after a question, a sleep and progress.
fn deploy(ledger: &Ledger) -> impl Fn(SessionContext, u32) -> BoxedBody + Send + Sync + 'static {
    let ledger = ledger.clone();
    move |cx, n| {
        let ledger = ledger.clone();
        Box::pin(async move {
            let step = |name: &'static str, value: u32| {
                let ledger = ledger.clone();
                cx.step(name, move || async move {
                    ledger.add(name);
                    Ok::<_, StepFailure>(value)
                })
            };
            let built = step("build", n).await?;
            cx.emit("built")?;
            let ok: bool = cx.ask(Ask::confirm("ok", format!("Deploy {built}?"))).await?;
            if !ok {
                return Ok("rejected".to_owned());
            }
            cx.sleep(LONG).await?;
            let shipped = step("ship", 2).await?;
            Ok(format!("{built}{shipped} {}", cx.random()))
        })
    }
}

type BoxedBody = std::pin::Pin<Box<dyn Future<Output = Result<String, BodyError>> + Send>>;

#[tokio::test(start_paused = true)]
async fn sess_017_a_session_goes_on_where_its_process_was_lost() {
    let disk = VirtualDisk::new();
    let ledger = Ledger::default();
    let store = disk.open();
    let first = Sessions::builder().store(Arc::clone(&store) as _).open().await.unwrap();
    let body = first.register("deploy", deploy(&ledger)).unwrap();
    let run = body.spawn(4).await.unwrap();
    let id = run.id();
    let asked = question(&run).await;
    // The process is lost: its tasks with it.
    store.crash();
    drop((body, run, first));

    let second = process(&disk).await;
    let handle = second.get(id).unwrap();
    assert_eq!(handle.questions().unwrap()[0].id, asked);
    let _body = second.register("deploy", deploy(&ledger)).unwrap();
    within(async {
        while second.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    handle.answer(asked, true).await.unwrap();
    let output = within(handle.typed::<String>()).await.unwrap();
    assert!(output.starts_with("42 "), "{output}");
    assert_eq!(ledger.all(), ["build", "ship"]);
    let progress = kinds(&*disk.open(), id);
    assert_eq!(progress.iter().filter(|kind| **kind == "session_progress").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn sess_017_a_body_that_does_not_match_is_suspended_with_both_names() {
    let disk = VirtualDisk::new();
    let ledger = Ledger::default();
    let first = process(&disk).await;
    let body = first.register("deploy", deploy(&ledger)).unwrap();
    let run = body.spawn(4).await.unwrap();
    let asked = question(&run).await;
    run.answer(asked, true).await.unwrap();
    let id = run.id();
    assert!(first.shutdown(Duration::from_secs(1)).await.is_clean());
    drop((body, run, first));
    let journal = |disk: &VirtualDisk| disk.open().journal(&Stream::Session(id), 0, 100).unwrap();
    let before = journal(&disk);

    let second = process(&disk).await;
    let renamed = second
        .register("deploy", async |cx: SessionContext, _: u32| {
            cx.step("compile", || async { Ok::<_, StepFailure>(1_u32) }).await?;
            Ok::<_, BodyError>(String::new())
        })
        .unwrap();
    let error = renamed.verify(id).unwrap_err();
    assert_eq!(error.to_string(), "the journal has step build, and the body step compile");
    let handle = second.get(id).unwrap();
    let state = within(handle.wait_for(|state| match state {
        SessionState::Suspended(cause @ SuspendCause::Mismatch { .. }) => Some(cause.clone()),
        _ => None,
    }))
    .await
    .unwrap();
    let SuspendCause::Mismatch { recorded, found } = state else { panic!() };
    assert_eq!((&*recorded, &*found), ("step build", "step compile"));
    assert_eq!(journal(&disk), before);
    second.shutdown(LONG).await;
    drop((renamed, second));

    // The old code is put back, and it finishes.
    let third = process(&disk).await;
    let body = third.register("deploy", deploy(&ledger)).unwrap();
    assert!(!body.verify(id).unwrap().has_ended);
    let handle = third.get(id).unwrap();
    handle.resume().await.unwrap();
    assert!(within(handle.typed::<String>()).await.unwrap().starts_with("42 "));
    assert_eq!(ledger.all(), ["build", "ship"]);
}

#[tokio::test(start_paused = true)]
async fn sess_017_a_retry_keeps_the_steps_that_succeeded() {
    let disk = VirtualDisk::new();
    let sessions = process(&disk).await;
    let ledger = Ledger::default();
    let seen = ledger.clone();
    let body = sessions
        .register("flaky", move |cx: SessionContext, _: ()| {
            let ledger = seen.clone();
            async move {
                let one = ledger.clone();
                cx.step("one", || async move {
                    one.add("one");
                    Ok::<_, StepFailure>(())
                })
                .await?;
                cx.step("two", || async move {
                    ledger.add("two");
                    let tries = ledger.all().iter().filter(|step| *step == "two").count();
                    if tries < 2 { Err(StepFailure::new("not yet")) } else { Ok(()) }
                })
                .await
            }
        })
        .unwrap();
    let run = body.spawn(()).await.unwrap();
    let Err(RunError::Failed(failure)) = within(run.clone()).await else { panic!() };
    assert!(failure.message().contains("not yet"), "{failure}");
    run.retry().await.unwrap();
    within(run.clone()).await.unwrap();
    assert_eq!(ledger.all(), ["one", "two", "two"]);
    assert_eq!(run.snapshot().unwrap().attempt, 2);
    let error = run.retry().await.unwrap_err();
    assert!(matches!(error, ResumeError::NotRetryable { state: StateName::Done }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn sess_018_five_starts_without_a_record_are_a_crash_loop() {
    let disk = VirtualDisk::new();
    let mut id = None;
    for round in 0..7 {
        let store = disk.open();
        let sessions = Sessions::builder().store(Arc::clone(&store) as _).open().await.unwrap();
        let body = sessions
            .register("stuck", async |cx: SessionContext, _: ()| {
                cx.step("never", || async {
                    std::future::pending::<()>().await;
                    Ok::<_, StepFailure>(())
                })
                .await
            })
            .unwrap();
        let id = match id {
            Some(id) => id,
            None => *id.insert(body.spawn(()).await.unwrap().id()),
        };
        tokio::time::sleep(LONG).await;
        let state = sessions.get(id).unwrap().state().unwrap();
        if round < 5 {
            assert_eq!(state.name(), StateName::Running, "round {round}");
        } else {
            let SessionState::Failed(failure) = state else { panic!("round {round}: {state:?}") };
            assert_eq!(&**failure.message(), "5 starts in a row recorded nothing new");
        }
        store.crash();
    }
}

#[tokio::test(start_paused = true)]
async fn store_009_sessions_of_nobody_are_decided_by_who_asks() {
    let disk = VirtualDisk::new();
    let first = process(&disk).await;
    let body = first.register("ask", ask_confirm).unwrap();
    let (one, two) = (body.spawn(()).await.unwrap(), body.spawn(()).await.unwrap());
    let asked = question(&one).await;
    question(&two).await;
    let (one, two) = (one.id(), two.id());
    first.shutdown(LONG).await;
    drop((body, first));

    let second = process(&disk).await;
    let one = second.get(one).unwrap();
    assert_eq!(one.state().unwrap().name(), StateName::Paused);
    one.answer(asked, true).await.unwrap();
    assert_eq!(one.state().unwrap(), SessionState::Suspended(SuspendCause::Answered));
    let again = one.answer(asked, true).await.unwrap_err();
    assert!(matches!(again, AnswerError::NothingOpen { .. }), "{again}");
    let two = second.get(two).unwrap();
    two.cancel("nobody wants it").await.unwrap();
    let Outcome::Cancelled(cause) = two.ended().await.unwrap() else { panic!() };
    assert_eq!(&*cause.text, "nobody wants it");
    let error = second.get(SessionId::generate()).unwrap_err();
    assert!(matches!(error, GetError::NotFound(_)));
    assert!(matches!(one.resume().await, Err(ResumeError::NoBody { .. })));
    let _body = second.register("ask", ask_confirm).unwrap();
    assert!(
        within(one.typed::<bool>()).await.is_ok() || {
            one.resume().await.ok();
            within(one.typed::<bool>()).await.unwrap()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn sess_015_children_end_with_their_parent() {
    for disk in [None, Some(VirtualDisk::new())] {
        let sessions = match &disk {
            Some(disk) => process(disk).await,
            None => Sessions::new(),
        };
        let _child = sessions.register("child", ask_confirm).unwrap();
        let parent = sessions
            .register("parent", async |cx: SessionContext, _: ()| {
                cx.spawn_child::<bool>(Child::new("child", &())).await
            })
            .unwrap();
        let child_of = async |parent: &SessionHandle| {
            within(async {
                loop {
                    let paused = sessions.list().into_iter().find(|snapshot| {
                        snapshot.id != parent.id()
                            && &*snapshot.body == "child"
                            && snapshot.state.name() == StateName::Paused
                    });
                    match paused {
                        Some(child) => return sessions.get(child.id).unwrap(),
                        None => tokio::task::yield_now().await,
                    }
                }
            })
            .await
        };
        let run = parent.spawn(()).await.unwrap();
        let child = child_of(&run).await;
        child.answer(QuestionId(1), true).await.unwrap();
        assert!(within(run).await.unwrap());

        let run = parent.spawn(()).await.unwrap();
        let child = child_of(&run).await;
        run.cancel("enough").await.unwrap();
        assert!(matches!(within(run.clone()).await, Err(RunError::Cancelled(_))));
        let Outcome::Cancelled(cause) = within(child.ended()).await.unwrap() else { panic!() };
        assert_eq!(cause.code, CancelCode::Parent);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_003_a_secret_is_kept_nowhere_and_asked_again() {
    let disk = VirtualDisk::new();
    let body = async |cx: SessionContext, _: ()| {
        let secret: String = cx.ask(Ask::secret("token", "Token?")).await?;
        cx.ask::<bool>(Ask::confirm("ok", "?")).await?;
        Ok::<_, BodyError>(secret.len())
    };
    let first = process(&disk).await;
    let registered = first.register("secret", body).unwrap();
    let run = registered.spawn(()).await.unwrap();
    let asked = question(&run).await;
    run.answer(asked, "hunter2hunter2").await.unwrap();
    let id = run.id();
    within(async {
        while run.questions().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    first.shutdown(LONG).await;
    drop((registered, run, first));
    let store = disk.open();
    let journal = store.journal(&Stream::Session(id), 0, 100).unwrap();
    let text: Vec<_> =
        journal.iter().map(|entry| String::from_utf8_lossy(&entry.data).into_owned()).collect();
    assert!(!text.concat().contains("hunter2") && text.concat().contains("secret"), "{text:?}");
    let events = store.events(&Stream::Session(id), 0, 100).unwrap();
    assert!(events.iter().all(|event| !format!("{event:?}").contains("hunter2")));

    let second = process(&disk).await;
    let handle = second.get(id).unwrap();
    let _registered = second.register("secret", body).unwrap();
    let again = within(async {
        loop {
            let questions = handle.questions().unwrap();
            if let Some(question) = questions.iter().find(|question| &*question.name == "token") {
                return question.id;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let other = handle.answer(again, "hunter3").await.unwrap_err();
    assert!(matches!(other, AnswerError::OtherSecret { .. }), "{other}");
    handle.answer(again, "hunter2hunter2").await.unwrap();
    let rest = handle.questions().unwrap()[0].id;
    handle.answer(rest, true).await.unwrap();
    assert_eq!(within(handle.typed::<usize>()).await.unwrap(), 14);
}

#[tokio::test(start_paused = true)]
async fn sess_017_what_cannot_be_recorded_is_refused() {
    let disk = VirtualDisk::new();
    let sessions = process(&disk).await;
    let foreign = sessions
        .register("foreign", async |cx: SessionContext, _: ()| {
            cx.step("one", || async { Ok::<_, StepFailure>(()) }).await?;
            tokio::time::sleep(LONG).await;
            Ok::<_, BodyError>(())
        })
        .unwrap();
    let run = foreign.spawn(()).await.unwrap();
    let outcome = within(run.ended()).await.unwrap();
    assert!(outcome_text(&outcome).contains("wrap that in `step`"), "{outcome:?}");
    let spawned = sessions.spawn_fn(async |_| Ok::<_, BodyError>(())).await;
    assert!(matches!(spawned, Err(SpawnError::Unregistered)));
    assert!(matches!(
        sessions.get(run.id()).unwrap().cancel("late").await,
        Err(CancelError::Ended { state: StateName::Failed })
    ));
    let names = kinds(&*disk.open(), run.id());
    assert!(matches!(names.last(), Some(&"session_failed")));
}
