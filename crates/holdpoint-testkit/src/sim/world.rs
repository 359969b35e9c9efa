//! What an actor may do, and the stage on which all of them are: clock, queue, chance, events.

use std::any::Any;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_core::event::Sequencer;
use holdpoint_core::{
    BatchId, Clock, Event, EventKind, ManualClock, Monotonic, Now, SessionId, Timestamp,
};

use super::random::Random;
use crate::audit::Audit;

/// The wall clock at the start of every simulation: 2026-01-01T00:00:00Z.
const FIRST_DAY: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// The simulation as one actor sees it while something happens to it.
pub struct World<'a, H> {
    stage: &'a mut Stage,
    me: usize,
    happening: PhantomData<fn(H)>,
}

/// Where to send what is to happen to an actor.
pub struct Address<H> {
    index: usize,
    happening: PhantomData<fn(H)>,
}

impl<'a, H: 'static> World<'a, H> {
    pub(super) fn new(stage: &'a mut Stage, me: usize) -> Self {
        Self { stage, me, happening: PhantomData }
    }

    /// Both times at this moment.
    #[must_use]
    pub fn now(&self) -> Now {
        self.stage.clock.now()
    }

    /// The clock, for code that takes one.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::<ManualClock>::clone(&self.stage.clock)
    }

    /// Steps the wall clock, in either direction. The monotonic one stays.
    pub fn step_wall(&mut self, wall: Timestamp) {
        self.stage.clock.set_wall(wall);
    }

    /// The chance of the simulation.
    pub fn random(&mut self) -> &mut Random {
        &mut self.stage.random
    }

    /// Where to send what is to happen to this actor.
    #[must_use]
    pub fn me(&self) -> Address<H> {
        Address::new(self.me)
    }

    /// `what` happens to this actor, so much later.
    pub fn after(&mut self, delay: Duration, what: H) {
        self.send(self.me(), delay, what);
    }

    /// `what` happens to this actor at `time`; now, where that has passed.
    pub fn at(&mut self, time: Monotonic, what: H) {
        self.after(time - self.now().monotonic, what);
    }

    /// `what` happens to another actor, so much later.
    pub fn send<O: 'static>(&mut self, to: Address<O>, delay: Duration, what: O) {
        let at = self.now().monotonic + delay;
        self.stage.schedule(at, to.index, Box::new(what));
    }

    /// Tells an event of the stream of `numbers`.
    pub fn publish(&mut self, numbers: &mut Sequencer, kind: EventKind) {
        let event = numbers.event(self.now().wall, kind);
        self.stage.audit.take(&event);
        self.stage.events.push(event);
    }

    /// The audit of all events, to tell it what it cannot see in them.
    pub fn audit(&mut self) -> &mut Audit {
        &mut self.stage.audit
    }

    /// Something is wrong: the simulation fails with this message.
    pub fn fail(&mut self, message: impl Into<String>) {
        self.stage.fault.get_or_insert_with(|| message.into());
    }

    /// A session id, of this time and seed.
    pub fn session_id(&mut self) -> SessionId {
        let id = self.stage.id().parse();
        id.unwrap_or_else(|error| panic!("BUG: a simulated id is an id: {error}"))
    }

    /// A batch id, of this time and seed.
    pub fn batch_id(&mut self) -> BatchId {
        let id = self.stage.id().parse();
        id.unwrap_or_else(|error| panic!("BUG: a simulated id is an id: {error}"))
    }
}

/// What all actors share.
pub(super) struct Stage {
    pub(super) clock: Arc<ManualClock>,
    pub(super) audit: Audit,
    pub(super) events: Vec<Event>,
    pub(super) fault: Option<String>,
    random: Random,
    /// What decides between happenings of one time. Apart from `random`, so that an actor that
    /// draws one number more does not shuffle all that follows.
    ties: Random,
    queue: BinaryHeap<Reverse<Next>>,
    scheduled: u64,
    ids: u64,
}

/// Something that is to happen.
pub(super) struct Next {
    pub(super) at: Monotonic,
    pub(super) actor: usize,
    pub(super) what: Box<dyn Any>,
    tie: u64,
    number: u64,
}

impl Stage {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let ties = Random::new(random.number());
        Self {
            clock: Arc::new(ManualClock::new(FIRST_DAY)),
            audit: Audit::new().prompt_cancels(),
            events: Vec::new(),
            fault: None,
            random,
            ties,
            queue: BinaryHeap::new(),
            scheduled: 0,
            ids: 0,
        }
    }

    pub(super) fn next(&mut self) -> Option<Next> {
        self.queue.pop().map(|Reverse(next)| next)
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn move_to(&mut self, time: Monotonic) {
        self.clock.advance(time - self.clock.monotonic());
    }

    fn schedule(&mut self, at: Monotonic, actor: usize, what: Box<dyn Any>) {
        self.scheduled += 1;
        let (tie, number) = (self.ties.number(), self.scheduled);
        self.queue.push(Reverse(Next { at, actor, what, tie, number }));
    }

    /// The text of a UUID of version 7: in order of creation, as ids are.
    fn id(&mut self) -> String {
        self.ids += 1;
        let millis = self.clock.now().wall.as_micros() / 1000;
        let chance = self.random.number();
        format!(
            "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
            (millis >> 16) & 0xffff_ffff,
            millis & 0xffff,
            (self.ids >> 12) & 0xfff,
            self.ids & 0xfff,
            chance & 0xffff_ffff_ffff
        )
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |next: &Self| (next.at, next.tie, next.number);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Next {}

impl<H> Address<H> {
    pub(super) fn new(index: usize) -> Self {
        Self { index, happening: PhantomData }
    }
}

impl<H> Clone for Address<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Address<H> {}

impl<H> fmt::Debug for Address<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.index)
    }
}

impl<H> fmt::Debug for World<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.stage.clock.now()).finish_non_exhaustive()
    }
}
