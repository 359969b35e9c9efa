//! Why there is no plan, and why a plan could not be run.

use holdpoint_core::{Name, Retryable};
use holdpoint_manifest::Diagnostic;
use holdpoint_process::ProcessError;

/// Why there is no plan. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No target was named and the manifest has no `default`.
    #[error("no target was named, and the manifest has no `default`")]
    NoTargets,
    /// A target is not a task of the manifest.
    #[error("there is no task `{target}`")]
    UnknownTarget {
        /// The target as given.
        target: String,
        /// The task that may have been meant.
        nearest: Option<Name>,
    },
    /// The manifest asks for what cannot be, such as tasks that wait for each other in a circle.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
    Invalid(Vec<Diagnostic>),
}

impl Retryable for PlanError {
    fn is_retryable(&self) -> bool {
        false
    }
}

/// Why a plan could not be run. No task was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The means to start processes are missing.
    #[error("no process can be started")]
    Spawner(#[from] ProcessError),
    /// The graph does not go together with the run's hold set: another run has declared another
    /// capacity for one of its holds.
    #[error(transparent)]
    Graph(#[from] holdpoint_graph::RunError),
}

impl Retryable for RunError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Spawner(error) => error.is_retryable(),
            Self::Graph(error) => error.is_retryable(),
        }
    }
}
