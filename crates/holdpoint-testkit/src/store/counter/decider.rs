//! Who decides about a counter: its owner, alone.

use std::fmt;
use std::sync::Arc;

use holdpoint_core::event::{EventKind, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{
    AppendError, Fence, ReadError, RequestError, Snapshot, Store, Write, ticket,
};
use holdpoint_core::{Clock, Event, Retryable};

use super::line::{Outcome, Said, Way};
use super::tenure::Inner;
use super::{Answer, Counter, Input};

/// How often a decider looks again before it gives up. Each time in vain, somebody else has got
/// ahead, or is about to let go.
const TRIES: u32 = 100;

/// A process's part in deciding about one counter: it decides where this process is the owner, or
/// nobody is; else it asks who is. A clone is the same.
///
/// There is at most one for a store: it takes the store's requests.
#[derive(Clone)]
pub struct Decider(Arc<Inner>);

/// A mistake to make, to show that a test sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flaw {
    /// None.
    #[default]
    None,
    /// Answers before the change is kept.
    AnswersEarly,
    /// Tells the value while changes of it are not kept yet.
    ReadsAhead,
    /// Claims on the state that it remembers, whoever has decided since.
    IgnoresOthers,
    /// Does not remember which requests were granted.
    ForgetsRequests,
}

/// Why a decider has no answer. The request may have been granted all the same: asked again under
/// the same number, it is granted once.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// This process cannot write.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The owner cannot be asked, or does not answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Others were always faster.
    #[error("somebody else was faster, {TRIES} times")]
    Contended,
    /// What was read or answered is none of a counter's.
    #[error("the {what} is none of a counter's")]
    Foreign {
        /// What.
        what: &'static str,
    },
}

impl Retryable for AskError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Append(error) => error.is_retryable(),
            Self::Request(error) => error.is_retryable(),
            Self::Contended => true,
            Self::Read(_) | Self::Foreign { .. } => false,
        }
    }
}

impl Decider {
    /// A decider of this process, which takes its store's requests from now on.
    ///
    /// # Errors
    /// Those of [`Store::respond`].
    pub fn new(
        store: Arc<dyn Store>,
        stream: Stream,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RequestError> {
        Self::flawed(store, stream, clock, Flaw::None)
    }

    /// A decider that makes a mistake.
    ///
    /// # Errors
    /// Those of [`Store::respond`].
    pub fn flawed(
        store: Arc<dyn Store>,
        stream: Stream,
        clock: Arc<dyn Clock>,
        flaw: Flaw,
    ) -> Result<Self, RequestError> {
        Ok(Self(Inner::new(store, stream, clock, flaw)?))
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    /// Makes the counter, at 0 and without owner, unless it is there.
    ///
    /// # Errors
    /// Those of the append.
    pub async fn create(&self, limit: u64) -> Result<(), AppendError> {
        let Inner { store, stream, clock, .. } = &*self.0;
        let kind = EventKind::SessionPlanned { attempt: 1 };
        let planned = Event::new(1, clock.now().wall, stream.clone(), kind);
        let data = Counter::new(limit).snapshot();
        let write = Write::new(stream, Fence::New)
            .events(std::slice::from_ref(&planned))
            .snapshot(Snapshot { state: StateName::Planned, data: &data });
        let appended = store.append(&[write])?;
        match appended.acked().await {
            Ok(_) | Err(AppendError::Exists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks for something, of the owner or of oneself. Where nobody owns the counter it is claimed
    /// and let go in one write. Dropping the future does not withdraw the question.
    ///
    /// # Errors
    /// [`AskError`]; see there for what is known then.
    pub async fn ask(&self, input: Input) -> Result<Answer, AskError> {
        for _ in 0..TRIES {
            let (done, here) = ticket();
            let said = match self.0.decide(input, Way::Here(done))? {
                None => here.await,
                Some(way) => match self.ask_owner(input).await? {
                    Some(answer) => return Ok(answer),
                    None => {
                        self.0.claim(Some(input), way)?;
                        here.await
                    }
                },
            };
            if let Some(answer) = answered(said)? {
                return Ok(answer);
            }
        }
        Err(AskError::Contended)
    }

    /// Claims the counter and keeps it. Gives the epoch; that of an earlier claim where it is owned
    /// already.
    ///
    /// # Errors
    /// [`AppendError::Owned`] where another process owns it, and as [`ask`](Self::ask).
    pub async fn own(&self) -> Result<u64, AskError> {
        for _ in 0..TRIES {
            let (done, here) = ticket();
            self.0.claim(None, Way::Here(done))?;
            match here.await {
                Err(AppendError::Owned { what, owner, pid })
                    if owner.instance != self.instance() =>
                {
                    return Err(AppendError::Owned { what, owner, pid }.into());
                }
                said => answered(said)?,
            };
            if let Some(epoch) = self.0.epoch() {
                return Ok(epoch);
            }
        }
        Err(AskError::Contended)
    }

    /// Lets go of the counter. Whether it was owned here.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn let_go(&self) -> Result<bool, AskError> {
        let (done, here) = ticket();
        let was_owner = self.0.let_go(Way::Here(done))?;
        answered(here.await)?;
        Ok(was_owner)
    }

    fn instance(&self) -> u64 {
        self.0.store.instance()
    }

    /// Asks another process. None where nobody owns the counter.
    async fn ask_owner(&self, input: Input) -> Result<Option<Answer>, AskError> {
        let asked = self.0.store.request(&self.0.stream, &input.encode());
        let answer = match asked {
            Ok(ticket) => ticket.await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => match Answer::decode(&answer) {
                Some(answer) => Ok(Some(answer)),
                None => Err(AskError::Foreign { what: "answer" }),
            },
            Err(RequestError::Unowned { .. } | RequestError::Own { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The answer; none where one has to look again.
fn answered(outcome: Outcome) -> Result<Option<Answer>, AskError> {
    match outcome {
        Ok(Said::Answer(answer)) => Ok(Some(answer)),
        Ok(Said::Again)
        | Err(
            AppendError::LostOwnership { .. }
            | AppendError::Owned { .. }
            | AppendError::EpochPassed { .. }
            | AppendError::OutOfOrder { .. }
            | AppendError::Busy,
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Debug for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decider")
            .field("store", &self.0.store)
            .field("stream", &self.0.stream)
            .finish_non_exhaustive()
    }
}
