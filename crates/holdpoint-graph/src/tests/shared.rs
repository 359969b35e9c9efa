//! One hold set for several runs, bodies and threads (HOLD-010), and caps and holds where tasks
//! really run at the same time.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use holdpoint_core::{Backoff, Cancel, CancelCode};
use holdpoint_hold::Holds;
use tokio::sync::oneshot;

use super::audit::Audit;
use super::runners::SendEach;
use crate::{
    Graph, GraphBuilder, Hold, Inline, Limits, Outcome, Retry, RunOptions, TaskEnd, TaskEvent,
    Topology, run_spawned,
};

type Never<T> = Result<T, Infallible>;

/// How many are inside, and the most that ever were.
#[derive(Default)]
struct Inside {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Inside {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn hold_010_graph_006_two_runs_with_one_hold_set_exclude_each_other() {
    fn tasks<'a>(g: &mut GraphBuilder<'a, Inline>, inside: &'a Inside) {
        for index in 0..20 {
            g.task(&format!("t{index:02}"), async |_| {
                inside.enter();
                tokio::task::yield_now().await;
                inside.leave();
                Never::Ok(())
            })
            .hold(Hold::exclusive("db"));
        }
    }
    let most = async |own: bool| {
        let (inside, holds) = (Inside::default(), Holds::new());
        let (mut left, mut right) = (Graph::builder(), Graph::builder());
        tasks(&mut left, &inside);
        tasks(&mut right, &inside);
        let (left, right) = (left.build().unwrap(), right.build().unwrap());
        let other = if own { Holds::new() } else { holds.clone() };
        let (left, right) = tokio::join!(
            left.run(Limits::cores()).holds(holds.clone()).into_future(),
            right.run(Limits::cores()).holds(other).into_future(),
        );
        assert!(left.unwrap().is_success() && right.unwrap().is_success());
        assert!(holds.is_empty());
        inside.most()
    };
    assert_eq!(most(false).await, 1);
    assert_eq!(most(true).await, 2, "sets of their own know nothing of each other");
}

/// A run waits for a guard that somebody else has, and the other way round.
#[tokio::test]
async fn hold_010_graph_006_runs_and_guards_wait_for_each_other_in_turn() {
    let holds = Holds::new();
    let (sender, mut turns) = tokio::sync::mpsc::unbounded_channel();
    let first = holds.acquire(&[Hold::exclusive("db")]).await.unwrap();
    let mut g = Graph::builder();
    for name in ["a", "b"] {
        let sender = sender.clone();
        g.task(name, move |_| {
            sender.send(name).unwrap();
            async { Never::Ok(()) }
        })
        .hold(Hold::exclusive("db"));
    }
    let graph = g.build().unwrap();
    let run = graph.run(Limits::jobs(1)).holds(holds.clone()).into_future();
    let others = async {
        // The run has asked for both; whoever asks now comes after.
        let db = [Hold::exclusive("db")];
        let last = holds.acquire(&db);
        let (_guard, ()) = tokio::join!(last, async {
            tokio::task::yield_now().await;
            sender.send("guard").unwrap();
            drop(first);
        });
        sender.send("last").unwrap();
    };
    let (report, ()) = tokio::join!(run, others);
    assert!(report.unwrap().is_success());
    let order: Vec<_> = std::iter::from_fn(|| turns.try_recv().ok()).collect();
    assert_eq!(order, ["guard", "a", "b", "last"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn graph_004_ba_1_hold_002_hold_003_caps_and_holds_are_kept_on_real_threads() {
    #[derive(Default)]
    struct Places {
        slots: Inside,
        tagged: Inside,
        writers: Inside,
        readers: Inside,
    }
    let mut builder = Topology::builder();
    for index in 0..300 {
        let task = builder.task(&format!("t{index:03}"));
        let task = if index % 3 == 0 { task.tag("net") } else { task };
        match index % 5 {
            0 => _ = task.hold(Hold::exclusive("db")),
            1 | 2 => _ = task.hold(Hold::shared("db")),
            _ => {}
        }
    }
    let topology = Arc::new(builder.build().unwrap());
    let places = Arc::<Places>::default();
    let inside = Arc::clone(&places);
    let runner = SendEach(move |cx: crate::TaskContext| {
        let places = Arc::clone(&inside);
        async move {
            let index = cx.task().index();
            let mut entered = vec![&places.slots];
            entered.extend(index.is_multiple_of(3).then_some(&places.tagged));
            match index % 5 {
                0 => entered.push(&places.writers),
                1 | 2 => {
                    entered.push(&places.readers);
                    assert_eq!(places.writers.now.load(Ordering::SeqCst), 0);
                }
                _ => {}
            }
            entered.iter().for_each(|place| place.enter());
            tokio::task::yield_now().await;
            std::thread::yield_now();
            entered.iter().for_each(|place| place.leave());
            TaskEnd::Succeeded
        }
    });
    let holds = Holds::new();
    let mut audit = Audit::new(&topology);
    let limits = Limits::jobs(4).tag("net", 2);
    let observer = |event: &TaskEvent| audit.take(event);
    let options = RunOptions::default().limits(limits).holds(holds.clone()).observer(observer);
    let report = run_spawned(&topology, Arc::new(runner), options).await.unwrap();
    assert_eq!(report.observer_panic(), None);
    audit.compare(&report);
    assert!(report.is_success(), "{:?}", report.counts());
    assert!(places.slots.most() <= 4 && places.tagged.most() <= 2 && places.writers.most() == 1);
    assert!(holds.is_empty());
}

/// Aborting a task that blocks its thread does not make it go away: until it is gone, nobody else
/// gets its hold, although the run has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_003_graph_015_ho_3_an_aborted_task_keeps_its_hold_until_it_is_gone() {
    let (holds, cancel) = (Holds::new(), Cancel::new());
    let (release, released) = mpsc::channel::<()>();
    let (started, has_started) = oneshot::channel::<()>();
    let mut once = Some((released, started));
    let mut g = Graph::send_builder();
    let deaf = g
        .task("deaf", move |_| {
            let (released, started) = once.take().expect("one attempt");
            async move {
                started.send(()).unwrap();
                let _ = released.recv();
                Never::Ok(())
            }
        })
        .hold(Hold::exclusive("db"))
        .key();
    let graph = g.build().unwrap();
    let run = graph.run(Limits::cores()).spawned().holds(holds.clone()).cancel(cancel.clone());
    let stop = async {
        has_started.await.unwrap();
        cancel.cancel(CancelCode::User, "enough");
    };
    let (report, ()) = tokio::join!(run.grace(Some(Duration::ZERO)).into_future(), stop);
    let report = report.unwrap();
    assert!(matches!(report.outcome(deaf.id()), Outcome::Cancelled { aborted: true, .. }));
    assert!(holds.try_acquire(&[Hold::exclusive("db")]).unwrap().is_none(), "it still runs");
    drop(release);
    let _free = holds.acquire(&[Hold::exclusive("db")]).await.unwrap();
    assert!(report.value(deaf).is_err(), "what it did after all is not its value");
}

/// An attempt that was given up, and that blocks its thread, ends while the next one runs: what it
/// returns is not the task's value.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn graph_013_graph_014_the_value_is_that_of_the_attempt_that_succeeded() {
    let holds = Holds::new();
    let (release, released) = mpsc::channel::<()>();
    let (mut release, mut released) = (Some(release), Some(released));
    let mut g = Graph::send_builder();
    let set = holds.clone();
    let key = g
        .task("again", move |cx| {
            let (release, holds) = (release.take_if(|_| cx.attempt() > 1), set.clone());
            let released = released.take();
            async move {
                drop(release);
                match released {
                    Some(released) => _ = released.recv(),
                    // Until the first one is gone, with its share of the hold; or too late itself.
                    None => while holds.len() > 1 && !cx.cancel().is_cancelled() {},
                }
                Never::Ok(cx.attempt())
            }
        })
        .hold(Hold::shared("db"))
        .timeout(Duration::from_millis(20))
        .retry(Retry { attempts: 100, backoff: Backoff::fixed(Duration::ZERO) })
        .key();
    let graph = g.build().unwrap();
    let run = graph.run(Limits::cores()).spawned().holds(holds).grace(Some(Duration::ZERO));
    let report = run.await.unwrap();
    assert!(report.row(key.id()).attempts > 1);
    assert_eq!(*report.value(key).unwrap(), report.row(key.id()).attempts);
}
