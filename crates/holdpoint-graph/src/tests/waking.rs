//! Who wakes the driver, and that nobody does while all wait (GRAPH-006).

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use holdpoint_core::{Cancel, CancelCode};
use holdpoint_hold::Holds;
use tokio::sync::oneshot;
use tokio_test::task::{Spawn, spawn};

use super::runners::{Each, pause};
use crate::{
    Graph, Hold, Limits, Report, RunError, RunOptions, TaskContext, TaskEnd, Topology, run,
};

type Ran = Result<Report, RunError>;

fn db() -> Hold {
    Hold::exclusive("db")
}

/// So many tasks; all want one hold.
fn contended(tasks: u32) -> Arc<Topology> {
    let mut builder = Topology::builder();
    for index in 0..tasks {
        builder.task(&format!("t{index:04}")).hold(db());
    }
    Arc::new(builder.build().unwrap())
}

/// Polls for as long as somebody asks for it; gives how often, and the end where it came.
fn settle<F: Future<Output = Ran>>(task: &mut Spawn<F>) -> (u32, Option<Report>) {
    let mut polls = 0;
    loop {
        polls += 1;
        if let Poll::Ready(report) = task.poll() {
            return (polls, Some(report.unwrap()));
        }
        if !task.is_woken() {
            return (polls, None);
        }
    }
}

#[tokio::test]
async fn graph_006_hold_010_cd_1_no_poll_while_a_thousand_tasks_wait() {
    let topology = contended(1000);
    let holds = Holds::new();
    let other = holds.try_acquire(&[db()]).unwrap();
    let runner = Each(|_| async { TaskEnd::Succeeded });
    let options = RunOptions::default().limits(Limits::jobs(1)).holds(holds.clone());
    let mut task = spawn(run(&topology, &runner, options));
    assert_eq!(settle(&mut task).1.map(|_| ()), None);
    assert_eq!(holds.len(), 1001, "all have asked, on the one slot");

    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_woken(), "nobody polls a future that nobody woke");

    drop(other);
    assert!(task.is_woken(), "by the release");
    let (polls, report) = settle(&mut task);
    assert!(report.unwrap().is_success());
    assert!(polls < 10, "{polls} polls: those who end at once end in one");
}

#[tokio::test]
async fn graph_006_cd_1_while_one_task_executes_those_behind_it_sleep() {
    let topology = contended(1000);
    let (end, ended) = oneshot::channel::<()>();
    let ended = RefCell::new(Some(ended));
    let runner = Each(|_| {
        let ended = ended.borrow_mut().take();
        async {
            if let Some(ended) = ended {
                ended.await.unwrap();
            }
            TaskEnd::Succeeded
        }
    });
    let mut task = spawn(run(&topology, &runner, RunOptions::default()));
    assert!(settle(&mut task).1.is_none());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_woken());
    end.send(()).unwrap();
    assert!(task.is_woken());
    assert!(settle(&mut task).1.unwrap().is_success());
}

/// The predecessor polled the waiting tasks in a circle, so that on a current-thread runtime the
/// one that ran never heard of its end. Paused time passes only while the runtime is idle: here
/// it has to be, three times.
#[tokio::test(start_paused = true)]
async fn graph_006_cd_1_a_contended_hold_on_one_thread_comes_to_its_end() {
    let began = tokio::time::Instant::now();
    let runner = Each(|_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        TaskEnd::Succeeded
    });
    let report = run(&contended(3), &runner, RunOptions::default()).await.unwrap();
    assert!(report.is_success());
    assert_eq!(began.elapsed().as_secs(), 180);
}

#[test]
fn graph_006_tasks_that_never_wait_leave_room_for_others() {
    const TASKS: u32 = 10_000;
    let graph = || {
        let mut builder = Topology::builder();
        for index in 0..TASKS {
            builder.task(&format!("t{index:05}"));
        }
        Arc::new(builder.build().unwrap())
    };
    let runner = Each(|_| async { TaskEnd::Succeeded });
    let (topology, options) = (graph(), RunOptions::default().limits(Limits::jobs(1)));
    let mut task = spawn(run(&topology, &runner, options));
    let (polls, report) = settle(&mut task);
    assert!(report.unwrap().is_success());
    assert!(polls > TASKS / 1000, "{polls} polls");

    // Between two of those polls somebody can cancel.
    let cancel = Cancel::new();
    let options = RunOptions::default().limits(Limits::jobs(1)).cancel(cancel.clone());
    let mut task = spawn(run(&topology, &runner, options));
    assert!(task.poll().is_pending());
    cancel.cancel(CancelCode::User, "enough");
    let counts = settle(&mut task).1.unwrap().counts();
    assert!(counts.fresh > 0 && counts.cancelled > TASKS as usize / 2, "{counts:?}");
}

