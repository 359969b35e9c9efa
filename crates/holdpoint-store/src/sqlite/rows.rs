//! What is read from the tables and written to them: one function a statement.

use std::sync::Arc;

use holdpoint_core::session::{Owner, StateName};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, ToSql, params};

use crate::blocks::{Block, Hash, Hashing, NO_HASH};

pub(crate) type Result<T> = rusqlite::Result<T>;

/// A stream: its rows in `streams` and `heads`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: i64,
    pub(crate) name: Arc<str>,
    pub(crate) label: Arc<str>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) state: StateName,
    pub(crate) owner: Option<Owner>,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) entries: u64,
    pub(crate) head: u64,
    pub(crate) hash: Hash,
    pub(crate) singles: u32,
    pub(crate) created: u64,
    pub(crate) updated: u64,
    pub(crate) ended: Option<u64>,
    /// The last event before the snapshot; none where there is no snapshot.
    pub(crate) kept: Option<u64>,
}

/// A stream as it was found: it is not what was written where it is not sound.
pub(crate) struct Found {
    pub(crate) head: Head,
    pub(crate) is_sound: bool,
}

macro_rules! select_head {
    ($source:literal, $rest:literal) => {
        concat!(
            "SELECT id, name, label, key, state, owner, epoch, created, ended, streams.sum, ",
            "heads.seq, entries, head, hash, singles, updated, kept, heads.sum FROM ",
            $source,
            " LEFT JOIN heads ON heads.stream = id ",
            $rest
        )
    };
}

impl Head {
    fn own_sum(&self) -> Hash {
        let none = u64::MAX;
        Hashing::of("stream")
            .number(self.id.cast_unsigned())
            .bytes(self.name.as_bytes())
            .bytes(self.label.as_bytes())
            .bytes(self.key.as_deref().unwrap_or("\0").as_bytes())
            .bytes(state_text(self.state).as_bytes())
            .number(self.owner.map_or(none, |owner| owner.instance))
            .number(self.epoch)
            .number(self.created)
            .number(self.ended.unwrap_or(none))
            .done()
    }

    fn head_sum(&self) -> Hash {
        let numbers = [
            self.id.cast_unsigned(),
            self.seq,
            self.entries,
            self.head,
            u64::from(self.singles),
            self.updated,
            self.kept.unwrap_or(0),
        ];
        let mut bytes = [0; 7 * 8 + 16];
        for (number, place) in numbers.iter().zip(bytes.chunks_exact_mut(8)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[56..].copy_from_slice(&self.hash);
        Hashing::of("head").bytes(&bytes).done()
    }

    fn read(row: &Row<'_>) -> Result<Found> {
        let epoch = number(row, 6)?;
        let owner = row.get::<_, Option<i64>>(5)?;
        let state = state_of(row.get_ref(4)?.as_str().unwrap_or_default());
        let has_head = row.get_ref(10)? != ValueRef::Null;
        let of_head = |column| if has_head { number(row, column) } else { Ok(0) };
        let head = Self {
            id: row.get(0)?,
            name: row.get(1)?,
            label: row.get(2)?,
            key: row.get(3)?,
            state: state.unwrap_or(StateName::Failed),
            owner: owner.map(|owner| Owner { instance: owner.cast_unsigned(), epoch }),
            epoch,
            seq: of_head(10)?,
            entries: of_head(11)?,
            head: of_head(12)?,
            hash: hash(row, 13)?.unwrap_or(NO_HASH),
            singles: u32::try_from(of_head(14)?).unwrap_or(u32::MAX),
            created: number(row, 7)?,
            updated: of_head(15)?,
            ended: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
            kept: Some(of_head(16)?).filter(|kept| *kept > 0),
        };
        let is_sound = state.is_some()
            && hash(row, 9)? == Some(head.own_sum())
            && hash(row, 17)? == Some(head.head_sum());
        Ok(Found { head, is_sound })
    }
}

/// Numbers are below 2^63 and kept as they are.
fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn hash(row: &Row<'_>, column: usize) -> Result<Option<Hash>> {
    Ok(bytes(row, column)?.try_into().ok())
}

/// A text or a blob as bytes; empty where there is none.
fn bytes<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r [u8]> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => &[],
    })
}

