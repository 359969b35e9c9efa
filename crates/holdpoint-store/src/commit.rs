//! One commit: which of the writes that wait are accepted, and what they come to (STORE-007,
//! STORE-008).
//!
//! # Invariants
//! 1. A write is checked against the streams as they are within this transaction, the accepted
//!    writes before it included. So no other process can come between check and write.
//! 2. An append is checked whole before any of it is accepted.
//! 3. Of each stream a commit writes one block, whatever the number of appends and notes.
//! 4. What is remembered between commits is true as long as no other connection has committed,
//!    which SQLite tells (`data_version`), and as long as our own commits succeed. Otherwise it is
//!    forgotten and read again.

use std::collections::HashMap;
use std::sync::Arc;

use holdpoint_core::event::Stream;
use holdpoint_core::session::{Owner, StateName};
use holdpoint_core::store::{AppendError, Fence};
use rusqlite::Connection;

use crate::blocks::{self, Block, NO_HASH};
use crate::chain::ChainError;
use crate::job::Entry;
use crate::merge;
use crate::sqlite::rows::{self, Found, Head, Link, Scheduling};
use crate::sqlite::{self};

/// How many streams are remembered between commits.
const REMEMBERED: usize = 1 << 16;

/// Why a write was not accepted: it was refused, or nothing can be written at all.
pub(crate) enum Stop {
    Refused(AppendError),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// What is known from earlier commits.
#[derive(Default)]
pub(crate) struct Memory {
    version: Option<i64>,
    index: HashMap<Stream, usize>,
    slots: Vec<Slot>,
    next_pos: u64,
    lowest: i64,
    highest: i64,
    /// None: damaged.
    scheduling: Option<Scheduling>,
}

impl Memory {
    /// Forgets everything: also what a commit has changed that was not made after all.
    pub(crate) fn forget(&mut self) {
        self.version = None;
        self.index.clear();
        self.slots.clear();
    }

    fn refresh(&mut self, database: &Connection) -> rusqlite::Result<()> {
        let version = sqlite::data_version(database)?;
        if self.version == Some(version) && self.slots.len() < REMEMBERED {
            return Ok(());
        }
        self.forget();
        self.next_pos = rows::next_pos(database)?;
        (self.lowest, self.highest) = rows::id_range(database)?;
        self.scheduling = rows::scheduling(database)?;
        self.version = Some(version);
        Ok(())
    }
}

/// Whether a process lives, and which it is.
pub(crate) trait Owners {
    /// The instance that writes.
    fn me(&self) -> u64;
    /// Whether another one lives.
    fn is_alive(&self, instance: u64) -> bool;
    /// Its process, where it is known.
    fn pid(&self, instance: u64) -> Option<u32>;
}

/// A commit in the making, within a transaction. Where the transaction fails the memory has to
/// [`forget`](Memory::forget).
pub(crate) struct Group<'a> {
    database: &'a Connection,
    memory: &'a mut Memory,
    owners: &'a dyn Owners,
    /// The places of the streams that are written, in the order of their first write.
    written: Vec<usize>,
    keys: HashMap<String, Stream>,
    has_new_scheduling: bool,
}

/// A stream, and what this commit does to it.
struct Slot {
    head: Head,
    is_new: bool,
    is_written: bool,
    /// Whether owner, state and end are as the database has them.
    same_owner: bool,
    block: Block,
    snapshot: Option<(StateName, Vec<u8>)>,
}

impl<'a> Group<'a> {
    /// Begins within an open transaction.
    pub(crate) fn begin(
        database: &'a Connection,
        memory: &'a mut Memory,
        owners: &'a dyn Owners,
    ) -> rusqlite::Result<Self> {
        memory.refresh(database)?;
        Ok(Self {
            database,
            memory,
            owners,
            written: Vec::new(),
            keys: HashMap::new(),
            has_new_scheduling: false,
        })
    }

