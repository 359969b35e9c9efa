//! Why something was not written, and why something cannot be read.

use std::sync::Arc;

use super::ticket::Abandoned;
use crate::error::Retryable;
use crate::event::Stream;
use crate::session::Owner;

/// Why an append was refused or failed. Nothing of it was written.
///
/// An error is told to everybody whose write it hit, hence `Clone`.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// This instance does not own the stream under this epoch, or not any more (STORE-008). Stop
    /// what runs it.
    #[error("{stream} is no longer owned by this process under epoch {epoch}")]
    LostOwnership {
        /// The stream.
        stream: Stream,
        /// The epoch of the write.
        epoch: u64,
    },
    /// A claim came too late: a living instance owns the stream, or all schedules.
    #[error("{what} already has an owner (instance {}{})", owner.instance, process(*pid))]
    Owned {
        /// What was claimed: the stream's name, or "the scheduling of this store".
        what: Arc<str>,
        /// The owner.
        owner: Owner,
        /// The owner's process, where it is known.
        pid: Option<u32>,
    },
    /// A claim came too late: somebody else has claimed the stream since its epoch was read.
    #[error("{stream} was claimed by somebody else meanwhile: its epoch is {current}")]
    EpochPassed {
        /// The stream.
        stream: Stream,
        /// The epoch of its last claim.
        current: u64,
    },
    /// A new stream exists already.
    #[error("{stream} exists already")]
    Exists {
        /// The stream.
        stream: Stream,
    },
    /// A session was planned under this idempotency key before (SESS-019).
    #[error("the key {key:?} belongs to {stream}")]
    KeyTaken {
        /// The key.
        key: Arc<str>,
        /// The session that has it.
        stream: Stream,
    },
    /// There is no such stream.
    #[error("there is no {stream}")]
    NotFound {
        /// The stream.
        stream: Stream,
    },
    /// The events do not follow the last one.
    #[error("{stream} has its next event at number {expected}, not {found}")]
    OutOfOrder {
        /// The stream.
        stream: Stream,
        /// The number that comes next.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The write makes no sense for this kind of stream, or lacks what it must have.
    #[error("{stream}: {what}")]
    Unsuitable {
        /// The stream.
        stream: Stream,
        /// What is wrong.
        what: &'static str,
    },
    /// A payload is too large.
    #[error("a payload of {size} bytes for {stream} is above the limit of {limit}")]
    TooLarge {
        /// The stream.
        stream: Stream,
        /// Its size.
        size: usize,
        /// The most.
        limit: usize,
    },
    /// What is stored of the stream is damaged; see `holdpoint store check`.
    #[error("{stream} is damaged at event {seq}")]
    Corrupt {
        /// The stream.
        stream: Stream,
        /// The first event that cannot be trusted.
        seq: u64,
    },
    /// Another program keeps the database locked.
    #[error("another program keeps the store locked")]
    Busy,
    /// This write failed: a full disk, an error of the device. What is on the disk of it counts
    /// as not written. This instance writes no more; reads go on. Reopening is all the repair
    /// there is to do (STORE-003).
    #[error("the store cannot be written: {message}")]
    Io {
        /// What could not be done.
        message: Arc<str>,
        /// The system's own word.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// An earlier write failed, and this instance writes no more. Reopen the store.
    #[error("the store takes no more writes since an earlier one failed: {message}")]
    Poisoned {
        /// What failed then.
        message: Arc<str>,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl AppendError {
    /// Whether this instance cannot write any more, whatever the stream.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Poisoned { .. } | Self::Closed)
    }
}

impl Retryable for AppendError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy)
    }
}

impl Abandoned for AppendError {
    fn abandoned() -> Self {
        Self::Closed
    }
}

/// Why something cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such stream, or it was pruned.
    #[error("there is no {stream}")]
    NotFound {
        /// The stream.
        stream: Stream,
    },
    /// Earlier events are no longer kept.
    #[error("{stream} keeps its events only from number {first} on")]
    Gap {
        /// The stream.
        stream: Stream,
        /// The first that is kept.
        first: u64,
    },
    /// What is stored is not what was written (STORE-005). What comes before was served.
    #[error("{stream} is damaged at event {seq}: run `holdpoint store check`")]
    Corrupt {
        /// The stream.
        stream: Stream,
        /// The first event that cannot be trusted.
        seq: u64,
    },
    /// The file as a whole is damaged, so that nothing can be said of a single stream.
    #[error("the store is damaged: {message}; run `holdpoint store check`")]
    Damaged {
        /// What was found.
        message: Arc<str>,
    },
    /// The file could not be read.
    #[error("the store cannot be read: {message}")]
    Io {
        /// What could not be done.
        message: Arc<str>,
        /// The system's own word.
        #[source]
        source: Arc<std::io::Error>,
    },
}

impl Retryable for ReadError {
    fn is_retryable(&self) -> bool {
        false
    }
}

pub(super) fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", process {pid}"))
}
