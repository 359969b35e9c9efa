//! What the writer is given to do: writes as bytes, and who is told.

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::{Owner, StateName};
use holdpoint_core::store::{AppendError, Commit, Completer, Fence, Write};

use crate::blocks::{self, Block};
use crate::retention::{Pruned, Retention};

/// A piece of work for the writer.
pub(crate) enum Job {
    /// Records: all of it or nothing, and somebody waits for it.
    Append(Vec<Entry>, Completer<Result<Commit, AppendError>>),
    /// A note: nobody waits for it.
    Note(Box<Entry>),
    /// Takes all schedules.
    ClaimSchedules(Completer<Result<Owner, AppendError>>),
    /// Deletes what retention says.
    Prune(Retention, Completer<Result<Pruned, AppendError>>),
}

/// A write to one stream, as bytes.
pub(crate) struct Entry {
    pub(crate) stream: Stream,
    pub(crate) fence: Fence,
    pub(crate) release: bool,
    /// Its events and journal entries. The number of the first entry is the store's to give.
    pub(crate) block: Block,
    /// When its first and its last event happened.
    pub(crate) times: Option<(u64, u64)>,
    pub(crate) snapshot: Option<(StateName, Vec<u8>)>,
    pub(crate) key: Option<String>,
    pub(crate) label: String,
}

impl Entry {
    /// The bytes of a write; refuses what needs no look at the store to be refused.
    pub(crate) fn of(write: &Write<'_>) -> Result<Self, AppendError> {
        let stream = write.stream;
        let unsuitable =
            |what: &'static str| AppendError::Unsuitable { stream: stream.clone(), what };
        let is_new = matches!(write.fence, Fence::New | Fence::NewOwned);
        let is_schedule = matches!(stream, Stream::Schedule(_));
        if is_new && write.events.is_empty() {
            return Err(unsuitable("a new stream begins with an event"));
        }
        if is_schedule && matches!(write.fence, Fence::NewOwned | Fence::Claim { .. }) {
            return Err(unsuitable("schedules are claimed all together"));
        }
        if is_schedule && write.release {
            return Err(unsuitable("a schedule cannot be released alone"));
        }
        if write.key.is_some() && !(is_new && matches!(stream, Stream::Session(_))) {
            return Err(unsuitable("only a new session has an idempotency key"));
        }
        for payload in write.journal.iter().copied().chain(write.snapshot.map(|kept| kept.data)) {
            fits(stream, payload.len())?;
        }
        let mut entry = Self::events(stream, write.fence, write.events)?;
        for record in write.journal {
            blocks::write_entry(record, &mut entry.block.journal);
        }
        entry.block.entries = write.journal.len() as u64;
        entry.release = write.release;
        entry.snapshot = write.snapshot.map(|kept| (kept.state, kept.data.to_vec()));
        entry.key = write.key.map(str::to_owned);
        entry.label = write.label.to_owned();
        Ok(entry)
    }

    /// The bytes of events.
    pub(crate) fn events(
        stream: &Stream,
        fence: Fence,
        events: &[Event],
    ) -> Result<Self, AppendError> {
        let mut block = Block::at(events.first().map_or(0, |event| event.seq), 0);
        for (index, event) in events.iter().enumerate() {
            if event.stream != *stream {
                return Err(AppendError::Unsuitable {
                    stream: stream.clone(),
                    what: "an event of another stream",
                });
            }
            let expected = block.first.saturating_add(index as u64);
            if event.seq != expected {
                let (stream, found) = (stream.clone(), event.seq);
                return Err(AppendError::OutOfOrder { stream, expected, found });
            }
            let before = block.text.len();
            blocks::write_line(event, &mut block.text);
            fits(stream, block.text.len() - before)?;
        }
        block.count = events.len() as u64;
        let times = events.first().zip(events.last());
        Ok(Self {
            stream: stream.clone(),
            fence,
            release: false,
            block,
            times: times.map(|(first, last)| (first.at.as_micros(), last.at.as_micros())),
            snapshot: None,
            key: None,
            label: String::new(),
        })
    }

    /// Bytes it keeps in memory while it waits, roughly.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.block.size()
    }
}

fn fits(stream: &Stream, size: usize) -> Result<(), AppendError> {
    let limit = Write::MAX_PAYLOAD;
    if size <= limit {
        return Ok(());
    }
    Err(AppendError::TooLarge { stream: stream.clone(), size, limit })
}
