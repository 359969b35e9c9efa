//! Judges and plays for the tests of the engines. Not published; used as a dev-dependency.
//!
//! - [`audit`]: what must be true of the events of everything that ever ran.
//!
//! Reading order: [`audit`].

pub mod audit;
#[cfg(test)]
mod tests;

pub use audit::{Audit, Violation, audit};
