//! Makes few large blocks of many small ones (STORE-012).
//!
//! # Invariants
//! 1. The events, the journal entries and the positions of a stream are the same before and after.
//! 2. A merged block lies in the place of its last part, at the end of its stream. The others stay
//!    as rows that say where their content is now, so that the order of all events stays readable.
//! 3. What is damaged is not merged: its damage stays where it is.

use rusqlite::Connection;

use crate::blocks::{Block, Hash, NO_HASH, Part};
use crate::chain::{self, ChainError};
use crate::sqlite::rows::{self, Head, Link, StoredBlock};

/// No merged block is made larger than this.
const MOST: usize = 256 << 10;

/// Merges the blocks at the end of a stream. Gives the hash of its last block, and how many blocks
/// were looked at; none where there is nothing to gain.
pub(crate) fn merge(
    database: &Connection,
    head: &Head,
) -> Result<Option<(Hash, usize)>, ChainError> {
    let Some(run) = last_run(database, head)? else { return Ok(None) };
    let mut blocks = run.into_iter().rev();
    let Some(first) = blocks.next() else { return Ok(None) };
    let mut whole = Block::at(first.block.first, first.block.first_entry);
    let (prev, before) = (first.link.prev, first.link.before);
    let mut last = first.link;
    let mut left: Vec<(u64, u64)> = Vec::new();
    let mut count = 0;
    for StoredBlock { link, block } in std::iter::once(first).chain(blocks) {
        let own = if block.parts.is_empty() {
            vec![Part { pos: link.pos, count: block.count }]
        } else {
            Part::read_all(&block.parts).ok_or(ChainError::Corrupt { seq: block.first })?
        };
        for part in &own {
            part.write(&mut whole.parts);
        }
        whole.push(block);
        left.push((link.pos, own.last().map_or(0, |part| part.count)));
        last = link;
        count += 1;
    }
    left.pop();
    for (pos, events) in left {
        rows::mark_merged(database, pos, events, last.pos)?;
    }
    let hash = whole.hash(&head.name, &before);
    let link = Link {
        pos: last.pos,
        first: whole.first,
        first_entry: whole.first_entry,
        prev,
        before,
        hash,
    };
    rows::replace_block(database, head.id, &link, &whole)?;
    Ok(Some((hash, count)))
}

/// The blocks at the end that are worth making one of, last first: all small ones, and before them
/// merged ones as long as they are not much larger than what follows. So each event is moved a
/// number of times that grows with the logarithm of its stream.
fn last_run(database: &Connection, head: &Head) -> Result<Option<Vec<StoredBlock>>, ChainError> {
    let mut run: Vec<StoredBlock> = Vec::new();
    let mut size = 0;
    let (mut pos, mut hash) = (head.head, head.hash);
    let mut end = (head.seq + 1, head.entries + 1);
    while pos != 0 {
        let Some(stored) = rows::block(database, head.id, pos)? else {
            return Err(ChainError::Corrupt { seq: end.0 });
        };
        let own = stored.block.size();
        let is_merged = !stored.block.parts.is_empty();
        if size + own > MOST || (is_merged && own > 2 * size.max(1) && head.ended.is_none()) {
            break;
        }
        let start = (stored.block.first, stored.block.first_entry);
        let follows = (start.0 + stored.block.count, start.1 + stored.block.entries) == end;
        if stored.link.hash != hash
            || !follows
            || !chain::is_sound(&stored, head, stored.link.before, start)
        {
            return Err(ChainError::Corrupt { seq: start.0 });
        }
        (pos, hash, end) = (stored.link.prev, stored.link.before, start);
        size += own;
        run.push(stored);
    }
    if pos == 0 && hash != NO_HASH {
        return Err(ChainError::Corrupt { seq: 1 });
    }
    Ok((run.len() > 1).then_some(run))
}
