//! Dropping a run at any moment: what is in flight is dropped with it, and no hold stays (GRAPH-009,
//! HOLD-003).

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use holdpoint_hold::Holds;
use tokio::task::yield_now;
use tokio_test::task::spawn;

use crate::{
    Gate, Hold, Limits, Lookup, RunOptions, SendTaskRunner, TaskContext, TaskEnd, TaskRunner,
    Topology, run, run_spawned,
};

/// How many futures of tasks live, each with its holds if it executes.
#[derive(Clone, Default)]
struct Live(Arc<AtomicUsize>);

impl Live {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// One that lives until the guard is dropped. Then the hold must still be kept.
    fn enter(&self, held: Option<Holds>) -> Alive {
        self.0.fetch_add(1, Ordering::SeqCst);
        Alive { live: self.clone(), held }
    }
}

struct Alive {
    live: Live,
    held: Option<Holds>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.live.0.fetch_sub(1, Ordering::SeqCst);
        if let Some(holds) = &self.held {
            let free = holds.try_acquire(&[Hold::exclusive("db")]).unwrap().is_some();
            assert!(!free || std::thread::panicking(), "its hold went before it");
        }
    }
}

/// Everything takes a few polls.
#[derive(Clone)]
struct Slow {
    live: Live,
    holds: Holds,
}

impl Slow {
    async fn work(self, held: bool) {
        let _alive = self.live.enter(held.then(|| self.holds.clone()));
        for _ in 0..3 {
            yield_now().await;
        }
    }
}

impl SendTaskRunner for Slow {
    fn lookup(&self, _: TaskContext) -> impl Future<Output = Lookup> + Send {
        let work = self.clone().work(false);
        async {
            work.await;
            Lookup::Miss
        }
    }

    fn gate(&self, _: TaskContext) -> impl Future<Output = Gate> + Send {
        let work = self.clone().work(false);
        async {
            work.await;
            Gate::Open
        }
    }

    fn execute(&self, cx: TaskContext) -> impl Future<Output = TaskEnd> + Send {
        let work = self.clone().work(cx.task().index() < 5);
        async {
            work.await;
            TaskEnd::Succeeded
        }
    }
}

/// The first five want one hold.
fn topology() -> Arc<Topology> {
    let mut builder = Topology::builder();
    for index in 0..5 {
        let task = builder.task(&format!("held{index}")).hold(Hold::exclusive("db"));
        if index % 2 == 0 {
            task.lookup();
        }
    }
    builder.task("gated").gated();
    builder.task("after").needs("held1");
    Arc::new(builder.build().unwrap())
}

/// The predecessor left processes behind when its run was dropped.
#[tokio::test]
async fn graph_009_hold_003_cd_25_ho_3_a_run_dropped_at_any_poll_leaves_nothing() {
    let topology = topology();
    let mut polls = 0;
    loop {
        let slow = Slow { live: Live::default(), holds: Holds::new() };
        let options = RunOptions::default().limits(Limits::jobs(3)).holds(slow.holds.clone());
        let mut task = spawn(run(&topology, &slow, options));
        let mut ended = false;
        for _ in 0..polls {
            ended = task.poll().is_ready();
            // Here those that yielded are woken.
            yield_now().await;
        }
        assert_eq!(ended, polls > 0 && slow.live.count() == 0, "it lives while it runs");
        drop(task);
        assert_eq!(slow.live.count(), 0, "dropped after {polls} polls");
        assert!(slow.holds.is_empty(), "dropped after {polls} polls");
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(polls > 10, "{polls} polls");
}

/// As above, where the futures are tasks of the runtime: they are gone as soon as it gets to it.
#[tokio::test]
async fn graph_009_graph_015_hold_003_cd_25_ho_3_a_spread_run_dropped_at_any_poll_leaves_nothing() {
    let topology = topology();
    let mut polls = 0;
    loop {
        let slow = Slow { live: Live::default(), holds: Holds::new() };
        let options = RunOptions::default().limits(Limits::jobs(3)).holds(slow.holds.clone());
        let mut task = spawn(run_spawned(&topology, Arc::new(slow.clone()), options));
        let mut ended = false;
        for _ in 0..polls {
            ended = task.poll().is_ready();
            yield_now().await;
        }
        drop(task);
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(slow.live.count(), 0, "dropped after {polls} polls");
        assert!(slow.holds.is_empty(), "dropped after {polls} polls");
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(polls > 10, "{polls} polls");
}

/// A run that is never polled does nothing, and one that has ended keeps nothing.
#[tokio::test]
async fn graph_009_a_run_begins_with_its_first_poll() {
    struct Count(Cell<usize>);
    impl TaskRunner for Count {
        async fn execute(&self, _: TaskContext) -> TaskEnd {
            self.0.set(self.0.get() + 1);
            TaskEnd::Succeeded
        }
    }
    let (topology, count) = (topology(), Count(Cell::new(0)));
    drop(run(&topology, &count, RunOptions::default()));
    assert_eq!(count.0.get(), 0);
    let mut task = spawn(run(&topology, &count, RunOptions::default()));
    let Poll::Ready(Ok(report)) = task.poll() else { panic!("nothing waits") };
    drop(task);
    assert_eq!((count.0.get(), report.rows().len()), (7, 7));
}
