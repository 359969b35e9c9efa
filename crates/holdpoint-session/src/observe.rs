//! Observers: every event of a session from a starting point, without a hole or with one that is
//! told (SESS-010).

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use holdpoint_core::SessionId;
use holdpoint_core::event::{Event, Stream};
use holdpoint_core::store::{Changes, ReadError, Store, StoredEvent};

use super::driver::{Place, Reading, Session, Shared};
use crate::error::GetError;

/// How many events are taken at a time, so that a look is short.
const BATCH: usize = 64;

/// Where an observer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Since {
    /// With the first event. The default.
    #[default]
    Beginning,
    /// With the next event to come.
    Now,
    /// With the one after this number.
    After(u64),
}

/// What an observer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observed {
    /// The next event.
    Event(Event),
    /// These events are no longer kept in memory; where there is a store, they can be read there.
    /// The next one follows.
    Gap {
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// The session is not in this process any more: another may go on with it. Last.
    Left,
}

/// Every event of a session, one after the other. It ends after the terminal one.
///
/// It holds no session: a session that it watches is collected all the same, and the observer reads
/// on to the end. It slows nobody: one that is slow is told of a [`Gap`](Observed::Gap).
pub struct Observer {
    source: Source,
    /// The number of the last event that was taken.
    last: u64,
    buffer: VecDeque<Event>,
    place: Place,
    state: State,
}

/// Where the events come from.
enum Source {
    /// A session of this process.
    Here(Arc<Session>),
    /// One that is in the store alone.
    Stored { shared: Arc<Shared>, id: SessionId, news: Changes },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Follows,
    Over,
}

impl Observer {
    pub(crate) fn here(session: Arc<Session>, since: Since) -> Self {
        let mut state = session.lock();
        state.history.join();
        let last = match since {
            Since::Beginning => 0,
            Since::Now => state.history.last(),
            Since::After(number) => number,
        };
        drop(state);
        Self::new(Source::Here(session), last)
    }

    pub(crate) fn stored(
        shared: Arc<Shared>,
        id: SessionId,
        since: Since,
    ) -> Result<Self, GetError> {
        let Some(store) = shared.store.clone() else { return Err(GetError::NotFound(id)) };
        // From before it is read how far the session is: nothing falls in between.
        let news = store.changes();
        let info = match store.info(&Stream::Session(id)) {
            Ok(info) => info,
            Err(ReadError::NotFound { .. }) => return Err(GetError::NotFound(id)),
            Err(error) => return Err(GetError::Read(error)),
        };
        let last = match since {
            Since::Beginning => 0,
            Since::Now => info.last_seq,
            Since::After(number) => number,
        };
        Ok(Self::new(Source::Stored { shared, id, news }, last))
    }

    fn new(source: Source, last: u64) -> Self {
        let (buffer, place) = (VecDeque::new(), Place::default());
        Self { source, last, buffer, place, state: State::Follows }
    }

    /// The next event, or what there is to say instead of it; none after the terminal event.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next(&mut self) -> Option<Observed> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same as one poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Observed>> {
        loop {
            if let Some(event) = self.buffer.pop_front() {
                self.last = event.seq;
                return Poll::Ready(Some(Observed::Event(event)));
            }
            if self.state == State::Over {
                return Poll::Ready(None);
            }
            let said = match &self.source {
                Source::Here(session) => {
                    let session = Arc::clone(session);
                    self.look_here(&session, cx)
                }
                Source::Stored { .. } => self.look_stored(cx),
            };
            match said {
                Poll::Ready(Some(said)) => return Poll::Ready(Some(said)),
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Looks at a session of this process. None where there is something new to go on with.
    fn look_here(&mut self, session: &Session, cx: &mut Context<'_>) -> Poll<Option<Observed>> {
        let mut state = session.lock();
        match state.history.read(session.id, self.last, BATCH, &mut self.buffer) {
            Reading::Events => {}
            Reading::Over => self.state = State::Over,
            Reading::Nothing if state.is_left() => {
                self.state = State::Over;
                return Poll::Ready(Some(Observed::Left));
            }
            Reading::Nothing => {
                let replaced = state.watch().changed.register(&mut self.place, cx.waker());
                drop(state);
                drop(replaced);
                return Poll::Pending;
            }
            Reading::Before(first) => {
                drop(state);
                return Poll::Ready(self.read_before(session, first));
            }
        }
        Poll::Ready(None)
    }

    /// Looks at a session in the store. None where there is something new to go on with.
    fn look_stored(&mut self, cx: &mut Context<'_>) -> Poll<Option<Observed>> {
        let Source::Stored { shared, id, news } = &mut self.source else {
            return Poll::Ready(None);
        };
        let Some(store) = &shared.store else { return Poll::Ready(Some(Observed::Left)) };
        loop {
            match look(&**store, *id, self.last) {
                Ok(Stored::Events(events)) => {
                    self.buffer.extend(events);
                    return Poll::Ready(None);
                }
                Ok(Stored::Over) => {
                    self.state = State::Over;
                    return Poll::Ready(None);
                }
                Ok(Stored::Nothing) => {}
                Err(ReadError::Gap { first, .. }) => {
                    let gap = Observed::Gap { from: self.last + 1, to: first - 1 };
                    self.last = first - 1;
                    return Poll::Ready(Some(gap));
                }
                Err(_) => {
                    self.state = State::Over;
                    return Poll::Ready(Some(Observed::Left));
                }
            }
            match news.poll_changed(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    self.state = State::Over;
                    return Poll::Ready(Some(Observed::Left));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads what is not in memory any more from the store, or tells that it is gone.
    fn read_before(&mut self, session: &Session, first: u64) -> Option<Observed> {
        let wanted = usize::try_from(first - 1 - self.last).unwrap_or(BATCH).min(BATCH);
        if let Some(store) = &session.shared.store {
            self.buffer.extend(read(&**store, session.id, self.last, wanted).unwrap_or_default());
        }
        if !self.buffer.is_empty() {
            return None;
        }
        let gap = Observed::Gap { from: self.last + 1, to: first - 1 };
        self.last = first - 1;
        Some(gap)
    }
}

/// Stored events in order, as far as they can be read without a hole.
fn read(
    store: &dyn Store,
    id: SessionId,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, ReadError> {
    let stored = store.events(&Stream::Session(id), after, limit)?;
    let numbered = stored.into_iter().zip(after + 1..);
    let event =
        |(stored, seq): (StoredEvent, u64)| stored.event().ok().filter(|event| event.seq == seq);
    Ok(numbered.map_while(event).collect())
}

/// What the store has of a session after some event.
enum Stored {
    Events(Vec<Event>),
    /// It has ended, and nothing follows.
    Over,
    Nothing,
}

/// Looks for what follows after this number: where there is nothing, events are not read.
fn look(store: &dyn Store, id: SessionId, last: u64) -> Result<Stored, ReadError> {
    let info = store.info(&Stream::Session(id))?;
    if info.last_seq > last {
        let events = read(store, id, last, BATCH)?;
        return Ok(if events.is_empty() { Stored::Nothing } else { Stored::Events(events) });
    }
    Ok(if info.state.is_terminal() { Stored::Over } else { Stored::Nothing })
}

impl Drop for Observer {
    fn drop(&mut self) {
        let Source::Here(session) = &self.source else { return };
        let mut state = session.lock();
        state.history.leave();
        let waker = state.watch().changed.leave(self.place);
        drop(state);
        drop(waker);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = match &self.source {
            Source::Here(session) => session.id,
            Source::Stored { id, .. } => *id,
        };
        f.debug_struct("Observer")
            .field("session", &id)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
