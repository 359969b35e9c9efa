//! Registered bodies, and how a session is made from one.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use holdpoint_core::SessionId;
use holdpoint_core::body::{
    BodyFuture, BodyOutput, ErasedBody, OutputError, SessionContext, TypedBody,
};
use holdpoint_core::store::{AppendError, Appended, ticket};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::driver::{Launch, LaunchError, Session, Shared, Shown, Spawned, Spec, message_of};
use super::handle::{Decode, Run, SessionHandle, decode};
use super::sessions::Sessions;
use super::{rt, stored};
use crate::error::{SpawnError, VerifyError};
use crate::report::Verified;

/// A registered body: what sessions are made from. Clones are the same, and keep the registry
/// going.
///
/// See [`Sessions::register`](crate::Sessions::register).
pub struct Body<I, O> {
    /// Keeps the registry from being shut down.
    sessions: Sessions,
    shared: Arc<Shared>,
    body: Arc<dyn TypedBody<I>>,
    name: Arc<str>,
    output: PhantomData<fn() -> O>,
}

/// A session about to be made: a future of its [`Run`]. Nothing happens before its first poll.
///
/// # Cancel safety
/// Dropped before its first poll, nothing was done. Dropped later, the session may exist and runs
/// on; under an idempotency key it is found again.
#[must_use = "a session is made when this is awaited"]
pub struct Spawn<O> {
    shared: Arc<Shared>,
    id: SessionId,
    /// Taken at the first poll.
    spec: Option<Wanted>,
    waits: Option<Waits>,
    decode: Decode<O>,
}

/// What is to be made, and from what; or why it cannot be.
type Wanted = (Spec, Result<Box<dyn Launch>, SpawnError>);

type Waits = Pin<Box<dyn Future<Output = Result<Made, SpawnError>> + Send>>;

impl<I, O> Body<I, O>
where
    I: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    O: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    pub(crate) fn new(sessions: Sessions, body: Arc<dyn TypedBody<I>>) -> Self {
        let shared = Arc::clone(sessions.shared());
        let name = body.name().as_str().into();
        Self { sessions, shared, body, name, output: PhantomData }
    }

    /// The name under which it is registered.
    #[must_use]
    pub fn name(&self) -> &str {
        self.body.name().as_str()
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.body.version()
    }

    /// Makes a session that runs this body on `input` (SESS-001).
    ///
    /// The body runs in the background, on the tokio runtime in which this is awaited. With a store
    /// the session is recorded when this is ready.
    ///
    /// # Errors
    /// [`SpawnError`] when awaited; then nothing was created.
    pub fn spawn(&self, input: I) -> Spawn<O> {
        self.make(input, true)
    }

    /// Registers a session without starting it: Planned, until it is resumed.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn plan(&self, input: I) -> Spawn<O> {
        self.make(input, false)
    }

    /// Leads this body over the journal of a recorded session, whatever its version, to see whether
    /// the two go together (SESS-017): before new code is deployed. Nothing is executed, asked or
    /// written.
    ///
    /// # Errors
    /// [`VerifyError::Mismatch`] with both names where they do not; others where it cannot be told.
    pub fn verify(&self, session: SessionId) -> Result<Verified, VerifyError> {
        self.shared.verify(&*(Arc::clone(&self.body) as Arc<dyn ErasedBody>), session)
    }

    fn make(&self, input: I, starts: bool) -> Spawn<O> {
        let name = Arc::clone(&self.name);
        let mut spec = Spec::new(Arc::clone(&name), self.version(), starts);
        let launch: Result<Box<dyn Launch>, SpawnError> = if self.shared.is_durable {
            match serde_json::to_string(&input) {
                Ok(text) => {
                    spec.input = Some(text.clone());
                    let body = Arc::clone(&self.body) as Arc<dyn ErasedBody>;
                    Ok(Box::new(FromText { body, input: text.into() }))
                }
                Err(error) => {
                    Err(SpawnError::Encode { body: name, message: error.to_string().into() })
                }
            }
        } else {
            Ok(Box::new(FromValue { body: Arc::clone(&self.body), input }))
        };
        let (shared, id) = (Arc::clone(&self.shared), spec.id);
        Spawn { shared, id, spec: Some((spec, launch)), waits: None, decode }
    }
}

