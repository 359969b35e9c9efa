//! Closures as tasks, values along edges: a [`Topology`] with something to do at each node.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use holdpoint_core::{BoxError, Cancel, CancelInfo};
use holdpoint_hold::{Hold, Holds, Scope};

use crate::build::{Predecessor, TaskSetup, TopologyBuilder};
use crate::driver::{run, run_spawned};
use crate::error::{BuildError, RunError, ValueError};
use crate::options::{Limits, OnFailure, RunOptions};
use crate::report::{NoObserver, Observer, Report};
use crate::runner::{Gate, Lookup, SendTaskRunner, TaskContext, TaskEnd, TaskFailure, TaskRunner};
use crate::topology::{Retry, TaskId, Topology};

/// Names a task and the type of its value. From [`NodeSetup::key`]; `Copy`.
pub struct TaskKey<T> {
    task: TaskId,
    value: PhantomData<fn() -> T>,
}

impl<T> TaskKey<T> {
    /// The task without the type of its value.
    #[must_use]
    pub fn id(self) -> TaskId {
        self.task
    }
}

impl<T> Clone for TaskKey<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for TaskKey<T> {}

impl<T> fmt::Debug for TaskKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskKey({})", self.task.index())
    }
}

impl<T> From<TaskKey<T>> for Predecessor {
    fn from(key: TaskKey<T>) -> Self {
        key.task.into()
    }
}

/// What a closure knows of its task, and the values of its predecessors.
#[derive(Debug, Clone)]
pub struct TaskCx {
    context: TaskContext,
    values: Arc<Values>,
}

impl TaskCx {
    /// The value of a task that this one needs.
    ///
    /// # Panics
    /// Where that task has not succeeded. This cannot happen for a task named in `needs`,
    /// unless it is allowed to fail: use [`try_value`](Self::try_value) for such. The panic is
    /// a failure of the task that asks and says so; the run goes on.
    #[must_use]
    pub fn value<T: Send + Sync + 'static>(&self, key: TaskKey<T>) -> Arc<T> {
        self.try_value(key).unwrap_or_else(|| {
            panic!("it reads the value of a task that has not succeeded; say `needs` for it")
        })
    }

    /// The value of a task, where it has succeeded.
    #[must_use]
    pub fn try_value<T: Send + Sync + 'static>(&self, key: TaskKey<T>) -> Option<Arc<T>> {
        self.values.get(key)
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.context.task()
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.context.attempt()
    }

    /// The task's token; see [`TaskContext::cancel`].
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        self.context.cancel()
    }

    /// Waits until the token fires.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn cancelled(&self) -> CancelInfo {
        self.context.cancelled().await
    }
}

type AnyValue = Arc<dyn Any + Send + Sync>;

/// What one run of a graph has produced so far.
#[derive(Debug)]
struct Values {
    slots: Vec<OnceLock<AnyValue>>,
    /// Blocking functions that have begun and not ended.
    blocking: Mutex<BTreeSet<TaskId>>,
}

impl Values {
    fn new(tasks: usize) -> Self {
        Self { slots: (0..tasks).map(|_| OnceLock::new()).collect(), blocking: Mutex::default() }
    }

    fn get<T: Send + Sync + 'static>(&self, key: TaskKey<T>) -> Option<Arc<T>> {
        let value = self.slots.get(key.task.index())?.get()?;
        Arc::clone(value).downcast().ok()
    }

    fn set<T: Send + Sync + 'static>(&self, task: TaskId, value: T) {
        // A task succeeds once, so the slot is free.
        let _ = self.slots[task.index()].set(Arc::new(value));
    }

    fn blocking(&self) -> std::sync::MutexGuard<'_, BTreeSet<TaskId>> {
        self.blocking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the mark of a blocking function when it ends, by a panic too.
struct Blocking(TaskCx);

impl Drop for Blocking {
    fn drop(&mut self) {
        self.0.values.blocking().remove(&self.0.task());
    }
}

/// Tasks of the graph run on the caller's own task: they may borrow and need not be `Send`.
#[derive(Debug, Clone, Copy)]
pub enum Inline {}

