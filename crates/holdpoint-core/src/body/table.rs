//! The operations of one recorded body, as a machine: for hosts that record.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Poll, Waker};

use super::ordinals::Ordinals;
use super::port::{CancelWhen, Kind, OpError, OpId, OpKey, OpName, Open, Payload};
use crate::cancel::CancelInfo;

/// The longest name of an operation, in bytes.
pub const MAX_OP_NAME_LEN: usize = 256;

/// The operations of one recorded body: what it has called, what was recorded of it, and what is
/// still awaited.
///
/// It decides nothing about time, records or effects, and wakes nobody: wakers are handed out, for
/// the host to wake or drop when it has let go of its lock.
///
/// A host gives the body one record (`deliver` or `deliver_cancel`), polls it until it waits, looks
/// at `take_closed` and `take_finished`, then gives the next. When there are no more records it
/// also looks at `take_fresh`, executes what is there (`permit`), and has what comes of it recorded
/// before it is delivered. In replay it need not look at `take_fresh`: what is recorded is delivered
/// all the same.
///
/// The number of an operation is given again only after the host was told of its end, by
/// `take_closed`, or after it brought the end itself, by a delivery.
///
/// ```
/// use std::task::{Poll, Waker};
/// use holdpoint_core::body::{CancelWhen, Delivery, Open, OpTable, TableEvent};
///
/// let mut table = OpTable::new();
/// let op = table.open("fetch".into(), Open::Step, CancelWhen::Requested);
/// assert!(matches!(table.poll(op, Waker::noop()), (Poll::Pending, None)));
///
/// let fresh = table.take_fresh().remove(0);
/// table.permit(fresh.id);
/// let (event, _) = table.poll(op, Waker::noop());
/// assert_eq!(event, Poll::Ready(TableEvent::Execute { ordinal: 0 }));
///
/// table.finish(op, Ok("7".to_owned()));
/// let (_, key, outcome) = table.take_finished().remove(0);
/// // Here the host records it.
/// assert!(matches!(table.deliver(&key, outcome), Delivery::Delivered(_)));
/// let (event, _) = table.poll(op, Waker::noop());
/// assert_eq!(event, Poll::Ready(TableEvent::Done(Ok("7".to_owned()))));
/// table.close(op);
/// assert!(table.is_idle());
/// ```
#[derive(Debug, Default)]
pub struct OpTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    ordinals: Ordinals,
    /// Which slots may have something for `take_fresh`; a slot is in here once.
    fresh: Vec<u32>,
    /// Which slots may have something for `take_finished`.
    finished: Vec<u32>,
    closed: Vec<Closed>,
    /// The undelivered operations with a key, and their slots.
    outstanding: BTreeMap<OpKey, u32>,
    /// Keys whose operations the body has dropped, or that were cancelled.
    abandoned: BTreeSet<OpKey>,
    cancel: Option<CancelInfo>,
    moves: u64,
    opened: u64,
}

/// What a table says of an operation that its body polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableEvent {
    /// Execute the effect now.
    Execute {
        /// The ordinal of the step's key.
        ordinal: u32,
    },
    /// It is over.
    Done(Result<Payload, OpError>),
}

/// An operation of which the host hears for the first time.
#[derive(Debug)]
pub struct Fresh {
    /// Its number.
    pub id: OpId,
    /// Its key; a delay has none.
    pub key: Option<OpKey>,
    /// What the body wants.
    pub open: Open,
}

/// An operation that the body dropped before the host delivered its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Its number, which is now free.
    pub id: OpId,
    /// Its key; a delay has none.
    pub key: Option<OpKey>,
}

/// What became of a record.
#[derive(Debug)]
#[must_use]
pub enum Delivery {
    /// The body has it at its next poll. The waker is to be woken.
    Delivered(Option<Waker>),
    /// The body dropped the operation, or it was cancelled: the record is passed over.
    Abandoned,
    /// The body has not called such an operation, or has its result: the record does not match.
    Unknown,
}

