//! The registry: where bodies are registered, and sessions are made, found, listed, collected and
//! brought to an end.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use holdpoint_core::body::SessionContext;
use holdpoint_core::event::{EventSink, Stream};
use holdpoint_core::store::{Filter, Store, StreamKind};
use holdpoint_core::{BoxError, CancelCode, CancelInfo, Clock, SessionId, SystemClock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::{Body, FromClosure, Spawn, erase};
use super::driver::{Options, Orders, Place, Shared};
use super::handle::SessionHandle;
use super::rt;
use super::stored::Desk;
use crate::error::{GetError, OpenError, RegisterError};
use crate::options::{History, Limits, Recovery};
use crate::report::{ShutdownReport, Snapshot};
use holdpoint_core::session::SuspendCause;

/// A registry of sessions. Clones are the same registry.
///
/// Without a store sessions live and end with the process, and nothing is serialised. With one that
/// outlives the process, each result of a body is recorded before the body goes on (SESS-017).
///
/// Dropping the last clone, those in its bodies included, does what [`shutdown`](Self::shutdown) does, in the background.
///
/// ```
/// use holdpoint_session::{Ask, BodyError, Sessions, SessionContext};
///
/// async fn greet(cx: SessionContext, name: String) -> Result<String, BodyError> {
///     let polite: bool = cx.ask(Ask::confirm("polite", format!("Is {name} to be greeted politely?"))).await?;
///     Ok(if polite { format!("Good day, {name}") } else { format!("Hi {name}") })
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Sessions::new();
/// let greet = sessions.register("greet", greet)?;
/// let run = greet.spawn("Ada".to_owned()).await?;
/// let question = run.next_question().await?.expect("it asks");
/// run.answer(question.id, true).await?;
/// assert_eq!(run.await?, "Good day, Ada");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sessions(Arc<Guard>);

struct Guard {
    shared: Arc<Shared>,
}

/// Settings of a registry.
#[must_use = "a registry is made by `open` or `build`"]
pub struct SessionsBuilder {
    options: Options,
    store: Option<Arc<dyn Store>>,
    clock: Arc<dyn Clock>,
    sink: Option<Arc<dyn EventSink>>,
}

impl Sessions {
    /// A registry in memory, with all defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Settings of a registry: in memory, without limits.
    pub fn builder() -> SessionsBuilder {
        SessionsBuilder {
            options: Options::default(),
            store: None,
            clock: Arc::new(SystemClock::new()),
            sink: None,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Registers a body under a name, as version 1. With a store, what was left of it is taken up
    /// in the background (SESS-018).
    ///
    /// # Errors
    /// [`RegisterError`] where the name is none, or taken.
    pub fn register<I, O, E, F, Fut>(
        &self,
        name: &str,
        body: F,
    ) -> Result<Body<I, O>, RegisterError>
    where
        I: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        E: Into<BoxError> + 'static,
        F: Fn(SessionContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        self.register_version(name, 1, body)
    }

    /// Registers a version of a body beside others of its name: sessions end with the version with
    /// which they began.
    ///
    /// # Errors
    /// [`RegisterError`] where the name is none, or has this version already.
    pub fn register_version<I, O, E, F, Fut>(
        &self,
        name: &str,
        version: u32,
        body: F,
    ) -> Result<Body<I, O>, RegisterError>
    where
        I: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        E: Into<BoxError> + 'static,
        F: Fn(SessionContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let shared = self.shared();
        let body = shared.bodies().register(name, version, body)?;
        if shared.is_durable && shared.options.recovery == Recovery::Automatic {
            let (shared, name) = (Arc::clone(shared), name.to_owned());
            let search = shared.search();
            rt::spawn(async move {
                let _search = search;
                if let Err(error) = shared.recover(Some(&name)).await {
                    tracing::warn!(body = name, "what was left is not taken up: {error}");
                }
            });
        }
        Ok(Body::new(self.clone(), body))
    }

    /// Makes a session from a closure, without a name and an input. In memory only.
    ///
    /// # Errors
    /// [`SpawnError`](crate::SpawnError) when awaited;
    /// [`Unregistered`](crate::SpawnError::Unregistered) where there is a store that outlives the
    /// process.
    pub fn spawn_fn<O, E, F, Fut>(&self, body: F) -> Spawn<O>
    where
        O: Clone + Send + Sync + 'static,
        E: Into<BoxError> + 'static,
        F: FnOnce(SessionContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let once = Box::new(|cx| erase(body(cx)));
        Spawn::of_closure(Arc::clone(self.shared()), Box::new(FromClosure(Some(once))))
    }

    /// Takes up all that was left and can go on: of sessions whose process was lost, those with a
    /// registered body go on, and the others are told to be suspended. Says how many changed.
    ///
    /// # Errors
    /// [`GetError`] where the store cannot be read.
    pub async fn recover(&self) -> Result<usize, GetError> {
        self.shared().recover(None).await
    }

    /// A session, in this process or in the store.
    ///
    /// # Errors
    /// [`GetError::NotFound`], said only when it is true.
    pub fn get(&self, id: SessionId) -> Result<SessionHandle, GetError> {
        let handle = SessionHandle::new(Arc::clone(self.shared()), id);
        if !handle.is_here() {
            handle.snapshot()?;
        }
        Ok(handle)
    }

    /// The sessions of this process, in the order of their creation: those that run here, and those
    /// that ended here and were not collected.
    #[must_use]
    pub fn list(&self) -> Vec<Snapshot> {
        self.shared().all().iter().map(|session| session.snapshot()).collect()
    }

    /// All sessions of the store, in the order of their creation, at most `limit` of them after the
    /// first `skip`. Empty without a store.
    ///
    /// # Errors
    /// [`GetError::Read`].
    pub fn list_stored(&self, skip: u64, limit: usize) -> Result<Vec<SessionId>, GetError> {
        let Some(store) = &self.shared().store else { return Ok(Vec::new()) };
        let filter = Filter::of(StreamKind::Session).after(skip).limit(limit);
        let list = store.list(&filter).map_err(GetError::Read)?;
        Ok(list
            .into_iter()
            .filter_map(|info| match info.stream {
                Stream::Session(id) => Some(id),
                _ => None,
            })
            .collect())
    }

    /// How many sessions [`list`](Self::list) would show.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets sessions that ended `ttl` ago or earlier (SESS-012), a slice at a time. Says how
    /// many. Whoever holds one can still read it; with a store it stays readable for all.
    pub fn collect(&self, ttl: Duration) -> usize {
        let mut count = 0;
        while let Some(slice) = self.shared().collect_slice(ttl) {
            count += slice;
        }
        count
    }

    /// Collects by itself from now on, each session when it is due, until the handle is dropped or
    /// stopped. Wakes only when there is something to collect.
    ///
    /// # Errors
    /// `None` outside of a tokio runtime.
    #[must_use = "dropping the handle stops the collection"]
    pub fn collect_after(&self, ttl: Duration) -> Option<Collection> {
        let (stop, stopped) = rt::stop();
        let shared = Arc::downgrade(self.shared());
        let task = async move {
            let mut stopped = stopped;
            let mut timer = rt::Timer::default();
            let mut place = Place::default();
            poll_fn(|cx| {
                loop {
                    if stopped.poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                    let Some(shared) = shared.upgrade() else { return Poll::Ready(()) };
                    let due = shared.next_collection(ttl, &mut place, cx.waker());
                    match timer.poll(due, &*shared.clock, cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(()) => {
                            shared.collect_slice(ttl);
                        }
                    }
                }
            })
            .await;
        };
        rt::spawn(task).then_some(Collection { _stop: stop })
    }

    /// Takes no more sessions, and brings those that run to an end (SESS-016). In memory they are
    /// cancelled with cause `shutdown`; with a store they are suspended as soon as no step runs, and
    /// paused ones stay paused, so that another process can go on with them. What has not stopped
    /// when the grace is over is aborted. Returns within a second after that.
    ///
    /// # Cancel safety
    /// Dropped, the rest goes on in the background, without the abort.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        shutdown(self.shared(), grace).await
    }
}

async fn shutdown(shared: &Arc<Shared>, grace: Duration) -> ShutdownReport {
    let cause = begin_shutdown(shared);
    let deadline = shared.clock.monotonic() + grace;
    let mut report = ShutdownReport::default();
    if !wait_quiet(shared, deadline).await {
        for session in shared.all() {
            if session.is_running() {
                session.order(Orders::Abort(cause.clone()));
                report.aborted.push(session.id);
            }
        }
        let deadline = shared.clock.monotonic() + Duration::from_millis(900);
        if !wait_quiet(shared, deadline).await {
            let all = shared.all();
            let running = all.iter().filter(|session| session.is_running());
            report.stuck = running.map(|session| session.id).collect();
        }
    }
    report
}

/// Takes no more sessions, and asks those that run to stop.
fn begin_shutdown(shared: &Arc<Shared>) -> CancelInfo {
    let cause = CancelInfo::new(
        CancelCode::Shutdown,
        "the sessions are shut down",
        shared.clock.now().wall,
    );
    shared.close(&cause);
    let mut queued = shared.admission().drain();
    queued.sort_unstable();
    shared.nothing_is_awaited();
    for session in shared.all() {
        if session.is_recorded {
            session.order(Orders::Suspend(SuspendCause::Shutdown));
        } else if session.is_running() || queued.binary_search(&session.id).is_ok() {
            // Refused where it has just ended.
            if let Ok(Some(shown)) = session.cancel(cause.clone()) {
                shown.forget();
            }
        }
    }
    cause
}

/// Waits until no body runs; `false` where that is not so at the deadline.
async fn wait_quiet(shared: &Shared, deadline: holdpoint_core::Monotonic) -> bool {
    let mut timer = rt::Timer::default();
    let mut place = Place::default();
    poll_fn(|cx| {
        let mut ended = shared.ended();
        if ended.running == 0 {
            return Poll::Ready(true);
        }
        let replaced = ended.quiet.register(&mut place, cx.waker());
        drop(ended);
        drop(replaced);
        timer.poll(Some(deadline), &*shared.clock, cx).map(|()| false)
    })
    .await
}

impl SessionsBuilder {
    /// Where sessions are kept. Default: in memory, for as long as the process lives.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// How many events of each session are kept in memory. Default: the last 64.
    pub fn history(mut self, history: History) -> Self {
        self.options.history = history;
        self
    }

    /// How many sessions may be under way. Default: no limit.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Whether sessions that were left go on by themselves. Default: yes.
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.options.recovery = recovery;
        self
    }

    /// Breaks the registry, to show that a test sees it.
    #[cfg(test)]
    pub(crate) fn flaw(mut self, flaw: Option<super::driver::Flaw>) -> Self {
        self.options.flaw = flaw;
        self
    }

    /// Where the time is read. Default: the system's clocks.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Who is told of all events, as they are shown. Default: nobody.
    pub fn sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// The registry, without taking up what was left in the store, and without answering requests
    /// of other processes: [`open`](Self::open) does both.
    #[must_use]
    pub fn build(self) -> Sessions {
        let Self { options, store, clock, sink } = self;
        Sessions(Arc::new(Guard { shared: Arc::new(Shared::new(options, clock, sink, store)) }))
    }

    /// The registry. With a store it answers other processes from now on.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(self) -> Result<Sessions, OpenError> {
        let sessions = self.build();
        let shared = sessions.shared();
        if let Some(store) = &shared.store
            && let Some(runtime) = rt::Runtime::here()
        {
            store.respond(Arc::new(Desk::new(shared, runtime))).map_err(OpenError::Respond)?;
            if shared.is_durable {
                let shared = Arc::clone(shared);
                let search = shared.search();
                rt::spawn(async move {
                    let _search = search;
                    if let Err(error) = shared.recover(None).await {
                        tracing::warn!("what was left is not looked at: {error}");
                    }
                });
            }
        }
        Ok(sessions)
    }
}

/// A collection under way. Dropping it stops it.
#[derive(Debug)]
pub struct Collection {
    _stop: rt::Stop,
}

impl Collection {
    /// Stops it.
    pub fn stop(self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.shared.closing().is_none() {
            begin_shutdown(&self.shared);
        }
        self.shared.abandon();
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}
