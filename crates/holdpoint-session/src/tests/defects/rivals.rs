//! What the systems next to this one lack, by their own reports.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{Either, join, select};
use holdpoint_core::session::{SessionState, StateName};
use holdpoint_testkit::store::VirtualDisk;

use super::super::rules::*;
use crate::{AnswerError, Ask, BodyError, SessionContext, Sessions, Since, StepFailure};

/// dagucloud/dagu#2839: an approval of one branch did not let the others go on; #2251: a step that
/// ran was marked stale by an approval beside it.
#[tokio::test(start_paused = true)]
async fn sess_003_sess_004_an_approval_moves_its_branch_and_leaves_the_others_alone() {
    for sessions in both().await {
        let (ledger, gate) = (Ledger::default(), Gate::default());
        let (seen, passes) = (ledger.clone(), gate.clone());
        let body = sessions
            .register("release", move |cx: SessionContext, _: ()| {
                let (ledger, gate) = (seen.clone(), passes.clone());
                async move {
                    let approved = async |name: &'static str| {
                        let ok: bool = cx.ask(Ask::confirm(name, "?")).await?;
                        let ledger = ledger.clone();
                        cx.step(format!("{name} step"), move || async move {
                            ledger.add(name);
                            Ok::<_, StepFailure>(ok)
                        })
                        .await
                    };
                    let live = cx.step("live", || async {
                        ledger.add("live begins");
                        gate.pass().await;
                        ledger.add("live ends");
                        Ok::<_, StepFailure>(true)
                    });
                    let asks = join(approved("one"), approved("two"));
                    let ((one, two), live) = join(asks, live).await;
                    Ok::<_, BodyError>([one?, two?, live?])
                }
            })
            .unwrap();
        let run = body.spawn(()).await.unwrap();
        let (one, two) = (asked(&run, "one").await, asked(&run, "two").await);
        until(|| ledger.count("live begins") == 1).await;
        assert_eq!(run.answer(one, true).await.unwrap(), [two]);
        until(|| ledger.count("one") == 1).await;
        assert_eq!(run.state().unwrap().name(), StateName::Paused, "the other still asks");
        assert_eq!(run.answer(two, true).await.unwrap(), []);
        until(|| ledger.count("two") == 1).await;
        assert_eq!(run.state().unwrap(), SessionState::Running, "the step goes on as it was");
        gate.open();
        assert_eq!(within(run).await.unwrap(), [true; 3]);
        assert_eq!(ledger.all(), ["live begins", "one", "two", "live ends"]);
    }
}

/// microsoft/duroxide#57: an answer was eaten by a wait that nobody had any more.
#[tokio::test(start_paused = true)]
async fn sess_003_sess_017_an_answer_is_never_eaten_by_a_wait_that_is_gone() {
    let disk = VirtualDisk::new();
    let body = async |cx: SessionContext, _: ()| {
        // The same question under the same name, given up twice for want of an answer.
        for _ in 0..2 {
            let asked = cx.ask::<String>(Ask::text("event", "?"));
            match select(asked, cx.sleep(SECOND)).await {
                Either::Left((answer, _)) => return answer,
                Either::Right((slept, _)) => slept?,
            }
        }
        cx.ask::<String>(Ask::text("event", "?")).await
    };
    let first = Process::start(&disk).await;
    let run = first.sessions.register("waits", body).unwrap().spawn(()).await.unwrap();
    let id = run.id();
    let mut gone = Vec::new();
    for _ in 0..2 {
        let open = question(&run).await;
        gone.push(open);
        until(|| run.questions().unwrap().iter().any(|question| question.id > open)).await;
    }
    let last = question(&run).await;
    first.kill();
    let second = Process::start(&disk).await;
    let _body = second.sessions.register("waits", body).unwrap();
    let handle = taken_up(&second.sessions, id).await;
    for gone in gone {
        let error = handle.answer(gone, "late").await.unwrap_err();
        assert!(matches!(error, AnswerError::NotOpen { .. }), "{error}");
    }
    assert_eq!(question(&handle).await, last, "asked once");
    handle.answer(last, "in time").await.unwrap();
    assert_eq!(within(handle.typed::<String>()).await.unwrap(), "in time");
}

/// Queues, timers and waits of others are looked at every so often. Here nothing happens until
/// something does: in a day the clock is not read once.
#[tokio::test(start_paused = true)]
async fn sess_015_nobody_polls_while_nothing_happens() {
    let disk = VirtualDisk::new();
    for is_stored in [false, true] {
        let clock = Steps::new();
        let limits = crate::Limits::none().live(20);
        let builder = Sessions::builder().clock(Arc::clone(&clock) as _).limits(limits);
        let sessions = match is_stored {
            true => Process::start_with(&disk, builder).await.sessions,
            false => builder.build(),
        };
        let body = sessions.register("ask", ask_confirm).unwrap();
        let sleeps = sessions
            .register("sleeps", async |cx: SessionContext, _: ()| cx.sleep(HOUR * 100).await)
            .unwrap();
        let _collection = sessions.collect_after(HOUR).unwrap();
        let mut runs = Vec::new();
        for _ in 0..10 {
            runs.push(sleeps.spawn(()).await.unwrap().handle());
        }
        for _ in 0..20 {
            runs.push(body.spawn(()).pause_timeout(HOUR * 99).await.unwrap().handle());
        }
        let waits: Vec<_> = runs
            .iter()
            .map(|run| {
                let run = run.clone();
                tokio::spawn(async move { run.ended().await })
            })
            .collect();
        let mut observer = runs[0].observe(Since::Now).unwrap();
        let observes = tokio::spawn(async move { observer.next().await });
        tokio::time::sleep(SECOND).await;
        let before = clock.reads.load(Ordering::SeqCst);
        tokio::time::sleep(HOUR * 24).await;
        assert_eq!(clock.reads.load(Ordering::SeqCst), before, "nothing has happened");
        // And then all of it does, by itself.
        tokio::time::sleep(HOUR * 1000).await;
        assert!(observes.is_finished() && waits.iter().all(tokio::task::JoinHandle::is_finished));
        assert!(sessions.is_empty(), "ended, and collected");
        drop(sessions);
    }
}
