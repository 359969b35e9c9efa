//! Bodies in memory whose operations are all over at once: they let others run all the same.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Context;

use futures_util::StreamExt;
use futures_util::future::{join, select};
use futures_util::stream::FuturesUnordered;
use holdpoint_core::CancelCode;

use super::*;
use crate::{RunError, Step, StepFailure};

/// A body that has called so many has not let anybody run: that is what the tests see.
const MANY: u32 = 1_000_000;

fn look<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn ready(cx: &SessionContext) -> Result<u32, BodyError> {
    cx.step("ready", || async { Ok::<_, StepFailure>(1) }).await
}

/// In circles, until it is told to stop, or has seen that nobody can tell it.
async fn circles(cx: SessionContext, _: ()) -> Result<u32, BodyError> {
    let mut sum = 0;
    while sum < MANY {
        sum += ready(&cx).await?;
    }
    Ok(sum)
}

#[tokio::test(start_paused = true)]
async fn sess_007_dd_17_a_body_in_circles_hears_of_a_cancellation() {
    let sessions = Sessions::new();
    let run = sessions.register("circles", circles).unwrap().spawn(()).await.unwrap();
    tokio::task::yield_now().await;
    run.cancel_as(CancelCode::User, "enough").await.unwrap();
    let error = within(run).await.unwrap_err();
    assert!(matches!(error, RunError::Cancelled(cause) if &*cause.text == "enough"));
}

#[tokio::test(start_paused = true)]
async fn sess_014_dd_17_a_body_in_circles_has_a_time_limit() {
    let sessions = Sessions::new();
    let body = sessions.register("circles", circles).unwrap();
    let run = body.spawn(()).timeout(HOUR).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(run.state().unwrap(), SessionState::Running);
    // By hand: nobody sleeps while it runs.
    tokio::time::advance(HOUR).await;
    let Outcome::Failed(failure) = within(run.ended()).await.unwrap() else { panic!() };
    assert!(failure.message().contains("limit of 3600s"), "{}", failure.message());
}

/// One that does what it is told, and one that does not.
#[tokio::test]
async fn sess_016_dd_17_a_shutdown_ends_bodies_in_circles() {
    for heeds in [true, false] {
        let sessions = Sessions::new();
        let body = async |cx: SessionContext, heeds: bool| {
            let cx = if heeds { cx } else { cx.cleanup() };
            let mut left = MANY * 10;
            while left > 0 {
                left -= ready(&cx).await?;
            }
            Ok::<_, BodyError>(())
        };
        let run = sessions.register("circles", body).unwrap().spawn(heeds).await.unwrap();
        tokio::task::yield_now().await;
        // The grace of one that heeds it is not needed.
        let grace = if heeds { HOUR } else { Duration::from_millis(5) };
        let report = within(sessions.shutdown(grace)).await;
        assert_eq!(report.aborted.len(), usize::from(!heeds));
        assert!(report.stuck.is_empty());
        let Outcome::Cancelled(cause) = within(run.ended()).await.unwrap() else { panic!() };
        assert_eq!(cause.code, CancelCode::Shutdown);
    }
}

/// Whatever the circle is made of, others run meanwhile, and it comes to its end.
#[tokio::test(start_paused = true)]
async fn sess_020_dd_17_a_body_in_circles_lets_others_run_whatever_it_is_made_of() {
    type Circle = std::pin::Pin<Box<dyn Future<Output = Result<(), BodyError>> + Send>>;
    /// One round, with operations that are over at once.
    type Round = fn(SessionContext) -> Circle;

    let rounds: [(&str, Round); 8] = [
        ("step", |cx| Box::pin(async move { ready(&cx).await.map(drop) })),
        ("cleanup", |cx| Box::pin(async move { ready(&cx.cleanup()).await.map(drop) })),
        ("step_with", |cx| {
            Box::pin(async move { cx.step_with(Step::new("x"), |_| async { Ok(()) }).await })
        }),
        ("refused", |cx| {
            Box::pin(async move {
                cx.sleep_named("", HOUR).await.unwrap_err();
                cx.step("", || async { Ok(()) }).await.unwrap_err();
                Ok(())
            })
        }),
        ("join", |cx| {
            Box::pin(async move {
                let (one, two) = join(ready(&cx), ready(&cx)).await;
                assert_eq!(one? + two?, 2);
                Ok(())
            })
        }),
        ("select", |cx| {
            Box::pin(async move {
                let (one, two) = (pin!(ready(&cx)), pin!(ready(&cx)));
                assert_eq!(select(one, two).await.factor_first().0?, 1);
                Ok(())
            })
        }),
        ("unordered", |cx| {
            Box::pin(async move {
                let mut all: FuturesUnordered<_> = (0..300).map(|_| ready(&cx)).collect();
                let mut sum = 0;
                while let Some(one) = all.next().await {
                    sum += one?;
                }
                assert_eq!(sum, 300);
                Ok(())
            })
        }),
        ("blocks", |cx| {
            Box::pin(async move {
                // Polled until it is over, whatever it says: it is, soon.
                let mut step = pin!(ready(&cx));
                while look(step.as_mut()).is_pending() {}
                ready(&cx).await.map(drop)
            })
        }),
    ];
    for (name, round) in rounds {
        let sessions = Sessions::new();
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let run = sessions.spawn_fn(move |cx| async move {
            for count in 0..MANY / 10 {
                if told.load(SeqCst) {
                    return Ok::<_, BodyError>(count);
                }
                round(cx.clone()).await?;
            }
            panic!("others do not run");
        });
        let run = run.await.unwrap();
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        is_over.store(true, SeqCst);
        let count = within(run).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(count > 0, "{name}");
    }
}

/// So many of those that are over at once in one poll; a question that is open is as it was.
#[tokio::test(start_paused = true)]
async fn sess_020_dd_17_a_body_pauses_after_128_operations_and_loses_nothing() {
    let sessions = Sessions::new();
    let run = sessions.spawn_fn(|cx| async move {
        let mut polls = 0;
        let mut all = pin!(async {
            let mut sum = 0;
            for _ in 0..300 {
                sum += ready(&cx).await?;
            }
            // All those that wait, and those that are over: none is forgotten.
            let asks = (0..300).map(|number| Ask::value(format!("{number}"), "?"));
            let (answers, steps) = join(cx.ask_all::<u32>(asks), async {
                let mut sum = 0;
                for _ in 0..300 {
                    sum += ready(&cx).await?;
                }
                Ok::<_, BodyError>(sum)
            })
            .await;
            Ok::<_, BodyError>((sum, answers?, steps?))
        });
        let (sum, answers, steps) = poll_fn(|cx| {
            polls += 1;
            all.as_mut().poll(cx)
        })
        .await?;
        Ok::<_, BodyError>((sum, answers, steps, polls))
    });
    let run = run.await.unwrap();
    asked(&run, "299").await;
    for _ in 0..9 {
        tokio::task::yield_now().await;
    }
    let mut answers = crate::Answers::new();
    for question in run.questions().unwrap() {
        answers = answers.answer(question.id, question.id.0);
    }
    assert_eq!(run.answer_all(answers).await.unwrap(), []);
    let (sum, answers, steps, polls) = within(run).await.unwrap();
    assert_eq!((sum, answers.len(), steps), (300, 300, 300));
    assert!(answers.is_sorted());
    // 600 steps and 300 answers: seven times 128, and a poll that found nothing more to do.
    assert!((7..=9).contains(&polls), "{polls}");
}
