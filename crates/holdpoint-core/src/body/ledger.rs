//! A body's ledger: results and answers kept by key alone.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::SessionContext;
use super::error::{BodyError, Fault, label};
use super::here;
use super::op::Op;
use super::port::{Kind, LedgerFault, OpKey, OpName, Open, Opened, SessionPort};
use crate::cancel::CancelInfo;
use crate::event::EventKind;
use crate::session::SuspendCause;

/// What was recorded of a body whose decisions are a fold over results, such as one that runs a
/// graph (SESS-017).
///
/// Most bodies are led back to where they were record by record, in the order of the journal, and
/// must not move by anything else. A body that opens a ledger is given all that was recorded at
/// once, by key; the order is not checked, and it may await whatever it likes between its
/// operations. What it makes of the results must not depend on their order. An operation that is
/// called again has its recorded result at once, a question that is open stays open until it is
/// asked again or the body ends.
///
/// ```
/// use holdpoint_core::body::{BodyError, SessionContext};
///
/// # async fn build(_: &str) -> u32 { 0 }
/// async fn build_all(cx: SessionContext, parts: Vec<String>) -> Result<u32, BodyError> {
///     let ledger = cx.ledger(|key| parts.iter().any(|part| *part == key.name)).await?;
///     let mut sum = 0;
///     for part in parts {
///         sum += match ledger.get::<u32>(&part) {
///             Some(known) => known?,
///             None => {
///                 let size = build(&part).await;
///                 ledger.record(part, &size, Vec::new()).await?;
///                 size
///             }
///         };
///     }
///     Ok(sum)
/// }
/// ```
pub struct Ledger {
    cx: SessionContext,
    start: u32,
    results: BTreeMap<OpName, String>,
    offers: BTreeMap<OpName, String>,
}

/// Has a result recorded: see [`Ledger::record`].
///
/// # Errors
/// It resolves to [`BodyError::Failed`] where the result is too large, [`BodyError::Encode`] where
/// it does not serialise, and [`BodyError::Misplaced`] outside of the body's own poll.
///
/// # Cancel safety
/// Once the body has waited, it is recorded, whatever becomes of the future.
#[must_use = "it counts when it is recorded"]
pub struct Recording {
    op: Op,
}

impl SessionContext {
    /// Opens this body's ledger, before any operation. `knows` says whether the body has a use for
    /// a recorded key; where it has none for one of them, the session is let go of as one whose
    /// body does not match, and the future never resolves.
    ///
    /// # Errors
    /// The future resolves to [`BodyError::Misplaced`] after the first operation or outside of the
    /// body's own poll, and to [`BodyError::Failed`] where the host keeps no ledgers.
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll leaves the ledger open.
    pub fn ledger<F>(
        &self,
        mut knows: F,
    ) -> impl Future<Output = Result<Ledger, BodyError>> + use<F>
    where
        F: FnMut(&OpKey) -> bool,
    {
        let opened = if here::is_body_of(&**self.port()) {
            self.port().open_ledger(&mut knows)
        } else {
            Err(LedgerFault::Misplaced)
        };
        let mut opened = Some((self.cleanup(), opened));
        poll_fn(move |_| match opened.take() {
            Some((cx, Ok(opened))) => Poll::Ready(Ok(Ledger::of(cx, opened))),
            Some((_, Err(LedgerFault::Misplaced))) => {
                Poll::Ready(Err(BodyError::misplaced("the opening of a ledger".to_owned())))
            }
            Some((_, Err(LedgerFault::Unsupported))) => Poll::Ready(Err(BodyError::Failed {
                operation: "the opening of a ledger".to_owned(),
                fault: Fault::new("this host keeps no ledgers".to_owned(), false),
            })),
            Some((_, Err(LedgerFault::Mismatch))) | None => Poll::Pending,
        })
    }
}

impl Ledger {
    fn of(cx: SessionContext, opened: Opened) -> Self {
        let Opened { start, results, offers } = opened;
        let steps = |entries: Vec<(OpKey, String)>| {
            let steps = entries.into_iter().filter(|(key, _)| is_entry(key));
            steps.map(|(key, value)| (key.name, value)).collect()
        };
        Self { cx, start, results: steps(results), offers: steps(offers) }
    }

    /// Which start of the session's body this is, from 1, over all attempts.
    #[must_use]
    pub fn start(&self) -> u32 {
        self.start
    }

