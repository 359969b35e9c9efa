//! News of commits: how far the store has got, for who looks for new work.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Told of commits. Many commits between two looks are one piece of news.
///
/// Cloning gives another reader that has seen as much as this one. Cancel safe: a dropped
/// [`changed`](Self::changed) misses nothing.
pub struct Changes {
    shared: Arc<Shared>,
    seen: u64,
    /// This reader's name among the wakers.
    reader: u64,
}

/// The other end, for implementations of the port.
#[derive(Clone)]
pub struct ChangesSender(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    version: u64,
    is_closed: bool,
    readers: u64,
    wakers: BTreeMap<u64, Waker>,
    threads: usize,
}

impl Changes {
    /// Waits for commits after those already told of. `false` where the store is closed and none
    /// will come.
    pub async fn changed(&mut self) -> bool {
        std::future::poll_fn(|cx| self.poll_changed(cx)).await
    }

    /// The same as one poll.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.shared.lock();
        if state.version != self.seen {
            self.seen = state.version;
            return Poll::Ready(true);
        }
        if state.is_closed {
            return Poll::Ready(false);
        }
        let earlier = match state.wakers.get_mut(&self.reader) {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => state.wakers.insert(self.reader, cx.waker().clone()),
        };
        // What a waker drops may be another reader, which takes the lock.
        drop(state);
        drop(earlier);
        Poll::Pending
    }

    /// Blocks the thread for commits, at most for `patience`. Whether there were any.
    pub fn wait(&mut self, patience: Duration) -> bool {
        let mut state = self.shared.lock();
        state.threads += 1;
        let seen = self.seen;
        let (mut state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| state.version == seen && !state.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.threads -= 1;
        let is_new = state.version != self.seen;
        self.seen = state.version;
        is_new
    }
}

impl Clone for Changes {
    fn clone(&self) -> Self {
        let reader = self.shared.lock().new_reader();
        Self { shared: Arc::clone(&self.shared), seen: self.seen, reader }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let waker = self.shared.lock().wakers.remove(&self.reader);
        drop(waker);
    }
}

impl ChangesSender {
    /// A sender without readers.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() }))
    }

    /// A reader that is told of what comes from now on.
    #[must_use]
    pub fn subscribe(&self) -> Changes {
        let mut state = self.0.lock();
        let (seen, reader) = (state.version, state.new_reader());
        Changes { shared: Arc::clone(&self.0), seen, reader }
    }

    /// Tells everybody that something was committed.
    pub fn send(&self) {
        self.wake(|state| state.version += 1);
    }

    /// Tells everybody that nothing will come any more.
    pub fn close(&self) {
        self.wake(|state| state.is_closed = true);
    }

    fn wake(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock();
        change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        let threads = state.threads;
        drop(state);
        for waker in wakers.into_values() {
            waker.wake();
        }
        if threads > 0 {
            self.0.changed.notify_all();
        }
    }
}

impl Default for ChangesSender {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn new_reader(&mut self) -> u64 {
        self.readers += 1;
        self.readers
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl fmt::Debug for ChangesSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangesSender")
    }
}