/// None instead of an empty one: it takes no room.
fn some(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

pub(crate) fn state_text(state: StateName) -> &'static str {
    match state {
        StateName::Planned => "planned",
        StateName::Running => "running",
        StateName::Paused => "paused",
        StateName::Suspended => "suspended",
        StateName::Done => "done",
        StateName::Failed => "failed",
        StateName::Cancelled => "cancelled",
    }
}

pub(crate) fn state_of(text: &str) -> Option<StateName> {
    use StateName::{Cancelled, Done, Failed, Paused, Planned, Running, Suspended};
    [Planned, Running, Paused, Suspended, Done, Failed, Cancelled]
        .into_iter()
        .find(|state| state_text(*state) == text)
}

// Streams

pub(crate) fn head(database: &Connection, name: &str) -> Result<Option<Found>> {
    const SQL: &str = select_head!("streams", "WHERE name = ?1");
    database.prepare_cached(SQL)?.query_row([name], Head::read).optional()
}

/// The same without the index, which may be damaged.
pub(crate) fn head_by_scan(database: &Connection, name: &str) -> Result<Option<Found>> {
    const SQL: &str = select_head!("streams NOT INDEXED", "WHERE name = ?1");
    database.prepare_cached(SQL)?.query_row([name], Head::read).optional()
}

pub(crate) fn head_by_id(database: &Connection, id: i64) -> Result<Option<Found>> {
    const SQL: &str = select_head!("streams", "WHERE id = ?1");
    database.prepare_cached(SQL)?.query_row([id], Head::read).optional()
}

pub(crate) fn head_by_key(database: &Connection, key: &str) -> Result<Option<Found>> {
    const SQL: &str = select_head!("streams", "WHERE key = ?1");
    database.prepare_cached(SQL)?.query_row([key], Head::read).optional()
}

/// All sessions above a number, or all other streams, in the order of their creation or the other
/// way round, to `each` until it says no.
pub(crate) fn every_head(
    database: &Connection,
    sessions: bool,
    after: i64,
    newest_first: bool,
    each: impl FnMut(Found) -> bool,
) -> Result<()> {
    let sql = match (sessions, newest_first) {
        (true, false) => select_head!("streams NOT INDEXED", "WHERE id > max(?1, 0) ORDER BY id"),
        (true, true) => {
            select_head!("streams NOT INDEXED", "WHERE id > max(?1, 0) ORDER BY id DESC")
        }
        (false, false) => {
            select_head!("streams NOT INDEXED", "WHERE id < 0 AND ?1 <= 0 ORDER BY id DESC")
        }
        (false, true) => {
            select_head!("streams NOT INDEXED", "WHERE id < 0 AND ?1 <= 0 ORDER BY id")
        }
    };
    visit(database, sql, &[&after], each)
}

/// Streams in a state that is not terminal, in the order of their numbers.
pub(crate) fn heads_in_state(
    database: &Connection,
    state: StateName,
    after: i64,
    each: impl FnMut(Found) -> bool,
) -> Result<()> {
    const SQL: &str = select_head!(
        "streams INDEXED BY streams_by_state",
        "WHERE ended IS NULL AND state = ?1 AND id > ?2 ORDER BY id"
    );
    visit(database, SQL, &[&state_text(state), &after], each)
}

/// Streams with an owner.
pub(crate) fn owned_heads(database: &Connection, each: impl FnMut(Found) -> bool) -> Result<()> {
    const SQL: &str = select_head!(
        "streams INDEXED BY streams_by_owner",
        "WHERE owner IS NOT NULL ORDER BY owner"
    );
    visit(database, SQL, &[], each)
}

/// Streams that have ended, the first to end first.
pub(crate) fn ended_heads(database: &Connection, each: impl FnMut(Found) -> bool) -> Result<()> {
    const SQL: &str =
        select_head!("streams INDEXED BY streams_by_end", "WHERE ended IS NOT NULL ORDER BY ended");
    visit(database, SQL, &[], each)
}

pub(crate) fn ended_count(database: &Connection) -> Result<u64> {
    const SQL: &str = "SELECT count(*) FROM streams WHERE ended IS NOT NULL";
    database.prepare_cached(SQL)?.query_row([], |row| number(row, 0))
}

fn visit(
    database: &Connection,
    sql: &str,
    parameters: &[&dyn ToSql],
    mut each: impl FnMut(Found) -> bool,
) -> Result<()> {
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    while let Some(row) = rows.next()? {
        if !each(Head::read(row)?) {
            break;
        }
    }
    Ok(())
}

