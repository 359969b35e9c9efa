//! What callers keep: [`Holds`], and a [`HoldGuard`] for what they hold.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::block_on::block_on;
use super::client::{HoldClient, HoldTicket};
use super::driver::{Delivery, Membership, Shared};
use crate::error::{ClaimError, DeclareError};
use crate::hold::{Hold, Scope};
use crate::hold_set::Ticket;
use crate::names::Claims;

/// The hold set of a runtime: named locks, taken several at once or not at all, in the order
/// of asking.
///
/// A clone is another handle of the same set; graph runs, batches, bodies and plain threads that
/// have one exclude each other (HOLD-010). It needs no runtime: guards are plain values, and
/// waiting works on any executor or, with [`acquire_blocking`](Self::acquire_blocking), on none.
///
/// ```
/// use holdpoint_hold::{Hold, Holds};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let holds = Holds::new();
/// holds.declare("gpu", 2)?;
///
/// let guard = holds.acquire(&[Hold::exclusive("db"), Hold::units("gpu", 1)]).await?;
/// assert!(holds.try_acquire(&[Hold::shared("db")])?.is_none());
/// drop(guard);
/// assert!(holds.try_acquire(&[Hold::shared("db")])?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Holds {
    member: Arc<Membership>,
}

/// Holds that are held. Dropping it releases them all, exactly once (HOLD-003).
#[derive(Debug)]
#[must_use = "the holds are released when the guard is dropped"]
pub struct HoldGuard {
    _ticket: HoldTicket,
}

impl Holds {
    /// An empty hold set, independent of all others.
    #[must_use]
    pub fn new() -> Self {
        Self { member: Arc::new(Membership::join(Arc::default(), None, Delivery::Sleepers)) }
    }

    /// A handle of the same set whose guards carry `label`: others that wait for them can say
    /// for whom they wait.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Self {
        Self { member: Arc::new(self.member.join_too(label, Delivery::Sleepers)) }
    }

    /// Access for an engine; `label` is how others name it when they wait for it.
    #[must_use]
    pub fn client(&self, label: &str) -> HoldClient {
        HoldClient::new(self.member.join_too(label, Delivery::Inbox))
    }

    /// Makes a name of the workspace's scope counted: its units are taken while their sum fits
    /// `capacity`.
    ///
    /// # Errors
    /// As [`declare_in`](Self::declare_in).
    pub fn declare(&self, name: &str, capacity: u32) -> Result<(), DeclareError> {
        self.declare_in(&Scope::Workspace, name, capacity)
    }

    /// Makes a name of `scope` counted. The same again is allowed; another capacity only while
    /// nobody holds the name or waits for it.
    ///
    /// # Errors
    /// [`DeclareError`] for a bad name, for capacity 0, and for a change while in use.
    pub fn declare_in(&self, scope: &Scope, name: &str, capacity: u32) -> Result<(), DeclareError> {
        self.member.shared.change(|state| state.set.declare(scope, name, capacity))
    }

    /// Checks a list of holds without taking any (HOLD-009).
    ///
    /// # Errors
    /// [`ClaimError`] with every fault of the list.
    pub fn claims(&self, holds: &[Hold]) -> Result<Claims, ClaimError> {
        self.member.claims(holds)
    }

    /// Takes all of `holds`, waiting until they are free. The ticket is made, and the place in
    /// the queues with it, when the future is first polled.
    ///
    /// A caller that already holds one of them and waits here for it waits for itself: take all
    /// in one call.
    ///
    /// # Errors
    /// [`ClaimError`] with every fault of the list, before waiting.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the request, or releases it where it was granted meanwhile;
    /// the next waiter is woken. The place in the queues is lost.
    pub async fn acquire(&self, holds: &[Hold]) -> Result<HoldGuard, ClaimError> {
        Ok(Acquire::new(&self.member, holds)?.await)
    }

    /// Takes all of `holds` if that is possible now, without passing anyone who waits for one of
    /// them.
    ///
    /// # Errors
    /// [`ClaimError`] with every fault of the list.
    pub fn try_acquire(&self, holds: &[Hold]) -> Result<Option<HoldGuard>, ClaimError> {
        let Membership { shared, member } = &*self.member;
        let ticket = shared.change(|state| {
            let claims = state.set.claims(holds)?;
            // Granted now or withdrawn in the same breath, so its cookie is never used.
            let ticket = state.request(*member, &claims, u32::MAX);
            if state.set.is_granted(&ticket) {
                return Ok(Some(ticket));
            }
            state.release(ticket);
            Ok(None)
        })?;
        Ok(ticket.map(|ticket| HoldGuard::new(shared, ticket)))
    }

    /// As [`acquire`](Self::acquire), for code without an executor: the thread waits. In async
    /// code it would keep a worker from its other tasks.
    ///
    /// # Errors
    /// [`ClaimError`] with every fault of the list, before waiting.
    pub fn acquire_blocking(&self, holds: &[Hold]) -> Result<HoldGuard, ClaimError> {
        Ok(block_on(Acquire::new(&self.member, holds)?))
    }

    /// How many requests hold or wait, of all users of the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.member.shared.look(|state| state.set.len())
    }

    /// True while nobody holds or waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
impl Holds {
    /// How many users and how many waiting futures the set knows.
    pub(crate) fn users_and_sleepers(&self) -> (usize, usize) {
        let (_, users, sleepers) =
            self.member.shared.look(|state| state.memory(self.member.member));
        (users, sleepers)
    }
}

impl HoldGuard {
    fn new(shared: &Arc<Shared>, ticket: Ticket) -> Self {
        Self { _ticket: HoldTicket::new(shared, ticket) }
    }
}

/// One acquisition on its way: a ticket and, while it waits, a sleeper that is woken when it is
/// due.
struct Acquire {
    shared: Arc<Shared>,
    /// Until it became a guard.
    request: Option<(Ticket, Option<u32>)>,
}

impl Acquire {
    fn new(Membership { shared, member }: &Membership, holds: &[Hold]) -> Result<Self, ClaimError> {
        let request = shared.change(|state| {
            let claims = state.set.claims(holds)?;
            let sleeper = state.add_sleeper();
            let ticket = state.request(*member, &claims, sleeper);
            if state.set.is_granted(&ticket) {
                state.remove_sleeper(sleeper);
                return Ok((ticket, None));
            }
            Ok((ticket, Some(sleeper)))
        })?;
        Ok(Self { shared: Arc::clone(shared), request: Some(request) })
    }
}

impl Future for Acquire {
    type Output = HoldGuard;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HoldGuard> {
        let Self { shared, request } = &mut *self;
        if let Some((ticket, Some(sleeper))) = request {
            let granted = shared.poll(
                cx.waker(),
                |state| state.set.is_granted(ticket).then(|| state.remove_sleeper(*sleeper)),
                |state| state.sleeper(*sleeper),
            );
            if granted.is_pending() {
                return Poll::Pending;
            }
        }
        match request.take() {
            Some((ticket, _)) => Poll::Ready(HoldGuard::new(shared, ticket)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some((ticket, sleeper)) = self.request.take() {
            // In one step: a place given back earlier could be another sleeper's when the ticket
            // becomes due.
            self.shared.change(|state| {
                sleeper.into_iter().for_each(|sleeper| state.remove_sleeper(sleeper));
                state.release(ticket);
            });
        }
    }
}

impl Default for Holds {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holds").field("requests", &self.len()).finish_non_exhaustive()
    }
}
