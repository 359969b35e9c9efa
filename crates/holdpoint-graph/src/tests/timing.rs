//! Timeouts, graces and retries by the driver, in tokio's paused time (GRAPH-014).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{Backoff, Cancel, CancelCode};
use holdpoint_hold::Holds;
use tokio::time::{Instant, sleep};

use super::audit::Audit;
use crate::{Graph, Hold, Limits, OnFailure, Outcome, Retry, Stopped, TaskEvent};

type Never<T> = Result<T, Infallible>;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Work that takes its time and never looks at its token.
async fn takes(time: Duration) -> Never<()> {
    sleep(time).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn graph_014_a_timeout_fires_the_token_at_its_time() {
    let mut g = Graph::builder();
    let key = g
        .task("slow", async |cx| -> Result<(), Stopped> {
            let began = Instant::now();
            let cause = cx.cancelled().await;
            assert_eq!((cause.code, began.elapsed()), (CancelCode::Timeout, seconds(10)));
            Err(Stopped)
        })
        .timeout(seconds(10))
        .key();
    let in_time = g.task("fast", |_| takes(seconds(9))).timeout(seconds(10)).key();
    let report = g.build().unwrap().run(Limits::unlimited()).await.unwrap();
    let Outcome::Failed { failure, .. } = report.outcome(key.id()) else { panic!() };
    assert_eq!(failure.code(), Some("timeout"));
    assert!(report.value(in_time).is_ok());
}

#[tokio::test(start_paused = true)]
async fn graph_014_hold_003_a_task_that_ignores_its_token_is_dropped_after_the_grace() {
    let (holds, began) = (Holds::new(), Instant::now());
    let mut g = Graph::builder();
    g.task("deaf", |_| takes(seconds(1000))).timeout(seconds(10)).hold(Hold::exclusive("db"));
    let next =
        g.task("next", async |_| Never::Ok(Instant::now())).hold(Hold::exclusive("db")).key();
    let graph = g.build().unwrap();
    let mut audit = Audit::new(graph.topology());
    let run = graph.run(Limits::unlimited()).holds(holds.clone()).grace(Some(seconds(5)));
    let report = run.observer(|event: &TaskEvent| audit.take(event)).await.unwrap();
    audit.compare(&report);
    let waited = *report.value(next).unwrap() - began;
    assert_eq!(waited.as_millis(), 15_000, "the limit and the grace");
    assert!(holds.is_empty());
}

#[tokio::test(start_paused = true)]
async fn graph_014_a_timeout_is_of_each_attempt_and_delays_do_not_count() {
    let mut g = Graph::builder();
    let key = g
        .task("a", async |cx| {
            sleep(seconds(if cx.attempt() < 3 { 60 } else { 9 })).await;
            Never::Ok(Instant::now())
        })
        .timeout(seconds(10))
        .retry(Retry { attempts: 3, backoff: Backoff::exponential(seconds(20)) })
        .key();
    let began = Instant::now();
    let run = g.build().unwrap();
    let report = run.run(Limits::unlimited()).grace(Some(Duration::ZERO)).await.unwrap();
    let took = *report.value(key).unwrap() - began;
    assert_eq!(took.as_secs(), 10 + 20 + 10 + 40 + 9);
    assert_eq!(report.row(key.id()).attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn graph_014_between_attempts_others_have_the_slot_and_the_hold() {
    let mut g = Graph::builder();
    let db = || Hold::exclusive("db");
    let again = g
        .task("again", async |cx| if cx.attempt() == 1 { Err("boom") } else { Ok(Instant::now()) })
        .retry(Retry { attempts: 2, backoff: Backoff::fixed(seconds(10)) })
        .hold(db())
        .key();
    let other = g
        .task("other", async |_| {
            let began = Instant::now();
            sleep(seconds(30)).await;
            Never::Ok(began)
        })
        .hold(db())
        .key();
    let began = Instant::now();
    let report = g.build().unwrap().run(Limits::jobs(1)).await.unwrap();
    assert_eq!((*report.value(other).unwrap() - began).as_secs(), 0);
    assert_eq!((*report.value(again).unwrap() - began).as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn graph_009_graph_007_what_is_cancelled_may_use_its_grace_and_no_more() {
    for fail_fast in [false, true] {
        let cancel = Cancel::new();
        let mut g = Graph::builder();
        let began = Instant::now();
        let tidy = g
            .task("tidy", async |cx| -> Result<(), Stopped> {
                cx.cancelled().await;
                sleep(seconds(4)).await;
                Err(Stopped)
            })
            .key();
        let deaf = g.task("deaf", |_| takes(seconds(99))).key();
        let stop = &cancel;
        g.task("stop", async |_| {
            sleep(seconds(10)).await;
            if fail_fast {
                return Err("boom");
            }
            stop.cancel(CancelCode::User, "enough");
            Ok(())
        });
        let run = g.build().unwrap();
        let run =
            run.run(Limits::unlimited()).cancel(cancel.clone()).on_failure(OnFailure::FailFast);
        let report = run.grace(Some(seconds(5))).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 15);
        for (key, gone) in [(tidy.id(), false), (deaf.id(), true)] {
            let Outcome::Cancelled { cause, aborted, root } = report.outcome(key) else { panic!() };
            let code = if fail_fast { CancelCode::Internal } else { CancelCode::User };
            assert_eq!(cause.unwrap().code, code);
            assert_eq!((aborted, root.is_some()), (gone, fail_fast));
        }
    }
}

/// The token of a retried task is a new one; that of the attempt before stays fired.
#[tokio::test(start_paused = true)]
async fn graph_014_each_attempt_has_a_token_of_its_own() {
    let tokens = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&tokens);
    let mut g = Graph::builder();
    g.task("a", move |cx| {
        kept.lock().unwrap().push(cx.cancel().clone());
        async move { if cx.attempt() == 1 { Err(cx.cancelled().await.to_string()) } else { Ok(()) } }
    })
    .timeout(seconds(1))
    .retry(Retry { attempts: 2, backoff: Backoff::fixed(seconds(1)) });
    let report = g.build().unwrap().run(Limits::unlimited()).await.unwrap();
    assert!(report.is_success());
    let fired: Vec<bool> = tokens.lock().unwrap().iter().map(Cancel::is_cancelled).collect();
    assert_eq!(fired, [true, false]);
}
