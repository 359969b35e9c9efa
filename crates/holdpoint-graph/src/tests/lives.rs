//! The driver of a run with several lives: it has ends recorded, takes up known ones, and says
//! when it is parked.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use holdpoint_core::{Cancel, CancelCode};
use tokio::sync::{Notify, oneshot};
use tokio_test::task::spawn;

use super::rig::{event_line, outcome_text};
use super::runners::pause;
use crate::{
    Gate, Hold, Limits, Lookup, OnFailure, Outcome, RunOptions, SendTaskRunner, TaskContext,
    TaskEnd, TaskEvent, TaskFailure, TaskRunner, Topology, TopologyBuilder, run, run_spawned,
};

fn graph(define: impl FnOnce(&mut TopologyBuilder)) -> Arc<Topology> {
    let mut builder = Topology::builder();
    define(&mut builder);
    Arc::new(builder.build().expect("a good graph"))
}

/// Fails the tasks whose name begins with `bad`, and keeps a journal.
struct Journal {
    topology: Arc<Topology>,
    lines: Mutex<Vec<String>>,
}

impl Journal {
    fn new(topology: &Arc<Topology>) -> Arc<Self> {
        Arc::new(Self { topology: Arc::clone(topology), lines: Mutex::default() })
    }

    fn say(&self, line: impl Into<String>) {
        self.lines.lock().expect("nobody panics with it").push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().expect("nobody panics with it"))
    }
}

impl SendTaskRunner for Journal {
    async fn lookup(&self, cx: TaskContext) -> Lookup {
        self.say(format!("look up {}", self.topology.name(cx.task())));
        Lookup::Miss
    }

    async fn execute(&self, cx: TaskContext) -> TaskEnd {
        let name = self.topology.name(cx.task());
        self.say(format!("execute {name}"));
        if name.starts_with("bad") {
            return TaskEnd::Failed(TaskFailure::new("boom"));
        }
        TaskEnd::Succeeded
    }

    async fn record(&self, cx: TaskContext, outcome: Outcome) {
        pause().await;
        let text = outcome_text(&self.topology, &outcome);
        self.say(format!("{} {text}, recorded", self.topology.name(cx.task())));
    }
}

#[tokio::test]
async fn graph_009_graph_015_store_011_an_end_is_told_and_goes_on_after_its_record() {
    let topology = graph(|g| {
        g.task("a");
        g.task("bad").after("a").lookup();
        g.task("c").needs("bad");
    });
    for spread in [false, true] {
        let journal = Journal::new(&topology);
        let told = Arc::clone(&journal);
        let observer = move |event: &TaskEvent| told.say(event_line(&told.topology, event));
        let options = RunOptions::default().recorded(true).observer(observer);
        let report = if spread {
            run_spawned(&topology, Arc::clone(&journal), options).await
        } else {
            run(&topology, &*journal, options).await
        };
        assert_eq!(report.expect("a good run").counts().failed, 1);
        let expected = [
            "a started",
            "execute a",
            "a succeeded, recorded",
            "a succeeded",
            "look up bad",
            "bad missed",
            "bad started",
            "execute bad",
            "bad failed: boom, recorded",
            "bad failed: boom",
            "c skipped: bad failed",
        ];
        assert_eq!(journal.lines(), expected, "spread {spread}");
    }
}

#[tokio::test]
async fn graph_009_ends_are_not_recorded_unless_that_is_wanted() {
    let topology = graph(|g| _ = g.task("a"));
    let journal = Journal::new(&topology);
    run(&topology, &*journal, RunOptions::default()).await.expect("a good run");
    assert_eq!(journal.lines(), ["execute a"]);
}

