//! Adding closures as tasks, with their settings.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdpoint_core::BoxError;
use holdpoint_hold::{Hold, Scope};

use super::Graph;
use super::node::{Answer, GetMutNode, Inline, LocalFn, Node, Placement, SendFn, Spread};
use super::value::{TaskCx, TaskKey, blocking, finish};
use crate::build::{Predecessor, TaskSetup, TopologyBuilder};
use crate::error::BuildError;
use crate::runner::{Gate, Lookup};
use crate::topology::Retry;

/// Collects tasks; [`build`](Self::build) checks them all at once.
pub struct GraphBuilder<'env, P: Placement = Inline> {
    topology: TopologyBuilder,
    nodes: Vec<P::Node<'env>>,
}

impl<P: Placement> GraphBuilder<'_, P> {
    pub(super) fn new() -> Self {
        Self { topology: TopologyBuilder::new(), nodes: Vec::new() }
    }
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
        Ok(Graph::new(self.topology.build()?, self.nodes))
    }

    fn add<T>(&mut self, name: &str, node: P::Node<'env>) -> NodeSetup<'_, 'env, P, T> {
        let task = self.topology.task(name).id();
        self.nodes.push(node);
        NodeSetup { builder: self, key: TaskKey::new(task) }
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
        let _ = set(self.builder.topology.setup(self.key.id()));
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
                    let own = cx.clone();
                    let future = body(cx);
                    Box::pin(async move { Answer::End(finish(&own, future.await)) })
                }));
                self.add(name, $cell::new(Node { body, gate: None, condition: None, lookup: None }))
            }

            /// Adds a blocking function as a task (GRAPH-017). It runs on tokio's pool for
            /// blocking code, and should look at its token: it cannot be stopped otherwise. One
            /// that still runs when the run ends keeps its holds until it ends too, and is named by
            /// [`Report::still_running`](crate::Report::still_running).
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
                let node = &mut self.builder.nodes[self.key.id().index()];
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
                let node = &mut self.builder.nodes[self.key.id().index()];
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
                    let own = cx.clone();
                    let future = lookup(cx);
                    Box::pin(async move {
                        Answer::Lookup(match future.await {
                            Some(value) => {
                                own.set_value(value);
                                Lookup::Hit
                            }
                            None => Lookup::Miss,
                        })
                    })
                }));
                let node = &mut self.builder.nodes[self.key.id().index()];
                node.$get().lookup = Some(lookup);
                self.with(|task| task.lookup())
            }
        }
    };
}

placement!(Inline, 'env, ['env,], LocalFn, RefCell, node, []);
placement!(Spread, 'static, [], SendFn, Mutex, node, [Send +]);
