//! The shell around a [`HoldSet`]: one lock, and the wakers of those who wait.
//!
//! # Invariants
//!
//! 1. Every change goes through [`Shared::change`]: it tells all who became due by it, so no
//!    wake-up can be forgotten.
//! 2. A ticket's owner, as the set knows it, is (member, cookie). For a member with an inbox the
//!    cookie is the caller's; for one without, it is the index of the sleeper whose waker waits.
//! 3. A member's place is given back once it has left and none of its tickets lives, so a label
//!    is never taken for another's.
//! 4. An inbox is read against the set: a key in it whose ticket was released is passed over.
//!
//! # Locks
//!
//! There is one lock, and no foreign code runs under it: wakers are cloned, woken and dropped
//! while it is free. (Dropping a waker may drop a task, and that may release a hold here.)

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};

use super::sync::{Mutex, MutexGuard};
use crate::error::ClaimError;
use crate::hold::Hold;
use crate::hold_set::{HoldSet, Key, Ticket};
use crate::names::Claims;
use crate::slab::Slab;

/// What all handles of one hold set share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) set: HoldSet,
    members: Slab<Member>,
    sleepers: Slab<Option<Waker>>,
    /// Wakers that nobody waits for any more, to be dropped when the lock is free.
    discarded: Vec<Waker>,
}

/// One user of the set: a family of `Holds` under one label, or a client.
#[derive(Debug, Default)]
struct Member {
    label: Option<Arc<str>>,
    delivery: Delivery,
    left: bool,
    tickets: u32,
    /// The inbox: tickets that became due, and who waits to read of them.
    due: VecDeque<Key>,
    reader: Option<Waker>,
}

/// How a member is told that a ticket of it became due.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Each ticket has a sleeper of its own.
    #[default]
    Sleepers,
    /// All tickets come through the inbox.
    Inbox,
}

/// A place among the users of a set, given back when dropped.
pub(super) struct Membership {
    pub(super) shared: Arc<Shared>,
    pub(super) member: u32,
}

impl Membership {
    pub(super) fn join(shared: Arc<Shared>, label: Option<Arc<str>>, delivery: Delivery) -> Self {
        let member = shared.change(|state| state.join(label, delivery));
        Self { shared, member }
    }

    pub(super) fn join_too(&self, label: &str, delivery: Delivery) -> Self {
        Self::join(Arc::clone(&self.shared), Some(Arc::from(label)), delivery)
    }

    pub(super) fn claims(&self, holds: &[Hold]) -> Result<Claims, ClaimError> {
        self.shared.change(|state| state.set.claims(holds))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.change(|state| state.leave(self.member));
    }
}

impl Shared {
    /// Does something to the state and then, with the lock free, wakes whom it made due.
    pub(super) fn change<R>(&self, action: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = action(&mut state);
        let wakes = state.tell_due();
        let discarded = std::mem::take(&mut state.discarded);
        drop(state);
        wakes.wake();
        drop(discarded);
        result
    }

    /// Looks at the state without changing who holds what.
    pub(super) fn look<R>(&self, action: impl FnOnce(&State) -> R) -> R {
        action(&self.lock())
    }

