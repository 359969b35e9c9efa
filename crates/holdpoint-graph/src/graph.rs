//! Closures as tasks, values along edges: a [`Topology`] with something to do at each node.

mod node;
mod setup;
mod value;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::Cancel;
use holdpoint_hold::Holds;

use self::node::Caller;
pub use self::node::{Inline, Placement, Spread};
pub use self::setup::{GraphBuilder, NodeSetup};
use self::value::Values;
pub use self::value::{Stopped, TaskCx, TaskKey};
use crate::driver::{run, run_spawned};
use crate::error::{RunError, ValueError};
use crate::options::{Limits, OnFailure, RunOptions};
use crate::report::{NoObserver, Observer, Report};
use crate::topology::Topology;

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

impl<'env> Graph<'env, Inline> {
    /// Starts a graph whose tasks run inline and may borrow.
    #[must_use]
    pub fn builder() -> GraphBuilder<'env, Inline> {
        GraphBuilder::new()
    }
}

impl Graph<'static, Spread> {
    /// Starts a graph whose tasks can be spread over threads.
    #[must_use]
    pub fn send_builder() -> GraphBuilder<'static, Spread> {
        GraphBuilder::new()
    }
}

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

    fn new(topology: Topology, nodes: Vec<P::Node<'env>>) -> Self {
        Self { topology: Arc::new(topology), nodes: nodes.into() }
    }

    fn caller(&self) -> Caller<P::Node<'env>> {
        let values = Arc::new(Values::new(self.topology.len()));
        Caller::new(&self.nodes, values)
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
            Ok(GraphReport::new(report, caller.into_values()))
        })
    }
}

impl<'a, O: Observer + Send + 'a> IntoFuture for GraphRun<'a, 'static, Spread, O> {
    type Output = Result<GraphReport, RunError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let caller = self.graph.caller();
            let values = Arc::clone(caller.values());
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
        report.still_running = values.still_running();
        Self { report, values }
    }

    /// The value of a task that succeeded.
    ///
    /// # Errors
    /// [`ValueError`] where it did not succeed, or is of another graph.
    pub fn value<T: Send + Sync + 'static>(&self, key: TaskKey<T>) -> Result<Arc<T>, ValueError> {
        self.values.read(key, &self.report)
    }
}

impl Deref for GraphReport {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.report
    }
}
