//! The open operations of a body whose results are not recorded.
//!
//! # Invariants
//! 1. A place is given again only after the body has closed its operation. Timers and deliveries
//!    name the place and its turn, so that a late one hits nobody else.
//! 2. No waker is woken or dropped here: they are handed out for when the lock is free.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::{Poll, Waker};

use holdpoint_core::TaskName;
use holdpoint_core::body::{CancelWhen, Kind, OpError, OpId, OpName, Ordinals, Payload};
use holdpoint_core::session::{QuestionId, QuestionKind};
use holdpoint_core::{CancelInfo, Monotonic, SessionId};

use super::watch::Wakes;

/// The open operations.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    /// The first vacant place; each names the next.
    vacant: Option<u32>,
    rare: Option<Box<Rare>>,
}

/// What is asked, and for which task of a graph.
pub(crate) type Asked = (QuestionKind, String, Option<TaskName>);

/// What most bodies never need.
#[derive(Debug, Default)]
struct Rare {
    timers: BinaryHeap<Reverse<(Monotonic, Target)>>,
    ordinals: Ordinals,
    /// Questions that wait for a place among the paused.
    unasked: Vec<(Target, OpName, Asked)>,
}

/// A place and its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    index: u32,
    turn: u32,
}

/// What an operation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Nothing: a step is executed when it is polled.
    Step { ordinal: u32 },
    /// An answer.
    Answer(QuestionId),
    /// A place among those that may be paused; then an answer.
    Admission,
    /// A time.
    Time { is_delay: bool },
    /// The outcome of a child.
    Child(SessionId),
}

#[derive(Debug)]
struct Slot {
    turn: u32,
    state: SlotState,
    heeds: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum SlotState {
    Vacant {
        next: Option<u32>,
    },
    Open(Awaited),
    Done(Result<Payload, OpError>),
    /// Its result was given; the body has yet to close it.
    Given,
}

/// What a poll says.
#[derive(Debug)]
pub(crate) enum Said {
    Execute { ordinal: u32 },
    Done(Result<Payload, OpError>),
}

impl Slots {
    /// A place for an operation.
    pub(crate) fn open(&mut self, awaited: Awaited, when: CancelWhen) -> OpId {
        self.put(SlotState::Open(awaited), when)
    }

    /// A place for an operation that is over.
    pub(crate) fn open_done(&mut self, result: Result<Payload, OpError>) -> OpId {
        self.put(SlotState::Done(result), CancelWhen::Never)
    }

    fn put(&mut self, state: SlotState, when: CancelWhen) -> OpId {
        let heeds = when == CancelWhen::Requested;
        if let Some(index) = self.vacant {
            let slot = &mut self.slots[index as usize];
            if let SlotState::Vacant { next } = slot.state {
                self.vacant = next;
            }
            (slot.state, slot.heeds) = (state, heeds);
            return OpId(index);
        }
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        if self.slots.is_empty() {
            // One open question is what nearly all paused sessions have.
            self.slots.reserve_exact(1);
        }
        self.slots.push(Slot { turn: 0, state, heeds, waker: None });
        OpId(index)
    }

    /// How often a step of this name was opened before.
    pub(crate) fn next_ordinal(&mut self, name: &OpName) -> u32 {
        self.rare.get_or_insert_default().ordinals.next(Kind::Step, name)
    }

    /// A place for a question that cannot be asked yet.
    pub(crate) fn open_unasked(&mut self, name: OpName, ask: Asked, when: CancelWhen) -> OpId {
        let op = self.open(Awaited::Admission, when);
        let target = self.target(op);
        self.rare.get_or_insert_default().unasked.push((target, name, ask));
        op
    }

    /// The questions that could not be asked yet and are still wanted.
    pub(crate) fn take_unasked(&mut self) -> Vec<(Target, OpName, Asked)> {
        let Some(rare) = self.rare.as_deref_mut() else { return Vec::new() };
        let mut unasked = std::mem::take(&mut rare.unasked);
        unasked.retain(|(target, ..)| {
            self.slots.get(target.index as usize).is_some_and(|slot| {
                slot.turn == target.turn
                    && matches!(slot.state, SlotState::Open(Awaited::Admission))
            })
        });
        unasked
    }

    /// Sets when an operation is over by itself.
    pub(crate) fn set_timer(&mut self, op: OpId, at: Monotonic) {
        let target = self.target(op);
        self.rare.get_or_insert_default().timers.push(Reverse((at, target)));
    }

    /// The place of an open operation, with its turn.
    pub(crate) fn target(&self, op: OpId) -> Target {
        Target { index: op.0, turn: self.slots.get(op.0 as usize).map_or(0, |slot| slot.turn) }
    }

    /// What there is to say, and a waker to drop without lock.
    pub(crate) fn poll(&mut self, op: OpId, waker: &Waker) -> (Poll<Said>, Option<Waker>) {
        let Some(slot) = self.slots.get_mut(op.0 as usize) else { return (Poll::Pending, None) };
        match &mut slot.state {
            SlotState::Open(Awaited::Step { ordinal }) => {
                let ordinal = *ordinal;
                slot.state = SlotState::Given;
                (Poll::Ready(Said::Execute { ordinal }), None)
            }
            SlotState::Open(_) => {
                let replaced = match &slot.waker {
                    Some(present) if present.will_wake(waker) => None,
                    _ => slot.waker.replace(waker.clone()),
                };
                (Poll::Pending, replaced)
            }
            SlotState::Done(_) => {
                let SlotState::Done(result) = std::mem::replace(&mut slot.state, SlotState::Given)
                else {
                    return (Poll::Pending, None);
                };
                (Poll::Ready(Said::Done(result)), slot.waker.take())
            }
            SlotState::Vacant { .. } | SlotState::Given => (Poll::Pending, None),
        }
    }