#[tokio::test]
async fn graph_008_store_011_the_driver_does_not_begin_a_known_task() {
    let topology = graph(|g| {
        g.task("a").lookup().gated();
        g.task("bad").needs("a");
        g.task("c").after("bad");
        g.task("d").needs("bad");
    });
    let id = |name| topology.find(name).expect("a task");
    for spread in [false, true] {
        let journal = Journal::new(&topology);
        let failed = TaskEnd::Failed(TaskFailure::new("boom"));
        let known = [(id("a"), TaskEnd::Succeeded), (id("bad"), failed)];
        let options = RunOptions::default().recorded(true).known(known);
        let report = if spread {
            run_spawned(&topology, Arc::clone(&journal), options).await
        } else {
            run(&topology, &*journal, options).await
        };
        assert_eq!(journal.lines(), ["execute c", "c succeeded, recorded"], "spread {spread}");
        let report = report.expect("a good run");
        let outcome = |row: crate::Row<'_>| outcome_text(&topology, &row.outcome);
        let outcomes: Vec<String> = report.rows().map(outcome).collect();
        assert_eq!(outcomes, ["succeeded", "failed: boom", "succeeded", "skipped: bad failed"]);
        let attempts: Vec<u32> = report.rows().map(|row| row.attempts).collect();
        assert_eq!(attempts, [0, 0, 1, 0]);
    }
}

/// Executes at once, and records for as long as it is told to.
struct Slow {
    kept: Notify,
}

impl TaskRunner for Slow {
    async fn execute(&self, _: TaskContext) -> TaskEnd {
        TaskEnd::Succeeded
    }

