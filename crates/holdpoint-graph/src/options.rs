//! How a graph is run.

use std::collections::BTreeMap;

/// How much may be in flight at once (GRAPH-004). In flight are lookups and executions; what
/// waits for a hold, a gate or a retry takes nothing.
///
/// ```
/// use holdpoint_graph::Limits;
///
/// let limits = Limits::jobs(8).tag("heavy", 1);
/// assert_eq!(limits.slots(), 8);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub(crate) jobs: u32,
    pub(crate) tags: BTreeMap<String, u32>,
}

impl Limits {
    /// As many slots as the process may use logical CPUs; one where that is unknown.
    #[must_use]
    pub fn cores() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::jobs(u32::try_from(cores).unwrap_or(u32::MAX))
    }

    /// A number of slots. 0 is refused when the run starts.
    #[must_use]
    pub fn jobs(slots: u32) -> Self {
        Self { jobs: slots, tags: BTreeMap::new() }
    }

    /// No limit on slots.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::jobs(u32::MAX)
    }

    /// At most `slots` tasks with this tag in flight. 0 is refused when the run starts.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>, slots: u32) -> Self {
        self.tags.insert(tag.into(), slots);
        self
    }

    /// The number of slots.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.jobs
    }
}

impl Default for Limits {
    /// [`Limits::cores`].
    fn default() -> Self {
        Self::cores()
    }
}

/// What a failure does to the rest of the run (GRAPH-007). Tasks that are allowed to fail do
/// not count; finally-tasks run in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnFailure {
    /// Only the transitive hard descendants of the failed task are skipped.
    #[default]
    KeepGoing,
    /// Nothing more is admitted; running tasks finish; the rest is skipped.
    Stop,
    /// Running tasks get their token; the rest is cancelled.
    FailFast,
}

#[cfg(feature = "driver")]
pub use run::RunOptions;

#[cfg(feature = "driver")]
mod run {
    use std::fmt;
    use std::sync::Arc;
    use std::time::Duration;

    use holdpoint_core::{Cancel, Clock, SystemClock};
    use holdpoint_hold::Holds;

    use super::{Limits, OnFailure};
    use crate::report::{NoObserver, Observer};
    use crate::runner::TaskEnd;
    use crate::topology::TaskId;

    /// What [`RunOptions::on_parked`] was given.
    pub(crate) type OnParked = Box<dyn FnMut() + Send>;

    /// The settings of one run, each with its default.
    ///
    /// ```
    /// use holdpoint_graph::{Limits, OnFailure, RunOptions};
    ///
    /// let options = RunOptions::default().limits(Limits::jobs(2)).on_failure(OnFailure::Stop);
    /// ```
    #[must_use]
    pub struct RunOptions<O = NoObserver> {
        pub(crate) limits: Limits,
        pub(crate) on_failure: OnFailure,
        pub(crate) cancel: Cancel,
        pub(crate) holds: Holds,
        pub(crate) label: Arc<str>,
        pub(crate) grace: Option<Duration>,
        pub(crate) clock: Arc<dyn Clock>,
        pub(crate) seed: u64,
        pub(crate) recorded: bool,
        pub(crate) known: Vec<(TaskId, TaskEnd)>,
        pub(crate) on_parked: Option<OnParked>,
        pub(crate) observer: O,
    }

    impl Default for RunOptions {
        fn default() -> Self {
            Self {
                limits: Limits::cores(),
                on_failure: OnFailure::KeepGoing,
                cancel: Cancel::new(),
                holds: Holds::new(),
                label: Arc::from("graph"),
                grace: Some(Duration::from_secs(5)),
                clock: Arc::new(SystemClock::new()),
                seed: 0,
                recorded: false,
                known: Vec::new(),
                on_parked: None,
                observer: NoObserver,
            }
        }
    }

    impl<O: Observer> RunOptions<O> {
        /// Slots and tag caps. Default: [`Limits::cores`].
        pub fn limits(mut self, limits: Limits) -> Self {
            self.limits = limits;
            self
        }

        /// What a failure does to the rest. Default: keep going.
        pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
            self.on_failure = on_failure;
            self
        }