impl<O> Spawn<O> {
    pub(crate) fn of_closure(shared: Arc<Shared>, launch: Box<dyn Launch>) -> Self {
        let spec = Spec::new(Arc::from(""), 1, true);
        let launch = if shared.is_durable { Err(SpawnError::Unregistered) } else { Ok(launch) };
        let decode = |_: &str| Err("the output of a closure is not recorded".to_owned());
        Self { shared, id: spec.id, spec: Some((spec, launch)), waits: None, decode }
    }

    /// An idempotency key, 1 to 256 bytes: the same key gives the same session (SESS-019), for as
    /// long as the session is known. Default: none.
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Self {
        if let Some((spec, _)) = &mut self.spec {
            spec.key = Some(key.into());
        }
        self
    }

    /// A limit of the whole session, from its first start. When it has passed the session is asked
    /// to stop, and ends as failed (SESS-014). Default: none.
    pub fn timeout(mut self, limit: Duration) -> Self {
        if let Some((spec, _)) = &mut self.spec {
            spec.limits.session = Some(limit);
        }
        self
    }

    /// A limit of each pause; otherwise the same. Default: none.
    pub fn pause_timeout(mut self, limit: Duration) -> Self {
        if let Some((spec, _)) = &mut self.spec {
            spec.limits.pause = Some(limit);
        }
        self
    }

    /// The id that the session will have, unless it is found by its key.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    fn start(&mut self, spec: Spec, launch: Box<dyn Launch>) -> Poll<Result<Made, SpawnError>> {
        let id = self.id;
        if !self.shared.is_durable && spec.key.is_none() {
            // What nearly all sessions in memory are.
            return match self.shared.spawn(spec, launch) {
                Ok(Spawned::Here(session, Shown::Now)) => Poll::Ready(Ok(Made::Here(session))),
                Ok(Spawned::Here(_, shown)) => {
                    self.wait(None, Arc::from(""), async move { shown.wait().await })
                }
                Ok(_) => Poll::Ready(Ok(Made::Known(id))),
                Err(error) => Poll::Ready(Err(error)),
            };
        }
        let (body, key) = (Arc::clone(&spec.body), spec.key.clone());
        match self.shared.spawn(spec, launch) {
            Ok(Spawned::Here(session, Shown::Now)) => Poll::Ready(Ok(Made::Here(session))),
            Ok(Spawned::Here(_, shown)) => self.wait(key, body, async move { shown.wait().await }),
            Ok(Spawned::Stored { appended, is_queued }) => {
                let acked = acknowledged(&self.shared, id, appended, is_queued);
                self.wait(key, body, acked)
            }
            Err(SpawnError::Store(error)) => {
                Poll::Ready(stored::find_by_key(&self.shared, key, body, error).map(Made::Known))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Waits until the session is there, or is found by its key.
    fn wait(
        &mut self,
        key: Option<Arc<str>>,
        body: Arc<str>,
        acked: impl Future<Output = Result<(), AppendError>> + Send + 'static,
    ) -> Poll<Result<Made, SpawnError>> {
        let (shared, id) = (Arc::clone(&self.shared), self.id);
        self.waits = Some(Box::pin(async move {
            match acked.await {
                Ok(()) => Ok(Made::Known(id)),
                Err(error) => stored::find_by_key(&shared, key, body, error).map(Made::Known),
            }
        }));
        Poll::Pending
    }
}

/// A session that was made, or found.
enum Made {
    Here(Arc<Session>),
    Known(SessionId),
}

impl<O> Future for Spawn<O> {
    type Output = Result<Run<O>, SpawnError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut made = Poll::Pending;
        if let Some((spec, launch)) = this.spec.take() {
            made = match launch {
                Ok(launch) => this.start(spec, launch),
                Err(error) => Poll::Ready(Err(error)),
            };
        }
        if let Some(waits) = &mut this.waits {
            made = waits.as_mut().poll(cx);
        }
        let shared = &this.shared;
        made.map_ok(|made| {
            let handle = match made {
                Made::Here(session) => SessionHandle::of(session),
                Made::Known(id) => SessionHandle::new(Arc::clone(shared), id),
            };
            Run::new(handle, this.decode)
        })
    }
}

/// When a planned session is there. One that waits its turn is entered in the queue then, whether
/// or not anybody still waits for it.
fn acknowledged(
    shared: &Arc<Shared>,
    id: SessionId,
    appended: Appended,
    is_queued: bool,
) -> Pin<Box<dyn Future<Output = Result<(), AppendError>> + Send>> {
    if !is_queued {
        return Box::pin(async move { appended.acked().await.map(drop) });
    }
    let (told, acked) = ticket();
    let shared = Arc::clone(shared);
    rt::spawn(async move {
        let acked = appended.acked().await.map(drop);
        if acked.is_ok() {
            shared.enqueue(id);
        }
        told.complete(acked);
    });
    Box::pin(acked)
}

/// A body with its input, in memory.
struct FromValue<I> {
    body: Arc<dyn TypedBody<I>>,
    input: I,
}

impl<I: Clone + Send + Sync + 'static> Launch for FromValue<I> {
    fn launch(&mut self, cx: SessionContext) -> Result<BodyFuture, LaunchError> {
        guarded(|| Ok(self.body.call(cx, self.input.clone())))
    }

