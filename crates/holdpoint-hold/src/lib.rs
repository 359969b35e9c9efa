//! Named locks for pieces of work: shared, exclusive or counted, several taken at once or none,
//! and granted in the order of asking.
//!
//! A piece of work names what it needs as [`Hold`]s. Its request joins the queues of all of them
//! at once and is granted when nobody who came earlier stands in its way. So requests never
//! deadlock with each other, none starves, and those that do not conflict pass each other.
//!
//! - [`Holds`] is for anyone: guards for `async` code and for plain threads. It needs no runtime.
//! - [`HoldClient`] is for an engine that has many requests open and does its own waiting.
//! - [`HoldSet`] is the accounting under both, plain synchronous Rust without a lock. It is all
//!   that is left without the feature `driver`.
//!
//! Reading order: `hold`, `names`, `hold_set`; then `driver`, `handle` and `client`.
//!
//! ```
//! use holdpoint_hold::{Hold, Holds};
//!
//! let holds = Holds::new();
//! let reading = holds.acquire_blocking(&[Hold::shared("db"), Hold::exclusive("report")])?;
//! assert!(holds.try_acquire(&[Hold::shared("db")])?.is_some());
//! assert!(holds.try_acquire(&[Hold::exclusive("db")])?.is_none());
//! drop(reading);
//! # Ok::<(), holdpoint_hold::ClaimError>(())
//! ```

#[cfg(feature = "driver")]
mod block_on;
#[cfg(feature = "driver")]
mod client;
#[cfg(feature = "driver")]
mod driver;
mod error;
#[cfg(feature = "driver")]
mod handle;
mod hold;
mod hold_set;
mod names;
mod slab;
#[cfg(feature = "driver")]
mod sync;
#[cfg(test)]
mod tests;

#[cfg(feature = "driver")]
pub use client::{HoldClient, HoldTicket, NamedBlocker};
pub use error::{ClaimError, ClaimFault, ClaimFaultKind, DeclareError};
#[cfg(feature = "driver")]
pub use handle::{HoldGuard, Holds};
pub use hold::{Hold, Mode, Scope};
pub use hold_set::{Blocker, HoldSet, Ticket};
pub use names::Claims;