        /// The token that cancels the run. Default: one that nobody holds.
        pub fn cancel(mut self, cancel: Cancel) -> Self {
            self.cancel = cancel;
            self
        }

        /// The hold set, to share it with other runs (HOLD-010). Default: an own one.
        pub fn holds(mut self, holds: Holds) -> Self {
            self.holds = holds;
            self
        }

        /// How others see this run when it holds what they wait for. Default: `graph`.
        pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
            self.label = label.into();
            self
        }

        /// How long a task whose token fired may go on before its future is dropped. `None`:
        /// for ever, for runners that end their tasks by themselves. Default: 5 s.
        pub fn grace(mut self, grace: Option<Duration>) -> Self {
            self.grace = grace;
            self
        }

        /// Where the time comes from. Default: the system's clocks.
        pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
            self.clock = clock;
            self
        }

        /// The seed of the jitter between attempts. Default: 0.
        pub fn seed(mut self, seed: u64) -> Self {
            self.seed = seed;
            self
        }

        /// Whether a task that executed ends only when [`TaskRunner::record`] has ended, so that
        /// nothing follows from an end that is not kept. While it is recorded, the task has
        /// neither slot nor holds, and neither a cancel nor another's failure changes its end;
        /// after a failure at which the run stops nothing is admitted. Default: false.
        ///
        /// [`TaskRunner::record`]: crate::TaskRunner::record
        pub fn recorded(mut self, recorded: bool) -> Self {
            self.recorded = recorded;
            self
        }

        /// Tasks that had ended in an earlier life of the run, such as those that were recorded.
        /// They end at the start, in canonical order and before anything begins, and are neither
        /// looked up nor executed: they are reported with no attempt. What their ends mean for
        /// others and for the run follows then, as always; none of them is skipped because of
        /// another. A task that was cancelled runs as if it were not named; one that the graph
        /// does not have is ignored; of several ends of one task the last counts. Default: none.
        ///
        /// ```
        /// use std::sync::Arc;
        /// use holdpoint_graph::{RunOptions, TaskContext, TaskEnd, TaskRunner, Topology, run};
        ///
        /// struct Test;
        ///
        /// impl TaskRunner for Test {
        ///     async fn execute(&self, cx: TaskContext) -> TaskEnd {
        ///         assert_eq!(cx.task().index(), 1, "the other had ended");
        ///         TaskEnd::Succeeded
        ///     }
        /// }
        ///
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let mut builder = Topology::builder();
        /// let build = builder.task("build").id();
        /// builder.task("test").needs(build);
        /// let topology = Arc::new(builder.build()?);
        /// let options = RunOptions::default().known([(build, TaskEnd::Succeeded)]);
        /// let report = run(&topology, &Test, options).await?;
        /// assert_eq!(report.counts().fresh, 2);
        /// # Ok(())
        /// # }
        /// ```
        pub fn known(mut self, ends: impl IntoIterator<Item = (TaskId, TaskEnd)>) -> Self {
            self.known.extend(ends);
            self
        }

        /// Is called when the run comes to wait for gates alone (see
        /// [`Machine::is_parked`](crate::Machine::is_parked)): once each time that becomes so, on
        /// the driver's task. It must not block. Where it panics, it is not called again.
        /// Default: nothing.
        pub fn on_parked(mut self, tell: impl FnMut() + Send + 'static) -> Self {
            self.on_parked = Some(Box::new(tell));
            self
        }

        /// Who is told of every event, in order, before its effect. Default: nobody.
        pub fn observer<P: Observer>(self, observer: P) -> RunOptions<P> {
            RunOptions {
                limits: self.limits,
                on_failure: self.on_failure,
                cancel: self.cancel,
                holds: self.holds,
                label: self.label,
                grace: self.grace,
                clock: self.clock,
                seed: self.seed,
                recorded: self.recorded,
                known: self.known,
                on_parked: self.on_parked,
                observer,
            }
        }
    }

    impl<O> fmt::Debug for RunOptions<O> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("RunOptions")
                .field("limits", &self.limits)
                .field("on_failure", &self.on_failure)
                .field("grace", &self.grace)
                .field("recorded", &self.recorded)
                .finish_non_exhaustive()
        }
    }
}
