//! What an engine keeps: one [`HoldClient`], and a [`HoldTicket`] for each open request.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use holdpoint_core::Name;

use super::driver::{Membership, Shared, member_of};
use crate::error::ClaimError;
use crate::hold::{Hold, Scope};
use crate::hold_set::Ticket;
use crate::names::Claims;

/// An engine's access to a hold set: many tickets, one place to learn which became due.
///
/// ```
/// use std::future::poll_fn;
/// use holdpoint_hold::{Hold, Holds};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let holds = Holds::new();
/// let mut client = holds.client("nightly");
/// let db = client.claims(&[Hold::exclusive("db")])?;
///
/// let first = client.request(&db, 1);
/// let second = client.request(&db, 2);
/// assert!(first.is_granted() && !second.is_granted());
/// assert_eq!(second.blockers(1)[0].to_string(), "db, held by nightly");
///
/// drop(first);
/// assert_eq!(poll_fn(|cx| client.poll_granted(cx)).await, 2);
/// assert!(second.is_granted());
/// # Ok(()) }
/// ```
pub struct HoldClient {
    member: Membership,
}

/// A client's request: it waits, and later holds. Dropping it withdraws or releases it, exactly
/// once; whoever is due then is told.
#[must_use = "a dropped ticket is withdrawn"]
pub struct HoldTicket {
    shared: Arc<Shared>,
    /// Taken out when it is dropped.
    ticket: Option<Ticket>,
}

/// Somebody who stands in a ticket's way, on one name, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedBlocker {
    /// The scope of the name.
    pub scope: Scope,
    /// The name.
    pub name: Name,
    /// True where it holds the name, false where it waits itself, but came earlier.
    pub holding: bool,
    /// The label of whoever asked for it, if it has one.
    pub label: Option<Arc<str>>,
    /// Its cookie, where it is a ticket of the same client.
    pub cookie: Option<u32>,
}

impl HoldClient {
    pub(super) fn new(member: Membership) -> Self {
        Self { member }
    }

    /// Checks a list of holds, to be requested any number of times (HOLD-009).
    ///
    /// # Errors
    /// [`ClaimError`] with every fault of the list.
    pub fn claims(&self, holds: &[Hold]) -> Result<Claims, ClaimError> {
        self.member.claims(holds)
    }

    /// Joins the queues of all names at once, under the next ticket (HOLD-006).
    ///
    /// [`HoldTicket::is_granted`] tells whether it was free; where it was not, `cookie` comes out
    /// of [`poll_granted`](Self::poll_granted) when it is due. What the cookie means is the
    /// caller's affair.
    pub fn request(&self, claims: &Claims, cookie: u32) -> HoldTicket {
        let Membership { shared, member } = &self.member;
        let ticket = shared.change(|state| state.request(*member, claims, cookie));
        HoldTicket::new(shared, ticket)
    }

    /// The cookie of the next ticket that became due while it waited, in the order in which they
    /// became due; each once, and never that of a ticket dropped since.
    ///
    /// Pending until there is one; the waker given last is woken then. There is no end: a client
    /// without waiting tickets is simply pending.
    pub fn poll_granted(&mut self, cx: &mut Context<'_>) -> Poll<u32> {
        let Membership { shared, member } = &self.member;
        shared.poll(cx.waker(), |state| state.next_cookie(*member), |state| state.reader(*member))
    }
}

#[cfg(test)]
impl HoldClient {
    /// How long its inbox is.
    pub(crate) fn unread(&self) -> usize {
        self.member.shared.look(|state| state.memory(self.member.member).0)
    }
}

impl HoldTicket {
    pub(super) fn new(shared: &Arc<Shared>, ticket: Ticket) -> Self {
        Self { shared: Arc::clone(shared), ticket: Some(ticket) }
    }

    /// True once it holds all its names.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.shared.look(|state| self.ticket.as_ref().is_some_and(|it| state.set.is_granted(it)))
    }

    /// The number of the request, by which earlier and later ones of all users are told apart.
    #[must_use]
    pub fn order(&self) -> u64 {
        self.shared.look(|state| self.ticket.as_ref().map_or(0, |it| state.set.order(it)))
    }

    /// Who stands in its way: at most `limit` holders and earlier waiting requests that conflict
    /// with it. Nobody, once it is granted.
    ///
    /// Meant for messages: it walks the queues while others wait for the lock.
    #[must_use]
    pub fn blockers(&self, limit: usize) -> Vec<NamedBlocker> {
        let Some(ticket) = &self.ticket else { return Vec::new() };
        self.shared.look(|state| {
            let own = state.set.owner(ticket.key()).map(|owner| member_of(owner).0);
            let blockers = state.set.blockers(ticket).take(limit);
            blockers
                .map(|blocker| {
                    let (member, cookie) = member_of(blocker.owner);
                    NamedBlocker {
                        scope: blocker.scope.clone(),
                        name: blocker.name.clone(),
                        holding: blocker.holding,
                        label: state.label(member).cloned(),
                        cookie: (own == Some(member)).then_some(cookie),
                    }
                })
                .collect()
        })
    }
}

impl Drop for HoldTicket {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.change(|state| state.release(ticket));
        }
    }
}

impl fmt::Debug for HoldClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldClient").finish_non_exhaustive()
    }
}

impl fmt::Debug for HoldTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldTicket").field("granted", &self.is_granted()).finish_non_exhaustive()
    }
}

impl fmt::Display for NamedBlocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}, ", self.scope, self.name)?;
        match (self.holding, &self.label) {
            (true, Some(label)) => write!(f, "held by {label}"),
            (true, None) => f.write_str("held"),
            (false, Some(label)) => write!(f, "asked for earlier by {label}"),
            (false, None) => f.write_str("asked for earlier"),
        }
    }
}

const _: () = assert!(size_of::<HoldTicket>() <= 16);
