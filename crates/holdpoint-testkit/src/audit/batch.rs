//! The items of a batch (B1, B3, B4, B6).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use holdpoint_core::event::{EventKind, ItemOutcome};

use super::violation::Notes;

/// What the events of a batch have said so far.
#[derive(Debug, Default)]
pub(super) struct BatchStory {
    begun: bool,
    limit: u32,
    paused: bool,
    cancelled: bool,
    ended: bool,
    items: HashMap<Arc<str>, Item>,
    queued: u64,
    /// Places in the queue of items that were neither started nor ended.
    waiting: BTreeSet<u64>,
    in_flight: u32,
    next_index: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Item {
    place: u64,
    index: Option<u64>,
    attempt: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    InFlight,
    /// Between two attempts.
    Retrying,
    Parked,
    /// Waits for a slot; no event need tell that it has one again.
    Unparked,
    Ended,
}

/// The counts of `batch_ended`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    parked: u64,
    not_started: u64,
}

impl BatchStory {
    pub(super) fn take(&mut self, kind: &EventKind, notes: &mut Notes<'_>) {
        let begins = matches!(kind, EventKind::BatchStarted { .. });
        notes.check(self.begun != begins, "B6", || {
            let when = if begins { "again" } else { "before the batch began" };
            format!("{} {when}", kind.name())
        });
        notes.check(!self.ended, "B6", || format!("{} after the end", kind.name()));
        self.begun = true;
        match kind {
            EventKind::BatchStarted { limit } => self.limit = *limit,
            EventKind::BatchItemQueued { item } => self.queues(item, notes),
            EventKind::BatchItemStarted { item, index, attempt } => {
                self.starts(item, *index, *attempt, notes);
            }
            EventKind::BatchItemRetry { item, index, attempt, .. } => {
                let fits = |it: &Item| it.state == State::InFlight && it.attempt == *attempt;
                self.moves(item, *index, fits, State::Retrying, kind, notes);
            }
            EventKind::BatchItemParked { item, index } => {
                let fits = |it: &Item| matches!(it.state, State::InFlight | State::Unparked);
                self.moves(item, *index, fits, State::Parked, kind, notes);
            }
            EventKind::BatchItemUnparked { item, index } => {
                let fits = |it: &Item| it.state == State::Parked;
                self.moves(item, *index, fits, State::Unparked, kind, notes);
            }
            EventKind::BatchItemFinished { item, index, outcome, .. } => {
                self.finishes(item, *index, *outcome, notes);
            }
            EventKind::BatchLimitChanged { from, to } => {
                let limit = self.limit;
                notes.check(*from == limit, "B1", || format!("the limit was {limit}, not {from}"));
                self.limit = *to;
            }
            EventKind::BatchPaused => self.paused = true,
            EventKind::BatchResumed => self.paused = false,
            EventKind::BatchCancelRequested(_) => self.cancelled = true,
            EventKind::BatchEnded { succeeded, failed, cancelled, parked, not_started } => {
                let told = Counts {
                    succeeded: *succeeded,
                    failed: *failed,
                    cancelled: *cancelled,
                    parked: *parked,
                    not_started: *not_started,
                };
                self.ends(told, notes);
            }
            _ => notes.add("CORE-006", format!("{} in a batch", kind.name())),
        }
    }

    pub(super) fn finish(&self, notes: &mut Notes<'_>) {
        notes.check(self.ended, "B3", || "the batch has no end".into());
    }

    fn queues(&mut self, name: &Arc<str>, notes: &mut Notes<'_>) {
        if self.items.contains_key(name) {
            notes.add("B3", format!("item {name} is queued twice"));
            return;
        }
        let place = self.queued;
        self.queued += 1;
        self.waiting.insert(place);
        let item = Item { place, index: None, attempt: 0, state: State::Queued };
        self.items.insert(Arc::clone(name), item);
    }