    /// The names under which this attempt of the session has recorded results.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.results.keys().map(|name| &**name)
    }

    /// What was recorded under a name when the ledger was opened.
    ///
    /// # Errors
    /// [`BodyError::Decode`] where it is no `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<Result<T, BodyError>> {
        self.results.get(name).map(|value| decode(name, value))
    }

    /// The names under which the attempt before this one had recorded results. None of them counts
    /// until this attempt records it.
    pub fn offered(&self) -> impl Iterator<Item = &str> {
        self.offers.keys().map(|name| &**name)
    }

    /// What the attempt before this one had recorded under a name.
    ///
    /// # Errors
    /// [`BodyError::Decode`] where it is no `T`.
    pub fn offer<T: DeserializeOwned>(&self, name: &str) -> Option<Result<T, BodyError>> {
        self.offers.get(name).map(|value| decode(name, value))
    }

    /// Records a result under a name, once, and tells of it by these events in the same write: when
    /// the future resolves, they are durable. Under a name that has a result already nothing is
    /// recorded and nothing told. It heeds no cancellation. Not recorded, the value is not
    /// serialised.
    ///
    /// # Errors
    /// See [`Recording`].
    pub fn record<T: Serialize + ?Sized>(
        &self,
        name: impl Into<OpName>,
        value: &T,
        events: Vec<EventKind>,
    ) -> Recording {
        let name = name.into();
        let value = if self.cx.is_recorded() {
            serde_json::to_string(value)
        } else {
            Ok("null".to_owned())
        };
        let op = match value {
            Ok(value) => Op::open(&self.cx, name, Open::Record { value, events }),
            Err(error) => {
                let fault = Fault::new(error.to_string(), false);
                let operation = label(Kind::Step, &name);
                Op::refused(&self.cx, BodyError::Encode { operation, fault })
            }
        };
        Recording { op }
    }

    /// Tells of something that is no result. Nobody waits for it: it becomes durable with the next
    /// record (STORE-011). Told from anywhere.
    pub fn note(&self, event: EventKind) {
        self.cx.port().note(event);
    }

    /// What tells of more without the ledger.
    #[must_use]
    pub fn notes(&self) -> Notes {
        Notes { port: Arc::clone(self.cx.port()) }
    }

    /// Waits until the session is asked to stop, at this start or before it.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub fn cancel_requested(&self) -> impl Future<Output = CancelInfo> + use<> {
        let port = Arc::clone(self.cx.port());
        poll_fn(move |cx| port.poll_cancel_requested(cx))
    }

    /// Waits until the host wants to let go of the session: it goes down, or was told to. The body
    /// then brings what it has begun to an end, records what has really finished, and calls
    /// [`let_go`](Self::let_go). A host that keeps nothing never does.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub fn suspend_requested(&self) -> impl Future<Output = SuspendCause> + use<> {
        let port = Arc::clone(self.cx.port());
        poll_fn(move |cx| port.poll_suspend_requested(cx))
    }

    /// Nothing is under way any more: where the host wants to let go of the session, it does. The
    /// body is dropped then, at this place; it is pending until that.
    pub async fn let_go(&self) {
        self.cx.port().may_let_go();
        std::future::pending::<()>().await;
    }
}

/// Tells of what happens in a session, from anywhere.
#[derive(Clone)]
pub struct Notes {
    port: Arc<dyn SessionPort>,
}

impl Notes {
    /// See [`Ledger::note`].
    pub fn note(&self, event: EventKind) {
        self.port.note(event);
    }
}

impl Future for Recording {
    type Output = Result<(), BodyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _value = ready!(self.op.poll(cx))?;
        Poll::Ready(Ok(()))
    }
}

/// Results of steps under their own names; what a body calls twice under one name it has to know
/// itself.
fn is_entry(key: &OpKey) -> bool {
    key.kind == Kind::Step && key.ordinal == 0
}

fn decode<T: DeserializeOwned>(name: &str, value: &str) -> Result<T, BodyError> {
    serde_json::from_str(value).map_err(|error| BodyError::Decode {
        operation: label(Kind::Step, name),
        fault: Fault::new(error.to_string(), false),
    })
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("session", &self.cx.session_id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").field("session", &self.port.session()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("op", &self.op).finish_non_exhaustive()
    }
}
