//! Sessions as a state machine: states, questions, outcomes, and the function that moves a
//! session from one state to the next.
//!
//! Two facts are kept apart, the *state* and the *owner*. The states and what leads from one
//! to another:
//!
//! ```text
//!             claim              ask                       Ok
//!  Planned ─────────▶ Running ─────────▶ Paused   Running ────▶ Done
//!     ▲                │  ▲ ▲             │   │   Running ────▶ Failed, Cancelled
//!     │        suspend │  │ └─────────────┘   │
//!     │                ▼  │   last closed,    │   Planned, Suspended, Paused without owner
//!     │ retry    Suspended ◀──────────────────┘      ── cancel ──▶ Cancelled, Failed (timeout)
//!  Failed,       (answered)   last closed,        Suspended, Paused without owner
//!  Cancelled                  without owner          ── crash loop ──▶ Failed
//! ```
//!
//! Reading order: [`SessionState`], [`SessionInput`], [`SessionMachine::apply`].

mod input;
mod machine;
mod outcome;
mod question;
mod snapshot;
mod state;
mod transition;

pub use input::{BodyEnd, IllegalTransition, InputName, Refusal, SessionInput};
pub use machine::SessionMachine;
pub use outcome::{Completion, Failure, FailureCause, Usage};
pub use question::{Answer, OpenQuestions, Question, QuestionId, QuestionKind};
pub use snapshot::{SessionSnapshot, SnapshotError};
pub use state::{Owner, SessionState, StateName, SuspendCause};
pub use transition::Transition;
