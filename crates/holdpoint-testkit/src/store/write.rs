//! A write that waits: owned, and checked as far as that needs no look at the content.

use std::sync::Arc;

use holdpoint_core::event::{Event, Stream};
use holdpoint_core::session::StateName;
use holdpoint_core::store::{AppendError, Fence, Write};

#[derive(Debug)]
pub(super) struct OwnedWrite {
    pub(super) stream: Stream,
    pub(super) fence: Fence,
    pub(super) release: bool,
    pub(super) events: Vec<Event>,
    pub(super) journal: Vec<Arc<[u8]>>,
    pub(super) snapshot: Option<(StateName, Arc<[u8]>)>,
    pub(super) key: Option<Arc<str>>,
    pub(super) label: Arc<str>,
}

impl OwnedWrite {
    pub(super) fn of(write: &Write<'_>) -> Result<Self, AppendError> {
        let is_new = matches!(write.fence, Fence::New | Fence::NewOwned);
        let is_schedule = matches!(write.stream, Stream::Schedule(_));
        let claims_one = matches!(write.fence, Fence::NewOwned | Fence::Claim { .. });
        let has_place_for_key = is_new && matches!(write.stream, Stream::Session(_));
        let faults = [
            (is_new && write.events.is_empty(), "a new stream begins with an event"),
            (is_schedule && claims_one, "schedules are claimed all together"),
            (is_schedule && write.release, "a schedule cannot be released alone"),
            (write.key.is_some() && !has_place_for_key, "only a new session has a key"),
        ];
        let unsuitable = |what| AppendError::Unsuitable { stream: write.stream.clone(), what };
        if let Some((_, what)) = faults.into_iter().find(|(is_so, _)| *is_so) {
            return Err(unsuitable(what));
        }
        let limit = Write::MAX_PAYLOAD;
        let snapshot = write.snapshot.map(|snapshot| snapshot.data);
        let mut payloads = write.journal.iter().copied().chain(snapshot);
        if let Some(payload) = payloads.find(|payload| payload.len() > limit) {
            let (stream, size) = (write.stream.clone(), payload.len());
            return Err(AppendError::TooLarge { stream, size, limit });
        }
        let first = write.events.first().map_or(0, |event| event.seq);
        for (event, index) in write.events.iter().zip(0..) {
            if event.stream != *write.stream {
                return Err(unsuitable("an event of another stream"));
            }
            in_order(write.stream, first.saturating_add(index), event.seq)?;
        }
        Ok(Self {
            stream: write.stream.clone(),
            fence: write.fence,
            release: write.release,
            events: write.events.to_vec(),
            journal: write.journal.iter().map(|data| Arc::from(*data)).collect(),
            snapshot: write.snapshot.map(|snapshot| (snapshot.state, Arc::from(snapshot.data))),
            key: write.key.map(Arc::from),
            label: Arc::from(write.label),
        })
    }
}

/// Whether an event has the number that comes next.
pub(super) fn in_order(stream: &Stream, expected: u64, found: u64) -> Result<(), AppendError> {
    if expected == found {
        return Ok(());
    }
    Err(AppendError::OutOfOrder { stream: stream.clone(), expected, found })
}
