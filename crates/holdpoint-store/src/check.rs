//! Looking at all there is: whether everything that was written can be read (STORE-005).

use std::collections::HashMap;
use std::fmt;

use holdpoint_core::event::{EventKind, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::ReadError;
use rusqlite::Connection;

use crate::blocks::{self, Part};
use crate::chain::{self, After, ChainError};
use crate::file::FileStore;
use crate::log::Log;
use crate::reader;
use crate::sqlite;
use crate::sqlite::rows::{self, Found, Head};

/// What [`FileStore::check`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Streams that were looked at.
    pub streams: u64,
    /// Events that were read.
    pub events: u64,
    /// Journal entries that were read.
    pub entries: u64,
    /// Frames at the end of the log, when the store was opened, of a commit that was under way
    /// when its process or the system ended. Nothing of it was acknowledged: it counts as never
    /// made, and is no fault.
    pub unacknowledged: u64,
    /// What is not as it should be.
    pub faults: Vec<StoreFault>,
}

impl CheckReport {
    /// Whether everything can be read as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreFault {
    /// In which stream; none where it concerns the file.
    pub stream: Option<Stream>,
    /// The first event that cannot be trusted, where there is one.
    pub seq: Option<u64>,
    /// What was found.
    pub message: String,
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.stream, self.seq) {
            (Some(stream), Some(seq)) => write!(f, "{stream}, event {seq}: {}", self.message),
            (Some(stream), None) => write!(f, "{stream}: {}", self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

impl FileStore {
    /// Reads everything: walks the blocks of every stream with their hashes, takes every event
    /// apart, compares states with events, and runs the database's own check. Takes as long as
    /// reading the file does; others may write meanwhile.
    ///
    /// A log that is damaged in its middle is found already by [`open`](Self::open), which refuses
    /// it.
    ///
    /// # Errors
    /// [`ReadError`] where the file is damaged so that not even its streams can be listed.
    pub fn check(&self) -> Result<CheckReport, ReadError> {
        let log = self.log_at_opening();
        self.reader().read(|database| {
            let mut check = Check::new(database, log);
            check.run().map_err(|error| sqlite::read_error(&error))?;
            Ok(check.report)
        })
    }
}

struct Check<'a> {
    database: &'a Connection,
    report: CheckReport,
    /// Of each stream: blocks with content, and those that were merged into others.
    blocks: HashMap<i64, (u64, u64)>,
}

impl<'a> Check<'a> {
    fn new(database: &'a Connection, log: Log) -> Self {
        let report = CheckReport { unacknowledged: log.tail, ..CheckReport::default() };
        Self { database, report, blocks: HashMap::new() }
    }

    fn run(&mut self) -> rusqlite::Result<()> {
        for line in sqlite::integrity(self.database)? {
            self.fault(None, None, format!("the database says: {line}"));
        }
        self.blocks = rows::block_counts(self.database)?;
        if rows::scheduling(self.database)?.is_none() {
            self.fault(None, None, "the record of who owns the schedules is damaged".to_owned());
        }
        let mut heads = Vec::new();
        for sessions in [false, true] {
            rows::every_head(self.database, sessions, 0, false, |found| {
                heads.push(found);
                true
            })?;
        }
        for found in heads {
            self.stream(&found)?;
        }
        // A damaged block breaks the order as well; that need not be told twice.
        if self.report.faults.is_empty() {
            self.order();
        }
        let mut orphans: Vec<_> =
            self.blocks.iter().filter(|(_, counts)| **counts != (0, 0)).collect();
        orphans.sort_unstable();
        let orphans: Vec<String> = orphans
            .into_iter()
            .map(|(id, (blocks, merged))| {
                format!("{blocks} blocks and {merged} merged ones of row {id} belong to no stream")
            })
            .collect();
        for orphan in orphans {
            self.fault(None, None, orphan);
        }
        Ok(())
    }

    fn stream(&mut self, found: &Found) -> rusqlite::Result<()> {
        let head = &found.head;
        let counts = self.blocks.remove(&head.id).unwrap_or_default();
        let Some(stream) = blocks::stream_of(&head.name) else {
            let message = format!("row {} is named {:?}, which is no stream", head.id, head.name);
            self.fault(None, None, message);
            return Ok(());
        };
        self.report.streams += 1;
        let stream = Some(&stream);
        if !found.is_sound {
            let message = "its row is not what was written".to_owned();
            self.fault(stream, Some(1), message);
            return Ok(());
        }
        self.chain(stream, head, counts)?;
        let snapshot = rows::snapshot(self.database, head.id)?;
        match (head.kept, snapshot) {
            (Some(_), Some(row)) if reader::is_kept(&row, head) => {}
            (None, None) => {}
            (kept, _) => {
                self.fault(stream, kept, "its snapshot is not what was written".to_owned());
            }
        }
        Ok(())
    }

    fn chain(
        &mut self,
        stream: Option<&Stream>,
        head: &Head,
        (blocks, merged): (u64, u64),
    ) -> rusqlite::Result<()> {
        let (mut found_blocks, mut found_parts) = (0, 0);
        let (mut events, mut entries) = (0, 0);
        let mut state = None;
        let mut unreadable = None;
        let result = chain::follow(self.database, head, After::Event(0), &mut None, |stored| {
            let block = &stored.block;
            found_blocks += 1;
            let parts = Part::read_all(&block.parts);
            found_parts += parts.as_ref().map_or(0, |parts| parts.len().saturating_sub(1) as u64);
            for (line, seq) in block.lines().zip(block.first..) {
                let text = &block.text[line.start as usize..line.end as usize];
                let event = stream.and_then(|stream| blocks::read_line(text, stream, seq));
                match event {
                    Some(event) => state = state_after(&event.kind).or(state),
                    None => unreadable = unreadable.or(Some(seq)),
                }
                events += 1;
            }
            entries += block.entries().count() as u64;
            if parts.is_none() || block.entries().count() as u64 != block.entries {
                unreadable = unreadable.or(Some(block.first));
            }
            true
        });
        self.report.events += events;
        self.report.entries += entries;
        match result {
            Err(ChainError::Sql(error)) => return Err(error),
            Err(ChainError::Corrupt { seq }) => {
                let message = "from here on it is not what was written".to_owned();
                self.fault(stream, Some(seq), message);
                return Ok(());
            }
            Ok(()) => {}
        }
        if let Some(seq) = unreadable {
            self.fault(stream, Some(seq), "it is whole, but no event can be read".to_owned());
        }
        if (events, entries) != (head.seq, head.entries) {
            let (seq, own) = (head.seq, head.entries);
            self.fault(stream, None, format!(
                "it has {events} events and {entries} journal entries instead of {seq} and {own}"
            ));
        }
        if (found_blocks, found_parts) != (blocks, merged) {
            self.fault(
                stream,
                None,
                format!(
                    "{blocks} blocks and {merged} merged ones are there, {found_blocks} and \
                 {found_parts} can be reached"
                ),
            );
        }
        if let Some(state) = state.filter(|state| *state != head.state) {
            let own = head.state;
            self.fault(stream, None, format!("it is {own}, but its events say {state}"));
        }
        Ok(())
    }

    /// All events once more, in the order of commits.
    fn order(&mut self) {
        let (mut after, mut events) = (0, 0);
        loop {
            match reader::in_order(self.database, after, 1000) {
                Ok(next) => {
                    let Some(last) = next.last() else { break };
                    after = last.pos;
                    events += next.len() as u64;
                }
                Err(error) => {
                    let message = format!("the order of commits breaks off: {error}");
                    return self.fault(None, None, message);
                }
            }
        }
        if events != self.report.events {
            let all = self.report.events;
            let message = format!("the order of commits has {events} events instead of {all}");
            self.fault(None, None, message);
        }
    }

    fn fault(&mut self, stream: Option<&Stream>, seq: Option<u64>, message: String) {
        self.report.faults.push(StoreFault { stream: stream.cloned(), seq, message });
    }
}

/// The state of a session after an event that changes it.
fn state_after(kind: &EventKind) -> Option<StateName> {
    Some(match kind {
        EventKind::SessionPlanned { .. } => StateName::Planned,
        EventKind::SessionStarted { .. } | EventKind::SessionResumed { .. } => StateName::Running,
        EventKind::SessionPaused => StateName::Paused,
        EventKind::SessionSuspended(_) => StateName::Suspended,
        EventKind::SessionDone { .. } => StateName::Done,
        EventKind::SessionFailed(_) => StateName::Failed,
        EventKind::SessionCancelled(_) => StateName::Cancelled,
        _ => return None,
    })
}