/// Tasks of the graph are `Send + 'static`, so that they can be spread over threads.
#[derive(Debug, Clone, Copy)]
pub enum Spread {}

/// [`Inline`] or [`Spread`].
pub trait Placement: sealed::Placement {}

impl<P: sealed::Placement> Placement for P {}

mod sealed {
    use super::{Inline, Node, Spread};
    use std::cell::RefCell;
    use std::sync::Mutex;

    pub trait Placement {
        /// What is kept for each task. One call at a time: a task runs once at a time.
        type Node<'env>;
    }

    impl Placement for Inline {
        type Node<'env> = RefCell<Node<super::LocalFn<'env>>>;
    }

    impl Placement for Spread {
        type Node<'env> = Mutex<Node<super::SendFn>>;
    }
}

type LocalFuture<'env, T> = Pin<Box<dyn Future<Output = T> + 'env>>;
type SendFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a node does at one stage, with its answer to the driver.
pub struct LocalFn<'env>(Box<dyn FnMut(TaskCx) -> LocalFuture<'env, Answer> + 'env>);

/// As [`LocalFn`], for threads.
pub struct SendFn(Box<dyn FnMut(TaskCx) -> SendFuture<Answer> + Send>);

/// One answer type for all stages keeps one closure type for all stages.
pub(crate) enum Answer {
    Gate(Gate),
    Lookup(Lookup),
    End(TaskEnd),
}

pub struct Node<F> {
    body: F,
    gate: Option<F>,
    condition: Option<F>,
    lookup: Option<F>,
}

/// A checked graph of closures. Made by [`Graph::builder`] (tasks may borrow) or
/// [`Graph::send_builder`] (tasks can be spread over threads); can be run more than once.
pub struct Graph<'env, P: Placement = Inline> {
    topology: Arc<Topology>,
    nodes: Arc<[P::Node<'env>]>,
}

impl<P: Placement> fmt::Debug for Graph<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("tasks", &self.topology.len()).finish_non_exhaustive()
    }
}

/// Collects tasks; [`build`](Self::build) checks them all at once.
pub struct GraphBuilder<'env, P: Placement = Inline> {
    topology: TopologyBuilder,
    nodes: Vec<P::Node<'env>>,
}

impl<P: Placement> fmt::Debug for GraphBuilder<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphBuilder").field("tasks", &self.topology.len()).finish_non_exhaustive()
    }
}

/// The settings of one task of a [`GraphBuilder`], each with its default.
pub struct NodeSetup<'a, 'env, P: Placement, T> {
    builder: &'a mut GraphBuilder<'env, P>,
    key: TaskKey<T>,
}

impl<P: Placement, T> fmt::Debug for NodeSetup<'_, '_, P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeSetup").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<'env> Graph<'env, Inline> {
    /// Starts a graph whose tasks run inline and may borrow.
    #[must_use]
    pub fn builder() -> GraphBuilder<'env, Inline> {
        GraphBuilder { topology: Topology::builder(), nodes: Vec::new() }
    }
}

impl Graph<'static, Spread> {
    /// Starts a graph whose tasks can be spread over threads.
    #[must_use]
    pub fn send_builder() -> GraphBuilder<'static, Spread> {
        GraphBuilder { topology: Topology::builder(), nodes: Vec::new() }
    }
}

impl<'env, P: Placement> GraphBuilder<'env, P> {
    /// Declares a counted hold with its capacity in units.
    pub fn hold_capacity(&mut self, scope: Scope, name: &str, units: u32) -> &mut Self {
        self.topology.hold_capacity(scope, name, units);
        self
    }

    /// Checks everything and freezes the graph.
    ///
    /// # Errors
    /// All faults found, see [`Fault`](crate::Fault).
    pub fn build(self) -> Result<Graph<'env, P>, BuildError> {
        Ok(Graph { topology: Arc::new(self.topology.build()?), nodes: self.nodes.into() })
    }

    fn add<T>(&mut self, name: &str, node: P::Node<'env>) -> NodeSetup<'_, 'env, P, T> {
        let task = self.topology.task(name).id();
        self.nodes.push(node);
        NodeSetup { builder: self, key: TaskKey { task, value: PhantomData } }
    }
}

