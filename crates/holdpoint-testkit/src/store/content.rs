//! What lies on a virtual disk, who lives, and which writes are taken (STORE-007, STORE-008).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdpoint_core::event::Stream;
use holdpoint_core::session::Owner;
use holdpoint_core::store::{
    AppendError, Commit, Fence, Filter, JournalEntry, ReadError, StoredEvent, StoredSnapshot,
    StreamInfo, StreamKind,
};

use super::write::{OwnedWrite, in_order};

#[derive(Default)]
pub(super) struct Content {
    streams: BTreeMap<Stream, Kept>,
    /// In the order of their creation.
    created: Vec<Stream>,
    keys: BTreeMap<Arc<str>, Stream>,
    /// All events; the first has position 1.
    log: Vec<StoredEvent>,
    sessions: u64,
    /// Who owns the schedules, or did last.
    scheduling: Option<Owner>,
    instances: u64,
    alive: BTreeSet<u64>,
}

struct Kept {
    info: StreamInfo,
    events: Vec<StoredEvent>,
    journal: Vec<Arc<[u8]>>,
    snapshot: Option<StoredSnapshot>,
}

impl Content {
    /// A new instance, which lives.
    pub(super) fn begin(&mut self) -> u64 {
        self.instances += 1;
        self.alive.insert(self.instances);
        self.instances
    }

    /// The instance is dead from now on.
    pub(super) fn end(&mut self, instance: u64) {
        self.alive.remove(&instance);
    }

    pub(super) fn is_alive(&self, instance: u64) -> bool {
        self.alive.contains(&instance)
    }

    /// Carries out all of `writes` for the instance `me`, or none.
    pub(super) fn commit(
        &mut self,
        me: u64,
        writes: Vec<OwnedWrite>,
    ) -> Result<Commit, AppendError> {
        for (index, write) in writes.iter().enumerate() {
            self.check(me, write, &writes[..index])?;
        }
        for write in writes {
            self.accept(me, write);
        }
        Ok(Commit::at(self.last_pos()))
    }

    pub(super) fn claim_schedules(&mut self, me: u64) -> Result<Owner, AppendError> {
        let epoch = match self.scheduling {
            Some(owner) if owner.instance == me => return Ok(owner),
            Some(owner) if self.is_alive(owner.instance) => {
                let what = Arc::from("the scheduling of this store");
                return Err(AppendError::Owned { what, owner, pid: None });
            }
            last => last.map_or(0, |owner| owner.epoch) + 1,
        };
        let owner = Owner { instance: me, epoch };
        self.scheduling = Some(owner);
        Ok(owner)
    }

    /// Somebody claims the stream, whoever owns it, and lets go again.
    pub(super) fn dispossess(&mut self, stream: &Stream) {
        if let Some(kept) = self.streams.get_mut(stream) {
            kept.info.epoch += 1;
            kept.info.owner = None;
        }
    }

    fn check(
        &self,
        me: u64,
        write: &OwnedWrite,
        earlier: &[OwnedWrite],
    ) -> Result<(), AppendError> {
        let stream = || write.stream.clone();
        let unsuitable = |what| Err(AppendError::Unsuitable { stream: stream(), what });
        if earlier.iter().any(|other| other.stream == write.stream) {
            return unsuitable("it is written twice in one append");
        }
        if write.key.is_some() && earlier.iter().any(|other| other.key == write.key) {
            return unsuitable("its key is given twice in one append");
        }
        if let Some(key) = &write.key
            && let Some(owner) = self.keys.get(key)
        {
            return Err(AppendError::KeyTaken { key: Arc::clone(key), stream: owner.clone() });
        }
        let is_schedule = matches!(write.stream, Stream::Schedule(_));
        let my_scheduling = self.scheduling.filter(|owner| owner.instance == me);
        let found = self.streams.get(&write.stream).map(|kept| &kept.info);
        match (write.fence, found) {
            (Fence::New | Fence::NewOwned, Some(_)) => {
                return Err(AppendError::Exists { stream: stream() });
            }
            (Fence::New, None) if is_schedule && my_scheduling.is_none() => {
                return Err(AppendError::LostOwnership { stream: stream(), epoch: 0 });
            }
            (Fence::New | Fence::NewOwned, None) => {}
            (_, None) => return Err(AppendError::NotFound { stream: stream() }),
            (Fence::Claim { epoch }, Some(info)) => {
                if let Some(owner) = info.owner.filter(|owner| self.is_alive(owner.instance)) {
                    let what = write.stream.to_string().into();
                    return Err(AppendError::Owned { what, owner, pid: None });
                }
                if info.epoch != epoch {
                    let current = info.epoch;
                    return Err(AppendError::EpochPassed { stream: stream(), current });
                }
            }
            (Fence::Owned { epoch }, Some(info)) => {
                let owner = if is_schedule { my_scheduling } else { info.owner };
                if owner != Some(Owner { instance: me, epoch }) {
                    return Err(AppendError::LostOwnership { stream: stream(), epoch });
                }
            }
            _ => return unsuitable("a fence that this store does not know"),
        }
        let expected = found.map_or(1, |info| info.last_seq + 1);
        let first = write.events.first();
        first.map_or(Ok(()), |event| in_order(&write.stream, expected, event.seq))
    }

