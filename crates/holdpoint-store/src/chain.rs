//! A stream's blocks in order, each checked before anybody sees it (STORE-005).
//!
//! The stream knows its last block and that block's hash; each block knows the one before and its
//! hash. So a walk from the end to the beginning finds every block by its key, and knows what hash
//! it must have. What is read is served from the beginning on, up to the first block that is not
//! what was written.

use std::collections::VecDeque;

use rusqlite::Connection;

use crate::blocks::NO_HASH;
use crate::sqlite::rows::{self, Head, Link, StoredBlock};

/// Why a chain cannot be followed.
#[derive(Debug)]
pub(crate) enum ChainError {
    Sql(rusqlite::Error),
    /// The first event that cannot be trusted; no journal entry of its block or behind it can.
    Corrupt {
        seq: u64,
    },
}

impl From<rusqlite::Error> for ChainError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// From where on blocks are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    Event(u64),
    Entry(u64),
}

impl After {
    /// Whether what follows lies in this block or a later one.
    fn is_in(self, first: u64, first_entry: u64) -> bool {
        match self {
            Self::Event(after) => first <= after.saturating_add(1),
            Self::Entry(after) => first_entry <= after.saturating_add(1),
        }
    }
}

/// Bytes of blocks kept on the way back, so that they are not read a second time.
const KEPT: usize = 1 << 20;

/// Links kept for who reads on: 4 MiB.
const LINKS: usize = 1 << 16;

/// The way back through a stream, for who reads a long one in pages: without it each page would walk
/// back from the end.
#[derive(Debug)]
pub(crate) struct Path {
    stream: i64,
    /// Last first, without a gap.
    links: Vec<Link>,
}

/// The blocks of a stream that have something after a number, in order, to `each` until it says
/// no. `path` is where the way back is remembered.
///
/// # Errors
/// After all blocks before it: the first block that is not what was written.
pub(crate) fn follow(
    database: &Connection,
    head: &Head,
    after: After,
    path: &mut Option<Path>,
    mut each: impl FnMut(StoredBlock) -> bool,
) -> Result<(), ChainError> {
    // The blocks that were read last on the way back are those that come first on the way forth.
    let mut kept: VecDeque<StoredBlock> = VecDeque::new();
    let mut size = 0;
    let mut known = path.take().filter(|path| path.stream == head.id).map(|path| path.links);
    let (mut links, mut is_whole) = (Vec::new(), true);
    let (mut pos, mut hash) = (head.head, head.hash);
    while pos != 0 {
        if known.as_ref().is_some_and(|known| (known[0].pos, known[0].hash) == (pos, hash)) {
            links.append(&mut known.take().unwrap_or_default());
        } else {
            let Some(stored) = rows::block(database, head.id, pos)? else {
                is_whole = false;
                break;
            };
            let link = stored.link;
            // Positions fall on the way back, so that damage cannot lead around in circles.
            if link.hash != hash || link.prev >= pos {
                is_whole = false;
                break;
            }
            links.push(link);
            size += stored.block.size();
            kept.push_back(stored);
            while size > KEPT
                && let Some(block) = kept.pop_front()
            {
                size -= block.block.size();
            }
        }
        let Some(last) = links.last() else { break };
        (pos, hash) = (last.prev, last.before);
        if after.is_in(last.first, last.first_entry) {
            break;
        }
    }
    is_whole &= pos != 0 || hash == NO_HASH;
    if is_whole && !links.is_empty() && links.len() <= LINKS {
        *path = Some(Path { stream: head.id, links: links.clone() });
    }
    // Of what was remembered the beginning may lie before what is wanted.
    let enough = links.partition_point(|link| !after.is_in(link.first, link.first_entry));
    links.truncate(enough + 1);
    let positions = if is_whole {
        links.iter().rev().map(|link| link.pos).collect()
    } else {
        // The way back is cut: what lies before the cut can only be found by looking everywhere.
        rows::positions_by_scan(database, head.id)?
    };
    let first = links.last().filter(|_| is_whole);
    let mut before = first.map_or(NO_HASH, |link| link.before);
    let mut next = first.map_or((1, 1), |link| (link.first, link.first_entry));
    for pos in positions {
        let corrupt = ChainError::Corrupt { seq: next.0 };
        let is_kept = kept.back().is_some_and(|stored| stored.link.pos == pos);
        let stored = match is_kept.then(|| kept.pop_back()).flatten() {
            Some(stored) => stored,
            None => rows::block(database, head.id, pos)?.ok_or(corrupt)?,
        };
        if !is_sound(&stored, head, before, next) {
            return Err(ChainError::Corrupt { seq: next.0 });
        }
        before = stored.link.hash;
        next = (next.0 + stored.block.count, next.1 + stored.block.entries);
        let is_wanted = match after {
            After::Event(after) => next.0 > after.saturating_add(1),
            After::Entry(after) => next.1 > after.saturating_add(1),
        };
        if is_wanted && !each(stored) {
            return Ok(());
        }
    }
    let is_complete = before == head.hash && next == (head.seq + 1, head.entries + 1);
    if is_complete { Ok(()) } else { Err(ChainError::Corrupt { seq: next.0 }) }
}

/// Whether a block is the one that was written after the block with the hash `before`.
pub(crate) fn is_sound(
    stored: &StoredBlock,
    head: &Head,
    before: [u8; 16],
    next: (u64, u64),
) -> bool {
    let StoredBlock { link, block } = stored;
    link.before == before
        && (block.first, block.first_entry) == next
        && link.hash == block.hash(&head.name, &link.before)
}

/// The links of a stream from its end back to its beginning, or to where one is missing or not the
/// one that the next one names.
pub(crate) fn back(database: &Connection, head: &Head) -> Result<Vec<Link>, rusqlite::Error> {
    let mut links: Vec<Link> = Vec::new();
    let (mut pos, mut hash) = (head.head, head.hash);
    while pos != 0 {
        match rows::link(database, head.id, pos)? {
            Some(link) if link.hash == hash && link.prev < pos => {
                (pos, hash) = (link.prev, link.before);
                links.push(link);
            }
            _ => break,
        }
    }
    Ok(links)
}
