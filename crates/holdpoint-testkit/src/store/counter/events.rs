//! What is written of a counter, and what it means when it is read.

use holdpoint_core::event::EventKind;
use holdpoint_core::session::{StateName, SuspendCause};

use super::Change;

/// The events of a claim under `epoch` of a stream that was left in `state`.
pub(super) fn claim(state: StateName, epoch: u64) -> Vec<EventKind> {
    let start = u32::try_from(epoch).unwrap_or(u32::MAX);
    match state {
        StateName::Planned => vec![EventKind::SessionStarted { start }],
        // Its owner has died.
        StateName::Running => vec![
            EventKind::SessionSuspended(SuspendCause::Interrupted),
            EventKind::SessionResumed { start },
        ],
        _ => vec![EventKind::SessionResumed { start }],
    }
}

/// The event with which an owner lets go.
pub(super) fn release() -> EventKind {
    EventKind::SessionSuspended(SuspendCause::Released)
}

/// The event of a change, with whose it is.
pub(super) fn change(change: Change, instance: u64, epoch: u64) -> EventKind {
    let Change { request, amount, value } = change;
    let progress = format!(
        r#"{{"request":{request},"amount":{amount},"value":{value},"instance":{instance},"epoch":{epoch}}}"#
    );
    EventKind::SessionProgress { progress: progress.into() }
}

/// The change that an event's text tells of, with the instance and the epoch.
pub(super) fn parse(progress: &str) -> Option<(Change, u64, u64)> {
    let digits = progress.split(|c: char| !c.is_ascii_digit()).filter(|text| !text.is_empty());
    let numbers: Vec<u64> = digits.map(str::parse).collect::<Result<_, _>>().ok()?;
    match numbers[..] {
        [request, amount, value, instance, epoch] => {
            Some((Change { request, amount, value }, instance, epoch))
        }
        _ => None,
    }
}
