//! The bodies that a program has, by name and version.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::SessionContext;
use crate::error::{BoxError, Retryable};
use crate::name::{Name, NameError};

/// A running body whose types are forgotten.
pub type BodyFuture = Pin<Box<dyn Future<Output = Result<BodyOutput, BoxError>> + Send>>;

/// What a body returned.
#[derive(Debug, Clone)]
pub enum BodyOutput {
    /// The value itself, where results are not recorded: nothing is serialised.
    Value(Arc<dyn Any + Send + Sync>),
    /// The value as JSON text, where results are recorded.
    Text(Arc<str>),
}

/// The registered bodies of a program, for every host alike.
///
/// Bodies of one name and several versions stand side by side, so that sessions which began with
/// an old version end with it.
///
/// ```
/// use holdpoint_core::body::{Bodies, BodyError, SessionContext};
///
/// async fn double(_: SessionContext, number: u32) -> Result<u64, BodyError> {
///     Ok(u64::from(number) * 2)
/// }
///
/// let mut bodies = Bodies::new();
/// bodies.register("double", 1, double)?;
/// bodies.register("double", 2, |_: SessionContext, number: u64| async move {
///     number.checked_mul(2).ok_or("too large to double")
/// })?;
/// assert_eq!(bodies.latest("double").map(|body| body.version()), Some(2));
/// assert!(bodies.get("double", 1).is_some() && bodies.get("double", 3).is_none());
/// # Ok::<(), holdpoint_core::body::RegisterError>(())
/// ```
#[derive(Clone, Default)]
pub struct Bodies {
    /// No name is without a version.
    by_name: BTreeMap<Name, BTreeMap<u32, Arc<dyn ErasedBody>>>,
}

/// A registered body whose types are forgotten: its input comes as JSON text.
pub trait ErasedBody: Send + Sync {
    /// The name under which it is registered.
    fn name(&self) -> &Name;

    /// Its version.
    fn version(&self) -> u32;

    /// Runs it. Nothing of the body happens before the future is polled.
    ///
    /// # Errors
    /// [`InputError`] where `input` is no JSON text of its input's type.
    fn start(&self, cx: SessionContext, input: &str) -> Result<BodyFuture, InputError>;

    /// An output of this body, the value itself, as JSON text. None where the value is of another
    /// type.
    fn encode_output(
        &self,
        output: &(dyn Any + Send + Sync),
    ) -> Option<Result<String, OutputError>>;
}

/// A registered body whose input is not serialised on its way.
pub trait TypedBody<I>: ErasedBody {
    /// Runs it, as [`ErasedBody::start`] does, with one allocation.
    fn call(&self, cx: SessionContext, input: I) -> BodyFuture;
}

/// Why a body is not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Its name breaks the rules of names.
    #[error("`{name}` cannot be the name of a body")]
    Name {
        /// The name.
        name: String,
        /// Which rule it breaks.
        #[source]
        source: NameError,
    },
    /// This name has a body of this version.
    #[error("the body `{name}` has a version {version} already")]
    Duplicate {
        /// The name.
        name: Name,
        /// The version.
        version: u32,
    },
}

/// A body's input is not of its type.
#[derive(Debug, thiserror::Error)]
#[error("version {version} of the body `{body}` does not take this input")]
#[non_exhaustive]
pub struct InputError {
    /// The body's name.
    pub body: Name,
    /// Its version.
    pub version: u32,
    /// What serde says.
    pub source: BoxError,
}

/// A body's output does not serialise.
#[derive(Debug, thiserror::Error)]
#[error("the output of version {version} of the body `{body}` does not serialise")]
#[non_exhaustive]
pub struct OutputError {
    /// The body's name.
    pub body: Name,
    /// Its version.
    pub version: u32,
    /// What serde says.
    pub source: BoxError,
}

impl Bodies {
    /// No bodies.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a body: an async function of a context and an input, or a closure that returns
    /// its future. What the body needs besides, the closure captures.
    ///
    /// # Errors
    /// [`RegisterError::Name`] where `name` is no [`Name`], and [`RegisterError::Duplicate`] where
    /// there is such a body. Then nothing has changed.
    pub fn register<I, O, E, F, Fut>(
        &mut self,
        name: &str,
        version: u32,
        body: F,
    ) -> Result<Arc<dyn TypedBody<I>>, RegisterError>
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + Sync + 'static,
        E: Into<BoxError> + 'static,
        F: Fn(SessionContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let name = Name::new(name)
            .map_err(|source| RegisterError::Name { name: name.to_owned(), source })?;
        if self.get(name.as_str(), version).is_some() {
            return Err(RegisterError::Duplicate { name, version });
        }
        let versions = self.by_name.entry(name.clone()).or_default();
        let body: Arc<Registered<I, O, F>> =
            Arc::new(Registered(Arc::new(Inner { name, version, body }), PhantomData));
        versions.insert(version, Arc::clone(&body) as Arc<dyn ErasedBody>);
        Ok(body)
    }

