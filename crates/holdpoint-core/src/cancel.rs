//! Cancellation with a cause (CORE-007).

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;

/// Who or what asked for the cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum CancelCode {
    /// A person or the caller's code.
    User,
    /// A time limit.
    Timeout,
    /// The work this belongs to was cancelled.
    Parent,
    /// The process is going down.
    Shutdown,
    /// A rule of the engine, such as fail-fast.
    Internal,
}

impl fmt::Display for CancelCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Timeout => "timeout",
            Self::Parent => "parent",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        })
    }
}

/// The cause of a cancellation: code, text and the time it was requested.
///
/// ```
/// use holdpoint_core::{CancelCode, CancelInfo, Timestamp};
///
/// let cause = CancelInfo::new(CancelCode::User, "changed my mind", Timestamp::from_micros(7));
/// assert_eq!(cause.to_string(), "user: changed my mind");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CancelInfo {
    /// Who asked. Serialised as `cause`, the word for it in every event and report.
    #[cfg_attr(feature = "serde", serde(rename = "cause"))]
    pub code: CancelCode,
    /// Why, in words.
    pub text: Arc<str>,
    /// When it was requested.
    pub requested_at: Timestamp,
}

impl CancelInfo {
    /// A cause with its parts.
    #[must_use]
    pub fn new(code: CancelCode, text: impl Into<Arc<str>>, requested_at: Timestamp) -> Self {
        Self { code, text: text.into(), requested_at }
    }
}

impl fmt::Display for CancelInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            write!(f, "{}", self.code)
        } else {
            write!(f, "{}: {}", self.code, self.text)
        }
    }
}

/// An error that has it among its sources says that something was cancelled, and by what.
impl std::error::Error for CancelInfo {}

#[cfg(feature = "tokio")]
pub use token::Cancel;

#[cfg(feature = "tokio")]
mod token {
    use super::{CancelCode, CancelInfo};
    use crate::clock::Timestamp;
    use std::sync::{Arc, OnceLock};
    use std::time::SystemTime;
    use tokio_util::sync::CancellationToken;

    /// A cancellation token that carries its cause. Tokens form a tree.
    ///
    /// Cancelling reaches every token below and none above or beside. The first cause is kept:
    /// later calls change nothing. A clone is the same token.
    ///
    /// # Invariants
    /// 1. A node's own cause is set before its token fires.
    /// 2. A node's cause, once read as some value, is never another.
    ///
    /// ```
    /// use holdpoint_core::{Cancel, CancelCode};
    ///
    /// let run = Cancel::new();
    /// let (one, two) = (run.child(), run.child());
    /// one.cancel(CancelCode::User, "not needed");
    /// assert!(one.is_cancelled() && !two.is_cancelled() && !run.is_cancelled());
    /// run.cancel(CancelCode::Shutdown, "");
    /// assert_eq!(one.cause().unwrap().code, CancelCode::User);
    /// assert_eq!(two.cause().unwrap().code, CancelCode::Shutdown);
    /// ```
    #[derive(Debug, Clone, Default)]
    pub struct Cancel(Arc<Node>);

    #[derive(Debug, Default)]
    struct Node {
        token: CancellationToken,
        cause: OnceLock<CancelInfo>,
        parent: Option<Cancel>,
    }

    impl Cancel {
        /// A token with nothing above it.
        #[must_use]
        pub fn new() -> Self {
            Self::default()
        }

        /// A token that is cancelled with this one, and that can be cancelled alone.
        #[must_use]
        pub fn child(&self) -> Self {
            Self(Arc::new(Node {
                token: self.0.token.child_token(),
                cause: OnceLock::new(),
                parent: Some(self.clone()),
            }))
        }

        /// Requests cancellation now. Returns whether this call gave the cause.
        pub fn cancel(&self, code: CancelCode, text: impl Into<Arc<str>>) -> bool {
            self.cancel_with(CancelInfo::new(code, text, Timestamp::from(SystemTime::now())))
        }

        /// Requests cancellation with a ready cause. Returns whether this call gave the cause.
        pub fn cancel_with(&self, cause: CancelInfo) -> bool {
            // Adopts a cause from above first, so that a late call cannot replace it.
            let first = self.cause().is_none() && self.0.cause.set(cause).is_ok();
            self.0.token.cancel();
            first
        }

        /// The first cause given to this token or, where none was, to one above it.
        #[must_use]
        pub fn cause(&self) -> Option<&CancelInfo> {
            if let Some(own) = self.0.cause.get() {
                return Some(own);
            }
            let mut above = self.0.parent.as_ref();
            while let Some(node) = above {
                if let Some(cause) = node.0.cause.get() {
                    return Some(self.0.cause.get_or_init(|| cause.clone()));
                }
                above = node.0.parent.as_ref();
            }
            None
        }

        /// Whether cancellation was requested here or above.
        #[must_use]
        pub fn is_cancelled(&self) -> bool {
            self.0.token.is_cancelled()
        }

        /// Waits for the request and returns its cause.
        ///
        /// # Cancel safety
        /// Dropping the future loses nothing; a later call answers at once.
        pub async fn cancelled(&self) -> CancelInfo {
            self.0.token.cancelled().await;
            match self.cause() {
                Some(cause) => cause.clone(),
                // Reached only where somebody fired the bare token of `token()`.
                None => self
                    .0
                    .cause
                    .get_or_init(|| {
                        CancelInfo::new(CancelCode::User, "", Timestamp::from(SystemTime::now()))
                    })
                    .clone(),
            }
        }

        /// The bare tokio-util token, for code that knows nothing of Holdpoint. Firing it
        /// cancels with code `user` and no text.
        #[must_use]
        pub fn token(&self) -> CancellationToken {
            self.0.token.clone()
        }
    }
}
