//! Who may be live and who may be paused (SESS-015): counts, and queues in order of arrival.
//!
//! # Invariants
//! 1. No more are counted than the limit says; who does not count is not asked for a place.
//! 2. Nobody waits while a place is free: a place that is given back goes to the first that waits.
//!    Who does not want it any more gives it back again.

use std::collections::VecDeque;

use holdpoint_core::SessionId;

use crate::options::{Limits, Overflow};

/// Counts and queues.
#[derive(Debug)]
pub(crate) struct Admission {
    live: Gate,
    paused: Gate,
    overflow: Overflow,
}

#[derive(Debug)]
struct Gate {
    limit: Option<usize>,
    taken: usize,
    queue: VecDeque<SessionId>,
}

/// What becomes of who asks for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It has the place.
    Now,
    /// It will be handed a place.
    Later,
    /// It will not.
    Refused { limit: usize },
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        let Limits { live, paused, overflow } = limits;
        Self { live: Gate::new(live), paused: Gate::new(paused), overflow }
    }

    /// A session wants to be live.
    pub(crate) fn ask_live(&mut self, id: SessionId) -> Admitted {
        self.live.ask(self.overflow, Some(id))
    }

    /// The same. Where it has to wait it is entered in the queue, or will enter itself.
    pub(crate) fn ask_live_as(&mut self, id: SessionId, enters: bool) -> Admitted {
        self.live.ask(self.overflow, enters.then_some(id))
    }

    /// A session was live. Says who has its place now.
    pub(crate) fn leave_live(&mut self) -> Option<SessionId> {
        self.live.leave()
    }

    /// A session that is not paused wants to be.
    pub(crate) fn ask_paused(&mut self, id: SessionId) -> Admitted {
        self.paused.ask(self.overflow, Some(id))
    }

    /// A session was paused. Says who has its place now.
    pub(crate) fn leave_paused(&mut self) -> Option<SessionId> {
        self.paused.leave()
    }

    /// Nobody waits for a place any more. Says who waited to be live.
    pub(crate) fn drain(&mut self) -> Vec<SessionId> {
        self.paused.queue.clear();
        self.live.queue.drain(..).collect()
    }
}

impl Gate {
    fn new(limit: Option<usize>) -> Self {
        Self { limit, taken: 0, queue: VecDeque::new() }
    }

    fn ask(&mut self, overflow: Overflow, who: Option<SessionId>) -> Admitted {
        match self.limit {
            Some(limit) if self.taken >= limit => {
                if overflow == Overflow::Refuse {
                    return Admitted::Refused { limit };
                }
                self.queue.extend(who);
                Admitted::Later
            }
            _ => {
                self.taken += 1;
                Admitted::Now
            }
        }
    }

    /// Gives a place back, or on.
    fn leave(&mut self) -> Option<SessionId> {
        if self.limit.is_none_or(|limit| self.taken <= limit)
            && let Some(next) = self.queue.pop_front()
        {
            return Some(next);
        }
        self.taken = self.taken.saturating_sub(1);
        None
    }
}