    async fn record(&self, _: TaskContext, _: Outcome) {
        self.kept.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn graph_009_a_record_is_not_dropped_by_a_cancel_and_its_grace() {
    let topology = graph(|g| {
        g.task("a").timeout(Duration::from_secs(1));
        g.task("b").needs("a");
    });
    let (slow, cancel) = (Slow { kept: Notify::new() }, Cancel::new());
    let options = RunOptions::default().recorded(true).cancel(cancel.clone());
    let mut task = spawn(run(&topology, &slow, options));
    assert!(task.poll().is_pending());
    cancel.cancel(CancelCode::User, "enough");
    assert!(task.poll().is_pending());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(task.poll().is_pending(), "it is not given up");
    slow.kept.notify_one();
    let Poll::Ready(Ok(report)) = task.poll() else { panic!("all is over") };
    let counts = report.counts();
    assert_eq!((counts.fresh, counts.cancelled), (1, 1));
}

/// The next task has the slot and the hold of one that is being recorded.
#[test]
fn graph_004_graph_009_a_record_keeps_no_slot_and_no_hold_from_others() {
    let topology = graph(|g| {
        g.task("a").hold(Hold::exclusive("db"));
        g.task("b").hold(Hold::exclusive("db"));
    });
    let slow = Slow { kept: Notify::new() };
    let began = RefCell::new(0);
    let observer = |event: &TaskEvent| {
        *began.borrow_mut() += u32::from(matches!(event.kind, crate::TaskEventKind::Started));
    };
    let options = RunOptions::default().limits(Limits::jobs(1)).recorded(true).observer(observer);
    let mut task = spawn(run(&topology, &slow, options));
    assert!(task.poll().is_pending());
    assert_eq!(*began.borrow(), 2, "both are being recorded");
    slow.kept.notify_waiters();
    let Poll::Ready(Ok(report)) = task.poll() else { panic!("all is over") };
    assert!(report.is_success());
}

/// Records nothing but panics.
struct Torn;

impl SendTaskRunner for Torn {
    async fn execute(&self, cx: TaskContext) -> TaskEnd {
        if cx.task().index() == 1 {
            return TaskEnd::Errored(TaskFailure::new("gone"));
        }
        TaskEnd::Succeeded
    }

    async fn record(&self, _: TaskContext, _: Outcome) {
        pause().await;
        resume_unwind(Box::new("ouch"))
    }
}

#[tokio::test]
async fn graph_008_graph_009_a_panic_while_an_end_is_recorded_does_not_change_it() {
    let topology = graph(|g| {
        g.task("a");
        g.task("b").needs("a");
        g.task("c").needs("b");
    });
    for spread in [false, true] {
        let options = RunOptions::default().recorded(true).on_failure(OnFailure::FailFast);
        let report = if spread {
            run_spawned(&topology, Arc::new(Torn), options).await
        } else {
            run(&topology, &Torn, options).await
        };
        let counts = report.expect("a good run").counts();
        assert_eq!((counts.fresh, counts.errored, counts.skipped), (1, 1, 1), "spread {spread}");
    }
}

/// Gates that wait for what a test sends.
struct Gates(Mutex<Vec<Option<oneshot::Receiver<Gate>>>>);

impl Gates {
    fn new(count: usize) -> (Self, Vec<oneshot::Sender<Gate>>) {
        let (send, receive) = (0..count).map(|_| oneshot::channel()).unzip();
        let receive: Vec<_> = receive;
        (Self(Mutex::new(receive.into_iter().map(Some).collect())), send)
    }
}

impl TaskRunner for Gates {
    fn gate(&self, cx: TaskContext) -> impl Future<Output = Gate> {
        let asked = self.0.lock().expect("nobody panics with it")[cx.task().index()].take();
        async { asked.expect("one gate a task").await.expect("it is answered") }
    }

    async fn execute(&self, _: TaskContext) -> TaskEnd {
        pause().await;
        TaskEnd::Succeeded
    }
}

#[test]
fn graph_018_a_run_says_once_each_time_that_it_waits_for_gates_alone() {
    let topology = graph(|g| {
        g.task("a").gated();
        g.task("b").gated();
        g.task("c").gated();
    });
    let (gates, mut send) = Gates::new(3);
    let parked = Arc::new(AtomicU32::new(0));
    let (count, told) = (Arc::clone(&parked), || parked.load(Ordering::Relaxed));
    let options = RunOptions::default().recorded(true).on_parked(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let mut task = spawn(run(&topology, &gates, options));
    assert_eq!(told(), 0);
    assert!(task.poll().is_pending());
    assert_eq!(told(), 1);
    assert!(task.poll().is_pending());
    assert_eq!(told(), 1, "it is parked still");

    let skip = Gate::Skip("weekend".into());
    send.remove(0).send(skip).expect("it is awaited");
    assert!(task.poll().is_pending());
    assert_eq!(told(), 1, "nothing was under way in between");

    send.remove(0).send(Gate::Open).expect("it is awaited");
    while task.is_woken() {
        assert!(task.poll().is_pending());
    }
    assert_eq!(told(), 2, "b was under way, and is over");

    send.remove(0).send(Gate::Open).expect("it is awaited");
    while task.is_woken() {
        if task.poll().is_ready() {
            break;
        }
    }
    assert_eq!(told(), 2);
}

/// As [`Gates`], but its executions do not end.
struct Busy(Gates);

impl TaskRunner for Busy {
    fn gate(&self, cx: TaskContext) -> impl Future<Output = Gate> {
        self.0.gate(cx)
    }

    fn execute(&self, _: TaskContext) -> impl Future<Output = TaskEnd> {
        pending()
    }
}

#[test]
fn graph_018_a_run_with_something_under_way_is_not_parked() {
    let topology = graph(|g| {
        g.task("a");
        g.task("b").gated();
    });
    let (gates, _send) = Gates::new(2);
    let gates = Busy(gates);
    let told = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&told);
    let options =
        RunOptions::default().on_parked(move || _ = count.fetch_add(1, Ordering::Relaxed));
    let mut task = spawn(run(&topology, &gates, options));
    assert!(task.poll().is_pending());
    assert_eq!(told.load(Ordering::Relaxed), 0);
}

#[test]
fn graph_018_graph_008_a_panic_of_who_hears_that_a_run_is_parked_is_contained() {
    let topology = graph(|g| {
        g.task("a").gated();
        g.task("b").gated();
    });
    let (gates, mut send) = Gates::new(2);
    let told = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&told);
    let options = RunOptions::default().on_parked(move || {
        count.fetch_add(1, Ordering::Relaxed);
        resume_unwind(Box::new("ouch"))
    });
    let mut task = spawn(run(&topology, &gates, options));
    assert!(task.poll().is_pending());
    send.remove(0).send(Gate::Open).expect("it is awaited");
    while task.is_woken() {
        assert!(task.poll().is_pending());
    }
    send.remove(0).send(Gate::Open).expect("it is awaited");
    let report = loop {
        if let Poll::Ready(report) = task.poll() {
            break report.expect("a good run");
        }
        assert!(task.is_woken());
    };
    assert!(report.is_success());
    assert_eq!(told.load(Ordering::Relaxed), 1, "it is told no more");
}
