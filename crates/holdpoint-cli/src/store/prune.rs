//! `holdpoint store prune`.

use holdpoint::run::Ending;
use holdpoint::store::{Pruned, Retention, Store as _};
use serde::Serialize;

use crate::args::PruneArgs;
use crate::failure::Failure;
use crate::list::json;
use crate::text::{bytes, counted, print};

use super::Place;

/// Deletes what is old, and says what that was.
pub(super) fn prune(place: &Place<'_>, args: &PruneArgs) -> Result<Ending, Failure> {
    let store = place.open_to_write()?;
    let retention = Retention::new().age(args.age).keep_last(args.keep_last).size(args.size);
    let pruned =
        store.prune(retention).and_then(|ticket| ticket.wait()).map_err(Failure::Append)?;
    store.close().wait().map_err(Failure::Append)?;
    let (used, _) = store.size().map_err(Failure::Read)?;
    let answer = if args.json { as_json(&pruned, used) } else { as_text(&pruned, used, args) };
    print(&answer).map_err(Failure::Output)?;
    Ok(Ending::Succeeded)
}

#[derive(Serialize)]
struct Answer {
    streams: u64,
    events: u64,
    /// Bytes in use after that.
    bytes: u64,
}

fn as_json(pruned: &Pruned, bytes: u64) -> String {
    json(&Answer { streams: pruned.streams, events: pruned.events, bytes })
}

fn as_text(pruned: &Pruned, used: u64, args: &PruneArgs) -> String {
    let streams = counted(pruned.streams, "stream", "streams");
    let events = counted(pruned.events, "event", "events");
    let mut text = format!("deleted {streams} with {events}; {} in use\n", bytes(used));
    if used > args.size {
        text += &format!(
            "note: that is more than {}, but what is left has not ended or is among the last {}\n",
            bytes(args.size),
            args.keep_last
        );
    }
    text
}