    fn accept(&mut self, me: u64, write: OwnedWrite) {
        let first = write.events.first().map(|event| event.at);
        let kept = match (self.streams.entry(write.stream.clone()), first) {
            (std::collections::btree_map::Entry::Occupied(entry), _) => entry.into_mut(),
            (std::collections::btree_map::Entry::Vacant(entry), at) => {
                let mut info = StreamInfo::new(write.stream.clone(), at.unwrap_or_default());
                info.label = write.label;
                info.key = write.key.clone();
                if matches!(write.stream, Stream::Session(_)) {
                    self.sessions += 1;
                    info.number = Some(self.sessions);
                }
                self.created.push(write.stream.clone());
                self.keys.extend(write.key.map(|key| (key, write.stream)));
                let (events, journal) = (Vec::new(), Vec::new());
                entry.insert(Kept { info, events, journal, snapshot: None })
            }
        };
        if matches!(write.fence, Fence::NewOwned | Fence::Claim { .. }) {
            kept.info.epoch += 1;
            kept.info.owner = Some(Owner { instance: me, epoch: kept.info.epoch });
        }
        for event in write.events {
            kept.info.last_seq = event.seq;
            kept.info.updated_at = kept.info.updated_at.max(event.at);
            let stored = StoredEvent::whole(self.log.len() as u64 + 1, event);
            kept.events.push(stored.clone());
            self.log.push(stored);
        }
        kept.info.last_entry += write.journal.len() as u64;
        kept.journal.extend(write.journal);
        if let Some((state, data)) = write.snapshot {
            kept.info.state = state;
            kept.snapshot = Some(StoredSnapshot { state, seq: kept.info.last_seq, data });
        }
        if write.release || kept.info.state.is_terminal() {
            kept.info.owner = None;
        }
    }

    /// The owner that is recorded for a stream, alive or dead.
    pub(super) fn owner(&self, stream: &Stream) -> Result<Option<Owner>, ReadError> {
        let owner = self.kept(stream)?.info.owner;
        Ok(if matches!(stream, Stream::Schedule(_)) { self.scheduling } else { owner })
    }

    pub(super) fn events(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        Ok(part(&self.kept(stream)?.events, after, limit).cloned().collect())
    }

    pub(super) fn all_events(&self, after: u64, limit: usize) -> Vec<StoredEvent> {
        part(&self.log, after, limit).cloned().collect()
    }

    pub(super) fn journal(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, ReadError> {
        let entries = part(&self.kept(stream)?.journal, after, limit).cloned();
        let numbers = after.saturating_add(1)..;
        Ok(numbers.zip(entries).map(|(number, data)| JournalEntry { number, data }).collect())
    }

    pub(super) fn snapshot(&self, stream: &Stream) -> Result<Option<StoredSnapshot>, ReadError> {
        Ok(self.kept(stream)?.snapshot.clone())
    }

    pub(super) fn info(&self, stream: &Stream) -> Result<StreamInfo, ReadError> {
        Ok(self.kept(stream)?.info.clone())
    }

    pub(super) fn by_key(&self, key: &str) -> Option<StreamInfo> {
        let kept = self.streams.get(self.keys.get(key)?)?;
        Some(kept.info.clone())
    }

    pub(super) fn list(&self, filter: &Filter) -> Vec<StreamInfo> {
        let all = self.created.iter().filter_map(|stream| Some(&self.streams.get(stream)?.info));
        let (sessions, mut list): (Vec<_>, Vec<_>) = all.partition(|info| info.number.is_some());
        list.extend(sessions);
        if filter.newest_first {
            list.reverse();
        }
        let is_dead = |owner: Owner| !self.is_alive(owner.instance);
        list.retain(|info| {
            filter.kind.is_none_or(|kind| kind == StreamKind::from(&info.stream))
                && filter.matches_state(info.state)
                && (filter.after == 0 || info.number.is_some_and(|number| number > filter.after))
                && (!filter.left_behind || info.owner.is_some_and(is_dead))
        });
        list.into_iter().take(filter.limit).cloned().collect()
    }

    fn kept(&self, stream: &Stream) -> Result<&Kept, ReadError> {
        let missing = || ReadError::NotFound { stream: stream.clone() };
        self.streams.get(stream).ok_or_else(missing)
    }

    fn last_pos(&self) -> u64 {
        self.log.len() as u64
    }
}

/// Of things that are numbered from 1, those after number `after`.
fn part<T>(all: &[T], after: u64, limit: usize) -> impl Iterator<Item = &T> {
    all.iter().skip(usize::try_from(after).unwrap_or(usize::MAX)).take(limit)
}
