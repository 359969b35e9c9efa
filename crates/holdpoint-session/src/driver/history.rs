//! The events of one session, as far as they are kept in memory.
//!
//! # Invariants
//! 1. What is kept are the last events, without a hole.
//! 2. The last event is kept whatever the limit, once it is terminal (SESS-010).

use std::collections::VecDeque;
use std::sync::Arc;

use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::{Question, QuestionId};
use holdpoint_core::{SessionId, Timestamp};

/// How many events an observer may be behind before it is told of a gap, at the least.
pub(crate) const OBSERVER_BUFFER: usize = 256;

/// The last events of a session.
#[derive(Debug)]
pub(crate) struct History {
    events: VecDeque<Logged>,
    last: u64,
    keep: usize,
    observers: u32,
    is_over: bool,
}

#[derive(Debug)]
struct Logged {
    at: Timestamp,
    kind: Compact,
}

/// An event as it is kept: a third of the size for those that every session has, of which millions
/// are kept at a time.
#[derive(Debug)]
enum Compact {
    Planned { attempt: u32 },
    Started { start: u32 },
    Resumed { start: u32 },
    Paused,
    Question(Arc<Question>),
    Answered { question: QuestionId, answer: Option<Arc<str>> },
    Other(Box<EventKind>),
}

/// What there is after an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// These were added to the buffer.
    Events,
    /// The next one is no longer here; the first that is has this number.
    Before(u64),
    /// Nothing yet.
    Nothing,
    /// The last one was read, and it is terminal.
    Over,
}

impl History {
    /// Keeps so many events, those after number `last`.
    pub(crate) fn new(keep: usize, last: u64) -> Self {
        Self { events: VecDeque::new(), last, keep, observers: 0, is_over: false }
    }

    /// The number of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Adds the next event.
    pub(crate) fn push(&mut self, at: Timestamp, kind: EventKind, is_terminal: bool) {
        self.last += 1;
        self.is_over = is_terminal;
        let keep = match self.observers {
            0 => self.keep.max(usize::from(is_terminal)),
            _ => self.keep.max(OBSERVER_BUFFER),
        };
        while self.events.len() >= keep.max(1) {
            self.events.pop_front();
        }
        if keep > 0 {
            self.events.push_back(Logged { at, kind: kind.into() });
        }
    }

    /// Adds the events after number `after` to `buffer`, at most `limit` of them.
    pub(crate) fn read(
        &self,
        id: SessionId,
        after: u64,
        limit: usize,
        buffer: &mut VecDeque<Event>,
    ) -> Reading {
        if after >= self.last {
            return if self.is_over { Reading::Over } else { Reading::Nothing };
        }
        let first = self.first();
        if after + 1 < first {
            return Reading::Before(first);
        }
        let skip = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        let numbered = self.events.range(skip..).zip(after + 1..).take(limit);
        buffer.extend(numbered.map(|(logged, seq)| {
            Event::new(seq, logged.at, Stream::Session(id), logged.kind.whole())
        }));
        Reading::Events
    }

    /// One more observer: from now on more is kept for it.
    pub(crate) fn join(&mut self) {
        self.observers += 1;
    }

    /// One observer less.
    pub(crate) fn leave(&mut self) {
        self.observers = self.observers.saturating_sub(1);
        if self.observers == 0 {
            let keep = self.keep.max(usize::from(self.is_over));
            let excess = self.events.len().saturating_sub(keep);
            self.events.drain(..excess);
            if self.events.capacity() / 4 > keep.max(16) {
                self.events.shrink_to(keep);
            }
        }
    }

    /// The number of the first event that is kept, or of the next one.
    fn first(&self) -> u64 {
        self.last + 1 - self.events.len() as u64
    }
}

impl From<EventKind> for Compact {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::SessionPlanned { attempt } => Self::Planned { attempt },
            EventKind::SessionStarted { start } => Self::Started { start },
            EventKind::SessionResumed { start } => Self::Resumed { start },
            EventKind::SessionPaused => Self::Paused,
            EventKind::SessionQuestion(question) => Self::Question(question),
            EventKind::SessionAnswered { question, answer, by: None, reason: None } => {
                Self::Answered { question, answer }
            }
            other => Self::Other(Box::new(other)),
        }
    }
}

impl Compact {
    /// The event as it was.
    fn whole(&self) -> EventKind {
        match self {
            Self::Planned { attempt } => EventKind::SessionPlanned { attempt: *attempt },
            Self::Started { start } => EventKind::SessionStarted { start: *start },
            Self::Resumed { start } => EventKind::SessionResumed { start: *start },
            Self::Paused => EventKind::SessionPaused,
            Self::Question(question) => EventKind::SessionQuestion(Arc::clone(question)),
            Self::Answered { question, answer } => EventKind::SessionAnswered {
                question: *question,
                answer: answer.clone(),
                by: None,
                reason: None,
            },
            Self::Other(kind) => (**kind).clone(),
        }
    }
}

const _: () = assert!(size_of::<Logged>() <= 40);
