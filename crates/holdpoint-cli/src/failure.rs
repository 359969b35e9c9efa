//! Why a command ended without a run, and how that reads.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use holdpoint::manifest::{Diagnostic, FindError, LoadError};
use holdpoint::run::{Ending, FindRunError, PlanError, RunError};
use holdpoint::session::{AnswerError, ResumeError, StateName};
use holdpoint::store::{AppendError, OpenError, ReadError};

use crate::args::Common;
use crate::text::plain;

/// What SIGPIPE would have ended a program with that does not know of it.
const BROKEN_PIPE: Ending = Ending::Signalled(13);

/// A command that could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No manifest was found.
    Find(FindError),
    /// The manifest could not be read, or has mistakes.
    Load(LoadError),
    /// What was asked for cannot be run. Faults in the manifest are shown as they are.
    Plan(PlanError),
    /// The run could not begin.
    Run(RunError),
    /// The folder of `-C` cannot be entered.
    Directory(PathBuf, io::Error),
    /// The file of `--events` cannot be made.
    Events(PathBuf, io::Error),
    /// Events were not written to this file.
    EventsLost(PathBuf, io::Error),
    /// The store cannot be opened.
    Open(OpenError),
    /// The store cannot be read.
    Read(ReadError),
    /// The store cannot be written.
    Append(AppendError),
    /// The file of an export cannot be made.
    Export(PathBuf, io::Error),
    /// The export could not be written to this file.
    ExportLost(PathBuf, io::Error),
    /// The run that is named is not there.
    FindRun(FindRunError),
    /// The store does not number its runs.
    NoNumber,
    /// There is neither such a run nor a run with such a task.
    NoSuchThing(String),
    /// The run asks nothing.
    NothingOpen { run: u64, state: StateName },
    /// The run asks several things, and it was not said which is meant.
    WhichQuestion { run: u64, open: Vec<String> },
    /// The run does not ask that.
    NoQuestion { run: u64, wanted: String, open: Vec<String> },
    /// The question is not open any more.
    Settled { run: u64, question: String, how: String },
    /// The answer is none.
    Answer { question: String, message: String },
    /// The answer was not taken.
    Refused(Box<AnswerError>),
    /// The run does not go on.
    NotResumed { run: u64, error: Box<ResumeError> },
    /// The run has ended.
    HasEnded { run: u64, state: StateName },
    /// The runtime or a thread could not be made.
    Runtime(io::Error),
    /// Standard output took no more.
    Output(io::Error),
}

impl Failure {
    /// Tells the user, on standard error, and says how the program ends.
    pub(crate) fn report(&self, common: &Common) -> Ending {
        if self.is_broken_pipe() {
            return BROKEN_PIPE;
        }
        let mut message = self.message();
        if let Some(help) = self.help(common) {
            let _ = write!(message, "\nhelp: {help}");
        }
        // Who cannot be told cannot be told that either.
        let _ = writeln!(io::stderr(), "{message}");
        match self {
            Self::Run(_) | Self::EventsLost(..) | Self::Runtime(_) | Self::Output(_) => {
                Ending::Failed
            }
            Self::Read(_) | Self::Append(_) | Self::ExportLost(..) => Ending::Failed,
            Self::FindRun(FindRunError::Read(_)) => Ending::Failed,
            // Nothing is wrong with the command but its time.
            Self::NothingOpen { .. } | Self::Settled { .. } | Self::Refused(_) => Ending::Failed,
            Self::NotResumed { .. } | Self::HasEnded { .. } => Ending::Failed,
            Self::Open(error) if is_damage(error) => Ending::Failed,
            _ => Ending::Refused,
        }
    }

