//! How a process ended, and what that means (PROC-002).

use std::fmt;

use holdpoint_core::{CancelCode, CancelInfo};

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// Its process id, which was also the id of its group.
    pub pid: u32,
    /// Exit code or signal.
    pub status: Status,
    /// The cause for which we signalled it, where we did so before it had ended by itself.
    pub cancelled: Option<CancelInfo>,
    /// Output was still open when the drain was over: a process that it left behind holds it.
    /// What that process writes later is lost.
    pub leaky_output: bool,
    /// Bytes of output, both streams together.
    pub output_bytes: u64,
}

/// Exit code or signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It exited with this code, 0 to 255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What an [`Exit`] means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It exited with 0, whatever else happened.
    Succeeded,
    /// It exited otherwise by itself, or we killed it for its time limit.
    Failed(Failure),
    /// We killed it, for this cause.
    Cancelled(CancelInfo),
}

/// Why a process counts as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Its exit code, or a signal that was not ours.
    Status(Status),
    /// We killed it for its time limit.
    Timeout(CancelInfo),
}

impl Exit {
    /// PROC-002: exit code 0 is success, even where a cancel came too late to stop the work.
    /// Otherwise a process that we signalled counts as cancelled, or as failed where the cause
    /// was a time limit; any other has failed.
    ///
    /// ```
    /// use holdpoint_core::{CancelCode, CancelInfo, Timestamp};
    /// use holdpoint_process::{Failure, Status, Verdict, verdict};
    ///
    /// let user = CancelInfo::new(CancelCode::User, "", Timestamp::from_micros(0));
    /// assert_eq!(verdict(Status::Code(0), Some(&user)), Verdict::Succeeded);
    /// assert_eq!(verdict(Status::Signal(15), Some(&user)), Verdict::Cancelled(user));
    /// assert_eq!(
    ///     verdict(Status::Signal(15), None),
    ///     Verdict::Failed(Failure::Status(Status::Signal(15))),
    /// );
    /// ```
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        verdict(self.status, self.cancelled.as_ref())
    }
}

/// The rule behind [`Exit::verdict`].
#[must_use]
pub fn verdict(status: Status, cancelled: Option<&CancelInfo>) -> Verdict {
    match (status, cancelled) {
        (Status::Code(0), _) => Verdict::Succeeded,
        (_, None) => Verdict::Failed(Failure::Status(status)),
        (_, Some(cause)) if cause.code == CancelCode::Timeout => {
            Verdict::Failed(Failure::Timeout(cause.clone()))
        }
        (_, Some(cause)) => Verdict::Cancelled(cause.clone()),
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Timeout(cause) => cause.fmt(f),
        }
    }
}

/// Names of the signals that end processes in practice.
fn signal_name(number: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    let known = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    known.into_iter().find(|(signal, _)| signal.as_raw() == number).map(|(_, name)| name)
}
