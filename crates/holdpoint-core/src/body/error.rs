//! What goes wrong in a body: what its effects return, what its operations answer, and how the
//! session ends by it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::port::{Kind, OpError};
use crate::cancel::CancelInfo;
use crate::error::{BoxError, Retryable, message_of};
use crate::session::{BodyEnd, Completion, Failure};

/// What an operation of a body answers instead of its result.
///
/// Errors are recorded as text, and no host gives back what was not recorded: an effect's own
/// error type ends here, in memory too. An error that the body decides by is a value: let the
/// effect return `Ok(Err(mine))`, with a `T` of `Result<V, MyError>`.
///
/// What went wrong is the error's source, so that a chain reads
/// ``step `charge` failed: card declined``.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The session was asked to stop. Return it, and the session ends cancelled.
    #[error("the session was asked to stop")]
    Cancelled(#[source] CancelInfo),
    /// The operation failed: an effect in its last attempt, a child, a question.
    #[error("{operation} failed")]
    Failed {
        /// Kind and name, as in ``step `charge` ``.
        operation: String,
        /// What went wrong.
        #[source]
        fault: Fault,
    },
    /// The last attempt of a step took longer than it may. It may succeed another time.
    #[error("{operation} took longer than {after:?}")]
    TimedOut {
        /// Kind and name.
        operation: String,
        /// The limit.
        after: Duration,
    },
    /// The operation was called or awaited where it cannot be: in an effect, or in a task that the
    /// body spawned. It is taken back.
    #[error("{operation} is called in the wrong place")]
    Misplaced {
        /// Kind and name.
        operation: String,
        /// What to do instead.
        #[source]
        fault: Fault,
    },
    /// What was recorded or answered is no value of the type that the body wants.
    #[error("the result of {operation} is no value of the type that is wanted")]
    Decode {
        /// Kind and name.
        operation: String,
        /// What serde says.
        #[source]
        fault: Fault,
    },
    /// What the body gives away does not serialise: a child's input, progress. Where it is an
    /// effect's result, the step has [failed](Self::Failed) instead.
    #[error("{operation} has a value that does not serialise")]
    Encode {
        /// Kind and name.
        operation: String,
        /// What serde says.
        #[source]
        fault: Fault,
    },
}

/// What went wrong, as text: all that is left of an error that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    message: String,
    retryable: bool,
}

/// What an effect returns when it failed.
///
/// Every error converts into it by `?` and may pass by itself: the step's next attempt is made,
/// where it has one. [`terminal`](Self::terminal) says that no attempt can succeed. An error that
/// has a [`CancelInfo`] among its sources says that the effect was cancelled, and the step answers
/// [`BodyError::Cancelled`].
///
/// It is no error itself, or else no error could convert into it; what is no `std` error either,
/// such as `anyhow::Error`, goes through [`new`](Self::new).
///
/// ```
/// use holdpoint_core::body::StepFailure;
///
/// fn parse(text: &str) -> Result<u64, StepFailure> {
///     if text.is_empty() {
///         return Err(StepFailure::terminal("there is nothing to parse"));
///     }
///     Ok(text.parse()?)
/// }
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// assert!(!parse("").unwrap_err().is_retryable());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    error: OpError,
}

/// A failure that no repetition mends. A body that returns it, wherever in the chain of its error,
/// leaves a session that failed for good.
///
/// ```
/// use holdpoint_core::body::Terminal;
///
/// fn check(amount: i64) -> Result<(), Terminal> {
///     if amount < 0 { Err(Terminal::new("the amount is negative")) } else { Ok(()) }
/// }
/// assert_eq!(check(-1).unwrap_err().to_string(), "permanent failure");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("permanent failure")]
pub struct Terminal(#[source] Permanent);

/// What is found in the chain of an error also where its head is hidden, as by `anyhow`.
#[derive(Debug)]
struct Permanent(BoxError);

/// What a body's result makes of its session (SESS-008).
///
/// An error that has a [`CancelInfo`] among its sources, as [`BodyError::Cancelled`] does, says
/// that the body was cancelled: by the cause that it was `told`, where it was told one. Any other
/// error is a failure. Doing the same again may mend it, unless a [`Terminal`] or a [`BodyError`]
/// in the chain says otherwise.
///
/// ```
/// use holdpoint_core::body::{Terminal, body_end};
/// use holdpoint_core::session::{BodyEnd, Completion};
/// use holdpoint_core::Retryable;
///
/// assert_eq!(body_end(Ok(Completion::default()), None), BodyEnd::Ok(Completion::default()));
/// let BodyEnd::Failed(failure) = body_end(Err(Terminal::new("no such card").into()), None) else {
///     panic!("it failed");
/// };
/// assert_eq!(&**failure.message(), "permanent failure: no such card");
/// assert!(!failure.is_retryable());
/// ```
#[must_use]
pub fn body_end(result: Result<Completion, BoxError>, told: Option<&CancelInfo>) -> BodyEnd {
    let error = match result {
        Ok(completion) => return BodyEnd::Ok(completion),
        Err(error) => error,
    };
    if let Some(cause) = cause_in(error.as_ref()) {
        return BodyEnd::Cancelled(told.unwrap_or(cause).clone());
    }
    let retryable = is_retryable(error.as_ref());
    BodyEnd::Failed(Failure::from_error(error, retryable))
}

impl BodyError {
    /// The operation, kind and name, as in ``step `charge` ``; none where the session was
    /// cancelled.
    #[must_use]
    pub fn operation(&self) -> Option<&str> {
        match self {
            Self::Cancelled(_) => None,
            Self::Failed { operation, .. }
            | Self::TimedOut { operation, .. }
            | Self::Misplaced { operation, .. }
            | Self::Decode { operation, .. }
            | Self::Encode { operation, .. } => Some(operation),
        }
    }

    /// The cause, where the session was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> Option<&CancelInfo> {
        match self {
            Self::Cancelled(cause) => Some(cause),
            _ => None,
        }
    }

    /// What the operation of this kind and name answers when its port says `error`.
    #[must_use]
    pub fn of_operation(kind: Kind, name: &str, error: OpError) -> Self {
        let operation = label(kind, name);
        match error {
            OpError::Cancelled(cause) => Self::Cancelled(cause),
            OpError::Failed { message, retryable } => {
                Self::Failed { operation, fault: Fault::new(message, retryable) }
            }
            OpError::TimedOut { after } => Self::TimedOut { operation, after },
            OpError::Misplaced => Self::misplaced(operation),
        }
    }

    pub(super) fn misplaced(operation: String) -> Self {
        const REMEDY: &str = "call and await it in the body itself, several at once by `join!` or \
                              `FuturesUnordered` instead of spawned tasks; what an effect found \
                              out is its return value";
        Self::Misplaced { operation, fault: Fault::new(REMEDY, false) }
    }

    #[cfg(feature = "body")]
    pub(super) fn misplaced_request() -> Self {
        const REMEDY: &str = "await it in an effect; in the body, operations answer that the \
                              session was asked to stop";
        let operation = "cancel_requested".to_owned();
        Self::Misplaced { operation, fault: Fault::new(REMEDY, false) }
    }
}

