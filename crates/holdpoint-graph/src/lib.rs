//! Runs a task graph: look up, then execute, under caps and a hold set.
//!
//! The engine is a *machine* and a *shell*. [`Machine`] holds every rule as plain synchronous
//! code: what is ready, what caps admit, who waits for which hold, what a failure skips. The
//! driver ([`run`], [`run_spawned`]) carries its effects out on any [`TaskRunner`], so that any
//! async work can be a task. [`Graph`] is the comfortable way in: closures as tasks, values
//! along edges. Runs on tokio; without timeouts, retries and threads it needs no runtime at all.
//!
//! Reading order: [`Topology`] (the checked graph), [`Machine`], then `driver`, then [`Graph`].
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::Arc;
//! use holdpoint_graph::{Graph, Hold, Limits};
//!
//! async fn split(text: &str) -> Result<usize, Infallible> {
//!     Ok(text.split(' ').count())
//! }
//!
//! async fn double(words: Arc<usize>) -> Result<usize, Infallible> {
//!     Ok(*words * 2)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = String::from("one two three"); // tasks that run inline may borrow
//! let mut g = Graph::builder();
//! let words = g.task("split", |_| split(&text)).key();
//! let double = g
//!     .task("double", move |cx| double(cx.value(words)))
//!     .needs(words)
//!     .hold(Hold::exclusive("db"))
//!     .key();
//! let report = g.build()?.run(Limits::cores()).await?;
//! assert_eq!(*report.value(double)?, 6);
//! # Ok(())
//! # }
//! ```

mod bits;
mod build;
mod cycle;
#[cfg(feature = "driver")]
mod driver;
mod error;
#[cfg(feature = "driver")]
mod graph;
mod machine;
mod options;
#[cfg(feature = "driver")]
mod place;
mod report;
mod runner;
#[cfg(feature = "driver")]
mod sync;
mod topology;

#[cfg(test)]
mod tests;

pub use build::{Predecessor, TaskSetup, TopologyBuilder};
#[cfg(feature = "driver")]
pub use driver::{run, run_spawned};
pub use error::{BuildError, Fault, RunError, ValueError};
#[cfg(feature = "driver")]
pub use graph::{
    Graph, GraphBuilder, GraphReport, GraphRun, Inline, NodeSetup, Placement, Spread, Stopped,
    TaskCx, TaskKey,
};
pub use holdpoint_hold::{Hold, Scope};
pub use machine::{Effect, Input, Machine};
#[cfg(feature = "driver")]
pub use options::RunOptions;
pub use options::{Limits, OnFailure};
pub use report::{
    Counts, NoObserver, Observer, Outcome, Report, Row, SkipCause, Source, TaskEvent,
    TaskEventKind, UpstreamEnd,
};
pub use runner::{Gate, Lookup, TaskEnd, TaskFailure};
#[cfg(feature = "driver")]
pub use runner::{SendTaskRunner, TaskContext, TaskRunner};
pub use topology::{EdgeKind, Retry, TaskId, Topology};
