//! How a registry goes down.

use std::sync::mpsc;

use holdpoint_core::CancelCode;
use holdpoint_core::session::{StateName, SuspendCause};
use holdpoint_testkit::store::VirtualDisk;

use super::*;
use crate::{Limits, ResumeError, RunError, SpawnError, StepFailure};

#[tokio::test(start_paused = true)]
async fn sess_016_after_a_shutdown_nothing_is_taken() {
    for sessions in both().await {
        let ask = sessions.register("ask", ask_confirm).unwrap();
        let planned = ask.plan(()).await.unwrap();
        let before = ask.spawn(());
        assert!(sessions.shutdown(SECOND).await.is_clean());
        for spawn in [before, ask.spawn(()), ask.plan(())] {
            let error = spawn.await.unwrap_err();
            let SpawnError::ShuttingDown(cause) = error else { panic!("{error}") };
            assert_eq!(cause.code, CancelCode::Shutdown);
        }
        assert!(matches!(planned.resume().await, Err(ResumeError::ShuttingDown(_))));
        assert!(sessions.shutdown(SECOND).await.is_clean(), "again, and nothing happens");
    }
}

#[tokio::test(start_paused = true)]
async fn sess_016_in_memory_running_paused_and_queued_sessions_are_cancelled() {
    let sessions = Sessions::builder().limits(Limits::none().live(2)).build();
    let ledger = Ledger::default();
    let seen = ledger.clone();
    let body = sessions
        .register("cleans", move |cx: SessionContext, asks: bool| {
            let ledger = seen.clone();
            async move {
                let ended = if asks {
                    ask_confirm(cx.clone(), ()).await.map(drop)
                } else {
                    cx.sleep(HOUR).await
                };
                let clean = cx.cleanup();
                clean.sleep(SECOND * 3).await?;
                ledger.add("clean");
                ended
            }
        })
        .unwrap();
    let runs = [
        body.spawn(true).await.unwrap(),
        body.spawn(false).await.unwrap(),
        body.spawn(true).await.unwrap(),
    ];
    question(&runs[0]).await;
    assert_eq!(runs[2].state().unwrap(), SessionState::Planned, "it waits its turn");
    let waits = tokio::spawn(runs[2].clone());
    let started = tokio::time::Instant::now();
    assert!(sessions.shutdown(SECOND * 10).await.is_clean());
    assert!(started.elapsed() < SECOND * 4, "it is over when they are");
    for run in &runs {
        let Outcome::Cancelled(cause) = within(run.ended()).await.unwrap() else { panic!() };
        assert_eq!(cause.code, CancelCode::Shutdown);
    }
    assert_eq!(ledger.all(), ["clean", "clean"]);
    assert!(matches!(within(waits).await.unwrap(), Err(RunError::Cancelled(_))));
}

