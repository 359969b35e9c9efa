//! The one vocabulary in which all engines tell what happened (CORE-006).
//!
//! An [`Event`] has a number, a time, a [`Stream`] and an [`EventKind`]. Numbers are dense in
//! their stream from 1; a [`Sequencer`] gives them out. Whoever wants to know implements
//! [`EventSink`].
//!
//! With the `serde` feature an event is one flat JSON object:
//!
//! ```json
//! {"seq":7,"at":"2026-11-21T02:00:00.123456Z","session":"…","kind":"task_started","task":"app:build"}
//! ```
//!
//! Optional fields are left out where absent, never `null`.

mod detail;
mod kind;
mod name;
mod stream;

pub use detail::{
    CacheSource, FailCause, FireCause, HoldMode, HoldRef, HoldScope, ItemOutcome,
    ScheduleSkipCause, SkipCause,
};
pub use kind::EventKind;
#[cfg(feature = "test-util")]
pub use stream::EventLog;
pub use stream::{Event, EventSink, Sequencer, Stream};
