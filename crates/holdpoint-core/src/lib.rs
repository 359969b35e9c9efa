//! What the Holdpoint engines share: ids, names, session states, events, errors,
//! cancellation with a cause, and the clock.
//!
//! Everything here is plain data and total functions. The crate has no runtime, opens no
//! file and starts no thread. Three features add the pieces that do need a library:
//! `serde` (events, states and names serialise), `body` (what bodies of sessions are written
//! with) and `tokio` ([`Cancel`], and a [`SystemClock`] that follows tokio's paused time).
//!
//! Reading order: [`name`], [`id`], [`clock`], [`cancel`], [`session`], [`event`], [`store`],
//! [`body`].
//!
//! ```
//! use holdpoint_core::{Name, TaskName};
//!
//! let task: TaskName = "app:build".parse()?;
//! assert_eq!(task.task(), &"build".parse::<Name>()?);
//! # Ok::<(), holdpoint_core::NameError>(())
//! ```

pub mod backoff;
pub mod body;
pub mod cancel;
pub mod clock;
pub mod error;
pub mod event;
pub mod id;
pub mod name;
mod rfc3339;
pub mod session;
pub mod store;
#[cfg(test)]
mod tests;

pub use backoff::{Backoff, BackoffError};
#[cfg(feature = "tokio")]
pub use cancel::Cancel;
pub use cancel::{CancelCode, CancelInfo};
#[cfg(feature = "test-util")]
pub use clock::ManualClock;
pub use clock::{Clock, Monotonic, Now, ParseTimestampError, SystemClock, Timestamp};
pub use error::{BoxError, Retryable};
pub use event::{Event, EventKind, EventSink, Sequencer, Stream};
pub use id::{BatchId, ParseBatchIdError, ParseSessionIdError, SessionId};
pub use name::{Name, NameError, TaskName};
pub use session::{SessionMachine, SessionState};