/// A body that blocks its thread cannot be dropped: it is named, and nobody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn sess_016_a_body_that_blocks_a_thread_is_named_in_time() {
    for sessions in both().await {
        let (release, blocked) = mpsc::channel::<()>();
        let (told, started) = mpsc::channel::<()>();
        let (blocked, told) = (Arc::new(Mutex::new(blocked)), Mutex::new(told));
        let body = sessions
            .register("blocks", move |cx: SessionContext, blocks: bool| {
                let blocked = Arc::clone(&blocked);
                let told = told.lock().unwrap().clone();
                async move {
                    if blocks {
                        told.send(()).unwrap();
                        let _released = blocked.lock().unwrap().recv();
                        return Ok(());
                    }
                    ask_confirm(cx, ()).await.map(drop)
                }
            })
            .unwrap();
        let blocks = body.spawn(true).await.unwrap();
        let asks = body.spawn(false).await.unwrap();
        question(&asks).await;
        started.recv_timeout(SECOND * 60).unwrap();
        let grace = Duration::from_millis(300);
        let before = std::time::Instant::now();
        let report = within(sessions.shutdown(grace)).await;
        let took = before.elapsed();
        assert_eq!(
            (&report.aborted[..], &report.stuck[..]),
            (&[blocks.id()][..], &[blocks.id()][..])
        );
        // Grace and a second, and what a machine under load takes to wake us.
        assert!(took >= grace && took < grace + SECOND * 20, "{took:?}");
        assert!(!report.is_clean());
        assert_ne!(asks.state().unwrap().name(), StateName::Running);
        release.send(()).unwrap();
        until(|| sessions.shared().ended().running == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn sess_016_it_returns_a_second_after_the_grace_at_the_latest() {
    for sessions in both().await {
        let body = sessions
            .register("deaf", async |cx: SessionContext, _: ()| {
                cx.step("deaf", || async {
                    tokio::time::sleep(HOUR * 9).await;
                    Ok::<_, StepFailure>(())
                })
                .await
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        tokio::time::sleep(SECOND).await;
        let before = tokio::time::Instant::now();
        let report = sessions.shutdown(SECOND * 5).await;
        let took = before.elapsed();
        assert!(took >= SECOND * 5 && took <= SECOND * 6, "{took:?}");
        assert_eq!((&report.aborted[..], report.stuck.len()), (&[run.id()][..], 0));
    }
}

/// A body that wakes itself all the time, and never ends: it is broken off between two polls.
#[tokio::test(start_paused = true)]
async fn sess_016_a_body_that_never_ends_is_broken_off() {
    for sessions in both().await {
        let spins = sessions
            .register("spins", async |_: SessionContext, _: ()| -> Result<(), BodyError> {
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await
            })
            .unwrap();
        let run = spins.spawn(()).await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(run.state().unwrap(), SessionState::Running);
        let report = sessions.shutdown(Duration::ZERO).await;
        assert_eq!((&report.aborted[..], report.stuck.len()), (&[run.id()][..], 0));
        assert_ne!(run.state().unwrap().name(), StateName::Running);
    }
}

/// A step before a question, one that waits at the gate, and one after it.
fn three_steps(
    ledger: &Ledger,
    gate: &Gate,
) -> impl Fn(SessionContext, bool) -> Boxed + Send + std::marker::Sync + 'static {
    let (ledger, gate) = (ledger.clone(), gate.clone());
    move |cx, asks| {
        let (ledger, gate) = (ledger.clone(), gate.clone());
        Box::pin(async move {
            let step = async |name: &'static str| {
                let (ledger, gate) = (ledger.clone(), gate.clone());
                cx.step(name, move || async move {
                    ledger.add(format!("{name} begins"));
                    if name == "second" {
                        gate.pass().await;
                    }
                    ledger.add(format!("{name} ends"));
                    Ok::<_, StepFailure>(())
                })
                .await
            };
            step("first").await?;
            if asks {
                ask_confirm(cx.clone(), ()).await?;
            }
            step("second").await?;
            step("third").await
        })
    }
}

type Boxed = std::pin::Pin<Box<dyn Future<Output = Result<(), BodyError>> + Send>>;

#[tokio::test(start_paused = true)]
async fn sess_016_with_a_store_steps_under_way_end_and_are_recorded_and_others_go_on() {
    let disk = VirtualDisk::new();
    let (ledger, gate) = (Ledger::default(), Gate::default());
    let first = Process::start(&disk).await;
    let body = first.sessions.register("steps", three_steps(&ledger, &gate)).unwrap();
    let run = body.spawn(false).await.unwrap();
    let paused = body.spawn(true).await.unwrap();
    let open = question(&paused).await;
    until(|| ledger.count("second begins") == 1).await;
    let opens = gate.clone();
    tokio::spawn(async move {
        tokio::time::sleep(SECOND * 3).await;
        opens.open();
    });
    let before = tokio::time::Instant::now();
    assert!(first.sessions.shutdown(SECOND * 30).await.is_clean());
    assert!(before.elapsed() >= SECOND * 3, "the step was waited for");
    assert_eq!(ledger.count("second ends"), 1);
    let waits = within(run.clone()).await.unwrap_err();
    assert!(matches!(waits, RunError::Suspended(Some(SuspendCause::Shutdown))), "{waits}");
    assert!(journal(&*first.store, run.id()).iter().any(|entry| entry.contains("\"second\"")));
    assert_eq!(paused.state().unwrap().name(), StateName::Paused);
    assert_eq!(ledger.count("third begins"), 0);

    let second = Process::start(&disk).await;
    let _body = second.sessions.register("steps", three_steps(&ledger, &gate)).unwrap();
    for id in [run.id(), paused.id()] {
        let handle = taken_up(&second.sessions, id).await;
        if id == paused.id() {
            assert_eq!(question(&handle).await, open, "the same question");
            handle.answer(open, true).await.unwrap();
        }
        within(handle.typed::<()>()).await.unwrap();
    }
    for step in ["first", "second", "third"] {
        assert_eq!(ledger.count(&format!("{step} ends")), 2, "once for each session");
        assert_eq!(ledger.count(&format!("{step} begins")), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn sess_016_with_a_store_a_step_beyond_the_grace_is_broken_off_and_done_again() {
    let disk = VirtualDisk::new();
    let (ledger, gate) = (Ledger::default(), Gate::default());
    let first = Process::start(&disk).await;
    let body = first.sessions.register("steps", three_steps(&ledger, &gate)).unwrap();
    let run = body.spawn(false).await.unwrap();
    until(|| ledger.count("second begins") == 1).await;
    let report = first.sessions.shutdown(SECOND).await;
    assert_eq!((&report.aborted[..], report.stuck.len()), (&[run.id()][..], 0));
    assert_eq!(run.state().unwrap(), SessionState::Suspended(SuspendCause::Shutdown));
    gate.open();
    let second = Process::start(&disk).await;
    let _body = second.sessions.register("steps", three_steps(&ledger, &gate)).unwrap();
    within(taken_up(&second.sessions, run.id()).await.typed::<()>()).await.unwrap();
    assert_eq!(ledger.count("first begins"), 1);
    assert_eq!((ledger.count("second begins"), ledger.count("second ends")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn sess_016_bd_22_a_registry_that_is_dropped_goes_down_in_the_background() {
    let sessions = Sessions::new();
    let body = sessions.register("ask", ask_confirm).unwrap();
    let run = body.spawn(()).await.unwrap().handle();
    question(&run).await;
    let also = sessions.clone();
    drop(sessions);
    tokio::time::sleep(HOUR).await;
    assert_eq!(run.state().unwrap().name(), StateName::Paused, "a clone is the registry");
    drop((also, body));
    let Outcome::Cancelled(cause) = within(run.ended()).await.unwrap() else { panic!() };
    assert_eq!(cause.code, CancelCode::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn sess_016_a_shutdown_that_nobody_waits_for_goes_on() {
    for sessions in both().await {
        let run = sessions.register("ask", ask_confirm).unwrap().spawn(()).await.unwrap();
        question(&run).await;
        let given_up = tokio::time::timeout(Duration::ZERO, sessions.shutdown(HOUR)).await;
        drop(given_up);
        until(|| sessions.shared().ended().running == 0).await;
        let state = run.state().unwrap().name();
        assert!(matches!(state, StateName::Cancelled | StateName::Paused), "{state}");
    }
}

/// The runtime goes away under its sessions: they are let go, and another process has them at once.
#[test]
fn sess_016_sessions_whose_runtime_is_dropped_are_let_go() {
    let disk = VirtualDisk::new();
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap()
    };
    let first = runtime();
    let (id, open) = first.block_on(async {
        let process = Process::start(&disk).await;
        let run = process.sessions.register("ask", ask_confirm).unwrap().spawn(()).await.unwrap();
        let open = question(&run).await;
        std::mem::forget(process);
        (run.id(), open)
    });
    drop(first);
    runtime().block_on(async {
        let process = Process::start(&disk).await;
        let handle = process.sessions.get(id).unwrap();
        assert_eq!(handle.state().unwrap().name(), StateName::Paused);
        handle.answer(open, true).await.unwrap();
        let _body = process.sessions.register("ask", ask_confirm).unwrap();
        assert!(within(taken_up(&process.sessions, id).await.typed::<bool>()).await.unwrap());
    });
}
