//! Sessions that this process has given up because the store did not take a write, and that count
//! as its own in the store until it has let go of them there too.
//!
//! # Invariants
//! 1. A session is entered when its body is gone, under the epoch under which it ran. It is taken
//!    out when the store does not count it as owned under that epoch any more.
//! 2. Whatever is written is fenced by that epoch: it hits nobody who has claimed the session since.
//! 3. What is let go of is the session as the store has it, looked at when all is settled that was
//!    written for it before.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::event::Stream;
use holdpoint_core::session::{Owner, SuspendCause};
use holdpoint_core::store::{AppendError, Fence, Write};
use holdpoint_core::{Backoff, Clock, SessionId};

use super::handle::gone;
use super::link::Change;
use super::rt;
use super::shared::Shared;
use super::stored::load;
use crate::error::GetError;
use crate::machine::Input;

/// How often it is tried without anybody asking for the session: within half an hour.
const TRIES: u32 = 16;

/// What lies between the first two tries.
const PAUSE: Duration = Duration::from_millis(100);

impl Shared {
    /// Lets go, in the background, of a session that was entered among those given up.
    pub(crate) fn let_go_later(self: &Arc<Self>, id: SessionId) {
        let (shared, clock) = (Arc::downgrade(self), Arc::clone(&self.clock));
        rt::spawn(async move {
            let backoff = Backoff::exponential(PAUSE);
            for number in 1..=TRIES {
                let Some(shared) = shared.upgrade() else { return };
                let Err(error) = shared.let_go_of_given_up(id).await else { return };
                drop(shared);
                tracing::warn!(session = %id, "it is given up and cannot be let go of: {error}");
                pause(&*clock, backoff.delay(number, 0.5)).await;
            }
        });
    }

    /// Somebody wants the session: where this process has given it up, and the store does not know
    /// that yet, it is told.
    ///
    /// # Errors
    /// The store does not take that either; it can be tried again.
    pub(crate) async fn let_go_of_given_up(&self, id: SessionId) -> Result<(), AppendError> {
        if let Some(session) = self.get(id) {
            gone(&session).await;
        }
        let Some(epoch) = self.given_up().get(&id).copied() else { return Ok(()) };
        match self.release(id, epoch).await {
            Ok(true) => {}
            // Whoever wants it will find the same, and say so.
            Ok(false) => return Ok(()),
            Err(AppendError::LostOwnership { .. } | AppendError::NotFound { .. }) => {}
            // With this instance its ownership is over.
            Err(error) if error.is_final() => {}
            Err(error) => return Err(error),
        }
        let mut given_up = self.given_up();
        if given_up.get(&id) == Some(&epoch) {
            given_up.remove(&id);
        }
        Ok(())
    }

    /// Whether the session is not owned under this epoch any more; `false` where it cannot be read.
    async fn release(&self, id: SessionId, epoch: u64) -> Result<bool, AppendError> {
        let Some(store) = &self.store else { return Ok(true) };
        let stream = Stream::Session(id);
        // It comes after all that was written before, and brings along the notes that wait.
        let nothing = Write::new(&stream, Fence::Owned { epoch });
        store.append(&[nothing])?.acked().await?;
        let mut loaded = match load(self, id) {
            Ok(loaded) => loaded,
            Err(error) => return Ok(matches!(error, GetError::NotFound(_))),
        };
        if loaded.info.owner != Some(Owner { instance: store.instance(), epoch }) {
            return Ok(true);
        }
        let now = self.clock.now();
        let lost = Input::Suspend(SuspendCause::Interrupted);
        let change = Change::new(now, loaded.machine.handle(now, lost).unwrap_or_default());
        loaded.release(&**store, change)?.acked().await?;
        Ok(true)
    }
}

async fn pause(clock: &dyn Clock, time: Duration) {
    let deadline = clock.monotonic() + time;
    let mut timer = rt::Timer::default();
    poll_fn(|cx| timer.poll(Some(deadline), clock, cx)).await;
}
