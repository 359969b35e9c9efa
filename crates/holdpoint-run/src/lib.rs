//! What a manifest means: which tasks are part of a run, the graph they form, and the commands
//! they are.
//!
//! Graph, processes and manifest know nothing of each other; they meet here. A [`Plan`] is made
//! from a checked manifest and the targets, and [`run`] carries it out: one process for each
//! attempt of a task, its output in a log file and at whoever asked for it, and one stream of
//! events that begins with `session_planned` and ends with how the session ended.
//!
//! Reading order: [`plan`] (with `selection` and `faults`), [`driver`], `commands`, `events`,
//! `logs`; then [`options`], [`output`] and [`report`].

pub mod driver;
pub mod error;
pub mod options;
pub mod output;
pub mod plan;
pub mod report;

mod commands;
mod events;
mod faults;
mod logs;
mod selection;
#[cfg(test)]
mod tests;

pub use driver::run;
pub use error::{PlanError, RunError};
pub use options::RunOptions;
pub use output::{Attempt, AttemptOutput, NoOutput, TaskOutput};
pub use plan::{Plan, Targets};
pub use report::{Ending, RunEnd};
