//! What a manifest means: which tasks are part of a run, the graph they form, and the commands
//! they are.
//!
//! Graph, processes, sessions and manifest know nothing of each other; they meet here. A [`Plan`]
//! is made from a checked manifest and the targets. A run of it is a session of [`Runs`], whose
//! body is the graph: one process for each attempt of a task, its output in a log file and at
//! whoever asked for it, approvals as questions, and one stream of events that begins with
//! `session_planned` and ends with how the session ended. With a store a run goes on after its
//! process was lost, and what was done is not done again. [`run()`] does all that in memory.
//!
//! Reading order: [`plan`] (with `selection` and `faults`), [`runs`], `body` (the graph as a body),
//! `input` (what is recorded), `commands`, `events`, `logs`, [`hooks`]; then [`options`], [`output`] and
//! [`report`].

pub mod driver;
pub mod durations;
pub mod error;
pub mod hooks;
pub mod options;
pub mod output;
pub mod plan;
pub mod report;
pub mod runs;

mod body;
mod commands;
mod events;
mod faults;
mod input;
mod logs;
mod parked;
mod selection;
#[cfg(test)]
mod tests;

pub use body::Settings;
pub use driver::run;
pub use durations::Durations;
pub use error::{PlanError, RunError};
pub use hooks::{HookFailed, HookSink, Hooks, Occasion};
pub use input::{Again, RunKind};
pub use options::RunOptions;
pub use output::{Attempt, AttemptOutput, NoOutput, TaskOutput};
pub use plan::{Plan, Targets};
pub use report::{Ending, RunEnd};
pub use runs::{FindRunError, Planned, Run, RunInfo, Runs, find_run, list_runs, planned};
