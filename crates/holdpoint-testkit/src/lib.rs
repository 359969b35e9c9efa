//! Judges and plays for the tests of the engines. Not published; used as a dev-dependency.
//!
//! - [`mod@audit`]: what must be true of the events of everything that ever ran.
//! - [`sim`]: engines on a virtual clock, in one thread, decided by one seed. Every simulated run
//!   ends by an audit of its events.
//! - [`spawner`]: child processes of a virtual system, on that clock, with books that no real
//!   system keeps.
//! - `bodies`, a feature of that name: what every host of session bodies must run alike.
//! - [`store`]: a disk in memory that processes share and outlive, stores that fail on demand, and
//!   a small machine that decides over any store.
//!
//! Reading order: [`mod@audit`], [`sim`], [`spawner`], [`sim::process`], [`store`].
//!
//! The kit depends on the core, the hold set and the graph. The tests of those three can use it
//! from `tests/` only: within a crate's own unit tests its types are others than the ones that
//! the kit was built with.

pub mod audit;
#[cfg(feature = "bodies")]
pub mod bodies;
pub mod sim;
pub mod spawner;
pub mod store;
#[cfg(test)]
mod tests;

pub use audit::{Audit, Violation, audit};
