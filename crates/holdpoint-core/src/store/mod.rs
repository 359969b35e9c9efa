//! The store port: where streams of events, journals and the state of sessions are kept
//! (STORE-001).
//!
//! A *stream* is the life of one session, schedule or batch. It has events, numbered densely from
//! 1, a journal of opaque records, numbered the same way apart, and one snapshot, the last state.
//! A stream that is being run has exactly one *owner*: an instance, that is, an open store of a
//! living process, under an epoch (STORE-007). Only the owner appends (STORE-008).
//!
//! Two kinds of things are written. A *record* must be on disk before anybody sees its effect:
//! [`Store::append`]. A *note* is never waited for and rides in the commit of the next record:
//! [`Store::note`] (STORE-011). Both get their number in one order, given by the owner: the store
//! refuses an event that does not follow the last one.
//!
//! Reading order: [`Write`] and [`Fence`], [`Appended`] and [`Ticket`], [`Store`], then
//! [`StreamInfo`], and [`Responder`] for what goes between processes.
//!
//! The port leaks nothing of how it is kept: no SQL, no file. Its calls are plain functions; what
//! takes time hands out a [`Ticket`], which is a future and can also be waited for by a thread.

mod append;
mod changes;
mod error;
mod read;
mod request;
mod ticket;

use std::fmt;
use std::sync::Arc;

pub use append::{Appended, Commit, Fence, Snapshot, Write};
pub use changes::{Changes, ChangesSender};
pub use error::{AppendError, ReadError};
pub use read::{
    Decode, Filter, JournalEntry, Keep, StoredEvent, StoredSnapshot, StreamInfo, StreamKind,
};
pub use request::{Reply, RequestError, Responder};
pub use ticket::{Abandoned, Completer, Ticket, ticket};

use crate::event::{Event, Stream};
use crate::session::Owner;

/// A place where streams are kept. One port, several implementations, all of which pass one
/// conformance suite.
///
/// Every call may be made from any thread and returns soon; only reads from a file may take as
/// long as the file system does.
///
/// # Ownership
/// An opened store is an *instance*, with a number that no other ever has. Streams of sessions and
/// batches are owned each for itself, by the [`Fence`] of what is written. Schedules are owned all
/// together, by [`claim_schedules`](Self::claim_schedules): a store has at most one scheduling
/// owner (TIME-014).
///
/// # One decider
/// Only the owner decides about what it owns (STORE-009). Whoever wants something of a stream
/// asks its owner by [`request`](Self::request); where no living owner exists, the asker claims the stream,
/// decides by the same machine on the stored state, commits, and releases it in the same write.
pub trait Store: Send + Sync + fmt::Debug {
    /// Whether what is acknowledged outlasts the process. Where it does not, nothing need be
    /// serialised: journals and snapshots may be left out.
    fn is_durable(&self) -> bool;

    /// The number of this instance. Numbers rise with the time of opening, and none comes again.
    fn instance(&self) -> u64;

    /// Writes records: all of `writes` in one transaction, or none.
    ///
    /// Refusals that need no look at the store come back at once, all others through the ticket.
    /// What was refused changed nothing. Calls of one thread are carried out in their order.
    ///
    /// Dropping the ticket does not withdraw the write.
    ///
    /// # Errors
    /// [`AppendError`]; after [`is_final`](AppendError::is_final) ones this instance cannot write
    /// any more, and what it owned counts as without owner.
    fn append(&self, writes: &[Write<'_>]) -> Result<Appended, AppendError>;

    /// Notes events of a stream that this instance owns under `epoch`. They are kept in memory and
    /// written with the next record of any stream, or when the store is closed; they are lost when
    /// the process is killed before.
    ///
    /// # Errors
    /// [`AppendError::Poisoned`] and [`AppendError::Closed`], so that an owner learns in time that
    /// its words are lost, and what can be said of the events alone: too large, another stream's,
    /// not numbered one after the other. A note of a stream that is lost is dropped.
    fn note(&self, stream: &Stream, epoch: u64, events: &[Event]) -> Result<(), AppendError>;

    /// Takes all schedules of the store, to be held until the store is closed.
    ///
    /// # Errors
    /// Through the ticket: [`AppendError::Owned`] with the living owner.
    fn claim_schedules(&self) -> Result<Ticket<Result<Owner, AppendError>>, AppendError>;

    /// Events of a stream in order, those after number `after`, at most `limit` of them. Empty at
    /// the end. Notes that are not written yet are not among them.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] where the next event is damaged: nothing past it is served
    /// (STORE-005). [`ReadError::Gap`] where the next event is no longer kept.
    fn events(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, ReadError>;

    /// Events of all streams in the order of their [`pos`](StoredEvent::pos), those after position
    /// `after`, at most `limit` of them (CORE-006).
    ///
    /// # Errors
    /// As [`events`](Self::events).
    fn all_events(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError>;

    /// Entries of a stream's journal in order, those after number `after`, at most `limit` of them.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    fn journal(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, ReadError>;

    /// The last snapshot of a stream, `None` where none was ever written.
    ///
    /// # Errors
    /// [`ReadError::NotFound`], [`ReadError::Corrupt`].
    fn snapshot(&self, stream: &Stream) -> Result<Option<StoredSnapshot>, ReadError>;

    /// What is known of one stream.
    ///
    /// # Errors
    /// [`ReadError::NotFound`], said only when it is true.
    fn info(&self, stream: &Stream) -> Result<StreamInfo, ReadError>;

    /// The session that was planned under an idempotency key (SESS-019).
    ///
    /// # Errors
    /// [`ReadError::Corrupt`], [`ReadError::Io`].
    fn by_key(&self, key: &str) -> Result<Option<StreamInfo>, ReadError>;

    /// The streams that a filter lets through: first schedules and batches, then sessions, each in the
    /// order of their creation.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`], [`ReadError::Io`].
    fn list(&self, filter: &Filter) -> Result<Vec<StreamInfo>, ReadError>;

    /// Whether this owner still lives. A stopped one does (STORE-007).
    fn is_alive(&self, owner: Owner) -> bool;

    /// Keeps a stream from being pruned until the guard is dropped.
    fn keep(&self, stream: &Stream) -> Keep;

    /// Told of every commit, by whichever process (5 ms). For those who look for new work.
    fn changes(&self) -> Changes;

    /// From now on `responder` answers requests for what this instance owns. One at a time: a
    /// later one takes the place of an earlier.
    ///
    /// # Errors
    /// [`RequestError::Io`] where no socket can be opened; the error says why.
    fn respond(&self, responder: Arc<dyn Responder>) -> Result<(), RequestError>;

    /// Asks the owner of a stream. The answer comes after the owner's commit. For a schedule that
    /// is the owner of all schedules, also where there is none of this name yet.
    ///
    /// # Errors
    /// At once or through the ticket: [`RequestError::Unowned`] where nobody alive owns it, so that
    /// the asker may claim it; [`RequestError::Silent`] where the owner does not answer within two
    /// seconds; others as they are named.
    fn request(
        &self,
        stream: &Stream,
        request: &[u8],
    ) -> Result<Ticket<Result<Vec<u8>, RequestError>>, RequestError>;

    /// Writes the notes that still wait, gives up this instance, and refuses writes from now on.
    /// Reads go on. The second call does nothing. Dropping the last handle does the same.
    ///
    /// # Errors
    /// Through the ticket, where the notes could not be written.
    fn close(&self) -> Ticket<Result<(), AppendError>>;
}
