//! A part of the streams, and all that is kept of them.
//!
//! # Invariants
//! 1. A stream keeps its index for ever.
//! 2. The events that are kept of a stream are its last ones, without a hole.
//! 3. All streams stand in one list, the one with the latest event first: `newer` and `older` are
//!    each other's reverse. So whoever looks for news passes by no stream without.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::{Owner, StateName};
use holdpoint_core::store::{
    Fence, JournalEntry, ReadError, Snapshot, StoredEvent, StoredSnapshot, StreamInfo, Write,
};

/// The index of no stream: the end of the list.
const NONE: u32 = u32::MAX;

pub(super) struct Shard {
    indexes: HashMap<Stream, u32>,
    entries: Vec<Entry>,
    /// The most events of a stream.
    limit: usize,
    /// The stream with the latest event.
    newest: u32,
    /// The last position of an event that is no longer kept, and the stream it was of.
    lost: Option<(u64, u32)>,
}

/// A stream.
pub(super) struct Entry {
    pub(super) info: StreamInfo,
    /// With their positions.
    events: VecDeque<(u64, Event)>,
    journal: Vec<Arc<[u8]>>,
    snapshot: Option<Kept>,
    last_pos: u64,
    newer: u32,
    older: u32,
}

/// A snapshot. Its bytes are overwritten by the next one's.
struct Kept {
    state: StateName,
    seq: u64,
    data: Vec<u8>,
}

impl Shard {
    pub(super) fn new(limit: usize) -> Self {
        Self { indexes: HashMap::new(), entries: Vec::new(), limit, newest: NONE, lost: None }
    }

    pub(super) fn find(&self, stream: &Stream) -> Option<u32> {
        self.indexes.get(stream).copied()
    }

    pub(super) fn entry(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    /// The streams, the one with the latest event first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Entry> {
        let at = |index: u32| self.entries.get(index as usize);
        std::iter::successors(at(self.newest), move |entry| at(entry.older))
    }

    /// The last position of an event that is no longer kept, and its stream.
    pub(super) fn lost(&self) -> Option<(u64, &Entry)> {
        self.lost.map(|(pos, index)| (pos, self.entry(index)))
    }

    /// The index of the next stream.
    pub(super) fn next_index(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(NONE)
    }

    /// Takes in a stream without events.
    pub(super) fn create(&mut self, info: StreamInfo) -> u32 {
        let index = self.next_index();
        self.indexes.insert(info.stream.clone(), index);
        self.entries.push(Entry {
            info,
            events: VecDeque::new(),
            journal: Vec::new(),
            snapshot: None,
            last_pos: 0,
            newer: NONE,
            older: NONE,
        });
        // To the list it comes with its first event, as the newest.
        index
    }

    /// Carries out a write that was checked, by this instance. Its events come after `pos`.
    pub(super) fn accept(&mut self, index: u32, write: &Write<'_>, instance: u64, pos: u64) {
        let limit = self.limit;
        let entry = &mut self.entries[index as usize];
        let is_first = entry.last_pos == 0;
        if matches!(write.fence, Fence::NewOwned | Fence::Claim { .. }) {
            entry.info.epoch += 1;
            entry.info.owner = Some(Owner { instance, epoch: entry.info.epoch });
        }
        let lost = entry.add_events(write.events, pos, limit);
        entry.journal.extend(write.journal.iter().map(|data| Arc::from(*data)));
        entry.info.last_entry += write.journal.len() as u64;
        if let Some(snapshot) = write.snapshot {
            entry.info.state = snapshot.state;
            entry.set_snapshot(snapshot);
        }
        if write.release || entry.info.state.is_terminal() {
            entry.info.owner = None;
        }
        if let Some(lost) = lost
            && self.lost.is_none_or(|(last, _)| lost > last)
        {
            self.lost = Some((lost, index));
        }
        if !write.events.is_empty() && self.newest != index {
            self.put_first(index, is_first);
        }
    }

    /// Makes a stream the first of the list, of which it is a part already unless it is new.
    fn put_first(&mut self, index: u32, is_new: bool) {
        let Entry { newer, older, .. } = self.entries[index as usize];
        if !is_new {
            // It has a newer one, since it is not the first.
            self.entries[newer as usize].older = older;
            if let Some(entry) = self.entries.get_mut(older as usize) {
                entry.newer = newer;
            }
        }
        let second = std::mem::replace(&mut self.newest, index);
        if let Some(entry) = self.entries.get_mut(second as usize) {
            entry.newer = index;
        }
        let entry = &mut self.entries[index as usize];
        (entry.newer, entry.older) = (NONE, second);
    }
}

impl Entry {
    /// Its last event's position.
    pub(super) fn last_pos(&self) -> u64 {
        self.last_pos
    }

    pub(super) fn events(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, ReadError> {
        if limit == 0 || after >= self.info.last_seq {
            return Ok(Vec::new());
        }
        let first = self.first_kept();
        if after + 1 < first {
            return Err(self.gap());
        }
        let skip = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        let events = self.events.range(skip..).take(limit);
        Ok(events.map(|(pos, event)| StoredEvent::whole(*pos, event.clone())).collect())
    }

    /// What to say to who wants earlier events than there are.
    pub(super) fn gap(&self) -> ReadError {
        ReadError::Gap { stream: self.info.stream.clone(), first: self.first_kept() }
    }

    /// Its events after a position.
    pub(super) fn after_pos(&self, after: u64) -> impl Iterator<Item = (u64, &Event)> {
        let skip = self.events.partition_point(|(pos, _)| *pos <= after);
        self.events.range(skip..).map(|(pos, event)| (*pos, event))
    }

    pub(super) fn journal(&self, after: u64, limit: usize) -> Vec<JournalEntry> {
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        let entries = self.journal.iter().zip(1_u64..).skip(skip).take(limit);
        entries.map(|(data, number)| JournalEntry { number, data: Arc::clone(data) }).collect()
    }

    pub(super) fn snapshot(&self) -> Option<StoredSnapshot> {
        let Kept { state, seq, data } = self.snapshot.as_ref()?;
        Some(StoredSnapshot { state: *state, seq: *seq, data: data.as_slice().into() })
    }

    /// The number of the first event that is kept, or of the next where none is.
    fn first_kept(&self) -> u64 {
        self.info.last_seq + 1 - self.events.len() as u64
    }

    /// Adds events at the positions after `pos`. Gives the last position that had to go for them.
    fn add_events(&mut self, events: &[Event], mut pos: u64, limit: usize) -> Option<u64> {
        let last = events.last()?;
        let mut lost = None;
        for (index, event) in events.iter().enumerate() {
            pos += 1;
            if events.len() - index > limit {
                lost = Some(pos);
                continue;
            }
            if self.events.len() == limit {
                lost = self.events.pop_front().map(|(pos, _)| pos).max(lost);
            }
            self.events.push_back((pos, event.clone()));
        }
        self.last_pos = pos;
        self.info.last_seq = last.seq;
        self.info.updated_at = self.info.updated_at.max(last.at);
        lost
    }

    fn set_snapshot(&mut self, Snapshot { state, data }: Snapshot<'_>) {
        let seq = self.info.last_seq;
        match &mut self.snapshot {
            Some(kept) => {
                (kept.state, kept.seq) = (state, seq);
                kept.data.clear();
                kept.data.extend_from_slice(data);
            }
            None => self.snapshot = Some(Kept { state, seq, data: data.to_vec() }),
        }
    }
}
