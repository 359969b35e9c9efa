//! Sessions as a state machine: states, questions, outcomes, and the function that moves a
//! session from one state to the next.
//!
//! Two facts are kept apart, the *state* and the *owner*. What leads from state to state:
//!
//! ```text
//! from        to          by
//! ─────────────────────────────────────────────────────────────────────────────
//! Planned     Running     claim
//! Running     Paused      ask
//!             Suspended   suspend
//!             Done, Failed, Cancelled: end, as the body says
//! Paused      Paused      ask, answer and withdraw while others are open;
//!                         claim and suspend, which give and take the owner
//!   owned     Running     answer and withdraw of the last one; cancel, end
//!   not owned Suspended   answer and withdraw of the last one
//!             Failed      crash loop
//! Suspended   Running     claim
//!             Failed      crash loop
//! Planned, Suspended, Paused and not owned
//!             Cancelled   cancel; Failed where a time limit asked for it
//! Failed, Cancelled
//!             Planned     retry
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
