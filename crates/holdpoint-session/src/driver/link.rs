//! A session's tie to the store: decide, commit, show (SESS-022).
//!
//! # Invariants
//! 1. Decisions are appended in the order in which they are made, and shown in that order.
//! 2. `pending` holds what is decided and not shown yet; while it is not empty, `shown` is the
//!    session as others see it.
//! 3. After a failed append nothing is shown any more: the session is lost to this process.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use holdpoint_core::CancelInfo;
use holdpoint_core::Now;
use holdpoint_core::body::{OpError, OpKey, Payload};
use holdpoint_core::event::{Event, EventKind, Stream};
use holdpoint_core::session::{SessionMachine, Transition};
use holdpoint_core::store::{
    AppendError, Appended, Commit, Completer, Fence, Snapshot, Store, Ticket, Write,
};

use super::kept::{About, Kept};
use super::session::ChildStart;
use super::slots::Target;
use crate::machine::Machine;

/// The tie of one session.
pub(crate) struct Link {
    pub(crate) stream: Stream,
    pub(crate) about: About,
    /// How the next append is fenced.
    fence: Fence,
    /// Under which epoch the last append was fenced.
    epoch: u64,
    /// Of the first append of a new session.
    pub(crate) key: Option<Arc<str>>,
    /// The number of the last event that was decided.
    decided: u64,
    pending: VecDeque<Pending>,
    shown: Option<Box<SessionMachine>>,
    pub(crate) lost: Option<AppendError>,
}

/// A decision and what is to come of it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) now: Now,
    pub(crate) transition: Transition,
    /// Entries for the journal.
    pub(crate) journal: Vec<String>,
    /// What the body is to be given.
    pub(crate) deliveries: Deliveries,
    /// Nobody waits for it: it rides with the next commit.
    pub(crate) is_note: bool,
    /// Somebody is told that it was taken: not before all that was decided earlier is shown.
    pub(crate) is_told: bool,
    /// Somebody takes the session.
    pub(crate) is_claim: bool,
    /// The owner lets go.
    pub(crate) is_release: bool,
    /// Children to be started when it is shown.
    pub(crate) children: Vec<ChildStart>,
}

/// What a body is given, one a turn.
#[derive(Debug, Clone)]
pub(crate) enum Delivery {
    /// The result of an operation.
    Op(OpRef, Result<Payload, OpError>),
    /// The session was asked to stop.
    Cancel(CancelInfo),
    /// The secret that a replay waits for.
    Secret(Payload),
}

/// An operation of a body.
#[derive(Debug, Clone)]
pub(crate) enum OpRef {
    /// Of one whose results are not recorded.
    Slot(Target),
    /// Of one whose results are.
    Key(OpKey),
}

/// Deliveries. One, by far the most common case, takes no allocation.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    first: Option<Delivery>,
    more: Vec<Delivery>,
}

/// What is decided and not shown.
struct Pending {
    ticket: Option<Ticket<Result<Commit, AppendError>>>,
    change: Change,
    after: SessionMachine,
    reply: Option<Completer<Result<(), AppendError>>>,
}

/// What became of a change.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(crate) enum Committed {
    /// It can be shown now.
    Now(Change),
    /// It will be, and the ticket tells when.
    Later(Ticket<Result<(), AppendError>>),
}

impl Change {
    pub(crate) fn new(now: Now, transition: Transition) -> Self {
        Self {
            now,
            transition,
            journal: Vec::new(),
            deliveries: Deliveries::default(),
            is_note: false,
            is_told: false,
            is_claim: false,
            is_release: false,
            children: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.transition.is_empty()
            && self.journal.is_empty()
            && self.deliveries.first.is_none()
            && !self.is_told
            && !self.is_claim
            && !self.is_release
            && self.children.is_empty()
    }
}

impl Change {
    /// Whether there is nothing for the store in it.
    fn writes_nothing(&self) -> bool {
        let is_plain = !self.is_claim && !self.is_release;
        is_plain && self.transition.is_empty() && self.journal.is_empty()
    }
}

impl Deliveries {
    pub(crate) fn push(&mut self, delivery: Delivery) {
        if self.first.is_none() {
            self.first = Some(delivery);
        } else {
            self.more.push(delivery);
        }
    }
}

impl IntoIterator for Deliveries {
    type Item = Delivery;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Delivery>, std::vec::IntoIter<Delivery>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

impl Link {
    /// The tie of a session whose last event is `decided`, and whose next append is fenced so.
    pub(crate) fn new(stream: Stream, about: About, fence: Fence, decided: u64) -> Self {
        Self {
            stream,
            about,
            fence,
            epoch: epoch_of(fence),
            key: None,
            decided,
            pending: VecDeque::new(),
            shown: None,
            lost: None,
        }
    }

    /// The session as others see it, where that is not as it is decided.
    pub(crate) fn shown(&self) -> Option<&SessionMachine> {
        self.shown.as_deref()
    }

    /// The number of the last event that was decided.
    pub(crate) fn decided(&self) -> u64 {
        self.decided
    }

