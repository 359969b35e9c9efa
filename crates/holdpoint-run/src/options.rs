//! How a plan is run.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::{Cancel, Clock, EventSink, SystemClock};
use holdpoint_graph::OnFailure;
use holdpoint_hold::Holds;
use holdpoint_process::{Environment, RunOptions as ProcessOptions, Spawner};

use crate::output::{NoOutput, TaskOutput};

/// The settings of one run, each with its default.
#[must_use]
pub struct RunOptions {
    pub(crate) on_failure: OnFailure,
    pub(crate) cancel: Cancel,
    pub(crate) kill: Cancel,
    pub(crate) holds: Holds,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) caller: Option<Environment>,
    pub(crate) spawner: Option<Spawner>,
    pub(crate) process: ProcessOptions,
    pub(crate) sinks: Vec<Arc<dyn EventSink>>,
    pub(crate) output: Arc<dyn TaskOutput>,
    pub(crate) folder: Option<PathBuf>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            on_failure: OnFailure::Stop,
            cancel: Cancel::new(),
            kill: Cancel::new(),
            holds: Holds::new(),
            clock: Arc::new(SystemClock::new()),
            caller: None,
            spawner: None,
            process: ProcessOptions::default(),
            sinks: Vec::new(),
            output: Arc::new(NoOutput),
            folder: None,
        }
    }
}

impl RunOptions {
    /// What a failure does to the rest (GRAPH-007). Default: stop, that is, nothing more is
    /// started and running tasks finish.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// The token that ends the run in order: processes get SIGTERM and the grace. Default: one
    /// that nobody holds.
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// The token that ends what [`cancel`](Self::cancel) has not ended yet: processes get
    /// SIGKILL. To be fired after the other one. Default: one that nobody holds.
    pub fn kill(mut self, kill: Cancel) -> Self {
        self.kill = kill;
        self
    }

    /// The hold set, to share it with other runs (HOLD-010). Default: an own one.
    pub fn holds(mut self, holds: Holds) -> Self {
        self.holds = holds;
        self
    }

    /// Where the time comes from. Default: the system's clocks.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The environment that tasks inherit. Default: that of this process.
    pub fn caller(mut self, environment: Environment) -> Self {
        self.caller = Some(environment);
        self
    }

    /// What starts the processes. Default: one made for this run.
    pub fn spawner(mut self, spawner: Spawner) -> Self {
        self.spawner = Some(spawner);
        self
    }

    /// The time between SIGTERM and SIGKILL after a cancel or a timeout (PROC-003). Default: 5 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.process = self.process.grace(grace);
        self
    }

    /// Adds somebody who is told of every event. Default: nobody.
    pub fn sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// The folder in which log files are kept. Default: `.holdpoint` beside the manifest.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Where the output of tasks goes, besides their log files. Default: nowhere.
    pub fn output(mut self, output: Arc<dyn TaskOutput>) -> Self {
        self.output = output;
        self
    }
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOptions")
            .field("on_failure", &self.on_failure)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}
