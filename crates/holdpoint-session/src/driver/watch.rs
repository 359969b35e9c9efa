//! Who waits for something to be shown of a session: wakers, registered and taken in O(1).

use std::task::Waker;

/// Wakers that are all told together, and then have to come again.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    /// Rises when all are taken: whatever was registered before is void.
    round: u32,
    list: Vec<Option<Waker>>,
    vacant: Vec<u32>,
}

/// Where somebody is registered. The default is nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place(Option<(u32, u32)>);

impl Place {
    /// Whether it may be one.
    pub(crate) fn is_somewhere(self) -> bool {
        self.0.is_some()
    }
}

impl Wakers {
    /// Registers, or replaces what was registered there. Gives back a waker to drop without lock.
    pub(crate) fn register(&mut self, place: &mut Place, waker: &Waker) -> Option<Waker> {
        if let Some(slot) = self.slot(*place) {
            return match slot {
                Some(present) if present.will_wake(waker) => None,
                slot => slot.replace(waker.clone()),
            };
        }
        let index = match self.vacant.pop() {
            Some(index) => {
                self.list[index as usize] = Some(waker.clone());
                index
            }
            None => {
                self.list.push(Some(waker.clone()));
                u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX)
            }
        };
        place.0 = Some((self.round, index));
        None
    }

    /// Takes somebody out who does not wait any more. Gives back a waker to drop without lock.
    pub(crate) fn leave(&mut self, place: Place) -> Option<Waker> {
        let waker = self.slot(place)?.take();
        if let Some((_, index)) = place.0 {
            self.vacant.push(index);
        }
        waker
    }

    /// Takes all, to be woken when the lock is free.
    pub(crate) fn take(&mut self, out: &mut Wakes) {
        if self.list.is_empty() {
            return;
        }
        self.round = self.round.wrapping_add(1);
        self.vacant.clear();
        self.list.drain(..).flatten().for_each(|waker| out.push(waker));
    }

    fn slot(&mut self, place: Place) -> Option<&mut Option<Waker>> {
        let (round, index) = place.0?;
        if round != self.round {
            return None;
        }
        self.list.get_mut(index as usize)
    }
}

/// Wakers to wake when the lock is free. One, by far the most common case, takes no allocation.
#[derive(Debug, Default)]
#[must_use = "somebody waits"]
pub(crate) struct Wakes {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakes {
    pub(crate) fn push(&mut self, waker: Waker) {
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.more.push(waker);
        }
    }

    pub(crate) fn extend(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        wakers.into_iter().for_each(|waker| self.push(waker));
    }

    /// Wakes all. Called without any lock: a waker may run whatever it likes.
    pub(crate) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
        }
        self.more.into_iter().for_each(Waker::wake);
    }
}