impl<P: Placement, T> NodeSetup<'_, '_, P, T> {
    /// The key of the task: for later edges, and to read its value.
    #[must_use]
    pub fn key(&self) -> TaskKey<T> {
        self.key
    }

    /// See [`TaskSetup::needs`].
    pub fn needs(self, predecessor: impl Into<Predecessor>) -> Self {
        self.with(|task| task.needs(predecessor))
    }

    /// See [`TaskSetup::after`].
    pub fn after(self, predecessor: impl Into<Predecessor>) -> Self {
        self.with(|task| task.after(predecessor))
    }

    /// See [`TaskSetup::finally`].
    pub fn finally(self, predecessor: impl Into<Predecessor>) -> Self {
        self.with(|task| task.finally(predecessor))
    }

    /// See [`TaskSetup::hold`].
    pub fn hold(self, hold: Hold) -> Self {
        self.with(|task| task.hold(hold))
    }

    /// See [`TaskSetup::tag`].
    pub fn tag(self, tag: &str) -> Self {
        self.with(|task| task.tag(tag))
    }

    /// See [`TaskSetup::weight`].
    pub fn weight(self, slots: u32) -> Self {
        self.with(|task| task.weight(slots))
    }

    /// See [`TaskSetup::priority`].
    pub fn priority(self, priority: i32) -> Self {
        self.with(|task| task.priority(priority))
    }

    /// See [`TaskSetup::expected`].
    pub fn expected(self, duration: Duration) -> Self {
        self.with(|task| task.expected(duration))
    }

    /// See [`TaskSetup::timeout`].
    pub fn timeout(self, limit: Duration) -> Self {
        self.with(|task| task.timeout(limit))
    }

    /// See [`TaskSetup::retry`].
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|task| task.retry(retry))
    }

    /// See [`TaskSetup::allow_failure`].
    pub fn allow_failure(self) -> Self {
        self.with(|task| task.allow_failure())
    }

    fn with<'a>(self, set: impl FnOnce(TaskSetup<'_>) -> TaskSetup<'_>) -> Self
    where
        Self: 'a,
    {
        let _ = set(self.builder.topology.setup(self.key.task));
        self
    }
}