#[derive(Debug)]
struct Slot {
    key: Option<OpKey>,
    when: CancelWhen,
    state: State,
    /// What the host is not told of yet.
    untold: Option<Open>,
    /// Whether the host was told of it.
    is_told: bool,
    /// Whether the slot stands in the list of fresh ones.
    is_listed: bool,
    /// Its place in the order of opening.
    opened: u64,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum State {
    Free,
    /// Closed, and the host is to hear of it before the slot is free.
    Closed,
    Waiting,
    Permitted,
    Executing,
    Finished(Result<Payload, OpError>),
    Recording,
    Done {
        result: Result<Payload, OpError>,
        is_delivered: bool,
    },
    /// The body has the result.
    Over {
        is_delivered: bool,
    },
}

/// The body's side: what a port passes on.
impl OpTable {
    /// A table of a body that has called nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The body calls an operation, which is numbered now.
    ///
    /// Where its name is empty or too long it has failed; where the body was told of a
    /// cancellation, and the operation heeds that, it is cancelled. Of these the host never hears.
    pub fn open(&mut self, name: OpName, open: Open, when: CancelWhen) -> OpId {
        let Some(kind) = open.kind() else {
            return self.insert(None, Some(open), when, State::Waiting);
        };
        self.moves += 1;
        if let Some(error) = name_fault(&name) {
            return self.insert(None, None, when, refused(error));
        }
        let ordinal = self.ordinals.next(kind, &name);
        let key = OpKey { kind, name, ordinal };
        if when == CancelWhen::Requested
            && let Some(cause) = &self.cancel
        {
            let state = refused(OpError::Cancelled(cause.clone()));
            return self.insert(None, None, when, state);
        }
        let id = self.insert(Some(key.clone()), Some(open), when, State::Waiting);
        self.outstanding.insert(key, id.0);
        id
    }

    /// What there is to say of an operation. Where there is nothing, `waker` is kept. The second
    /// value is a waker that is not needed any more, to be dropped.
    pub fn poll(&mut self, op: OpId, waker: &Waker) -> (Poll<TableEvent>, Option<Waker>) {
        let Some(slot) = self.slots.get_mut(op.0 as usize) else { return (Poll::Pending, None) };
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Permitted => {
                slot.state = State::Executing;
                let ordinal = slot.key.as_ref().map_or(0, |key| key.ordinal);
                (Poll::Ready(TableEvent::Execute { ordinal }), slot.waker.take())
            }
            State::Done { result, is_delivered } => {
                slot.state = State::Over { is_delivered };
                (Poll::Ready(TableEvent::Done(result)), slot.waker.take())
            }
            waiting => {
                slot.state = waiting;
                let is_known = slot.waker.as_ref().is_some_and(|known| known.will_wake(waker));
                let replaced = if is_known { None } else { slot.waker.replace(waker.clone()) };
                (Poll::Pending, replaced)
            }
        }
    }

    /// The effect of a step is over. What it brought is kept for
    /// [`take_finished`](Self::take_finished); where the step has a result by now, that one stays.
    pub fn finish(&mut self, op: OpId, outcome: Result<Payload, OpError>) {
        let Some(slot) = self.slots.get_mut(op.0 as usize) else { return };
        if matches!(slot.state, State::Executing) {
            slot.state = State::Finished(outcome);
            self.finished.push(op.0);
        }
    }

    /// The body does not want the operation any more. The waker is to be dropped.
    pub fn close(&mut self, op: OpId) -> Option<Waker> {
        let slot = self.slots.get_mut(op.0 as usize)?;
        let is_delivered = match std::mem::replace(&mut slot.state, State::Free) {
            // Nothing is open here: closed twice.
            State::Free => return None,
            State::Closed => {
                slot.state = State::Closed;
                return None;
            }
            State::Done { is_delivered, .. } | State::Over { is_delivered } => is_delivered,
            _ => false,
        };
        let waker = slot.waker.take();
        slot.untold = None;
        let key = slot.key.take();
        if is_delivered || !slot.is_told {
            self.free.push(op.0);
        } else {
            slot.state = State::Closed;
            self.closed.push(Closed { id: op, key: key.clone() });
        }
        if let Some(key) = key
            && self.outstanding.remove(&key).is_some()
        {
            self.abandoned.insert(key);
        }
        waker
    }