impl Retryable for BodyError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Failed { fault, .. } => fault.retryable,
            Self::TimedOut { .. } => true,
            Self::Cancelled(_)
            | Self::Misplaced { .. }
            | Self::Decode { .. }
            | Self::Encode { .. } => false,
        }
    }
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, retryable: bool) -> Self {
        Self { message: message.into(), retryable }
    }

    /// What went wrong, with all that led to it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Retryable for Fault {
    fn is_retryable(&self) -> bool {
        self.retryable
    }
}

impl StepFailure {
    /// A failure that may pass by itself: of a text, of any error, or of a boxed one.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        let error = error.into();
        let retryable = is_retryable(error.as_ref());
        Self::of(error.as_ref(), retryable)
    }

    /// A failure that no further attempt mends.
    #[must_use]
    pub fn terminal(error: impl Into<BoxError>) -> Self {
        Self::of(error.into().as_ref(), false)
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &self.error {
            OpError::Failed { retryable, .. } => *retryable,
            OpError::TimedOut { .. } => true,
            OpError::Cancelled(_) | OpError::Misplaced => false,
        }
    }

    fn of(error: &(dyn Error + 'static), retryable: bool) -> Self {
        let error = match cause_in(error) {
            Some(cause) => OpError::Cancelled(cause.clone()),
            None => OpError::Failed { message: message_of(error), retryable },
        };
        Self { error }
    }

    #[cfg(feature = "body")]
    pub(super) fn timed_out(after: Duration) -> Self {
        Self { error: OpError::TimedOut { after } }
    }

    #[cfg(feature = "body")]
    pub(super) fn into_op_error(self) -> OpError {
        self.error
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for StepFailure {
    fn from(error: E) -> Self {
        let retryable = is_retryable(&error);
        Self::of(&error, retryable)
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            OpError::Cancelled(cause) => write!(f, "cancelled: {cause}"),
            OpError::Failed { message, .. } => f.write_str(message),
            OpError::TimedOut { after } => write!(f, "took longer than {after:?}"),
            OpError::Misplaced => f.write_str("called outside of the body's own code"),
        }
    }
}

impl Terminal {
    /// The permanent failure of a text, of any error, or of a boxed one.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(Permanent(error.into()))
    }

    /// The error itself, for downcasting.
    #[must_use]
    pub fn into_inner(self) -> BoxError {
        self.0.0
    }
}

impl Retryable for Terminal {
    /// Never.
    fn is_retryable(&self) -> bool {
        false
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Permanent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// An operation as errors name it.
pub(super) fn label(kind: Kind, name: &str) -> String {
    format!("{kind} `{name}`")
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn cause_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CancelInfo> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The first in the chain that knows decides. Only types below the head can be relied on: what
/// wraps an error by type, as `anyhow` does, hides the head's own.
fn is_retryable(error: &(dyn Error + 'static)) -> bool {
    let known = chain(error).find_map(|error| {
        if error.is::<Permanent>() || error.is::<Terminal>() {
            return Some(false);
        }
        let by_body = error.downcast_ref::<BodyError>().map(Retryable::is_retryable);
        by_body.or_else(|| error.downcast_ref::<Fault>().map(Retryable::is_retryable))
    });
    known.unwrap_or(true)
}
