//! Streams that must not be pruned because somebody reads them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdpoint_core::event::Stream;
use holdpoint_core::store::Keep;

/// How many guards each stream has.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<HashMap<Stream, usize>>);

struct Guard {
    kept: Arc<Kept>,
    stream: Stream,
}

impl Kept {
    /// One more guard.
    pub(crate) fn keep(self: &Arc<Self>, stream: &Stream) -> Keep {
        *self.lock().entry(stream.clone()).or_default() += 1;
        Keep::new(Arc::new(Guard { kept: Arc::clone(self), stream: stream.clone() }))
    }

    /// Whether a stream has a guard.
    pub(crate) fn has(&self, stream: &Stream) -> bool {
        self.lock().contains_key(stream)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Stream, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut kept = self.kept.lock();
        if let Some(count) = kept.get_mut(&self.stream) {
            *count -= 1;
            if *count == 0 {
                kept.remove(&self.stream);
            }
        }
    }
}
