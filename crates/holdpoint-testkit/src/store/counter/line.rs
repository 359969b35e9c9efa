//! Who waits for an answer, in the order of what was decided.
//!
//! An answer may tell of every change before it, so it is given only when all of those are kept:
//! where one is not, everybody behind it has to ask again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use holdpoint_core::store::{AppendError, Commit, Completer, Reply, Ticket};

use super::Answer;

/// What becomes of something that was decided here.
pub(super) type Outcome = Result<Said, AppendError>;

#[derive(Debug, Clone, Copy)]
pub(super) enum Said {
    Answer(Answer),
    /// Nothing was decided, or it came to nothing: look again who decides.
    Again,
}

/// The way to who waits.
pub(super) enum Way {
    /// Somebody of this process.
    Here(Completer<Outcome>),
    /// Another process. Without an answer it hears that nothing is owned here.
    There(Reply),
}

impl Way {
    pub(super) fn tell(self, outcome: Outcome) {
        match (self, outcome) {
            (Self::Here(done), outcome) => done.complete(outcome),
            (Self::There(reply), Ok(Said::Answer(answer))) => reply.send(answer.encode()),
            (Self::There(reply), _) => drop(reply),
        }
    }
}

type Kept = Ticket<Result<Commit, AppendError>>;

#[derive(Default)]
pub(super) struct Line {
    queue: VecDeque<Waiting>,
    has_failed: bool,
}

struct Waiting {
    /// None where nothing has changed.
    change: Option<Kept>,
    said: Said,
    way: Option<Way>,
}

impl Line {
    pub(super) fn push(&mut self, change: Option<Kept>, said: Said, way: Option<Way>) {
        self.queue.push_back(Waiting { change, said, way });
    }

    /// Something was not kept, so what was decided since is void.
    pub(super) fn fail(&mut self) {
        self.has_failed = true;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Nobody waits, and what failed is forgotten.
    pub(super) fn restart(&mut self) {
        self.has_failed = false;
    }

    /// The first, if it need not wait any more, and what it is to be told.
    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> Poll<(Option<Way>, Outcome)> {
        let Some(first) = self.queue.front_mut() else { return Poll::Pending };
        let result = match &mut first.change {
            Some(ticket) => std::task::ready!(Pin::new(ticket).poll(cx)),
            None => Ok(Commit::at(0)),
        };
        let Some(Waiting { said, way, .. }) = self.queue.pop_front() else {
            return Poll::Pending;
        };
        let outcome = match result {
            Ok(_) if self.has_failed => Ok(Said::Again),
            Ok(_) => Ok(said),
            Err(error) => {
                self.has_failed = true;
                Err(error)
            }
        };
        Poll::Ready((way, outcome))
    }
}