#[test]
fn graph_009_a_cancel_wakes_the_driver() {
    let mut builder = Topology::builder();
    builder.task("a");
    let topology = Arc::new(builder.build().unwrap());
    let runner = Each(async |cx: TaskContext| {
        cx.cancelled().await;
        TaskEnd::Cancelled
    });
    for bare in [false, true] {
        let cancel = Cancel::new();
        let options = RunOptions::default().cancel(cancel.clone());
        let mut task = spawn(run(&topology, &runner, options));
        assert!(settle(&mut task).1.is_none());
        if bare {
            cancel.token().cancel();
        } else {
            cancel.cancel(CancelCode::User, "enough");
        }
        assert!(task.is_woken());
        assert_eq!(settle(&mut task).1.unwrap().counts().cancelled, 1);
    }
}

/// Task `b` runs in the slot that `a` had. What `a` left behind may still wake it, for nothing.
#[test]
fn graph_006_a_late_wake_up_polls_the_next_task_in_vain() {
    let late: RefCell<Option<Waker>> = RefCell::default();
    let (end, ended) = oneshot::channel::<()>();
    let polls = Rc::new(RefCell::new(0));
    let mut g = Graph::builder();
    g.task("a", |_| {
        let late = &late;
        poll_fn(move |cx| {
            *late.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(Ok::<_, Infallible>(()))
        })
    });
    let mut ended = Some(ended);
    let count = Rc::clone(&polls);
    g.task("b", move |_| {
        let mut ended = ended.take().unwrap();
        let count = Rc::clone(&count);
        poll_fn(move |cx| {
            *count.borrow_mut() += 1;
            std::pin::Pin::new(&mut ended).poll(cx).map(|_| Ok::<_, Infallible>(()))
        })
    })
    .needs("a");
    let graph = g.build().unwrap();
    let mut task = spawn(graph.run(Limits::jobs(1)).into_future());
    assert!(task.poll().is_pending());
    assert_eq!((*polls.borrow(), task.is_woken()), (1, false));

    late.borrow().as_ref().unwrap().wake_by_ref();
    assert!(task.is_woken());
    assert!(task.poll().is_pending());
    assert_eq!((*polls.borrow(), task.is_woken()), (2, false));

    end.send(()).unwrap();
    let Poll::Ready(Ok(report)) = task.poll() else { panic!("it has ended") };
    assert!(report.is_success());
    late.take().unwrap().wake();
}

/// A task that waits by asking again and again: whoever it waits for has the same thread, and its
/// own timeout and the run's cancel are heard too.
#[tokio::test(start_paused = true)]
async fn graph_009_graph_014_a_task_that_wakes_itself_for_ever_starves_nobody() {
    let spin = |stop: &'static str| {
        let (cancel, flag) = (Cancel::new(), Rc::new(std::cell::Cell::new(false)));
        let mut g = Graph::builder();
        let seen = Rc::clone(&flag);
        let task = g.task("spins", move |cx| {
            let seen = Rc::clone(&seen);
            async move {
                while !seen.get() && !cx.cancel().is_cancelled() {
                    pause().await;
                }
                Ok::<_, Infallible>(())
            }
        });
        if stop == "timeout" {
            task.timeout(Duration::from_millis(1));
        }
        let graph = g.build().unwrap();
        async move {
            let run = graph.run(Limits::cores()).cancel(cancel.clone()).into_future();
            let other = async {
                tokio::task::yield_now().await;
                match stop {
                    "flag" => flag.set(true),
                    "cancel" => _ = cancel.cancel(CancelCode::User, "enough"),
                    // Paused time passes on its own only when nothing runs.
                    _ => tokio::time::advance(Duration::from_millis(1)).await,
                }
            };
            tokio::join!(run, other).0.unwrap().is_success()
        }
    };
    assert!(spin("flag").await);
    assert!(spin("cancel").await);
    assert!(spin("timeout").await);
}
