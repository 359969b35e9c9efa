//! Settings of one run of a command.

use std::time::Duration;

/// How long to wait for what, in one run of a command.
///
/// ```
/// use holdpoint_process::RunOptions;
/// use std::time::Duration;
///
/// let patient = RunOptions::default().grace(Duration::from_secs(30));
/// assert_eq!(patient.drain, Duration::from_millis(500));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunOptions {
    /// Time between SIGTERM and SIGKILL after a cancel. Default 5 s. Zero: SIGKILL at once.
    pub grace: Duration,
    /// How long output may stay open after the process has ended, held by a process that it
    /// left behind. Default 500 ms. Zero: what is in the pipes is read, nothing is waited for.
    pub drain: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { grace: Duration::from_secs(5), drain: Duration::from_millis(500) }
    }
}

impl RunOptions {
    /// Sets [`grace`](Self::grace).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets [`drain`](Self::drain).
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }
}
