//! Bodies whose results are recorded: what comes again after a restart, and what does not.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::future::{Either, join, select};
use futures_util::stream::FuturesUnordered;
use holdpoint_core::event::EventKind;
use holdpoint_core::session::{FailureCause, StateName, SuspendCause};
use holdpoint_testkit::store::{Faults, VirtualDisk};

use super::*;
use crate::{Attempt, Child, Limits, ResumeError, RunError, Step, StepFailure, VerifyError};

/// A step that says in the ledger that it was executed.
async fn step(
    cx: &SessionContext,
    ledger: &Ledger,
    name: &'static str,
) -> Result<String, BodyError> {
    let ledger = ledger.clone();
    cx.step(name, move || async move {
        ledger.add(name);
        Ok::<_, StepFailure>(name.to_owned())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn sess_017_time_chance_and_progress_are_the_same_in_every_start() {
    let disk = VirtualDisk::new();
    let clock = Steps::new();
    let (ledger, told) = (Ledger::default(), Ledger::default());
    let body = {
        let (ledger, told) = (ledger.clone(), told.clone());
        move |cx: SessionContext, _: ()| {
            let (ledger, told) = (ledger.clone(), told.clone());
            async move {
                let mut line = format!("{} {}", cx.now(), cx.random());
                cx.emit("begun")?;
                for name in ["one", "two", "three"] {
                    step(&cx, &ledger, name).await?;
                    line += &format!(" {} {}", cx.now(), cx.random());
                    cx.emit(name)?;
                    told.add(line.clone());
                    ask_confirm(cx.clone(), ()).await?;
                }
                cx.emit("done")?;
                Ok::<_, BodyError>(line)
            }
        }
    };
    let start = async || {
        let builder = Sessions::builder().clock(Arc::clone(&clock) as _);
        Process::start_with(&disk, builder).await
    };
    let mut process = start().await;
    let run = process.sessions.register("tells", body.clone()).unwrap().spawn(()).await.unwrap();
    let id = run.id();
    let mut handle = run.handle();
    for round in 0..3 {
        let open = question(&handle).await;
        process.kill();
        tokio::time::sleep(HOUR).await;
        clock.step_wall(-100_000);
        process = start().await;
        let _body = process.sessions.register("tells", body.clone()).unwrap();
        handle = taken_up(&process.sessions, id).await;
        assert_eq!(question(&handle).await, open, "round {round}");
        handle.answer(open, true).await.unwrap();
        until(|| handle.questions().unwrap().iter().all(|question| question.id > open)).await;
    }
    let line = within(handle.typed::<String>()).await.unwrap();
    let drawn: BTreeSet<_> = line.split(' ').skip(1).step_by(2).collect();
    assert_eq!(drawn.len(), 4, "{line}");
    // Whatever a start came to say is the beginning of what it came to in the end.
    assert!(told.all().len() > 6);
    assert!(told.all().iter().all(|said| line.starts_with(said)), "{:?}", told.all());
    assert_eq!(ledger.all(), ["one", "two", "three"]);
    let progress: Vec<_> = stored_events(&*process.store, id)
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::SessionProgress { progress } => Some(progress.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(progress, ["\"begun\"", "\"one\"", "\"two\"", "\"three\"", "\"done\""]);
}

/// What the rivals forbid: the order in which parallel operations end is recorded, not assumed.
#[tokio::test(start_paused = true)]
async fn sess_017_join_select_and_unordered_sets_go_the_way_they_went() {
    let disk = VirtualDisk::new();
    let ledger = Ledger::default();
    let body = {
        let ledger = ledger.clone();
        move |cx: SessionContext, _: ()| {
            let ledger = ledger.clone();
            async move {
                let timed = |name: String, millis: u64| {
                    let ledger = ledger.clone();
                    cx.step(name.clone(), move || async move {
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                        ledger.add(&name);
                        Ok::<_, StepFailure>(name)
                    })
                };
                let mut set: FuturesUnordered<_> = [30, 10, 50, 20, 40]
                    .into_iter()
                    .map(|millis| timed(format!("u{millis}"), millis))
                    .collect();
                let mut order = Vec::new();
                while let Some(name) = set.next().await {
                    order.push(name?);
                }
                let (left, right) = join(timed("left".into(), 9), timed("right".into(), 3)).await;
                order.extend([left?, right?]);
                let slow = pin!(timed("slow".into(), 5000));
                match select(slow, cx.sleep_named("limit", SECOND)).await {
                    Either::Left((name, _)) => order.push(name?),
                    Either::Right((passed, _)) => {
                        passed?;
                        order.push("limit".to_owned());
                    }
                }
                ask_confirm(cx.clone(), ()).await?;
                Ok::<_, BodyError>(order.join(" "))
            }
        }
    };
    let first = Process::start(&disk).await;
    let run = first.sessions.register("sets", body.clone()).unwrap().spawn(()).await.unwrap();
    let (id, open) = (run.id(), question(&run).await);
    let executed = ledger.all();
    first.kill();
    let second = Process::start(&disk).await;
    let _body = second.sessions.register("sets", body).unwrap();
    let handle = taken_up(&second.sessions, id).await;
    handle.answer(open, true).await.unwrap();
    let order = within(handle.typed::<String>()).await.unwrap();
    assert_eq!(order, "u10 u20 u30 u40 u50 left right limit");
    assert_eq!(ledger.all(), executed, "nothing was executed again");
}

type New = fn(SessionContext) -> Boxed<bool>;
type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, BodyError>> + Send>>;

/// Fetches, stores, sleeps for ten hours and asks.
fn job(
    ledger: &Ledger,
) -> impl Fn(SessionContext, ()) -> Boxed<bool> + Send + std::marker::Sync + use<> {
    let ledger = ledger.clone();
    move |cx, ()| {
        let ledger = ledger.clone();
        Box::pin(async move {
            step(&cx, &ledger, "fetch").await?;
            step(&cx, &ledger, "store").await?;
            cx.sleep(HOUR * 10).await?;
            ask_confirm(cx, ()).await
        })
    }
}

/// Bodies that the job is not any more, with what they have instead of the step `store`.
fn others() -> [(New, &'static str); 3] {
    let renamed: New = |cx| {
        Box::pin(async move {
            step(&cx, &Ledger::default(), "fetch").await?;
            step(&cx, &Ledger::default(), "save").await?;
            ask_confirm(cx, ()).await
        })
    };
    let ends: New = |cx| {
        Box::pin(async move {
            step(&cx, &Ledger::default(), "fetch").await?;
            Ok(true)
        })
    };
    let waits: New = |cx| {
        Box::pin(async move {
            step(&cx, &Ledger::default(), "fetch").await?;
            cx.sleep(HOUR).await?;
            Ok(true)
        })
    };
    [(renamed, "step save"), (ends, "the end of the body"), (waits, "sleep sleep")]
}

#[tokio::test(start_paused = true)]
async fn sess_017_a_mismatch_names_both_and_leaves_the_journal_as_it_is() {
    let disk = VirtualDisk::new();
    let ledger = Ledger::default();
    let first = Process::start(&disk).await;
    let run = first.sessions.register("job", job(&ledger)).unwrap().spawn(()).await.unwrap();
    let id = run.id();
    tokio::time::sleep(HOUR).await;
    let before = journal(&*first.store, id);
    first.kill();
    for (body, found) in others() {
        let process = Process::start(&disk).await;
        let registered =
            process.sessions.register("job", move |cx: SessionContext, _: ()| body(cx)).unwrap();
        let error = registered.verify(id).unwrap_err();
        let VerifyError::Mismatch { recorded, found: told } = error else { panic!("{error}") };
        assert_eq!((&*recorded, &*told), ("step store", found));
        let handle = process.sessions.get(id).unwrap();
        let _resumed_or_taken = handle.resume().await;
        let cause = within(handle.wait_for(|state| match state {
            SessionState::Suspended(cause @ SuspendCause::Mismatch { .. }) => Some(cause.clone()),
            _ => None,
        }))
        .await
        .unwrap();
        let SuspendCause::Mismatch { recorded, found: told } = cause else { panic!() };
        assert_eq!((&*recorded, &*told), ("step store", found));
        let error = within(handle.typed::<bool>()).await.unwrap_err();
        assert!(matches!(error, RunError::Suspended(Some(SuspendCause::Mismatch { .. }))));
        assert_eq!(journal(&*process.store, id), before);
        // By itself it is not tried again.
        until(|| process.sessions.is_empty()).await;
        tokio::time::sleep(HOUR / 10).await;
        assert!(process.sessions.is_empty());
        process.sessions.shutdown(SECOND).await;
    }
    let last = Process::start(&disk).await;
    let registered = last.sessions.register("job", job(&ledger)).unwrap();
    assert_eq!(registered.verify(id).unwrap().waits_for, ["sleep sleep"]);
    let handle = last.sessions.get(id).unwrap();
    handle.resume().await.unwrap();
    handle.answer(question(&handle).await, true).await.unwrap();
    assert!(within(handle.typed::<bool>()).await.unwrap());
    assert_eq!(ledger.all(), ["fetch", "store"]);
}

/// One that is paused stays paused, for people to answer, however often other code comes along.
#[tokio::test(start_paused = true)]
async fn sess_017_sess_018_a_mismatch_is_no_crash() {
    let disk = VirtualDisk::new();
    let ledger = Ledger::default();
    let first = Process::start(&disk).await;
    let run = first.sessions.register("job", job(&ledger)).unwrap().spawn(()).await.unwrap();
    let (id, open) = (run.id(), question(&run).await);
    let before = journal(&*first.store, id);
    first.kill();
    for round in 0..12 {
        let process = Process::start(&disk).await;
        let (body, _) = others()[round % 3];
        let _body =
            process.sessions.register("job", move |cx: SessionContext, _: ()| body(cx)).unwrap();
        let handle = process.sessions.get(id).unwrap();
        let resumed = handle.resume().await;
        assert!(!matches!(resumed, Err(ResumeError::CrashLoop { .. })), "{round}");
        until(|| process.sessions.is_empty()).await;
        assert_eq!(question(&handle).await, open, "{round}");
        assert_eq!(journal(&*process.store, id), before);
        process.sessions.shutdown(SECOND).await;
    }
    let last = Process::start(&disk).await;
    let _body = last.sessions.register("job", job(&ledger)).unwrap();
    let handle = taken_up(&last.sessions, id).await;
    handle.answer(open, true).await.unwrap();
    assert!(within(handle.typed::<bool>()).await.unwrap());
    assert_eq!(ledger.all(), ["fetch", "store"]);
}

#[tokio::test(start_paused = true)]
async fn sess_017_versions_stand_side_by_side_and_each_ends_with_its_own() {
    let disk = VirtualDisk::new();
    let one = async |cx: SessionContext, _: ()| {
        step(&cx, &Ledger::default(), "old").await?;
        ask_confirm(cx, ()).await.map(|_| 1_u32)
    };
    let two = async |cx: SessionContext, _: ()| {
        step(&cx, &Ledger::default(), "new").await?;
        ask_confirm(cx, ()).await.map(|_| 2_u32)
    };
    let first = Process::start(&disk).await;
    let run = first.sessions.register("job", one).unwrap().spawn(()).await.unwrap();
    let (old, open) = (run.id(), question(&run).await);
    first.kill();

    // Where only the new version is there, the session waits.
    let second = Process::start(&disk).await;
    let newer = second.sessions.register_version("job", 2, two).unwrap();
    let waits = second.sessions.get(old).unwrap();
    let error = waits.resume().await.unwrap_err();
    assert!(matches!(&error, ResumeError::NoBody { version: 1, versions, .. } if versions == &[2]));
    assert_eq!(error.to_string(), "no body `job` of version 1 is registered; there is version 2");
    let error = newer.verify(old).unwrap_err();
    assert!(matches!(error, VerifyError::Mismatch { .. }), "{error}");
    let run = newer.spawn(()).await.unwrap();
    let (new, new_open) = (run.id(), question(&run).await);
    second.kill();

    let third = Process::start(&disk).await;
    let _two = third.sessions.register_version("job", 2, two).unwrap();
    let _one = third.sessions.register_version("job", 1, one).unwrap();
    for (id, open, version) in [(old, open, 1), (new, new_open, 2)] {
        let handle = taken_up(&third.sessions, id).await;
        handle.answer(open, true).await.unwrap();
        assert_eq!(within(handle.typed::<u32>()).await.unwrap(), version);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_017_a_retry_keeps_finished_steps_in_a_store_and_nothing_in_memory() {
    let [memory, stored] = both().await;
    for (sessions, keeps) in [(memory, false), (stored, true)] {
        let ledger = Ledger::default();
        let seen = ledger.clone();
        let body = sessions
            .register("flaky", move |cx: SessionContext, _: ()| {
                let ledger = seen.clone();
                async move {
                    step(&cx, &ledger, "one").await?;
                    let ok = ask_confirm(cx.clone(), ()).await?;
                    let tries = ledger.clone();
                    cx.step("two", || async move {
                        tries.add("two");
                        if ok { Ok(()) } else { Err(StepFailure::new("not yet")) }
                    })
                    .await
                }
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        let first = question(&run).await;
        run.answer(first, false).await.unwrap();
        assert_eq!(failure(&run).await, "step `two` failed: not yet");
        run.retry().await.unwrap();
        // It is asked again, under another id: an answer to the first attempt is none to this.
        let again = question(&run).await;
        assert!(again > first);
        assert!(run.answer(first, true).await.is_err());
        run.answer(again, true).await.unwrap();
        within(run.clone()).await.unwrap();
        assert_eq!(ledger.count("one"), if keeps { 1 } else { 2 });
        assert_eq!(ledger.count("two"), 2, "what failed is tried again");
        assert_eq!(run.snapshot().unwrap().attempt, 2);
    }
    let closure = Sessions::new()
        .spawn_fn(async |_| Err::<(), _>(BodyError::Cancelled(cancel_info())))
        .await
        .unwrap();
    assert!(matches!(within(closure.clone()).await, Err(RunError::Cancelled(_))));
    assert!(closure.retry().await.is_err(), "a closure runs once");
}

fn cancel_info() -> holdpoint_core::CancelInfo {
    holdpoint_core::CancelInfo::new(holdpoint_core::CancelCode::User, "", Timestamp::default())
}

#[tokio::test(start_paused = true)]
async fn sess_017_an_interrupted_step_is_executed_again_under_another_pair_of_numbers() {
    let disk = VirtualDisk::new();
    let (ledger, gate) = (Ledger::default(), Gate::default());
    let body = {
        let (ledger, gate) = (ledger.clone(), gate.clone());
        move |cx: SessionContext, _: ()| {
            let (ledger, gate) = (ledger.clone(), gate.clone());
            async move {
                let retried = Step::new("pays").attempts(3);
                cx.step_with(retried, move |attempt: Attempt| {
                    let (ledger, gate) = (ledger.clone(), gate.clone());
                    async move {
                        let numbers = (attempt.start(), attempt.number());
                        ledger.add(format!("{numbers:?} {}", attempt.idempotency_key()));
                        if attempt.number() == 1 {
                            return Err(StepFailure::new("once more"));
                        }
                        gate.pass().await;
                        Ok(numbers)
                    }
                })
                .await
            }
        }
    };
    let first = Process::start(&disk).await;
    let id = first.sessions.register("pays", body.clone()).unwrap().spawn(()).await.unwrap().id();
    until(|| ledger.all().len() == 2).await;
    first.kill();
    let second = Process::start(&disk).await;
    let _body = second.sessions.register("pays", body).unwrap();
    let handle = taken_up(&second.sessions, id).await;
    until(|| ledger.all().len() == 4).await;
    gate.open();
    assert_eq!(within(handle.typed::<(u32, u32)>()).await.unwrap(), (2, 2));
    let key = format!("{id}/pays/1");
    let pairs = [(1, 1), (1, 2), (2, 1), (2, 2)].map(|pair| format!("{pair:?} {key}"));
    assert_eq!(ledger.all(), pairs);
}

#[tokio::test(start_paused = true)]
async fn sess_017_what_is_called_in_the_wrong_place_is_refused_there() {
    for sessions in both().await {
        let body = sessions
            .register("misplaced", async |cx: SessionContext, how: String| {
                let inner = cx.clone();
                match &*how {
                    "effect" => {
                        let called = async move { Ok(inner.sleep(SECOND).await?) };
                        cx.step("outer", || called).await
                    }
                    "nested" => {
                        let called = async move {
                            Ok(inner.step("inner", || async { Ok::<_, StepFailure>(()) }).await?)
                        };
                        cx.step("outer", || called).await
                    }
                    "emit" => {
                        cx.step("outer", || async move { Ok(inner.emit("from within")?) }).await
                    }
                    "task" => {
                        let task = tokio::spawn(async move { inner.sleep(SECOND).await });
                        cx.step("joins", || async { Ok(task.await??) }).await
                    }
                    how => panic!("{how}"),
                }
            })
            .unwrap();
        for how in ["effect", "nested", "emit", "task"] {
            let text = failure(&body.spawn(how.to_owned()).await.unwrap()).await;
            assert!(text.contains("is called in the wrong place"), "{how}: {text}");
            assert!(text.contains("call and await it in the body itself"), "{how}: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sess_017_a_body_that_awaits_something_foreign_fails_over_a_store_with_a_remedy() {
    let [memory, stored] = both().await;
    for (sessions, is_recorded) in [(memory, false), (stored, true)] {
        let body = sessions
            .register("foreign", async |cx: SessionContext, when: u32| {
                if when > 0 {
                    step(&cx, &Ledger::default(), "first").await?;
                }
                match when {
                    // While nothing of its own is open, and beside something that is.
                    0 | 1 => tokio::time::sleep(SECOND).await,
                    _ => {
                        let foreign = pin!(tokio::time::sleep(SECOND));
                        drop(select(foreign, cx.sleep(HOUR)).await);
                        step(&cx, &Ledger::default(), "second").await?;
                    }
                }
                Ok::<_, BodyError>(())
            })
            .unwrap();
        for when in 0..3 {
            let run = body.spawn(when).await.unwrap();
            if is_recorded {
                let text = failure(&run).await;
                assert!(text.contains("wrap that in `step`"), "{when}: {text}");
            } else {
                within(run).await.unwrap();
            }
        }
        assert!(sessions.shutdown(SECOND).await.is_clean(), "nothing is left running");
        assert_eq!(sessions.shared().ended().running, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_018_starts_that_end_in_order_or_record_something_are_no_crash_loop() {
    let disk = VirtualDisk::new();
    let body = async |cx: SessionContext, _: ()| {
        for number in 0..12 {
            cx.ask::<bool>(Ask::confirm(format!("q{number}"), "?")).await?;
        }
        Ok::<_, BodyError>(())
    };
    let first = Process::start(&disk).await;
    let run = first.sessions.register("patient", body).unwrap().spawn(()).await.unwrap();
    let id = run.id();
    question(&run).await;
    first.sessions.shutdown(SECOND).await;
    drop(first);
    // Let go in order, a dozen times.
    for _ in 0..12 {
        let process = Process::start(&disk).await;
        let _body = process.sessions.register("patient", body).unwrap();
        let handle = taken_up(&process.sessions, id).await;
        question(&handle).await;
        process.sessions.shutdown(SECOND).await;
    }
    // Killed a dozen times, with an answer each time.
    for number in 0..12 {
        let process = Process::start(&disk).await;
        let _body = process.sessions.register("patient", body).unwrap();
        let handle = taken_up(&process.sessions, id).await;
        let open = asked(&handle, &format!("q{number}")).await;
        handle.answer(open, true).await.unwrap();
        if number == 11 {
            within(handle.typed::<()>()).await.unwrap();
            assert_eq!(handle.snapshot().unwrap().starts, 25);
        }
        process.kill();
    }
}

#[tokio::test(start_paused = true)]
async fn sess_018_a_crash_loop_ends_failed_and_can_be_tried_again() {
    let disk = VirtualDisk::new();
    let gate = Gate::default();
    let body = {
        let gate = gate.clone();
        move |cx: SessionContext, _: ()| {
            let gate = gate.clone();
            async move {
                let hangs = || async move {
                    gate.pass().await;
                    Ok(())
                };
                cx.step("hangs", hangs).await
            }
        }
    };
    let mut id = None;
    for _ in 0..5 {
        let process = Process::start(&disk).await;
        let registered = process.sessions.register("hangs", body.clone()).unwrap();
        match id {
            None => id = Some(registered.spawn(()).await.unwrap().id()),
            Some(id) => drop(taken_up(&process.sessions, id).await),
        }
        tokio::time::sleep(SECOND).await;
        process.kill();
    }
    let process = Process::start(&disk).await;
    let _body = process.sessions.register("hangs", body).unwrap();
    let handle = process.sessions.get(id.unwrap()).unwrap();
    until(|| handle.state().unwrap().is_terminal()).await;
    let SessionState::Failed(failed) = handle.state().unwrap() else { panic!() };
    assert_eq!(failed.cause(), FailureCause::CrashLoop { starts: 5 });
    assert!(process.sessions.is_empty(), "it was not started");
    let resumed = handle.resume().await.unwrap_err();
    assert!(matches!(resumed, ResumeError::Ended { state: StateName::Failed }), "{resumed}");
    gate.open();
    handle.retry().await.unwrap();
    within(handle.typed::<()>()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sess_018_a_session_without_its_body_is_told_to_be_suspended_and_one_that_lives_is_left() {
    let disk = VirtualDisk::new();
    let first = Process::start(&disk).await;
    let sleeps = async |cx: SessionContext, _: ()| cx.sleep(HOUR * 9).await;
    let run = first.sessions.register("sleeps", sleeps).unwrap().spawn(()).await.unwrap();
    let id = run.id();
    tokio::time::sleep(SECOND).await;
    // While its process lives, nobody touches it.
    let other = Process::start(&disk).await;
    let _body = other.sessions.register("sleeps", sleeps).unwrap();
    tokio::time::sleep(HOUR).await;
    assert!(other.sessions.is_empty());
    let error = other.sessions.get(id).unwrap().resume().await.unwrap_err();
    assert!(matches!(error, ResumeError::Owned { state: StateName::Running }), "{error}");
    assert_eq!(other.sessions.recover().await.unwrap(), 0);
    other.sessions.shutdown(SECOND).await;
    first.kill();

    let third = Process::start(&disk).await;
    assert_eq!(
        third.sessions.get(id).unwrap().state().unwrap(),
        SessionState::Suspended(SuspendCause::Interrupted)
    );
    until(|| third.store.info(&Stream::Session(id)).unwrap().state == StateName::Suspended).await;
    let all = stored_events(&*third.store, id);
    assert_eq!(names(&all), ["planned", "started", "suspended"], "told once, in the store");
    assert_eq!(third.sessions.recover().await.unwrap(), 0, "there is no more to tell");
    let _body = third.sessions.register("sleeps", sleeps).unwrap();
    within(taken_up(&third.sessions, id).await.typed::<()>()).await.unwrap();
}

/// Who opens the store tells of the session that it is suspended, while who registers its body takes it
/// up: the one that comes too late looks again.
#[tokio::test(start_paused = true)]
async fn sess_018_a_session_that_is_told_to_be_suspended_while_it_is_taken_up_goes_on() {
    let disk = VirtualDisk::new();
    let sleeps = async |cx: SessionContext, _: ()| cx.sleep(HOUR).await;
    let first = Process::start(&disk).await;
    let id = first.sessions.register("sleeps", sleeps).unwrap().spawn(()).await.unwrap().id();
    tokio::time::sleep(SECOND).await;
    first.kill();
    let store = disk.open_with(Faults::none().delay_all());
    let sessions = Sessions::builder().store(Arc::clone(&store) as _).open().await.unwrap();
    until(|| store.waiting() == 1).await;
    let _body = sessions.register("sleeps", sleeps).unwrap();
    until(|| store.waiting() == 2).await;
    store.set_faults(Faults::none());
    store.release_all();
    within(taken_up(&sessions, id).await.typed::<()>()).await.unwrap();
    let told = stored_events(&*store, id);
    assert_eq!(names(&told), ["planned", "started", "suspended", "resumed", "done"]);
}

#[tokio::test(start_paused = true)]
async fn sess_017_sess_018_children_outlive_the_process_with_their_parent() {
    let disk = VirtualDisk::new();
    let parent =
        async |cx: SessionContext, _: ()| cx.spawn_child::<bool>(Child::new("child", &())).await;
    let start = async || {
        let process = Process::start(&disk).await;
        let child = process.sessions.register("child", ask_confirm).unwrap();
        let parent = process.sessions.register("parent", parent).unwrap();
        (process, child, parent)
    };
    let (first, _child, registered) = start().await;
    let run = registered.spawn(()).await.unwrap();
    let id = run.id();
    until(|| first.sessions.len() == 2).await;
    let child = first.sessions.list().into_iter().find(|one| one.id != id).unwrap().id;
    let open = question(&first.sessions.get(child).unwrap()).await;
    first.kill();
    let (second, _child, _parent) = start().await;
    let parent = taken_up(&second.sessions, id).await;
    let child = taken_up(&second.sessions, child).await;
    child.answer(open, true).await.unwrap();
    assert!(within(parent.typed::<bool>()).await.unwrap());
    assert_eq!(second.sessions.list_stored(0, 9).unwrap().len(), 2, "no second child");
}

/// One body that does a bit of everything.
async fn everything(cx: SessionContext, name: String) -> Result<String, BodyError> {
    let one: u32 = cx.step("one", || async { Ok::<_, StepFailure>(1) }).await?;
    let failed =
        cx.step("fails", || async { Err::<(), _>(StepFailure::terminal("no")) }).await.unwrap_err();
    let place: String = cx.ask(Ask::choice("place", "Where?", ["here", "there"])).await?;
    cx.sleep(HOUR).await?;
    let ok: bool = cx.spawn_child(Child::new("yes", &())).await?;
    cx.emit(&place)?;
    Ok(format!("{name} {one} {failed} {place} {ok} {}", cx.is_cancelled()))
}

#[tokio::test(start_paused = true)]
async fn sess_020_one_body_gives_one_result_on_every_host() {
    let mut results = Vec::new();
    for sessions in both().await {
        let _yes = sessions
            .register("yes", async |_: SessionContext, _: ()| Ok::<_, BodyError>(true))
            .unwrap();
        let body = sessions.register("everything", everything).unwrap();
        let run = body.spawn("ann".to_owned()).await.unwrap();
        run.answer(question(&run).await, "there").await.unwrap();
        let result = within(run.clone()).await.unwrap();
        let kinds: Vec<_> = names(&events(&run).await).iter().map(ToString::to_string).collect();
        results.push((result, kinds));
    }
    assert_eq!(results[0].0, "ann 1 step `fails` failed there true false");
    assert_eq!(results[0], results[1]);
}

#[tokio::test(start_paused = true)]
async fn sess_003_a_secret_is_asked_again_and_only_the_same_is_taken() {
    let disk = VirtualDisk::new();
    let ledger = Ledger::default();
    let body = {
        let ledger = ledger.clone();
        move |cx: SessionContext, _: ()| {
            let ledger = ledger.clone();
            async move {
                let secret: String = cx.ask(Ask::secret("token", "Token?")).await?;
                step(&cx, &ledger, "login").await?;
                ask_confirm(cx, ()).await?;
                Ok::<_, BodyError>(secret.len())
            }
        }
    };
    let first = Process::start(&disk).await;
    let run = first.sessions.register("login", body.clone()).unwrap().spawn(()).await.unwrap();
    let id = run.id();
    run.answer(asked(&run, "token").await, "hunter2").await.unwrap();
    let open = asked(&run, "ok").await;
    first.kill();
    for _ in 0..2 {
        let process = Process::start(&disk).await;
        let _body = process.sessions.register("login", body.clone()).unwrap();
        let handle = taken_up(&process.sessions, id).await;
        let again = asked(&handle, "token").await;
        let refused = handle.answer(again, "hunter3").await.unwrap_err();
        let text = refused.to_string();
        assert!(
            matches!(refused, crate::AnswerError::OtherSecret { question } if question == again)
        );
        assert!(!text.contains("hunter"), "{text}");
        assert!(handle.questions().unwrap().iter().any(|question| question.id == again));
        process.kill();
    }
    let process = Process::start(&disk).await;
    let _body = process.sessions.register("login", body).unwrap();
    let handle = taken_up(&process.sessions, id).await;
    handle.answer(asked(&handle, "token").await, "hunter2").await.unwrap();
    handle.answer(open, true).await.unwrap();
    assert_eq!(within(handle.typed::<usize>()).await.unwrap(), 7);
    assert_eq!(ledger.all(), ["login"]);
}

/// A body that never gets further in its first process.
fn sticks_at_first(sessions: &Sessions, is_first: bool) -> crate::Body<(), String> {
    let body = move |cx: SessionContext, _: ()| async move {
        let step = move || async move {
            if is_first {
                std::future::pending::<()>().await;
            }
            Ok::<_, StepFailure>("through".to_owned())
        };
        cx.step("stick", step).await
    };
    sessions.register("sticks", body).unwrap()
}

async fn is_pending(mut future: Pin<&mut impl Future>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// Who waits for a session that its new process is about to take up does not take it for left.
#[tokio::test(start_paused = true)]
async fn sess_011_sess_018_who_waits_at_once_sees_what_is_taken_up_come_to_its_end() {
    let disk = VirtualDisk::new();
    let process = Process::start(&disk).await;
    let spawned = sticks_at_first(&process.sessions, true).spawn(()).key("one").await;
    let id = spawned.unwrap().id();
    process.kill();

    let store = disk.open_with(Faults::none().delay_all());
    let sessions = Sessions::builder().store(Arc::clone(&store) as _).open().await.unwrap();
    let _body = sticks_at_first(&sessions, false);
    let handle = sessions.get(id).unwrap();
    let mut question = Box::pin(handle.next_question());
    let mut run = Box::pin(handle.typed::<String>());
    for _ in 0..8 {
        // What is taken up is not acknowledged yet.
        assert!(is_pending(question.as_mut()).await && is_pending(run.as_mut()).await);
        tokio::task::yield_now().await;
    }
    let acknowledges = async {
        loop {
            store.release_one();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let ends = async {
        assert!(question.await.unwrap().is_none(), "it ended without asking");
        assert_eq!(run.await.unwrap(), "through");
    };
    within(select(pin!(acknowledges), pin!(ends))).await;
}

/// The same where it has to wait for its place first.
#[tokio::test(start_paused = true)]
async fn sess_011_sess_015_sess_018_what_waits_for_a_place_is_not_left() {
    let disk = VirtualDisk::new();
    let process = Process::start(&disk).await;
    let body = sticks_at_first(&process.sessions, true);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(body.spawn(()).await.unwrap().id());
    }
    process.kill();

    let limits = Limits { live: Some(1), ..Limits::default() };
    let process = Process::start_with(&disk, Sessions::builder().limits(limits)).await;
    let _body = sticks_at_first(&process.sessions, false);
    for id in ids {
        let run = process.sessions.get(id).unwrap().typed::<String>();
        assert_eq!(within(run).await.unwrap(), "through");
    }
}

/// What has no body here, and what was to go on in a process that goes down, is told to be left.
#[tokio::test(start_paused = true)]
async fn sess_011_sess_016_who_waits_is_told_when_nothing_will_go_on() {
    let disk = VirtualDisk::new();
    let process = Process::start(&disk).await;
    let body = sticks_at_first(&process.sessions, true);
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(body.spawn(()).await.unwrap().id());
    }
    process.kill();

    let process = Process::start(&disk).await;
    for id in &ids {
        let error = within(process.sessions.get(*id).unwrap().ended()).await.unwrap_err();
        assert!(matches!(error, RunError::Suspended(Some(SuspendCause::Interrupted))), "{error}");
    }
    process.kill();

    let limits = Limits { live: Some(1), ..Limits::default() };
    let process = Process::start_with(&disk, Sessions::builder().limits(limits)).await;
    let _body = sticks_at_first(&process.sessions, true);
    let runs = ids.iter().map(|id| process.sessions.get(*id).unwrap());
    let waits: Vec<_> = runs.map(|run| tokio::spawn(async move { run.ended().await })).collect();
    until(|| !process.sessions.is_empty()).await;
    process.sessions.shutdown(Duration::ZERO).await;
    for wait in waits {
        let error = within(wait).await.unwrap().unwrap_err();
        assert!(matches!(error, RunError::Suspended(_)), "{error}");
    }
}