    fn starts(&mut self, name: &Arc<str>, index: u64, attempt: u32, notes: &mut Notes<'_>) {
        notes.check(!self.cancelled, "B6", || format!("item {name} starts after the cancel"));
        let Some(item) = self.items.get_mut(name) else {
            notes.add("B3", format!("item {name} starts and was not queued"));
            return;
        };
        let expected = match item.state {
            State::Queued | State::Retrying => item.attempt + 1,
            State::Parked | State::Unparked => item.attempt,
            State::InFlight | State::Ended => {
                let state = item.state;
                notes.add("B3", format!("item {name} starts while it is {state:?}"));
                return;
            }
        };
        notes.check(attempt == expected, "B3", || {
            format!("attempt {attempt} of item {name}, and {expected} was to come")
        });
        notes.check(item.state != State::Parked, "B3", || format!("item {name} is parked"));
        if item.state == State::Queued {
            notes.check(!self.paused, "B6", || format!("item {name} starts in a pause"));
            notes.check(self.waiting.first() == Some(&item.place), "B4", || {
                format!("item {name} starts before one that was queued earlier")
            });
        }
        item.attempt = attempt;
        self.in_flight += 1;
        item.state = State::InFlight;
        notes.check(self.in_flight <= self.limit, "B1", || {
            format!("{} items in flight, of at most {}", self.in_flight, self.limit)
        });
        self.place(name, index, notes);
    }

    /// An item changes its state, where it was in one that allows it.
    fn moves(
        &mut self,
        name: &Arc<str>,
        index: u64,
        fits: impl Fn(&Item) -> bool,
        to: State,
        kind: &EventKind,
        notes: &mut Notes<'_>,
    ) {
        let Some(item) = self.items.get_mut(name) else {
            notes.add("B3", format!("{} of item {name}, which was not queued", kind.name()));
            return;
        };
        notes.check(fits(item), "B3", || {
            format!("{} of item {name}, which is {:?}", kind.name(), item.state)
        });
        self.in_flight -= u32::from(item.state == State::InFlight);
        item.state = to;
        self.place(name, index, notes);
    }

    fn finishes(
        &mut self,
        name: &Arc<str>,
        index: u64,
        outcome: ItemOutcome,
        notes: &mut Notes<'_>,
    ) {
        let Some(item) = self.items.get_mut(name) else {
            notes.add("B3", format!("item {name} ended and was not queued"));
            return;
        };
        let state = item.state;
        if state == State::Ended {
            notes.add("B3", format!("item {name} ended twice"));
            return;
        }
        let unstarted = matches!(
            outcome,
            ItemOutcome::NotStarted | ItemOutcome::Cancelled | ItemOutcome::Aborted
        );
        let fits = match outcome {
            ItemOutcome::NotStarted => state == State::Queued,
            ItemOutcome::Parked => state == State::Parked,
            _ => state != State::Queued || unstarted,
        };
        notes.check(fits, "B3", || format!("item {name} ended as {outcome:?} when {state:?}"));
        self.in_flight -= u32::from(state == State::InFlight);
        item.state = State::Ended;
        self.counts.count(outcome);
        self.place(name, index, notes);
    }

    /// An item has this index: the next one where it had none.
    fn place(&mut self, name: &Arc<str>, index: u64, notes: &mut Notes<'_>) {
        let Some(item) = self.items.get_mut(name) else { return };
        let expected = item.index.unwrap_or(self.next_index);
        notes.check(index == expected, "B4", || {
            format!("item {name} has index {index}, and {expected} was its own")
        });
        if item.index.is_none() {
            self.next_index += 1;
            item.index = Some(expected);
            self.waiting.remove(&item.place);
        }
    }

    fn ends(&mut self, told: Counts, notes: &mut Notes<'_>) {
        let mut open: Vec<(&Arc<str>, State)> = Vec::new();
        for (name, item) in &self.items {
            match item.state {
                State::Ended => {}
                // Neither needs an event of its own.
                State::Queued => self.counts.not_started += 1,
                State::Parked => self.counts.parked += 1,
                state => open.push((name, state)),
            }
        }
        open.sort_unstable_by_key(|(name, _)| Arc::clone(name));
        for (name, state) in &open {
            notes.add("B3", format!("item {name} has no outcome; it is {state:?}"));
        }
        let counts = self.counts;
        notes.check(counts == told || !open.is_empty(), "B3", || {
            format!("the end tells of {told:?}, and the items of {counts:?}")
        });
        self.ended = true;
    }
}

impl Counts {
    fn count(&mut self, outcome: ItemOutcome) {
        *match outcome {
            ItemOutcome::Succeeded => &mut self.succeeded,
            ItemOutcome::Cancelled | ItemOutcome::Aborted => &mut self.cancelled,
            ItemOutcome::Parked => &mut self.parked,
            ItemOutcome::NotStarted => &mut self.not_started,
            _ => &mut self.failed,
        } += 1;
    }
}