pub(crate) fn insert_head(database: &Connection, head: &Head) -> Result<()> {
    const OWN: &str = "INSERT INTO streams VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    database.prepare_cached(OWN)?.execute(params![
        head.id,
        head.name,
        head.label,
        head.key,
        state_text(head.state),
        head.owner.map(|owner| owner.instance.cast_signed()),
        head.epoch.cast_signed(),
        head.created.cast_signed(),
        head.ended.map(u64::cast_signed),
        head.own_sum(),
    ])?;
    const HEAD: &str = "INSERT INTO heads VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    database.prepare_cached(HEAD)?.execute(params![
        head.id,
        head.seq.cast_signed(),
        head.entries.cast_signed(),
        head.head.cast_signed(),
        head.hash,
        head.singles,
        head.updated.cast_signed(),
        head.kept.unwrap_or(0).cast_signed(),
        head.head_sum(),
    ])?;
    Ok(())
}

pub(crate) fn delete_head(database: &Connection, id: i64) -> Result<()> {
    database.prepare_cached("DELETE FROM heads WHERE stream = ?1")?.execute([id])?;
    database.prepare_cached("DELETE FROM streams WHERE id = ?1")?.execute([id]).map(drop)
}

/// The ids at both ends: the highest number of a session, and the lowest of the others.
pub(crate) fn id_range(database: &Connection) -> Result<(i64, i64)> {
    const SQL: &str = "SELECT (SELECT min(id) FROM streams), (SELECT max(id) FROM streams)";
    let (low, high): (Option<i64>, Option<i64>) =
        database.prepare_cached(SQL)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((
        low.unwrap_or(0).min(floor(database, "lowest_id")?).min(0),
        high.unwrap_or(0).max(floor(database, "highest_id")?).max(0),
    ))
}

// Blocks

/// A row of `blocks` without its content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) pos: u64,
    pub(crate) first: u64,
    pub(crate) first_entry: u64,
    pub(crate) prev: u64,
    pub(crate) before: Hash,
    pub(crate) hash: Hash,
}

/// A row of `blocks` with its content.
#[derive(Debug, Clone)]
pub(crate) struct StoredBlock {
    pub(crate) link: Link,
    pub(crate) block: Block,
}

/// A block of a stream; none where it is another's, merged, or not there.
pub(crate) fn link(database: &Connection, stream: i64, pos: u64) -> Result<Option<Link>> {
    const SQL: &str = "SELECT pos, first, first_entry, prev, before, hash FROM blocks \
        WHERE pos = ?1 AND stream = ?2 AND merged IS NULL";
    database
        .prepare_cached(SQL)?
        .query_row(params![pos.cast_signed(), stream], read_link)
        .optional()
}

fn read_link(row: &Row<'_>) -> Result<Link> {
    Ok(Link {
        pos: number(row, 0)?,
        first: number(row, 1)?,
        first_entry: number(row, 2)?,
        prev: number(row, 3)?,
        before: hash(row, 4)?.unwrap_or(NO_HASH),
        hash: hash(row, 5)?.unwrap_or(NO_HASH),
    })
}

macro_rules! select_block {
    ($rest:literal) => {
        concat!(
            "SELECT pos, first, first_entry, prev, before, hash, count, entries, parts, events, ",
            "journal FROM blocks ",
            $rest
        )
    };
}

fn read_block(row: &Row<'_>) -> Result<StoredBlock> {
    let (first, first_entry) = (number(row, 1)?, number(row, 2)?);
    Ok(StoredBlock {
        link: read_link(row)?,
        block: Block {
            first,
            count: number(row, 6)?,
            first_entry,
            entries: number(row, 7)?,
            parts: bytes(row, 8)?.to_vec(),
            text: bytes(row, 9)?.to_vec(),
            journal: bytes(row, 10)?.to_vec(),
        },
    })
}

/// A block of a stream with its content; none where it is another's, merged, or not there.
pub(crate) fn block(database: &Connection, stream: i64, pos: u64) -> Result<Option<StoredBlock>> {
    const SQL: &str = select_block!("WHERE pos = ?1 AND stream = ?2 AND merged IS NULL");
    database
        .prepare_cached(SQL)?
        .query_row(params![pos.cast_signed(), stream], read_block)
        .optional()
}