    /// Accepts all of an append, or nothing.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) -> Result<(), Stop> {
        if let [entry] = &entries[..] {
            let place = self.check(entry)?;
            entries.into_iter().for_each(|entry| self.accept(entry, place));
            return Ok(());
        }
        let mut places = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let earlier = &entries[..index];
            let unsuitable = |what| {
                Stop::Refused(AppendError::Unsuitable { stream: entry.stream.clone(), what })
            };
            if earlier.iter().any(|other| other.stream == entry.stream) {
                return Err(unsuitable("it is written twice in one append"));
            }
            if entry.key.is_some() && earlier.iter().any(|other| other.key == entry.key) {
                return Err(unsuitable("its key is given twice in one append"));
            }
            places.push(self.check(entry)?);
        }
        for (entry, place) in entries.into_iter().zip(places) {
            self.accept(entry, place);
        }
        Ok(())
    }

    /// Takes all schedules for this instance.
    pub(crate) fn claim_schedules(&mut self) -> Result<Owner, Stop> {
        let Some(Scheduling { owner, epoch }) = self.memory.scheduling else {
            let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            let what = Some("the record of who owns the schedules is damaged".to_owned());
            let (message, source) = sqlite::words(&rusqlite::Error::SqliteFailure(error, what));
            return Err(Stop::Refused(AppendError::Io { message, source }));
        };
        let me = self.owners.me();
        match owner {
            Some(instance) if instance == me => return Ok(Owner { instance, epoch }),
            Some(instance) if self.owners.is_alive(instance) => {
                return Err(Stop::Refused(AppendError::Owned {
                    what: Arc::from("the scheduling of this store"),
                    owner: Owner { instance, epoch },
                    pid: self.owners.pid(instance),
                }));
            }
            _ => {}
        }
        let scheduling = Scheduling { owner: Some(me), epoch: epoch + 1 };
        self.memory.scheduling = Some(scheduling);
        self.has_new_scheduling = true;
        Ok(Owner { instance: me, epoch: scheduling.epoch })
    }

    /// Merges streams that are worth it, about `budget` blocks. Whether that was all.
    pub(crate) fn merge(&mut self, mut budget: usize) -> rusqlite::Result<bool> {
        for id in rows::next_merges(self.database, 64)? {
            if budget == 0 {
                return Ok(false);
            }
            rows::merge_done(self.database, id)?;
            let Some(found) = rows::head_by_id(self.database, id)? else { continue };
            let Some(stream) = blocks::stream_of(&found.head.name) else { continue };
            // A damaged one stays as it is, to be looked at.
            let Ok(Some(place)) = self.place(&stream) else { continue };
            let slot = &mut self.memory.slots[place];
            match merge::merge(self.database, &slot.head) {
                Ok(Some((hash, count))) => {
                    (slot.head.hash, slot.head.singles, slot.is_written) = (hash, 0, true);
                    self.written.push(place);
                    budget = budget.saturating_sub(count);
                }
                Ok(None) => {}
                Err(ChainError::Sql(error)) => return Err(error),
                Err(ChainError::Corrupt { seq }) => {
                    tracing::warn!(%stream, seq, "damaged: run `holdpoint store check`");
                }
            }
        }
        Ok(rows::next_merges(self.database, 1)?.is_empty())
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.written.is_empty() && !self.has_new_scheduling
    }

    /// Writes it all. Tells the position of the last event, and how many more streams are worth
    /// merging.
    pub(crate) fn write(self) -> rusqlite::Result<(u64, usize)> {
        let mut merges = 0;
        let Memory { slots, next_pos, scheduling, .. } = self.memory;
        if self.has_new_scheduling
            && let Some(scheduling) = scheduling
        {
            rows::set_scheduling(self.database, *scheduling)?;
        }
        let mut rows = rows::Writing::new(self.database)?;
        for place in self.written {
            let slot = &mut slots[place];
            let Slot { head, block, snapshot, .. } = slot;
            if !block.is_empty() {
                let hash = block.hash(&head.name, &head.hash);
                let link = Link {
                    pos: *next_pos,
                    first: block.first,
                    first_entry: block.first_entry,
                    prev: head.head,
                    before: head.hash,
                    hash,
                };
                (head.head, head.hash, head.singles) = (link.pos, hash, head.singles + 1);
                rows.insert_block(head.id, &link, block)?;
                *next_pos += block.count.max(1);
                block.clear(head.seq + 1, head.entries + 1);
            }
            if snapshot.is_some() {
                // Events of later writes in this commit belong to it as well.
                head.kept = Some(head.seq);
            }
            if slot.is_new {
                rows::insert_head(self.database, head)?;
            } else {
                rows.update_head(head, slot.same_owner)?;
            }
            if let Some((state, data)) = snapshot.take() {
                let text = rows::state_text(state);
                let hash = blocks::snapshot_hash(&head.name, head.seq, text, &data);
                rows::put_snapshot(self.database, head.id, head.seq, state, &data, &hash)?;
            }
            if head.ended.is_some() && head.singles > 1 && !slot.same_owner {
                rows::queue_merge(self.database, head.id)?;
                merges += 1;
            }
            (slot.is_new, slot.is_written, slot.same_owner) = (false, false, true);
        }
        Ok((next_pos.saturating_sub(1), merges))
    }

    /// Whether a write can be accepted, and where its stream is remembered.
    fn check(&mut self, entry: &Entry) -> Result<Option<usize>, Stop> {
        let stream = &entry.stream;
        let refuse = |error| Err(Stop::Refused(error));
        if let Some(key) = &entry.key
            && let Some(owner) = self.key_owner(key)?
        {
            return refuse(AppendError::KeyTaken { key: key.as_str().into(), stream: owner });
        }
        let is_schedule = matches!(stream, Stream::Schedule(_));
        let me = self.owners.me();
        let scheduling = self.memory.scheduling.unwrap_or_default();
        let owners = self.owners;
        let place = self.place(stream)?;
        let found = place.map(|place| &self.memory.slots[place].head);
        let lost = |epoch| refuse(AppendError::LostOwnership { stream: stream.clone(), epoch });
        match (entry.fence, found) {
            (Fence::New | Fence::NewOwned, Some(_)) => {
                return refuse(AppendError::Exists { stream: stream.clone() });
            }
            (Fence::New, None) if is_schedule && scheduling.owner != Some(me) => return lost(0),
            (Fence::New | Fence::NewOwned, None) => {}
            (_, None) => return refuse(AppendError::NotFound { stream: stream.clone() }),
            (Fence::Claim { epoch }, Some(head)) => {
                if let Some(owner) = head.owner
                    && (owner.instance == me || owners.is_alive(owner.instance))
                {
                    let pid = owners.pid(owner.instance);
                    return refuse(AppendError::Owned {
                        what: stream.to_string().into(),
                        owner,
                        pid,
                    });
                }
                if head.epoch != epoch {
                    let (stream, current) = (stream.clone(), head.epoch);
                    return refuse(AppendError::EpochPassed { stream, current });
                }
            }
            (Fence::Owned { epoch }, Some(_)) if is_schedule => {
                if scheduling != (Scheduling { owner: Some(me), epoch }) {
                    return lost(epoch);
                }
            }
            (Fence::Owned { epoch }, Some(head)) => {
                if head.owner != Some(Owner { instance: me, epoch }) {
                    return lost(epoch);
                }
            }
            _ => {
                return refuse(AppendError::Unsuitable {
                    stream: stream.clone(),
                    what: "a fence that this store does not know",
                });
            }
        }
        let expected = found.map_or(1, |head| head.seq + 1);
        if entry.block.count > 0 && entry.block.first != expected {
            let (stream, found) = (stream.clone(), entry.block.first);
            return refuse(AppendError::OutOfOrder { stream, expected, found });
        }
        Ok(place)
    }

    fn key_owner(&self, key: &str) -> Result<Option<Stream>, Stop> {
        if let Some(stream) = self.keys.get(key) {
            return Ok(Some(stream.clone()));
        }
        let found = rows::head_by_key(self.database, key)?;
        Ok(found.and_then(|found| blocks::stream_of(&found.head.name)))
    }

    /// Where a stream is remembered; none where it does not exist.
    fn place(&mut self, stream: &Stream) -> Result<Option<usize>, Stop> {
        if let Some(place) = self.memory.index.get(stream) {
            return Ok(Some(*place));
        }
        match rows::head(self.database, &blocks::name_of(stream))? {
            None => Ok(None),
            Some(Found { head, is_sound: true }) => {
                Ok(Some(self.memory.remember(stream.clone(), Slot::of(head))))
            }
            Some(Found { head, .. }) => {
                Err(Stop::Refused(AppendError::Corrupt { stream: stream.clone(), seq: head.seq }))
            }
        }
    }

    /// Takes a write that was checked, of a stream that is remembered at `place` or new.
    fn accept(&mut self, entry: Entry, place: Option<usize>) {
        let Entry { stream, fence, release, block, times, snapshot, key, label } = entry;
        let is_schedule = matches!(stream, Stream::Schedule(_));
        if let Some(key) = &key {
            self.keys.insert(key.clone(), stream.clone());
        }
        let place = place.unwrap_or_else(|| {
            let id = if matches!(stream, Stream::Session(_)) {
                self.memory.highest += 1;
                self.memory.highest
            } else {
                self.memory.lowest -= 1;
                self.memory.lowest
            };
            let created = times.map_or(0, |(first, _)| first);
            let slot = Slot::new(id, &stream, label, key, created);
            self.memory.remember(stream, slot)
        });
        let slot = &mut self.memory.slots[place];
        if !slot.is_written {
            slot.is_written = true;
            self.written.push(place);
        }
        let head = &mut slot.head;
        let before = (head.owner, head.epoch, head.state, head.ended);
        if matches!(fence, Fence::NewOwned | Fence::Claim { .. }) {
            head.epoch += 1;
            head.owner = Some(Owner { instance: self.owners.me(), epoch: head.epoch });
        }
        head.seq += block.count;
        head.entries += block.entries;
        slot.block.push(block);
        if let Some((_, last)) = times {
            head.updated = head.updated.max(last);
        }
        if let Some((state, data)) = snapshot {
            head.state = state;
            head.ended = state.is_terminal().then_some(head.updated);
            slot.snapshot = Some((state, data));
        }
        if release || head.state.is_terminal() && !is_schedule {
            head.owner = None;
        }
        slot.same_owner &= before == (head.owner, head.epoch, head.state, head.ended);
    }
}

impl Memory {
    fn remember(&mut self, stream: Stream, slot: Slot) -> usize {
        let place = self.slots.len();
        self.slots.push(slot);
        self.index.insert(stream, place);
        place
    }
}

impl Slot {
    fn of(head: Head) -> Self {
        let block = Block::at(head.seq + 1, head.entries + 1);
        Self { head, is_new: false, is_written: false, same_owner: true, block, snapshot: None }
    }

    fn new(id: i64, stream: &Stream, label: String, key: Option<String>, created: u64) -> Self {
        let head = Head {
            id,
            name: blocks::name_of(stream).into(),
            label: label.into(),
            key: key.map(Arc::from),
            state: StateName::Planned,
            owner: None,
            epoch: 0,
            seq: 0,
            entries: 0,
            head: 0,
            hash: NO_HASH,
            singles: 0,
            created,
            updated: created,
            ended: None,
            kept: None,
        };
        Self { is_new: true, ..Self::of(head) }
    }
}
