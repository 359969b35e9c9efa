//! Inline or spread: what each lets a task be, and where it runs (GRAPH-015).

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use holdpoint_core::Backoff;
use holdpoint_hold::Holds;

use super::runners::{Each, SendEach};
use crate::{
    Graph, GraphReport, Hold, Inline, Limits, Machine, NodeSetup, Report, Retry, RunError,
    RunOptions, Scope, Spread, TaskEnd, TaskFailure, TaskKey, Topology, run, run_spawned,
};

type Never<T> = Result<T, Infallible>;

/// Whether a value is `Send`, asked of its type: where it is, the method of the type itself comes
/// before that of the trait.
struct Probe<T>(PhantomData<T>);

trait NotSend {
    fn is_send(&self) -> bool {
        false
    }
}

impl<T> NotSend for Probe<T> {}

impl<T: Send> Probe<T> {
    #[expect(clippy::unused_self, reason = "as the other one")]
    fn is_send(&self) -> bool {
        true
    }
}

fn probe<T>(_: &T) -> Probe<T> {
    Probe(PhantomData)
}

fn topology() -> Arc<Topology> {
    let mut builder = Topology::builder();
    builder.task("a");
    Arc::new(builder.build().unwrap())
}

/// A run whose tasks keep this over an await.
fn run_keeping<T: Clone>(kept: T) -> impl Future<Output = Result<Report, RunError>> {
    let runner = Each(move |_| {
        let kept = kept.clone();
        async move {
            tokio::task::yield_now().await;
            drop(kept);
            TaskEnd::Succeeded
        }
    });
    async move { run(&topology(), &runner, RunOptions::default()).await }
}

fn run_over_threads() -> impl Future<Output = Result<Report, RunError>> {
    let runner = Arc::new(SendEach(|_| async { TaskEnd::Succeeded }));
    async move { run_spawned(&topology(), runner, RunOptions::default()).await }
}

/// The predecessor's run could not be spawned, whatever its tasks were.
#[test]
fn graph_015_cd_12_the_run_is_send_if_and_only_if_its_tasks_are() {
    assert!(probe(&run_keeping("text")).is_send());
    assert!(!probe(&run_keeping(Rc::new(1))).is_send());
    assert!(probe(&run_over_threads()).is_send());

    let spread = Graph::send_builder().build().unwrap();
    assert!(probe(&spread.run(Limits::cores()).into_future()).is_send());
    assert!(probe(&spread.run(Limits::cores()).spawned().into_future()).is_send());
    let inline = Graph::builder().build().unwrap();
    assert!(!probe(&inline.run(Limits::cores()).into_future()).is_send(), "it may keep anything");
}

#[test]
fn graph_015_what_is_kept_is_send_and_sync() {
    fn both<T: Send + Sync>() {}
    both::<Topology>();
    both::<Machine>();
    both::<Report>();
    both::<GraphReport>();
    both::<Graph<'_, Spread>>();
    both::<TaskKey<Rc<u8>>>();
    both::<TaskFailure>();
    both::<RunError>();
    fn send<T: Send>() {}
    send::<NodeSetup<'_, '_, Spread, u8>>();
}

#[test]
fn graph_015_inline_tasks_borrow_and_need_no_send_and_no_runtime() {
    let text = String::from("one two three");
    let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
    let thread = std::thread::current().id();
    let mut g = Graph::builder();
    let words = g.task("words", async |_| Never::Ok(text.split(' ').count())).key();
    for name in ["a", "b"] {
        let seen = Rc::clone(&seen);
        g.task(name, move |_| {
            let seen = Rc::clone(&seen);
            async move {
                assert_eq!(std::thread::current().id(), thread);
                seen.borrow_mut().push(name);
                Never::Ok(())
            }
        })
        .needs(words)
        .hold(Hold::exclusive("db"));
    }
    let graph: Graph<'_, Inline> = g.build().unwrap();
    let report = block_on(graph.run(Limits::cores()).into_future()).unwrap();
    assert_eq!(*report.value(words).unwrap(), 3);
    assert_eq!(*seen.borrow(), ["a", "b"]);
    assert!(report.is_success());
}

