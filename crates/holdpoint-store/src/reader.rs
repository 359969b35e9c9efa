//! Reading: connections of its own, so that nobody who reads waits for the writer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdpoint_core::Timestamp;
use holdpoint_core::event::Stream;
use holdpoint_core::session::{Owner, StateName};
use holdpoint_core::store::{
    Filter, JournalEntry, ReadError, StoredEvent, StoredSnapshot, StreamInfo, StreamKind,
};
use rusqlite::Connection;

use crate::blocks::{self, Hash, Part};
use crate::chain::{self, After, ChainError, Path};
use crate::sqlite;
use crate::sqlite::rows::{self, Found, Head};

/// Connections that are kept for the next reader.
const SPARE: usize = 4;

/// Merged blocks kept while events of many streams are read in one order.
const BLOCKS: usize = 64;

/// A stream, or why nothing can be said of it.
pub(crate) type EveryStream = Result<StreamInfo, (Stream, ReadError)>;

pub(crate) struct Reader {
    file: PathBuf,
    /// Whether nobody writes in this process.
    is_alone: bool,
    spare: Mutex<Vec<Connection>>,
    recent: Recent,
}

/// What was read last, for who reads on in pages.
#[derive(Default)]
struct Recent {
    block: Mutex<Option<(i64, Hash, Arc<Content>)>>,
    path: Mutex<Option<Path>>,
}

impl Recent {
    /// Follows the chain of a stream's events, or goes on in the block where the last page ended.
    fn follow(
        &self,
        database: &Connection,
        head: &Head,
        after: u64,
        mut each: impl FnMut(&Content) -> bool,
    ) -> Result<(), ChainError> {
        let recent = lock(&self.block).clone();
        let mut after = after;
        if let Some((_, _, content)) = recent.filter(|(stream, hash, _)| {
            // Nothing was written or merged behind it since: it is still the last.
            *stream == head.id && *hash == head.hash
        }) && content.events.first().is_some_and(|(_, seq, _)| *seq <= after + 1)
        {
            let last = content.events.last().map_or(0, |(_, seq, _)| *seq);
            if !each(&content) || last == head.seq {
                return Ok(());
            }
            after = last;
        }
        self.along(database, head, After::Event(after), |stored| {
            let (id, hash) = (head.id, stored.link.hash);
            let content = Arc::new(Content::of(stored));
            let goes_on = each(&content);
            if content.events.len() > 64 {
                *lock(&self.block) = Some((id, hash, content));
            }
            goes_on
        })
    }

    /// Follows a chain by the way back that is remembered, if it is that stream's.
    fn along(
        &self,
        database: &Connection,
        head: &Head,
        after: After,
        each: impl FnMut(rows::StoredBlock) -> bool,
    ) -> Result<(), ChainError> {
        let mut path = lock(&self.path).take();
        let result = chain::follow(database, head, after, &mut path, each);
        *lock(&self.path) = path;
        result
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    pub(crate) fn new(file: PathBuf, is_alone: bool) -> Self {
        Self { file, is_alone, spare: Mutex::default(), recent: Recent::default() }
    }

    /// Reads in one transaction: what it sees belongs together.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let spare = lock(&self.spare).pop();
        let database = match spare {
            Some(database) => database,
            None => sqlite::open_reader(&self.file, self.is_alone)
                .map_err(|error| sqlite::read_error(&error))?,
        };
        sqlite::frame(&database, "BEGIN").map_err(|error| sqlite::read_error(&error))?;
        let result = read(&database);
        if sqlite::frame(&database, "COMMIT").is_ok() {
            let mut spare = lock(&self.spare);
            if spare.len() < SPARE {
                spare.push(database);
            }
        }
        result
    }

    /// Closes what is open.
    pub(crate) fn close(&self) {
        lock(&self.spare).clear();
    }

    pub(crate) fn info(&self, stream: &Stream) -> Result<StreamInfo, ReadError> {
        self.read(|database| head(database, stream).map(|head| info(stream.clone(), head)))
    }

    pub(crate) fn by_key(&self, key: &str) -> Result<Option<StreamInfo>, ReadError> {
        self.read(|database| {
            let found = rows::head_by_key(database, key).map_err(|e| sqlite::read_error(&e))?;
            found.map(sound).transpose()
        })
    }

