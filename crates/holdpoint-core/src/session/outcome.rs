//! How a session ends: its completion or its failure, with what it used.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::cancel::CancelInfo;
use crate::clock::Timestamp;
use crate::error::{BoxError, Retryable, message_of};

/// What a body that returned `Ok` left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Completion {
    /// The output as JSON text, where the host serialises outputs. In memory the value itself
    /// is handed to whoever awaits it, and this is absent.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub output: Option<Arc<str>>,
    /// What its answers used; absent where nothing was asked.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub usage: Option<Arc<Usage>>,
}

/// Counters that came with answers, summed (SESS-013).
///
/// ```
/// use holdpoint_core::session::Usage;
///
/// let mut sum = Usage::default();
/// sum.add(&Usage { prompt_tokens: 10, completion_tokens: 2, ..Usage::default() });
/// sum.add(&Usage { prompt_tokens: 5, estimated: true, ..Usage::default() });
/// assert_eq!((sum.prompt_tokens, sum.completion_tokens, sum.estimated), (15, 2, true));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// Whether a part of it is an estimate.
    pub estimated: bool,
    /// Counters of the caller's own, by name.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "BTreeMap::is_empty"))]
    pub counters: BTreeMap<Arc<str>, u64>,
}

impl Usage {
    /// Adds `other`, saturating.
    pub fn add(&mut self, other: &Self) {
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(other.completion_tokens);
        self.estimated |= other.estimated;
        for (name, count) in &other.counters {
            let sum = self.counters.entry(Arc::clone(name)).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

/// Why a session failed.
///
/// Two failures are equal when cause, message and answer about a retry are; the error behind
/// one, kept for downcasting within the process, does not count and is not serialised.
#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Failure(Arc<Inner>);

#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Inner {
    #[cfg_attr(feature = "serde", serde(flatten))]
    cause: FailureCause,
    message: Arc<str>,
    retryable: bool,
    #[cfg_attr(feature = "serde", serde(skip))]
    source: Option<BoxError>,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "cause", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum FailureCause {
    /// The body returned an error.
    Error,
    /// The body panicked.
    Panic,
    /// A time limit passed.
    Timeout {
        /// When the limit passed.
        requested_at: Timestamp,
    },
    /// The session was started again and again and recorded nothing new.
    CrashLoop {
        /// How many starts in a row.
        starts: u32,
    },
}

impl Failure {
    /// The body returned `error`. The message is the chain of its sources, joined by `: `.
    #[must_use]
    pub fn from_error(error: impl Into<BoxError>, retryable: bool) -> Self {
        let error = error.into();
        let message = message_of(error.as_ref());
        Self::make(FailureCause::Error, message.into(), retryable, Some(error))
    }

    /// The body panicked with `message`.
    #[must_use]
    pub fn panic(message: impl Into<Arc<str>>) -> Self {
        Self::make(FailureCause::Panic, message.into(), false, None)
    }

    pub(super) fn timeout(cause: CancelInfo) -> Self {
        let message =
            if cause.text.is_empty() { Arc::from("a time limit passed") } else { cause.text };
        let requested_at = cause.requested_at;
        Self::make(FailureCause::Timeout { requested_at }, message, true, None)
    }

    pub(super) fn crash_loop(starts: u32) -> Self {
        let message = format!("{starts} starts in a row recorded nothing new").into();
        Self::make(FailureCause::CrashLoop { starts }, message, false, None)
    }

    fn make(
        cause: FailureCause,
        message: Arc<str>,
        retryable: bool,
        source: Option<BoxError>,
    ) -> Self {
        Self(Arc::new(Inner { cause, message, retryable, source }))
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn cause(&self) -> FailureCause {
        self.0.cause
    }

    /// What went wrong, in words.
    #[must_use]
    pub fn message(&self) -> &Arc<str> {
        &self.0.message
    }

    /// The body's own error, for downcasting: only in the process in which the body ran.
    #[must_use]
    pub fn body_error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }
}

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        let key = |failure: &Self| (failure.0.cause, failure.0.retryable);
        key(self) == key(other) && self.0.message == other.0.message
    }
}

impl Eq for Failure {}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("cause", &self.0.cause)
            .field("message", &self.0.message)
            .field("retryable", &self.0.retryable)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for Failure {
    /// What caused the body's error: its own message is part of this one's.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().and_then(Error::source)
    }
}

impl Retryable for Failure {
    fn is_retryable(&self) -> bool {
        self.0.retryable
    }
}