    fn insert(
        &mut self,
        key: Option<OpKey>,
        untold: Option<Open>,
        when: CancelWhen,
        state: State,
    ) -> OpId {
        self.opened += 1;
        let is_fresh = untold.is_some();
        let mut slot = Slot {
            key,
            when,
            state,
            untold,
            is_told: false,
            is_listed: is_fresh,
            opened: self.opened,
            waker: None,
        };
        let index = match self.free.pop() {
            Some(index) => {
                let place = &mut self.slots[index as usize];
                let was_listed = place.is_listed;
                slot.is_listed |= was_listed;
                *place = slot;
                if is_fresh && !was_listed {
                    self.fresh.push(index);
                }
                index
            }
            None => {
                let index = u32::try_from(self.slots.len())
                    .expect("BUG: more operations are open than there are numbers");
                self.slots.push(slot);
                if is_fresh {
                    self.fresh.push(index);
                }
                index
            }
        };
        OpId(index)
    }
}

/// The host's side: what comes of it.
impl OpTable {
    /// What was called since the last look and is still wanted, in the order of the keys; delays
    /// last, in the order of their opening. Operations that have a result already are not in it.
    #[must_use]
    pub fn take_fresh(&mut self) -> Vec<Fresh> {
        let mut fresh = Vec::with_capacity(self.fresh.len());
        for index in self.fresh.drain(..) {
            let slot = &mut self.slots[index as usize];
            slot.is_listed = false;
            if let Some(open) = slot.untold.take() {
                slot.is_told = true;
                fresh.push(Fresh { id: OpId(index), key: slot.key.clone(), open });
            }
        }
        let opened = |fresh: &Fresh| self.slots[fresh.id.0 as usize].opened;
        fresh.sort_unstable_by(|one, other| {
            let place = |fresh: &Fresh| (fresh.key.is_none(), opened(fresh));
            match (&one.key, &other.key) {
                (Some(one), Some(other)) => one.cmp(other),
                _ => place(one).cmp(&place(other)),
            }
        });
        fresh
    }

    /// The outcomes of effects that ended since the last look and are still wanted, in the order
    /// of the keys. They are to be recorded, then delivered.
    #[must_use]
    pub fn take_finished(&mut self) -> Vec<(OpId, OpKey, Result<Payload, OpError>)> {
        let mut finished = Vec::with_capacity(self.finished.len());
        for index in self.finished.drain(..) {
            let slot = &mut self.slots[index as usize];
            match (std::mem::replace(&mut slot.state, State::Recording), &slot.key) {
                (State::Finished(outcome), Some(key)) => {
                    finished.push((OpId(index), key.clone(), outcome));
                }
                // Closed or delivered since, or another operation has its place.
                (other, _) => slot.state = other,
            }
        }
        finished.sort_unstable_by(|(_, one, _), (_, other, _)| one.cmp(other));
        finished
    }

    /// What the body dropped since the last look, of what the host was told of and did not
    /// deliver: in the order in which it was dropped. Cancelled operations are among them.
    #[must_use]
    pub fn take_closed(&mut self) -> Vec<Closed> {
        let closed = std::mem::take(&mut self.closed);
        for Closed { id, .. } in &closed {
            self.slots[id.0 as usize].state = State::Free;
            self.free.push(id.0);
        }
        closed
    }

    /// Lets a step execute its effect. The waker is to be woken.
    pub fn permit(&mut self, op: OpId) -> Option<Waker> {
        let slot = self.slots.get_mut(op.0 as usize)?;
        let is_step = slot.key.as_ref().is_some_and(|key| key.kind == Kind::Step);
        if !is_step || !matches!(slot.state, State::Waiting) {
            return None;
        }
        slot.state = State::Permitted;
        slot.waker.take()
    }

