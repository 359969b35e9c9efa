//! Judges and plays for the tests of the engines. Not published; used as a dev-dependency.
//!
//! - [`audit`]: what must be true of the events of everything that ever ran.
//! - [`sim`]: engines on a virtual clock, in one thread, decided by one seed.
//!
//! Reading order: [`audit`], [`sim`].

pub mod audit;
pub mod sim;
#[cfg(test)]
mod tests;

pub use audit::{Audit, Violation, audit};
