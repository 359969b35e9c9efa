//! What a task is to the executor: something to look up, to wait for and to execute.

use std::fmt;
use std::sync::Arc;

use holdpoint_core::BoxError;

/// How an attempt to execute a task ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TaskEnd {
    /// The work was done.
    Succeeded,
    /// The work was tried and said no.
    Failed(TaskFailure),
    /// The work could not be done: its program is missing, its output could not be kept.
    Errored(TaskFailure),
    /// The work stopped because its token fired.
    Cancelled,
}

/// What a lookup found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Lookup {
    /// The result was there and is restored: the task has succeeded without executing.
    Hit,
    /// The task must execute.
    Miss,
    /// The task's condition says that it is not wanted; the text says why.
    Skip(Arc<str>),
    /// The lookup could not be made.
    Errored(TaskFailure),
}

/// How a gate ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Gate {
    /// The task may go on.
    Open,
    /// The task ends as failed, such as by a rejection.
    Failed(TaskFailure),
    /// The task is skipped; the text says why.
    Skip(Arc<str>),
}

/// Why a task failed: a message, and the error it came from where there is one.
///
/// ```
/// use holdpoint_graph::TaskFailure;
///
/// let failure = TaskFailure::new("exit code 2");
/// assert_eq!(failure.to_string(), "exit code 2");
/// ```
///
/// One pointer wide: outcomes and events that carry it stay small.
#[derive(Clone)]
pub struct TaskFailure(Arc<Parts>);

#[derive(Clone, Default)]
struct Parts {
    message: String,
    source: Option<Arc<BoxError>>,
    code: Option<&'static str>,
    permanent: bool,
}

impl TaskFailure {
    /// A failure with a message of its own.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Arc::new(Parts { message: message.into(), ..Parts::default() }))
    }

    /// The same, but not to be tried again, whatever the task's retry says.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        Arc::make_mut(&mut self.0).permanent = true;
        self
    }

    /// The same, with a short code for records: `timeout`, `panic`, `rejected` ...
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        Arc::make_mut(&mut self.0).code = Some(code);
        self
    }

    /// The short code, where there is one.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        self.0.code
    }

    /// What went wrong, as a lower-case fragment.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The error behind it, for downcasting.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.source.as_deref().map(|error| &**error)
    }

    /// Whether another attempt is pointless.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.0.permanent
    }
}

impl From<BoxError> for TaskFailure {
    fn from(error: BoxError) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self(Arc::new(Parts { message, source: Some(Arc::new(error)), ..Parts::default() }))
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskFailure").field("message", &self.message()).finish_non_exhaustive()
    }
}

#[cfg(feature = "driver")]
pub(crate) use context::LazyToken;
#[cfg(feature = "driver")]
pub use context::{SendTaskRunner, TaskContext, TaskRunner};

#[cfg(feature = "driver")]
mod context {
    use std::future::{Future, ready};
    use std::sync::{Arc, OnceLock};

    use holdpoint_core::{Cancel, CancelInfo};
    use holdpoint_hold::HoldTicket;

    use super::{Gate, Lookup, TaskEnd};
    use crate::report::Outcome;
    use crate::topology::TaskId;

    /// What an attempt knows of itself.
    #[derive(Debug, Clone)]
    pub struct TaskContext {
        task: TaskId,
        attempt: u32,
        token: Arc<LazyToken>,
    }

    /// A token made at the first use: most short tasks never look at theirs.
    #[derive(Debug)]
    pub(crate) struct LazyToken {
        run: Cancel,
        own: OnceLock<Cancel>,
        /// The holds of an attempt that was given up, for as long as anything of it is left.
        kept: OnceLock<HoldTicket>,
    }

    impl LazyToken {
        pub(crate) fn new(run: Cancel) -> Self {
            Self { run, own: OnceLock::new(), kept: OnceLock::new() }
        }

        pub(crate) fn get(&self) -> &Cancel {
            self.own.get_or_init(|| self.run.child())
        }

        /// Whether nobody has asked for it, so that another task can have it.
        pub(crate) fn is_unused(&self) -> bool {
            self.own.get().is_none()
        }

        /// Keeps the holds until the last context with this token is gone (HOLD-003): that of a
        /// blocking function goes on although nobody waits for it.
        pub(crate) fn keep(&self, ticket: HoldTicket) {
            // An attempt has one ticket.
            let _ = self.kept.set(ticket);
        }
    }

    impl TaskContext {
        pub(crate) fn new(task: TaskId, attempt: u32, token: Arc<LazyToken>) -> Self {
            Self { task, attempt, token }
        }

