//! What only the driver does: races between an end and a cancel, gates that are dropped, whose
//! clock counts, and how others see a run.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use holdpoint_core::{Cancel, CancelCode, Clock, Monotonic, Now, Timestamp};
use holdpoint_hold::Holds;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_test::task::spawn;

use super::runners::Each;
use crate::{
    Gate, Graph, Hold, Limits, Lookup, OnFailure, Outcome, RunOptions, SendTaskRunner, Source,
    TaskContext, TaskEnd, TaskEvent, TaskEventKind, Topology, run, run_spawned,
};

type Never<T> = Result<T, Infallible>;

/// The predecessor preferred the cancel to a task that had ended in the same moment, and threw
/// away a hit whose files were already there.
#[test]
fn graph_009_cd_5_cd_10_an_end_in_the_same_moment_as_the_cancel_counts() {
    for hit in [false, true] {
        let cancel = Cancel::new();
        let (end, ended) = oneshot::channel::<()>();
        let mut ended = Some(ended);
        let mut g = Graph::builder();
        let task = g.task("a", |_| {
            let ended = ended.take();
            async {
                if let Some(ended) = ended {
                    let _ = ended.await;
                }
                Never::Ok(1)
            }
        });
        let (found, is_found) = oneshot::channel::<()>();
        let mut is_found = Some(is_found);
        let key = task.key();
        if hit {
            task.lookup(move |_| {
                let is_found = is_found.take();
                async {
                    let _ = is_found.expect("one lookup").await;
                    Some(1)
                }
            });
        }
        let after = g.task("b", async |_| Never::Ok(2)).needs(key).key();
        let graph = g.build().unwrap();
        let mut task = spawn(graph.run(Limits::cores()).cancel(cancel.clone()).into_future());
        assert!(task.poll().is_pending());

        cancel.cancel(CancelCode::User, "enough");
        let _ = if hit { found.send(()) } else { end.send(()) };
        let Poll::Ready(Ok(report)) = task.poll() else { panic!("all is over") };
        let source = if hit { Source::Cache } else { Source::Fresh };
        let outcome = report.outcome(key.id());
        assert!(matches!(outcome, Outcome::Succeeded(found) if found == source), "{outcome:?}");
        assert_eq!(*report.value(key).unwrap(), 1, "and its result is kept");
        assert!(matches!(report.outcome(after.id()), Outcome::Cancelled { .. }));
    }
}

/// Counts whatever it is asked to do.
struct Count(Arc<AtomicUsize>);