    /// Gives the body the recorded result of an operation. An effect that still runs comes to
    /// nothing.
    pub fn deliver(&mut self, key: &OpKey, result: Result<Payload, OpError>) -> Delivery {
        let Some(index) = self.outstanding.remove(key) else {
            let is_abandoned = self.abandoned.remove(key);
            return if is_abandoned { Delivery::Abandoned } else { Delivery::Unknown };
        };
        let slot = &mut self.slots[index as usize];
        slot.untold = None;
        slot.state = State::Done { result, is_delivered: true };
        Delivery::Delivered(slot.waker.take())
    }

    /// A delay has passed. The waker is to be woken.
    pub fn deliver_delay(&mut self, op: OpId) -> Option<Waker> {
        let slot = self.slots.get_mut(op.0 as usize)?;
        if slot.key.is_some() || !matches!(slot.state, State::Waiting) {
            return None;
        }
        slot.untold = None;
        slot.state = State::Done { result: Ok("null".to_owned()), is_delivered: true };
        slot.waker.take()
    }

    /// Tells the body that the session was asked to stop. Open questions are cancelled, sleeps and
    /// children that heed it are, and whatever heeding operation is called later; steps that are
    /// open go on. The first cause is kept. The wakers, in the order of the keys, are to be woken.
    #[must_use]
    pub fn deliver_cancel(&mut self, cause: CancelInfo) -> Vec<Waker> {
        if self.cancel.is_some() {
            return Vec::new();
        }
        let mut wakers = Vec::new();
        let mut ended = Vec::new();
        for (key, index) in &self.outstanding {
            let slot = &mut self.slots[*index as usize];
            // A question is withdrawn by the cancellation itself, whoever asked it.
            if key.kind == Kind::Ask || key.kind != Kind::Step && slot.when == CancelWhen::Requested
            {
                slot.untold = None;
                slot.state = refused(OpError::Cancelled(cause.clone()));
                wakers.extend(slot.waker.take());
                ended.push(key.clone());
            }
        }
        for key in ended {
            self.outstanding.remove(&key);
            self.abandoned.insert(key);
        }
        self.cancel = Some(cause);
        wakers
    }

    /// No record of this abandoned operation will come: it need not be remembered.
    pub fn forget(&mut self, key: &OpKey) {
        self.abandoned.remove(key);
    }

    /// The cancellation that the body was told of.
    #[must_use]
    pub fn cancel(&self) -> Option<&CancelInfo> {
        self.cancel.as_ref()
    }

    /// The operations that the body awaits a record of, in the order of the keys.
    pub fn outstanding(&self) -> impl Iterator<Item = &OpKey> {
        self.outstanding.keys()
    }

    /// Whether the body awaits a record of this operation.
    #[must_use]
    pub fn is_outstanding(&self, key: &OpKey) -> bool {
        self.outstanding.contains_key(key)
    }

    /// Whether the body awaits no record at all.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// How many operations the body has called, delays apart. Where it rises though the body was
    /// given no record, the body's own code awaited something foreign.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves
    }
}

/// Done from the start, though no record says so.
fn refused(error: OpError) -> State {
    State::Done { result: Err(error), is_delivered: false }
}

/// What is wrong with the name of an operation.
#[inline]
pub(super) fn name_fault(name: &str) -> Option<OpError> {
    if (1..=MAX_OP_NAME_LEN).contains(&name.len()) { None } else { Some(bad_name(name)) }
}

#[cold]
fn bad_name(name: &str) -> OpError {
    let message = match name.len() {
        0 => "the name of an operation cannot be empty".to_owned(),
        len => {
            format!("the name of an operation has at most {MAX_OP_NAME_LEN} bytes, this has {len}")
        }
    };
    OpError::Failed { message, retryable: false }
}
