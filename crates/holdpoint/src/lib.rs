//! Work that waits, for other work, a slot or a lock, and ends with exactly one outcome.
//!
//! This crate is the one name to depend on. It has no rules of its own: its modules are the
//! crates of the project, each usable alone.
//!
//! | feature | module | what is in it |
//! |---|---|---|
//! | `graph` (default) | `graph` | task graphs: closures as tasks, values along edges, caps, retries, time limits |
//! | `hold` (with `graph`) | `hold` | named locks, shared, exclusive or counted, several at once or none |
//! | `session` | `session` | async bodies that ask, sleep, are watched, and outlive their process where there is a store |
//! | `manifest` | `manifest`, `process`, `run` | `holdpoint.yaml`, what it means, and the commands it runs; Unix only |
//! | `store` | `store` | streams of events that outlast a crash, on disk or, for tests, in memory; Unix only, needs a C compiler |
//! | `serde` | | events, names and reports serialise |
//!
//! At the top stand the words that all of them share: names, times, events, and [`Cancel`], a
//! cancellation token that carries its cause. It runs on tokio, and starts no runtime itself.
//!
//! # A first program
//! Two functions, the second with what the first has made. The lock is taken while `report`
//! runs, and the graph is checked before anything runs.
//!
//! ```
//! # #[cfg(feature = "graph")] {
//! use std::io;
//! use std::sync::Arc;
//!
//! use holdpoint::prelude::*;
//!
//! async fn measure() -> io::Result<Vec<u32>> {
//!     Ok(vec![3, 4, 5])
//! }
//!
//! async fn report(values: Arc<Vec<u32>>) -> io::Result<String> {
//!     Ok(format!("{} in all", values.iter().sum::<u32>()))
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let mut graph = Graph::builder();
//! let measured = graph.task("measure", |_| measure()).key();
//! let reported = graph
//!     .task("report", move |cx| report(cx.value(measured)))
//!     .needs(measured)
//!     .hold(Hold::exclusive("printer"))
//!     .key();
//! let report = graph.build()?.run(Limits::cores()).await?;
//! assert_eq!(*report.value(reported)?, "12 in all");
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/graph.rs` is a longer one, with caps, shared locks and a report.

pub use holdpoint_core::{
    BoxError, Cancel, CancelCode, CancelInfo, Clock, Event, EventKind, EventSink, Monotonic, Name,
    NameError, Retryable, SessionId, SystemClock, TaskName, Timestamp, event,
};
#[cfg(feature = "graph")]
pub use holdpoint_graph as graph;
#[cfg(feature = "hold")]
pub use holdpoint_hold as hold;
#[cfg(feature = "manifest")]
pub use holdpoint_manifest as manifest;
#[cfg(feature = "manifest")]
pub use holdpoint_process as process;
#[cfg(feature = "manifest")]
pub use holdpoint_run as run;

/// Sessions: their states and questions and, with the feature `session`, the registry that runs
/// them.
///
/// ```
/// # #[cfg(feature = "session")] {
/// use holdpoint::session::{Ask, BodyError, SessionContext, Sessions};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let sessions = Sessions::new();
/// let deploy = sessions.register("deploy", async |cx: SessionContext, to: String| {
///     let ok: bool = cx.ask(Ask::confirm("ok", format!("Deploy to {to}?"))).await?;
///     Ok::<_, BodyError>(if ok { "deployed" } else { "left alone" }.to_owned())
/// })?;
/// let run = deploy.spawn("staging".to_owned()).await?;
/// let question = run.next_question().await?.expect("it asks");
/// run.answer(question.id, true).await?;
/// assert_eq!(run.await?, "deployed");
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod session {
    pub use holdpoint_core::session::*;
    #[cfg(feature = "session")]
    pub use holdpoint_session::*;
}

/// Where events, journals and states are kept: the trait [`Store`](store::Store), what goes
/// through it, and the stores behind it.
///
/// ```
/// use holdpoint::store::{FileOptions, FileStore, Filter, Store};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("store");
/// let store = FileStore::open(&path, FileOptions::new())?;
/// assert!(store.list(&Filter::default())?.is_empty());
/// assert!(store.check()?.is_sound());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "store")]
pub mod store {
    pub use holdpoint_core::store::*;
    pub use holdpoint_store::*;
}

/// What a first program needs.
pub mod prelude {
    #[cfg(feature = "graph")]
    pub use holdpoint_core::Backoff;
    pub use holdpoint_core::{Cancel, CancelCode};
    #[cfg(feature = "graph")]
    pub use holdpoint_graph::{Graph, Limits, OnFailure, Outcome, Retry, TaskCx, TaskKey};
    #[cfg(feature = "hold")]
    pub use holdpoint_hold::{Hold, Holds};
    #[cfg(feature = "session")]
    pub use holdpoint_session::{Ask, BodyError, SessionContext, Sessions, StepFailure};
}
