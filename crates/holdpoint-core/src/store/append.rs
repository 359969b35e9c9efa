//! What is written, and under which condition.

use super::error::AppendError;
use super::ticket::Ticket;
use crate::event::{Event, Stream};
use crate::session::StateName;

/// A write to one stream. Borrowed: a store that keeps nothing copies nothing.
///
/// ```
/// use holdpoint_core::event::{Event, EventKind, Stream};
/// use holdpoint_core::session::StateName;
/// use holdpoint_core::store::{Fence, Snapshot, Write};
/// use holdpoint_core::{SessionId, Timestamp};
///
/// let stream = Stream::Session(SessionId::generate());
/// let planned = EventKind::SessionPlanned { attempt: 1 };
/// let event = Event::new(1, Timestamp::from_micros(0), stream.clone(), planned);
/// let write = Write::new(&stream, Fence::New)
///     .events(std::slice::from_ref(&event))
///     .snapshot(Snapshot { state: StateName::Planned, data: b"{}" })
///     .key("pr-42");
/// assert_eq!(write.key, Some("pr-42"));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Write<'a> {
    /// To which stream.
    pub stream: &'a Stream,
    /// What must be true of it, and who owns it after.
    pub fence: Fence,
    /// Whether the stream is without owner after this write. Default: no.
    pub release: bool,
    /// The next events, numbered on from the last one. Default: none; a new stream has at least
    /// one.
    pub events: &'a [Event],
    /// The next entries of the journal, opaque to the store, each at most
    /// [`MAX_PAYLOAD`](Self::MAX_PAYLOAD) bytes. Default: none.
    pub journal: &'a [&'a [u8]],
    /// The state after these events. Default: as it was; a new stream without one is Planned.
    pub snapshot: Option<Snapshot<'a>>,
    /// Of a new session: the idempotency key under which it is found again. Default: none.
    pub key: Option<&'a str>,
    /// Of a new stream: what it is, for lists, such as the name of its body. Default: empty.
    pub label: &'a str,
}

/// The state of a stream after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot<'a> {
    /// The state's name. A terminal one ends the stream, until a retry leads out of it.
    pub state: StateName,
    /// All there is to restore it from, opaque to the store.
    pub data: &'a [u8],
}

/// What must be true of a stream for a write to be accepted, and who owns the stream after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fence {
    /// The stream does not exist. Nobody owns it after; a schedule belongs to the scheduling
    /// owner, who alone may create it.
    New,
    /// The stream does not exist. This instance owns it after, under epoch 1. Not for schedules.
    NewOwned,
    /// The stream's last epoch is `epoch`, and no living instance owns it. This instance owns it
    /// after, under `epoch + 1`. Not for schedules.
    ///
    /// The epoch alone does not say that a snapshot read before is still the last one: its owner
    /// may have written and let go since, under the same epoch. So read
    /// [`info`](super::Store::info) before the snapshot, and let the claim bring an event: its
    /// number is refused where another was written meanwhile.
    Claim {
        /// The epoch that was seen.
        epoch: u64,
    },
    /// This instance owns the stream under this epoch, or, for a schedule, all schedules.
    Owned {
        /// The epoch of the claim.
        epoch: u64,
    },
}

impl<'a> Write<'a> {
    /// The most bytes of a single journal entry, snapshot or event: 16 MiB.
    pub const MAX_PAYLOAD: usize = 16 << 20;

    /// A write that changes nothing but the owner, as `fence` says.
    #[must_use]
    pub const fn new(stream: &'a Stream, fence: Fence) -> Self {
        Self {
            stream,
            fence,
            release: false,
            events: &[],
            journal: &[],
            snapshot: None,
            key: None,
            label: "",
        }
    }

    /// The same with these events.
    #[must_use]
    pub const fn events(mut self, events: &'a [Event]) -> Self {
        self.events = events;
        self
    }

    /// The same with these entries of the journal.
    #[must_use]
    pub const fn journal(mut self, entries: &'a [&'a [u8]]) -> Self {
        self.journal = entries;
        self
    }

    /// The same with a new state.
    #[must_use]
    pub const fn snapshot(mut self, snapshot: Snapshot<'a>) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// The same, and the owner lets go.
    #[must_use]
    pub const fn release(mut self) -> Self {
        self.release = true;
        self
    }

    /// The same under an idempotency key.
    #[must_use]
    pub const fn key(mut self, key: &'a str) -> Self {
        self.key = Some(key);
        self
    }

    /// The same with a label.
    #[must_use]
    pub const fn label(mut self, label: &'a str) -> Self {
        self.label = label;
        self
    }
}

/// How [`Store::append`](super::Store::append) answers.
#[derive(Debug)]
#[must_use = "a record counts only when it is acknowledged"]
pub enum Appended {
    /// It is kept.
    Acked(Commit),
    /// It will be kept, or not: the ticket tells.
    Pending(Ticket<Result<Commit, AppendError>>),
}

impl Appended {
    /// Blocks the thread until it is decided.
    ///
    /// # Errors
    /// Whatever the append ended with.
    pub fn wait(self) -> Result<Commit, AppendError> {
        match self {
            Self::Acked(commit) => Ok(commit),
            Self::Pending(ticket) => ticket.wait(),
        }
    }

    /// Waits until it is decided. Dropping the future does not withdraw the append.
    ///
    /// # Errors
    /// Whatever the append ended with.
    pub async fn acked(self) -> Result<Commit, AppendError> {
        match self {
            Self::Acked(commit) => Ok(commit),
            Self::Pending(ticket) => ticket.await,
        }
    }
}

/// Where an acknowledged append lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// A position that is not before its last event: who has read all events up to it has read
    /// these.
    pub pos: u64,
}

impl Commit {
    /// A commit at a position. For implementations of the port.
    #[must_use]
    pub const fn at(pos: u64) -> Self {
        Self { pos }
    }
}
