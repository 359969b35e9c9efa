//! What is read back.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::error::ReadError;
use crate::clock::Timestamp;
use crate::event::{Event, Stream};
use crate::session::{Owner, StateName};

/// An event as it was kept: its numbers, and its text or itself.
///
/// A file holds events as text, which is taken apart only by [`event`](Self::event): who passes
/// events on need not.
#[derive(Clone)]
pub struct StoredEvent {
    /// Its position among all events of the store, rising in the order of commits.
    pub pos: u64,
    /// Its number in its stream.
    pub seq: u64,
    /// Its stream.
    pub stream: Stream,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Event(Box<Event>),
    /// A part of a block, which its events share.
    Text {
        block: Arc<[u8]>,
        place: Range<u32>,
        decode: Decode,
    },
}

/// How the text of an event is taken apart: the text, the event's stream and number. `None` where
/// it is none of an event.
pub type Decode = fn(&[u8], &Stream, u64) -> Option<Event>;

impl StoredEvent {
    /// An event that is kept as it is. For implementations of the port.
    #[must_use]
    pub fn whole(pos: u64, event: Event) -> Self {
        let (seq, stream) = (event.seq, event.stream.clone());
        Self { pos, seq, stream, content: Content::Event(Box::new(event)) }
    }

    /// An event whose text lies in a block. For implementations of the port.
    #[must_use]
    pub fn text(
        (pos, seq): (u64, u64),
        stream: Stream,
        block: Arc<[u8]>,
        place: Range<u32>,
        decode: Decode,
    ) -> Self {
        Self { pos, seq, stream, content: Content::Text { block, place, decode } }
    }

    /// The event's text as it lies in the file; `None` where the event itself is kept.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Event(_) => None,
            Content::Text { block, place, .. } => {
                block.get(place.start as usize..place.end as usize)
            }
        }
    }

    /// The event.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] where the text is none of an event. The store's own checks would
    /// have found that, unless another program wrote it.
    pub fn event(&self) -> Result<Event, ReadError> {
        match &self.content {
            Content::Event(event) => Ok((**event).clone()),
            Content::Text { decode, .. } => {
                let text = self.bytes().unwrap_or_default();
                decode(text, &self.stream, self.seq).ok_or_else(|| ReadError::Corrupt {
                    stream: self.stream.clone(),
                    seq: self.seq,
                })
            }
        }
    }
}

impl fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredEvent")
            .field("pos", &self.pos)
            .field("seq", &self.seq)
            .field("stream", &self.stream)
            .field("event", &self.event())
            .finish()
    }
}

/// An entry of a stream's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its number in the stream's journal, dense from 1.
    pub number: u64,
    /// What was written.
    pub data: Arc<[u8]>,
}

/// A stream's last snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// The state's name.
    pub state: StateName,
    /// The number of the stream's last event when it was written.
    pub seq: u64,
    /// What was written.
    pub data: Arc<[u8]>,
}

/// What a list shows of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The stream.
    pub stream: Stream,
    /// Of a session: its number in this store, from 1, never given twice.
    pub number: Option<u64>,
    /// What it was called when it was created.
    pub label: Arc<str>,
    /// Its idempotency key.
    pub key: Option<Arc<str>>,
    /// Its state.
    pub state: StateName,
    /// Who owns it, or owned it last and died: see [`Store::is_alive`](super::Store::is_alive).
    pub owner: Option<Owner>,
    /// The epoch of the last claim, 0 before the first.
    pub epoch: u64,
    /// The number of its last event.
    pub last_seq: u64,
    /// The number of its last journal entry, 0 before the first.
    pub last_entry: u64,
    /// When its first event happened.
    pub created_at: Timestamp,
    /// When its last event happened.
    pub updated_at: Timestamp,
}

impl StreamInfo {
    /// A stream that was just created. For implementations of the port.
    #[must_use]
    pub fn new(stream: Stream, created_at: Timestamp) -> Self {
        Self {
            stream,
            number: None,
            label: Arc::from(""),
            key: None,
            state: StateName::Planned,
            owner: None,
            epoch: 0,
            last_seq: 0,
            last_entry: 0,
            created_at,
            updated_at: created_at,
        }
    }
}

/// The kinds of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StreamKind {
    /// Sessions.
    Session,
    /// Schedules.
    Schedule,
    /// Batches.
    Batch,
}

impl From<&Stream> for StreamKind {
    fn from(stream: &Stream) -> Self {
        match stream {
            Stream::Session(_) => Self::Session,
            Stream::Schedule(_) => Self::Schedule,
            Stream::Batch(_) => Self::Batch,
        }
    }
}

/// Which streams to list. All conditions must hold; the default lets everything through.
///
/// ```
/// use holdpoint_core::session::StateName;
/// use holdpoint_core::store::{Filter, StreamKind};
///
/// let waiting = Filter::of(StreamKind::Session).states(&[StateName::Planned, StateName::Suspended]);
/// assert!(waiting.matches_state(StateName::Planned));
/// assert!(!waiting.matches_state(StateName::Done));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only streams of this kind.
    pub kind: Option<StreamKind>,
    /// Only streams in one of these states. Empty: any.
    pub states: Vec<StateName>,
    /// Only streams whose recorded owner is dead (SESS-018).
    pub left_behind: bool,
    /// Only sessions with a number above this one.
    pub after: u64,
    /// Newest first instead of oldest first.
    pub newest_first: bool,
    /// At most so many.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            kind: None,
            states: Vec::new(),
            left_behind: false,
            after: 0,
            newest_first: false,
            limit: usize::MAX,
        }
    }
}

impl Filter {
    /// All streams of a kind.
    #[must_use]
    pub fn of(kind: StreamKind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    /// Streams that their owner left behind when it died (SESS-018).
    #[must_use]
    pub fn left_behind() -> Self {
        Self { left_behind: true, ..Self::default() }
    }

    /// The same, in one of these states.
    #[must_use]
    pub fn states(mut self, states: &[StateName]) -> Self {
        self.states = states.to_vec();
        self
    }

    /// The same, sessions with a number above this one.
    #[must_use]
    pub fn after(mut self, number: u64) -> Self {
        self.after = number;
        self
    }

    /// The same, newest first.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// The same, at most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Whether a stream in this state passes.
    #[must_use]
    pub fn matches_state(&self, state: StateName) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }
}

/// Keeps a stream from being pruned while it lives.
#[must_use = "the stream is kept only as long as this lives"]
pub struct Keep(
    #[expect(dead_code, reason = "its drop is what matters")] Option<Arc<dyn Any + Send + Sync>>,
);

impl Keep {
    /// A guard for a store that prunes nothing. For implementations of the port.
    pub const fn nothing() -> Self {
        Self(None)
    }

    /// A guard whose drop gives the stream free. For implementations of the port.
    pub fn new(guard: Arc<dyn Any + Send + Sync>) -> Self {
        Self(Some(guard))
    }
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keep")
    }
}
