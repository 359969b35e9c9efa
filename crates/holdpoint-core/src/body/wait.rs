//! The futures of questions, sleeps and children.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::de::DeserializeOwned;

use super::error::BodyError;
use super::op::Op;
use super::port::Kind;

/// What a body waits for: an answer, a time, a child. It was called already; awaiting it only
/// gives its result.
///
/// # Errors
/// It resolves to a [`BodyError`]: above all [`Cancelled`](BodyError::Cancelled), when the session
/// is asked to stop.
///
/// # Cancel safety
/// Dropping it takes the operation back: a question is withdrawn, a child asked to stop. Polled
/// after its end, it is pending for ever.
#[must_use = "an operation that is dropped is taken back"]
pub struct Wait<T> {
    op: Op,
    kind: Kind,
    value: PhantomData<fn() -> T>,
}

/// Several waits as one: see [`SessionContext::ask_all`](super::SessionContext::ask_all).
///
/// # Errors
/// The first error of one of them, and then the others are dropped.
///
/// # Cancel safety
/// As of a [`Wait`], for each that has no result yet.
#[must_use = "operations that are dropped are taken back"]
pub struct WaitAll<T> {
    waits: Vec<Entry<T>>,
}

enum Entry<T> {
    Open(Wait<T>),
    Done(T),
}

impl<T> Wait<T> {
    pub(super) fn new(op: Op, kind: Kind) -> Self {
        Self { op, kind, value: PhantomData }
    }
}

impl<T> WaitAll<T> {
    pub(super) fn new(waits: impl Iterator<Item = Wait<T>>) -> Self {
        Self { waits: waits.map(Entry::Open).collect() }
    }
}

impl<T: DeserializeOwned> Future for Wait<T> {
    type Output = Result<T, BodyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let next = ready!(self.op.poll(cx))?;
        Poll::Ready(self.op.value(self.kind, next))
    }
}

/// The values lie on the heap: nothing is pinned in place.
impl<T> Unpin for WaitAll<T> {}

impl<T: DeserializeOwned> Future for WaitAll<T> {
    type Output = Result<Vec<T>, BodyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut is_done = true;
        for entry in &mut self.waits {
            let Entry::Open(wait) = entry else { continue };
            match Pin::new(wait).poll(cx) {
                Poll::Ready(Ok(value)) => *entry = Entry::Done(value),
                Poll::Ready(Err(error)) => {
                    self.waits.clear();
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => is_done = false,
            }
        }
        if !is_done {
            return Poll::Pending;
        }
        let values = self.waits.drain(..).filter_map(|entry| match entry {
            Entry::Done(value) => Some(value),
            Entry::Open(_) => None,
        });
        Poll::Ready(Ok(values.collect()))
    }
}

impl<T> fmt::Debug for Wait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wait").field(&self.kind).field(&self.op).finish()
    }
}

impl<T> fmt::Debug for WaitAll<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitAll").field("count", &self.waits.len()).finish()
    }
}
