//! A value that comes later, for async code and for threads alike.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A value to come: a future of it, which a thread can also [`wait`](Self::wait) for.
///
/// Dropping it withdraws nothing. It needs no runtime.
///
/// ```
/// use holdpoint_core::store::{AppendError, ticket};
///
/// let (completer, ticket) = ticket();
/// std::thread::spawn(move || completer.complete(Ok::<u32, AppendError>(7)));
/// assert!(ticket.wait().is_ok());
/// ```
#[must_use = "the value is lost with the ticket"]
pub struct Ticket<T>(Arc<Shared<T>>);

/// The other end of a [`Ticket`], for who has the value. Dropped without one, the ticket ends with
/// the value that `T` has for that, see [`Abandoned`].
pub struct Completer<T: Abandoned>(Option<Arc<Shared<T>>>);

/// What a ticket gives whose completer went away, so that nobody waits for ever.
pub trait Abandoned {
    /// That value.
    fn abandoned() -> Self;
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// For threads; futures leave a waker.
    completed: Condvar,
}

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
    is_waited_for: bool,
}

/// A ticket and its other end.
pub fn ticket<T: Abandoned>() -> (Completer<T>, Ticket<T>) {
    let state = State { value: None, waker: None, is_waited_for: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), completed: Condvar::new() });
    (Completer(Some(Arc::clone(&shared))), Ticket(shared))
}

impl<T> Ticket<T> {
    /// Blocks the thread until the value is there.
    pub fn wait(self) -> T {
        let mut state = self.0.lock();
        loop {
            if let Some(value) = state.value.take() {
                return value;
            }
            state.is_waited_for = true;
            state = self.0.completed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The value, where it is there already; else the ticket again.
    ///
    /// # Errors
    /// The ticket itself.
    pub fn try_take(self) -> Result<T, Self> {
        let value = self.0.lock().value.take();
        value.ok_or(self)
    }
}

impl<T> Future for Ticket<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.lock();
        if let Some(value) = state.value.take() {
            return Poll::Ready(value);
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            let earlier = state.waker.replace(cx.waker().clone());
            // What a waker drops may be the completer, which takes the lock.
            drop(state);
            drop(earlier);
        }
        Poll::Pending
    }
}

impl<T: Abandoned> Completer<T> {
    /// Hands over the value and wakes who waits for it.
    pub fn complete(mut self, value: T) {
        self.hand_over(value);
    }

    fn hand_over(&mut self, value: T) {
        let Some(shared) = self.0.take() else { return };
        let mut state = shared.lock();
        state.value = Some(value);
        let waker = state.waker.take();
        let is_waited_for = state.is_waited_for;
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if is_waited_for {
            shared.completed.notify_all();
        }
    }
}

impl<T: Abandoned> Drop for Completer<T> {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.hand_over(T::abandoned());
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Abandoned for () {
    fn abandoned() -> Self {}
}

impl<T, E: Abandoned> Abandoned for Result<T, E> {
    fn abandoned() -> Self {
        Err(E::abandoned())
    }
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}

impl<T: Abandoned> fmt::Debug for Completer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completer")
    }
}
