//! Sessions that a body starts.

use serde::Serialize;

use super::error::{BodyError, Fault, label};
use super::port::{ChildSpec, Kind, OpName};

/// A session to be started by [`SessionContext::spawn_child`](super::SessionContext::spawn_child)
/// or [`spawn_detached`](super::SessionContext::spawn_detached).
///
/// ```
/// use holdpoint_core::SessionId;
/// use holdpoint_core::body::{BodyError, Child, SessionContext};
///
/// async fn release(cx: SessionContext, version: String) -> Result<u32, BodyError> {
///     let _news: SessionId = cx.spawn_detached(Child::new("announce", &version)).await?;
///     let files: u32 = cx.spawn_child(Child::new("upload", &version).version(2)).await?;
///     Ok(files)
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use = "it is started by `SessionContext::spawn_child`"]
pub struct Child {
    name: OpName,
    body: OpName,
    version: Option<u32>,
    input: Result<String, Fault>,
}

impl Child {
    /// The latest registered version of the body `body`, with its input. An input that does not
    /// serialise is told by the operation, as [`BodyError::Encode`].
    pub fn new(body: impl Into<OpName>, input: &(impl Serialize + ?Sized)) -> Self {
        let body = body.into();
        let input =
            serde_json::to_string(input).map_err(|error| Fault::new(error.to_string(), false));
        Self { name: body.clone(), body, version: None, input }
    }

    /// This version of its body, whichever are registered besides.
    pub fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    /// The operation's own name, to tell parallel children of one body apart. Default: the body's.
    pub fn named(mut self, name: impl Into<OpName>) -> Self {
        self.name = name.into();
        self
    }

    pub(super) fn into_spec(self, is_detached: bool) -> Result<(OpName, ChildSpec), BodyError> {
        match self.input {
            Ok(input) => {
                let body = self.body.into_owned();
                let spec = ChildSpec { body, version: self.version, input, is_detached };
                Ok((self.name, spec))
            }
            Err(fault) => {
                Err(BodyError::Encode { operation: label(Kind::Child, &self.name), fault })
            }
        }
    }
}
