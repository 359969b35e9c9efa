//! What can go wrong, one enum for each operation.

use std::sync::Arc;

use holdpoint_core::body::{InputError, RegisterError as BodyRegisterError, WrongAnswer};
use holdpoint_core::session::{Failure, QuestionId, StateName, SuspendCause};
use holdpoint_core::store::{AppendError, ReadError, RequestError};
use holdpoint_core::{CancelInfo, Retryable, SessionId};

/// Why a registry was not opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store takes no requests of other processes.
    #[error("other processes cannot ask this one: {0}")]
    Respond(#[source] RequestError),
    /// The store cannot be read.
    #[error("the sessions that were left cannot be read: {0}")]
    Read(#[source] ReadError),
    /// The store cannot be written.
    #[error("the sessions that were left cannot be taken up: {0}")]
    Append(#[source] AppendError),
}

/// Why a session was not made. Nothing was created.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// So many sessions are live, and more are refused ([`Limits`](crate::Limits)).
    #[error("{limit} sessions are live, which is the limit")]
    TooManyLive {
        /// The limit.
        limit: usize,
    },
    /// The registry is going down.
    #[error("no more sessions are taken: {0}")]
    ShuttingDown(CancelInfo),
    /// There is no tokio runtime here.
    #[error("a session is spawned within a tokio runtime; enter one, or use `plan`")]
    NoRuntime,
    /// The idempotency key is empty or longer than 256 bytes.
    #[error("an idempotency key has 1 to 256 bytes, this one has {len}")]
    Key {
        /// Its length.
        len: usize,
    },
    /// The key belongs to a session of another body.
    #[error("the key {key:?} belongs to session {session}, whose body is `{body}`")]
    KeyOfAnother {
        /// The key.
        key: Arc<str>,
        /// The session that has it.
        session: SessionId,
        /// Its body.
        body: Arc<str>,
    },
    /// The body does not take the input as it would be recorded.
    #[error("{0}")]
    Input(#[source] Arc<InputError>),
    /// The input does not serialise.
    #[error("the input of `{body}` does not serialise: {message}")]
    Encode {
        /// The body.
        body: Arc<str>,
        /// What is wrong.
        message: Arc<str>,
    },
    /// A closure cannot be recorded, and there is a store that would have to.
    #[error("a closure has no name under which it could be found after a crash; register it")]
    Unregistered,
    /// The store refused it.
    #[error("the session was not recorded: {0}")]
    Store(#[source] AppendError),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Read(#[source] ReadError),
}

/// Why a body was not registered.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Its name is none, or it is registered already.
    #[error(transparent)]
    Body(#[from] BodyRegisterError),
}

/// Why answers were not taken. Nothing was changed: several count all or none.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// These questions are not open: unknown, answered, withdrawn, or named twice.
    #[error("not open: question {}", list(questions))]
    NotOpen {
        /// The questions.
        questions: Vec<QuestionId>,
    },
    /// No question is open.
    #[error("nothing is asked by a session that is {state}")]
    NothingOpen {
        /// The state.
        state: StateName,
    },
    /// The session is cancelled.
    #[error("the session is already cancelled: {0}")]
    AlreadyCancelled(CancelInfo),
    /// The answer is none that the question takes.
    #[error("question {question} ({name}): {source}")]
    Wrong {
        /// The question.
        question: QuestionId,
        /// Under which name it was asked.
        name: Arc<str>,
        /// What it takes.
        source: WrongAnswer,
    },
    /// The answer is larger than what can be kept.
    #[error("the answer to question {question} has {size} bytes, and at most {limit} can be kept")]
    TooLarge {
        /// The question.
        question: QuestionId,
        /// The size of the answer, with three times that of who answers and why.
        size: usize,
        /// The most.
        limit: usize,
    },
    /// It is not the secret that was given before the crash.
    #[error(
        "question {question}: this is not the secret that was given before; what was done with \
         that one is recorded. Give the same, or cancel and start again"
    )]
    OtherSecret {
        /// The question.
        question: QuestionId,
    },
    /// A secret is kept nowhere, so that only a body that runs can take it.
    #[error("question {question} asks for a secret, and nobody runs the session: resume it first")]
    SecretUnowned {
        /// The question.
        question: QuestionId,
    },
    /// The answer does not serialise.
    #[error("the answer does not serialise: {message}")]
    Encode {
        /// What is wrong.
        message: Arc<str>,
    },
    /// There is no such session.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// The store refused it.
    #[error("the answer was not recorded: {0}")]
    Store(#[source] AppendError),
    /// Another process owns the session and did not take it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// Why a cancellation was not taken.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// It has ended in another way.
    #[error("a session that is {state} cannot be cancelled")]
    Ended {
        /// The state.
        state: StateName,
    },
    /// There is no such session.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// The store refused it.
    #[error("the cancellation was not recorded: {0}")]
    Store(#[source] AppendError),
    /// Another process owns the session and did not take it.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// Why a session was not let go of.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// This process does not run it.
    #[error("this process does not run the session {0}")]
    NotHere(SessionId),
    /// Its results are not recorded: without its process it could not go on.
    #[error("the session {0} is not recorded: nobody could go on with it")]
    NotRecorded(SessionId),
    /// It has ended meanwhile.
    #[error("the session has ended: it is {state}")]
    Ended {
        /// The state.
        state: StateName,
    },
}

/// Why a session was not resumed, started or tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// It runs already, or is paused in a process that runs it.
    #[error("a session that is {state} and has an owner needs no resuming")]
    Owned {
        /// The state.
        state: StateName,
    },
    /// It has ended; `retry` makes another attempt of one that failed or was cancelled.
    #[error("a session that is {state} has ended; one that failed or was cancelled can be retried")]
    Ended {
        /// The state.
        state: StateName,
    },
    /// It has not failed and is not cancelled.
    #[error("a session that is {state} cannot be retried; one that failed or was cancelled can")]
    NotRetryable {
        /// The state.
        state: StateName,
    },
    /// Its body is not registered here.
    #[error("no body `{body}` of version {version} is registered{}", known(versions))]
    NoBody {
        /// The body.
        body: Arc<str>,
        /// The version with which the session began.
        version: u32,
        /// The versions that are registered.
        versions: Vec<u32>,
    },
    /// It was made from a closure that runs once.
    #[error("the session was made from a closure that runs once")]
    OnlyOnce,
    /// Its body does not take the recorded input.
    #[error("{0}")]
    Input(Arc<InputError>),
    /// It was started too often in a row without recording anything, and has failed by that.
    #[error("{starts} starts in a row recorded nothing new: the session has failed")]
    CrashLoop {
        /// The number of starts.
        starts: u32,
    },
    /// So many sessions are live, and more are refused.
    #[error("{limit} sessions are live, which is the limit")]
    TooManyLive {
        /// The limit.
        limit: usize,
    },
    /// The registry is going down.
    #[error("no more sessions are taken: {0}")]
    ShuttingDown(CancelInfo),
    /// There is no tokio runtime here.
    #[error("a session is resumed within a tokio runtime")]
    NoRuntime,
    /// There is no such session.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// What is stored of it is of another version or damaged.
    #[error("session {session} cannot be read: {message}")]
    Unreadable {
        /// The session.
        session: SessionId,
        /// What is wrong.
        message: Arc<str>,
    },
    /// The store refused it.
    #[error("the session was not claimed: {0}")]
    Store(#[source] AppendError),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Read(#[source] ReadError),
}

/// Why another process that owns a session did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// It could not be asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It answered with a refusal.
    #[error("its owner refused: {0}")]
    Refused(Arc<str>),
    /// It answered with something this version does not understand.
    #[error("its owner answered something unknown; is it of another version?")]
    Unknown,
    /// Its owner changed each time it was asked.
    #[error("its owner changes all the time")]
    Busy,
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Read(#[source] ReadError),
    /// What is stored of it is of another version or damaged.
    #[error("it cannot be read: {0}")]
    Unreadable(Arc<str>),
}

/// Why nothing is known of a session.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// There is none, or it was collected or pruned.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Read(#[source] ReadError),
    /// What is stored of it is of another version or damaged.
    #[error("session {session} cannot be read: {message}")]
    Unreadable {
        /// The session.
        session: SessionId,
        /// What is wrong.
        message: Arc<str>,
    },
}

/// Why there is no output.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The session failed.
    #[error("{0}")]
    Failed(#[source] Failure),
    /// The session was cancelled.
    #[error("the session was cancelled: {0}")]
    Cancelled(CancelInfo),
    /// Nobody runs it any more, here or elsewhere: it can be resumed.
    #[error("the session is suspended ({}); it can be resumed", .0.as_ref().map_or("paused", suspend_word))]
    Suspended(Option<SuspendCause>),
    /// The output is no value of the type that is wanted.
    #[error("the output of the session is no value of the type that is wanted: {message}")]
    Output {
        /// What is wrong.
        message: Arc<str>,
    },
    /// This process cannot tell: it has lost the session, or the store cannot be read.
    #[error("how the session ended is not known here: {0}")]
    Lost(#[source] AppendError),
    /// Nothing is known of it.
    #[error(transparent)]
    Get(#[from] GetError),
}

/// Why a body and a recorded session do not go together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The journal says something that the body has not called.
    #[error("the journal has {recorded}, and the body {found}")]
    Mismatch {
        /// What the journal has next.
        recorded: Arc<str>,
        /// What the body has called instead.
        found: Arc<str>,
    },
    /// The body went on without being given anything.
    #[error("the body awaits something that is no operation of its context: wrap that in `step`")]
    Foreign,
    /// The body panicked in replay.
    #[error("the body panicked: {0}")]
    Panicked(Arc<str>),
    /// The body does not take the recorded input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The session or its journal cannot be read.
    #[error(transparent)]
    Journal(#[from] Box<ResumeError>),
}

impl From<GetError> for ResumeError {
    fn from(error: GetError) -> Self {
        match error {
            GetError::NotFound(id) => Self::NotFound(id),
            GetError::Read(error) => Self::Read(error),
            GetError::Unreadable { session, message } => Self::Unreadable { session, message },
        }
    }
}

impl From<ReadError> for GetError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<GetError> for AnswerError {
    fn from(error: GetError) -> Self {
        match error {
            GetError::NotFound(id) => Self::NotFound(id),
            error => Self::Remote(error.into()),
        }
    }
}

impl From<GetError> for CancelError {
    fn from(error: GetError) -> Self {
        match error {
            GetError::NotFound(id) => Self::NotFound(id),
            error => Self::Remote(error.into()),
        }
    }
}

impl From<GetError> for RemoteError {
    fn from(error: GetError) -> Self {
        match error {
            GetError::Read(error) => Self::Read(error),
            error => Self::Unreadable(error.to_string().into()),
        }
    }
}

macro_rules! retryable {
    ($($error:ty: $this:ident => $is:expr;)*) => {
        $(impl Retryable for $error {
            fn is_retryable(&self) -> bool {
                let $this = self;
                $is
            }
        })*
    };
}

retryable! {
    OpenError: error => match error {
        Self::Respond(error) => error.is_retryable(),
        Self::Read(error) => error.is_retryable(),
        Self::Append(error) => error.is_retryable(),
    };
    SpawnError: error => match error {
        Self::TooManyLive { .. } => true,
        Self::Store(error) => error.is_retryable(),
        Self::Read(error) => error.is_retryable(),
        _ => false,
    };
    RegisterError: _error => false;
    AnswerError: error => match error {
        Self::SecretUnowned { .. } => true,
        Self::Store(error) => error.is_retryable(),
        Self::Remote(error) => error.is_retryable(),
        _ => false,
    };
    CancelError: error => match error {
        Self::Store(error) => error.is_retryable(),
        Self::Remote(error) => error.is_retryable(),
        _ => false,
    };
    ResumeError: error => match error {
        Self::TooManyLive { .. } => true,
        Self::Store(error) => error.is_retryable(),
        Self::Read(error) => error.is_retryable(),
        _ => false,
    };
    RemoteError: error => match error {
        Self::Busy => true,
        Self::Request(error) => error.is_retryable(),
        Self::Read(error) => error.is_retryable(),
        _ => false,
    };
    GetError: error => match error {
        Self::Read(error) => error.is_retryable(),
        _ => false,
    };
    RunError: error => match error {
        Self::Failed(failure) => failure.is_retryable(),
        Self::Suspended(_) => true,
        Self::Lost(error) => error.is_retryable(),
        Self::Get(error) => error.is_retryable(),
        _ => false,
    };
    VerifyError: error => match error {
        Self::Journal(error) => error.is_retryable(),
        _ => false,
    };
}

fn list(questions: &[QuestionId]) -> String {
    let mut text: Vec<String> = questions.iter().map(QuestionId::to_string).collect();
    let more = text.len().saturating_sub(8);
    text.truncate(8);
    if more > 0 {
        text.push(format!("and {more} more"));
    }
    text.join(", ")
}

fn known(versions: &[u32]) -> String {
    if versions.is_empty() {
        return String::new();
    }
    let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
    format!("; there is version {}", versions.join(", "))
}

fn suspend_word(cause: &SuspendCause) -> &'static str {
    match cause {
        SuspendCause::Interrupted => "its process was lost",
        SuspendCause::Shutdown => "its process went down",
        SuspendCause::Released => "it was given up for others",
        SuspendCause::Mismatch { .. } => "its body does not match its journal",
        SuspendCause::Answered => "it was answered",
        _ => "it waits",
    }
}