/// The positions of all blocks of a stream that are not merged, by looking at every block there is.
pub(crate) fn positions_by_scan(database: &Connection, stream: i64) -> Result<Vec<u64>> {
    const SQL: &str = "SELECT pos FROM blocks WHERE stream = ?1 AND merged IS NULL ORDER BY pos";
    let mut statement = database.prepare(SQL)?;
    let positions = statement.query_map([stream], |row| number(row, 0))?;
    positions.collect()
}

/// A row of `blocks` in the order of commits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) pos: u64,
    pub(crate) stream: i64,
    pub(crate) count: u64,
    /// Where its content is, if not in itself.
    pub(crate) merged: Option<u64>,
}

/// The rows from the one that contains `pos` on, to `each` until it says no.
pub(crate) fn places(
    database: &Connection,
    pos: u64,
    mut each: impl FnMut(Place) -> Result<bool>,
) -> Result<()> {
    const SQL: &str = "SELECT pos, stream, count, merged FROM blocks WHERE pos >= \
        coalesce((SELECT max(pos) FROM blocks WHERE pos <= ?1), 0) ORDER BY pos";
    let mut statement = database.prepare_cached(SQL)?;
    let mut rows = statement.query([pos.cast_signed()])?;
    while let Some(row) = rows.next()? {
        let place = Place {
            pos: number(row, 0)?,
            stream: row.get(1)?,
            count: number(row, 2)?,
            merged: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
        };
        if !each(place)? {
            break;
        }
    }
    Ok(())
}

/// The block that a merged one went into, or itself.
pub(crate) fn merged_into(database: &Connection, pos: u64) -> Result<Option<u64>> {
    const SQL: &str = "SELECT merged FROM blocks WHERE pos = ?1";
    let mut at = pos;
    loop {
        let found: Option<Option<i64>> = database
            .prepare_cached(SQL)?
            .query_row([at.cast_signed()], |row| row.get(0))
            .optional()?;
        match found {
            // A block is merged into a later one, so this ends; damage may have other ideas.
            Some(Some(next)) if next.cast_unsigned() > at => at = next.cast_unsigned(),
            Some(None) => return Ok(Some(at)),
            _ => return Ok(None),
        }
    }
}

/// Of each stream that has blocks: how many with content, and how many that were merged into others.
pub(crate) fn block_counts(
    database: &Connection,
) -> Result<std::collections::HashMap<i64, (u64, u64)>> {
    let mut statement = database.prepare(
        "SELECT stream, sum(merged IS NULL), sum(merged IS NOT NULL) FROM blocks GROUP BY stream",
    )?;
    let counts =
        statement.query_map([], |row| Ok((row.get(0)?, (number(row, 1)?, number(row, 2)?))))?;
    counts.collect()
}

/// The position after the last one that was ever used.
pub(crate) fn next_pos(database: &Connection) -> Result<u64> {
    const SQL: &str = "SELECT pos, count FROM blocks ORDER BY pos DESC LIMIT 1";
    let last = database
        .prepare_cached(SQL)?
        .query_row([], |row| Ok(number(row, 0)? + number(row, 1)?.max(1)))
        .optional()?;
    // A merged block counts its events, whose positions lie before its own: too high does no harm.
    Ok(last.unwrap_or(1).max(floor(database, "next_pos")?.cast_unsigned()))
}

/// The statements that a commit runs for each of its streams, looked up once.
pub(crate) struct Writing<'a> {
    insert_events: CachedStatement<'a>,
    insert_block: CachedStatement<'a>,
    update_head: CachedStatement<'a>,
    update_stream: CachedStatement<'a>,
}