    /// Whether a reader such as `head` has gone, which is nothing to tell anybody.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The mistakes in the manifest, where it is these.
    pub(crate) fn faults(&self) -> Vec<&Diagnostic> {
        match self {
            Self::Load(LoadError::Invalid(faults)) => faults.iter().collect(),
            Self::Plan(PlanError::Invalid(faults)) => faults.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// What went wrong, without help.
    pub(crate) fn message(&self) -> String {
        match self {
            // These have the form `file:line:column: message`, which editors and people know.
            Self::Load(LoadError::Invalid(faults)) => faults.to_string(),
            Self::Plan(error @ PlanError::Invalid(_)) => error.to_string(),
            Self::Find(error) => chain(error),
            Self::Load(error) => chain(error),
            Self::Plan(error) => chain(error),
            Self::Run(error) => chain(error),
            Self::Directory(path, error) => {
                format!("error: cannot start in {}: {error}", path.display())
            }
            Self::Events(path, error) => {
                format!("error: cannot write events to {}: {error}", path.display())
            }
            Self::EventsLost(path, error) => {
                format!("error: events are missing in {}: {error}", path.display())
            }
            Self::Open(OpenError::Missing { path }) => {
                plain(&format!("error: there is no store in {} yet", path.display()))
            }
            // Their words contain those of their causes.
            Self::Open(error) => plain(&format!("error: {error}")),
            Self::Read(error) => plain(&format!("error: {error}")),
            Self::Append(error) => plain(&format!("error: {error}")),
            Self::Export(path, error) => {
                format!("error: cannot export to {}: {error}", path.display())
            }
            Self::ExportLost(path, error) => {
                format!("error: the export to {} was given up: {error}", path.display())
            }
            Self::FindRun(error) => plain(&format!("error: {error}")),
            Self::NoNumber => "error: the store has no number for the run".to_owned(),
            Self::NoSuchThing(what) => {
                plain(&format!("error: `{what}` is neither a run nor a task of one"))
            }
            Self::NothingOpen { run, state } if state.is_terminal() => {
                format!("error: run #{run} asks nothing any more: it {}", how_it_ended(*state))
            }
            Self::NothingOpen { run, state: StateName::Planned } => {
                format!("error: run #{run} asks nothing: nobody has begun it yet")
            }
            Self::NothingOpen { run, state } => {
                format!("error: run #{run} asks nothing: it is {state}")
            }
            Self::WhichQuestion { run, open } => {
                format!("error: run #{run} asks {} things: {}", open.len(), open.join(", "))
            }
            Self::NoQuestion { run, wanted, open } => plain(&format!(
                "error: run #{run} does not ask `{wanted}`; it asks {}",
                open.join(", ")
            )),
            Self::Settled { run, question, how } => plain(&format!(
                "error: `{question}` of run #{run} is not open any more: it was {how}"
            )),
            Self::Answer { question, message } => plain(&format!("error: `{question}`: {message}")),
            Self::Refused(error) => chain(error),
            Self::HasEnded { run, state } => {
                format!("error: run #{run} has ended: it {}", how_it_ended(*state))
            }
            Self::NotResumed { run, error } => match &**error {
                ResumeError::Owned { state: StateName::Paused } => {
                    format!("error: run #{run} has a process already, which waits for an answer")
                }
                ResumeError::Owned { .. } => {
                    format!("error: run #{run} has a process already, which runs it")
                }
                ResumeError::Ended { state } => {
                    format!("error: run #{run} has ended: it {}", how_it_ended(*state))
                }
                ResumeError::NotRetryable { state } if state.is_terminal() => format!(
                    "error: run #{run} {}: only a run that failed or was cancelled is tried again",
                    how_it_ended(*state)
                ),
                ResumeError::NotRetryable { state } => {
                    format!("error: run #{run} has not ended: it is {state}")
                }
                error => chain(error),
            },
            Self::Runtime(error) => format!("error: no runtime: {error}"),
            Self::Output(error) => format!("error: cannot write to standard output: {error}"),
        }
    }

    fn help(&self, common: &Common) -> Option<String> {
        match self {
            Self::Find(FindError::NotFound { .. }) => Some(
                "make one, such as this, and name a task with `holdpoint run hello`\n\n  \
                 # holdpoint.yaml\n  tasks:\n    hello: echo hello\n\n\
                 `holdpoint --help` has more; `-f` takes a manifest from elsewhere."
                    .to_owned(),
            ),
            Self::Plan(PlanError::UnknownTarget { nearest, .. }) => Some(match nearest {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("`{}` lists the tasks", common.again("")),
            }),
            Self::FindRun(FindRunError::Unknown(_)) | Self::NoSuchThing(_) => {
                Some(format!("`{}` lists the runs", common.again("ps --all")))
            }
            Self::WhichQuestion { run, .. } => Some(format!(
                "name the one you mean: {}",
                common.again(&format!("approve {run} QUESTION"))
            )),
            Self::NotResumed { run, error } => resume_help(*run, error, common),
            Self::Open(OpenError::Missing { .. }) => Some(
                "--store DIR or HOLDPOINT_STORE names another folder; the first run makes one"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// What to do about a run that does not go on.
fn resume_help(run: u64, error: &ResumeError, common: &Common) -> Option<String> {
    let again = |verb: &str, what: &str| common.again(&format!("{verb} {run}{what}"));
    match error {
        ResumeError::Owned { .. } => Some(format!("follow it with: {}", again("logs", " -f"))),
        ResumeError::Ended { state: StateName::Done } => None,
        ResumeError::Ended { .. } => Some(format!("try it again with: {}", again("retry", ""))),
        ResumeError::NotRetryable { state } if !state.is_terminal() => {
            Some(format!("go on with: {}", again("resume", "")))
        }
        _ => None,
    }
}

/// A terminal state, in words.
const fn how_it_ended(state: StateName) -> &'static str {
    match state {
        StateName::Failed => "has failed",
        StateName::Cancelled => "was cancelled",
        _ => "is done",
    }
}

/// Whether a store is there, and is not what was written.
pub(crate) fn is_damage(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::Damaged { .. } | OpenError::DamagedLog { .. } | OpenError::Foreign { .. }
    )
}

/// An error and what caused it, in one row.
fn chain(error: &dyn Error) -> String {
    let mut message = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(message, ": {error}");
        cause = error.source();
    }
    plain(&message)
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            // A mistake in the command or the manifest, before anything was started.
            RunError::Plan(error) => Self::Plan(error),
            error => Self::Run(error),
        }
    }
}
