//! Runs that are there already: listed, shown, answered, cancelled.
//!
//! What only looks opens the store to read, and needs no runtime. What changes a run asks the
//! process that owns it, or decides where there is none (STORE-009).

pub(crate) mod answer;
mod cancel;
mod logs;
mod ps;
mod show;
mod stats;
mod tasks;
mod watch;
mod why;

pub(crate) use answer::{answer, approve, reject};
pub(crate) use cancel::cancel;
pub(crate) use logs::logs;
pub(crate) use ps::ps;
pub(crate) use show::show;
pub(crate) use stats::stats;
pub(crate) use why::why;