    /// The body of this name and version.
    #[must_use]
    pub fn get(&self, name: &str, version: u32) -> Option<&Arc<dyn ErasedBody>> {
        self.by_name.get(name)?.get(&version)
    }

    /// The body of this name with the highest version.
    #[must_use]
    pub fn latest(&self, name: &str) -> Option<&Arc<dyn ErasedBody>> {
        self.by_name.get(name)?.values().next_back()
    }

    /// The versions of this name, rising; none where there is no such name.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = u32> {
        self.by_name.get(name).into_iter().flat_map(|versions| versions.keys().copied())
    }

    /// All bodies, by name and then version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn ErasedBody>> {
        self.by_name.values().flat_map(BTreeMap::values)
    }
}

impl fmt::Debug for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions = self.by_name.iter().map(|(name, versions)| (name, versions.keys()));
        let versions = versions.map(|(name, keys)| (name, keys.collect::<Vec<_>>()));
        f.debug_map().entries(versions).finish()
    }
}

impl Retryable for RegisterError {
    /// Never.
    fn is_retryable(&self) -> bool {
        false
    }
}

impl Retryable for InputError {
    /// Never: this version does not change.
    fn is_retryable(&self) -> bool {
        false
    }
}

impl Retryable for OutputError {
    /// Never: the recorded results lead to the same output.
    fn is_retryable(&self) -> bool {
        false
    }
}

type Types<I, O> = PhantomData<fn(I) -> O>;

struct Registered<I, O, F>(Arc<Inner<F>>, Types<I, O>);

struct Inner<F> {
    name: Name,
    version: u32,
    body: F,
}

impl<F> Inner<F> {
    fn encode<O: Serialize>(&self, output: &O) -> Result<String, OutputError> {
        serde_json::to_string(output).map_err(|error| OutputError {
            body: self.name.clone(),
            version: self.version,
            source: error.into(),
        })
    }
}

impl<I, O, E, F, Fut> ErasedBody for Registered<I, O, F>
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + Sync + 'static,
    E: Into<BoxError> + 'static,
    F: Fn(SessionContext, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
{
    fn name(&self) -> &Name {
        &self.0.name
    }

    fn version(&self) -> u32 {
        self.0.version
    }

    fn start(&self, cx: SessionContext, input: &str) -> Result<BodyFuture, InputError> {
        let input = serde_json::from_str(input).map_err(|error| InputError {
            body: self.0.name.clone(),
            version: self.0.version,
            source: error.into(),
        })?;
        Ok(self.call(cx, input))
    }

    fn encode_output(
        &self,
        output: &(dyn Any + Send + Sync),
    ) -> Option<Result<String, OutputError>> {
        Some(self.0.encode(output.downcast_ref::<O>()?))
    }
}

impl<I, O, E, F, Fut> TypedBody<I> for Registered<I, O, F>
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + Sync + 'static,
    E: Into<BoxError> + 'static,
    F: Fn(SessionContext, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send + 'static,
{
    fn call(&self, cx: SessionContext, input: I) -> BodyFuture {
        let is_recorded = cx.is_recorded();
        let stage = Stage::Called { cx: Some((cx, input)) };
        Box::pin(Run { inner: Arc::clone(&self.0), is_recorded, stage })
    }
}

pin_project! {
    /// A body from its call to its end. The function is called by the first poll, so that its code
    /// runs nowhere but there; what it was given does not lie beside its future.
    struct Run<I, F, Fut> {
        inner: Arc<Inner<F>>,
        is_recorded: bool,
        #[pin]
        stage: Stage<I, Fut>,
    }
}

pin_project! {
    #[project = StageProjected]
    enum Stage<I, Fut> {
        Called { cx: Option<(SessionContext, I)> },
        Running { #[pin] body: Fut },
    }
}

impl<I, O, E, F, Fut> Future for Run<I, F, Fut>
where
    O: Serialize + Send + Sync + 'static,
    E: Into<BoxError>,
    F: Fn(SessionContext, I) -> Fut,
    Fut: Future<Output = Result<O, E>>,
{
    type Output = Result<BodyOutput, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StageProjected::Called { cx } = this.stage.as_mut().project() {
            let (cx, input) = cx.take().expect("BUG: a body whose call panicked is polled again");
            let body = (this.inner.body)(cx, input);
            this.stage.set(Stage::Running { body });
        }
        let StageProjected::Running { body } = this.stage.project() else {
            unreachable!("BUG: a body that was called does not run");
        };
        let output = match ready!(body.poll(cx)) {
            Ok(output) => output,
            Err(error) => return Poll::Ready(Err(error.into())),
        };
        Poll::Ready(if *this.is_recorded {
            this.inner.encode(&output).map(|text| BodyOutput::Text(text.into())).map_err(Into::into)
        } else {
            Ok(BodyOutput::Value(Arc::new(output)))
        })
    }
}
