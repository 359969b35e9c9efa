//! Events in their streams: numbers, and where events go.

use std::fmt;

use super::kind::EventKind;
use crate::clock::Timestamp;
use crate::id::{BatchId, SessionId};
use crate::name::Name;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Event {
    /// Its number in its stream, dense from 1.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// To what it happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub stream: Stream,
    /// What happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: EventKind,
}

impl Event {
    /// An event with its parts. Engines number theirs with a [`Sequencer`].
    #[must_use]
    pub const fn new(seq: u64, at: Timestamp, stream: Stream, kind: EventKind) -> Self {
        Self { seq, at, stream, kind }
    }
}

/// A sequence of events in one order: the life of a session, a schedule or a batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Stream {
    /// A session's.
    Session(SessionId),
    /// A schedule's, by its name.
    Schedule(Name),
    /// A batch's.
    Batch(BatchId),
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "session {id}"),
            Self::Schedule(name) => write!(f, "schedule {name}"),
            Self::Batch(id) => write!(f, "batch {id}"),
        }
    }
}

/// Gives the events of one stream their numbers: dense, from 1.
///
/// ```
/// use holdpoint_core::event::{EventKind, Sequencer, Stream};
/// use holdpoint_core::{BatchId, Timestamp};
///
/// let mut batch = Sequencer::new(Stream::Batch(BatchId::generate()));
/// let event = batch.event(Timestamp::from_micros(0), EventKind::BatchPaused);
/// assert_eq!(event.seq, 1);
/// assert_eq!(batch.event(Timestamp::from_micros(5), EventKind::BatchResumed).seq, 2);
/// assert_eq!(batch.last(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequencer {
    stream: Stream,
    last: u64,
}

impl Sequencer {
    /// Numbers for a stream without events.
    #[must_use]
    pub const fn new(stream: Stream) -> Self {
        Self::after(stream, 0)
    }

    /// Numbers for a stream whose last event so far is `last`.
    #[must_use]
    pub const fn after(stream: Stream, last: u64) -> Self {
        Self { stream, last }
    }

    /// The next event of the stream.
    pub fn event(&mut self, at: Timestamp, kind: EventKind) -> Event {
        self.last += 1;
        Event::new(self.last, at, self.stream.clone(), kind)
    }

    /// The stream.
    #[must_use]
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The number of the last event, 0 before the first.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }
}

/// Who is told of events, as they happen and in their order.
///
/// Called by the engine between two of its steps: return soon, do not block, and do not call
/// back into the engine. Any `Fn(&Event)` that threads may share is a sink.
pub trait EventSink: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> EventSink for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

/// A sink that keeps every event. For tests.
///
/// ```
/// use holdpoint_core::event::{Event, EventKind, EventLog, EventSink, Stream};
/// use holdpoint_core::{SessionId, Timestamp};
///
/// let log = EventLog::default();
/// let stream = Stream::Session(SessionId::generate());
/// log.event(&Event::new(1, Timestamp::from_micros(0), stream, EventKind::SessionPaused));
/// assert_eq!(log.names(), ["session_paused"]);
/// ```
#[cfg(feature = "test-util")]
#[derive(Debug, Default)]
pub struct EventLog(std::sync::Mutex<Vec<Event>>);

#[cfg(feature = "test-util")]
impl EventLog {
    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The names of their kinds.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.lock().iter().map(|event| event.kind.name()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(feature = "test-util")]
impl EventSink for EventLog {
    fn event(&self, event: &Event) {
        self.lock().push(event.clone());
    }
}
