//! The events of all streams in one order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::MutexGuard;

use holdpoint_core::event::Event;
use holdpoint_core::store::{ReadError, StoredEvent};

use super::shard::Shard;

/// Events after a position, at most so many. The shards are all there are, so that nothing can
/// still come between.
pub(super) fn after(
    shards: &[MutexGuard<'_, Shard>],
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, ReadError> {
    let lost = shards.iter().filter_map(|shard| shard.lost()).max_by_key(|(pos, _)| *pos);
    if let Some((pos, entry)) = lost
        && pos > after
    {
        return Err(entry.gap());
    }
    let mut next = BinaryHeap::new();
    for shard in shards {
        for entry in shard.newest().take_while(|entry| entry.last_pos() > after) {
            let mut events = entry.after_pos(after);
            if let Some((pos, event)) = events.next() {
                next.push(Reverse(Next { pos, event, rest: events }));
            }
        }
    }
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(mut earliest) = next.peek_mut()
    {
        let Reverse(Next { pos, event, rest }) = &mut *earliest;
        found.push(StoredEvent::whole(*pos, event.clone()));
        match rest.next() {
            Some(following) => (*pos, *event) = following,
            None => drop(PeekMut::pop(earliest)),
        }
    }
    Ok(found)
}

/// The next event of a stream, by which the streams are ordered, and those after it.
struct Next<'a, I> {
    pos: u64,
    event: &'a Event,
    rest: I,
}

impl<I> PartialEq for Next<'_, I> {
    fn eq(&self, other: &Self) -> bool {
        self.pos == other.pos
    }
}

impl<I> Eq for Next<'_, I> {}

impl<I> PartialOrd for Next<'_, I> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<I> Ord for Next<'_, I> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pos.cmp(&other.pos)
    }
}
