//! What every store must do, and what the one in memory does besides.
//!
//! `conformance` says each rule once and asks it of every store. `model` does the same at random,
//! against a reference of a page. `memory` is about the store in memory alone.

mod conformance;
#[cfg(feature = "file")]
mod faults;
mod memory;
mod model;
mod support;
