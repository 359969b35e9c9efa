//! What a process has between itself and the others: its owner file, the socket on which it is
//! asked, and the one on which it gets news.
//!
//! # Locks
//! `state` and `news` are held for moments and never together.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use holdpoint_core::event::Stream;
use holdpoint_core::session::Owner;
use holdpoint_core::store::{ChangesSender, RequestError, Responder, Ticket, ticket};

use crate::news::{News, NewsListener};
use crate::owner::{Instance, Instances};
use crate::place::{self, PlaceError};
use crate::socket::{self, AskFailure, Listener};

/// How long an owner has to answer (STORE-007).
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Wire {
    /// The store's own id: names of sockets begin with a part of it.
    store: String,
    instances: Arc<Instances>,
    changes: ChangesSender,
    state: Mutex<State>,
    /// Whom the writer tells.
    news: Mutex<Option<News>>,
}

#[derive(Default)]
struct State {
    instance: Option<Instance>,
    listener: Option<Listener>,
    news: Option<NewsListener>,
}

impl Wire {
    pub(crate) fn new(store: String, instances: Arc<Instances>, changes: ChangesSender) -> Self {
        let (state, news) = (Mutex::default(), Mutex::default());
        Self { store, instances, changes, state, news }
    }

    /// From now on this process is an instance.
    pub(crate) fn enter(&self, instance: Instance) {
        *lock(&self.news) = Some(News::new(Arc::clone(&self.instances), instance.id()));
        lock(&self.state).instance = Some(instance);
    }

    /// From now on it is none: it takes no requests and gets no news, and then the owner file goes.
    pub(crate) fn leave(&self) {
        let State { instance, listener, news } = std::mem::take(&mut *lock(&self.state));
        *lock(&self.news) = None;
        drop((listener, news));
        drop(instance);
    }

    /// Tells the other processes that something was committed.
    pub(crate) fn tell_others(&self) {
        if let Some(news) = &mut *lock(&self.news) {
            news.tell();
        }
    }

    /// Opens the socket for news, once. Where that fails, news of other processes does not come,
    /// and the log says so.
    pub(crate) fn listen_for_news(&self) {
        let mut state = lock(&self.state);
        let State { instance: Some(instance), news: news @ None, .. } = &mut *state else {
            return;
        };
        let id = instance.id();
        let changes = self.changes.clone();
        let listener =
            self.socket_path(id, "n").map_err(|error| error.to_string()).and_then(|path| {
                NewsListener::start(&path, move || changes.send())
                    .map_err(|error| error.to_string())
            });
        let told = listener.and_then(|listener| {
            let path = listener.path().to_owned();
            let card = instance.change_card(|card| card.news = Some(path));
            card.map(|()| listener).map_err(|error| error.to_string())
        });
        match told {
            Ok(listener) => *news = Some(listener),
            Err(error) => tracing::warn!(%error, "no news of what other processes commit"),
        }
    }

    /// Opens the socket for requests, or has another responder answer at it.
    pub(crate) fn respond(&self, responder: Arc<dyn Responder>) -> Result<(), RequestError> {
        let mut state = lock(&self.state);
        let State { instance, listener, .. } = &mut *state;
        let Some(instance) = instance else { return Err(RequestError::Closed) };
        if let Some(listener) = listener {
            listener.replace(responder);
            return Ok(());
        }
        let path = self.socket_path(instance.id(), "r").map_err(|error| {
            let message = error.to_string().into();
            RequestError::Io { message, source: Arc::new(io::Error::other(error)) }
        })?;
        let failed = |error| io_error("no requests can be taken at", &path, error);
        let new = Listener::start(&path, responder).map_err(failed)?;
        instance.change_card(|card| card.requests = Some(path.clone())).map_err(failed)?;
        *listener = Some(new);
        Ok(())
    }

    /// Asks the owner of a stream, on a thread of its own.
    pub(crate) fn request(
        &self,
        stream: &Stream,
        owner: Option<Owner>,
        me: Option<u64>,
        request: &[u8],
    ) -> Result<Ticket<Result<Vec<u8>, RequestError>>, RequestError> {
        let unowned = || RequestError::Unowned { stream: stream.clone() };
        let owner = owner.ok_or_else(unowned)?;
        if Some(owner.instance) == me {
            return Err(RequestError::Own { stream: stream.clone() });
        }
        if !self.instances.is_alive(owner.instance) {
            return Err(unowned());
        }
        let card = self.instances.card(owner.instance);
        let pid = card.as_ref().map(|card| card.pid);
        let Some(path) = card.and_then(|card| card.requests) else {
            return Err(RequestError::Deaf { stream: stream.clone(), owner, pid });
        };
        let (done, ticket) = ticket();
        let (stream, request) = (stream.clone(), request.to_vec());
        let instances = Arc::clone(&self.instances);
        let ask = move || {
            let answer = socket::ask(&path, &stream, &request, PATIENCE);
            done.complete(answer.map_err(|failure| {
                let is_alive = instances.is_alive(owner.instance);
                request_error(failure, stream, owner, pid, is_alive, &path)
            }));
        };
        thread::Builder::new()
            .name("holdpoint-ask".to_owned())
            .spawn(ask)
            .map_err(|error| io_error("no thread to ask at", Path::new("the owner"), error))?;
        Ok(ticket)
    }

    /// A short path: it has to fit into an address.
    fn socket_path(&self, instance: u64, kind: &str) -> Result<std::path::PathBuf, PlaceError> {
        let start = self.store.len().saturating_sub(8);
        let store = self.store.get(start..).unwrap_or_default();
        place::socket_path(&format!("{store}-{instance:x}.{kind}"))
    }
}

fn request_error(
    failure: AskFailure,
    stream: Stream,
    owner: Owner,
    pid: Option<u32>,
    is_alive: bool,
    path: &Path,
) -> RequestError {
    match failure {
        AskFailure::Silent => RequestError::Silent { stream, owner, pid },
        AskFailure::Unowned => RequestError::Unowned { stream },
        // Its socket is gone and it lives: it is about to end, or to begin.
        AskFailure::Gone if is_alive => RequestError::Deaf { stream, owner, pid },
        AskFailure::Gone => RequestError::Unowned { stream },
        AskFailure::TooLarge { size } | AskFailure::AnswerTooLarge { size } => {
            RequestError::TooLarge { size, limit: socket::LIMIT }
        }
        AskFailure::Io(error) => io_error("the owner cannot be asked at", path, error),
    }
}

fn io_error(what: &str, path: &Path, error: io::Error) -> RequestError {
    let message = format!("{what} {}: {error}", path.display()).into();
    RequestError::Io { message, source: Arc::new(error) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("store", &self.store).finish_non_exhaustive()
    }
}