impl<'a> Writing<'a> {
    pub(crate) fn new(database: &'a Connection) -> Result<Self> {
        Ok(Self {
            insert_events: database.prepare_cached(
                "INSERT INTO blocks (pos, stream, first, count, first_entry, entries, prev, \
                 before, hash, events) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9)",
            )?,
            insert_block: database.prepare_cached(
                "INSERT INTO blocks (pos, stream, first, count, first_entry, entries, prev, \
                 before, hash, parts, events, journal) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?,
            update_head: database.prepare_cached(
                "UPDATE heads SET seq = ?2, entries = ?3, head = ?4, hash = ?5, singles = ?6, \
                 updated = ?7, kept = ?8, sum = ?9 WHERE stream = ?1",
            )?,
            update_stream: database.prepare_cached(
                "UPDATE streams SET state = ?2, owner = ?3, epoch = ?4, ended = ?5, sum = ?6 \
                 WHERE id = ?1",
            )?,
        })
    }

    pub(crate) fn insert_block(&mut self, stream: i64, link: &Link, block: &Block) -> Result<()> {
        // Most blocks have events alone.
        if block.entries == 0 && block.parts.is_empty() {
            self.insert_events.execute(params![
                link.pos.cast_signed(),
                stream,
                block.first.cast_signed(),
                block.count.cast_signed(),
                block.first_entry.cast_signed(),
                link.prev.cast_signed(),
                link.before,
                link.hash,
                Text(&block.text),
            ])?;
            return Ok(());
        }
        self.insert_block.execute(params![
            link.pos.cast_signed(),
            stream,
            block.first.cast_signed(),
            block.count.cast_signed(),
            block.first_entry.cast_signed(),
            block.entries.cast_signed(),
            link.prev.cast_signed(),
            link.before,
            link.hash,
            some(&block.parts),
            Text(&block.text),
            some(&block.journal),
        ])?;
        Ok(())
    }

    /// Writes what an append may have changed. `same_owner`: neither owner nor state nor end did.
    pub(crate) fn update_head(&mut self, head: &Head, same_owner: bool) -> Result<()> {
        let mut changed = self.update_head.execute(params![
            head.id,
            head.seq.cast_signed(),
            head.entries.cast_signed(),
            head.head.cast_signed(),
            head.hash,
            head.singles,
            head.updated.cast_signed(),
            head.kept.unwrap_or(0).cast_signed(),
            head.head_sum(),
        ])?;
        if !same_owner {
            changed &= self.update_stream.execute(params![
                head.id,
                state_text(head.state),
                head.owner.map(|owner| owner.instance.cast_signed()),
                head.epoch.cast_signed(),
                head.ended.map(u64::cast_signed),
                head.own_sum(),
            ])?;
        }
        if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
    }
}

/// Puts a merged block in the place of its last part.
pub(crate) fn replace_block(
    database: &Connection,
    stream: i64,
    link: &Link,
    block: &Block,
) -> Result<()> {
    database
        .prepare_cached("DELETE FROM blocks WHERE pos = ?1")?
        .execute([link.pos.cast_signed()])?;
    Writing::new(database)?.insert_block(stream, link, block)
}

/// Leaves of a block only that it was merged into a later one, and how many events it stands for.
pub(crate) fn mark_merged(database: &Connection, pos: u64, count: u64, into: u64) -> Result<()> {
    const SQL: &str = "UPDATE blocks SET merged = ?2, count = ?3, first = 0, first_entry = 0, \
        entries = 0, prev = 0, before = NULL, hash = NULL, parts = NULL, events = NULL, \
        journal = NULL WHERE pos = ?1";
    database.prepare_cached(SQL)?.execute(params![
        pos.cast_signed(),
        into.cast_signed(),
        count.cast_signed()
    ])?;
    Ok(())
}

pub(crate) fn delete_block(database: &Connection, pos: u64) -> Result<()> {
    database
        .prepare_cached("DELETE FROM blocks WHERE pos = ?1")?
        .execute([pos.cast_signed()])
        .map(drop)
}

/// A text that was made by us, or nothing.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> Result<rusqlite::types::ToSqlOutput<'_>> {
        let value = if self.0.is_empty() { ValueRef::Null } else { ValueRef::Text(self.0) };
        Ok(rusqlite::types::ToSqlOutput::Borrowed(value))
    }
}

// Snapshots

/// A row of `snapshots`.
pub(crate) struct SnapshotRow {
    pub(crate) seq: u64,
    pub(crate) state: String,
    pub(crate) data: Vec<u8>,
    pub(crate) hash: Option<Hash>,
}

pub(crate) fn snapshot(database: &Connection, stream: i64) -> Result<Option<SnapshotRow>> {
    const SQL: &str = "SELECT seq, state, data, hash FROM snapshots WHERE stream = ?1";
    let read = |row: &Row<'_>| {
        Ok(SnapshotRow {
            seq: number(row, 0)?,
            state: row.get(1)?,
            data: bytes(row, 2)?.to_vec(),
            hash: hash(row, 3)?,
        })
    };
    database.prepare_cached(SQL)?.query_row([stream], read).optional()
}