impl Count {
    fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl SendTaskRunner for Count {
    async fn lookup(&self, _: TaskContext) -> Lookup {
        self.one();
        Lookup::Miss
    }

    async fn gate(&self, _: TaskContext) -> Gate {
        self.one();
        Gate::Open
    }

    async fn execute(&self, _: TaskContext) -> TaskEnd {
        self.one();
        TaskEnd::Succeeded
    }
}

/// A cancel before the first poll: nothing is called at all, whatever a task would begin with.
#[tokio::test]
async fn graph_009_a_run_cancelled_before_it_begins() {
    let mut builder = Topology::builder();
    builder.task("plain");
    builder.task("gated").gated();
    builder.task("looked-up").lookup();
    builder.task("holding").hold(Hold::exclusive("key"));
    builder.task("last").finally("plain");
    builder.task("next").needs("plain");
    let topology = Arc::new(builder.build().unwrap());
    for (bare, spread) in [(false, false), (false, true), (true, false), (true, true)] {
        let cancel = Cancel::new();
        if bare {
            cancel.token().cancel();
        } else {
            cancel.cancel(CancelCode::User, "enough");
        }
        let (called, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (runner, seen) = (Count(Arc::clone(&called)), Arc::clone(&begun));
        let observer = move |event: &TaskEvent| {
            if !matches!(event.kind, TaskEventKind::Ended(Outcome::Cancelled { .. })) {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        };
        let holds = Holds::new();
        let options = RunOptions::default().cancel(cancel).holds(holds.clone()).observer(observer);
        let report = if spread {
            run_spawned(&topology, Arc::new(runner), options).await
        } else {
            run(&topology, &runner, options).await
        };
        let counts = report.unwrap().counts();
        let [called, begun] = [called, begun].map(|count| count.load(Ordering::Relaxed));
        assert_eq!((counts.cancelled, called, begun), (6, 0, 0), "bare {bare}, spread {spread}");
        assert!(holds.is_empty());
    }
}

#[test]
fn graph_018_a_gate_is_dropped_when_its_answer_is_not_wanted_any_more() {
    struct Dropped<'a>(&'a Cell<bool>);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let gone = Cell::new(false);
    let (fail, failed) = oneshot::channel::<()>();
    let mut failed = Some(failed);
    let mut g = Graph::builder();
    g.task("bad", move |_| {
        let failed = failed.take().expect("one attempt");
        async { Err::<(), _>(failed.await.map_or("dropped", |()| "boom")) }
    });
    let asks = g
        .task("asks", async |_| Never::Ok(()))
        .gate(async |_| {
            let _dropped = Dropped(&gone);
            pending::<Gate>().await
        })
        .key();
    let graph = g.build().unwrap();
    let mut task = spawn(graph.run(Limits::jobs(1)).on_failure(OnFailure::Stop).into_future());
    assert!(task.poll().is_pending());
    assert!(!gone.get());
    fail.send(()).unwrap();
    let Poll::Ready(Ok(report)) = task.poll() else { panic!("the gate keeps nobody") };
    assert!(gone.get());
    assert!(matches!(report.outcome(asks.id()), Outcome::Skipped(_)));
}

/// Half as fast as tokio's.
#[derive(Debug)]
struct Slow(Instant);

impl Clock for Slow {
    fn now(&self) -> Now {
        let monotonic = Monotonic::ZERO + self.0.elapsed() / 2;
        Now { wall: Timestamp::from_micros(0), monotonic }
    }
}

#[tokio::test(start_paused = true)]
async fn graph_014_core_008_the_clock_of_the_run_decides() {
    let began = Instant::now();
    let mut builder = Topology::builder();
    builder.task("a").timeout(Duration::from_secs(1));
    let topology = Arc::new(builder.build().unwrap());
    let runner = Each(|_| pending());
    let options = RunOptions::default().clock(Arc::new(Slow(began))).grace(Some(Duration::ZERO));
    let report = run(&topology, &runner, options).await.unwrap();
    assert_eq!(report.counts().failed, 1);
    let row = report.rows().next().unwrap();
    assert!(row.finished >= Duration::from_secs(1), "{row:?}");
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn hold_010_others_see_a_run_by_its_label() {
    let holds = Holds::new();
    let db = [Hold::exclusive("db")];
    let mut builder = Topology::builder();
    builder.task("a").hold(db[0].clone());
    let topology = Arc::new(builder.build().unwrap());
    let runner = Each(|_| pending());
    for label in ["graph", "nightly"] {
        let options = RunOptions::default().holds(holds.clone());
        let options = if label == "graph" { options } else { options.label(label) };
        let mut task = spawn(run(&topology, &runner, options));
        assert!(task.poll().is_pending());
        let other = holds.client("other");
        let ticket = other.request(&other.claims(&db).unwrap(), 0);
        let blockers = ticket.blockers(9);
        assert_eq!(blockers.len(), 1);
        assert_eq!(blockers[0].label.as_deref(), Some(label));
    }
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn graph_008_a_report_is_plain_data() {
    let mut g = Graph::builder();
    let a = g.task("a", async |_| Err::<(), _>("boom")).key();
    g.task("b", async |_| Never::Ok(())).needs(a);
    g.task("c", async |_| Never::Ok(()));
    let report = g.build().unwrap().run(Limits::jobs(1)).await.unwrap();
    let json = serde_json::to_value(&*report).unwrap();
    assert_eq!(json["success"], false);
    assert_eq!(json["counts"]["failed"], 1);
    let tasks = json["tasks"].as_array().unwrap();
    let names: Vec<_> = tasks.iter().map(|task| task["task"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let failed = &tasks[0]["outcome"]["failed"];
    assert_eq!((&failed["failure"], &failed["allowed"]), (&"boom".into(), &false.into()));
    assert_eq!(tasks[1]["outcome"]["skipped"]["upstream"]["how"], "failed");
    assert_eq!(tasks[2]["outcome"]["succeeded"], "fresh");
    assert_eq!((&tasks[2]["attempts"], &tasks[1]["attempts"]), (&1.into(), &0.into()));
}
