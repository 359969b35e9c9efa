//! What goes between processes: requests to owners, and their answers.

use std::fmt;
use std::sync::Arc;

use super::error::process;
use super::ticket::Abandoned;
use crate::error::Retryable;
use crate::event::Stream;
use crate::session::Owner;

/// Who answers requests for the streams that an instance owns.
pub trait Responder: Send + Sync {
    /// Somebody wants something of a stream. The request is opaque to the store.
    ///
    /// Called on a thread of the store: return soon and answer through `reply`, from any thread,
    /// after the commit that the answer tells of. A reply that is dropped tells the asker that the
    /// stream is not owned here.
    fn request(&self, stream: &Stream, request: &[u8], reply: Reply);
}

/// The way back to an asker.
#[must_use = "the asker waits for an answer"]
pub struct Reply(Option<Way>);

type Way = Box<dyn FnOnce(Option<Vec<u8>>) + Send>;

impl Reply {
    /// A way back by a function, which is called once: with the answer, or with none where the
    /// reply was dropped. For implementations of the port.
    pub fn new(send: impl FnOnce(Option<Vec<u8>>) + Send + 'static) -> Self {
        Self(Some(Box::new(send)))
    }

    /// Answers.
    pub fn send(mut self, answer: Vec<u8>) {
        if let Some(send) = self.0.take() {
            send(Some(answer));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(send) = self.0.take() {
            send(None);
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nobody alive owns the stream: claim it and decide yourself.
    #[error("{stream} has no living owner to ask")]
    Unowned {
        /// The stream.
        stream: Stream,
    },
    /// This instance owns it: no need to ask.
    #[error("{stream} is owned by this very process")]
    Own {
        /// The stream.
        stream: Stream,
    },
    /// There is no such stream.
    #[error("there is no {stream}")]
    NotFound {
        /// The stream.
        stream: Stream,
    },
    /// The owner lives and does not answer: it is stopped, or busy for too long. It stays the
    /// owner, and may yet do what was asked.
    #[error("the owner of {stream} does not answer (instance {}{}); it may be stopped", owner.instance, process(*pid))]
    Silent {
        /// The stream.
        stream: Stream,
        /// Its owner.
        owner: Owner,
        /// The owner's process, where it is known.
        pid: Option<u32>,
    },
    /// The owner does not take requests.
    #[error("the owner of {stream} takes no requests (instance {}{})", owner.instance, process(*pid))]
    Deaf {
        /// The stream.
        stream: Stream,
        /// Its owner.
        owner: Owner,
        /// The owner's process, where it is known.
        pid: Option<u32>,
    },
    /// The request is too large.
    #[error("a request of {size} bytes is above the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The most.
        limit: usize,
    },
    /// The store could not be read, or the socket failed.
    #[error("{message}")]
    Io {
        /// What could not be done, with where and the remedy.
        message: Arc<str>,
        /// The system's own word.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl Retryable for RequestError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Unowned { .. } | Self::Silent { .. })
    }
}

impl Abandoned for RequestError {
    fn abandoned() -> Self {
        Self::Closed
    }
}