    pub(crate) fn list(
        &self,
        filter: &Filter,
        is_dead: &dyn Fn(Owner) -> bool,
    ) -> Result<Vec<StreamInfo>, ReadError> {
        self.read(|database| list(database, filter, is_dead))
    }

    /// All streams in the order of a list, damaged ones too.
    pub(crate) fn every_stream(&self) -> Result<Vec<EveryStream>, ReadError> {
        self.read(|database| {
            let mut all = Vec::new();
            for sessions in [false, true] {
                let visit = rows::every_head(database, sessions, 0, false, |found| {
                    // What names no stream has none of its own; `check` tells of it.
                    let Some(stream) = blocks::stream_of(&found.head.name) else { return true };
                    all.push(sound(found).map_err(|error| (stream, error)));
                    true
                });
                visit.map_err(|error| sqlite::read_error(&error))?;
            }
            Ok(all)
        })
    }

    pub(crate) fn snapshot(&self, stream: &Stream) -> Result<Option<StoredSnapshot>, ReadError> {
        self.read(|database| {
            let head = head(database, stream)?;
            snapshot(database, stream, &head)
        })
    }

    pub(crate) fn events(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        self.read(|database| {
            let head = head(database, stream)?;
            let mut events = Vec::new();
            if limit == 0 || after >= head.seq {
                return Ok(events);
            }
            let result = self.recent.follow(database, &head, after, |content| {
                let first = content.events.partition_point(|(_, seq, _)| *seq <= after);
                let wanted = content.events[first..].iter().take(limit - events.len());
                events.extend(wanted.map(|(pos, seq, line)| {
                    event(*pos, *seq, stream, &content.text, line.clone())
                }));
                events.len() < limit
            });
            served(result, stream, !events.is_empty())?;
            Ok(events)
        })
    }

