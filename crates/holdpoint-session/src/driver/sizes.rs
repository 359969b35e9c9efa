//! How large what is kept may be. What is larger is refused where it comes from, with words that say
//! so, for an append that the store refuses would end the session's life in this process.

use std::sync::Arc;

use holdpoint_core::body::{OpError, Payload};
use holdpoint_core::session::{BodyEnd, Failure, FailureCause, QuestionKind};
use holdpoint_core::store::Write;
use holdpoint_core::{BoxError, CancelInfo, Retryable};

/// The most bytes of a result, which stands in its entry as it is.
const MAX_RESULT: usize = Write::MAX_PAYLOAD - (64 << 10);

/// The most bytes of a value that stands as text in an event or a snapshot: each may take two.
pub(crate) const MAX_VALUE: usize = 7 << 20;

/// The most bytes of a text: each may take six.
const MAX_TEXT: usize = 2 << 20;

/// The result of an operation, as it can be kept.
pub(crate) fn fitting(result: Result<Payload, OpError>) -> Result<Payload, OpError> {
    match result {
        Ok(value) if value.len() > MAX_RESULT => Err(too_large("result", value.len(), MAX_RESULT)),
        Ok(value) => Ok(value),
        Err(OpError::Failed { message, retryable }) => {
            Err(OpError::Failed { message: cut(&message).unwrap_or(message), retryable })
        }
        Err(OpError::Cancelled(cause)) => Err(OpError::Cancelled(fitting_cause(cause))),
        Err(error) => Err(error),
    }
}

/// Whether a question can be kept.
pub(crate) fn check_question(kind: &QuestionKind, prompt: &str) -> Result<(), OpError> {
    let options = match kind {
        QuestionKind::Choice { options } => options.iter().map(|option| option.len()).sum(),
        _ => 0,
    };
    let size = prompt.len() + options;
    if size > MAX_TEXT { Err(too_large("question", size, MAX_TEXT)) } else { Ok(()) }
}

/// The end of a body, as it can be kept.
pub(crate) fn fitting_end(end: BodyEnd) -> BodyEnd {
    match end {
        BodyEnd::Ok(completion) => match &completion.output {
            Some(output) if output.len() > MAX_VALUE => {
                let text = format!("its output {}", of_size(output.len(), MAX_VALUE));
                BodyEnd::Failed(Failure::from_error(text, false))
            }
            _ => BodyEnd::Ok(completion),
        },
        BodyEnd::Failed(failure) => BodyEnd::Failed(match cut(failure.message()) {
            None => failure,
            Some(text) if failure.cause() == FailureCause::Panic => Failure::panic(text),
            Some(text) => Failure::from_error(BoxError::from(text), failure.is_retryable()),
        }),
        BodyEnd::Cancelled(cause) => BodyEnd::Cancelled(fitting_cause(cause)),
    }
}

/// A cause, as it can be kept.
pub(crate) fn fitting_cause(cause: CancelInfo) -> CancelInfo {
    match cut(&cause.text) {
        Some(text) => CancelInfo { text: Arc::from(text), ..cause },
        None => cause,
    }
}

fn too_large(what: &str, size: usize, limit: usize) -> OpError {
    let message = format!("its {what} {}", of_size(size, limit));
    OpError::Failed { message, retryable: false }
}

fn of_size(size: usize, limit: usize) -> String {
    format!("has {size} bytes, and at most {limit} can be kept")
}

/// The beginning of a text that is too long to be kept.
fn cut(text: &str) -> Option<String> {
    if text.len() <= MAX_TEXT {
        return None;
    }
    let mut end = MAX_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Some(format!("{}...", &text[..end]))
}