    /// The body closes an operation. Says what it waited for, and a waker to drop without lock.
    pub(crate) fn close(&mut self, op: OpId) -> (Option<Awaited>, Option<Waker>) {
        let Some(slot) = self.slots.get_mut(op.0 as usize) else { return (None, None) };
        let awaited = match slot.state {
            SlotState::Vacant { .. } => return (None, None),
            SlotState::Open(awaited) => Some(awaited),
            SlotState::Done(_) | SlotState::Given => None,
        };
        slot.state = SlotState::Vacant { next: self.vacant };
        slot.turn = slot.turn.wrapping_add(1);
        let waker = slot.waker.take();
        self.vacant = Some(op.0);
        if matches!(awaited, Some(Awaited::Time { .. })) {
            self.sweep();
        }
        (awaited, waker)
    }

    /// Ends an operation with this result, where it is still open.
    pub(crate) fn deliver(
        &mut self,
        target: Target,
        result: Result<Payload, OpError>,
        wakes: &mut Wakes,
    ) -> bool {
        match self.slots.get_mut(target.index as usize) {
            Some(slot) if slot.turn == target.turn => {
                let is_open = matches!(slot.state, SlotState::Open(_));
                if is_open {
                    slot.state = SlotState::Done(result);
                    wakes.extend(slot.waker.take());
                }
                is_open
            }
            _ => false,
        }
    }

    /// The operation that waits for the answer to this question.
    pub(crate) fn asker(&self, question: QuestionId) -> Option<Target> {
        let asks = |slot: &Slot| matches!(slot.state, SlotState::Open(Awaited::Answer(id)) if id == question);
        let index = self.slots.iter().position(asks)?;
        Some(self.target(OpId(u32::try_from(index).ok()?)))
    }

    /// Whether an operation waits for this child.
    pub(crate) fn awaits_child(&self, target: Target, child: SessionId) -> bool {
        self.slots.get(target.index as usize).is_some_and(|slot| {
            slot.turn == target.turn
                && matches!(slot.state, SlotState::Open(Awaited::Child(known)) if known == child)
        })
    }

    /// An operation that waited for admission has its question now.
    pub(crate) fn admit(&mut self, target: Target, question: QuestionId) -> bool {
        match self.slots.get_mut(target.index as usize) {
            Some(slot)
                if slot.turn == target.turn
                    && matches!(slot.state, SlotState::Open(Awaited::Admission)) =>
            {
                slot.state = SlotState::Open(Awaited::Answer(question));
                true
            }
            _ => false,
        }
    }

    /// All that heed it answer that they were cancelled; those that asked do so in any case, for
    /// their questions are withdrawn. What belongs to a running step goes on. Says which children
    /// nobody waits for any more.
    pub(crate) fn cancel(&mut self, cause: &CancelInfo, wakes: &mut Wakes) -> Vec<SessionId> {
        let mut orphans = Vec::new();
        for slot in &mut self.slots {
            let ends = match slot.state {
                SlotState::Open(Awaited::Answer(_)) => true,
                SlotState::Open(Awaited::Admission | Awaited::Child(_)) => slot.heeds,
                SlotState::Open(Awaited::Time { is_delay }) => slot.heeds && !is_delay,
                _ => false,
            };
            if ends {
                if let SlotState::Open(Awaited::Child(child)) = slot.state {
                    orphans.push(child);
                }
                slot.state = SlotState::Done(Err(OpError::Cancelled(cause.clone())));
                wakes.extend(slot.waker.take());
            }
        }
        orphans
    }

    /// When the next operation is over by itself.
    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.rare.as_deref()?.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Ends what is due.
    pub(crate) fn tick(&mut self, now: Monotonic, wakes: &mut Wakes) {
        while let Some(target) = self.pop_due(now) {
            self.deliver(target, Ok("null".to_owned()), wakes);
        }
        self.sweep();
    }

    fn pop_due(&mut self, now: Monotonic) -> Option<Target> {
        let timers = &mut self.rare.as_deref_mut()?.timers;
        let Reverse((at, target)) = *timers.peek()?;
        if at > now {
            return None;
        }
        timers.pop();
        Some(target)
    }

    /// Forgets the timers of closed operations: those at the front always, all where they are
    /// most of them.
    fn sweep(&mut self) {
        let slots = &self.slots;
        let Some(Rare { timers, .. }) = self.rare.as_deref_mut() else { return };
        let lives = |target: Target| {
            slots.get(target.index as usize).is_some_and(|slot| {
                slot.turn == target.turn
                    && matches!(slot.state, SlotState::Open(Awaited::Time { .. }))
            })
        };
        while timers.peek().is_some_and(|Reverse((_, target))| !lives(*target)) {
            timers.pop();
        }
        if timers.len() > 2 * slots.len() + 16 {
            timers.retain(|Reverse((_, target))| lives(*target));
        }
    }
}