    pub(crate) fn journal(
        &self,
        stream: &Stream,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, ReadError> {
        self.read(|database| {
            let head = head(database, stream)?;
            let mut entries = Vec::new();
            if limit == 0 || after >= head.entries {
                return Ok(entries);
            }
            let result = self.recent.along(database, &head, After::Entry(after), |stored| {
                let block = &stored.block;
                for (data, number) in block.entries().zip(block.first_entry..) {
                    if number > after && entries.len() < limit {
                        entries.push(JournalEntry { number, data: data.into() });
                    }
                }
                entries.len() < limit
            });
            served(result, stream, !entries.is_empty())?;
            Ok(entries)
        })
    }

    pub(crate) fn all_events(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, ReadError> {
        self.read(|database| in_order(database, after, limit))
    }
}

/// Events of all streams after a position.
pub(crate) fn in_order(
    database: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, ReadError> {
    let mut reading = InOrder { database, heads: HashMap::new(), blocks: HashMap::new() };
    let mut events = Vec::new();
    let mut failure = None;
    let visit = rows::places(database, after.saturating_add(1), |place| {
        if events.len() >= limit {
            return Ok(false);
        }
        match reading.events(place) {
            Ok(found) => {
                let found = found.into_iter().filter(|event| event.pos > after);
                events.extend(found.take(limit - events.len()));
                Ok(true)
            }
            Err(error) => {
                failure = Some(error);
                Ok(false)
            }
        }
    });
    visit.map_err(|error| sqlite::read_error(&error))?;
    match failure {
        Some(error) if events.is_empty() => Err(error),
        _ => Ok(events),
    }
}

/// The state of a reading of all events.
struct InOrder<'a> {
    database: &'a Connection,
    heads: HashMap<i64, (Stream, Head)>,
    blocks: HashMap<u64, Arc<Content>>,
}

/// A block that was checked.
struct Content {
    text: Arc<[u8]>,
    /// Position, number and line of each event.
    events: Vec<(u64, u64, std::ops::Range<u32>)>,
}

impl Content {
    fn of(stored: rows::StoredBlock) -> Self {
        let rows::StoredBlock { link, block } = stored;
        let positions = positions(&block, link.pos);
        let lines = block.lines().zip(positions).zip(block.first..);
        let events = lines.map(|((line, pos), seq)| (pos, seq, line)).collect();
        Self { text: blocks::shared(block.text), events }
    }
}

impl InOrder<'_> {
    fn events(&mut self, place: rows::Place) -> Result<Vec<StoredEvent>, ReadError> {
        let damaged = |what: &str| ReadError::Damaged { message: what.into() };
        let sql = |error: rusqlite::Error| sqlite::read_error(&error);
        let (stream, head) = match self.heads.get(&place.stream) {
            Some(known) => known,
            None => {
                let found = rows::head_by_id(self.database, place.stream).map_err(sql)?;
                let found = found.ok_or_else(|| damaged("a block belongs to no stream"))?;
                let stream = stream_of(&found)?;
                self.heads.entry(place.stream).or_insert((stream, found.head))
            }
        };
        let at = match place.merged {
            None => place.pos,
            Some(_) => rows::merged_into(self.database, place.pos)
                .map_err(sql)?
                .ok_or_else(|| damaged("a merged block is lost"))?,
        };
        let content = match self.blocks.get(&at) {
            Some(content) => Arc::clone(content),
            None => {
                let stored = rows::block(self.database, head.id, at).map_err(sql)?;
                let stored = stored.ok_or_else(|| damaged("a block is lost"))?;
                let block = &stored.block;
                let is_own = block.hash(&head.name, &stored.link.before) == stored.link.hash;
                if !is_own {
                    let (stream, seq) = (stream.clone(), block.first);
                    return Err(ReadError::Corrupt { stream, seq });
                }
                let is_merged = !block.parts.is_empty();
                let content = Arc::new(Content::of(stored));
                if is_merged {
                    if self.blocks.len() >= BLOCKS {
                        self.blocks.clear();
                    }
                    self.blocks.insert(at, Arc::clone(&content));
                }
                content
            }
        };
        let first = content.events.partition_point(|(pos, ..)| *pos < place.pos);
        let own = content.events[first..].iter();
        let until = if place.merged.is_some() { place.pos + place.count } else { u64::MAX };
        Ok(own
            .take_while(|(pos, ..)| *pos < until)
            .map(|(pos, seq, line)| event(*pos, *seq, stream, &content.text, line.clone()))
            .collect())
    }
}

fn event(
    pos: u64,
    seq: u64,
    stream: &Stream,
    text: &Arc<[u8]>,
    line: std::ops::Range<u32>,
) -> StoredEvent {
    StoredEvent::text((pos, seq), stream.clone(), Arc::clone(text), line, blocks::read_line)
}

/// The positions of a block's events.
fn positions(block: &blocks::Block, pos: u64) -> impl Iterator<Item = u64> + use<> {
    let parts = if block.parts.is_empty() {
        vec![Part { pos, count: block.count }]
    } else {
        Part::read_all(&block.parts).unwrap_or_default()
    };
    parts.into_iter().flat_map(|part| part.pos..part.pos.saturating_add(part.count))
}

/// A stream's row; "not found" is said only when no row is there (CORE-009).
pub(crate) fn head(database: &Connection, stream: &Stream) -> Result<Head, ReadError> {
    let sql = |error: rusqlite::Error| sqlite::read_error(&error);
    let name = blocks::name_of(stream);
    let found = match rows::head(database, &name).map_err(sql)? {
        Some(found) => found,
        None => match rows::head_by_scan(database, &name).map_err(sql)? {
            Some(_) => {
                let message = format!("the index of names lacks {stream}").into();
                return Err(ReadError::Damaged { message });
            }
            None => return Err(ReadError::NotFound { stream: stream.clone() }),
        },
    };
    if found.is_sound && *found.head.name == *name {
        Ok(found.head)
    } else {
        Err(ReadError::Corrupt { stream: stream.clone(), seq: 1 })
    }
}

fn snapshot(
    database: &Connection,
    stream: &Stream,
    head: &Head,
) -> Result<Option<StoredSnapshot>, ReadError> {
    let Some(seq) = head.kept else { return Ok(None) };
    let row = rows::snapshot(database, head.id).map_err(|error| sqlite::read_error(&error))?;
    match row.filter(|row| is_kept(row, head)) {
        Some(row) => Ok(Some(StoredSnapshot { state: head.state, seq, data: row.data.into() })),
        None => Err(ReadError::Corrupt { stream: stream.clone(), seq }),
    }
}

/// Whether a snapshot is the one that was written last.
pub(crate) fn is_kept(row: &rows::SnapshotRow, head: &Head) -> bool {
    row.hash == Some(blocks::snapshot_hash(&head.name, row.seq, &row.state, &row.data))
        && Some(row.seq) == head.kept
        && row.state == rows::state_text(head.state)
}

fn list(
    database: &Connection,
    filter: &Filter,
    is_dead: &dyn Fn(Owner) -> bool,
) -> Result<Vec<StreamInfo>, ReadError> {
    let mut list: Vec<StreamInfo> = Vec::new();
    let mut failure = None;
    // The owners of a store are few, its streams many.
    let mut dead: HashMap<u64, bool> = HashMap::new();
    let mut passes = |info: &StreamInfo| {
        filter.kind.is_none_or(|kind| kind == StreamKind::from(&info.stream))
            && filter.matches_state(info.state)
            && (filter.after == 0 || info.number.is_some_and(|number| number > filter.after))
            && (!filter.left_behind
                || info.owner.is_some_and(|owner| {
                    *dead.entry(owner.instance).or_insert_with(|| is_dead(owner))
                }))
    };
    let mut take = |found: Found| match sound(found) {
        Ok(info) => {
            if list.len() < filter.limit && passes(&info) {
                list.push(info);
            }
            list.len() < filter.limit
        }
        Err(error) => {
            failure = Some(error);
            false
        }
    };
    if filter.limit == 0 {
        return Ok(Vec::new());
    }
    let after = filter.after.cast_signed();
    let is_sessions_alone = filter.kind == Some(StreamKind::Session);
    let is_live = |state: &StateName| !state.is_terminal();
    let result = if filter.left_behind {
        rows::owned_heads(database, take)
    } else if is_sessions_alone && !filter.states.is_empty() && filter.states.iter().all(is_live) {
        in_states(database, filter, after, &mut take)
    } else {
        let mut halves = match filter.kind {
            Some(StreamKind::Session) => vec![true],
            Some(_) => vec![false],
            None => vec![false, true],
        };
        if filter.newest_first {
            halves.reverse();
        }
        halves.into_iter().try_for_each(|sessions| {
            rows::every_head(database, sessions, after, filter.newest_first, &mut take)
        })
    };
    result.map_err(|error| sqlite::read_error(&error))?;
    failure.map_or(Ok(list), Err)
}

/// Sessions in some of the states that are not terminal, in order.
fn in_states(
    database: &Connection,
    filter: &Filter,
    after: i64,
    take: &mut impl FnMut(Found) -> bool,
) -> rusqlite::Result<()> {
    let mut states = filter.states.clone();
    states.sort_unstable();
    states.dedup();
    let mut found: Vec<Found> = Vec::new();
    for state in states {
        let before = found.len();
        rows::heads_in_state(database, state, after.max(0), |head| {
            found.push(head);
            filter.newest_first || found.len() - before < filter.limit
        })?;
    }
    found.sort_by_key(|found| found.head.id);
    if filter.newest_first {
        found.reverse();
    }
    for found in found {
        if !take(found) {
            break;
        }
    }
    Ok(())
}

fn sound(found: Found) -> Result<StreamInfo, ReadError> {
    let stream = stream_of(&found)?;
    Ok(info(stream, found.head))
}

/// The stream of a row, where the row is as it was written.
pub(crate) fn stream_of(found: &Found) -> Result<Stream, ReadError> {
    let Some(stream) = blocks::stream_of(&found.head.name) else {
        let name = found.head.name.escape_debug();
        return Err(ReadError::Damaged { message: format!("{name} names no stream").into() });
    };
    if found.is_sound { Ok(stream) } else { Err(ReadError::Corrupt { stream, seq: 1 }) }
}

fn info(stream: Stream, head: Head) -> StreamInfo {
    let mut info = StreamInfo::new(stream, Timestamp::from_micros(head.created));
    info.number = u64::try_from(head.id).ok().filter(|number| *number > 0);
    info.label = head.label;
    info.key = head.key;
    info.state = head.state;
    info.owner = head.owner;
    info.epoch = head.epoch;
    info.last_seq = head.seq;
    info.last_entry = head.entries;
    info.updated_at = Timestamp::from_micros(head.updated);
    info
}

/// A chain that broke after something was read is told with the next reading.
fn served(
    result: Result<(), ChainError>,
    stream: &Stream,
    has_something: bool,
) -> Result<(), ReadError> {
    match result {
        Err(ChainError::Sql(error)) => Err(sqlite::read_error(&error)),
        Err(ChainError::Corrupt { seq }) if !has_something => {
            Err(ReadError::Corrupt { stream: stream.clone(), seq })
        }
        _ => Ok(()),
    }
}