/// The parts that differ between the placements by `Send` and the box alone.
macro_rules! placement {
    ($placement:ty, $env:lifetime, [$($impl:tt)*], $function:ident, $cell:ident, $get:ident, [$($send:tt)*]) => {
        impl<$($impl)*> GraphBuilder<$env, $placement> {
            /// Adds a task. The closure is called once an attempt; an error it returns, or a
            /// panic, is the task's failure. Its value goes to those who need it.
            pub fn task<T, E, F, Fut>(
                &mut self,
                name: &str,
                mut body: F,
            ) -> NodeSetup<'_, $env, $placement, T>
            where
                T: Send + Sync + 'static,
                E: Into<BoxError> + $env,
                F: FnMut(TaskCx) -> Fut + $($send)* $env,
                Fut: Future<Output = Result<T, E>> + $($send)* $env,
            {
                let body = $function(Box::new(move |cx: TaskCx| {
                    let values = Arc::clone(&cx.values);
                    let context = cx.context.clone();
                    let future = body(cx);
                    Box::pin(async move {
                        Answer::End(finish(&context, &values, future.await))
                    })
                }));
                self.add(name, $cell::new(Node { body, gate: None, condition: None, lookup: None }))
            }

            /// Adds a blocking function as a task (GRAPH-017). It runs on tokio's pool for
            /// blocking code, and should look at its token: it cannot be stopped otherwise. One
            /// that still runs when the run ends is named by [`Report::still_running`].
            pub fn blocking<T, E, F>(
                &mut self,
                name: &str,
                body: F,
            ) -> NodeSetup<'_, $env, $placement, T>
            where
                T: Send + Sync + 'static,
                E: Into<BoxError> + 'static,
                F: FnMut(TaskCx) -> Result<T, E> + Send + 'static,
            {
                let body = Arc::new(Mutex::new(body));
                self.task(name, move |cx| blocking(Arc::clone(&body), cx))
            }
        }

        impl<$($impl)* T: Send + Sync + 'static> NodeSetup<'_, $env, $placement, T> {
            /// Awaits this before admission, holding nothing (GRAPH-018).
            pub fn gate<F, Fut>(self, mut gate: F) -> Self
            where
                F: FnMut(TaskCx) -> Fut + $($send)* $env,
                Fut: Future<Output = Gate> + $($send)* $env,
            {
                let gate = $function(Box::new(move |cx| {
                    let future = gate(cx);
                    Box::pin(async move { Answer::Gate(future.await) })
                }));
                let node = &mut self.builder.nodes[self.key.task.index()];
                node.$get().gate = Some(gate);
                self.with(|task| task.gated())
            }

            /// Runs the task only where this says true; otherwise it is skipped, with what
            /// needs it. Asked in the place of a lookup, with a slot and before it.
            pub fn only_if<F, Fut>(self, mut condition: F) -> Self
            where
                F: FnMut(TaskCx) -> Fut + $($send)* $env,
                Fut: Future<Output = bool> + $($send)* $env,
            {
                let condition = $function(Box::new(move |cx| {
                    let future = condition(cx);
                    Box::pin(async move {
                        let wanted = future.await;
                        let skip = || Lookup::Skip("its condition was not met".into());
                        Answer::Lookup(if wanted { Lookup::Miss } else { skip() })
                    })
                }));
                let node = &mut self.builder.nodes[self.key.task.index()];
                node.$get().condition = Some(condition);
                self.with(|task| task.lookup())
            }

            /// Asks this for the value before the task executes (GRAPH-005): `Some` is a hit,
            /// and the task has succeeded without taking its holds.
            pub fn lookup<F, Fut>(self, mut lookup: F) -> Self
            where
                F: FnMut(TaskCx) -> Fut + $($send)* $env,
                Fut: Future<Output = Option<T>> + $($send)* $env,
            {
                let lookup = $function(Box::new(move |cx: TaskCx| {
                    let (values, task) = (Arc::clone(&cx.values), cx.task());
                    let future = lookup(cx);
                    Box::pin(async move {
                        Answer::Lookup(match future.await {
                            Some(value) => {
                                values.set(task, value);
                                Lookup::Hit
                            }
                            None => Lookup::Miss,
                        })
                    })
                }));
                let node = &mut self.builder.nodes[self.key.task.index()];
                node.$get().lookup = Some(lookup);
                self.with(|task| task.lookup())
            }
        }
    };
}

trait GetMutNode<F> {
    fn node(&mut self) -> &mut Node<F>;
}

impl<F> GetMutNode<F> for RefCell<Node<F>> {
    fn node(&mut self) -> &mut Node<F> {
        self.get_mut()
    }
}

