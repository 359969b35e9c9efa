//! The accounting of holds: who holds what, who waits for whom, who is due. No waiting is done
//! here, so there is no async, no lock and no clock.
//!
//! # One rule for all modes
//!
//! Every name has a capacity. A shared hold takes one unit of a capacity that is never used up,
//! an exclusive hold takes all units, a counted one takes those it asks for. A request has one
//! *entry* in the queue of each of its names, from the moment it is made until it is released.
//! An entry is *admitted* when it fits together with all entries before it. A request is *due*,
//! which is to say granted, when all its entries are admitted. That is HOLD-006: for an exclusive
//! or shared entry, "fits with all before it" means that no earlier conflicting request holds or
//! waits, even one that waits for another name.
//!
//! # Invariants
//!
//! 1. A queue is in ticket order. (Entries are added at its end, under a growing number.)
//! 2. The admitted entries of a queue are a prefix of it: a sum that does not fit does not fit
//!    with one more before it. `frontier` is the first entry not admitted.
//! 3. `used` is the sum of the units of the admitted entries and never exceeds the capacity.
//! 4. A ticket's `blocking` is the number of its entries not admitted; it is granted at 0.
//! 5. An entry never goes back from admitted: only entries before it could push it out, and none
//!    can be added there.
//! 6. Requests wait for earlier tickets only. So waits have no cycle (HOLD-004), and the earliest
//!    waiting request is due as soon as the holders it meets are gone (nothing starves).

use std::collections::VecDeque;
use std::num::NonZeroU32;

use holdpoint_core::Name;

use crate::error::{ClaimError, DeclareError};
use crate::hold::{Hold, Scope};
use crate::names::{Claims, Names};
use crate::slab::{NONE, Slab};

/// Who holds what and who waits, for one workspace: the pure accounting under
/// [`Holds`](crate::Holds), for engines that do their own waiting.
///
/// Making a request and releasing it cost O(names of the request), and waking O(requests woken),
/// whatever the number of others (HOLD-007).
///
/// ```
/// use holdpoint_hold::{Hold, HoldSet};
///
/// let mut set = HoldSet::new();
/// let db = set.claims(&[Hold::exclusive("db")])?;
/// let first = set.request(&db, 1);
/// let second = set.request(&db, 2);
/// assert!(set.is_granted(&first) && !set.is_granted(&second));
///
/// set.release(first);
/// assert_eq!(set.next_granted(), Some(2));
/// set.release(second);
/// # Ok::<(), holdpoint_hold::ClaimError>(())
/// ```
#[derive(Debug, Default)]
pub struct HoldSet {
    names: Names,
    /// By index of the name; grows when a name is first requested.
    queues: Vec<Queue>,
    entries: Slab<Entry>,
    tickets: Slab<TicketSlot>,
    /// Tickets that became due and were not told yet. May contain released ones.
    due: VecDeque<Key>,
    last_order: u64,
    #[cfg(test)]
    pub(crate) steps: u64,
}

/// A request that holds or waits. It ends by [`HoldSet::release`], which takes it; dropping it
/// instead leaves its names taken for ever.
///
/// It belongs to the set that gave it.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "a dropped ticket is never released"]
pub struct Ticket(Key);

/// What a ticket is, for those who may only look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    index: u32,
    generation: NonZeroU32,
}

/// Somebody who stands in a waiting request's way, on one name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocker<'a> {
    /// The owner given with that request.
    pub owner: u64,
    /// The scope of the name.
    pub scope: &'a Scope,
    /// The name.
    pub name: &'a Name,
    /// True where it holds the name, false where it waits itself, but came earlier.
    pub holding: bool,
}

#[derive(Debug)]
struct Queue {
    head: u32,
    tail: u32,
    frontier: u32,
    used: u64,
}

#[derive(Debug, Default)]
struct Entry {
    name: u32,
    units: u32,
    ticket: u32,
    /// The next entry of the same ticket.
    sibling: u32,
    prev: u32,
    next: u32,
    admitted: bool,
}

#[derive(Debug)]
struct TicketSlot {
    owner: u64,
    order: u64,
    generation: NonZeroU32,
    blocking: u32,
    first_entry: u32,
    live: bool,
}

