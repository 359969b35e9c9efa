//! What a session publishes after an input.

use crate::event::EventKind;

/// The events of one input, in the order in which to publish them. May be empty: not every
/// accepted input changes what others see.
///
/// Up to three events, the most that inputs about one question bring, take no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "the events are to be published"]
pub struct Transition {
    head: [Option<EventKind>; 3],
    tail: Vec<EventKind>,
}

impl Transition {
    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = &EventKind> {
        self.head.iter().flatten().chain(&self.tail)
    }

    /// Whether there is nothing to publish.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head[0].is_none()
    }

    /// Adds the events of the next input.
    pub fn append(&mut self, next: Self) {
        next.into_iter().for_each(|event| self.push(event));
    }

    /// Adds an event that changes no state.
    pub fn push(&mut self, event: EventKind) {
        match self.head.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(event),
            None => self.tail.push(event),
        }
    }
}

impl IntoIterator for Transition {
    type Item = EventKind;
    type IntoIter = std::iter::Chain<
        std::iter::Flatten<std::array::IntoIter<Option<EventKind>, 3>>,
        std::vec::IntoIter<EventKind>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.head.into_iter().flatten().chain(self.tail)
    }
}