impl<F> GetMutNode<F> for Mutex<Node<F>> {
    fn node(&mut self) -> &mut Node<F> {
        self.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

placement!(Inline, 'env, ['env,], LocalFn, RefCell, node, []);
placement!(Spread, 'static, [], SendFn, Mutex, node, [Send +]);

fn finish<T: Send + Sync + 'static, E: Into<BoxError>>(
    context: &TaskContext,
    values: &Values,
    result: Result<T, E>,
) -> TaskEnd {
    match result {
        Ok(value) => {
            values.set(context.task(), value);
            TaskEnd::Succeeded
        }
        Err(error) => {
            let error: BoxError = error.into();
            // Said through `?` by whoever looked at the token: not a failure of the work.
            if error.is::<Stopped>() && context.cancel().is_cancelled() {
                TaskEnd::Cancelled
            } else {
                TaskEnd::Failed(TaskFailure::from(error))
            }
        }
    }
}

/// The error by which a task says that it stopped because its token fired; the task is then
/// reported as cancelled, not as failed.
///
/// ```
/// use holdpoint_graph::{Graph, Limits, Stopped};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut g = Graph::builder();
/// g.task("wait", async |cx| -> Result<(), Stopped> {
///     cx.cancelled().await;
///     Err(Stopped)
/// });
/// let cancel = holdpoint_core::Cancel::new();
/// cancel.cancel(holdpoint_core::CancelCode::User, "enough");
/// let report = g.build()?.run(Limits::cores()).cancel(cancel).await?;
/// assert_eq!(report.counts().cancelled, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by its token")]
pub struct Stopped;

async fn blocking<T, E, F>(body: Arc<Mutex<F>>, cx: TaskCx) -> Result<T, BoxError>
where
    T: Send + 'static,
    E: Into<BoxError> + 'static,
    F: FnMut(TaskCx) -> Result<T, E> + Send + 'static,
{
    let handle = tokio::runtime::Handle::try_current()?;
    cx.values.blocking().insert(cx.task());
    let mark = Blocking(cx.clone());
    let work = move || {
        let _mark = mark;
        let mut body = body.lock().unwrap_or_else(PoisonError::into_inner);
        body(cx).map_err(Into::into)
    };
    match handle.spawn_blocking(work).await {
        Ok(result) => result,
        // Goes on in the driver, which makes it the task's failure.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(error.into()),
    }
}

/// Calls closures for the driver.
struct Caller<N> {
    nodes: Arc<[N]>,
    values: Arc<Values>,
}

impl<'env> Caller<RefCell<Node<LocalFn<'env>>>> {
    fn call(&self, cx: TaskContext, stage: Stage) -> Option<LocalFuture<'env, Answer>> {
        let mut node = self.nodes[cx.task().index()].borrow_mut();
        let function = node.at(stage)?;
        Some((function.0)(TaskCx { context: cx, values: Arc::clone(&self.values) }))
    }
}

impl Caller<Mutex<Node<SendFn>>> {
    fn call(&self, cx: TaskContext, stage: Stage) -> Option<SendFuture<Answer>> {
        let node = self.nodes[cx.task().index()].lock();
        let mut node = node.unwrap_or_else(PoisonError::into_inner);
        let function = node.at(stage)?;
        Some((function.0)(TaskCx { context: cx, values: Arc::clone(&self.values) }))
    }
}

#[derive(Clone, Copy)]
enum Stage {
    Gate,
    Condition,
    Lookup,
    Body,
}

impl<F> Node<F> {
    fn at(&mut self, stage: Stage) -> Option<&mut F> {
        match stage {
            Stage::Gate => self.gate.as_mut(),
            Stage::Condition => self.condition.as_mut(),
            Stage::Lookup => self.lookup.as_mut(),
            Stage::Body => Some(&mut self.body),
        }
    }
}

/// The same calls for both traits, which differ by `Send` alone.
macro_rules! runner {
    ([$($impl:tt)*] $runner:ident for $caller:ty) => {
        impl<$($impl)*> $runner for $caller {
            async fn lookup(&self, cx: TaskContext) -> Lookup {
                if let Some(asked) = self.call(cx.clone(), Stage::Condition)
                    && let Answer::Lookup(lookup @ Lookup::Skip(_)) = asked.await
                {
                    return lookup;
                }
                let asked = self.call(cx, Stage::Lookup);
                match asked {
                    Some(asked) => match asked.await {
                        Answer::Lookup(lookup) => lookup,
                        _ => Lookup::Miss,
                    },
                    None => Lookup::Miss,
                }
            }

            async fn gate(&self, cx: TaskContext) -> Gate {
                let asked = self.call(cx, Stage::Gate);
                match asked {
                    Some(asked) => match asked.await {
                        Answer::Gate(gate) => gate,
                        _ => Gate::Open,
                    },
                    None => Gate::Open,
                }
            }

            async fn execute(&self, cx: TaskContext) -> TaskEnd {
                let asked = self.call(cx, Stage::Body);
                match asked {
                    Some(asked) => match asked.await {
                        Answer::End(end) => end,
                        _ => TaskEnd::Succeeded,
                    },
                    None => TaskEnd::Succeeded,
                }
            }
        }
    };
}