impl HoldSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a name counted: requests take units of it while their sum fits `capacity`.
    ///
    /// The same again is allowed; another capacity only while nobody holds the name or waits for
    /// it.
    ///
    /// # Errors
    /// [`DeclareError`] for a bad name, for capacity 0, and for a change while in use. Nothing
    /// is changed then.
    pub fn declare(
        &mut self,
        scope: &Scope,
        name: &str,
        capacity: u32,
    ) -> Result<(), DeclareError> {
        let queues = &self.queues;
        let in_use = |index: u32| queues.get(index as usize).is_some_and(|q| q.head != NONE);
        self.names.declare(scope, name, capacity, in_use)
    }

    /// Checks a list of holds (HOLD-009). An empty one is allowed and always granted.
    ///
    /// # Errors
    /// [`ClaimError`] with every fault of the list.
    pub fn claims(&mut self, holds: &[Hold]) -> Result<Claims, ClaimError> {
        self.names.claims(holds)
    }

    /// Joins the queues of all names of `claims` at once, under the next ticket.
    ///
    /// `owner` is the caller's: [`next_granted`](Self::next_granted) and
    /// [`blockers`](Self::blockers) give it back. A request that is granted at once, which
    /// [`is_granted`](Self::is_granted) tells, is not given by `next_granted`.
    pub fn request(&mut self, claims: &Claims, owner: u64) -> Ticket {
        let index = self.tickets.take_place();
        let mut blocking = 0;
        let mut first_entry = NONE;
        for claim in claims.items() {
            let (name, units) = self.names.resolve(claim);
            first_entry = self.enqueue(name, units, index, first_entry);
            blocking += u32::from(!self.entries[first_entry].admitted);
        }
        self.last_order += 1;
        let order = self.last_order;
        let generation = self.tickets[index].generation;
        self.tickets[index] =
            TicketSlot { owner, order, generation, blocking, first_entry, live: true };
        Ticket(Key { index, generation })
    }

    /// True once the request holds all its names.
    #[must_use]
    pub fn is_granted(&self, ticket: &Ticket) -> bool {
        self.slot(ticket.0).is_some_and(|slot| slot.blocking == 0)
    }

    /// The number of the request: requests made later have greater ones. 0 for a ticket of
    /// another set.
    #[must_use]
    pub fn order(&self, ticket: &Ticket) -> u64 {
        self.slot(ticket.0).map_or(0, |slot| slot.order)
    }

    /// Ends a hold, or withdraws a request that waits. Whoever becomes due by it is given by
    /// [`next_granted`](Self::next_granted).
    pub fn release(&mut self, ticket: Ticket) {
        let _owner = self.end(ticket.key());
    }

    /// The owner of the next request that became due while it waited, in the order in which they
    /// became due; each once, and none that was released since.
    pub fn next_granted(&mut self) -> Option<u64> {
        self.next_due().map(|(_, owner)| owner)
    }

    /// Who stands in the way of a waiting request: on each name that it waits for, the holders
    /// and the earlier waiting requests that conflict with it, in ticket order. Nobody, once it
    /// is granted.
    ///
    /// Meant for messages: it walks the queues.
    pub fn blockers(&self, ticket: &Ticket) -> impl Iterator<Item = Blocker<'_>> {
        let first = self.slot(ticket.0).map_or(NONE, |slot| slot.first_entry);
        self.chain(first, |entry| entry.sibling)
            .filter(|entry| !entry.admitted)
            .flat_map(|waiting| self.ahead_of(waiting))
    }

    /// How many requests hold or wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// True while nobody holds or waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The owner of a request that was not released yet.
    pub(crate) fn owner(&self, key: Key) -> Option<u64> {
        self.slot(key).map(|slot| slot.owner)
    }

    /// [`next_granted`](Self::next_granted), with the ticket's key.
    pub(crate) fn next_due(&mut self) -> Option<(Key, u64)> {
        while let Some(key) = self.due.pop_front() {
            if let Some(owner) = self.owner(key) {
                return Some((key, owner));
            }
        }
        None
    }

    /// [`release`](Self::release), giving the owner back; `None` where it was released before.
    pub(crate) fn end(&mut self, key: Key) -> Option<u64> {
        let owner = self.owner(key)?;
        let slot = &mut self.tickets[key.index];
        slot.live = false;
        slot.generation = slot.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let mut next = std::mem::replace(&mut slot.first_entry, NONE);
        self.tickets.free_place(key.index);
        while next != NONE {
            let entry = next;
            next = self.entries[entry].sibling;
            let name = self.remove(entry);
            self.admit(name);
        }
        Some(owner)
    }

    /// How many names were ever seen, and how long the list of the due is.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.names.len(), self.due.len())
    }

    fn slot(&self, key: Key) -> Option<&TicketSlot> {
        self.tickets.get(key.index).filter(|slot| slot.live && slot.generation == key.generation)
    }

    /// Adds an entry at the end of a queue, admitted if it fits.
    fn enqueue(&mut self, name: u32, units: u32, ticket: u32, sibling: u32) -> u32 {
        self.count_step();
        let index = self.entries.take_place();
        if self.queues.len() <= name as usize {
            self.queues.resize_with(self.names.len(), Queue::default);
        }
        let queue = &mut self.queues[name as usize];
        let prev = std::mem::replace(&mut queue.tail, index);
        if prev == NONE {
            queue.head = index;
        } else {
            self.entries[prev].next = index;
        }
        if queue.frontier == NONE {
            queue.frontier = index;
        }
        self.entries[index] =
            Entry { name, units, ticket, sibling, prev, next: NONE, admitted: false };
        // Only this entry can stand at the frontier and fit, and its ticket does not count it yet.
        let queue = &mut self.queues[name as usize];
        if queue.frontier == index {
            queue.admit_next(&mut self.entries, self.names.capacity(name));
        }
        index
    }

    /// Takes an entry out of its queue and gives the name.
    fn remove(&mut self, index: u32) -> u32 {
        self.count_step();
        let Entry { name, units, prev, next, admitted, .. } = self.entries[index];
        let queue = &mut self.queues[name as usize];
        if admitted {
            queue.used -= u64::from(units);
        }
        if queue.frontier == index {
            queue.frontier = next;
        }
        match prev {
            NONE => queue.head = next,
            _ => self.entries[prev].next = next,
        }
        match next {
            NONE => queue.tail = prev,
            _ => self.entries[next].prev = prev,
        }
        self.entries.free_place(index);
        name
    }

    /// Moves the frontier of a queue as far as it goes, and notes the tickets that became due.
    fn admit(&mut self, name: u32) {
        let capacity = self.names.capacity(name);
        while let Some(ticket) = self.queues[name as usize].admit_next(&mut self.entries, capacity)
        {
            self.count_step();
            let slot = &mut self.tickets[ticket];
            slot.blocking -= 1;
            if slot.blocking == 0 {
                let key = Key { index: ticket, generation: slot.generation };
                self.note_due(key);
            }
        }
    }

    /// Keeps the list of the due in proportion to the live tickets, for callers who never ask
    /// who is due: more than half of a list this long was released, so a sweep pays for itself.
    fn note_due(&mut self, key: Key) {
        if self.due.len() > 2 * self.tickets.len() {
            let tickets = &self.tickets;
            self.due.retain(|key| {
                let slot = &tickets[key.index];
                slot.live && slot.generation == key.generation
            });
        }
        self.due.push_back(key);
    }

    fn ahead_of<'a>(&'a self, waiting: &'a Entry) -> impl Iterator<Item = Blocker<'a>> {
        let capacity = self.names.capacity(waiting.name);
        let counted = self.names.is_counted(waiting.name);
        let key = self.names.key(waiting.name);
        let order = self.tickets[waiting.ticket].order;
        self.chain(self.queues[waiting.name as usize].head, |entry| entry.next)
            .take_while(move |entry| self.tickets[entry.ticket].order < order)
            .filter(move |entry| {
                counted || u64::from(entry.units) + u64::from(waiting.units) > capacity
            })
            .map(move |entry| {
                let TicketSlot { owner, blocking, .. } = self.tickets[entry.ticket];
                Blocker { owner, scope: &key.scope, name: &key.name, holding: blocking == 0 }
            })
    }

    fn chain(&self, first: u32, next: fn(&Entry) -> u32) -> impl Iterator<Item = &Entry> {
        let start = self.entries.get(first);
        std::iter::successors(start, move |entry| self.entries.get(next(entry)))
    }

    /// Counts the entries touched, for the tests of HOLD-007.
    #[inline]
    fn count_step(&mut self) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
    }
}

impl Queue {
    /// Admits the entry at the frontier if it fits, and gives its ticket.
    fn admit_next(&mut self, entries: &mut Slab<Entry>, capacity: u64) -> Option<u32> {
        if self.frontier == NONE {
            return None;
        }
        let entry = &mut entries[self.frontier];
        let used = self.used + u64::from(entry.units);
        if used > capacity {
            return None;
        }
        self.used = used;
        self.frontier = entry.next;
        entry.admitted = true;
        Some(entry.ticket)
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, frontier: NONE, used: 0 }
    }
}

impl Default for TicketSlot {
    fn default() -> Self {
        Self {
            owner: 0,
            order: 0,
            generation: NonZeroU32::MIN,
            blocking: 0,
            first_entry: NONE,
            live: false,
        }
    }
}

impl Ticket {
    pub(crate) fn key(&self) -> Key {
        self.0
    }
}

const _: () = assert!(size_of::<Ticket>() == 8 && size_of::<Option<Ticket>>() == 8);
