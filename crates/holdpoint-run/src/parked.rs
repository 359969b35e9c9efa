//! Which runs can do nothing until somebody answers (RUN-002).

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdpoint_core::SessionId;
use tokio::sync::Notify;

/// Runs of which only questions are left.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    runs: Mutex<HashSet<SessionId>>,
    changed: Notify,
}

impl Parked {
    pub(crate) fn add(&self, run: SessionId) {
        self.runs().insert(run);
        self.changed.notify_waiters();
    }

    pub(crate) fn remove(&self, run: SessionId) {
        if self.runs().remove(&run) {
            self.changed.notify_waiters();
        }
    }

    /// Waits until a run is parked, and what it asks can be answered: `asks` waits for that.
    pub(crate) async fn wait<F: Future>(&self, run: SessionId, asks: impl Fn() -> F) {
        loop {
            let changed = self.changed.notified();
            if self.runs().contains(&run) {
                // An answer that is there already is on its way to the task: then it goes on.
                tokio::select! {
                    biased;
                    () = changed => continue,
                    _ = asks() => return,
                }
            }
            changed.await;
        }
    }

    fn runs(&self) -> MutexGuard<'_, HashSet<SessionId>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
