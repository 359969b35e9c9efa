//! Panics of tasks and observers: a failure of that task, and of nothing else (HOLD-003).

use std::convert::Infallible;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use holdpoint_core::{Cancel, CancelCode};
use holdpoint_hold::Holds;
use tokio::task::yield_now;

use super::audit::Audit;
use crate::{
    Gate, Graph, GraphReport, Hold, Limits, Outcome, Spread, TaskEvent, TaskEventKind, TaskFailure,
};

type Never<T> = Result<T, Infallible>;

/// Without the hook, whose output would be noise.
fn ouch() -> ! {
    resume_unwind(Box::new("ouch"))
}

/// Tasks that panic in every place where code of a task runs, at once or after a while, on one
/// hold; and one that comes after them all.
fn graph() -> Graph<'static, Spread> {
    let mut g = Graph::send_builder();
    let db = || Hold::exclusive("db");
    let fine = |_| async { Never::Ok(()) };
    g.task("body", |_| async { ouch() as Never<()> }).hold(db());
    g.task("body-later", |_| async {
        yield_now().await;
        ouch() as Never<()>
    })
    .hold(db());
    #[expect(unreachable_code, reason = "the closure itself panics")]
    g.task("call", |_| {
        ouch();
        async { Never::Ok(()) }
    })
    .hold(db());
    g.task("gate", fine).hold(db()).gate(|_| async { ouch() as Gate });
    g.task("gate-later", fine).hold(db()).gate(|_| async {
        yield_now().await;
        ouch() as Gate
    });
    g.task("condition", fine).hold(db()).only_if(|_| async { ouch() as bool });
    g.task("lookup", fine).hold(db()).lookup(|_| async { ouch() as Option<()> });
    g.task("lookup-later", fine).hold(db()).lookup(|_| async {
        yield_now().await;
        ouch() as Option<()>
    });
    let mut last = g.task("last", fine).hold(db());
    for name in ["body", "body-later", "call", "gate", "gate-later", "condition", "lookup"] {
        last = last.after(name);
    }
    last.after("lookup-later");
    g.build().unwrap()
}

fn check(report: &GraphReport) {
    for row in report.rows() {
        let (Outcome::Failed { failure, .. } | Outcome::Errored { failure, .. }) = &row.outcome
        else {
            assert_eq!(row.task, "last");
            continue;
        };
        assert_eq!((failure.message(), failure.code()), ("panicked: ouch", Some("panic")));
        // A lookup could not be made; the others tried and failed.
        let errored = matches!(row.outcome, Outcome::Errored { .. });
        assert_eq!(errored, ["condition", "lookup", "lookup-later"].contains(&row.task));
    }
    let counts = report.counts();
    assert_eq!((counts.failed, counts.errored, counts.fresh), (5, 3, 1));
}

