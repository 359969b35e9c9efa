//! How a run ended.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdpoint_core::body::BodyError;
use holdpoint_core::{BoxError, CancelInfo, Retryable, SessionId, SessionState};
use holdpoint_graph::{Outcome, Report};

/// What is left of a run that has ended, or was let go of.
#[derive(Debug)]
pub struct RunEnd {
    pub(crate) session: SessionId,
    pub(crate) report: Option<Report>,
    pub(crate) state: SessionState,
    pub(crate) elapsed: Duration,
    pub(crate) logs: Option<PathBuf>,
}

/// How a run or another command of the program ended, as its caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// Everything succeeded.
    Succeeded,
    /// Something failed, or could not be done.
    Failed,
    /// The command or the manifest was wrong, and nothing was started.
    Refused,
    /// A question is open, and nothing else can go on.
    Paused,
    /// Somebody cancelled it from elsewhere.
    Cancelled,
    /// This process was sent a signal, such as SIGINT (2) or SIGTERM (15).
    Signalled(u8),
}

impl Ending {
    /// The exit code: 0, 1, 2, 3, 4, or 128 and the signal's number.
    ///
    /// ```
    /// use holdpoint_run::Ending;
    ///
    /// assert_eq!(Ending::Refused.exit_code(), 2);
    /// assert_eq!(Ending::Signalled(15).exit_code(), 143);
    /// ```
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Paused => 3,
            Self::Cancelled => 4,
            Self::Signalled(number) => 128_u8.saturating_add(number),
        }
    }
}

impl RunEnd {
    /// The session that it was.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The outcome of every task; none where the run did not end, or not in this process.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// Where its session stands: Done, Failed or Cancelled, or where it was let go of.
    #[must_use]
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// How long it took.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The folder of its log files; none where no process wrote anything.
    #[must_use]
    pub fn logs(&self) -> Option<&Path> {
        self.logs.as_deref()
    }

    /// How it ended, for a process that was sent `signal` meanwhile. A signal is stronger than
    /// whatever came of the run.
    #[must_use]
    pub fn ending(&self, signal: Option<u8>) -> Ending {
        ending(&self.state, signal)
    }
}

pub(crate) fn ending(state: &SessionState, signal: Option<u8>) -> Ending {
    match (signal, state) {
        (Some(number), _) => Ending::Signalled(number),
        (None, SessionState::Done(_)) => Ending::Succeeded,
        (None, SessionState::Cancelled(_)) => Ending::Cancelled,
        (None, SessionState::Paused(_)) => Ending::Paused,
        (None, _) => Ending::Failed,
    }
}

/// What the outcomes of all tasks mean for the session, none where all went well: a run of which
/// tasks were cancelled on request was cancelled, and one that had finished all the same was not
/// (SESS-008).
pub(crate) fn failure_of(report: &Report, requested: Option<&CancelInfo>) -> Option<BoxError> {
    let by_request = |outcome: &Outcome| {
        matches!(outcome, Outcome::Cancelled { cause: Some(_), root: None, .. })
    };
    match requested {
        Some(cause) if report.rows().any(|row| by_request(&row.outcome)) => {
            Some(BodyError::Cancelled(cause.clone()).into())
        }
        _ if report.is_success() => None,
        _ => Some(TasksFailed::of(report).into()),
    }
}

/// Why the session of a run failed.
#[derive(Debug)]
struct TasksFailed {
    tasks: Vec<String>,
}

/// How many tasks the message names.
const NAMED: usize = 5;

impl TasksFailed {
    fn of(report: &Report) -> Self {
        let at_fault = |outcome: &Outcome| match outcome {
            Outcome::Failed { allowed, .. } | Outcome::Errored { allowed, .. } => !allowed,
            Outcome::Cancelled { root, .. } => root.is_none(),
            _ => false,
        };
        let rows = report.rows().filter(|row| at_fault(&row.outcome));
        Self { tasks: rows.map(|row| row.task.to_owned()).collect() }
    }
}

impl fmt::Display for TasksFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.tasks.len();
        let named = self.tasks[..count.min(NAMED)].join(", ");
        let (tasks, more) =
            (if count == 1 { "task" } else { "tasks" }, count.saturating_sub(NAMED));
        write!(f, "{count} {tasks} failed: {named}")?;
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

impl std::error::Error for TasksFailed {}

impl Retryable for TasksFailed {
    fn is_retryable(&self) -> bool {
        true
    }
}