    /// Answers if `ready` does; else leaves `waker` in `place`, to be woken on the next change
    /// that may make it answer.
    pub(super) fn poll<R>(
        &self,
        waker: &Waker,
        mut ready: impl FnMut(&mut State) -> Option<R>,
        place: impl Fn(&mut State) -> &mut Option<Waker>,
    ) -> Poll<R> {
        let mut clone = None;
        loop {
            let mut state = self.lock();
            if let Some(result) = ready(&mut state) {
                return Poll::Ready(result);
            }
            let place = place(&mut state);
            if place.as_ref().is_some_and(|present| present.will_wake(waker)) {
                return Poll::Pending;
            }
            if let Some(clone) = clone.take() {
                let replaced = place.replace(clone);
                drop(state);
                drop(replaced);
                return Poll::Pending;
            }
            drop(state);
            clone = Some(waker.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way but a bug of ours; others go on regardless.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn join(&mut self, label: Option<Arc<str>>, delivery: Delivery) -> u32 {
        let member = self.members.take_place();
        self.members[member] = Member { label, delivery, ..Member::default() };
        member
    }

    /// The last handle of a member is gone; its tickets may live on.
    pub(super) fn leave(&mut self, member: u32) {
        let it = &mut self.members[member];
        it.left = true;
        self.discarded.extend(it.reader.take());
        self.forget_if_done(member);
    }

    pub(super) fn request(&mut self, member: u32, claims: &Claims, cookie: u32) -> Ticket {
        self.members[member].tickets += 1;
        self.set.request(claims, owner_of(member, cookie))
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        if let Some(owner) = self.set.end(ticket.key()) {
            let (member, _) = member_of(owner);
            self.members[member].tickets -= 1;
            self.forget_if_done(member);
        }
    }

    /// A place for the waker of one waiting future; its index is that request's cookie.
    pub(super) fn add_sleeper(&mut self) -> u32 {
        self.sleepers.take_place()
    }

    pub(super) fn sleeper(&mut self, sleeper: u32) -> &mut Option<Waker> {
        &mut self.sleepers[sleeper]
    }

    pub(super) fn remove_sleeper(&mut self, sleeper: u32) {
        self.discarded.extend(self.sleepers[sleeper].take());
        self.sleepers.free_place(sleeper);
    }

    /// The cookie of the next ticket of `member` that became due and still lives.
    pub(super) fn next_cookie(&mut self, member: u32) -> Option<u32> {
        let inbox = &mut self.members[member].due;
        while let Some(key) = inbox.pop_front() {
            if let Some(owner) = self.set.owner(key) {
                return Some(member_of(owner).1);
            }
        }
        None
    }

    /// The waker of whoever reads a member's inbox.
    pub(super) fn reader(&mut self, member: u32) -> &mut Option<Waker> {
        &mut self.members[member].reader
    }

    pub(super) fn label(&self, member: u32) -> Option<&Arc<str>> {
        self.members[member].label.as_ref()
    }

    /// How long an inbox is, and how many members and sleepers there are.
    #[cfg(test)]
    pub(super) fn memory(&self, member: u32) -> (usize, usize, usize) {
        (self.members[member].due.len(), self.members.len(), self.sleepers.len())
    }

    fn forget_if_done(&mut self, member: u32) {
        let it = &mut self.members[member];
        if it.left && it.tickets == 0 {
            *it = Member::default();
            self.members.free_place(member);
        }
    }

    /// Hands out what became due: keys into inboxes, wakers to the caller.
    fn tell_due(&mut self) -> Wakes {
        let mut wakes = Wakes::default();
        while let Some((key, owner)) = self.set.next_due() {
            let (member, cookie) = member_of(owner);
            let it = &mut self.members[member];
            match it.delivery {
                Delivery::Sleepers => wakes.add(self.sleepers[cookie].take()),
                Delivery::Inbox => {
                    // For clients that are woken and never look: most of it is stale then.
                    if it.due.len() > 2 * it.tickets as usize {
                        it.due.retain(|&key| self.set.owner(key).is_some());
                    }
                    it.due.push_back(key);
                    wakes.add(it.reader.take());
                }
            }
        }
        wakes
    }
}

pub(super) fn owner_of(member: u32, cookie: u32) -> u64 {
    u64::from(member) << 32 | u64::from(cookie)
}

/// Member and cookie of an owner.
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
pub(super) fn member_of(owner: u64) -> (u32, u32) {
    ((owner >> 32) as u32, owner as u32)
}

/// Wakers to call; most often none or one.
#[derive(Default)]
struct Wakes {
    first: Option<Waker>,
    rest: Vec<Waker>,
}

impl Wakes {
    fn add(&mut self, waker: Option<Waker>) {
        match self.first {
            None => self.first = waker,
            Some(_) => self.rest.extend(waker),
        }
    }

    fn wake(self) {
        self.first.into_iter().chain(self.rest).for_each(Waker::wake);
    }
}