        /// The task.
        #[must_use]
        pub fn task(&self) -> TaskId {
            self.task
        }

        /// Which attempt this is, from 1.
        #[must_use]
        pub fn attempt(&self) -> u32 {
            self.attempt
        }

        /// The task's own token, a child of the run's. It fires with the run's cancellation,
        /// at the task's timeout (code `timeout`) and by fail-fast (code `internal`).
        #[must_use]
        pub fn cancel(&self) -> &Cancel {
            self.token.get()
        }

        /// Waits until the token fires.
        ///
        /// # Cancel safety
        /// Dropping the future loses nothing.
        pub async fn cancelled(&self) -> CancelInfo {
            self.cancel().cancelled().await
        }
    }

    /// Does the work of the tasks of one graph. Its futures may borrow and need not be `Send`.
    ///
    /// A panic in any of them is a failure of that task with the panic's message.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use holdpoint_graph::{RunOptions, TaskContext, TaskEnd, TaskRunner, Topology, run};
    ///
    /// struct Print<'a>(&'a Topology);
    ///
    /// impl TaskRunner for Print<'_> {
    ///     async fn execute(&self, cx: TaskContext) -> TaskEnd {
    ///         println!("{}", self.0.name(cx.task()));
    ///         TaskEnd::Succeeded
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut builder = Topology::builder();
    /// builder.task("build");
    /// builder.task("test").needs("build");
    /// let topology = Arc::new(builder.build()?);
    /// let report = run(&topology, &Print(&topology), RunOptions::default()).await?;
    /// assert!(report.is_success());
    /// # Ok(())
    /// # }
    /// ```
    pub trait TaskRunner {
        /// Finds out whether the task must execute (GRAPH-005). Holds a slot, but no hold.
        /// Called only for tasks set up with [`lookup`](crate::TaskSetup::lookup).
        fn lookup(&self, cx: TaskContext) -> impl Future<Output = Lookup> {
            let _ = cx;
            ready(Lookup::Miss)
        }

        /// Waits until the task may go on (GRAPH-018). Holds nothing. Called only for tasks set
        /// up with [`gated`](crate::TaskSetup::gated); dropped where the run ends before.
        fn gate(&self, cx: TaskContext) -> impl Future<Output = Gate> {
            let _ = cx;
            ready(Gate::Open)
        }

        /// Does the work, once an attempt, with slot, caps and holds taken.
        fn execute(&self, cx: TaskContext) -> impl Future<Output = TaskEnd>;

        /// Keeps how a task that executed ends, before it ends and anything follows from that.
        /// Holds nothing. Called only with [`RunOptions::recorded`](crate::RunOptions::recorded),
        /// with the last attempt's number; never for hits, skips and cancellations. The task has
        /// finished, so its token means nothing here: no cancel and no grace drops this future,
        /// and the run ends after it. A panic here does not change the task's end.
        fn record(&self, cx: TaskContext, outcome: Outcome) -> impl Future<Output = ()> {
            let _ = (cx, outcome);
            ready(())
        }
    }

    /// As [`TaskRunner`], for tasks that are spread over threads.
    pub trait SendTaskRunner: Send + Sync + 'static {
        /// See [`TaskRunner::lookup`].
        fn lookup(&self, cx: TaskContext) -> impl Future<Output = Lookup> + Send {
            let _ = cx;
            ready(Lookup::Miss)
        }

        /// See [`TaskRunner::gate`].
        fn gate(&self, cx: TaskContext) -> impl Future<Output = Gate> + Send {
            let _ = cx;
            ready(Gate::Open)
        }

        /// See [`TaskRunner::execute`].
        fn execute(&self, cx: TaskContext) -> impl Future<Output = TaskEnd> + Send;

        /// See [`TaskRunner::record`].
        fn record(&self, cx: TaskContext, outcome: Outcome) -> impl Future<Output = ()> + Send {
            let _ = (cx, outcome);
            ready(())
        }
    }

    impl<R: SendTaskRunner> TaskRunner for R {
        fn lookup(&self, cx: TaskContext) -> impl Future<Output = Lookup> {
            SendTaskRunner::lookup(self, cx)
        }

        fn gate(&self, cx: TaskContext) -> impl Future<Output = Gate> {
            SendTaskRunner::gate(self, cx)
        }

        fn execute(&self, cx: TaskContext) -> impl Future<Output = TaskEnd> {
            SendTaskRunner::execute(self, cx)
        }

        fn record(&self, cx: TaskContext, outcome: Outcome) -> impl Future<Output = ()> {
            SendTaskRunner::record(self, cx, outcome)
        }
    }
}
