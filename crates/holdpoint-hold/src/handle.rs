//! What callers keep: [`Holds`] and its guards for anyone, [`HoldClient`] and its tickets for
//! engines.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use holdpoint_core::Name;

use super::driver::{Delivery, Shared, member_of};
use super::sync::{Condvar, Mutex};
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
        HoldClient { member: self.member.join_too(label, Delivery::Inbox) }
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
        let claims = self.claims(holds)?;
        Ok(Acquire::new(&self.member, &claims).await)
    }

    /// Takes all of `holds` if that is possible now, without passing anyone who waits for one of
    /// them.
    ///
    /// # Errors
    /// [`ClaimError`] with every fault of the list.
    pub fn try_acquire(&self, holds: &[Hold]) -> Result<Option<HoldGuard>, ClaimError> {
        let claims = self.claims(holds)?;
        // Granted now or never: it leaves in the same breath, so its cookie is never used.
        let ticket = self.member.request_now(&claims);
        Ok(ticket.map(|ticket| HoldGuard { _ticket: ticket }))
    }

    /// As [`acquire`](Self::acquire), for code without an executor: the thread waits. In async
    /// code it would keep a worker from its other tasks.
    ///
    /// # Errors
    /// [`ClaimError`] with every fault of the list, before waiting.
    pub fn acquire_blocking(&self, holds: &[Hold]) -> Result<HoldGuard, ClaimError> {
        let claims = self.claims(holds)?;
        Ok(block_on(Acquire::new(&self.member, &claims)))
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

impl HoldClient {
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
        HoldTicket { shared: Arc::clone(shared), ticket: Some(ticket) }
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
        self.member.shared.look(|state| state.inbox_len(self.member.member))
    }
}

impl HoldTicket {
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

/// A place among the users of a set, given back when dropped.
struct Membership {
    shared: Arc<Shared>,
    member: u32,
}

impl Membership {
    fn join(shared: Arc<Shared>, label: Option<Arc<str>>, delivery: Delivery) -> Self {
        let member = shared.change(|state| state.join(label, delivery));
        Self { shared, member }
    }

    fn join_too(&self, label: &str, delivery: Delivery) -> Self {
        Self::join(Arc::clone(&self.shared), Some(Arc::from(label)), delivery)
    }

    fn claims(&self, holds: &[Hold]) -> Result<Claims, ClaimError> {
        self.shared.change(|state| state.set.claims(holds))
    }

    fn request_now(&self, claims: &Claims) -> Option<HoldTicket> {
        let ticket = self.shared.change(|state| {
            let ticket = state.request(self.member, claims, u32::MAX);
            if state.set.is_granted(&ticket) {
                return Some(ticket);
            }
            state.release(ticket);
            None
        });
        ticket.map(|it| HoldTicket { shared: Arc::clone(&self.shared), ticket: Some(it) })
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.change(|state| state.leave(self.member));
    }
}

/// One waiting acquisition: a ticket, and a sleeper that is woken when it is due.
struct Acquire {
    shared: Arc<Shared>,
    /// Ticket and sleeper, until it is granted or dropped.
    waiting: Option<(Ticket, u32)>,
}

impl Acquire {
    fn new(member: &Membership, claims: &Claims) -> Self {
        let shared = Arc::clone(&member.shared);
        let waiting = shared.change(|state| {
            let sleeper = state.add_sleeper();
            (state.request(member.member, claims, sleeper), sleeper)
        });
        Self { shared, waiting: Some(waiting) }
    }
}

impl Future for Acquire {
    type Output = HoldGuard;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HoldGuard> {
        let Self { shared, waiting } = &mut *self;
        let Some((ticket, sleeper)) = waiting else { return Poll::Pending };
        let granted = shared.poll(
            cx.waker(),
            |state| state.set.is_granted(ticket).then(|| state.remove_sleeper(*sleeper)),
            |state| state.sleeper(*sleeper),
        );
        granted.map(|()| {
            let ticket = waiting.take().map(|(ticket, _)| ticket);
            HoldGuard { _ticket: HoldTicket { shared: Arc::clone(shared), ticket } }
        })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some((ticket, sleeper)) = self.waiting.take() {
            self.shared.change(|state| {
                state.remove_sleeper(sleeper);
                state.release(ticket);
            });
        }
    }
}

/// Runs a future on this thread, which sleeps while it is pending.
fn block_on<F: Future>(future: F) -> F::Output {
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut cx = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        signal.wait();
    }
}

#[derive(Default)]
struct Signal {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn wait(&self) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        while !*given {
            given = self.changed.wait(given).unwrap_or_else(PoisonError::into_inner);
        }
        *given = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
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

const _: () = assert!(size_of::<HoldTicket>() == 16);
