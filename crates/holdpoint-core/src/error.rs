//! What every error of the engines has in common (CORE-009).

use std::error::Error;

/// Any error of a caller's own code: bodies and tasks may return whatever converts into it.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Whether doing the same thing again may succeed.
///
/// Every error enum of the engines answers this, so that callers need not match on variants
/// to decide about a retry.
///
/// ```
/// use holdpoint_core::{Name, Retryable};
///
/// let error = "".parse::<Name>().unwrap_err();
/// assert!(!error.is_retryable());
/// ```
pub trait Retryable: Error {
    /// True where the cause may pass by itself: a full queue, a busy file, an interrupted call.
    fn is_retryable(&self) -> bool;
}

/// An error as one text: its own message and those of its sources, joined by `: `.
pub(crate) fn message_of(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        message.push_str(": ");
        message.push_str(&next.to_string());
        source = next.source();
    }
    message
}
