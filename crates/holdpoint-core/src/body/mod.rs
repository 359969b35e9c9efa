//! What a session body sees, and what a host of bodies provides.
//!
//! A *body* is an async function that gets a [`SessionContext`] and its input. What it may do
//! beyond computing are *operations*: [`step`](SessionContext::step), `ask`, `sleep`, children.
//! A *host* runs bodies: it implements [`SessionPort`], plain data and one poll function. One host
//! calls effects directly and keeps nothing; another records each result before the body goes on,
//! and can so start the body again and lead it to where it was (SESS-017).
//!
//! # Rules
//! 1. **Numbering.** An operation is numbered when it is called, not when it is polled. Its
//!    [`OpKey`] is its kind, its name, and how many of that kind and name came before it.
//! 2. **Turn.** A recording host gives the body exactly one record, polls it until it waits, then
//!    gives the next, live and in replay alike. The order of the journal is the order of delivery.
//! 3. **Record, then deliver.** Between turns the host polls effects: they live in the body's own
//!    future, and as none of their results is delivered there, the body's own code cannot move.
//! 4. **Mismatch** compares keys only. What a record says must be for an operation that the body
//!    has open, or has opened and dropped.
//! 5. An operation called anywhere but in the body's own poll (a spawned task, another operation's
//!    effect) is refused where it is called.
//! 6. A body with a [`Ledger`] is the exception to 2 to 4: it is given all records at once, by key,
//!    and may await anything between its operations.
//!
//! Reading order: [`SessionContext`], [`Ask`], [`BodyError`], then for hosts [`SessionPort`],
//! [`OpTable`], [`Bodies`].

#[cfg(feature = "body")]
mod ask;
#[cfg(feature = "body")]
mod bodies;
#[cfg(feature = "body")]
mod child;
#[cfg(feature = "body")]
mod context;
mod error;
mod here;
#[cfg(feature = "body")]
mod ledger;
#[cfg(feature = "body")]
mod op;
mod ordinals;
mod port;
#[cfg(feature = "body")]
mod step;
mod table;
#[cfg(feature = "body")]
mod wait;

#[cfg(feature = "body")]
pub use self::{
    ask::{Ask, WrongAnswer},
    bodies::{
        Bodies, BodyFuture, BodyOutput, ErasedBody, InputError, OutputError, RegisterError,
        TypedBody,
    },
    child::Child,
    context::SessionContext,
    ledger::{Ledger, Notes, Recording},
    step::{Attempt, Step},
    wait::{Wait, WaitAll},
};
pub use error::{BodyError, Fault, StepFailure, Terminal, body_end};
#[cfg(feature = "test-util")]
pub use here::Mark;
pub use here::{is_in_body, poll_body};
pub use ordinals::Ordinals;
pub use port::{
    CancelWhen, ChildSpec, Execution, Kind, LedgerFault, OpError, OpEvent, OpId, OpKey, OpName,
    Open, Opened, Payload, SessionPort,
};
pub use table::{Closed, Delivery, Fresh, MAX_OP_NAME_LEN, OpTable, TableEvent};