#[tokio::test]
async fn graph_008_hold_003_ho_3_ba_1_a_panic_fails_its_task_and_frees_its_hold() {
    let (graph, holds) = (graph(), Holds::new());
    let mut audit = Audit::new(graph.topology());
    let run = graph.run(Limits::jobs(2)).holds(holds.clone());
    let report = run.observer(|event: &TaskEvent| audit.take(event)).await.unwrap();
    check(&report);
    audit.compare(&report);
    assert!(holds.is_empty());
    // The graph is as good as before.
    check(&graph.run(Limits::jobs(2)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graph_008_graph_015_hold_003_ho_3_ba_1_a_panic_on_another_thread_too() {
    let (graph, holds) = (graph(), Holds::new());
    for _ in 0..20 {
        let run = graph.run(Limits::jobs(2)).holds(holds.clone()).spawned();
        check(&run.await.unwrap());
        assert!(holds.is_empty());
    }
}

/// A panic is a failure like any other: it is tried again.
#[tokio::test(start_paused = true)]
async fn graph_014_a_panic_is_tried_again() {
    let mut g = Graph::builder();
    let key = g
        .task("a", async |cx| if cx.attempt() < 3 { ouch() } else { Never::Ok(cx.attempt()) })
        .retry(crate::Retry {
            attempts: 3,
            backoff: holdpoint_core::Backoff::fixed(std::time::Duration::from_secs(1)),
        })
        .key();
    let report = g.build().unwrap().run(Limits::cores()).await.unwrap();
    assert_eq!(*report.value(key).unwrap(), 3);
}

/// The predecessor's run went down with its observer.
#[tokio::test]
async fn graph_008_cd_24_a_panic_of_the_observer_is_contained() {
    let graph = graph();
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let run = graph.run(Limits::jobs(2)).observer(move |_: &TaskEvent| {
        if count.fetch_add(1, Ordering::SeqCst) == 3 {
            ouch()
        }
    });
    let report = run.await.unwrap();
    check(&report);
    assert!(report.observer_panic().is_some());
    assert_eq!(told.load(Ordering::SeqCst), 4, "it is told nothing more");
}

/// An event is told before what it announces happens.
#[tokio::test]
async fn graph_008_events_come_before_their_effect() {
    let told = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let mut g = Graph::builder();
    let say = |text: &'static str| {
        let told = std::rc::Rc::clone(&told);
        move || told.borrow_mut().push(text.to_owned())
    };
    let (gate, lookup, body, after) = (say("gate"), say("lookup"), say("body"), say("after"));
    g.task("a", move |_| {
        body();
        async { Err::<(), _>(TaskFailure::new("boom").to_string()) }
    })
    .gate(move |_| {
        gate();
        async { Gate::Open }
    })
    .lookup(move |_| {
        lookup();
        async { None }
    })
    .hold(Hold::exclusive("db"));
    g.task("b", move |_| {
        after();
        async { Never::Ok(()) }
    })
    .after("a");
    let graph = g.build().unwrap();
    let log = std::rc::Rc::clone(&told);
    let run = graph.run(Limits::jobs(1)).observer(move |event: &TaskEvent| {
        let kind = match &event.kind {
            TaskEventKind::Ended(_) => "ended".to_owned(),
            kind => format!("{kind:?}"),
        };
        log.borrow_mut()
            .push(format!("{}: {kind}", if event.task.index() == 0 { "a" } else { "b" }));
    });
    let _ = run.await.unwrap();
    let expected = [
        "a: GateAwaited",
        "gate",
        "lookup",
        "a: Miss",
        "a: HoldAcquired",
        "a: Started",
        "body",
        "a: HoldReleased",
        "a: ended",
        "b: Started",
        "after",
        "b: ended",
    ];
    assert_eq!(*told.borrow(), expected);
}

/// A future that is ready at once, and panics when it is dropped.
struct BadDrop {
    ready: bool,
}

impl Future for BadDrop {
    type Output = Never<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Never<()>> {
        if self.ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Drop for BadDrop {
    fn drop(&mut self) {
        ouch()
    }
}

#[tokio::test]
async fn graph_008_hold_003_ho_3_a_panic_in_a_drop_is_one_of_its_task_too() {
    for spread in [false, true] {
        let (holds, cancel) = (Holds::new(), Cancel::new());
        let mut g = Graph::send_builder();
        let ended = g.task("ended", |_| BadDrop { ready: true }).hold(Hold::exclusive("db")).key();
        let stop = cancel.clone();
        let stopped = g.task("stopped", move |_| {
            stop.cancel(CancelCode::User, "enough");
            BadDrop { ready: false }
        });
        let stopped = stopped.after(ended).hold(Hold::exclusive("db")).key();
        let graph = g.build().unwrap();
        let run = graph.run(Limits::cores()).holds(holds.clone()).cancel(cancel);
        let run = run.grace(Some(std::time::Duration::ZERO));
        let report = if spread { run.spawned().await } else { run.await }.unwrap();
        let Outcome::Failed { failure, .. } = report.outcome(ended.id()) else { panic!() };
        assert_eq!(failure.message(), "panicked: ouch");
        let aborted = report.outcome(stopped.id());
        assert!(matches!(aborted, Outcome::Cancelled { aborted: true, .. }), "{aborted:?}");
        let _free = holds.acquire(&[Hold::exclusive("db")]).await.unwrap();
    }
}