runner!(['env] TaskRunner for Caller<RefCell<Node<LocalFn<'env>>>>);
runner!([] SendTaskRunner for Caller<Mutex<Node<SendFn>>>);

impl<'env, P: Placement> Graph<'env, P> {
    /// The tasks and edges.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Prepares a run; await it to run. Settings as in [`RunOptions`].
    pub fn run(&self, limits: Limits) -> GraphRun<'_, 'env, P> {
        GraphRun { graph: self, options: RunOptions::default().limits(limits), spawned: false }
    }

    fn caller(&self) -> Caller<P::Node<'env>> {
        let values = Arc::new(Values::new(self.topology.len()));
        Caller { nodes: Arc::clone(&self.nodes), values }
    }
}

/// A run that begins when it is awaited.
#[must_use = "a run does nothing unless it is awaited"]
pub struct GraphRun<'a, 'env, P: Placement, O = NoObserver> {
    graph: &'a Graph<'env, P>,
    options: RunOptions<O>,
    spawned: bool,
}

impl<P: Placement, O> fmt::Debug for GraphRun<'_, '_, P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphRun").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'a, 'env, P: Placement, O: Observer> GraphRun<'a, 'env, P, O> {
    /// See [`RunOptions::cancel`].
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.options = self.options.cancel(cancel);
        self
    }

    /// See [`RunOptions::on_failure`].
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.options = self.options.on_failure(on_failure);
        self
    }

    /// See [`RunOptions::holds`].
    pub fn holds(mut self, holds: Holds) -> Self {
        self.options = self.options.holds(holds);
        self
    }

    /// See [`RunOptions::grace`].
    pub fn grace(mut self, grace: Option<Duration>) -> Self {
        self.options = self.options.grace(grace);
        self
    }

    /// See [`RunOptions::observer`].
    pub fn observer<Q: Observer>(self, observer: Q) -> GraphRun<'a, 'env, P, Q> {
        let Self { graph, options, spawned } = self;
        GraphRun { graph, options: options.observer(observer), spawned }
    }
}

impl<O> GraphRun<'_, 'static, Spread, O> {
    /// Spawns each task on the tokio runtime, spread over its threads. Without it they run on
    /// the caller's task, one at a time between their awaits.
    pub fn spawned(mut self) -> Self {
        self.spawned = true;
        self
    }
}

impl<'a, 'env, O: Observer + 'a> IntoFuture for GraphRun<'a, 'env, Inline, O> {
    type Output = Result<GraphReport, RunError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let caller = self.graph.caller();
            let report = run(&self.graph.topology, &caller, self.options).await?;
            Ok(GraphReport::new(report, caller.values))
        })
    }
}

impl<'a, O: Observer + Send + 'a> IntoFuture for GraphRun<'a, 'static, Spread, O> {
    type Output = Result<GraphReport, RunError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let caller = self.graph.caller();
            let values = Arc::clone(&caller.values);
            let topology = &self.graph.topology;
            let report = if self.spawned {
                run_spawned(topology, Arc::new(caller), self.options).await?
            } else {
                run(topology, &caller, self.options).await?
            };
            Ok(GraphReport::new(report, values))
        })
    }
}

/// The report of a graph of closures: a [`Report`] with the values of its tasks.
#[derive(Debug, Clone)]
pub struct GraphReport {
    report: Report,
    values: Arc<Values>,
}

impl GraphReport {
    fn new(mut report: Report, values: Arc<Values>) -> Self {
        report.still_running = values.blocking().iter().copied().collect();
        Self { report, values }
    }

    /// The value of a task that succeeded.
    ///
    /// # Errors
    /// [`ValueError`] where it did not succeed, or is of another graph.
    pub fn value<T: Send + Sync + 'static>(&self, key: TaskKey<T>) -> Result<Arc<T>, ValueError> {
        let slot = self.values.slots.get(key.task.index()).ok_or(ValueError::OtherGraph)?;
        let Some(value) = slot.get() else {
            let task = self.report.topology.name(key.task).to_owned();
            return Err(ValueError::NotSucceeded { task });
        };
        Arc::clone(value).downcast().map_err(|_| ValueError::OtherGraph)
    }
}

impl Deref for GraphReport {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.report
    }
}
