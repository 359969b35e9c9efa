//! What is kept for each task of a graph of closures, and how the driver calls it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::value::{TaskCx, Values};
use crate::runner::{Gate, Lookup, SendTaskRunner, TaskContext, TaskEnd, TaskRunner};

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
pub struct LocalFn<'env>(pub(super) Box<dyn FnMut(TaskCx) -> LocalFuture<'env, Answer> + 'env>);

/// As [`LocalFn`], for threads.
pub struct SendFn(pub(super) Box<dyn FnMut(TaskCx) -> SendFuture<Answer> + Send>);

/// One answer type for all stages keeps one closure type for all stages.
pub(super) enum Answer {
    Gate(Gate),
    Lookup(Lookup),
    End(TaskEnd),
}

pub struct Node<F> {
    pub(super) body: F,
    pub(super) gate: Option<F>,
    pub(super) condition: Option<F>,
    pub(super) lookup: Option<F>,
}

pub(super) trait GetMutNode<F> {
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

/// Calls closures for the driver.
pub(super) struct Caller<N> {
    nodes: Arc<[N]>,
    values: Arc<Values>,
}

impl<N> Caller<N> {
    pub(super) fn new(nodes: &Arc<[N]>, values: Arc<Values>) -> Self {
        Self { nodes: Arc::clone(nodes), values }
    }

    pub(super) fn values(&self) -> &Arc<Values> {
        &self.values
    }

    pub(super) fn into_values(self) -> Arc<Values> {
        self.values
    }
}

impl<'env> Caller<RefCell<Node<LocalFn<'env>>>> {
    fn call(&self, cx: TaskContext, stage: Stage) -> Option<LocalFuture<'env, Answer>> {
        let mut node = self.nodes[cx.task().index()].borrow_mut();
        let function = node.at(stage)?;
        Some((function.0)(TaskCx::new(cx, &self.values)))
    }
}

impl Caller<Mutex<Node<SendFn>>> {
    fn call(&self, cx: TaskContext, stage: Stage) -> Option<SendFuture<Answer>> {
        let node = self.nodes[cx.task().index()].lock();
        let mut node = node.unwrap_or_else(PoisonError::into_inner);
        let function = node.at(stage)?;
        Some((function.0)(TaskCx::new(cx, &self.values)))
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
