//! A stream's blocks in order, each checked before anybody sees it (STORE-005).
//!
//! The stream knows its last block and that block's hash; each block knows the one before and its
//! hash. So a walk from the end to the beginning finds every block by its key, and knows what hash
//! it must have. What is read is served from the beginning on, up to the first block that is not
//! what was written.

use std::collections::HashMap;

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

/// The blocks of a stream that have something after a number, in order, to `each` until it says
/// no.
///
/// # Errors
/// After all blocks before it: the first block that is not what was written.
pub(crate) fn follow(
    database: &Connection,
    head: &Head,
    after: After,
    mut each: impl FnMut(StoredBlock) -> bool,
) -> Result<(), ChainError> {
    let mut kept: HashMap<u64, StoredBlock> = HashMap::new();
    let mut room = KEPT;
    let (links, is_whole) = back(
        head,
        |pos| {
            if room == 0 {
                return rows::link(database, head.id, pos);
            }
            let stored = rows::block(database, head.id, pos)?;
            Ok(stored.map(|stored| {
                let link = stored.link;
                room = room.saturating_sub(stored.block.size());
                kept.insert(pos, stored);
                link
            }))
        },
        |link| after.is_in(link.first, link.first_entry),
    )?;
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
        let stored = match kept.remove(&pos) {
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

/// The links of a stream from its end back to the first that `is_enough`, or to the beginning, each
/// found by `find`. `false` where a link is missing or not the one that the next one names.
pub(crate) fn back(
    head: &Head,
    mut find: impl FnMut(u64) -> Result<Option<Link>, rusqlite::Error>,
    mut is_enough: impl FnMut(&Link) -> bool,
) -> Result<(Vec<Link>, bool), rusqlite::Error> {
    let mut links: Vec<Link> = Vec::new();
    let (mut pos, mut hash) = (head.head, head.hash);
    while pos != 0 {
        match find(pos)? {
            // Positions fall on the way back, so that damage cannot lead around in circles.
            Some(link) if link.hash == hash && link.prev < pos => {
                (pos, hash) = (link.prev, link.before);
                let enough = is_enough(&link);
                links.push(link);
                if enough {
                    return Ok((links, true));
                }
            }
            _ => return Ok((links, false)),
        }
    }
    Ok((links, hash == NO_HASH))
}