    /// The epoch under which this process runs it, or did last.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether all that was decided is shown.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Appends a decision. `before` is the session before it, `machine` the one after.
    ///
    /// # Errors
    /// The store refused it. Nothing of it is shown, and nothing after it will be.
    pub(crate) fn commit(
        &mut self,
        store: &dyn Store,
        before: &SessionMachine,
        machine: &Machine,
        change: Change,
    ) -> Result<Committed, AppendError> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let events = self.events(&change);
        let appended = if change.writes_nothing() {
            Ok(None)
        } else if change.is_note {
            let epoch = epoch_of(self.fence);
            store.note(&self.stream, epoch, &events).map(|()| None)
        } else {
            self.append(store, machine, &change, &events).map(Some)
        };
        let ticket = match appended {
            Ok(Some(Appended::Acked(_)) | None) => None,
            Ok(Some(Appended::Pending(ticket))) => Some(ticket),
            Err(error) => {
                self.lost = Some(error.clone());
                return Err(error);
            }
        };
        self.decided += events.len() as u64;
        if ticket.is_none() && self.pending.is_empty() {
            return Ok(Committed::Now(change));
        }
        if self.shown.is_none() {
            self.shown = Some(Box::new(before.clone()));
        }
        let (reply, later) = holdpoint_core::store::ticket();
        let after = machine.session().clone();
        self.pending.push_back(Pending { ticket, change, after, reply: Some(reply) });
        Ok(Committed::Later(later))
    }

    fn events(&self, change: &Change) -> Vec<Event> {
        let numbered = change.transition.events().zip(self.decided + 1..);
        let event = |kind: &EventKind, seq| {
            Event::new(seq, change.now.wall, self.stream.clone(), kind.clone())
        };
        numbered.map(|(kind, seq)| event(kind, seq)).collect()
    }

    /// Appends one decision of a session that nobody runs.
    ///
    /// # Errors
    /// The store refused it.
    pub(crate) fn append_once(
        mut self,
        store: &dyn Store,
        machine: &Machine,
        change: &Change,
    ) -> Result<Appended, AppendError> {
        let events = self.events(change);
        self.append(store, machine, change, &events)
    }

    fn append(
        &mut self,
        store: &dyn Store,
        machine: &Machine,
        change: &Change,
        events: &[Event],
    ) -> Result<Appended, AppendError> {
        let is_durable = store.is_durable();
        let changes_state = !events.is_empty() || change.is_claim || change.is_release;
        let data = if changes_state && is_durable {
            Kept::encode(machine, &self.about)
        } else {
            Vec::new()
        };
        let journal: Vec<&[u8]> = change.journal.iter().map(|entry| entry.as_bytes()).collect();
        let label = label(&self.about);
        let mut write = Write::new(&self.stream, self.fence).events(events).label(&label);
        if is_durable {
            write = write.journal(&journal);
        }
        if changes_state {
            let state = machine.session().state().name();
            write = write.snapshot(Snapshot { state, data: &data });
        }
        if change.is_release {
            write = write.release();
        }
        if let Some(key) = &self.key {
            write = write.key(key);
        }
        let appended = store.append(&[write])?;
        self.key = None;
        let is_free = change.is_release || machine.session().owner().is_none();
        let epoch = epoch_of(self.fence);
        self.epoch = epoch;
        self.fence = if is_free { Fence::Claim { epoch } } else { Fence::Owned { epoch } };
        Ok(appended)
    }

    /// The next decision that can be shown, in order.
    ///
    /// # Errors
    /// Its append failed: the session is lost, and whoever waited for a decision is told.
    pub(crate) fn poll_shown(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Change, Reply), Loss>>> {
        let Some(front) = self.pending.front_mut() else { return Poll::Ready(None) };
        if let Some(ticket) = &mut front.ticket {
            match Pin::new(ticket).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(_)) => front.ticket = None,
                Poll::Ready(Err(error)) => {
                    let replies = self.lose(&error);
                    return Poll::Ready(Some(Err((error, replies))));
                }
            }
        }
        let Some(Pending { change, after, reply, .. }) = self.pending.pop_front() else {
            return Poll::Ready(None);
        };
        self.shown = (!self.pending.is_empty()).then(|| Box::new(after));
        Poll::Ready(Some(Ok((change, Reply(reply)))))
    }

    /// Nothing is shown any more. Whoever waits is told why, when the lock is free.
    pub(crate) fn lose(&mut self, error: &AppendError) -> Vec<Reply> {
        self.lost.get_or_insert_with(|| error.clone());
        self.pending.drain(..).map(|pending| Reply(pending.reply)).collect()
    }
}

/// Why nothing more is shown, and who waited for it.
pub(crate) type Loss = (AppendError, Vec<Reply>);

/// Who waits for a decision to be shown.
#[must_use = "somebody waits"]
pub(crate) struct Reply(Option<Completer<Result<(), AppendError>>>);

impl Reply {
    pub(crate) fn send(self, result: Result<(), AppendError>) {
        if let Some(reply) = self.0 {
            reply.complete(result);
        }
    }
}

/// What a list calls the session.
fn label(about: &About) -> String {
    match about.version {
        1 => about.body.to_string(),
        version => format!("{}@{version}", about.body),
    }
}

fn epoch_of(fence: Fence) -> u64 {
    match fence {
        Fence::Claim { epoch } => epoch + 1,
        Fence::Owned { epoch } => epoch,
        Fence::NewOwned => 1,
        _ => 0,
    }
}
