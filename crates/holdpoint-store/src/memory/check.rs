//! Whether a write can be carried out (STORE-007, STORE-008). Nothing here changes anything.

use holdpoint_core::event::Stream;
use holdpoint_core::session::Owner;
use holdpoint_core::store::{AppendError, Fence, StreamInfo, Write};

use super::directory::Directory;
use super::is_new;

/// What a check must know of the store.
#[derive(Clone, Copy)]
pub(super) struct Situation {
    pub(super) instance: u64,
    /// The epoch under which this instance owns the schedules, if it does.
    pub(super) schedules: Option<u64>,
}

/// What a write is refused for whatever the store has.
pub(super) fn alone(write: &Write<'_>) -> Result<(), AppendError> {
    let is_schedule = matches!(write.stream, Stream::Schedule(_));
    if is_new(write) && write.events.is_empty() {
        return unsuitable(write, "a new stream begins with an event");
    }
    if is_schedule && matches!(write.fence, Fence::NewOwned | Fence::Claim { .. }) {
        return unsuitable(write, "schedules are claimed all together");
    }
    if is_schedule && write.release {
        return unsuitable(write, "a schedule cannot be released alone");
    }
    if write.key.is_some() && !(is_new(write) && matches!(write.stream, Stream::Session(_))) {
        return unsuitable(write, "only a new session has an idempotency key");
    }
    let limit = Write::MAX_PAYLOAD;
    for payload in write.journal.iter().copied().chain(write.snapshot.map(|kept| kept.data)) {
        if payload.len() > limit {
            let (stream, size) = (write.stream.clone(), payload.len());
            return Err(AppendError::TooLarge { stream, size, limit });
        }
    }
    let first = write.events.first().map_or(0, |event| event.seq);
    for (event, index) in write.events.iter().zip(0_u64..) {
        if event.stream != *write.stream {
            return unsuitable(write, "an event of another stream");
        }
        in_order(write, first.saturating_add(index), event.seq)?;
    }
    Ok(())
}

/// What a write is refused for because of earlier ones of its append.
pub(super) fn beside(earlier: &[Write<'_>], write: &Write<'_>) -> Result<(), AppendError> {
    if earlier.iter().any(|other| other.stream == write.stream) {
        return unsuitable(write, "it is written twice in one append");
    }
    if write.key.is_some() && earlier.iter().any(|other| other.key == write.key) {
        return unsuitable(write, "its key is given twice in one append");
    }
    Ok(())
}

/// Whether its key is free.
pub(super) fn key(write: &Write<'_>, directory: &Directory) -> Result<(), AppendError> {
    match write.key.and_then(|key| directory.stream_of(key)) {
        Some((key, stream)) => Err(AppendError::KeyTaken { key, stream }),
        None => Ok(()),
    }
}

/// Whether the fence holds, and whether its events follow.
pub(super) fn against(
    write: &Write<'_>,
    found: Option<&StreamInfo>,
    situation: Situation,
) -> Result<(), AppendError> {
    let Situation { instance, schedules } = situation;
    let is_schedule = matches!(write.stream, Stream::Schedule(_));
    let stream = || write.stream.clone();
    let lost = |epoch| Err(AppendError::LostOwnership { stream: stream(), epoch });
    match (write.fence, found) {
        (Fence::New | Fence::NewOwned, Some(_)) => {
            return Err(AppendError::Exists { stream: stream() });
        }
        (Fence::New, None) if is_schedule && schedules.is_none() => return lost(0),
        (Fence::New | Fence::NewOwned, None) => {}
        (_, None) => return Err(AppendError::NotFound { stream: stream() }),
        (Fence::Claim { .. }, Some(&StreamInfo { owner: Some(owner), .. })) => {
            let what = write.stream.to_string().into();
            return Err(AppendError::Owned { what, owner, pid: None });
        }
        (Fence::Claim { epoch }, Some(info)) => {
            if info.epoch != epoch {
                let current = info.epoch;
                return Err(AppendError::EpochPassed { stream: stream(), current });
            }
        }
        (Fence::Owned { epoch }, Some(info)) => {
            let owns = if is_schedule {
                schedules == Some(epoch)
            } else {
                info.owner == Some(Owner { instance, epoch })
            };
            if !owns {
                return lost(epoch);
            }
        }
        _ => return unsuitable(write, "a fence that this store does not know"),
    }
    match write.events.first() {
        Some(first) => in_order(write, found.map_or(1, |info| info.last_seq + 1), first.seq),
        None => Ok(()),
    }
}

fn in_order(write: &Write<'_>, expected: u64, found: u64) -> Result<(), AppendError> {
    if found == expected {
        return Ok(());
    }
    Err(AppendError::OutOfOrder { stream: write.stream.clone(), expected, found })
}

fn unsuitable(write: &Write<'_>, what: &'static str) -> Result<(), AppendError> {
    Err(AppendError::Unsuitable { stream: write.stream.clone(), what })
}