pub(crate) fn put_snapshot(
    database: &Connection,
    stream: i64,
    seq: u64,
    state: StateName,
    data: &[u8],
    hash: &Hash,
) -> Result<()> {
    const SQL: &str = "INSERT OR REPLACE INTO snapshots VALUES (?1, ?2, ?3, ?4, ?5)";
    database
        .prepare_cached(SQL)?
        .execute(params![stream, seq.cast_signed(), state_text(state), data, hash])
        .map(drop)
}

pub(crate) fn delete_snapshot(database: &Connection, stream: i64) -> Result<()> {
    database.prepare_cached("DELETE FROM snapshots WHERE stream = ?1")?.execute([stream]).map(drop)
}

// The owner of all schedules

/// Who owns all schedules, and under which epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scheduling {
    pub(crate) owner: Option<u64>,
    pub(crate) epoch: u64,
}

impl Scheduling {
    fn sum(self) -> Hash {
        Hashing::of("scheduling").number(self.owner.unwrap_or(0)).number(self.epoch).done()
    }
}

/// None where what is there is not what was written.
pub(crate) fn scheduling(database: &Connection) -> Result<Option<Scheduling>> {
    const SQL: &str = "SELECT owner, epoch, sum FROM scheduling WHERE id = 1";
    let found = database
        .prepare_cached(SQL)?
        .query_row([], |row| {
            let owner = row.get::<_, Option<i64>>(0)?.map(i64::cast_unsigned);
            Ok((Scheduling { owner, epoch: number(row, 1)? }, hash(row, 2)?))
        })
        .optional()?;
    Ok(found.filter(|(found, sum)| *sum == Some(found.sum())).map(|(found, _)| found))
}

pub(crate) fn set_scheduling(database: &Connection, scheduling: Scheduling) -> Result<()> {
    const SQL: &str = "INSERT OR REPLACE INTO scheduling VALUES (1, ?1, ?2, ?3)";
    let Scheduling { owner, epoch } = scheduling;
    let owner = owner.map(u64::cast_signed);
    database
        .prepare_cached(SQL)?
        .execute(params![owner, epoch.cast_signed(), scheduling.sum()])
        .map(drop)
}

// What is worth merging

pub(crate) fn queue_merge(database: &Connection, stream: i64) -> Result<()> {
    database.prepare_cached("INSERT OR IGNORE INTO merges VALUES (?1)")?.execute([stream]).map(drop)
}

pub(crate) fn next_merges(database: &Connection, most: u32) -> Result<Vec<i64>> {
    let mut statement = database.prepare_cached("SELECT stream FROM merges LIMIT ?1")?;
    let streams = statement.query_map([most], |row| row.get(0))?;
    streams.collect()
}

pub(crate) fn merge_done(database: &Connection, stream: i64) -> Result<()> {
    database.prepare_cached("DELETE FROM merges WHERE stream = ?1")?.execute([stream]).map(drop)
}

// Facts about the store itself

pub(crate) fn store_id(database: &Connection) -> Result<String> {
    database.query_row("SELECT value FROM meta WHERE name = 'id'", [], |row| row.get(0))
}

fn floor(database: &Connection, name: &str) -> Result<i64> {
    const SQL: &str = "SELECT value FROM meta WHERE name = ?1";
    let found = database.prepare_cached(SQL)?.query_row([name], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0))
}

/// Keeps numbers from being given again when the rows that have them are deleted.
pub(crate) fn keep_floors(database: &Connection) -> Result<()> {
    let (low, high) = id_range(database)?;
    let next = next_pos(database)?.cast_signed();
    for (name, value) in [("lowest_id", low), ("highest_id", high), ("next_pos", next)] {
        database
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
            .execute(params![name, value])?;
    }
    Ok(())
}

/// Bytes in use and bytes of the whole file.
pub(crate) fn size(database: &Connection) -> Result<(u64, u64)> {
    let pragma = |name: &str| -> Result<u64> {
        database.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    };
    let (page, pages, free) =
        (pragma("page_size")?, pragma("page_count")?, pragma("freelist_count")?);
    Ok((page * pages.saturating_sub(free), page * pages))
}
