//! What is deleted in the course of time (STORE-006).
//!
//! Streams are deleted as a whole, the first to end first, a few in a transaction so that writers
//! do not wait. Never one that has not ended, and never one that somebody keeps.

use std::time::Duration;

use holdpoint_core::Timestamp;
use holdpoint_core::store::{AppendError, Completer};
use rusqlite::Connection;

use crate::blocks::{self, Part};
use crate::chain::{self};
use crate::keep::Kept;
use crate::sqlite;
use crate::sqlite::rows::{self, Head};

/// Streams deleted in one transaction.
const SLICE: usize = 64;

/// What may be deleted. Whatever these say, only sessions and batches that have ended are.
///
/// ```
/// use std::time::Duration;
/// use holdpoint_store::Retention;
///
/// let week = Retention::new().age(Duration::from_secs(7 * 86_400)).keep_last(20);
/// assert_eq!(week.keep_last, 20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Those that ended longer ago are deleted. Default: 30 days. Zero: all that have ended.
    pub age: Duration,
    /// So many of the sessions that ended last are kept, whatever their age and size. Default: 200.
    pub keep_last: usize,
    /// While the store has more bytes in use than this, the oldest are deleted, whatever their
    /// age. Default: 2 GiB.
    pub size: u64,
}

impl Retention {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { age: Duration::from_secs(30 * 86_400), keep_last: 200, size: 2 << 30 }
    }

    /// The same with another age.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// The same with another number of sessions that are kept.
    #[must_use]
    pub const fn keep_last(mut self, sessions: usize) -> Self {
        self.keep_last = sessions;
        self
    }

    /// The same with another size.
    #[must_use]
    pub const fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::new()
    }
}

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Streams that were deleted.
    pub streams: u64,
    /// Events in them.
    pub events: u64,
    /// Streams that would have been deleted but are kept by somebody.
    pub kept: u64,
}

/// A deletion under way.
pub(crate) struct Pruning {
    retention: Retention,
    now: Timestamp,
    done: Completer<Result<Pruned, AppendError>>,
    pruned: Pruned,
    /// Looked at and kept: the next slice begins behind them.
    passed_over: usize,
}

impl Pruning {
    pub(crate) fn new(retention: Retention, done: Completer<Result<Pruned, AppendError>>) -> Self {
        let now = Timestamp::from(std::time::SystemTime::now());
        Self { retention, now, done, pruned: Pruned::default(), passed_over: 0 }
    }

    pub(crate) fn finish(self) {
        self.done.complete(Ok(self.pruned));
    }

    pub(crate) fn fail(self, error: AppendError) {
        self.done.complete(Err(error));
    }

    /// Deletes some. Whether there is nothing more to delete.
    pub(crate) fn slice(&mut self, database: &Connection, kept: &Kept) -> rusqlite::Result<bool> {
        sqlite::frame(database, "BEGIN IMMEDIATE")?;
        let result = self.delete_some(database, kept);
        match result {
            Ok(_) => sqlite::frame(database, "COMMIT")?,
            Err(_) => drop(sqlite::frame(database, "ROLLBACK")),
        }
        result
    }

    fn delete_some(&mut self, database: &Connection, kept: &Kept) -> rusqlite::Result<bool> {
        let (mut used, _) = rows::size(database)?;
        let oldest = self
            .now
            .as_micros()
            .saturating_sub(u64::try_from(self.retention.age.as_micros()).unwrap_or(u64::MAX));
        let total = rows::ended_count(database)?;
        let spare = total.saturating_sub(self.retention.keep_last as u64);
        let mut candidates: Vec<Head> = Vec::new();
        let (mut index, mut damaged) = (0, 0);
        rows::ended_heads(database, |found| {
            let is_passed = index < self.passed_over;
            let is_spare = (index as u64) < spare;
            index += 1;
            if is_passed {
                return true;
            }
            let is_old = found.head.ended.is_some_and(|ended| ended <= oldest);
            if !is_spare || !(is_old || used > self.retention.size) || !found.is_sound {
                // Those behind it ended later, so they are neither old nor spare. A damaged one
                // stays, to be looked at.
                damaged += usize::from(!found.is_sound);
                return is_spare && !found.is_sound;
            }
            // Roughly what it takes: the blocks are counted when they are deleted.
            used = used.saturating_sub(200 * found.head.seq);
            candidates.push(found.head);
            candidates.len() < SLICE
        })?;
        self.passed_over += damaged;
        if candidates.is_empty() {
            return Ok(true);
        }
        rows::keep_floors(database)?;
        for head in candidates {
            if blocks::stream_of(&head.name).is_some_and(|stream| kept.has(&stream)) {
                self.passed_over += 1;
                self.pruned.kept += 1;
                continue;
            }
            delete(database, &head)?;
            self.pruned.streams += 1;
            self.pruned.events += head.seq;
        }
        // Sizes are guessed until it is done: one more look decides.
        Ok(false)
    }
}

/// Deletes a stream. Of a damaged chain what can be found.
fn delete(database: &Connection, head: &Head) -> rusqlite::Result<()> {
    for link in chain::back(database, head)? {
        if let Some(stored) = rows::block(database, head.id, link.pos)? {
            for part in Part::read_all(&stored.block.parts).unwrap_or_default() {
                rows::delete_block(database, part.pos)?;
            }
        }
        rows::delete_block(database, link.pos)?;
    }
    rows::delete_snapshot(database, head.id)?;
    rows::merge_done(database, head.id)?;
    rows::delete_head(database, head.id)
}