/// Two tasks on the same hold that each yield: ends on an executor of four lines.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// Each pair of tasks meets at a barrier, which nobody passes alone.
#[test]
fn graph_015_spread_tasks_run_at_the_same_time_on_several_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let barrier = Arc::new(Barrier::new(2));
    let mut g = Graph::send_builder();
    let keys: Vec<_> = (0..20)
        .map(|n| {
            let barrier = Arc::clone(&barrier);
            let task = g.task(&format!("t{n:02}"), move |_| {
                let barrier = Arc::clone(&barrier);
                async move {
                    barrier.wait();
                    Never::Ok(std::thread::current().id())
                }
            });
            task.key()
        })
        .collect();
    let graph = g.build().unwrap();
    // Beside the workers, so that both are free for tasks.
    let report = runtime.block_on(graph.run(Limits::jobs(2)).spawned().into_future()).unwrap();
    assert!(report.is_success());
    let threads: std::collections::HashSet<_> =
        keys.iter().map(|key| *report.value(*key).unwrap()).collect();
    assert_eq!(threads.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graph_015_cd_12_a_run_can_be_a_tokio_task() {
    let mut g = Graph::send_builder();
    let a = g.task("a", |_| async { Never::Ok(1) }).key();
    let b = g.task("b", move |cx| async move { Never::Ok(*cx.value(a) + 1) }).needs(a).key();
    let graph = Arc::new(g.build().unwrap());
    for spawned in [false, true] {
        let graph = Arc::clone(&graph);
        let run = tokio::spawn(async move {
            let run = graph.run(Limits::cores());
            if spawned { run.spawned().await } else { run.await }
        });
        assert_eq!(*run.await.unwrap().unwrap().value(b).unwrap(), 2);
    }
}

#[test]
fn graph_015_without_a_runtime_a_run_that_needs_one_is_refused() {
    fn refused(graph: &Graph<'static, Spread>, spawned: bool) -> Option<RunError> {
        let run = graph.run(Limits::cores());
        let future = if spawned { run.spawned().into_future() } else { run.into_future() };
        block_on(future).err()
    }
    let body = |_| async { Never::Ok(()) };
    let mut plain = Graph::send_builder();
    plain.task("a", body);
    let plain = plain.build().unwrap();
    assert_eq!(refused(&plain, false), None);
    assert_eq!(refused(&plain, true), Some(RunError::NoRuntime));

    let mut timed = Graph::send_builder();
    timed.task("a", body).timeout(Duration::from_secs(1));
    assert_eq!(refused(&timed.build().unwrap(), false), Some(RunError::NoRuntime));
    let mut retried = Graph::send_builder();
    let backoff = Backoff::fixed(Duration::ZERO);
    retried.task("a", body).retry(Retry { attempts: 2, backoff });
    assert_eq!(refused(&retried.build().unwrap(), false), Some(RunError::NoRuntime));
}

/// What cannot be run is refused before anything starts.
#[tokio::test]
async fn graph_004_hold_009_a_run_is_refused_as_a_whole() {
    let mut builder = Topology::builder();
    builder.hold_capacity(Scope::Workspace, "gpu", 4);
    builder.task("a");
    builder.task("b").weight(3).tag("net");
    builder.task("c").hold(Hold::units("gpu", 3));
    let topology = Arc::new(builder.build().unwrap());
    let runner = Each(|_| async { panic!("nothing may start") });
    let refuse = async |options: RunOptions| run(&topology, &runner, options).await.err();

    let limits = |limits| RunOptions::default().limits(limits);
    let zero = |what: &str| Some(RunError::ZeroLimit { what: what.to_owned() });
    assert_eq!(refuse(limits(Limits::jobs(0))).await, zero("jobs"));
    assert_eq!(refuse(limits(Limits::jobs(3).tag("net", 0))).await, zero("tag `net`"));
    let heavy = RunError::WeightAboveLimit { task: "b".into(), weight: 3, limit: 2 };
    assert_eq!(refuse(limits(Limits::jobs(2))).await, Some(heavy));

    // The hold set is shared, and somebody uses the name with another capacity.
    let holds = Holds::new();
    holds.declare("gpu", 2).unwrap();
    let _used = holds.try_acquire(&[Hold::units("gpu", 1)]).unwrap();
    let options = limits(Limits::jobs(9)).holds(holds.clone());
    let refused = refuse(options).await;
    assert!(
        matches!(&refused, Some(RunError::Capacity { hold, .. }) if hold == "gpu"),
        "{refused:?}"
    );
    assert_eq!(holds.len(), 1);
}