    fn encode(&self, output: &(dyn Any + Send + Sync)) -> Result<String, String> {
        encoded(|| self.body.encode_output(output))
    }
}

/// A body with its input as it is recorded.
pub(crate) struct FromText {
    pub(crate) body: Arc<dyn ErasedBody>,
    pub(crate) input: Arc<str>,
}

impl Launch for FromText {
    fn launch(&mut self, cx: SessionContext) -> Result<BodyFuture, LaunchError> {
        guarded(|| self.body.start(cx, &self.input).map_err(LaunchError::Input))
    }

    fn encode(&self, output: &(dyn Any + Send + Sync)) -> Result<String, String> {
        encoded(|| self.body.encode_output(output))
    }
}

/// A closure, which runs once.
pub(crate) struct FromClosure(pub(crate) Option<Once>);

pub(crate) type Once = Box<dyn FnOnce(SessionContext) -> BodyFuture + Send>;

impl Launch for FromClosure {
    fn launch(&mut self, cx: SessionContext) -> Result<BodyFuture, LaunchError> {
        let once = self.0.take().ok_or(LaunchError::OnlyOnce)?;
        guarded(|| Ok(once(cx)))
    }

    fn encode(&self, _: &(dyn Any + Send + Sync)) -> Result<String, String> {
        Err("the output of a closure is not serialised".to_owned())
    }
}

/// Calls code of the caller's that may panic: then the body does, where that is an outcome
/// (SESS-008).
fn guarded(
    launch: impl FnOnce() -> Result<BodyFuture, LaunchError>,
) -> Result<BodyFuture, LaunchError> {
    catch_unwind(AssertUnwindSafe(launch))
        .unwrap_or_else(|panic| Ok(Box::pin(async move { resume_unwind(panic) })))
}

/// An output as text. What serialises it is the caller's code, and may panic.
fn encoded(encode: impl FnOnce() -> Option<Result<String, OutputError>>) -> Result<String, String> {
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Some(Ok(text))) => Ok(text),
        Ok(Some(Err(error))) => Err(format!("{error}: {}", error.source)),
        Ok(None) => Err("its output is of another type".to_owned()),
        Err(panic) => Err(format!("its output panics: {}", message_of(&*panic))),
    }
}

/// The future of a closure's body, with an output that is kept as it is.
pub(crate) fn erase<O, E, Fut>(body: Fut) -> BodyFuture
where
    O: Send + Sync + 'static,
    E: Into<holdpoint_core::BoxError> + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
{
    Box::pin(async move {
        match body.await {
            Ok(output) => Ok(BodyOutput::Value(Arc::new(output))),
            Err(error) => Err(error.into()),
        }
    })
}

impl<I, O> Clone for Body<I, O> {
    fn clone(&self) -> Self {
        let (sessions, shared) = (self.sessions.clone(), Arc::clone(&self.shared));
        let (body, name) = (Arc::clone(&self.body), Arc::clone(&self.name));
        Self { sessions, shared, body, name, output: PhantomData }
    }
}

impl<I, O> fmt::Debug for Body<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("name", self.body.name())
            .field("version", &self.body.version())
            .finish_non_exhaustive()
    }
}

impl<O> fmt::Debug for Spawn<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn").field("id", &self.id).finish_non_exhaustive()
    }
}
