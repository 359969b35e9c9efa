//! Why there is no plan, and why a plan could not be run.

use holdpoint_core::{Name, Retryable, SessionId};
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
    /// A task of the manifest is not part of the run.
    #[error("the task `{0}` is no part of this run")]
    NotInRun(String),
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
    /// What is asked for cannot be run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Other processes could not be answered.
    #[error("the runs cannot be opened")]
    Open(#[source] holdpoint_session::OpenError),
    /// The body of runs could not be registered.
    #[error(transparent)]
    Register(holdpoint_session::RegisterError),
    /// The run could not be begun.
    #[error("the run cannot be begun")]
    Spawn(#[source] holdpoint_session::SpawnError),
    /// The run does not go on.
    #[error("the run does not go on")]
    Resume(#[source] holdpoint_session::ResumeError),
    /// There is no such run, or it cannot be read.
    #[error(transparent)]
    Get(holdpoint_session::GetError),
    /// The run was not cancelled.
    #[error("the run is not cancelled")]
    Cancel(#[source] holdpoint_session::CancelError),
    /// It cannot be told how the run ended.
    #[error("it cannot be told how the run ended")]
    Wait(#[source] holdpoint_session::RunError),
    /// The session is no run, or one of a newer version.
    #[error("the session {id} is recorded as something else than a run: {message}")]
    Input {
        /// The session.
        id: SessionId,
        /// What is wrong.
        message: String,
    },
}

impl Retryable for RunError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Spawner(error) => error.is_retryable(),
            Self::Graph(error) => error.is_retryable(),
            Self::Open(error) => error.is_retryable(),
            Self::Spawn(error) => error.is_retryable(),
            Self::Resume(error) => error.is_retryable(),
            Self::Get(error) => error.is_retryable(),
            Self::Cancel(error) => error.is_retryable(),
            Self::Wait(error) => error.is_retryable(),
            Self::Plan(_) | Self::Register(_) | Self::Input { .. } => false,
        }
    }
}
