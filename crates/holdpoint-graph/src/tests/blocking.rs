//! Blocking functions as tasks (GRAPH-017).

use std::convert::Infallible;
use std::sync::mpsc;
use std::thread::ThreadId;
use std::time::Duration;

use holdpoint_core::{Backoff, BoxError, Cancel, CancelCode};
use holdpoint_hold::Holds;

use crate::{Graph, Hold, Limits, Outcome, Retry, Stopped, TaskEvent, TaskEventKind};

type Never<T> = Result<T, Infallible>;

#[tokio::test]
async fn graph_017_a_blocking_function_runs_beside_the_runtime() {
    let mut g = Graph::builder();
    let (to_blocking, from_async) = mpsc::channel::<u32>();
    let mut from_async = Some(from_async);
    // It waits, blocking, for something that only the runtime's one thread can send.
    let blocking = g
        .blocking("blocking", move |_| {
            let number = from_async.take().expect("one attempt").recv()?;
            Ok::<_, BoxError>((number, std::thread::current().id()))
        })
        .key();
    g.task("async", move |_| {
        let sent = to_blocking.send(7);
        async move { sent }
    });
    let after = g
        .task("after", move |cx| async move { Never::Ok(cx.value(blocking).0) })
        .needs(blocking)
        .key();
    let report = g.build().unwrap().run(Limits::jobs(2)).await.unwrap();
    let (number, thread): (u32, ThreadId) = *report.value(blocking).unwrap();
    assert_eq!((number, *report.value(after).unwrap()), (7, 7));
    assert_ne!(thread, std::thread::current().id());
    assert_eq!(report.still_running().len(), 0);
}

#[tokio::test]
async fn graph_017_it_gets_the_token() {
    let cancel = Cancel::new();
    let mut g = Graph::builder();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let mut started = Some(started);
    let key = g
        .blocking("blocking", move |cx| -> Result<(), Stopped> {
            started.take().map(|started| started.send(()));
            let runtime = tokio::runtime::Handle::current();
            let cause = runtime.block_on(cx.cancelled());
            assert_eq!(cause.code, CancelCode::Shutdown);
            Err(Stopped)
        })
        .key();
    let graph = g.build().unwrap();
    let stop = async {
        has_started.await.unwrap();
        cancel.cancel(CancelCode::Shutdown, "");
    };
    let run = graph.run(Limits::cores()).cancel(cancel.clone()).grace(None).into_future();
    let (report, ()) = tokio::join!(run, stop);
    let outcome = report.unwrap().outcome(key.id());
    assert!(matches!(outcome, Outcome::Cancelled { aborted: false, .. }), "{outcome:?}");
}

/// A function that does not look at its token cannot be stopped; the run ends without it after
/// the grace, and says so.
#[tokio::test]
async fn graph_017_those_still_running_are_named() {
    for spread in [false, true] {
        let cancel = Cancel::new();
        let (release, released) = mpsc::channel::<()>();
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        let mut once = Some((cancel.clone(), released, ended));
        let body = move |_: crate::TaskCx| {
            let (cancel, released, ended) = once.take().expect("one attempt");
            cancel.cancel(CancelCode::User, "enough");
            let _ = released.recv();
            let _ = ended.send(());
            Never::Ok(())
        };
        let limits = Limits::cores();
        let grace = Some(Duration::ZERO);
        let report = if spread {
            let mut g = Graph::send_builder();
            g.blocking("deaf", body);
            g.task("other", |_| async { Never::Ok(()) });
            g.build().unwrap().run(limits).spawned().cancel(cancel).grace(grace).await
        } else {
            let mut g = Graph::builder();
            g.blocking("deaf", body);
            g.task("other", |_| async { Never::Ok(()) });
            g.build().unwrap().run(limits).cancel(cancel).grace(grace).await
        };
        let report = report.unwrap();
        assert_eq!(report.still_running().collect::<Vec<_>>(), ["deaf"]);
        let deaf = report.topology().find("deaf").unwrap();
        assert!(matches!(report.outcome(deaf), Outcome::Cancelled { aborted: true, .. }));
        drop(release);
        has_ended.await.unwrap();
    }
}

#[tokio::test]
async fn graph_017_hold_003_ho_3_a_panic_in_it_is_a_failure_and_frees_its_hold() {
    let holds = Holds::new();
    let mut g = Graph::builder();
    let panics = g
        .blocking("panics", |_| -> Never<()> { std::panic::resume_unwind(Box::new("ouch")) })
        .hold(Hold::exclusive("db"))
        .key();
    let fails = g.blocking("fails", |_| Err::<(), _>("boom")).hold(Hold::exclusive("db")).key();
    let report = g.build().unwrap().run(Limits::cores()).holds(holds.clone()).await.unwrap();
    let Outcome::Failed { failure, .. } = report.outcome(panics.id()) else { panic!() };
    assert_eq!((failure.message(), failure.code()), ("panicked: ouch", Some("panic")));
    let Outcome::Failed { failure, .. } = report.outcome(fails.id()) else { panic!() };
    assert_eq!(failure.message(), "boom");
    assert_eq!(report.still_running().len(), 0, "a panic is an end");
    assert!(holds.is_empty());
}

#[test]
fn graph_017_without_a_runtime_it_fails_and_says_so() {
    let mut g = Graph::builder();
    let key = g.blocking("blocking", |_| Never::Ok(())).key();
    let graph = g.build().unwrap();
    let run = graph.run(Limits::cores()).into_future();
    let report = tokio_test::task::spawn(run).poll();
    let std::task::Poll::Ready(Ok(report)) = report else { panic!("it fails at once") };
    assert!(matches!(report.outcome(key.id()), Outcome::Failed { .. }));
}

/// The run ends without it, or is dropped, but its work is not done: until then nobody else gets
/// its hold.
#[tokio::test]
async fn graph_017_hold_003_ho_3_it_keeps_its_hold_until_it_ends() {
    for (spread, dropped) in [(false, false), (false, true), (true, false), (true, true)] {
        let (holds, cancel) = (Holds::new(), Cancel::new());
        let (release, released) = mpsc::channel::<()>();
        let (started, mut has_started) = tokio::sync::oneshot::channel();
        let mut once = Some((started, released));
        let mut g = Graph::send_builder();
        g.blocking("deaf", move |_| {
            let (started, released) = once.take().expect("one attempt");
            let _ = started.send(());
            let _ = released.recv();
            Never::Ok(())
        })
        .hold(Hold::exclusive("db"));
        let graph = g.build().unwrap();
        let run = graph.run(Limits::cores()).holds(holds.clone()).cancel(cancel.clone());
        let run = run.grace(Some(Duration::ZERO));
        let mut run = if spread { run.spawned().into_future() } else { run.into_future() };
        tokio::select! {
            _ = &mut run => panic!("it waits for the function"),
            started = &mut has_started => started.unwrap(),
        }
        if dropped {
            drop(run);
        } else {
            cancel.cancel(CancelCode::User, "enough");
            let report = run.await.unwrap();
            assert_eq!(report.still_running().collect::<Vec<_>>(), ["deaf"]);
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(holds.try_acquire(&[Hold::exclusive("db")]).unwrap().is_none(), "it still runs");
        drop(release);
        let _free = holds.acquire(&[Hold::exclusive("db")]).await.unwrap();
    }
}

/// The first attempt ends while the second runs: that one is still named.
#[tokio::test]
async fn graph_017_graph_014_each_attempt_of_it_is_still_running_by_itself() {
    let (release, released) = mpsc::channel::<()>();
    let (never, second) = mpsc::channel::<()>();
    let (mut first, mut second) = (Some(released), Some(second));
    let mut g = Graph::builder();
    let backoff = Backoff::fixed(Duration::ZERO);
    g.blocking("deaf", move |_| {
        let waits = first.take().or_else(|| second.take()).expect("two attempts");
        let _ = waits.recv();
        Never::Ok(())
    })
    .timeout(Duration::from_millis(5))
    .retry(Retry { attempts: 2, backoff });
    let graph = g.build().unwrap();
    let mut release = Some(release);
    let run = graph.run(Limits::cores()).grace(Some(Duration::ZERO));
    let run = run.observer(move |event: &TaskEvent| {
        if matches!(event.kind, TaskEventKind::Retry { .. }) {
            drop(release.take());
        }
    });
    let report = run.await.unwrap();
    assert_eq!(report.still_running().collect::<Vec<_>>(), ["deaf"]);
    drop(never);
}
